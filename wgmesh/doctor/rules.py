"""Whether a rule of nftables lets a packet in, as far as its text tells (nft(8)).

True and False are sure. None is: the rule may, but that hangs on something that is not known here,
such as who sent the packet, a named set, or a limit. That rules before it drop the packet, or
return, is not looked at.
"""

import re
from collections.abc import Collection, Iterable, Iterator

from wgmesh.frozen import frozen

SERVICE = ""
"""The protocol of a packet to a service that no rule names."""

_PROTOCOLS = {
    "udp": {"udp", "17"},
    "icmp": {"icmp", "1", "ipv6-icmp", "icmpv6", "58"},
    "tcp": {"tcp", "6"},
}
_ECHO = {"echo-request", "8", "128"}

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_NOISE = re.compile(
    rf"(?<!\S)(?:counter(?: packets \d+ bytes \d+)?|comment {_QUOTED}|xt match \"comment\""
    rf"|log(?: prefix {_QUOTED}| (?:level|group|flags|snaplen|queue-threshold) [\w,]+)*)(?!\S)"
)
_MATCH = re.compile(
    r"(?<!\S)(?P<key>[io]if(?:name)?|meta l4proto|ip protocol|ip6 nexthdr|meta nfproto"
    r"|ct stat(?:e|us)|fib daddr type|(?:tcp|udp|th|icmp|icmpv6|sctp) \w+) "
    rf"(?P<negated>!= )?(?P<value>\{{[^{{}}]*\}}|{_QUOTED}|\S+)"
)
_MAP = re.compile(r"(?P<before>.*?)\bvmap \{ (?P<elements>[^{}]*) \}")
_UNKNOWN_END = re.compile(r"\bvmap @\S+$|\bqueue\b.*$")


@frozen
class Packet:
    """A new packet for this node. `enters`: the interfaces that it comes by, as far as known.

    `others`: it may come by others too, but for `never`.
    """

    protocol: str
    port: int | None = None
    enters: tuple[str, ...] = ()
    others: bool = False
    never: tuple[str, ...] = ("lo",)


def accepted(rules: Iterable[str], packet: Packet) -> bool | None:
    """Return whether one of these rules lets `packet` in."""
    found = {accepts(rule, packet) for rule in rules}
    return True if True in found else None if None in found else False


def accepts(rule: str, packet: Packet) -> bool | None:
    """Return whether `rule` lets `packet` in, see above."""
    text = _NOISE.sub(" ", rule).strip()
    end = _UNKNOWN_END.search(text)
    if end is None and text != "accept" and not text.endswith(" accept"):
        return False
    conditions = text.removesuffix("accept") if end is None else text[: end.start()]
    fits: list[bool | None] = [None] if end is not None else []

    def look(found: re.Match[str]) -> str:
        fits.append(_fits(found["key"], found["value"], packet, negated=bool(found["negated"])))
        return " "

    rest = _MATCH.sub(look, conditions)
    if False in fits:
        return False
    return None if rest.strip() or None in fits else True


def lets_out(rule: str, interface: str) -> bool:
    """Return whether `rule` may accept packets, and names `interface` as their way out."""
    if accepts(rule, Packet(SERVICE, others=True)) is False:
        return False
    return any(
        found["key"] == "oifname"
        and not found["negated"]
        and _hits(_values(found["value"]), (interface,))
        for found in _MATCH.finditer(_NOISE.sub(" ", rule))
    )


def expanded(rule: str) -> Iterator[str]:
    """Yield `rule`; of one with a verdict map in place a rule for each of its elements."""
    found = _MAP.match(rule)
    if found is None:
        yield rule
        return
    for element in found["elements"].split(", "):
        key, _, verdict = element.rpartition(" : ")
        yield f"{found['before']}{key} {verdict}"


def _fits(key: str, value: str, packet: Packet, *, negated: bool) -> bool | None:
    """Return whether one condition of a rule holds for `packet`."""
    values = _values(value)
    if key.startswith("iif"):
        return _interface(values, packet, negated=negated)
    if key in ("meta l4proto", "ip protocol", "ip6 nexthdr"):
        return _protocol(values, packet, negated=negated)
    if key == "ct state":
        return ("new" in values) is not negated
    if key == "ct status":
        return False if values == {"dnat"} and not negated else None
    if key in ("meta nfproto", "fib daddr type"):
        return True if values <= {"ipv4", "ipv6", "local"} and not negated else None
    if key.startswith("oif"):
        return None
    return _header(key, values, packet, negated=negated)


def _values(value: str) -> set[str]:
    listed = value.strip("{} ").split(",")
    return {each.strip() for each in listed}


def _hits(values: Collection[str], names: Iterable[str]) -> bool:
    bare = [each.strip('"') for each in values]
    return any(
        name.startswith(each[:-1]) if each.endswith("*") else name == each
        for each in bare
        for name in names
    )


def _interface(values: set[str], packet: Packet, *, negated: bool) -> bool | None:
    if any(each.startswith(("@", ".")) for each in values):
        return None
    hit = _hits(values, packet.enters)
    if not packet.others:
        return hit is not negated
    if hit:
        return None if negated else True
    if all(_hits({each}, packet.never) for each in values):
        return negated
    return True if negated and packet.enters else None


def _protocol(values: set[str], packet: Packet, *, negated: bool) -> bool | None:
    if packet.protocol == SERVICE:
        both = all(values & _PROTOCOLS[each] for each in ("tcp", "udp"))
        return None if negated else both
    return bool(values & _PROTOCOLS[packet.protocol]) is not negated


def _header(key: str, values: set[str], packet: Packet, *, negated: bool) -> bool | None:
    """Return whether a condition on a field of TCP, UDP, ICMP or either port (th) holds."""
    header, _, word = key.partition(" ")
    if header in ("icmp", "icmpv6"):
        if packet.protocol != "icmp":
            return False
        return (bool(values & _ECHO) is not negated) if word == "type" else None
    if packet.protocol not in ("udp", "tcp") or header not in ("th", packet.protocol):
        return False
    if word != "dport" or packet.port is None:
        return None
    hit = False
    for each in values:
        low, _, high = each.partition("-")
        if not low.isdecimal() or not (high or low).isdecimal():
            return None
        hit = hit or int(low) <= packet.port <= int(high or low)
    return hit is not negated
