"""This machine as the agent sees it: its policy, its enrolment, and the generation that it runs."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from wgmesh import (
    __version__,
    generation,
    journal,
    keys,
    records,
    render,
    settings,
)
from wgmesh.errors import NotJoinedError, UsageError, WgmeshError
from wgmesh.files import locked
from wgmesh.frozen import frozen
from wgmesh.generation import Manifest
from wgmesh.journal import Phase
from wgmesh.model.plan import Exempt, NodePlan
from wgmesh.remembered import Tips
from wgmesh.settings import Enrolment, Settings
from wgmesh.transaction.places import Places

log = logging.getLogger(__name__)

PLACES = Places(
    generations=settings.GENERATIONS_DIR,
    wireguard=settings.WIREGUARD_DIR,
    run=settings.RUN_DIR,
    state=settings.STATE_DIR,
)
_PATIENCE_SECONDS = 5.0
"""How long a command waits for a tick, or a turn without news; either takes less."""
_TIME_USERS = ("systemd-timesync", "_chrony", "ntpsec", "openntpd")
"""Who keeps the clock on Debian and Ubuntu: a wrong one keeps tunnels from ever coming up."""


@frozen
class Node:
    """What is known before anything is asked: policy and enrolment."""

    settings: Settings
    enrolment: Enrolment


@frozen
class Running:
    """A generation: its manifest, and its plan (None for generation 0).

    `altered`: its files are not what was rendered; `pristine` are those, when they could be made
    again out of the commit. The plan is theirs.
    """

    manifest: Manifest
    plan: NodePlan | None
    altered: bool = False
    pristine: dict[str, bytes] | None = None


def require_root() -> None:
    """Raise UsageError when this process may not do a node's work."""
    if os.geteuid() != 0:
        raise UsageError("this command needs root", "run it with sudo")


def turn() -> AbstractContextManager[None]:
    """Be the only one here who asks the remotes, or changes this node by what they say.

    Taken before `lock`, which ticks need, and who waits for a remote therefore lets go. Raises
    LockedError at once when a change is in flight, else after five seconds.
    """
    return _locked(settings.TURN_FILE)


def lock() -> AbstractContextManager[None]:
    """Hold this node's lock, waiting while a tick, or a turn that changes nothing yet, has it.

    Raises LockedError at once when a change is in flight, else after five seconds.
    """
    return _locked(settings.LOCK_FILE)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    idle = journal.read(PLACES.journal).phase is Phase.IDLE
    with locked(path, patience_seconds=_PATIENCE_SECONDS if idle else 0):
        yield


def load() -> Node:
    """Return this machine's policy and enrolment. Raises NotJoinedError."""
    return Node(settings.load_settings(), settings.load_enrolment())


def load_any() -> Node:
    """Return policy and enrolment, also of a machine that an inventory was applied to by hand.

    Raises NotJoinedError.
    """
    try:
        return load()
    except NotJoinedError:
        from wgmesh.agent import direct

        found = direct.enrolment()
        if found is None:
            raise
        return Node(settings.load_settings(), found)


def tips(me: Node) -> Tips:
    """Return the two pointers. What was trusted from another anchor than now is so no more.

    That is what makes node.toml the one file that re-anchors: a tip that is older than it is lost.
    """
    found = records.read_tips(PLACES.state)
    if found.anchor and found.anchor != me.enrolment.anchor.commit:
        return replace(found, trusted=None, anchor="")
    return found


def running() -> Running | None:
    """Return the confirmed generation; None before the first."""
    number = generation.booted(PLACES.generations)
    if number is None:
        return None
    return at_generation(number)


def at_generation(number: int) -> Running:
    """Return generation `number`. Raises WgmeshError when it is missing or its manifest damaged.

    Files that somebody edited are not believed: the plan then comes out of the commit again.
    """
    manifest = generation.read_manifest(PLACES.generations, number)
    if number == 0:
        return Running(manifest, None)
    files = generation.read_files(PLACES.generations, number)
    if render.digest(files) == manifest.digest:
        return Running(manifest, render.parse(files))
    pristine = _rendered_again(manifest)
    plan = render.parse(pristine) if pristine is not None else None
    return Running(manifest, plan, altered=True, pristine=pristine)


def _rendered_again(manifest: Manifest) -> dict[str, bytes] | None:
    """Return the files of a generation as its commit says; None when that cannot be had."""
    from wgmesh import inventory
    from wgmesh.agent import shares
    from wgmesh.repository.bare import Repository

    if manifest.commit is None:
        return None
    try:
        me = load()
        with Repository(settings.REPOSITORY_DIR) as repository:
            files = repository.inventory_files(manifest.commit.id, me.enrolment.path)
        model = inventory.load(files)
        own = shares.own_entry(me.enrolment, model)
        if own is None:
            return None
        for key in (own.public_key, own.next_public_key):
            if key is not None:
                rendered = render.files(shares.share(me, model, own, key))
                if render.digest(rendered) == manifest.digest:
                    return rendered
    except WgmeshError as error:
        log.debug("generation %d cannot be made again: %s", manifest.number, error.message)
    return None


def context(me: Node) -> str:
    """Return what a plan depends on beside the inventory: another one asks for a new look."""
    known = f"wgmesh {__version__}, allow_hooks {me.settings.allow_hooks}"
    return f"{known}, {exempt(me)}"


def exempt(me: Node) -> Exempt:
    """Return what of this machine leaves by its uplink even where an exit is in use."""
    return Exempt(
        fetch_uid=_uid(settings.FETCH_USER),
        time_uids=tuple(uid for name in _TIME_USERS if (uid := _uid(name)) is not None),
        prefixes=tuple(map(ip_network, me.settings.exempt)),
        sources=me.settings.exit_sources,
    )


def _uid(name: str) -> int | None:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def holds(public_key: str | None) -> bool:
    """Return whether the private half of `public_key` is in the directory of keys."""
    return public_key is not None and keys.path(PLACES.wireguard, public_key).exists()
