"""What a verified tip means for this node: nothing, a wait, or a change to carry out and prove."""

import logging
import time
from dataclasses import replace

from wgmesh import generation, inventory, linux, quarantine, records, render, settings
from wgmesh.agent import (
    adopt,
    awaited,
    changing,
    fetch,
    look,
    node,
    refusals,
    remote,
    rotation,
    second,
    shares,
    soak,
    versions,
)
from wgmesh.agent.node import PLACES, Node, Running
from wgmesh.agent.sync import Options, Result
from wgmesh.agent.versions import Versions, plausible
from wgmesh.errors import InventoryError, RolledBackError, WgmeshError
from wgmesh.generation import Manifest
from wgmesh.mesh import stages
from wgmesh.model.commit import VerifiedCommit
from wgmesh.model.inventory import Inventory
from wgmesh.model.inventory import Node as NodeEntry
from wgmesh.model.plan import NodePlan
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import Seen, Tips, Verdict
from wgmesh.repository.bare import Repository

log = logging.getLogger(__name__)


class Landing:
    """The way of the verified commit `tip` to this node; `tips` is what was known before."""

    def __init__(self, me: Node, options: Options, tips: Tips, tip: VerifiedCommit) -> None:
        self.me = me
        self.options = options
        self.tips = tips
        self.tip = tip
        self.short = tip.id[:12]
        self.seen: tuple[Seen, ...] = ()
        self.runs: Inventory | None = None
        self.waited = False
        self.knows: frozenset[str] | None = None

    def land(self) -> Result:
        """Decide what the tip means here, and apply it when it means something.

        Raises InventoryError, RefusedError (its files are none that may be read), RolledBackError,
        or another WgmeshError.
        """
        before = node.running()
        manifest = before.manifest if before is not None else None
        runs = self.tips.applied or (manifest.commit if manifest is not None else None)
        try:
            with Repository(settings.REPOSITORY_DIR) as repository:
                files = repository.inventory_files(self.tip.id, self.me.enrolment.path)
                if runs is not None:
                    self.runs = self.readable(repository, runs.id)
                remember = not self.options.dry_run
                self.seen = versions.note(
                    PLACES.state,
                    repository,
                    self.tips,
                    self.tip.id,
                    time.time(),
                    remember=remember,
                )
            model = inventory.load(files)
        except InventoryError as error:
            self.judge("invalid", error)
            raise
        return self.consider(model, before)

    def readable(self, repository: Repository, commit: str) -> Inventory | None:
        """Return the inventory of a commit that was applied here; None when it cannot be read."""
        try:
            return inventory.load(repository.inventory_files(commit, self.me.enrolment.path))
        except WgmeshError as error:
            log.warning("what runs here cannot be read again: %s", error.message)
            return None

    def judge(self, kind: str, error: WgmeshError) -> None:
        """Remember what is wrong with the tip until another one replaces it."""
        if not self.options.dry_run:
            verdict = Verdict(kind, self.tip.id, error.message, error.hint, int(time.time()))
            records.write_verdict(PLACES.state, verdict)

    def consider(self, model: Inventory, before: Running | None) -> Result:
        """Compare what the inventory says of this node with what runs here."""
        own = shares.own_entry(self.me.enrolment, model)
        if own is None:
            kind = "removed" if before is not None else "pending"
            text = (
                "this node's key is in the inventory no more: its last state stays"
                if before is not None
                else "this node's key is not in the inventory yet"
            )
            self.judge(kind, WgmeshError(text, "merge its entry: wgmesh join prints it"))
            if not self.options.dry_run:
                tips = records.read_tips(PLACES.state)
                records.write_tips(PLACES.state, replace(tips, context=node.context(self.me)))
            return Result(kind, text)
        if own.post_up and not self.me.settings.allow_hooks:
            log.warning("the inventory's hooks for this node are ignored: allow_hooks is false")
        plan = shares.share(self.me, model, own, shares.key_in_use(self.me, own, before))
        files = render.files(plan)
        digest = render.digest(files)
        wait = self.wait(model, own, before)
        same = before is not None and before.manifest.digest == digest
        if before is not None and same and not (wait and stages.changes(self.runs, model)):
            known = self.already_runs(before)
            follows = self.next_key(model, own, plan)
            if follows is None:
                return known
            plan, files = follows, render.files(follows)
            digest = render.digest(files)
        manifest = Manifest(
            number=generation.next_number(PLACES.generations),
            interface=plan.interface,
            digest=digest,
            created=int(time.time()),
            commit=self.tip,
        )
        entry = quarantine.find(records.read_quarantine(PLACES.state), digest)
        if entry is not None and entry.blocks(time.time()):
            text = f"{self.short} stays in quarantine: {entry.reason}"
            self.judge("rolled-back", WgmeshError(text, "wgmesh sync --retry tries again"))
            return Result("quarantined", text)
        hold = records.read_hold(PLACES.state)
        if hold is not None:
            return Result("held", f"{self.short} waits: held ({hold.reason})")
        if wait:
            return Result("waiting", wait)
        try:
            refusals.refuse_interface(plan, self.me.enrolment.interface)
            refusals.refuse_statically(plan, before, len(model.nodes) - 1)
        except InventoryError as error:
            self.judge("invalid", error)
            raise
        if self.options.dry_run:
            text = f"{self.short} would become generation {manifest.number}"
            return Result("would-apply", text)
        return self.apply(model, plan, files, manifest, before)

    def wait(self, model: Inventory, own: NodeEntry, before: Running | None) -> str:
        """Return until when the tip waits for others to go first, as a sentence; "" for no wait."""
        if before is None or own.public_key is None:
            return ""
        seconds = stages.soak_seconds(self.runs, model, own.public_key, own.name)
        self.waited = seconds > 0 and not self.options.now
        found = soak.watch(self.tip.id, seconds, remember=not self.options.dry_run)
        return soak.sentence(found) if self.waited and soak.waits(found, self.tip.id) else ""

    def next_key(self, model: Inventory, own: NodeEntry, plan: NodePlan) -> NodePlan | None:
        """Return the plan with this node's next key, once all that count know that key."""
        remember = not self.options.dry_run
        if not rotation.note(own, plan.public_key, remember=remember) or not remember:
            return None
        if records.read_hold(PLACES.state) is not None:
            rotation.waits(records.read_rotation(PLACES.state), ("wgmesh resume",))
            return None
        follows = shares.share(self.me, model, own, own.next_public_key)
        digest = render.digest(render.files(follows))
        entry = quarantine.find(records.read_quarantine(PLACES.state), digest)
        if entry is not None and entry.blocks(time.time()):
            why = f"the end of its quarantine ({entry.reason})"
            rotation.waits(records.read_rotation(PLACES.state), (why,))
            return None
        self.knows = rotation.known_to(self.me, own, plan)
        return None if self.knows is None else follows

    def already_runs(self, before: Running) -> Result:
        """Remember a tip that changes nothing on this node."""
        if not self.options.dry_run:
            self.applied(before.manifest)
        text = f"{self.short} changes nothing here: generation {before.manifest.number} stays"
        return Result("in-sync", text)

    def applied(self, manifest: Manifest) -> None:
        """Remember that the tip is what runs, as the generation of `manifest`."""
        known = records.read_verdict(PLACES.state)
        if known is not None and (self.options.fetch or known.commit == self.tip.id):
            records.write_verdict(PLACES.state, None)
        anchor = self.me.enrolment.anchor.commit
        tips = Tips(self.tip, self.tip, manifest.digest, node.context(self.me), anchor)
        records.write_tips(PLACES.state, tips)

    def apply(
        self,
        model: Inventory,
        plan: NodePlan,
        files: dict[str, bytes],
        manifest: Manifest,
        before: Running | None,
    ) -> Result:
        """Carry the change out; raises RolledBackError when it was harmful."""
        previous = before.plan if before is not None else None
        if before is None:
            adopt.keep_what_was(plan)
        rollouts = (each.rollout for each in (self.runs, model) if each is not None)
        soaks = [each.soak_seconds for each in rollouts if each is not None]
        lag_seconds = self.me.settings.peer_lag_seconds + max(soaks, default=0)
        others = plausible(self.seen, time.time(), lag_seconds)
        fits = Versions(self.me, self.runs, previous, model, plan, others).fits
        proposal = replace(
            changing.propose(
                self.me,
                manifest,
                plan,
                previous,
                files,
                fits=rotation.certain(fits, self.knows),
                remote=lambda: remote.answers(fetch.source(self.me)),
                remote_before=self.options.fetch or remote.answers(fetch.source(self.me)),
            ),
            bridge=rotation.bridge(changing.another_key(previous, plan), self.knows),
            condemn=lambda reason: self.quarantine(manifest.digest, reason),
        )
        log.info("applying %s as generation %d", self.short, manifest.number)
        counters = linux.counters(plan.interface)
        renamed = awaited.renamed_keys(previous, plan, counters, time.time())
        outcome = changing.attempt(proposal)
        if not outcome.confirmed:
            raise RolledBackError(
                f"{self.short} was applied, found harmful and rolled back: {outcome.reason}",
                "it is in quarantine; mend it by another commit, or: wgmesh sync --retry",
            )
        look.remember_probe(outcome.health)
        waiting = (outcome.roles.coordinated | renamed) - outcome.health.peers.keys()
        self.expect(model, plan, waiting)
        manifest = replace(manifest, number=generation.booted(PLACES.generations) or 0)
        self.applied(manifest)
        back_to = before.manifest.number if before is not None else None
        second.expect(self.me, back_to, manifest.number, manifest.digest, outcome)
        generation.prune(PLACES.generations, self.me.settings.keep_generations)
        rotation.settle(model, plan)
        if previous is None:
            adopt.hand_to_boot(plan.interface)
        text = f"{self.short} runs as generation {manifest.number}: {self.tip.subject}"
        return Result("applied", text)

    def expect(self, model: Inventory, plan: NodePlan, waiting: frozenset[str]) -> None:
        """Remember the peers whose tunnel waits until their end has changed as well."""
        known = records.read_awaited(PLACES.state)
        counters = linux.counters(plan.interface)
        rollout = stages.governing(self.runs, model)
        # who has waited comes last; the others have yet to wait for who has not
        seconds = rollout.soak_seconds if rollout is not None and not self.waited else 0
        entries = awaited.begin(known, waiting, counters, self.tip.id, time.time(), seconds)
        if entries != known:
            records.write_awaited(PLACES.state, entries)

    def quarantine(self, digest: str, reason: str) -> None:
        """Keep what was harmful from being tried again."""
        entry = Quarantined(digest, self.tip.id, self.tip.subject, reason, int(time.time()))
        entries = quarantine.harmed(records.read_quarantine(PLACES.state), entry, forever=False)
        records.write_quarantine(PLACES.state, entries)
        self.judge("rolled-back", WgmeshError(reason))
