"""What a change of the inventory does to each node: pure, for `wgmesh plan`."""

from collections.abc import Iterator
from dataclasses import dataclass

from wgmesh.mesh.compat import link_digests
from wgmesh.mesh.plan import plan
from wgmesh.model import Inventory, NodePlan, Peer


@dataclass(frozen=True, slots=True)
class NodeImpact:
    """What happens on one node: `kind` is added, removed or changed; `lines` say what."""

    node: str
    kind: str
    lines: tuple[str, ...]


def impact(old: Inventory, new: Inventory) -> tuple[NodeImpact, ...]:
    """Return the nodes that a change from `old` to `new` concerns, by name."""
    before = {node.name for node in old.nodes}
    after = {node.name for node in new.nodes}
    found = []
    for name in sorted(before | after):
        if name not in before:
            found.append(NodeImpact(name, "added", tuple(_whole(plan(new, name)))))
        elif name not in after:
            found.append(NodeImpact(name, "removed", ("keeps its last state until it leaves",)))
        else:
            lines = tuple(_changed(old, new, name))
            if lines:
                found.append(NodeImpact(name, "changed", lines))
    return tuple(found)


def whole(inventory: Inventory) -> tuple[NodeImpact, ...]:
    """Return the plan of every node of `inventory`, as if each were added."""
    return tuple(
        NodeImpact(node.name, "planned", tuple(_whole(plan(inventory, node.name))))
        for node in inventory.nodes
    )


def _listed(values: object) -> str:
    return ", ".join(str(value) for value in values) if isinstance(values, tuple) else str(values)


def _whole(node: NodePlan) -> Iterator[str]:
    yield f"address {_listed(node.addresses)}, port {node.listen_port}, mtu {node.mtu}"
    for peer in node.peers:
        yield f"+ peer {_peer(peer)}"
    for route in node.routes:
        yield f"+ route {route.prefix}"


def _peer(peer: Peer) -> str:
    where = f" at {peer.endpoints[0]}" if peer.endpoints else " (behind NAT)"
    return f"{peer.name}{where}, AllowedIPs {_listed(peer.allowed_ips)}"


def _changed(old: Inventory, new: Inventory, name: str) -> Iterator[str]:
    was, will = plan(old, name), plan(new, name)
    for label, one, other in (
        ("public key", was.public_key, will.public_key),
        ("address", was.addresses, will.addresses),
        ("listen port", was.listen_port, will.listen_port),
        ("mtu", was.mtu, will.mtu),
    ):
        if one != other:
            yield f"{label}: {_listed(one)} -> {_listed(other)}"
    links_before, links_after = link_digests(old, name), link_digests(new, name)
    peers_before = {peer.public_key: peer for peer in was.peers}
    peers_after = {peer.public_key: peer for peer in will.peers}
    for key, peer in peers_after.items():
        earlier = peers_before.get(key)
        if earlier is None:
            yield f"+ peer {_peer(peer)}"
        elif links_before[key] != links_after[key]:
            yield f"~ peer {_peer(peer)}: both ends must apply before the tunnel works again"
        elif earlier != peer:
            yield f"~ peer {_peer(peer)}"
    for key, peer in peers_before.items():
        if key not in peers_after:
            yield f"- peer {peer.name}"
    yield from _set_lines(
        "route", {str(r.prefix) for r in was.routes}, {str(r.prefix) for r in will.routes}
    )
    yield from _set_lines(
        "sysctl", {f"{k}={v}" for k, v in was.sysctls}, {f"{k}={v}" for k, v in will.sysctls}
    )
    if was.firewall != will.firewall:
        yield "nft table inet wgmesh: changed"
    if was.exits != will.exits:
        yield "exit candidates: changed"


def _set_lines(label: str, before: set[str], after: set[str]) -> Iterator[str]:
    for value in sorted(after - before):
        yield f"+ {label} {value}"
    for value in sorted(before - after):
        yield f"- {label} {value}"
