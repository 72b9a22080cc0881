"""The nft table of a node that forwards or translates addresses, and the tags it is compared by.

nft rewrites expressions when it lists them, so texts do not compare; each rule therefore carries a
comment with a digest of its own text. An `accept` of ours ends only the evaluation of our own
chain: a drop in another table's chain on the same hook (ufw, Docker) still drops; nft(8), "Verdict
statements".
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network

from wgmesh.model.numbers import NFT_TABLE
from wgmesh.model.plan import Firewall
from wgmesh.model.terms import Prefix

PRIVATE4 = tuple(
    map(
        IPv4Network,
        ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    )
)
PRIVATE6 = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"))
"""RFC 1918, shared address space (RFC 6598), link-local; RFC 4193: never by an exit."""

TABLE = f"table inet {NFT_TABLE}"

_WAY = re.compile(
    r'\t\t(?:iifname "([^"]+)" ?)?(?:oifname "([^"]+)" ?)?(ct state established,related )?'
    r'accept comment "wgmesh:\w+"'
)
_OUT = re.compile(r'\t\tip6? saddr \S+ oifname "([^"]+)" masquerade comment "wgmesh:\w+"')
_COMMENT = re.compile(r'\bcomment "([^"]*)"(?: # handle \d+)?$')
_QUOTED = re.compile(r'"[^"]*"')
_CHAIN = re.compile(r"chain (\S+) \{")
_HEAD = re.compile(r'type \S+ hook |policy \w+;|comment "|#')

CLAMP = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
"""Hosts beyond the mesh think in 1500 bytes; not all of them hear "fragmentation needed"."""

Chain = tuple[str, str, Sequence[str]]
"""Name, `type … hook … priority …` and the rules, without their comments."""


def firewall(
    interface: str,
    mesh_cidr: Iterable[Prefix],
    *,
    forwards: bool,
    relays: bool,
    nat_interfaces: Sequence[str],
    exit_only: Mapping[str, Sequence[Prefix]] | None = None,
    shares: bool = False,
    guard: Sequence[Chain] = (),
) -> Firewall | None:
    """Return the table for a node, or None when it neither forwards, translates nor uses exits.

    `forwards`: between the mesh and whatever lies behind the node; `relays`: from peer to peer
    only; `nat_interfaces`: mesh sources that leave there take the node's address (both families).
    `exit_only` are those of them that lead to the internet alone, with the prefixes that are to be
    reached there all the same: an exit's own private networks are not the mesh's business.
    `shares`: there are other hubs, and a spoke drops what comes through one that it does not use.
    Who uses this one is seen from what it sends through it, its probes at the least; packets to all
    others take the hub's own address, which every spoke takes from it.
    `guard` are the chains of a node that uses exits.
    """
    if not (forwards or relays or nat_interfaces):
        return from_chains(guard) if guard else None
    into, outof = f'oifname "{interface}"', f'iifname "{interface}"'
    if forwards:
        rules = [f"{outof} {CLAMP}", f"{into} {CLAMP}", f"{outof} accept", f"{into} accept"]
    else:
        rules = list(_narrow(into, outof, nat_interfaces, exit_only or {}, relays=relays))
    mesh_cidr = tuple(mesh_cidr)
    sets: list[str] = []
    masquerade: list[str] = []
    if shares:
        for cidr in mesh_cidr:
            word = "ip" if cidr.version == 4 else "ip6"
            name = f"users{cidr.version}"
            sets.append(f"set {name} {{ type ipv{cidr.version}_addr; flags dynamic,timeout; }}")
            seen = f"ct direction original {word} saddr {cidr}"
            rules.insert(0, f"{outof} {into} {seen} update @{name} {{ {word} saddr timeout 20s }}")
            elsewhere = f"{word} daddr {cidr} {word} daddr != @{name}"
            masquerade.append(f"{outof} {into} {elsewhere} masquerade")
    chains: list[Chain] = [("forward", "type filter hook forward priority filter", rules)]
    if nat_interfaces:
        masquerade += [
            f'{"ip" if cidr.version == 4 else "ip6"} saddr {cidr} oifname "{name}" masquerade'
            for name in nat_interfaces
            for cidr in mesh_cidr
        ]
    if masquerade:
        chains.append(("postrouting", "type nat hook postrouting priority srcnat", masquerade))
    return from_chains([*guard, *chains], tuple(dict.fromkeys(sets)))


def _narrow(
    into: str,
    outof: str,
    nat_interfaces: Sequence[str],
    exit_only: Mapping[str, Sequence[Prefix]],
    *,
    relays: bool,
) -> Iterator[str]:
    """Yield the rules of a node that forwards between peers, or out by `nat_interfaces`, alone."""
    for name in nat_interfaces:
        yield f'{outof} oifname "{name}" {CLAMP}'
        yield f'iifname "{name}" {into} {CLAMP}'
    if relays:
        yield f"{outof} {into} accept"
    for name in nat_interfaces:
        if name in exit_only:
            yield from _no_private(f'{outof} oifname "{name}"', exit_only[name])
        yield f'{outof} oifname "{name}" accept'
        yield f'iifname "{name}" {into} ct state established,related accept'


def _no_private(way: str, reached: Iterable[Prefix]) -> Iterator[str]:
    """Yield the rules that keep a `way` from private networks, `reached` excepted."""
    for prefix in reached:
        yield f"{way} {'ip' if prefix.version == 4 else 'ip6'} daddr {prefix} accept"
    for word, private in (("ip", PRIVATE4), ("ip6", PRIVATE6)):
        yield f"{way} {word} daddr {{ {', '.join(map(str, private))} }} counter drop"


def from_chains(chains: Iterable[Chain], sets: Iterable[str] = ()) -> Firewall:
    """Return the table of `chains`, each rule with its tag; chains accept what no rule decides."""
    lines = [f"{TABLE} {{", *(f"\t{each}" for each in sets)]
    for name, hook, rules in chains:
        lines += [f"\tchain {name} {{", f"\t\t{hook}; policy accept;"]
        lines += map(_line, dict.fromkeys(rules))
        lines.append("\t}")
    text = "\n".join([*lines, "}", ""])
    return Firewall(firewall_tags(text), text)


def ways(firewall: Firewall | None) -> Iterator[tuple[str | None, str | None, bool]]:
    """Yield what the table lets through as (from, to, answers only); None is any interface."""
    for line in firewall.text.split("\n") if firewall is not None else ():
        if found := _WAY.fullmatch(line):
            yield found[1], found[2], found[3] is not None


def translated(firewall: Firewall | None) -> tuple[str, ...]:
    """Return the interfaces by which mesh sources leave with the node's own address, sorted."""
    lines = firewall.text.split("\n") if firewall is not None else ()
    found = (_OUT.fullmatch(line) for line in lines)
    return tuple(sorted({each[1] for each in found if each is not None}))


def altered(
    firewall: Firewall, *, above: tuple[str, Sequence[str]] | None = None, without: str = ""
) -> Firewall:
    """Return the table with rules put in above one that it has, or without one."""
    lines: list[str] = []
    for line in firewall.text.split("\n"):
        if above is not None and line == _line(above[0]):
            lines += map(_line, above[1])
        if not without or line != _line(without):
            lines.append(line)
    text = "\n".join(lines)
    return Firewall(firewall_tags(text), text)


def _line(rule: str) -> str:
    return f'\t\t{rule} comment "{tag(rule)}"'


def tag(rule: str) -> str:
    """Return the comment that marks `rule`."""
    return f"wgmesh:{sha256(rule.encode()).hexdigest()[:10]}"


def firewall_tags(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the chains of one table in their order, each with the comments of its rules.

    `text` is ours or what `nft list table inet wgmesh` prints (with `-a` too). A rule without a
    comment, which none of ours is, shows as "".
    """
    chains: list[tuple[str, list[str]]] = []
    depth = inside = 0  # braces open now, and where the chain at hand began (0: in none)
    for line in (raw.strip() for raw in text.split("\n")):
        bare = _QUOTED.sub('""', line)
        opened = _CHAIN.match(bare)
        closes = bare.count("}")
        if opened and not inside:
            chains.append((opened[1], []))
            inside = depth + 1
        elif inside and line and not _HEAD.match(line):
            # nft breaks long sets: a rule ends on the line that closes what it opened.
            after = depth + bare.count("{") - closes
            if after == inside:
                found = _COMMENT.search(line)
                chains[-1][1].append(found[1] if found else "")
        depth += bare.count("{") - closes
        if depth < inside:
            inside = 0
    return tuple((name, tuple(comments)) for name, comments in chains)
