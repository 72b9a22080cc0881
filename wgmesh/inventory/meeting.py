"""Who of an inventory can meet whom: nodes behind NAT, spokes and hubs, those who need an exit."""

from collections.abc import Callable, Sequence

from wgmesh.inventory.build import ALL, Parsed
from wgmesh.inventory.draft import Report, Table, some
from wgmesh.model.inventory import Mesh, Node
from wgmesh.model.terms import OnNoExit, Topology


def check_meetings(parsed: Parsed, report: Report, mesh: Mesh, table: Table) -> None:
    """Note nodes that cannot meet, directly or at one that forwards, and those without an exit."""
    if mesh.topology is Topology.STAR and not mesh.hubs and (None, "hubs") not in parsed.bad:
        report.error(table, "hubs", "a star needs hubs", "name at least one node")
    if parsed.draft.broken or {(None, "topology"), (None, "hubs")} & parsed.bad:
        return
    _check_ways_out(parsed, report, mesh, table)
    behind_nat = [n for n in parsed.nodes if not _reachable(parsed, n)]
    if mesh.topology is Topology.FULLMESH:
        _check_pairs(parsed, report, behind_nat, lambda n: _forwards(parsed, n), NO_WAY_HINT)
        return
    if not set(mesh.hubs) & parsed.names():
        return
    hubs = frozenset(mesh.hubs)
    spokes = [n for n in behind_nat if n.name not in hubs]
    stuck = [n for n in behind_nat if n.name in hubs] if spokes else []
    for hub in stuck:
        report.error(
            parsed.table(hub), "endpoint",
            f"is missing: the node is a hub, and {some(n.name for n in spokes)} behind NAT",
            "a hub needs an endpoint when a spoke has none",
        )  # fmt: skip
    if not stuck:
        _check_pairs(parsed, report, behind_nat, lambda n: n.name in hubs, _STAR_HINT)


NO_WAY_HINT = "give one of them an endpoint, or a node with an endpoint forwarding = true"
_STAR_HINT = "give one of the hubs an endpoint"


def _check_pairs(
    parsed: Parsed,
    report: Report,
    behind_nat: Sequence[Node],
    forwards: Callable[[Node], bool],
    hint: str,
) -> None:
    if len(behind_nat) < 2 or any(_reachable(parsed, n) and forwards(n) for n in parsed.nodes):
        return
    first, second = sorted(behind_nat, key=lambda node: node.name)[:2]
    report.error(
        parsed.table(second), "endpoint",
        f"is missing, as on node {first.name}: both are behind NAT, and no node between them"
        " forwards",
        hint,
    )  # fmt: skip


def _check_ways_out(parsed: Parsed, report: Report, mesh: Mesh, table: Table) -> None:
    """Note nodes that have no tunnel to any of the exits: a spoke has them to hubs only."""
    fields = {(None, "exit_nodes"), (None, "enable_exit_for_nodes")}
    exits = [node for node in parsed.nodes if node.name in mesh.exit_nodes]
    if not exits or fields & parsed.bad:
        return
    every = mesh.enable_exit_for_nodes == ALL
    users = [
        node
        for node in parsed.nodes
        if node not in exits and (every or node.name in mesh.enable_exit_for_nodes)
    ]
    if mesh.topology is Topology.STAR:
        hubs = set(mesh.hubs) & parsed.names()
        if not hubs or hubs & {node.name for node in exits}:
            return
        lost = [node.name for node in users if node.name not in hubs]
        what, hint = "none is a hub", "name a hub among them, or take those nodes out of"
    else:
        if any(_reachable(parsed, node) for node in exits):
            return
        lost = [node.name for node in users if not _reachable(parsed, node)]
        what, hint = "none has an endpoint", "give one of them one, or take those nodes out of"
    if lost:
        without = "blocked" if mesh.on_no_exit is OnNoExit.BLOCK else "let out by the uplink"
        whose = "its" if len(lost) == 1 else "their"
        report.warning(
            table, "exit_nodes",
            f"{what}, so {some(lost)} can use no exit: {whose} internet traffic is {without}",
            f"{hint} enable_exit_for_nodes",
        )  # fmt: skip


def _reachable(parsed: Parsed, node: Node) -> bool:
    # An endpoint with a problem of its own is an endpoint once that is mended.
    return "endpoint" in parsed.table(node).values


def _forwards(parsed: Parsed, node: Node) -> bool:
    return node.forwarding or parsed.is_bad(node, "forwarding")
