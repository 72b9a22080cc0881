"""Which addresses and prefixes of an inventory collide, in one sweep over the sorted networks."""

from collections.abc import Mapping

from wgmesh.frozen import frozen
from wgmesh.inventory.build import Parsed
from wgmesh.inventory.draft import Report
from wgmesh.model.inventory import Node
from wgmesh.model.terms import Address, Prefix, Topology

_MAX_NAMED = 3


@frozen
class _Claim:
    """A network that a node answers for: one of its addresses, or one of its allowed_ips."""

    first: int
    last: int
    node: Node
    network: Prefix | Address
    own: bool


def check_overlaps(parsed: Parsed, report: Report) -> None:
    """Note addresses given twice, prefixes of two nodes (errors), nested prefixes (warnings).

    Two peers with the same AllowedIPs cannot be: the later takes it from the earlier, wg(8).
    """
    owners: dict[Address, Node] = {}
    claims: dict[int, list[_Claim]] = {4: [], 6: []}
    for node in parsed.nodes:
        for interface in node.address:
            ip: Address = interface.ip
            if ip in owners:
                _address_twice(parsed, report, node, owners[ip], ip)
                continue
            owners[ip] = node
            number = int(ip)
            claims[ip.version].append(_Claim(number, number, node, ip, own=True))
        for network in node.allowed_ips:
            first, last = int(network.network_address), int(network.broadcast_address)
            claims[network.version].append(_Claim(first, last, node, network, own=False))
    for family in claims.values():
        _sweep(parsed, report, family)


def _address_twice(parsed: Parsed, report: Report, node: Node, other: Node, ip: Address) -> None:
    table = parsed.table(node)
    whose = "this node" if other is node else f"node {other.name}"
    first = parsed.table(other)
    where = "" if other is node else f"first at {first.file}:{first.line('address')}"
    report.error(table, "address", f"{ip} is an address of {whose} already", where)


def _sweep(parsed: Parsed, report: Report, claims: list[_Claim]) -> None:
    """Compare each network with those that enclose it: O(n log n), since they form a tree."""
    # Wider networks first; among equals an address owns its network, then the order of the files.
    claims.sort(key=lambda claim: (claim.first, -claim.last, not claim.own))
    enclosing: list[_Claim] = []
    inside: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        while enclosing and enclosing[-1].last < claim.first:
            enclosing.pop()
        top = enclosing[-1] if enclosing else None
        if top and (top.first, top.last) == (claim.first, claim.last):
            if top.node is not claim.node:
                _prefix_twice(parsed, report, claim, top)
            continue
        outer = next((c for c in reversed(enclosing) if c.node is not claim.node), None)
        # A default route encloses everything on purpose.
        if outer and outer.last - outer.first < (1 << _bits(outer)) - 1:
            _nested(parsed, report, claim, outer, inside)
        enclosing.append(claim)
    _addresses_inside(parsed, report, inside)


def _bits(claim: _Claim) -> int:
    return claim.network.max_prefixlen


def _prefix_twice(parsed: Parsed, report: Report, claim: _Claim, first: _Claim) -> None:
    kind = "an address" if first.own else "among the allowed_ips"
    table = parsed.table(first.node)
    where = f"first at {table.file}:{table.line('address' if first.own else 'allowed_ips')}"
    report.error(
        parsed.table(claim.node),
        "allowed_ips",
        f"{claim.network} is {kind} of node {first.node.name} already",
        where,
    )


def _nested(
    parsed: Parsed,
    report: Report,
    claim: _Claim,
    outer: _Claim,
    inside: dict[tuple[str, str], list[str]],
) -> None:
    if claim.own:
        if _is_hub(parsed, outer.node):
            return  # its spokes are what a hub leads to
        key = (outer.node.name, str(outer.network))
        inside.setdefault(key, []).append(f"{claim.network} of node {claim.node.name}")
        return
    report.warning(
        parsed.table(claim.node),
        "allowed_ips",
        f"{claim.network} lies inside {outer.network} of node {outer.node.name}",
        "the longer prefix wins; is that meant?",
    )


def _is_hub(parsed: Parsed, node: Node) -> bool:
    mesh = parsed.mesh
    return mesh is not None and mesh.topology is Topology.STAR and node.name in mesh.hubs


def _addresses_inside(
    parsed: Parsed, report: Report, inside: Mapping[tuple[str, str], list[str]]
) -> None:
    """One warning for each prefix that covers other nodes' addresses, however many they are."""
    for (name, network), covered in inside.items():
        named = ", ".join(covered[:_MAX_NAMED])
        more = f" and {len(covered) - _MAX_NAMED} more" if len(covered) > _MAX_NAMED else ""
        report.warning(
            parsed.draft.nodes[name],
            "allowed_ips",
            f"{network} covers {named}{more}",
            "the longer prefix wins; is that meant?",
        )
