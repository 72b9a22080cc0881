"""One turn of the loop: fetch, verify, plan, apply, prove, confirm or roll back."""

import logging
import time
from dataclasses import dataclass, replace

from wgmesh import generation, inventory, linux, records, render, settings
from wgmesh.agent import fetch, node, status
from wgmesh.agent.node import PLACES, Node, Running
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
from wgmesh.generation import Manifest
from wgmesh.judge import Windows
from wgmesh.model import Inventory, NodePlan, VerifiedCommit
from wgmesh.proof import Trial
from wgmesh.records import LastSync, Quarantined, Tips, Verdict
from wgmesh.repository import Repository
from wgmesh.transaction import Proposal, execute, recover

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a sync is asked for."""

    dry_run: bool = False
    fetch: bool = True
    retry: bool = False


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
    UnreachableError, RolledBackError, or another WgmeshError; each is recorded for `status`.
    """
    node.require_root()
    with locked(settings.LOCK_FILE):
        me = node.load()
        finish_cut_short()
        if options.retry and not options.dry_run:
            records.write_quarantine(PLACES.state, ())
        last = records.read_last_sync(PLACES.state) or LastSync(0, "")
        turn = _Turn(me, options, records.read_tips(PLACES.state), last.fetched)
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
    found = recover(PLACES, node.rebuild)
    if found is None:
        return False
    if found.forward:
        log.warning("a change that had been confirmed was finished")
        return True
    log.warning("a change was cut short: the node runs what it ran before")
    if found.record.digest and found.applied:
        now = int(time.time())
        entry = Quarantined(
            digest=found.record.digest,
            commit=found.record.commit,
            subject="",
            reason="the run that applied it was cut short",
            time=now,
        )
        entries = records.read_quarantine(PLACES.state)
        records.write_quarantine(PLACES.state, records.interrupted(entries, entry))
    return True


class _Turn:
    """One turn of the loop, with what it has learnt so far."""

    def __init__(self, me: Node, options: Options, tips: Tips, fetched: int) -> None:
        self.me = me
        self.options = options
        self.tips = tips
        self.fetched = fetched
        self.commit = ""

    def record(self, outcome: str, reason: str) -> None:
        """Write how the turn ended, and what `status` shows without root."""
        if self.options.dry_run:
            return
        last = LastSync(int(time.time()), outcome, reason, self.commit, self.fetched)
        records.write_last_sync(PLACES.state, last)
        if outcome != "applied":
            status.tick()
        status.refresh(self.me)

    def run(self) -> Result:
        tip = self.trusted_tip()
        self.commit = tip.id
        before = node.running()
        applied = self.tips.applied
        verdict = records.read_verdict(PLACES.state)
        if applied is not None and applied.id == tip.id and verdict is None and before is not None:
            return self.nothing_new(before)
        try:
            with Repository(settings.REPOSITORY_DIR) as repository:
                files = repository.inventory_files(tip.id, self.me.enrolment.path)
            model = inventory.load(files)
        except InventoryError as error:
            self.judge_tip("invalid", tip, error)
            raise
        return self.consider(tip, model, before)

    def trusted_tip(self) -> VerifiedCommit:
        """Return the tip to work on: fetched and verified, or with --no-fetch the trusted one."""
        if not self.options.fetch:
            if self.tips.trusted is None:
                raise WgmeshError("nothing was fetched yet", "run: wgmesh sync")
            return self.tips.trusted
        tip = fetch.ask(self.me)
        self.fetched = int(time.time())
        self.commit = tip.commit
        try:
            verified = fetch.trust(self.me, tip, self.tips)
        except RefusedError as error:
            commit = error.commit or tip.commit
            refusal = Verdict("refused", tip.commit, error.message, error.hint, int(time.time()))
            records.write_verdict(PLACES.state, replace(refusal, culprit=commit))
            raise
        known = records.read_verdict(PLACES.state)
        if known is not None and known.commit != verified.id and not self.options.dry_run:
            records.write_verdict(PLACES.state, None)
        self.tips = replace(self.tips, trusted=verified)
        return verified

    def judge_tip(self, kind: str, tip: VerifiedCommit, error: WgmeshError) -> None:
        """Remember what is wrong with `tip` until another one replaces it."""
        if not self.options.dry_run:
            verdict = Verdict(kind, tip.id, error.message, error.hint, int(time.time()))
            records.write_verdict(PLACES.state, verdict)

    def nothing_new(self, before: Running) -> Result:
        """Mend drift where the policy says so: the tip already runs."""
        if self.me.settings.drift == "repair" and before.plan is not None:
            from wgmesh.agent import manual

            if not self.options.dry_run and manual.converge_to(before.plan):
                return Result("repaired", "what had been changed by hand was put back")
        return Result("in-sync", f"{self.commit[:12]} already runs here")

    def consider(self, tip: VerifiedCommit, model: Inventory, before: Running | None) -> Result:
        """Decide what `tip` means for this node, and apply it when it means something."""
        from wgmesh import mesh
        from wgmesh.mesh.compat import link_digests

        own = mesh.find_node(model, node.own_public_key(self.me.enrolment))
        if own is None:
            kind = "removed" if before is not None else "pending"
            text = (
                "this node's key is in the inventory no more: its last state stays"
                if before is not None
                else "this node's key is not in the inventory yet"
            )
            self.judge_tip(kind, tip, WgmeshError(text, "merge its entry: wgmesh join prints it"))
            return Result(kind, text)
        if own.post_up and not self.me.settings.allow_hooks:
            log.warning("the inventory's hooks for this node are ignored: allow_hooks is false")
        plan = mesh.plan(
            model,
            own.name,
            allow_hooks=self.me.settings.allow_hooks,
            private_key_path=str(self.me.enrolment.key_path),
        )
        files = render.files(plan)
        digest = render.digest(files)
        manifest = Manifest(
            number=generation.next_number(PLACES.generations),
            interface=plan.interface,
            digest=digest,
            created=int(time.time()),
            commit=tip,
            links=link_digests(model, own.name),
        )
        if before is not None and before.manifest.digest == digest:
            return self.already_runs(tip, before)
        entry = records.find(records.read_quarantine(PLACES.state), digest)
        if entry is not None and entry.blocks(time.time()):
            text = f"{tip.id[:12]} stays in quarantine: {entry.reason}"
            self.judge_tip("rolled-back", tip, WgmeshError(text, "wgmesh sync --retry tries again"))
            return Result("quarantined", text)
        hold = records.read_hold(PLACES.state)
        if hold is not None:
            return Result("held", f"{tip.id[:12]} waits: held ({hold.reason})")
        try:
            self.refuse_statically(plan, before)
        except InventoryError as error:
            self.judge_tip("invalid", tip, error)
            raise
        if self.options.dry_run:
            return Result("would-apply", f"{tip.id[:12]} would become generation {manifest.number}")
        return self.apply(tip, plan, files, manifest, before)

    def already_runs(self, tip: VerifiedCommit, before: Running) -> Result:
        """`tip` changes nothing on this node."""
        if not self.options.dry_run:
            self.applied(tip)
        text = f"{tip.id[:12]} changes nothing here: generation {before.manifest.number} stays"
        return Result("in-sync", text)

    def applied(self, tip: VerifiedCommit) -> None:
        """Remember that `tip` is what runs."""
        records.write_verdict(PLACES.state, None)
        self.tips = Tips(trusted=tip, applied=tip)
        records.write_tips(PLACES.state, self.tips)

    def refuse_statically(self, plan: NodePlan, before: Running | None) -> None:
        """Raise InventoryError for what cannot work here, before anything is touched."""
        interface = self.me.enrolment.interface
        if plan.interface != interface:
            raise InventoryError(
                f"the inventory renames the interface {interface} to {plan.interface}",
                "an enrolled node keeps its interface: leave and join again, or revert the name",
            )
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
        if before is not None and before.plan is not None and before.plan.peers and not plan.peers:
            log.warning("this node has no peer left")

    def apply(
        self,
        tip: VerifiedCommit,
        plan: NodePlan,
        files: dict[str, bytes],
        manifest: Manifest,
        before: Running | None,
    ) -> Result:
        """Carry the change out; raises RolledBackError when it was harmful."""
        from wgmesh.agent import adopt, manual

        previous = before.plan if before is not None else None
        links_before = (
            before.manifest.links
            if before is not None
            else adopt.keep_what_was(plan, manifest.links)
        )
        target = node.target_for(plan, previous)
        proposal = Proposal(
            manifest=manifest,
            target=target,
            sysctl_keys=node.sysctl_keys(plan, previous),
            files=files,
            trial=Trial(
                plan=plan,
                links_before=links_before,
                links_after=manifest.links,
                remote=lambda: fetch.answers(self.me),
                remote_before=self.options.fetch or fetch.answers(self.me),
                windows=Windows(
                    self.me.settings.confirm_most_seconds,
                    self.me.settings.confirm_silent_seconds,
                    self.me.settings.confirm_minority_seconds,
                ),
            ),
            hooks=manual.hooks(previous, plan),
            undo_hooks=manual.hooks(plan, previous),
            adopt=previous is None,
        )
        log.info("applying %s as generation %d", tip.id[:12], manifest.number)
        outcome = execute(proposal, PLACES)
        if not outcome.confirmed:
            self.quarantine(tip, manifest.digest, outcome.reason)
            raise RolledBackError(
                f"{tip.id[:12]} was applied, found harmful and rolled back: {outcome.reason}",
                "it is in quarantine; mend it by another commit, or: wgmesh sync --retry",
            )
        status.remember_probe(outcome.health)
        self.applied(tip)
        generation.prune(PLACES.generations, self.me.settings.keep_generations)
        if previous is None:
            adopt.hand_to_boot(plan.interface)
        return Result(
            "applied", f"{tip.id[:12]} runs as generation {manifest.number}: {tip.subject}"
        )

    def quarantine(self, tip: VerifiedCommit, digest: str, reason: str) -> None:
        """Keep what was harmful from being tried again."""
        entry = Quarantined(digest, tip.id, tip.subject, reason, int(time.time()))
        entries = records.harmed(records.read_quarantine(PLACES.state), entry, forever=False)
        records.write_quarantine(PLACES.state, entries)
        self.judge_tip("rolled-back", tip, WgmeshError(reason))
