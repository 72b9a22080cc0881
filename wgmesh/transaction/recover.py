"""A transaction that was cut short, finished or undone."""

from collections.abc import Callable
from pathlib import Path

from wgmesh import generation, journal
from wgmesh.frozen import frozen
from wgmesh.journal import Journal, Phase
from wgmesh.model.kernel import KernelState
from wgmesh.transaction.converge import undisturbed
from wgmesh.transaction.ending import abandon, drop_second_key, settle, undo
from wgmesh.transaction.places import Places
from wgmesh.transaction.proposal import Bridge


@frozen
class Recovered:
    """A transaction that was found cut short, and where it went.

    `forward` is to the new state; `applied` says that the kernel may have been in between, be it
    before the machine went down: the change may have brought it down.
    """

    record: Journal
    forward: bool
    applied: bool


def recover(places: Places, rebuild: Callable[[], KernelState | None]) -> Recovered | None:
    """Finish or undo a transaction that was cut short; None when there was none.

    The caller holds the lock. `rebuild` gives the state of the boot generation, for when neither
    journal nor snapshot can be read.
    """
    record = journal.read(places.journal)
    if record.phase is Phase.IDLE:
        return None
    readable = record.phase is not Phase.GARBLED
    booted = generation.booted(places.generations)
    confirmed = readable and record.generation == booted and record.phase is Phase.APPLYING
    if confirmed:
        settle(places, record)
        return Recovered(record, forward=True, applied=True)
    prepared = record.phase is Phase.PREPARED
    if prepared or (readable and _state_is_gone(places, record)):
        abandon(places, record)
        return Recovered(record, forward=False, applied=not prepared)
    with undisturbed():
        undo(places, record, rebuild)
        drop_second_key(Bridge.WANTED)
    return Recovered(record, forward=False, applied=True)


def _state_is_gone(places: Places, record: Journal) -> bool:
    """Return whether the machine has booted since: another boot id, or nothing left to undo."""
    if record.boot_id != journal.boot_id():
        return True
    return not places.snapshot.exists() and not Path(f"/sys/class/net/{record.interface}").exists()
