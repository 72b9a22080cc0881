"""One turn of the loop: ask the remote, fetch and verify what is new, let it land, record it.

Most turns find nothing new. They cost a `git ls-remote` and a look at the device, so what only a
new commit needs is imported by `wgmesh.agent.landing`, when there is one.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from wgmesh import generation, glance, journal, linux, quarantine, records
from wgmesh.agent import (
    fetch,
    look,
    mend,
    node,
    notify,
    remote,
    soak,
    spare,
    states,
    timers,
)
from wgmesh.agent.gathered import Gathered
from wgmesh.agent.node import PLACES, Node
from wgmesh.agent.remote import News, Source
from wgmesh.errors import (
    InventoryError,
    LockedError,
    NotJoinedError,
    RefusedError,
    RolledBackError,
    UnreachableError,
    WgmeshError,
    of_system,
    system_errors,
)
from wgmesh.frozen import frozen
from wgmesh.handover import Said
from wgmesh.journal import Phase
from wgmesh.model.commit import VerifiedCommit
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import LastSync, Soak, Tips, Verdict

log = logging.getLogger(__name__)

T = TypeVar("T")


@frozen
class Options:
    """How a sync is asked for; `now`: no soak is waited for, `fetched`: the fetch unit has run."""

    dry_run: bool = False
    fetch: bool = True
    retry: bool = False
    now: bool = False
    fetched: bool = False


@frozen
class Result:
    """How a sync that is no error ended; `message` is one sentence for people."""

    outcome: str
    message: str


_OUTCOMES = {
    InventoryError: "invalid",
    RefusedError: "refused",
    UnreachableError: "unreachable",
    RolledBackError: "rolled-back",
}


def sync(options: Options) -> Result:
    """Run one turn and return how it ended.

    Raises LockedError (another one runs), NotJoinedError, InventoryError, RefusedError,
    UnreachableError, RolledBackError, or another WgmeshError; each is recorded for `status`. A dry
    run writes nothing.
    """
    node.require_root()
    tell = notify.afterwards(wanted=not options.dry_run)
    before = _last()  # of this fetch another turn may hear first, while this one waits for it
    with tell, system_errors(), node.turn():
        turn = _Turn(node.load(), options)
        with node.lock():
            turn.recorded(turn.begin)
        turn.ask(before.heard)  # without the lock: the ticks do not wait for a remote
        with node.lock():
            result = turn.recorded(turn.run)
            turn.record(result.outcome, result.message)
            return result


def _last() -> LastSync:
    return spare.last_sync() or LastSync(0, "")


def finish_cut_short() -> bool:
    """Finish or undo a transaction that died; return whether there was one. Needs the lock."""
    if journal.read(PLACES.journal).phase is Phase.IDLE:
        return False
    from wgmesh.transaction.recover import recover

    found = recover(PLACES, states.rebuild)
    if found is None:
        return False
    if found.forward:
        log.warning("a change that had been confirmed was finished")
        return True
    log.warning("a change was cut short: the node runs what it ran before")
    if found.record.staged and found.applied:
        now = int(time.time())
        entry = Quarantined(
            digest=found.record.digest,
            commit=found.record.commit,
            subject="",
            reason="the run that applied it was cut short",
            time=now,
        )
        entries = records.read_quarantine(PLACES.state)
        known = quarantine.find(entries, entry.digest)
        if found.record.phase is not Phase.UNDOING:
            records.write_quarantine(PLACES.state, quarantine.interrupted(entries, entry))
        elif known is None or not known.harms:  # condemned, but a full disk kept it unwritten
            records.write_quarantine(PLACES.state, quarantine.harmed(entries, entry, forever=False))
    return True


def _change_of_key(have: Gathered) -> bool:
    """Do what is due for a key that changes, here or at a peer; return whether anything was."""
    plan = have.running.plan if have.running is not None else None
    peers = plan.peers if plan is not None else ()
    second = linux.bridge.present()
    if have.rotation is None and not second and not any(each.next_public_key for each in peers):
        return False
    from wgmesh.agent import rotation

    return rotation.look_after(have)


class _Turn:
    """One turn of the loop, with what it has learnt so far.

    `whole`: no transaction is in between, so what was lost can be put back.
    """

    def __init__(self, me: Node, options: Options) -> None:
        last = _last()
        self.me = me
        self.options = options
        self.tips = Tips()
        self.news: News | WgmeshError | None = None
        self.fetched = last.fetched
        self.heard = last.heard
        self.remotes = last.remotes
        self.commit = ""
        self.whole = False
        self.reached = False

    def recorded(self, step: Callable[[], T]) -> T:
        """Return what `step` does; what it raises is written down for `status`."""
        try:
            with system_errors():
                return step()
        except (LockedError, NotJoinedError):
            raise
        except WgmeshError as error:
            try:
                self.record(_OUTCOMES.get(type(error), "failed"), error.message)
            except WgmeshError as another:
                log.warning("%s", another.message)
            raise

    def begin(self) -> None:
        """Have nothing cut short, and the policy in force. Raises WgmeshError or OSError."""
        self.settle()
        if not self.options.dry_run:
            timers.settle(self.me.settings)
            later = records.read_second(PLACES.run)
            if later is not None and glance.clock() >= later.due_seconds:
                from wgmesh.agent import second

                if second.at_due_time(self.me):
                    look.refresh(self.me)

    def settle(self) -> None:
        """Have nothing cut short; a dry run requires it. Raises WgmeshError."""
        if not self.options.dry_run:
            self.whole = False
            finish_cut_short()
            self.whole = True
        elif journal.read(PLACES.journal).phase is not Phase.IDLE:
            raise WgmeshError("a change was cut short", "wgmesh recover comes first")

    def ask(self, heard: str) -> None:
        """Fetch what is new, by way of somebody without rights; `run` tells what went wrong.

        `heard` is the run of the fetch that was known before this turn.
        """
        if not self.options.fetch:
            return
        try:
            with system_errors():
                self.news = self.obtained(fetch.source(self.me), heard)
        except WgmeshError as error:
            self.news = error

    def obtained(self, source: Source, heard: str) -> News:
        """Return what the remotes have, once it is in the repository."""
        try:
            just = self.options.fetched
            answer = remote.just_fetched(source, heard) if just else remote.ask(source)
            self.heard = answer.run
            news = remote.news(answer, source)
            self.reached = True
        except UnreachableError as error:
            many = len(source.remotes) > 1
            reason = "no remote answered" if many else error.message
            self.stand([Said(each, reason=reason) for each in source.remotes], ())
            raise
        return fetch.obtain(self.me, news, node.tips(self.me), self.remotes)

    def record(self, outcome: str, reason: str) -> None:
        """Write how the turn ended, put back what was lost, and write what `status` shows.

        Raises WgmeshError, after all that, when the disk does not take it: the turn has failed
        then. What was cut short and could not be finished is not for mending.
        """
        if self.options.dry_run:
            return
        now = int(time.time())
        last = LastSync(now, outcome, reason, self.commit, self.fetched, self.heard, self.remotes)

        def failed(trouble: WgmeshError) -> LastSync:
            said = f"{trouble.message} ({outcome}: {reason})"
            return replace(last, outcome="failed", reason=said)

        try:
            spare.remember_sync(last, failed)
        finally:
            self.look_after(probed=outcome == "applied")

    def look_after(self, *, probed: bool) -> None:
        """Look at what runs, put back what was lost, and write what `status` shows."""
        running = None
        try:
            with system_errors():
                if not probed:
                    running = look.tick()
        except WgmeshError as error:
            log.warning("%s", error.message)
        with system_errors():
            have = look.refresh(self.me, running)
            changed = self.whole and mend.mend(have)
            if (self.whole and _change_of_key(have)) or changed:
                look.refresh(self.me)

    def stand(self, said: Sequence[Said], heads: Sequence[str]) -> None:
        """Note how the remotes stand."""
        self.remotes = fetch.states(said, heads, self.remotes, int(time.time()))

    def run(self) -> Result:
        """Return how it ended; raises what `sync` says."""
        self.settle()  # somebody may have had the lock meanwhile
        self.me = node.load()
        if self.options.retry and not self.options.dry_run:
            records.write_quarantine(PLACES.state, ())
        self.tips = node.tips(self.me)
        tip = self.trusted_tip()
        self.commit = tip.id
        verdict = records.read_verdict(PLACES.state)
        if verdict is None and self.runs(tip) and not self.goes_over():
            return Result("in-sync", f"{tip.id[:12]} already runs here")
        if verdict is not None and self.still_waits(verdict, tip):
            return Result(verdict.kind, verdict.reason)
        wait = records.read_soak(PLACES.state)
        if verdict is None and wait is not None and self.soaks(wait, tip):
            return Result("waiting", soak.sentence(wait))
        from wgmesh.agent.landing import Landing

        refused = False
        try:
            return Landing(self.me, self.options, self.tips, tip).land()
        except RefusedError as error:
            refused = True
            self.refused(tip.id, error)
            raise
        finally:
            if not refused and verdict is not None:
                self.no_longer_refused(verdict)

    def no_longer_refused(self, verdict: Verdict) -> None:
        """Forget the refusal of a tip that was looked at again, and is good."""
        stands = verdict.kind == "refused" and records.read_verdict(PLACES.state) == verdict
        if stands and self.options.fetch and not self.options.dry_run:
            records.write_verdict(PLACES.state, None)

    def runs(self, tip: VerifiedCommit) -> bool:
        """Return whether the confirmed generation is what `tip` came to, all else being equal."""
        applied, number = self.tips.applied, generation.booted(PLACES.generations)
        if applied is None or applied.id != tip.id or number is None:
            return False
        manifest = generation.read_manifest(PLACES.generations, number)
        return (manifest.digest, node.context(self.me)) == (self.tips.digest, self.tips.context)

    def goes_over(self) -> bool:
        """Return whether this node is about to run its next key, as the inventory says."""
        record = records.read_rotation(PLACES.state)
        if record is None or not record.staged or record.switched:
            return False
        return node.holds(record.next_public_key)

    def soaks(self, wait: Soak, tip: VerifiedCommit) -> bool:
        """Return whether `tip` was looked at before, and waits for others to go first."""
        held = records.read_hold(PLACES.state) is not None
        return not self.options.now and not held and soak.waits(wait, tip.id)

    def still_waits(self, verdict: Verdict, tip: VerifiedCommit) -> bool:
        """Return whether `tip` was looked at before, and has no entry for this node."""
        same = verdict.commit == tip.id and self.tips.context == node.context(self.me)
        return same and verdict.kind in ("pending", "removed")

    def trusted_tip(self) -> VerifiedCommit:
        """Return the tip to work on: fetched and verified, or with --no-fetch the trusted one."""
        if not self.options.fetch:
            if self.tips.trusted is None:
                raise WgmeshError("nothing was fetched yet", "run: wgmesh sync")
            return self.standing(self.tips.trusted)
        news = self.asked()
        now = int(time.time())
        try:
            remember = not self.options.dry_run
            found = fetch.trust(
                self.me,
                news,
                self.tips,
                stood=self.remotes,
                stand=self.stand,
                remember=remember,
            )
        except RefusedError as error:
            self.fetched = now
            self.refused(error.tip, error)
            raise
        known = records.read_verdict(PLACES.state)
        if not found.fresh:
            if known is not None and known.kind == "refused":  # nothing has replaced it
                self.commit = known.commit
                raise RefusedError(known.reason, known.hint, known.culprit)
            return found.tip
        self.fetched = now
        if known is not None and known.commit != found.tip.id and not self.options.dry_run:
            records.write_verdict(PLACES.state, None)
        self.tips = replace(self.tips, trusted=found.tip)
        return found.tip

    def asked(self) -> News:
        """Return what was fetched. Raises what it went wrong by."""
        if isinstance(self.news, News):
            return self.news
        error = self.news or AssertionError("nobody was asked")
        if isinstance(error, RefusedError):
            self.fetched = int(time.time()) if self.reached else self.fetched
            self.refused(error.tip, error)
        raise error

    def standing(self, known: VerifiedCommit) -> VerifiedCommit:
        """Return the trusted tip, unless its signer was revoked on this node since."""
        try:
            return fetch.still_trusted(self.me, known)
        except RefusedError as error:
            self.refused(known.id, error)
            raise

    def refused(self, tip: str, error: RefusedError) -> None:
        """Remember that `tip` is refused, until another one replaces it."""
        self.commit = tip
        if not self.options.dry_run:
            verdict = Verdict("refused", tip, error.message, error.hint, int(time.time()))
            verdict = replace(verdict, culprit=error.commit or tip)
            try:
                records.write_verdict(PLACES.state, verdict)
            except OSError as trouble:
                why = of_system(trouble)
                said = f"{why.message} (refused: {error.message})"
                raise WgmeshError(said, why.hint) from trouble
