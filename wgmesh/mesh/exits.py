"""A node that uses exits: rules, routes, kernel parameters and nft chains that let nothing leak.

Two layers, each enough by itself: policy rules with an unreachable floor, and a drop after routing.
Neither depends on the mesh's interface. Traps and measurements: the page "Exits".
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from wgmesh.mesh import topology
from wgmesh.mesh.firewall import CLAMP, PRIVATE4, PRIVATE6, Chain
from wgmesh.mesh.topology import Layout
from wgmesh.model.inventory import Mesh, Node
from wgmesh.model.numbers import DIRECT_MARK, EXIT_TABLE, MAIN_TABLE, MARK_MASK, TUNNEL_MARK
from wgmesh.model.plan import Exempt, Route, RouteKind, Rule, RuleAction, Uplinks
from wgmesh.model.terms import Prefix

_DIRECT4 = (*PRIVATE4, ip_network("224.0.0.0/3"))
_DIRECT6 = (*PRIVATE6, ip_network("ff00::/8"))
_RULED = {4: _DIRECT4, 6: (ip_network("fc00::/7"),)}

_WORST = 2**32 - 1
_MAIN_RULE = 32766
"""The kernel's own rule that looks up main; ip-rule(8)."""

_FIRST = 31000
_LOOKUP, _FLOOR = 31050, 31051
_LAN_LOOKUP, _LAN_FLOOR = 31060, 31061

_EPHEMERAL = "32768-60999"
"""Local ports of outgoing connections, as the kernel has it unless told otherwise."""

DIRECT_ABOVE = "udp sport 68 udp dport 67 accept"
"""The rule before which what is found directly connected is let out."""

LAST_DROP = "counter drop"

SYSCTLS = (
    ("net.ipv4.conf.all.src_valid_mark", "1"),
    ("net.ipv4.tcp_fwmark_accept", "1"),
    ("net.ipv4.fwmark_reflect", "1"),
    ("net.ipv6.fwmark_reflect", "1"),
)
"""So that SYN-ACKs, RSTs and ICMP errors of inbound connections take the mark too."""


def uses(mesh: Mesh, node: Node) -> bool:
    """Tell whether the internet traffic of `node` leaves by an exit."""
    return node.name in mesh.enable_exit_for_nodes and node.name not in mesh.exit_nodes


def at_boot(mesh: Mesh, of: Layout, node: Node) -> Node | None:
    """Return the exit that has the default routes of `node` when it boots; None: it meets none.

    That is the primary one, or the first that it peers with. The exit selector moves them to the
    one that does best.
    """
    listed = [of.nodes[name] for name in mesh.exit_nodes if name in of.nodes]
    there = [each for each in listed if topology.are_peers(of, node, each)]
    primary = (each for each in there if each.name == mesh.exit_primary)
    return next(primary, there[0] if there else None)


def default(family: int) -> Prefix:
    """Return the default route's prefix."""
    return ip_network("0.0.0.0/0" if family == 4 else "::/0")


def routes(interface: str, mesh_cidr: Iterable[Prefix], families: Iterable[int]) -> Iterator[Route]:
    """Yield the way out, the floor below it, and what keeps mesh packets in without the interface.

    `families` are those in which an exit can be reached; both have the floor.
    """
    for family in families:
        yield Route(default(family), interface, EXIT_TABLE)
    floor = RouteKind.UNREACHABLE
    for family in (4, 6):
        yield Route(default(family), None, EXIT_TABLE, metric=_WORST, kind=floor)
    for prefix in mesh_cidr:
        yield Route(prefix, None, metric=_WORST, kind=floor)


def rules(exempt: Exempt) -> Iterator[Rule]:
    """Yield the policy rules of both families, but for what the uplinks' addresses need."""
    for family in (4, 6):

        def out(offset: int, family: int = family, **selectors: object) -> Rule:
            """Return a rule that goes on where main is looked up: `lookup` would fall through."""
            values = {"iif": "lo"} | selectors
            return Rule(family, _FIRST + offset, RuleAction.GOTO, _MAIN_RULE, **values)  # type: ignore[arg-type]

        # 1, not 0: another VPN's `wg-quick down` deletes the rule that has 0.
        yield Rule(family, _FIRST, RuleAction.LOOKUP, MAIN_TABLE, suppress_prefixlength=1)
        for offset, mark in ((10, DIRECT_MARK), (11, TUNNEL_MARK)):
            yield out(offset, iif=None, fwmark=mark, fwmask=MARK_MASK)
        if exempt.fetch_uid is not None:
            yield out(20, uid=exempt.fetch_uid)
        for uid in exempt.time_uids:
            yield out(21, uid=uid, udp_destination=123)
        if family == 4:
            yield out(22, udp_source=68, udp_destination=67)
        for prefix in (*_RULED[family], *exempt.prefixes):
            if prefix.version == family:
                yield out(30, iif=None, destination=prefix)
        yield Rule(family, _FLOOR, RuleAction.UNREACHABLE, iif="lo")
        yield Rule(family, _LOOKUP, RuleAction.LOOKUP, EXIT_TABLE, iif="lo")
        for name in exempt.sources:
            yield Rule(family, _LAN_FLOOR, RuleAction.UNREACHABLE, iif=name)
            yield Rule(family, _LAN_LOOKUP, RuleAction.LOOKUP, EXIT_TABLE, iif=name)


def is_way_out(rule: Rule) -> bool:
    """Return whether `rule` sends traffic to the exit, or stops it where there is none."""
    return rule.priority in (_LOOKUP, _FLOOR, _LAN_LOOKUP, _LAN_FLOOR)


def uplink_rules(uplinks: Uplinks) -> Iterator[Rule]:
    """Yield what lets sockets that are bound to an uplink's address answer from there.

    IPv4 only: after an unreachable look-up IPv6 tries again with a source, and would get out.
    """
    for address in uplinks.addresses:
        source = ip_network(f"{address}/32")
        yield Rule(4, _FIRST + 15, RuleAction.GOTO, _MAIN_RULE, iif="lo", source=source)


def chains(interface: str, mesh_cidr: Sequence[Prefix], exempt: Exempt) -> list[Chain]:
    """Return the chains that mark what came in from outside, and drop what would leak."""
    wg = f'"{interface}"'
    unmarked = f"ct mark and {MARK_MASK:#x} == 0"
    direct = f"ct mark set ct mark or {DIRECT_MARK:#x}"
    answered = "tcp flags & (syn | rst) == 0"
    lans = [f'"{name}"' for name in exempt.sources]
    not_ours = f" iifname != {{ {', '.join(lans)} }}" if lans else ""
    prerouting = [
        f'iifname {{ "lo", {wg} }} accept',
        *(f"iifname {lan} ct mark and {MARK_MASK:#x} != {DIRECT_MARK:#x} accept" for lan in lans),
        # The middle of a flow of ours whose beginning conntrack has not seen: no inbound one.
        f"{unmarked} {answered} tcp dport {_EPHEMERAL} accept",
        f"ct direction original {unmarked} {direct}",
        f"meta mark and {MARK_MASK:#x} == 0 meta mark set meta mark or {DIRECT_MARK:#x}",
    ]
    output = [f"meta mark and {MARK_MASK:#x} == {DIRECT_MARK:#x} {unmarked} {direct}"]
    output.append(f"meta mark and {MARK_MASK:#x} != 0 accept")
    if exempt.fetch_uid is not None:
        output.append(f"meta skuid {exempt.fetch_uid} {unmarked} {direct}")
    output += [f"meta skuid {uid} udp dport 123 {unmarked} {direct}" for uid in exempt.time_uids]
    output += [
        f"ct state new {answered} tcp sport != {_EPHEMERAL} {unmarked} {direct}",
        f"ct mark and {MARK_MASK:#x} == {DIRECT_MARK:#x}"
        f" meta mark set meta mark or {DIRECT_MARK:#x}",
    ]
    neighbours = "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert"
    killswitch = [
        f"oifname {wg} meta mark and {MARK_MASK:#x} == {TUNNEL_MARK:#x} counter drop",
        f'oifname {{ "lo", {wg} }} accept',
        f"meta mark and {MARK_MASK:#x} == {TUNNEL_MARK:#x} accept",
        "meta mark and 0xff0000 == 0x80000 accept",  # Tailscale's own packets
        f"icmpv6 type {{ {neighbours} }} accept",
        *(f"{_word(cidr)} daddr {cidr} counter drop" for cidr in mesh_cidr),
        f"ct mark and {MARK_MASK:#x} == {DIRECT_MARK:#x} counter accept",
        *let_out((*_DIRECT4, *_DIRECT6, *exempt.prefixes)),
        DIRECT_ABOVE,
        "udp sport 546 udp dport 547 accept",
        # What is forwarded for others is not this node's own traffic.
        f"meta iif != 0{not_ours} fib saddr type != local accept",
        LAST_DROP,
    ]
    return [
        ("prerouting", "type filter hook prerouting priority mangle", prerouting),
        ("output", "type route hook output priority mangle", output),
        ("killswitch", "type filter hook postrouting priority filter", killswitch),
        *_lan_chains(wg, lans, mesh_cidr),
    ]


def _lan_chains(wg: str, lans: Sequence[str], reached: Iterable[Prefix]) -> Iterator[Chain]:
    """Yield what networks behind the node need: a way on, and an address that an exit takes."""
    if not lans:
        return
    forward: list[str] = []
    for lan in lans:
        out, back = f"iifname {lan} oifname {wg}", f"iifname {wg} oifname {lan}"
        forward += [f"{out} {CLAMP}", f"{back} {CLAMP}", f"{out} accept"]
        forward.append(f"{back} ct state established,related accept")
    yield "sources", "type filter hook forward priority filter", forward
    every = f"iifname {{ {', '.join(lans)} }} oifname {wg}"
    inside = [f"{every} {_word(each)} daddr {each} accept" for each in reached]
    nat = [*inside, f"{every} masquerade"]
    yield "sources_nat", "type nat hook postrouting priority srcnat", nat


def let_out(prefixes: Iterable[Prefix]) -> Iterator[str]:
    """Yield the nft rules that let packets to `prefixes` leave by whatever way they have."""
    every = list(prefixes)
    four = collapse_addresses(each for each in every if isinstance(each, IPv4Network))
    six = collapse_addresses(each for each in every if isinstance(each, IPv6Network))
    for word, own in (("ip", [*map(str, four)]), ("ip6", [*map(str, six)])):
        if own:
            yield f"{word} daddr {{ {', '.join(own)} }} accept"


def _word(prefix: Prefix) -> str:
    return "ip" if prefix.version == 4 else "ip6"
