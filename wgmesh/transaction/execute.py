"""One transaction: stage, snapshot, apply, prove, and confirm or undo."""

import logging
import time
from dataclasses import replace

from wgmesh import generation, journal, linux, proof, snapshot, watchdog
from wgmesh.desired import another_psk, moved, touched
from wgmesh.errors import DeviceError, WgmeshError
from wgmesh.journal import Journal, Phase
from wgmesh.judge import Judgement, Roles, Verdict, listed, roles
from wgmesh.model.health import Health, Proof
from wgmesh.model.kernel import KernelState, Observed
from wgmesh.model.numbers import SESSION_SECONDS
from wgmesh.proof import Trial
from wgmesh.snapshot import Snapshot
from wgmesh.transaction.converge import converge, run_hook, undisturbed
from wgmesh.transaction.ending import abandon, drop_second_key, settle, undo
from wgmesh.transaction.places import Places
from wgmesh.transaction.proposal import Bridge, Outcome, Proposal

log = logging.getLogger(__name__)

APPLY_SECONDS = 90  # what the watchdog grants beyond the confirm window
BRIDGE_SECONDS = 15  # for handshakes of all peers that are up with the second device


def execute(proposal: Proposal, places: Places) -> Outcome:
    """Carry out `proposal` and return how it ended. The caller holds the lock.

    Raises WgmeshError or OSError when it could not be begun, and then nothing was changed, as after
    a DeviceError; or when the way back failed too, and then the watchdog, or the next `recover`,
    takes it again.
    """
    with undisturbed():
        interface = proposal.manifest.interface
        observed = linux.observe(interface, proposal.sysctl_keys)
        trial = proposal.trial
        baseline = Health({})
        if trial is not None and observed.state.link is not None:
            log.info("looking which tunnels work now")
            baseline = proof.measure(trial.plan, observed, trial.doubtful)
        target = proposal.target(observed.state)
        parts = _roles(trial, target, observed.state, baseline)
        record = journal.begin(
            generation=proposal.manifest.number,
            digest=proposal.manifest.digest,
            commit=proposal.manifest.commit.id if proposal.manifest.commit else "",
            interface=interface,
            window_seconds=APPLY_SECONDS + (trial.windows.minority_seconds if trial else 0),
            staged=proposal.files is not None,
        )
        journal.write(places.journal, record)
        try:
            if proposal.files is not None:
                generation.stage(places.generations, proposal.manifest, proposal.files)
            saved = Snapshot(observed.state, moved(target, observed.state), proposal.undo_hooks)
            snapshot.write(places.snapshot, saved)
            disarm = watchdog.arm(record)
        except (WgmeshError, OSError):
            abandon(places, record)
            raise
        outcome = _attempt(proposal, places, record, target, parts, observed)
        try:
            disarm()
        except WgmeshError as error:
            log.warning("%s: the watchdog ends by itself", error.message)
        if outcome.device is not None:
            raise outcome.device
        before = {key: seen.latest_handshake for key, seen in observed.counters.items()}
        return replace(outcome, handshakes=before)


def _roles(
    trial: Trial | None, target: KernelState, observed: KernelState, baseline: Health
) -> Roles:
    """Return who can prove the change, and say it."""
    if trial is None:
        return Roles()
    altered = touched(target, observed)
    up = frozenset(
        key for key, peer in baseline.peers.items() if peer.proof is not Proof.NONE
    )  # nobody else is asked about: to answer costs reading other versions
    asked = altered & up
    fits = trial.fits(asked, another_psk(target, observed)) if asked else {}
    found = roles(trial.plan, baseline, altered, fits)
    waiting = [peer.name for peer in trial.plan.peers if peer.public_key in found.coordinated]
    if waiting:
        names = ", ".join(waiting[:5]) + (" …" if len(waiting) > 5 else "")
        log.info("perhaps down until their end has changed as well: %s", names)
    if up and not found.strict:
        log.warning("no tunnel can prove this change: it concerns all that worked, at both ends")
    return found


def _attempt(
    proposal: Proposal,
    places: Places,
    record: Journal,
    target: KernelState,
    parts: Roles,
    observed: Observed,
) -> Outcome:
    """Apply, prove, and either confirm or come back to the snapshot."""
    trial, strict = proposal.trial, parts.strict
    health = Health({})
    device: DeviceError | None = None
    try:
        journal.write(places.journal, journal.advance(record, Phase.APPLYING))
        for hook in proposal.hooks:
            run_hook(hook)
        _keep_old_key(proposal.bridge, observed)
        earlier = observed.counters
        if trial is not None and trial.another_key and observed.state.link is not None:
            earlier = proof.counters_before_another_key(record.interface)
        converge(target, record.interface, proposal.sysctl_keys, adopt=proposal.adopt)
        judgement = Judgement(Verdict.CONFIRM)
        if trial is not None:
            log.info("applied; waiting for proof from %d peers", len(strict))
            judgement, health = proof.prove(trial, strict, earlier)
        if judgement.verdict is Verdict.CONFIRM:
            generation.flip(places.generations, record.generation)
    except DeviceError as error:
        device, judgement = error, Judgement(Verdict.UNDO, error.message)
    except WgmeshError as error:
        judgement = Judgement(Verdict.UNDO, error.message)
    except OSError as error:
        judgement = Judgement(Verdict.UNDO, f"{error.filename}: {error.strerror}")
    if judgement.verdict is Verdict.CONFIRM:
        settle(places, record)
        return Outcome(confirmed=True, health=health, roles=parts)
    return _take_back(proposal, places, record, judgement, parts, device)


def _take_back(
    proposal: Proposal,
    places: Places,
    record: Journal,
    judgement: Judgement,
    parts: Roles,
    device: DeviceError | None,
) -> Outcome:
    """Come back to the snapshot because of `judgement`, or of `device`, which no change caused."""
    trial = proposal.trial
    log.warning("taking the change back: %s", judgement.reason)
    if proposal.condemn is not None and device is None:
        try:
            proposal.condemn(judgement.reason)
        except OSError as error:
            log.warning("the quarantine cannot be recorded: %s", error.strerror)
    undo(places, record)
    if trial is not None and device is None:
        proof.speak_up(trial.plan)
    drop_second_key(proposal.bridge)
    return Outcome(
        confirmed=False,
        reason=judgement.reason,
        roles=parts,
        innocent=trial is not None and judgement.suspects and _is_innocent(trial, judgement),
        lost=frozenset(peer.public_key for peer in judgement.lost),
        remote_lost=judgement.remote_lost,
        device=device,
    )


def _keep_old_key(wanted: Bridge, observed: Observed) -> None:
    """Let the key that the interface has go on beside the one that it gets, if that is `wanted`.

    Raises DeviceError when it is needed and cannot be.
    """
    if wanted is Bridge.NONE or observed.state.link is None:
        return
    try:
        now = time.time()
        alive = {
            key
            for key, seen in observed.counters.items()
            if 0 <= now - seen.latest_handshake < SESSION_SECONDS
        }
        linux.bridge.build(observed.state.link, alive, seconds=BRIDGE_SECONDS)
    except WgmeshError as error:
        if wanted is Bridge.NEEDED:  # no fault of the change: the next turn tries again
            said = f"the old key cannot go on beside the new one: {error.message}"
            raise DeviceError(said, error.hint) from error
        log.warning("peers wait until they know the new key: %s", error.message)


def _is_innocent(trial: Trial, judgement: Judgement) -> bool:
    """Return whether nothing of what was lost comes back now that the change is undone."""
    remote = trial.remote if judgement.remote_lost else None
    seconds = trial.windows.minority_seconds
    if proof.comes_back(trial.plan, judgement.lost, remote, seconds):
        return False
    names = [listed(judgement.lost)] if judgement.lost else []
    names += ["the git remote"] if judgement.remote_lost else []
    log.warning("away without the change as well: %s", " and ".join(names))
    return True
