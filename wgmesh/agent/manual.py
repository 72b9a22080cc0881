"""What an operator does by hand: rollback, hold, resume, reconcile, recover."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from wgmesh import generation, journal, proof, quarantine, records, settings, watchdog
from wgmesh.agent import adopt, look, node, rotation, states
from wgmesh.agent.node import PLACES, Running
from wgmesh.agent.sync import Result, finish_cut_short
from wgmesh.desired import restored
from wgmesh.errors import LockedError, WgmeshError
from wgmesh.files import locked
from wgmesh.generation import Manifest
from wgmesh.journal import Journal, Phase
from wgmesh.model.kernel import KernelState
from wgmesh.model.plan import NodePlan
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import Hold
from wgmesh.transaction.converge import converge, undisturbed
from wgmesh.transaction.execute import execute
from wgmesh.transaction.proposal import Proposal

log = logging.getLogger(__name__)


def hooks(leaving: NodePlan | None, entering: NodePlan | None) -> tuple[str, ...]:
    """Return the hooks to run on the way from one plan to another: post_down, then post_up.

    Hooks that are the same in both are not run.
    """
    old = (leaving.post_up, leaving.post_down) if leaving is not None else (None, None)
    new = (entering.post_up, entering.post_down) if entering is not None else (None, None)
    if old == new:
        return ()
    return tuple(hook for hook in (old[1], new[0]) if hook)


def _earlier(current: int) -> int:
    """Return the newest generation before `current` that is whole and was not left as bad."""
    left = {entry.digest for entry in records.read_quarantine(PLACES.state)}
    for number in reversed(generation.numbers(PLACES.generations)):
        try:
            if number < current and whole(number).manifest.digest not in left:
                return number
        except WgmeshError as error:
            log.warning("%s", error.message)
    raise WgmeshError(
        f"there is no generation before {current} to go back to",
        "wgmesh history lists what there is",
    )


def whole(number: int) -> Running:
    """Return generation `number`. Raises WgmeshError when it cannot be gone back to."""
    found = node.at_generation(number)
    if found.plan is None and number != 0:
        raise WgmeshError(
            f"generation {number} was altered and cannot be rendered again",
            "wgmesh history lists others",
        )
    return found


def rollback(number: int | None, *, hold: bool) -> Result:
    """Go back to generation `number` (None: the one before) without waiting for proof.

    What is left goes into quarantine for good, and the node holds unless told not to. Raises
    WgmeshError when there is no such generation, LockedError when nobody can have meant what runs
    by now: it came while the lock was waited for.
    """
    node.require_root()
    seen = generation.booted(PLACES.generations)
    with node.lock():
        if number is None and generation.booted(PLACES.generations) != seen:
            raise LockedError(
                "another generation has come meanwhile", "wgmesh history says which one to leave"
            )
        me = node.load_any()
        hold = hold and not me.enrolment.direct  # where nothing is followed, nothing need wait
        finish_cut_short()
        current = node.running()
        if current is None:
            raise WgmeshError("nothing was applied yet", "run: wgmesh sync")
        wanted = _earlier(current.manifest.number) if number is None else number
        if wanted == current.manifest.number:
            return Result("in-sync", f"generation {wanted} already runs")
        goal = whole(wanted)
        if goal.pristine is not None:
            generation.restore(PLACES.generations, wanted, goal.pristine)
        before = records.read_quarantine(PLACES.state), records.read_hold(PLACES.state)
        # First, so that a kill on the way cannot leave the node free to apply it again.
        _leave_behind(current, goal, hold=hold)
        try:
            go(current, goal)
        except (WgmeshError, OSError):
            records.write_quarantine(PLACES.state, before[0])
            records.write_hold(PLACES.state, before[1])
            raise
        records.write_awaited(PLACES.state, ())
        records.write_second(PLACES.run, None)
        tips = records.read_tips(PLACES.state)
        tips = replace(tips, applied=goal.manifest.commit, digest=goal.manifest.digest)
        records.write_tips(PLACES.state, tips)
        verdict = records.read_verdict(PLACES.state)
        if verdict is not None and tips.applied is not None and verdict.commit == tips.applied.id:
            records.write_verdict(PLACES.state, None)
        _speak_up()
        look.refresh(me)
        held = "; held until: wgmesh resume" if hold else ""
        return Result("rolled-back", f"generation {wanted} runs again{held}")


def go(current: Running, goal: Running) -> None:
    """Converge from one confirmed generation to another, boot link included."""
    if goal.plan is None:
        saved = adopt.before_wgmesh()
        keys = frozenset(saved.state.sysctls) | states.sysctl_keys(current.plan)

        former = {**states.former(), **saved.state.sysctls}
        before = replace(saved.state, sysctls=former)
        target: Callable[[KernelState], KernelState] = partial(_as_before, before)

    else:
        keys = states.sysctl_keys(goal.plan, current.plan)
        target = states.target_for(goal.plan, current.plan)
    rotation.before_boot(goal.plan)
    outcome = execute(
        Proposal(
            manifest=goal.manifest,
            target=target,
            sysctl_keys=keys,
            hooks=hooks(current.plan, goal.plan),
            undo_hooks=hooks(goal.plan, current.plan),
            adopt=0 in (goal.manifest.number, current.manifest.number),
            bridge=rotation.bridge(_keys_differ(current.plan, goal.plan)),
        ),
        PLACES,
    )
    if not outcome.confirmed:
        raise WgmeshError(
            f"generation {goal.manifest.number} cannot be restored: {outcome.reason}",
            f"generation {current.manifest.number} stays",
        )
    rotation.point(goal.plan)


def _keys_differ(one: NodePlan | None, other: NodePlan | None) -> bool:
    return one is not None and other is not None and one.public_key != other.public_key


def _as_before(before: KernelState, observed: KernelState) -> KernelState:
    return restored(before, observed, ())


def _leave_behind(current: Running, goal: Running, *, hold: bool) -> None:
    """Quarantine what is left by hand, and hold; what is gone back to is wanted again."""
    now = int(time.time())
    manifest: Manifest = current.manifest
    commit = manifest.commit
    entry = Quarantined(
        digest=manifest.digest,
        commit=commit.id if commit is not None else "",
        subject=commit.subject if commit is not None else "",
        reason="left by `wgmesh rollback`",
        time=now,
    )
    entries = quarantine.harmed(records.read_quarantine(PLACES.state), entry, forever=True)
    entries = tuple(entry for entry in entries if entry.digest != goal.manifest.digest)
    records.write_quarantine(PLACES.state, entries)
    if hold:
        records.write_hold(PLACES.state, Hold("after `wgmesh rollback`", now))


def hold(reason: str) -> Result:
    """Stop applying; fetching and verifying go on."""
    return _set_hold(Hold(reason, int(time.time())), f"held: {reason}")


def resume() -> Result:
    """Apply again from the next sync on."""
    return _set_hold(None, "applying goes on with the next sync")


def _set_hold(value: Hold | None, message: str) -> Result:
    node.require_root()
    with locked(settings.LOCK_FILE, wait=True):
        me = node.load()
        records.write_hold(PLACES.state, value)
        look.refresh(me)
    return Result("held" if value is not None else "resumed", message)


def reconcile() -> Result:
    """Put back what was changed by hand. Raises WgmeshError when nothing was confirmed yet."""
    node.require_root()
    with node.lock():
        me = node.load_any()
        finish_cut_short()
        current = node.running()
        if current is None or current.plan is None:
            raise WgmeshError("there is no confirmed generation to go back to", "wgmesh sync")
        changed = converge_to(current.plan)
        if current.pristine is not None:
            generation.restore(PLACES.generations, current.manifest.number, current.pristine)
            changed = True
        for complaint in generation.link_files(
            PLACES.generations, PLACES.wireguard, current.plan.interface
        ):
            log.warning("%s", complaint)
        look.refresh(me)
    return Result(
        "repaired" if changed else "in-sync",
        "the node runs its confirmed generation again" if changed else "there was no drift",
    )


def converge_to(plan: NodePlan) -> bool:
    """Make the kernel equal the confirmed `plan`; return whether anything differed."""
    seen = states.observe(plan)
    reset = states.idle_peers(plan, seen, time.time())
    target = states.target_for(plan, plan, reset=reset)(seen.state)
    from wgmesh.diff import diff

    if not diff(target, seen.state):
        return False
    with undisturbed():
        converge(target, plan.interface, states.sysctl_keys(plan))
    return True


def _speak_up() -> None:
    """Send every peer a packet, so that it learns the port that this node is found at now."""
    try:
        current = node.running()
        if current is not None and current.plan is not None:
            proof.speak_up(current.plan)
    except WgmeshError as error:
        log.warning("%s", error.message)


def recover(*, wait: bool) -> Result:
    """Finish or undo a transaction that was cut short; `wait` watches over a running one first."""
    node.require_root()
    if wait:
        watchdog.wait(PLACES.journal)
    with locked(settings.LOCK_FILE, wait=True):
        if PLACES.snapshot.exists() and not PLACES.journal.exists():
            # the record of a change is lost, what the change did is not
            journal.write(PLACES.journal, Journal(Phase.GARBLED))
        found = finish_cut_short()
        PLACES.snapshot.unlink(missing_ok=True)  # of a change that ended on a full /run
        if found:
            _speak_up()
    if found:
        return Result("recovered", "a change that was cut short is resolved")
    return Result("in-sync", "there was nothing to recover")
