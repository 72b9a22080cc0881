"""Joining a mesh and leaving it."""

import logging
import re
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

from wgmesh import generation, inventory, linux, mesh, process, records, settings
from wgmesh.agent import adopt, fetch, look, node
from wgmesh.agent.node import PLACES, Node
from wgmesh.agent.sync import Result, finish_cut_short
from wgmesh.errors import NotJoinedError, UsageError
from wgmesh.files import locked, write_atomic
from wgmesh.inventory.values import BadValue, node_name
from wgmesh.model import Inventory, KernelState, VerifiedCommit
from wgmesh.records import Tips, Verdict
from wgmesh.repository import Repository, check_remote
from wgmesh.settings import Anchor, Enrolment
from wgmesh.transaction import converge, undisturbed

log = logging.getLogger(__name__)

UNITS = ("wgmesh-sync.timer", "wg-failover.timer", "wg-exit-selector.timer")


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What `join` was asked for; `introduction` or `signers` says where trust starts."""

    remote: str | None
    node: str | None = None
    branch: str = "main"
    path: str = "."
    introduction: str | None = None
    signer: str | None = None
    signers: Path | None = None
    enable: bool = True


@dataclass(frozen=True, slots=True)
class Joined:
    """The entry for nodes/NAME.toml, and how things stand."""

    entry: str
    name: str
    message: str


def join(request: JoinRequest) -> Joined:
    """Enrol this machine: key, repository, anchor, and last of all node.toml.

    Again with the same arguments is harmless; without a remote it prints the entry again.
    """
    node.require_root()
    with locked(settings.LOCK_FILE):
        if request.remote is None:
            return _entry_again()
        remote = check_remote(request.remote)
        request = replace(request, remote=remote)
        finish_cut_short()
        if _is_joined(request):
            _enable(request)
            return _entry_again()
        name = request.node or socket.gethostname().partition(".")[0].lower()
        try:
            node_name(name)
        except BadValue as bad:
            raise UsageError(bad.message, f"name this node with --node; {bad.hint}") from None
        anchor, tip, model = _trusted(request)
        interface = model.mesh.interface
        enrolment = Enrolment(
            node=name,
            remotes=(remote,),
            branch=request.branch,
            path=request.path,
            interface=interface,
            anchor=anchor,
        )
        _ensure_key(enrolment.key_path, interface)
        public_key = node.own_public_key(enrolment)
        entry = mesh.find_node(model, public_key)
        if entry is not None and entry.name != name:
            log.warning("the inventory knows this key as %s", entry.name)
        records.write_tips(PLACES.state, Tips(trusted=tip, applied=_applied()))
        if entry is None:
            verdict = Verdict(
                "pending",
                tip.id,
                "this node's key is not in the inventory yet",
                "merge its entry: wgmesh join prints it",
                int(time.time()),
            )
            records.write_verdict(PLACES.state, verdict)
        settings.save_enrolment(enrolment)
        me = node.load()
        _enable(request)
        look.refresh(me)
        there = "it is in the inventory" if entry is not None else "pending until its entry lands"
        return Joined(_entry_text(public_key), name, f"{name} has joined: {there}")


def _applied() -> VerifiedCommit | None:
    return records.read_tips(PLACES.state).applied


def _is_joined(request: JoinRequest) -> bool:
    """Return whether this machine is enrolled already, just as asked for.

    Trust then stays where it has come to: a second `join` must not lead back to the introduction.
    Raises UsageError when it is enrolled otherwise.
    """
    try:
        known = settings.load_enrolment()
    except NotJoinedError:
        return False
    asked = (request.remote, request.branch, request.path)
    anchor = request.introduction in (None, known.anchor.commit)
    signer = request.signer in (None, known.anchor.fingerprint)
    if (known.remotes[0], known.branch, known.path) != asked or not anchor or not signer:
        raise UsageError(
            f"this machine has joined {known.remotes[0]} ({known.branch}, {known.path}) already,"
            f" from {known.anchor.commit[:12]} on",
            "wgmesh leave comes first; wgmesh join without arguments prints the entry again",
        )
    return True


def _trusted(request: JoinRequest) -> tuple[Anchor, VerifiedCommit, Inventory]:
    """Fetch, verify from the anchor that `request` names, and read the inventory there."""
    from wgmesh.trust import chain

    if (request.introduction is None) == (request.signers is None):
        raise UsageError(
            "join needs --introduction COMMIT or --signers FILE",
            "somebody who runs a node finds the line with: wgmesh trust show, or git log",
        )
    if request.introduction is not None and not re.fullmatch(
        "[0-9a-f]{40,64}", request.introduction
    ):
        raise UsageError(
            f"{request.introduction} is no full commit id", "give all its 40 characters"
        )
    remote = request.remote or ""
    now = time.time()
    with Repository(settings.REPOSITORY_DIR) as repository:
        repository.ensure()
        commit = repository.ls_remote(remote, request.branch, timeout_seconds=fetch.ASK_SECONDS)
        repository.fetch(remote, request.branch, commit, timeout_seconds=fetch.FETCH_SECONDS)
        if request.introduction is not None:
            first = chain.introduce(
                repository,
                request.introduction,
                fingerprint=request.signer,
                now=now if request.introduction == commit else None,
            )
            tip = chain.verify(repository, first.id, commit, now=now, branch=request.branch)
            anchor = Anchor(first.id, first.fingerprint)
        else:
            signers = _read_signers(request.signers)
            tip = chain.admit(repository, commit, signers, now=now)
            anchor = Anchor(tip.id, tip.fingerprint)
        repository.keep(tip.id)
        model = inventory.load(repository.inventory_files(tip.id, request.path))
    return anchor, tip, model


def _read_signers(path: Path | None) -> bytes:
    try:
        return b"" if path is None else path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "name a file") from None


def _ensure_key(path: Path, interface: str) -> None:
    """Make the private key if there is none; a running interface's key is adopted."""
    if path.exists():
        return
    seen = linux.observe(interface, frozenset())
    link = seen.state.link
    if link is not None and link.private_key is not None:
        key = link.private_key.reveal()
        log.info("the key of the running %s is adopted", interface)
    else:
        key = process.text(["wg", "genkey"]).strip()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, f"{key}\n".encode(), 0o600)


def _entry_text(public_key: str) -> str:
    return (
        f'public_key = "{public_key}"\n'
        '# endpoint = "host.example.com"  # where others reach this node; none behind NAT\n'
    )


def _entry_again() -> Joined:
    me = node.load()
    entry = _entry_text(node.own_public_key(me.enrolment))
    return Joined(entry, me.enrolment.node, f"{me.enrolment.node} has joined already")


def _enable(request: JoinRequest) -> None:
    if not request.enable:
        return
    if not linux.systemd.running():
        log.warning("no systemd here: nothing was enabled; `wgmesh sync` is one turn of the loop")
        return
    for unit in UNITS:
        if linux.systemd.exists(unit):
            linux.systemd.enable(unit)
            linux.systemd.start(unit)
        else:
            log.warning("%s is not installed: not enabled", unit)


def leave(*, restore: bool) -> Result:
    """Un-enrol: units off, node.toml gone; the tunnel stays, or generation 0 is restored."""
    node.require_root()
    with locked(settings.LOCK_FILE):
        me = node.load()
        finish_cut_short()
        if restore:
            _restore(me)
        _disable()
        settings.remove_enrolment()
        for name in ("tips.toml", "verdict.toml", "hold.toml", "last-sync.toml", "quarantine.toml"):
            (PLACES.state / name).unlink(missing_ok=True)
        settings.STATUS_FILE.unlink(missing_ok=True)
    what = "the machine is as it was before" if restore else "the tunnel stays as it is"
    return Result(
        "left", f"this machine has left the mesh; {what}; its key stays at {me.enrolment.key_path}"
    )


def _disable() -> None:
    if not linux.systemd.running():
        return
    for unit in UNITS:
        if linux.systemd.exists(unit):
            linux.systemd.disable(unit)


def _restore(me: Node) -> None:
    """Bring back what was there before wgmesh, kernel and configuration files."""
    interface = me.enrolment.interface
    current = node.running()
    keys = node.sysctl_keys(current.plan if current is not None else None)
    zero = generation.manifest_path(PLACES.generations, 0).exists()
    before = adopt.before_wgmesh().state if zero else KernelState(None, sysctls=node.former())
    with undisturbed():
        converge(before, interface, keys | frozenset(before.sysctls), adopt=True)
    generation.unlink_files(PLACES.generations, PLACES.wireguard, interface)
    if linux.systemd.running() and not zero:
        linux.systemd.disable(f"wg-quick@{interface}.service")
