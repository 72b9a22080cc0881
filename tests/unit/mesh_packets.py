"""What a mesh of plans does with a packet, as the kernel would: routes and AllowedIPs, hop by hop.

A tunnel takes a packet out by the longest AllowedIPs that match its destination, and lets it in
only when the longest that match its source belong to the peer that sent it.
"""

from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory
from wgmesh.model.numbers import MAIN_TABLE
from wgmesh.model.plan import NodePlan, Peer
from wgmesh.model.terms import Address

MAX_HOPS = 4


def all_plans(inventory: Inventory) -> dict[str, NodePlan]:
    """Return the plan of each node."""
    return {node.name: plan(inventory, node.name) for node in inventory.nodes}


def cryptokey(of: NodePlan, address: Address) -> Peer | None:
    """Return the peer of `of` that owns `address` by the longest prefix."""
    matches = [
        (prefix.prefixlen, peer.name, peer)
        for peer in of.peers
        for prefix in peer.allowed_ips
        if prefix.version == address.version and address in prefix
    ]
    return max(matches)[2] if matches else None


def forwards(of: NodePlan, version: int) -> bool:
    """Tell whether the node forwards that family."""
    key = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
    return (key, "1") in of.sysctls


def path(
    plans: dict[str, NodePlan], source: Address, start: str, destination: Address, end: str
) -> list[str]:
    """Return the nodes that a packet passes from `start` to `end`, or [] when it is dropped."""
    here, passed = plans[start], [start]
    while here.node != end:
        routed = any(
            route.prefix.version == destination.version
            and destination in route.prefix
            and (route.table, route.device) == (MAIN_TABLE, here.interface)
            for route in here.routes
        )
        peer = cryptokey(here, destination)
        if not routed or peer is None or len(passed) > MAX_HOPS:
            return []
        if here.node != start and not forwards(here, destination.version):
            return []
        there = plans[peer.name]
        back = cryptokey(there, source)
        if back is None or back.name != here.node:
            return []
        mine = next(other for other in there.peers if other.name == here.node)
        if not (peer.endpoints or mine.endpoints):
            return []  # neither end could have found the other
        here = there
        passed.append(here.node)
    return passed
