"""`wgmesh apply`: an inventory out of a file put in force on this machine, without git.

The same transaction, proof and way back as `sync` has. What is missing is who vouches for the
inventory: that is whoever is root here. So a machine that follows a repository refuses it.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wgmesh import generation, inventory, journal, keys, linux, records, render, settings
from wgmesh.agent import (
    adopt,
    awaited,
    changing,
    direct,
    keypairs,
    look,
    node,
    refusals,
    rotation,
    second,
    shares,
    sources,
    timers,
    views,
)
from wgmesh.agent.keyed import keyed
from wgmesh.agent.node import PLACES, Node, Running
from wgmesh.agent.sources import Source
from wgmesh.agent.sync import Result, finish_cut_short
from wgmesh.agent.versions import Versions
from wgmesh.errors import (
    InventoryError,
    RolledBackError,
    UsageError,
    WgmeshError,
    no_node,
    system_errors,
)
from wgmesh.files import write_atomic
from wgmesh.frozen import frozen
from wgmesh.generation import Manifest
from wgmesh.journal import Phase
from wgmesh.model.inventory import Inventory
from wgmesh.model.inventory import Node as Entry
from wgmesh.model.plan import NodePlan
from wgmesh.settings import Anchor, Enrolment
from wgmesh.transaction.proposal import Outcome

log = logging.getLogger(__name__)


@frozen
class Request:
    """What `apply` was asked for.

    `name` None is the mesh's `local_node`; `key` the private key when it was sent along, `out` the
    directory where `gen-keys` put it.
    """

    source: Source
    name: str | None = None
    dry_run: bool = False
    key: str | None = None
    out: Path | None = None


def refuse_joined() -> None:
    """Raise UsageError on a machine that follows a repository."""
    if settings.NODE_FILE.exists():
        raise UsageError(
            "this machine has joined a mesh: what runs here comes signed out of its repository",
            "merge the change there; or wgmesh leave, which keeps the tunnel, and then apply",
        )


def apply(text: str, name: str | None, *, dry_run: bool, out: Path | None = None) -> Result:
    """Put this machine's share of the inventory that `text` names in force, and prove it.

    Raises UsageError, InventoryError, LockedError, RolledBackError or another WgmeshError.
    """
    node.require_root()
    return carry_out(Request(keyed(sources.load(text), out), name, dry_run, out=out))


def carry_out(request: Request) -> Result:
    """Do what `request` asks for. Raises what `apply` does."""
    node.require_root()
    refuse_joined()
    model = inventory.load(request.source.files)
    own = _own(model, request.name)
    with node.turn(), node.lock(), system_errors():
        refuse_joined()  # by a join that this has waited for
        if not request.dry_run:
            finish_cut_short()
        elif journal.read(PLACES.journal).phase is not Phase.IDLE:
            raise WgmeshError("a change was cut short", "wgmesh recover comes first")
        return _land(request, model, own)


def _own(model: Inventory, name: str | None) -> Entry:
    wanted = name or model.mesh.local_node
    if wanted is None:
        raise UsageError("which node is this machine?", "--node NAME, or local_node in [mesh]")
    for entry in model.nodes:
        if entry.name == wanted:
            return entry
    raise no_node(wanted)


def _land(request: Request, model: Inventory, own: Entry) -> Result:
    interface = model.mesh.interface
    me = Node(settings.load_settings(), Enrolment(own.name, (), "", "", interface, Anchor("", "")))
    before = node.running()
    if before is not None and before.manifest.interface != interface:
        raise InventoryError(
            f"the inventory renames the interface {before.manifest.interface} to {interface}",
            "wgmesh leave --restore comes first, or revert the name",
        )
    assert own.public_key is not None, "an inventory that loads has each node's key"
    private = _private_key(me, request, own, own.public_key)
    if not request.dry_run:
        _keep_key(me.enrolment, own.public_key, private)
    if own.post_up and not me.settings.allow_hooks:
        log.warning("the inventory's hooks for this node are ignored: allow_hooks is false")
    plan = shares.share(me, model, own, own.public_key)
    files = render.files(plan)
    manifest = Manifest(
        number=generation.next_number(PLACES.generations),
        interface=interface,
        digest=render.digest(files),
        created=int(time.time()),
        direct=True,
    )
    if before is not None and before.manifest.digest == manifest.digest:
        if not request.dry_run:
            _settle(me, request, manifest.digest)
        stays = f"generation {before.manifest.number} stays"
        return Result("in-sync", f"nothing changes on {own.name}: {stays}")
    refusals.refuse_statically(plan, before, len(model.nodes) - 1)
    if request.dry_run:
        said = f"this would become generation {manifest.number} of {own.name}"
        return Result("would-apply", views.changes(files) + said)
    return _change(me, request, model, plan, files, manifest, before)


def _change(
    me: Node,
    request: Request,
    model: Inventory,
    plan: NodePlan,
    files: dict[str, bytes],
    manifest: Manifest,
    before: Running | None,
) -> Result:
    """Carry the change out; raises RolledBackError when it was harmful."""
    direct.begin(plan.node, plan.interface)
    previous = before.plan if before is not None else None
    if before is None:
        adopt.keep_what_was(plan)
    runs = direct.applied(before.manifest.digest) if before is not None else None
    rotation.before_boot(plan)
    counters = linux.counters(plan.interface)
    outcome = changing.attempt(
        changing.propose(
            me,
            manifest,
            plan,
            previous,
            files,
            fits=Versions(me, runs, previous, model, plan, ()).fits,
            remote=lambda: True,
            remote_before=False,
        )
    )
    if not outcome.confirmed:
        _unsettle(before)
        raise RolledBackError(
            f"the change of {plan.node} was applied, found harmful and rolled back:"
            f" {outcome.reason}",
            "mend the inventory, then apply it again",
        )
    number = generation.booted(PLACES.generations) or 0
    rotation.point(plan)
    look.remember_probe(outcome.health)
    renamed = awaited.renamed_keys(previous, plan, counters, time.time())
    _expect(plan, outcome, renamed)
    _settle(me, request, manifest.digest)
    second.expect(
        me, before.manifest.number if before is not None else None, number, manifest.digest, outcome
    )
    generation.prune(PLACES.generations, me.settings.keep_generations)
    if previous is None:
        adopt.hand_to_boot(plan.interface)
        timers.enable_helpers()
    look.refresh(me)
    return Result("applied", f"{plan.node} runs this as generation {number}")


def _unsettle(before: Running | None) -> None:
    """After a first change that was taken back: this machine runs no mesh."""
    if before is None:
        direct.forget()
    else:
        look.refresh(node.load_any())


def _settle(me: Node, request: Request, digest: str) -> None:
    """Remember whose inventory runs; what was said of the same content before counts no more."""
    direct.begin(me.enrolment.node, me.enrolment.interface)
    direct.remember(digest, request.source.files)
    left = records.read_quarantine(PLACES.state)
    records.write_quarantine(PLACES.state, [entry for entry in left if entry.digest != digest])
    records.write_verdict(PLACES.state, None)
    tips = records.read_tips(PLACES.state)
    if tips.applied is not None:  # of a mesh that this machine has left
        records.write_tips(PLACES.state, replace(tips, applied=None, digest=digest))


def _expect(plan: NodePlan, outcome: Outcome, renamed: frozenset[str]) -> None:
    """Remember the peers whose tunnel waits until their end has changed as well."""
    waiting = (outcome.roles.coordinated | renamed) - outcome.health.peers.keys()
    known = records.read_awaited(PLACES.state)
    counters = linux.counters(plan.interface)
    entries = awaited.begin(known, waiting, counters, "", time.time(), 0)
    if entries != known:
        records.write_awaited(PLACES.state, entries)


# ---------------------------------------------------------------- this machine's key


def _private_key(me: Node, request: Request, own: Entry, public_key: str) -> str:
    """Return the private half of `public_key`, from wherever it may be.

    Raises WgmeshError when it is nowhere; what is found elsewhere belongs to somebody else.
    """
    others = []
    for where, private in _candidates(me, request, own, public_key):
        if keys.public_half(private) == public_key:
            return private
        others.append(where)
    place = settings.WIREGUARD_DIR / f"{me.enrolment.interface}.key"
    said = f"; another one is in {' and '.join(others)}" if others else ""
    raise WgmeshError(
        f"the private key of {own.name} is not on this machine{said}",
        f"put it into {place}, mode 0600, or name its file in private_key_path",
    )


def _candidates(
    me: Node, request: Request, own: Entry, public_key: str
) -> Iterator[tuple[str, str]]:
    """Yield (where, private key) for each key that may be this node's."""
    paths = [keys.path(PLACES.wireguard, public_key), me.enrolment.key_path]
    if request.key is not None:
        yield "what was sent", request.key
    if own.private_key_path is not None:
        paths.append(Path(own.private_key_path))
    if request.out is not None:
        paths.append(keypairs.path(request.out, own.name))
    for path in paths:
        if path.exists():
            yield str(path), keys.read(path)
    link = linux.observe(me.enrolment.interface, frozenset()).state.link
    if link is not None and link.private_key is not None:
        yield f"the running {link.name}", link.private_key.reveal()


def _keep_key(enrolment: Enrolment, public_key: str, private: str) -> None:
    """Have the key where a boot reads it; one that is there already gets a name of its own."""
    here = enrolment.key_path
    if not here.exists():
        PLACES.wireguard.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(here, f"{private}\n".encode(), 0o600)
    elif keys.read(here) != private:
        keys.adopt(PLACES.wireguard, enrolment.interface)
        keys.keep(PLACES.wireguard, public_key, private)
