"""What each turn remembers even where the disk takes nothing: then it is in /run until it does.

A full disk must neither keep a node from mending what it lost, nor have `status`, `trust` or
`doctor` tell of the turn before the disk was full.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from wgmesh import records
from wgmesh.agent.node import PLACES
from wgmesh.errors import WgmeshError, of_system
from wgmesh.files import tolerant
from wgmesh.records import LAST_SYNC, TOLD
from wgmesh.remembered import LastSync

log = logging.getLogger(__name__)


def last_sync() -> LastSync | None:
    """Return how the last turn ended, or None."""
    found = records.read_last_sync(PLACES.run) if _spared(LAST_SYNC) else None
    return found or records.read_last_sync(PLACES.state)


def remember_sync(last: LastSync, otherwise: Callable[[WgmeshError], LastSync]) -> None:
    """Record how a turn ended; `otherwise` is what to record where the disk does not take it.

    Raises WgmeshError then.
    """
    try:
        records.write_last_sync(PLACES.state, last)
    except OSError as error:
        trouble = of_system(error)
        with tolerant():
            records.write_last_sync(PLACES.run, otherwise(trouble))
        raise trouble from error
    _forget(LAST_SYNC)


def told() -> dict[str, str]:
    """Return the events that the notify command was run for: kind to what it was about."""
    return records.read_told(PLACES.run if _spared(TOLD) else PLACES.state)


def remember_told(events: Mapping[str, str]) -> None:
    """Remember the events that were told."""
    try:
        records.write_told(PLACES.state, events)
    except OSError as error:
        log.warning("%s", of_system(error).message)
        with tolerant():
            records.write_told(PLACES.run, events)
    else:
        _forget(TOLD)


def forget() -> None:
    """Forget what is in /run: this machine has left."""
    _forget(LAST_SYNC)
    _forget(TOLD)


def _spared(name: str) -> bool:
    return (PLACES.run / name).exists()


def _forget(name: str) -> None:
    with suppress(FileNotFoundError):
        (PLACES.run / name).unlink()
