"""Joining a mesh."""

import logging
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wgmesh import inventory, linux, process, records, settings
from wgmesh.agent import access, direct, fetch, look, node, remote, shares, timers
from wgmesh.agent.node import PLACES
from wgmesh.agent.remote import Source
from wgmesh.agent.sync import finish_cut_short
from wgmesh.errors import NotJoinedError, RefusedError, UnreachableError, UsageError
from wgmesh.files import write_atomic
from wgmesh.frozen import frozen
from wgmesh.inventory.values import BadValue, node_name
from wgmesh.mesh.plan import find_node
from wgmesh.model.commit import VerifiedCommit
from wgmesh.model.inventory import Inventory
from wgmesh.remembered import Tips, Verdict
from wgmesh.repository.bare import Repository
from wgmesh.repository.remote import check_remote
from wgmesh.settings import Anchor, Enrolment

log = logging.getLogger(__name__)

_NEWER_LINE = (
    "if the mesh's nodes run it, join with the newer line that `wgmesh trust show` prints on one of"
    " them; if they refuse it as well, they say how to mend it"
)


@frozen
class JoinRequest:
    """What `join` was asked for; `introduction` or `signers` says where trust starts.

    `deploy_key`, if given, asks for a key for a private remote, and is told its public half.
    """

    remote: str | None
    node: str | None = None
    branch: str = "main"
    path: str = "."
    introduction: str | None = None
    signer: str | None = None
    signers: Path | None = None
    enable: bool = True
    deploy_key: Callable[[str], None] | None = None


@frozen
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
    if request.remote is None:
        _show_key(request)
        return _entry_again()
    url = check_remote(request.remote)
    request = replace(request, remote=url)
    with node.turn():
        with node.lock():
            finish_cut_short()
        if _is_joined(request):
            _get_in(request, *node.load().enrolment.remotes)
            joined = _entry_again()
        else:
            joined = _enrol(request, url)
    if request.enable:  # without the lock, which the first turn needs
        timers.enable(node.load().settings)
    else:
        timers.disable()
    return joined


def _enrol(request: JoinRequest, url: str) -> Joined:
    name = request.node or socket.gethostname().partition(".")[0].lower()
    try:
        node_name(name)
    except BadValue as bad:
        raise UsageError(bad.message, f"name this node with --node; {bad.hint}") from None
    _check_anchor(request)
    try:
        _get_in(request, url)
        anchor, tip, model = _trusted(request, url)
    except UnreachableError as error:
        raise UnreachableError(error.message, f"{error.hint}; then run join again") from None
    interface = model.mesh.interface
    enrolment = Enrolment(
        node=name,
        remotes=(url,),
        branch=request.branch,
        path=request.path,
        interface=interface,
        anchor=anchor,
    )
    with node.lock():
        finish_cut_short()
        _ensure_key(enrolment.key_path, interface)
        public_key = shares.own_public_key(enrolment)
        entry = find_node(model, public_key)
        if entry is not None and entry.name != name:
            log.warning("the inventory knows this key as %s", entry.name)
        records.write_tips(PLACES.state, Tips(tip, _applied(), anchor=anchor.commit))
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
        direct.forget()
        look.refresh(node.load())
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
    asked = (request.remote in known.remotes, request.branch, request.path)
    named = request.node in (None, known.node)
    anchor = request.introduction in (None, known.anchor.commit)
    signer = request.signer in (None, known.anchor.fingerprint)
    given = request.signers is None or _vouches(request.signers, known.anchor)
    same = named and anchor and signer and given
    if asked != (True, known.branch, known.path) or not same:
        raise UsageError(
            f"this machine has joined {known.remotes[0]} ({known.branch}, {known.path}) already,"
            f" as {known.node}, from {known.anchor.commit[:12]} by {known.anchor.fingerprint} on",
            "wgmesh leave comes first; wgmesh join without arguments prints the entry again; a"
            f" second remote of the same inventory goes into {settings.NODE_FILE}",
        )
    return True


def _vouches(path: Path, anchor: Anchor) -> bool:
    """Return whether the signers file at `path` has who signed the anchor.

    Then trust starts where it would with that file. Raises RefusedError for a file that is none.
    """
    from wgmesh.trust import signers

    found = signers.parse(_read_signers(path)).values()
    return any(signer.key.fingerprint == anchor.fingerprint for signer in found)


def _check_anchor(request: JoinRequest) -> None:
    """Raise UsageError when `request` does not say where trust starts."""
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


def _show_key(request: JoinRequest) -> None:
    if request.deploy_key is not None:
        request.deploy_key(access.deploy_key())


def _get_in(request: JoinRequest, *urls: str) -> None:
    """Make the deploy key when asked to, pin the hosts' keys, look at what a private remote needs.

    Raises UnreachableError when the host of an ssh remote shows no key.
    """
    access.open_way()
    _show_key(request)
    for shown in map(access.pin, urls):
        if shown:
            log.warning("%s", shown)
    access.require_readable_key()
    access.check_credentials()


def _trusted(request: JoinRequest, url: str) -> tuple[Anchor, VerifiedCommit, Inventory]:
    """Fetch, verify from the anchor that `request` names, and read the inventory there."""
    from wgmesh.gpgv import Gpgv
    from wgmesh.trust import chain

    gpg = Gpgv()
    source = Source((url,), request.branch, joining=True)
    now = time.time()
    with Repository(settings.REPOSITORY_DIR) as repository:
        repository.ensure()
        news = remote.news(remote.ask(source), source)
        (commit,) = remote.bring(repository, source, news).commits
        if request.introduction is not None:
            first = chain.introduce(
                repository,
                request.introduction,
                fingerprint=request.signer,
                now=now if request.introduction == commit else None,
                gpg=gpg,
            )
            try:
                tip = chain.verify(
                    repository, first.id, commit, now=now, branch=request.branch, gpg=gpg
                )
            except RefusedError as error:
                # a repair that begins at an old introduction would take the others back
                raise RefusedError(error.message, _NEWER_LINE, error.commit) from None
            anchor = Anchor(first.id, first.fingerprint)
        else:
            signers = _read_signers(request.signers)
            tip = chain.admit(repository, commit, signers, now=now, gpg=gpg)
            anchor = Anchor(tip.id, tip.fingerprint)
        repository.keep(tip.id)
        model = inventory.load(repository.inventory_files(tip.id, request.path))
        for risk in fetch.new_risks(repository, (), tip.id, None):
            log.warning("%s: %s", tip.id[:12], risk)
    return anchor, tip, model


def _read_signers(path: Path | None) -> bytes:
    """Return the bytes of a signers file, none without one. Raises UsageError."""
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
    entry = _entry_text(shares.own_public_key(me.enrolment))
    return Joined(entry, me.enrolment.node, f"{me.enrolment.node} has joined already")
