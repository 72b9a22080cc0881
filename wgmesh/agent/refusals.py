"""What cannot work on this machine is refused before anything is touched."""

from wgmesh import linux
from wgmesh.agent.node import Running
from wgmesh.errors import InventoryError
from wgmesh.model.plan import NodePlan


def refuse_interface(plan: NodePlan, interface: str) -> None:
    """Raise InventoryError when the mesh's interface is not the one this machine has it on."""
    if plan.interface != interface:
        raise InventoryError(
            f"the inventory renames the interface {interface} to {plan.interface}",
            "an enrolled node keeps its interface: leave and join again, or revert the name",
        )


def refuse_statically(plan: NodePlan, before: Running | None, others: int) -> None:
    """Raise InventoryError for a plan that cannot work here; the mesh has `others` beside it."""
    owner: dict[object, str] = {}
    for peer in plan.peers:
        for prefix in peer.allowed_ips:
            if prefix in owner:
                raise InventoryError(
                    f"{owner[prefix]} and {peer.name} both get {prefix}",
                    "one prefix goes to one peer",
                )
            owner[prefix] = peer.name
    if plan.firewall is not None:
        linux.nftables.check(plan.firewall)
    had_peers = before is not None and before.plan is not None and bool(before.plan.peers)
    if had_peers and not plan.peers and others:
        raise InventoryError(
            f"this node would have no peer left, though the mesh has {others} other nodes",
            "give this node or another an endpoint, or a hub",
        )
