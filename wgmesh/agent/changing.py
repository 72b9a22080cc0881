"""A change of this node to a new generation: proposed, and tried until it is clear what failed."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from wgmesh import generation, records
from wgmesh.agent import manual, rotation, states
from wgmesh.agent.node import PLACES, Node
from wgmesh.generation import Manifest
from wgmesh.judge import Windows
from wgmesh.model.plan import NodePlan
from wgmesh.proof import Fits, Trial
from wgmesh.transaction.execute import execute
from wgmesh.transaction.proposal import Outcome, Proposal

log = logging.getLogger(__name__)

_ATTEMPTS = 3
"""To apply a change: what else is lost meanwhile is no reason to go on for ever."""


def another_key(previous: NodePlan | None, plan: NodePlan) -> bool:
    """Return whether this node goes over to another key."""
    return previous is not None and previous.public_key != plan.public_key


def propose(
    me: Node,
    manifest: Manifest,
    plan: NodePlan,
    previous: NodePlan | None,
    files: Mapping[str, bytes],
    *,
    fits: Fits,
    remote: Callable[[], bool],
    remote_before: bool,
) -> Proposal:
    """Return the change from `previous` (None: nothing of ours) to `plan`, which must prove itself.

    See Trial for the last three.
    """
    policy = me.settings
    return Proposal(
        manifest=manifest,
        target=states.target_for(plan, previous),
        sysctl_keys=states.sysctl_keys(plan, previous),
        files=files,
        trial=Trial(
            plan=rotation.as_used(plan),
            fits=fits,
            remote=remote,
            remote_before=remote_before,
            windows=Windows(
                policy.confirm_most_seconds,
                policy.confirm_silent_seconds,
                policy.confirm_minority_seconds,
            ),
            another_key=another_key(previous, plan),
        ),
        hooks=manual.hooks(previous, plan),
        undo_hooks=manual.hooks(plan, previous),
        adopt=previous is None,
    )


def attempt(proposal: Proposal) -> Outcome:
    """Carry out `proposal`; again when what was lost by it turns out to be away without it.

    Who was away then only counts when it shows life.
    """
    for left in reversed(range(_ATTEMPTS)):
        known = records.read_quarantine(PLACES.state), records.read_verdict(PLACES.state)
        outcome = execute(proposal, PLACES)
        trial = proposal.trial
        if outcome.confirmed or not outcome.innocent or trial is None or not left:
            break
        records.write_quarantine(PLACES.state, known[0])
        records.write_verdict(PLACES.state, known[1])
        log.warning("so the change is not to blame: it is applied again")
        number = generation.next_number(PLACES.generations)
        proposal = replace(
            proposal,
            manifest=replace(proposal.manifest, number=number),
            trial=replace(
                trial,
                doubtful=trial.doubtful | outcome.lost,
                remote_before=trial.remote_before and not outcome.remote_lost,
            ),
        )
    return outcome
