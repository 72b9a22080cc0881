"""The rule of others, put in the place of wgmesh's: every tunnel must be up, or the change goes.

On the PYTHONPATH of a node only while the harness compares; see tests/soak/converge.py.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from wgmesh import judge, proof
from wgmesh.judge import Roles, StrictPeer
from wgmesh.model.health import Health, Proof
from wgmesh.model.plan import NodePlan


def all_must_be_up(
    plan: NodePlan, baseline: Health, touched: Collection[str], fits: Mapping[str, int | None]
) -> Roles:
    """Return every managed peer as strict; one that has another key now must shake hands."""
    strict = []
    for peer in plan.peers:
        health = baseline.peers.get(peer.public_key)
        if not peer.managed or peer.intermittent:
            continue
        if health is None or health.proof is Proof.NONE:
            strict.append(StrictPeer(peer.name, peer.public_key, Proof.SILENT))
        else:
            strict.append(StrictPeer(peer.name, peer.public_key, health.proof, health.echoed))
    return Roles(tuple(strict))


def it_was_the_change(
    plan: NodePlan,
    lost: Sequence[StrictPeer],
    remote: Callable[[], bool] | None,
    seconds: float,
) -> bool:
    """Return True: nobody else asks whether what was lost would be away without the change."""
    return True


judge.roles = all_must_be_up
proof.comes_back = it_was_the_change
