"""One turn of the loop: ask the remote, fetch and verify what is new, let it land, record it.

Most turns find nothing new. They cost a `git ls-remote` and a look at the device, so what only a
new commit needs is imported by `wgmesh.agent.landing`, when there is one.
"""

import logging
import time
from dataclasses import dataclass, replace

from wgmesh import generation, journal, records, settings
from wgmesh.agent import fetch, look, mend, node, notify, remote, timers
from wgmesh.agent.node import PLACES, Node
from wgmesh.agent.remote import Tip
from wgmesh.errors import (
    InventoryError,
    LockedError,
    NotJoinedError,
    RefusedError,
    RolledBackError,
    UnreachableError,
    WgmeshError,
)
from wgmesh.files import locked
from wgmesh.journal import Phase
from wgmesh.model import VerifiedCommit
from wgmesh.records import LastSync, Quarantined, Tips, Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a sync is asked for; `fetched`: the fetch unit has just run."""

    dry_run: bool = False
    fetch: bool = True
    retry: bool = False
    fetched: bool = False


@dataclass(frozen=True, slots=True)
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
    with notify.afterwards(wanted=not options.dry_run), locked(settings.LOCK_FILE):
        me = node.load()
        if not options.dry_run:
            finish_cut_short()
            if options.retry:
                records.write_quarantine(PLACES.state, ())
            timers.settle(me.settings)
        elif journal.read(PLACES.journal).phase is not Phase.IDLE:
            raise WgmeshError("a change was cut short", "wgmesh recover comes first")
        last = records.read_last_sync(PLACES.state) or LastSync(0, "")
        turn = _Turn(me, options, node.tips(me), last)
        try:
            result = turn.run()
        except (LockedError, NotJoinedError):
            raise
        except WgmeshError as error:
            turn.record(_OUTCOMES.get(type(error), "failed"), error.message)
            raise
        turn.record(result.outcome, result.message)
        return result


def finish_cut_short() -> bool:
    """Finish or undo a transaction that died; return whether there was one. Needs the lock."""
    if journal.read(PLACES.journal).phase is Phase.IDLE:
        return False
    from wgmesh.transaction import recover

    found = recover(PLACES, node.rebuild)
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
        known = records.find(entries, entry.digest)
        if found.record.phase is not Phase.UNDOING:
            records.write_quarantine(PLACES.state, records.interrupted(entries, entry))
        elif known is None or not known.harms:  # condemned, but a full disk kept it unwritten
            records.write_quarantine(PLACES.state, records.harmed(entries, entry, forever=False))
    return True


class _Turn:
    """One turn of the loop, with what it has learnt so far."""

    def __init__(self, me: Node, options: Options, tips: Tips, last: LastSync) -> None:
        self.me = me
        self.options = options
        self.tips = tips
        self.fetched = last.fetched
        self.heard = last.heard
        self.commit = ""

    def record(self, outcome: str, reason: str) -> None:
        """Write how the turn ended, and what `status` shows without root."""
        if self.options.dry_run:
            return
        now = int(time.time())
        last = LastSync(now, outcome, reason, self.commit, self.fetched, self.heard)
        records.write_last_sync(PLACES.state, last)
        if outcome != "applied":
            look.tick()
        if mend.mend(look.refresh(self.me)):
            look.refresh(self.me)

    def run(self) -> Result:
        """Return how it ended; raises what `sync` says."""
        tip = self.trusted_tip()
        self.commit = tip.id
        verdict = records.read_verdict(PLACES.state)
        if verdict is None and self.runs(tip):
            return Result("in-sync", f"{tip.id[:12]} already runs here")
        if verdict is not None and self.still_waits(verdict, tip):
            return Result(verdict.kind, verdict.reason)
        from wgmesh.agent.landing import Landing

        try:
            return Landing(self.me, self.options, self.tips, tip).land()
        except RefusedError as error:
            self.refused(tip.id, error)
            raise

    def runs(self, tip: VerifiedCommit) -> bool:
        """Return whether the confirmed generation is what `tip` came to, all else being equal."""
        applied, number = self.tips.applied, generation.booted(PLACES.generations)
        if applied is None or applied.id != tip.id or number is None:
            return False
        manifest = generation.read_manifest(PLACES.generations, number)
        return (manifest.digest, node.context(self.me)) == (self.tips.digest, self.tips.context)

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
        tip = self.asked()
        self.fetched = int(time.time())
        self.commit = tip.commit
        try:
            verified = fetch.trust(self.me, tip, self.tips, remember=not self.options.dry_run)
        except RefusedError as error:
            self.refused(tip.commit, error)
            raise
        known = records.read_verdict(PLACES.state)
        if known is not None and known.commit != verified.id and not self.options.dry_run:
            records.write_verdict(PLACES.state, None)
        self.tips = replace(self.tips, trusted=verified)
        return verified

    def asked(self) -> Tip:
        """Return the tip that the remote has now, by way of somebody without rights."""
        if self.options.fetched:
            answer = remote.just_fetched(self.heard)
        else:
            answer = remote.ask(fetch.source(self.me))
        self.heard = answer.run
        try:
            return remote.tip(answer)
        except RefusedError as error:
            self.refused(error.commit, error)
            raise

    def standing(self, known: VerifiedCommit) -> VerifiedCommit:
        """Return the trusted tip, unless its signer was revoked on this node since."""
        try:
            return fetch.still_trusted(self.me, known)
        except RefusedError as error:
            self.refused(known.id, error)
            raise

    def refused(self, tip: str, error: RefusedError) -> None:
        """Remember that `tip` is refused, until another one replaces it."""
        if not self.options.dry_run:
            verdict = Verdict("refused", tip, error.message, error.hint, int(time.time()))
            records.write_verdict(PLACES.state, replace(verdict, culprit=error.commit or tip))
