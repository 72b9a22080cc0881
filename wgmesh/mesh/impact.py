"""What a change of the inventory does to each node: pure, for `wgmesh plan`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from wgmesh.frozen import frozen
from wgmesh.mesh import firewall, topology
from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory, Node
from wgmesh.model.numbers import MAIN_TABLE
from wgmesh.model.plan import NodePlan, Peer, Route, RouteKind
from wgmesh.model.terms import OnNoExit

_WITHOUT = {OnNoExit.BLOCK: "blocked", OnNoExit.DIRECT: "let out by the uplink"}


@frozen
class NodeImpact:
    """What happens on one node: `kind` is planned, added, removed or changed; `lines` say what."""

    node: str
    kind: str
    lines: tuple[str, ...]


def impact(old: Inventory, new: Inventory, *, narrow: bool = True) -> tuple[NodeImpact, ...]:
    """Return the nodes that a change from `old` to `new` concerns, by name.

    Costs O(nodes x changed nodes) where the change has few of them, else (or when not to `narrow`
    it so) O(nodes x nodes); the answer is the same.
    """
    before = {node.name: node for node in old.nodes}
    after = {node.name: node for node in new.nodes}
    few = _few(old, new) if narrow else None
    found = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            found.append(NodeImpact(name, "added", tuple(_whole(_share(new, name)))))
        elif name not in after:
            found.append(NodeImpact(name, "removed", ("keeps its last state until it leaves",)))
        else:
            one, other = old, new
            if few is not None and name not in few:
                one = _part(old, before, (name, *few))
                other = _part(new, after, (name, *few))
            lines = tuple(_changed(_share(one, name), _share(other, name)))
            if lines:
                found.append(NodeImpact(name, "changed", lines))
    return tuple(found)


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


def whole(inventory: Inventory) -> tuple[NodeImpact, ...]:
    """Return the plan of every node of `inventory`, as if each were added."""
    return tuple(
        NodeImpact(node.name, "planned", tuple(_whole(_share(inventory, node.name))))
        for node in inventory.nodes
    )


def _listed(values: object) -> str:
    return ", ".join(str(value) for value in values) if isinstance(values, tuple) else str(values)


def _whole(node: NodePlan) -> Iterator[str]:
    yield f"address {_listed(node.addresses)}, port {node.listen_port}, mtu {node.mtu}"
    for peer in node.peers:
        yield f"+ peer {_peer(peer)}"
    for route in node.routes:
        yield f"+ route {_route(route)}"
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
