"""What each tunnel is made of, as a digest that both its ends compute alike.

A change of it means that the two ends must agree before the tunnel works again. It is made of both
keys, PSK use, and for both ends AllowedIPs, endpoints and keepalive; port, MTU and hooks are not
part of it.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256

from wgmesh.errors import WgmeshError
from wgmesh.mesh import topology
from wgmesh.mesh.topology import Layout
from wgmesh.model import Inventory, Node, Prefix


def link_digests(inventory: Inventory, node_name: str) -> dict[str, str]:
    """Return for each peer of the node, by public key, the hex SHA-256 of their link's definition.

    Costs O(n). Raises WgmeshError when there is no such node with a key.
    """
    layout = topology.layout(inventory)
    node = layout.nodes.get(node_name)
    if node is None:
        raise WgmeshError(f"there is no node {node_name} with a public_key", "check the name")
    sums = _sums(layout)
    return {
        peer.public_key: _digest(node, peer, sums)
        for peer in topology.peers(layout, node)
        if peer.public_key is not None
    }


AllowedSum = Callable[[Node, Node], int]
"""A number for the set of AllowedIPs that the first node gives the second."""


def _digest(one: Node, other: Node, allowed_sum: AllowedSum) -> str:
    ends = []
    for node, peer in ((one, other), (other, one)):
        reached_at = ",".join(str(endpoint) for endpoint in topology.endpoints(node))
        seconds = topology.keepalive(node, peer)
        ends.append(f"{node.public_key} {allowed_sum(node, peer):x} {reached_at} {seconds}")
    psk = "psk" if topology.uses_psk(one, other) else "no-psk"
    return sha256("\n".join([*sorted(ends), psk]).encode()).hexdigest()


def _sums(layout: Layout) -> AllowedSum:
    """Return the function that stands for `topology.allowed` without its cost.

    What a gateway carries differs from node to node by that node's own part only. A set is summed
    up as the sum of its members' digests, so that the part is taken out by subtraction.
    """
    own = {name: _sum(topology.own(node)) for name, node in layout.nodes.items()}
    if layout.hubs:
        spokes = [node for node in layout.nodes.values() if topology.is_spoke(layout, node)]
        part = {spoke.name: _sum(spoke.allowed_ips) for spoke in spokes}
        whole = _sum(layout.mesh_cidr) + sum(part.values())
    else:
        part = {name: own[name] for name, node in layout.nodes.items() if node.endpoint is None}
        whole = sum(part.values())

    def allowed_sum(node: Node, peer: Node) -> int:
        through = whole - part[node.name] if topology.is_gateway(layout, node, peer) else 0
        return own[peer.name] + through

    return allowed_sum


def _sum(prefixes: Iterable[Prefix]) -> int:
    total = 0
    for prefix in topology.sort(prefixes):
        packed = prefix.network_address.packed + bytes([prefix.prefixlen])
        total += int.from_bytes(sha256(packed).digest())
    return total
