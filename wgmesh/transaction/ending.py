"""The two ends of a transaction, settled or undone, and what each leaves on disk."""

import logging
import time
from collections.abc import Callable

from wgmesh import generation, journal, linux, snapshot
from wgmesh.desired import restored
from wgmesh.errors import WgmeshError
from wgmesh.journal import Journal, Phase
from wgmesh.model.kernel import KernelState
from wgmesh.snapshot import Snapshot
from wgmesh.transaction.converge import converge, run_hook
from wgmesh.transaction.places import Places
from wgmesh.transaction.proposal import Bridge

log = logging.getLogger(__name__)

BACK_SECONDS = 1


def settle(places: Places, record: Journal) -> None:
    """Finish a confirmed transaction: the files that boot reads, then an idle journal."""
    complaints = generation.link_files(places.generations, places.wireguard, record.interface)
    for complaint in complaints:
        log.warning("%s", complaint)
    journal.write(places.journal, journal.IDLE)
    places.snapshot.unlink(missing_ok=True)


def abandon(places: Places, record: Journal) -> None:
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


def undo(
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
    abandon(places, record)


def _saved(places: Places) -> Snapshot | None:
    """Return the snapshot; a damaged one is as good as none."""
    try:
        return snapshot.read(places.snapshot)
    except WgmeshError as error:
        log.warning("%s", error.message)
        return None


def drop_second_key(kind: Bridge) -> None:
    """Take away the second key of a change that was undone, once the first one serves again."""
    if kind is Bridge.NONE or not linux.bridge.present():
        return
    time.sleep(BACK_SECONDS)  # sessions of the first key begin with the packets just sent
    try:
        linux.bridge.remove()
    except WgmeshError as error:
        log.warning("%s: the next poll takes it away", error.message)
