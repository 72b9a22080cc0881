"""What a verified tip means for this node: nothing, a wait, or a change to carry out and prove."""

import logging
import time
from dataclasses import replace

from wgmesh import generation, inventory, linux, mesh, records, render, settings
from wgmesh.agent import adopt, fetch, look, manual, node, remote
from wgmesh.agent.node import PLACES, Node, Running
from wgmesh.agent.sync import Options, Result
from wgmesh.errors import InventoryError, RolledBackError, WgmeshError
from wgmesh.generation import Manifest
from wgmesh.judge import Windows
from wgmesh.mesh.compat import link_digests
from wgmesh.model import Inventory, NodePlan, VerifiedCommit
from wgmesh.proof import Trial
from wgmesh.records import Quarantined, Tips, Verdict
from wgmesh.repository import Repository
from wgmesh.transaction import Proposal, execute

log = logging.getLogger(__name__)


class Landing:
    """The way of the verified commit `tip` to this node; `tips` is what was known before."""

    def __init__(self, me: Node, options: Options, tips: Tips, tip: VerifiedCommit) -> None:
        self.me = me
        self.options = options
        self.tips = tips
        self.tip = tip
        self.short = tip.id[:12]

    def land(self) -> Result:
        """Decide what the tip means here, and apply it when it means something.

        Raises InventoryError, RefusedError (its files are none that may be read), RolledBackError,
        or another WgmeshError.
        """
        before = node.running()
        try:
            with Repository(settings.REPOSITORY_DIR) as repository:
                files = repository.inventory_files(self.tip.id, self.me.enrolment.path)
            model = inventory.load(files)
        except InventoryError as error:
            self.judge("invalid", error)
            raise
        return self.consider(model, before)

    def judge(self, kind: str, error: WgmeshError) -> None:
        """Remember what is wrong with the tip until another one replaces it."""
        if not self.options.dry_run:
            verdict = Verdict(kind, self.tip.id, error.message, error.hint, int(time.time()))
            records.write_verdict(PLACES.state, verdict)

    def consider(self, model: Inventory, before: Running | None) -> Result:
        """Compare what the inventory says of this node with what runs here."""
        own = mesh.find_node(model, node.own_public_key(self.me.enrolment))
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
        plan = mesh.plan(
            model,
            own.name,
            allow_hooks=self.me.settings.allow_hooks,
            private_key_path=str(self.me.enrolment.key_path),
            exempt=node.exempt(self.me),
        )
        files = render.files(plan)
        digest = render.digest(files)
        manifest = Manifest(
            number=generation.next_number(PLACES.generations),
            interface=plan.interface,
            digest=digest,
            created=int(time.time()),
            commit=self.tip,
            links=link_digests(model, own.name),
        )
        if before is not None and before.manifest.digest == digest:
            return self.already_runs(before)
        entry = records.find(records.read_quarantine(PLACES.state), digest)
        if entry is not None and entry.blocks(time.time()):
            text = f"{self.short} stays in quarantine: {entry.reason}"
            self.judge("rolled-back", WgmeshError(text, "wgmesh sync --retry tries again"))
            return Result("quarantined", text)
        hold = records.read_hold(PLACES.state)
        if hold is not None:
            return Result("held", f"{self.short} waits: held ({hold.reason})")
        try:
            self.refuse_statically(plan, before, len(model.nodes) - 1)
        except InventoryError as error:
            self.judge("invalid", error)
            raise
        if self.options.dry_run:
            text = f"{self.short} would become generation {manifest.number}"
            return Result("would-apply", text)
        return self.apply(plan, files, manifest, before)

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
        tips = Tips(self.tip, self.tip, manifest.digest, node.context(self.me))
        records.write_tips(PLACES.state, tips)

    def refuse_statically(self, plan: NodePlan, before: Running | None, others: int) -> None:
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
        had_peers = before is not None and before.plan is not None and bool(before.plan.peers)
        if had_peers and not plan.peers and others:
            raise InventoryError(
                f"this node would have no peer left, though the mesh has {others} other nodes",
                "give this node or another an endpoint, or a hub",
            )

    def apply(
        self,
        plan: NodePlan,
        files: dict[str, bytes],
        manifest: Manifest,
        before: Running | None,
    ) -> Result:
        """Carry the change out; raises RolledBackError when it was harmful."""
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
                remote=lambda: remote.answers(fetch.source(self.me)),
                remote_before=self.options.fetch or remote.answers(fetch.source(self.me)),
                windows=Windows(
                    self.me.settings.confirm_most_seconds,
                    self.me.settings.confirm_silent_seconds,
                    self.me.settings.confirm_minority_seconds,
                ),
            ),
            hooks=manual.hooks(previous, plan),
            undo_hooks=manual.hooks(plan, previous),
            adopt=previous is None,
            condemn=lambda reason: self.quarantine(manifest.digest, reason),
        )
        log.info("applying %s as generation %d", self.short, manifest.number)
        outcome = execute(proposal, PLACES)
        if not outcome.confirmed:
            raise RolledBackError(
                f"{self.short} was applied, found harmful and rolled back: {outcome.reason}",
                "it is in quarantine; mend it by another commit, or: wgmesh sync --retry",
            )
        look.remember_probe(outcome.health)
        self.applied(manifest)
        generation.prune(PLACES.generations, self.me.settings.keep_generations)
        if previous is None:
            adopt.hand_to_boot(plan.interface)
        text = f"{self.short} runs as generation {manifest.number}: {self.tip.subject}"
        return Result("applied", text)

    def quarantine(self, digest: str, reason: str) -> None:
        """Keep what was harmful from being tried again."""
        entry = Quarantined(digest, self.tip.id, self.tip.subject, reason, int(time.time()))
        entries = records.harmed(records.read_quarantine(PLACES.state), entry, forever=False)
        records.write_quarantine(PLACES.state, entries)
        self.judge("rolled-back", WgmeshError(reason))
