"""Stage, snapshot, apply, prove, confirm or undo; and recover what was cut short.

The order is that of the page "Applying and rolling back". The flip of the boot link is the commit
point: before it everything leads back to the snapshot, after it everything leads forward.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from wgmesh import generation, journal, linux, process, proof, snapshot, watchdog
from wgmesh.desired import another_psk, moved, restored, touched
from wgmesh.diff import diff, split
from wgmesh.errors import DeviceError, WgmeshError
from wgmesh.generation import Manifest
from wgmesh.journal import Journal, Phase
from wgmesh.judge import Judgement, Roles, Verdict, listed, roles
from wgmesh.model.health import Health, Proof
from wgmesh.model.kernel import KernelState, Observed
from wgmesh.proof import Trial
from wgmesh.snapshot import Snapshot

log = logging.getLogger(__name__)

APPLY_SECONDS = 90  # what the watchdog grants beyond the confirm window
BRIDGE_SECONDS = 15  # for handshakes of all peers that are up with the second device
BACK_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Places:
    """Where a transaction writes."""

    generations: Path
    wireguard: Path
    run: Path
    state: Path

    @property
    def journal(self) -> Path:
        """The record of the transaction in flight."""
        return self.state / "journal.toml"

    @property
    def snapshot(self) -> Path:
        """The live state from before it."""
        return self.run / "snapshot.json"


class Bridge(Enum):
    """Whether the old key goes on beside a new one of this node, until its peers have gone over."""

    NONE = "none"
    WANTED = "wanted"  # where this machine can
    NEEDED = "needed"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change to make: `target` turns what is observed into what shall be.

    `files` are written as a new generation (None: the generation exists already), `trial` None
    confirms without proof, `hooks` are (leaving, entering) and `undo_hooks` their way back.
    `condemn` is told why a change is taken back, before it is: a node that dies on the way back
    must not try it again.
    """

    manifest: Manifest
    target: Callable[[KernelState], KernelState]
    sysctl_keys: frozenset[str]
    files: Mapping[str, bytes] | None = None
    trial: Trial | None = None
    hooks: tuple[str, ...] = ()
    undo_hooks: tuple[str, ...] = ()
    adopt: bool = False
    bridge: Bridge = Bridge.NONE
    condemn: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended; `reason` is empty when the change was confirmed.

    `device` is why no interface could be made: all is as it was, and the change not to blame.
    `innocent`: what was lost did not come back either when the change was undone, so it was lost
    for another reason: the peers `lost` by public key, or with `remote_lost` the git remote.
    `handshakes` are the latest ones from before the change.
    """

    confirmed: bool
    reason: str = ""
    health: Health = field(default_factory=lambda: Health({}))
    roles: Roles = field(default_factory=Roles)
    device: DeviceError | None = None
    innocent: bool = False
    lost: frozenset[str] = frozenset()
    remote_lost: bool = False
    handshakes: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore hang-up, interrupt and terminate: the tunnel that carries the terminal may die.

    By a handler that does nothing, since children would inherit SIG_IGN.
    """
    kinds = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: None) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


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
            _abandon(places, record)
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
        _settle(places, record)
        return Outcome(confirmed=True, health=health, roles=parts)
    log.warning("taking the change back: %s", judgement.reason)
    if proposal.condemn is not None and device is None:
        try:
            proposal.condemn(judgement.reason)
        except OSError as error:
            log.warning("the quarantine cannot be recorded: %s", error.strerror)
    _undo(places, record)
    if trial is not None and device is None:
        proof.speak_up(trial.plan)
    _drop_second_key(proposal.bridge)
    lost = frozenset(peer.public_key for peer in judgement.lost)
    return Outcome(
        confirmed=False,
        reason=judgement.reason,
        roles=parts,
        innocent=trial is not None and judgement.suspects and _is_innocent(trial, judgement),
        lost=lost,
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
            if 0 <= now - seen.latest_handshake < proof.SESSION_SECONDS
        }
        linux.bridge.build(observed.state.link, alive, seconds=BRIDGE_SECONDS)
    except WgmeshError as error:
        if wanted is Bridge.NEEDED:  # no fault of the change: the next turn tries again
            said = f"the old key cannot go on beside the new one: {error.message}"
            raise DeviceError(said, error.hint) from error
        log.warning("peers wait until they know the new key: %s", error.message)


def _drop_second_key(kind: Bridge) -> None:
    """Take away the second key of a change that was undone, once the first one serves again."""
    if kind is Bridge.NONE or not linux.bridge.present():
        return
    time.sleep(BACK_SECONDS)  # sessions of the first key begin with the packets just sent
    try:
        linux.bridge.remove()
    except WgmeshError as error:
        log.warning("%s: the next poll takes it away", error.message)


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


def _settle(places: Places, record: Journal) -> None:
    """Finish a confirmed transaction: the files that boot reads, then an idle journal."""
    complaints = generation.link_files(places.generations, places.wireguard, record.interface)
    for complaint in complaints:
        log.warning("%s", complaint)
    journal.write(places.journal, journal.IDLE)
    places.snapshot.unlink(missing_ok=True)


def _abandon(places: Places, record: Journal) -> None:
    """End a transaction that has not touched the kernel, or has come all the way back.

    A full disk does not keep it from being over: the snapshot then stays for the next `recover`.
    """
    try:
        if record.staged:
            generation.reject(places.generations, record.generation)
        if record.phase is Phase.GARBLED:
            _reject_newest(places)
        journal.write(places.journal, journal.IDLE)
    except OSError as error:
        log.warning("the end of the transaction cannot be recorded: %s", error.strerror)
        return
    places.snapshot.unlink(missing_ok=True)


def _reject_newest(places: Places) -> None:
    """Take away the generation that a lost journal may have spoken of: it may be unproven.

    A transaction stages the newest one; without the journal nothing tells it from a confirmed one
    that was left by hand, and a way back must never lead to what was never proven.
    """
    newest = max(generation.numbers(places.generations), default=0)
    if newest and newest != generation.booted(places.generations):
        generation.reject(places.generations, newest)


def _undo(
    places: Places, record: Journal, rebuild: Callable[[], KernelState | None] = lambda: None
) -> None:
    """Converge to the snapshot, or to the boot generation when there is none, and end it.

    It needs no disk space. A journal that cannot be read says nothing about its snapshot: then
    the boot generation rules.
    """
    garbled = record.phase is Phase.GARBLED
    if not garbled:
        try:
            journal.write(places.journal, journal.advance(record, Phase.UNDOING))
        except OSError as error:
            log.warning("the way back cannot be recorded: %s", error.strerror)
    saved = _saved(places)
    fallback = rebuild() if garbled or saved is None else None
    if fallback is not None and fallback.link is not None:
        converge(fallback, fallback.link.name, frozenset(fallback.sysctls))
    elif saved is not None:
        interface = record.interface or (saved.state.link.name if saved.state.link else "")
        keys = frozenset(saved.state.sysctls)
        live = linux.observe(interface, keys).state
        converge(restored(saved.state, live, saved.moved), interface, keys, adopt=True)
        for hook in saved.undo_hooks:
            try:
                run_hook(hook)
            except WgmeshError as error:  # the tunnels are back: that must not depend on a hook
                log.warning("%s", error.message)
    _abandon(places, record)


def _saved(places: Places) -> Snapshot | None:
    """Return the snapshot; a damaged one is as good as none."""
    try:
        return snapshot.read(places.snapshot)
    except WgmeshError as error:
        log.warning("%s", error.message)
        return None


def converge(
    target: KernelState, interface: str, sysctl_keys: frozenset[str], *, adopt: bool = False
) -> None:
    """Make the kernel equal `target`: adds, read back, removals, read back.

    `adopt` also takes the routes over the interface that others made. Endpoints that roam
    meanwhile are no difference. Raises WgmeshError when a command fails or the kernel differs.
    """
    observed = linux.observe(interface, sysctl_keys).state
    additions, removals = split(diff(target, observed, adopt=adopt))
    linux.apply(additions)
    if additions and removals:
        observed = linux.observe(interface, sysctl_keys).state
        missing, _ = split(diff(restored(target, observed, ()), observed))
        _require_nothing(missing)
    linux.apply(removals)
    if additions or removals:
        observed = linux.observe(interface, sysctl_keys).state
        _require_nothing(diff(restored(target, observed, ()), observed, adopt=adopt))


def _require_nothing(left: Sequence[object]) -> None:
    if left:
        kinds = ", ".join(sorted({type(change).__name__ for change in left}))
        raise WgmeshError(f"the kernel differs from what was applied ({kinds})")


def run_hook(command: str) -> None:
    """Run one hook of the inventory, which this node's policy has allowed.

    Raises CommandError when it fails.
    """
    process.run(["/bin/sh", "-c", command], timeout_seconds=60)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A transaction that was found cut short, and where it went.

    `forward` is to the new state; `applied` says that the kernel may have been in between, be it
    before the machine went down: the change may have brought it down.
    """

    record: Journal
    forward: bool
    applied: bool


def recover(places: Places, rebuild: Callable[[], KernelState | None]) -> Recovered | None:
    """Finish or undo a transaction that was cut short; None when there was none.

    The caller holds the lock. `rebuild` gives the state of the boot generation, for when neither
    journal nor snapshot can be read.
    """
    record = journal.read(places.journal)
    if record.phase is Phase.IDLE:
        return None
    readable = record.phase is not Phase.GARBLED
    booted = generation.booted(places.generations)
    confirmed = readable and record.generation == booted and record.phase is Phase.APPLYING
    if confirmed:
        _settle(places, record)
        return Recovered(record, forward=True, applied=True)
    prepared = record.phase is Phase.PREPARED
    if prepared or (readable and _state_is_gone(places, record)):
        _abandon(places, record)
        return Recovered(record, forward=False, applied=not prepared)
    with undisturbed():
        _undo(places, record, rebuild)
        _drop_second_key(Bridge.WANTED)
    return Recovered(record, forward=False, applied=True)


def _state_is_gone(places: Places, record: Journal) -> bool:
    """Return whether the machine has booted since: another boot id, or nothing left to undo."""
    if record.boot_id != journal.boot_id():
        return True
    return not places.snapshot.exists() and not Path(f"/sys/class/net/{record.interface}").exists()
