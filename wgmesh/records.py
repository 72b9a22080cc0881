"""What a node remembers between runs, read and written in /var/lib/wgmesh, a file for each kind."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from wgmesh import shape
from wgmesh.files import sync_directory, write_atomic
from wgmesh.model.commit import VerifiedCommit
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import (
    Awaited,
    Hold,
    LastSync,
    RemoteState,
    Rotation,
    SecondLook,
    Seen,
    Soak,
    Tips,
    Verdict,
)

Record = TypeVar("Record")

AWAITED = "awaited.toml"
HOLD = "hold.toml"
LAST_SYNC = "last-sync.toml"
QUARANTINE = "quarantine.toml"
ROTATION = "rotation.toml"
SECOND_LOOK = "second-look.toml"
SEEN = "seen.toml"
SOAK = "soak.toml"
TIPS = "tips.toml"
TOLD = "told.toml"
VERDICT = "verdict.toml"

_OF_A_MESH = (AWAITED, HOLD, LAST_SYNC, QUARANTINE, ROTATION, SEEN, SOAK, TIPS, VERDICT)
"""What counts no more once a machine has left."""


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}  # a lost record is rebuilt: from the anchor, the boot manifest, the next sync


def _write(path: Path, table: Mapping[str, Any], *, durable: bool = True) -> None:
    import tomli_w

    write_atomic(path, tomli_w.dumps(dict(table)).encode(), 0o644, durable=durable)


def _replace(path: Path, table: Mapping[str, Any] | None) -> None:
    """Write `table` durably, or with None make sure that there is no file."""
    if table is not None:
        _write(path, table)
    elif path.exists():
        path.unlink()
        sync_directory(path.parent)


def _one(kind: type[Record], table: Mapping[str, Any]) -> Record | None:
    """Return the record in `table`; None when it is empty or of another shape, which is lost."""
    try:
        return shape.from_table(kind, table) if table else None
    except ValueError:
        return None


def _several(kind: type[Record], entries: object) -> tuple[Record, ...]:
    """Return the records in a list of tables, without those of another shape."""
    if not isinstance(entries, list):
        return ()
    found = (_one(kind, entry) for entry in entries if isinstance(entry, dict))
    return tuple(entry for entry in found if entry is not None)


def read_tips(directory: Path) -> Tips:
    """Return the two pointers; both None when there is no record."""
    table = _read(directory / TIPS)
    try:
        commits = {
            name: shape.from_table(VerifiedCommit, table[name])
            for name in ("trusted", "applied")
            if name in table
        }
        return shape.from_table(Tips, table | commits)
    except (ValueError, AttributeError):
        return Tips()


def write_tips(directory: Path, tips: Tips) -> None:
    """Put the two pointers on disk, durably."""
    table = {name: value for name, value in asdict(tips).items() if value is not None}
    _write(directory / TIPS, table)


def read_last_sync(directory: Path) -> LastSync | None:
    """Return how the last sync ended, or None."""
    table = _read(directory / LAST_SYNC)
    remotes = _several(RemoteState, table.pop("remotes", ()))
    return _one(LastSync, table | {"remotes": remotes}) if table else None


def write_last_sync(directory: Path, last: LastSync) -> None:
    """Record how a sync ended; not fsynced, since it happens each minute."""
    table = asdict(last) | {"remotes": [asdict(state) for state in last.remotes]}
    _write(directory / LAST_SYNC, table, durable=False)


def read_quarantine(directory: Path) -> tuple[Quarantined, ...]:
    """Return the quarantine, oldest first."""
    return _several(Quarantined, _read(directory / QUARANTINE).get("entry", ()))


def write_quarantine(directory: Path, entries: Sequence[Quarantined]) -> None:
    """Put the quarantine on disk, durably; an empty one leaves no file."""
    table = {"entry": [asdict(entry) for entry in entries]}
    _replace(directory / QUARANTINE, table if entries else None)


def read_seen(directory: Path) -> tuple[Seen, ...]:
    """Return the versions of the inventory that this node has seen, oldest first."""
    return _several(Seen, _read(directory / SEEN).get("version", ()))


def write_seen(directory: Path, seen: Sequence[Seen]) -> None:
    """Remember the versions of the inventory that this node has seen."""
    _replace(directory / SEEN, {"version": [asdict(entry) for entry in seen]})


def read_awaited(directory: Path) -> tuple[Awaited, ...]:
    """Return the peers whose tunnel waits for their end."""
    return _several(Awaited, _read(directory / AWAITED).get("peer", ()))


def write_awaited(directory: Path, entries: Sequence[Awaited]) -> None:
    """Remember the peers whose tunnel waits for their end; none leaves no file."""
    table = {"peer": [asdict(entry) for entry in entries]}
    _replace(directory / AWAITED, table if entries else None)


def read_soak(directory: Path) -> Soak | None:
    """Return the wait of a commit, or None."""
    return _one(Soak, _read(directory / SOAK))


def write_soak(directory: Path, soak: Soak) -> None:
    """Remember the wait of a commit; not fsynced: a power cut begins it anew in any case."""
    _write(directory / SOAK, asdict(soak), durable=False)


def read_rotation(directory: Path) -> Rotation | None:
    """Return the change of this node's key that is under way, or None."""
    return _one(Rotation, _read(directory / ROTATION))


def write_rotation(directory: Path, rotation: Rotation | None) -> None:
    """Remember the change of this node's key; None forgets it."""
    _replace(directory / ROTATION, None if rotation is None else asdict(rotation))


def read_second(directory: Path) -> SecondLook | None:
    """Return the generation that is to be looked at again, or None."""
    found = _one(SecondLook, _read(directory / SECOND_LOOK))
    shaken = found.handshakes if found is not None else None
    if not isinstance(shaken, dict) or not all(type(each) is int for each in shaken.values()):
        return None
    return found


def write_second(directory: Path, record: SecondLook | None) -> None:
    """Remember the generation that is to be looked at again; None forgets it."""
    _replace(directory / SECOND_LOOK, None if record is None else asdict(record))


def read_verdict(directory: Path) -> Verdict | None:
    """Return what is wrong with the newest tip, or None."""
    return _one(Verdict, _read(directory / VERDICT))


def write_verdict(directory: Path, verdict: Verdict | None) -> None:
    """Remember what is wrong with the newest tip; None forgets it."""
    _replace(directory / VERDICT, None if verdict is None else asdict(verdict))


def read_told(directory: Path) -> dict[str, str]:
    """Return the events that the notify command was run for: kind to what it was about."""
    table = _read(directory / TOLD)
    return {kind: key for kind, key in table.items() if isinstance(key, str)}


def write_told(directory: Path, told: Mapping[str, str]) -> None:
    """Remember the events that were told; none leaves no file."""
    _replace(directory / TOLD, told or None)


def read_hold(directory: Path) -> Hold | None:
    """Return the hold in force, or None. A record that cannot be read holds all the same."""
    path = directory / HOLD
    if not path.exists():
        return None
    return _one(Hold, _read(path)) or Hold("the record of a hold cannot be read", 0)


def write_hold(directory: Path, hold: Hold | None) -> None:
    """Put a hold on disk, durably; None lifts it."""
    _replace(directory / HOLD, None if hold is None else asdict(hold))


def forget(directory: Path) -> None:
    """Forget what is remembered of a mesh: this machine has left it."""
    for name in _OF_A_MESH:
        (directory / name).unlink(missing_ok=True)
