"""What a change of the inventory does to each node: pure, for `wgmesh plan`."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from wgmesh.frozen import frozen
from wgmesh.mesh import firewall, topology
from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory, Node
from wgmesh.model.numbers import MAIN_TABLE
from wgmesh.model.plan import NodePlan, Peer, Route, RouteKind
from wgmesh.model.terms import OnNoExit

_COUNTABLE = frozenset(f"{sign} {what}" for sign in "+-~" for what in ("peer", "route"))

_WITHOUT = {OnNoExit.BLOCK: "blocked", OnNoExit.DIRECT: "let out by the uplink"}


@frozen
class NodeImpact:
    """What happens on one node: `kind` is planned, added, removed or changed; `lines` say what.

    When `brief`, peers and routes are only counted in them.
    """

    node: str
    kind: str
    lines: tuple[str, ...]
    brief: bool = False


def impact(old: Inventory, new: Inventory, *, narrow: bool = True) -> Iterator[NodeImpact]:
    """Yield what a change from `old` to `new` does to each node that it concerns, by name.

    Costs O(nodes x changed nodes) where the change has few of them, else (or when not to `narrow`
    it so) O(nodes x nodes); the answer is the same.
    """
    return impact_on(old, new, sorted({node.name for node in (*old.nodes, *new.nodes)}), narrow)


def impact_on(
    old: Inventory, new: Inventory, names: Iterable[str], narrow: bool = True
) -> Iterator[NodeImpact]:
    """Yield what a change from `old` to `new` does to those of the nodes `names` it concerns."""
    before = {node.name: node for node in old.nodes}
    after = {node.name: node for node in new.nodes}
    few = _few(old, new) if narrow else None
    for name in names:
        if name not in before:
            yield NodeImpact(name, "added", tuple(_whole(_share(new, name))))
        elif name not in after:
            yield NodeImpact(name, "removed", ("keeps its last state until it leaves",))
        else:
            one, other = old, new
            if few is not None and name not in few:
                one = _part(old, before, (name, *few))
                other = _part(new, after, (name, *few))
            lines = tuple(_changed(_share(one, name), _share(other, name)))
            if lines:
                yield NodeImpact(name, "changed", lines)


@frozen
class Bounded:
    """What happens on each node; where that is brief, `details` are the lines that were counted.

    Each of them stands there once, with the number of nodes on which it happens.
    """

    nodes: tuple[NodeImpact, ...]
    details: tuple[tuple[str, int], ...] = ()


def bounded(impacts: Iterable[NodeImpact], most_lines: int) -> Bounded:
    """Return what happens on each node; the kinds of which that has more than `most_lines` briefly.

    What is the same on several nodes counts once, and takes the room of one: on a thousand nodes
    with a thousand peers each the change of a few is a few lines. Only nodes that change have
    details: what is new of a node that is added is among the lines of the others.
    """
    found: list[NodeImpact] = []
    same: dict[tuple[str, ...], tuple[str, ...]] = {}
    told: Counter[str] = Counter()
    brief: set[str] = set()
    details: Counter[str] = Counter()

    def counted(of: NodeImpact) -> NodeImpact:
        if of.kind == "changed":
            details.update(filter(_countable, of.lines))
        return _briefly(of)

    for each in impacts:
        kind = each.kind
        if kind not in brief and each.lines not in same:
            told[kind] += len(each.lines)
            if told[kind] > most_lines:
                brief.add(kind)
                found = [counted(one) if one.kind == kind else one for one in found]
        shown = counted(each) if kind in brief else each
        found.append(replace(shown, lines=same.setdefault(shown.lines, shown.lines)))
    return Bounded(tuple(found), tuple(sorted(details.items())))


def _briefly(of: NodeImpact) -> NodeImpact:
    """Return the same with peers and routes counted, in the place of the first of their kind."""
    counts = Counter(map(_countable, of.lines))
    lines = []
    for line in of.lines:
        kind = _countable(line)
        if not kind:
            lines.append(line)
        else:
            lines += _counted(kind, counts.pop(kind, 0))
    return replace(of, lines=tuple(lines), brief=True)


def _counted(kind: str, number: int) -> Iterator[str]:
    sign, _, what = kind.partition(" ")
    if number:
        yield f"{sign} {number} {what}{'s' if number > 1 else ''}"


def _countable(line: str) -> str:
    """Return the sign and the first word of a line about a peer or a route, else nothing."""
    kind = " ".join(line.split(" ", 2)[:2])
    return kind if kind in _COUNTABLE else ""


def hooks(old: Inventory | None, new: Inventory) -> tuple[str, ...]:
    """Return the nodes on which the change brings another command, by name; without `old` any."""
    before = (
        {} if old is None else {node.name: (node.post_up, node.post_down) for node in old.nodes}
    )
    return tuple(
        node.name
        for node in new.nodes
        for own in [(node.post_up, node.post_down)]
        if any(own) and before.get(node.name) != own
    )


def _share(inventory: Inventory, name: str) -> NodePlan:
    return plan(inventory, name, allow_hooks=True)


def _few(old: Inventory, new: Inventory) -> frozenset[str] | None:
    """Return the nodes out of which follows what the change does to all others; None: all are.

    They are those that change and those that carry the traffic of others.
    """
    before = {node.name: node for node in old.nodes}
    after = {node.name: node for node in new.nodes}
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    carry = set()
    for inventory in (old, new):
        of = topology.layout(inventory)
        carry |= {*of.hubs, *([of.relay.name] if of.relay is not None else [])}
    versions = {prefix.version for prefix in old.mesh.mesh_cidr}
    stray = any(
        prefix.version not in versions
        for inventory in (old, new)
        for node in inventory.nodes
        for prefix in node.allowed_ips
    )  # then whether a node forwards a family depends on all of its peers
    same = replace(old.mesh, enable_exit_for_nodes=()) == replace(
        new.mesh, enable_exit_for_nodes=()
    )
    if not same or stray or changed & carry:
        return None
    return frozenset({*changed, *carry, *old.mesh.exit_nodes, *new.mesh.exit_nodes})


def _part(inventory: Inventory, nodes: Mapping[str, Node], names: Iterable[str]) -> Inventory:
    kept = sorted(name for name in names if name in nodes)
    return replace(inventory, nodes=tuple(nodes[name] for name in kept))


def whole(
    inventory: Inventory, names: Iterable[str], most_lines: int = sys.maxsize
) -> Iterator[NodeImpact]:
    """Yield the plan of each of the nodes `names`, as if it were added.

    After `most_lines` of lines the rest is brief: to write what is only counted costs a third more.
    """
    told = 0
    for name in names:
        brief = told > most_lines
        lines = tuple(_whole(_share(inventory, name), counted=brief))
        told += len(lines)
        yield NodeImpact(name, "planned", lines, brief)


def _listed(values: object) -> str:
    return ", ".join(str(value) for value in values) if isinstance(values, tuple) else str(values)


def _whole(node: NodePlan, *, counted: bool = False) -> Iterator[str]:
    yield f"address {_listed(node.addresses)}, port {node.listen_port}, mtu {node.mtu}"
    if counted:
        yield from _counted("+ peer", len(node.peers))
        yield from _counted("+ route", len(node.routes))
    else:
        yield from (f"+ peer {_peer(peer)}" for peer in node.peers)
        yield from (f"+ route {_route(route)}" for route in node.routes)
    for fact in _facts(node):
        yield f"+ {fact}"


def _peer(peer: Peer) -> str:
    where = f" at {peer.endpoints[0]}" if peer.endpoints else " (behind NAT)"
    return f"{peer.name}{where}, AllowedIPs {_listed(peer.allowed_ips)}"


def _changed(was: NodePlan, will: NodePlan) -> Iterator[str]:
    for label, one, other in (
        ("interface", was.interface, will.interface),
        ("public key", was.public_key, will.public_key),
        ("address", was.addresses, will.addresses),
        ("listen port", was.listen_port, will.listen_port),
        ("mtu", was.mtu, will.mtu),
    ):
        if one != other:
            yield f"{label}: {_listed(one) or 'none'} -> {_listed(other) or 'none'}"
    pairs = dict(_pairs(was, will))
    for peer in will.peers:
        earlier = pairs.get(peer.public_key)
        if earlier is None:
            yield f"+ peer {_peer(peer)}"
        elif changes := "; ".join(_peer_changes(earlier, peer)):
            yield f"~ peer {peer.name}: {changes}"
    kept = {earlier.public_key for earlier in pairs.values()}
    for peer in was.peers:
        if peer.public_key not in kept:
            yield f"- peer {peer.name}"
    yield from _set_lines("route ", set(map(_route, was.routes)), set(map(_route, will.routes)))
    yield from _set_lines(
        "sysctl ", {f"{k}={v}" for k, v in was.sysctls}, {f"{k}={v}" for k, v in will.sysctls}
    )
    facts = set(_facts(was)), set(_facts(will))
    yield from _set_lines("", *facts)
    if was.firewall != will.firewall and facts[0] == facts[1]:
        yield "nft table inet wgmesh: changed"


def _route(route: Route) -> str:
    """Return a route as ip-route(8) has it, without what most of ours have."""
    kind = "" if route.kind is RouteKind.UNICAST else f"{route.kind.value} "
    return f"{kind}{route.prefix}" + ("" if route.table == MAIN_TABLE else f" table {route.table}")


def _facts(node: NodePlan) -> Iterator[str]:
    """Yield what a node does for others, where it leaves the mesh, and what it runs as root."""
    for name in firewall.translated(node.firewall):
        yield f"NAT: what comes from the mesh leaves {name} with this node's address"
    if node.exits is not None:
        names = _listed(tuple(each.name for each in node.exits.candidates)) or "none that it meets"
        primary = f", {node.exits.primary} first" if node.exits.primary else ""
        by = f" by {_listed(node.exits.test_target)}" if node.exits.test_target else ""
        yield (
            f"exits: {names} ({node.exits.policy.value}{primary}), tried each"
            f" {node.exits.check_interval_seconds} s{by};"
            f" without one internet traffic is {_WITHOUT[node.exits.on_no_exit]}"
        )
    if node.hubs is not None:
        names = _listed(tuple(each.name for each in node.hubs.candidates))
        yield f"hubs: {names} ({node.hubs.selection.value})"
    for name, command in (("post_up", node.post_up), ("post_down", node.post_down)):
        if command is not None:
            yield f"{name}, as root where its wgmesh.toml allows hooks: {command}"


def _pairs(was: NodePlan, will: NodePlan) -> Iterator[tuple[str, Peer]]:
    """Yield the key of each peer that stays, with what it was: by key, else by name."""
    by_key = {peer.public_key: peer for peer in was.peers}
    by_name = {peer.name: peer for peer in was.peers}
    keys = {peer.public_key for peer in will.peers}
    for peer in will.peers:
        named = by_name.get(peer.name)
        if peer.public_key in by_key:
            yield peer.public_key, by_key[peer.public_key]
        elif named is not None and named.public_key not in keys:
            yield peer.public_key, named


def _peer_changes(was: Peer, will: Peer) -> Iterator[str]:
    if was.name != will.name:
        yield f"it was {was.name}"
    if was.public_key != will.public_key:
        yield "another public key"
    if was.next_public_key != will.next_public_key:
        yield "a next public key" if will.next_public_key else "no next public key"
    if (was.preshared_key_path is None) != (will.preshared_key_path is None):
        yield "with a preshared key" if will.preshared_key_path else "without preshared key"
    elif was.preshared_key_path != will.preshared_key_path:
        yield f"preshared key in {will.preshared_key_path}"
    if was.endpoints != will.endpoints:
        yield f"endpoint {_listed(was.endpoints) or 'none'} -> {_listed(will.endpoints) or 'none'}"
    gained = [str(prefix) for prefix in will.allowed_ips if prefix not in was.allowed_ips]
    lost = [str(prefix) for prefix in was.allowed_ips if prefix not in will.allowed_ips]
    if gained or lost:
        yield " ".join(["AllowedIPs", *(f"+{p}" for p in gained), *(f"-{p}" for p in lost)])
    if was.managed != will.managed:
        yield "managed" if will.managed else "not managed, so that it counts in no proof"
    if was.intermittent != will.intermittent:
        yield "intermittent, so that it counts in no proof" if will.intermittent else "always there"
    if was.persistent_keepalive != will.persistent_keepalive:
        yield f"keepalive {was.persistent_keepalive} s -> {will.persistent_keepalive} s"


def _set_lines(label: str, before: set[str], after: set[str]) -> Iterator[str]:
    for value in sorted(after - before):
        yield f"+ {label}{value}"
    for value in sorted(before - after):
        yield f"- {label}{value}"
