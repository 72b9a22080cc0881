"""What a node remembers between runs, in /var/lib/wgmesh: tips, last sync, quarantine, hold."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from wgmesh import shape
from wgmesh.files import sync_directory, write_atomic
from wgmesh.model.commit import VerifiedCommit

Record = TypeVar("Record")

HOUR_SECONDS = 3600
MOST_SEEN = 32
"""Versions of the inventory that are remembered: each costs reading it when a tunnel changes."""
LONGEST_BACK_OFF_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Tips:
    """Two pointers: `trusted` only moves forward, `applied` (what runs) may go back.

    `anchor` is the commit that `trusted` was verified from ("": whichever it is now). `digest` is
    of the generation that `applied` came to, `context` what else of this node the plan depended on:
    when either differs, the tip has to be looked at again.
    """

    trusted: VerifiedCommit | None = None
    applied: VerifiedCommit | None = None
    digest: str = ""
    context: str = ""
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class RemoteState:
    """How a remote stands to the others, `since` then (seconds since the epoch).

    `standing` is newest, behind, diverged or silent; `commit` its tip ("": silent), `reason` why
    there is none.
    """

    remote: str
    standing: str
    since: int
    commit: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LastSync:
    """How the last turn of the loop ended; times are seconds since the epoch.

    `fetched` is when a remote last had what is not out of date; `commit` the one that `outcome`
    speaks of; `heard` the fetch whose answer was read last; `remotes` how they stood.
    """

    time: int
    outcome: str
    reason: str = ""
    commit: str = ""
    fetched: int = 0
    heard: str = ""
    remotes: tuple[RemoteState, ...] = ()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A rendered digest not to be applied until `until` (0: until a person says so).

    `harms` counts how often it was taken back, `interruptions` how often a run died in it;
    an entry with neither yet two interruptions nor a harm does not block.
    """

    digest: str
    commit: str
    subject: str
    reason: str
    time: int
    until: int = 0
    harms: int = 0
    interruptions: int = 0

    def blocks(self, now: float) -> bool:
        """Return whether the digest may not be tried at `now`."""
        return (self.harms > 0 or self.interruptions > 1) and (self.until == 0 or now < self.until)


@dataclass(frozen=True, slots=True)
class Seen:
    """A commit that was the tip, or led to one, and when this node first saw it.

    `time` is in seconds since the epoch, by this node's clock.
    """

    commit: str
    time: int


@dataclass(frozen=True, slots=True)
class Awaited:
    """A peer that was up until `commit` changed both ends of its tunnel, at `time`.

    `handshake` is the latest one of then, as the device has it; 0 is none. `soak_seconds` is how
    long its end waits before it applies the commit.
    """

    public_key: str
    commit: str
    handshake: int
    time: int
    soak_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Soak:
    """Since when `commit` is the tip, and until when it waits here.

    Both in seconds since the boot `boot_id`; `time` is the wall clock of the former, for people.
    """

    commit: str
    boot_id: str
    since_seconds: float
    until_seconds: float
    time: int


@dataclass(frozen=True, slots=True)
class Rotation:
    """The change of this node's key to `next_public_key`, as far as it has come.

    Times are seconds since the epoch, 0 is not yet: `begun` when the key was made, `staged` when
    the inventory first had it, `switched` when the node went over to it. `known` are the keys of
    peers that have shaken hands with it, `waiting` says for whom or what it waits, `behind` names
    peers that still use the old key; `over` is that none does.
    """

    next_public_key: str
    begun: int = 0
    staged: int = 0
    switched: int = 0
    waiting: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    over: bool = False
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with the newest tip, until another one replaces it.

    `kind` is the state that `status` shows (refused, invalid, rolled-back, removed, pending);
    `commit` the tip, `culprit` the commit on the way to it that broke a rule.
    """

    kind: str
    commit: str
    reason: str
    hint: str
    time: int
    culprit: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Applying is stopped since `time`, because of `reason`."""

    reason: str
    time: int


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A confirmed generation that is to be looked at again, and the one to go back to.

    `due_seconds` is since boot; `handshakes` are the latest ones from before the change, of the
    peers that must have shaken hands again by then.
    """

    generation: int
    digest: str
    back_to: int
    due_seconds: float
    handshakes: Mapping[str, int]


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
    table = _read(directory / "tips.toml")
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
    _write(directory / "tips.toml", table)


def read_last_sync(directory: Path) -> LastSync | None:
    """Return how the last sync ended, or None."""
    table = _read(directory / "last-sync.toml")
    remotes = _several(RemoteState, table.pop("remotes", ()))
    return _one(LastSync, table | {"remotes": remotes}) if table else None


def write_last_sync(directory: Path, last: LastSync) -> None:
    """Record how a sync ended; not fsynced, since it happens each minute."""
    table = asdict(last) | {"remotes": [asdict(state) for state in last.remotes]}
    _write(directory / "last-sync.toml", table, durable=False)


def read_quarantine(directory: Path) -> tuple[Quarantined, ...]:
    """Return the quarantine, oldest first."""
    return _several(Quarantined, _read(directory / "quarantine.toml").get("entry", ()))


def write_quarantine(directory: Path, entries: Sequence[Quarantined]) -> None:
    """Put the quarantine on disk, durably; an empty one leaves no file."""
    table = {"entry": [asdict(entry) for entry in entries]}
    _replace(directory / "quarantine.toml", table if entries else None)


def find(entries: Sequence[Quarantined], digest: str) -> Quarantined | None:
    """Return the entry for `digest`, or None."""
    return next((entry for entry in entries if entry.digest == digest), None)


def harmed(
    entries: Sequence[Quarantined], new: Quarantined, *, forever: bool
) -> tuple[Quarantined, ...]:
    """Return the quarantine with `new` in it: back-off doubles from one hour, or has no end."""
    old = find(entries, new.digest)
    harms = (old.harms if old else 0) + 1
    wait = min(HOUR_SECONDS * 2 ** min(harms - 1, 16), LONGEST_BACK_OFF_SECONDS)
    entry = replace(
        new,
        harms=harms,
        interruptions=old.interruptions if old else 0,
        until=0 if forever else new.time + wait,
    )
    return (*(other for other in entries if other.digest != new.digest), entry)


def interrupted(entries: Sequence[Quarantined], new: Quarantined) -> tuple[Quarantined, ...]:
    """Return the quarantine after a run died while it applied `new`: the second time blocks."""
    old = find(entries, new.digest) or new
    count = old.interruptions + 1
    until = new.time + HOUR_SECONDS
    if count == 1 or (old.harms and old.until == 0):
        until = old.until  # not blocked by this, or blocked for good
    entry = replace(old, interruptions=count, until=max(until, old.until) if until else 0)
    return (*(other for other in entries if other.digest != new.digest), entry)


def read_seen(directory: Path) -> tuple[Seen, ...]:
    """Return the versions of the inventory that this node has seen, oldest first."""
    return _several(Seen, _read(directory / "seen.toml").get("version", ()))


def write_seen(directory: Path, seen: Sequence[Seen]) -> None:
    """Remember the versions of the inventory that this node has seen."""
    _replace(directory / "seen.toml", {"version": [asdict(entry) for entry in seen]})


def read_awaited(directory: Path) -> tuple[Awaited, ...]:
    """Return the peers whose tunnel waits for their end."""
    return _several(Awaited, _read(directory / "awaited.toml").get("peer", ()))


def write_awaited(directory: Path, entries: Sequence[Awaited]) -> None:
    """Remember the peers whose tunnel waits for their end; none leaves no file."""
    table = {"peer": [asdict(entry) for entry in entries]}
    _replace(directory / "awaited.toml", table if entries else None)


def read_soak(directory: Path) -> Soak | None:
    """Return the wait of a commit, or None."""
    return _one(Soak, _read(directory / "soak.toml"))


def write_soak(directory: Path, soak: Soak) -> None:
    """Remember the wait of a commit; not fsynced: a power cut begins it anew in any case."""
    _write(directory / "soak.toml", asdict(soak), durable=False)


def read_rotation(directory: Path) -> Rotation | None:
    """Return the change of this node's key that is under way, or None."""
    return _one(Rotation, _read(directory / "rotation.toml"))


def write_rotation(directory: Path, rotation: Rotation | None) -> None:
    """Remember the change of this node's key; None forgets it."""
    _replace(directory / "rotation.toml", None if rotation is None else asdict(rotation))


def read_second(directory: Path) -> SecondLook | None:
    """Return the generation that is to be looked at again, or None."""
    found = _one(SecondLook, _read(directory / "second-look.toml"))
    shaken = found.handshakes if found is not None else None
    if not isinstance(shaken, dict) or not all(type(each) is int for each in shaken.values()):
        return None
    return found


def write_second(directory: Path, record: SecondLook | None) -> None:
    """Remember the generation that is to be looked at again; None forgets it."""
    _replace(directory / "second-look.toml", None if record is None else asdict(record))


def plausible(seen: Sequence[Seen], now: float, lag_seconds: float) -> tuple[Seen, ...]:
    """Return the versions that a peer may run: those not replaced for longer than the lag.

    A clock that was set back makes a version younger, which is the harmless way to be wrong.
    """
    replaced = (entry.time for entry in seen[1:])
    old = sum(1 for _ in takewhile(lambda time: now - time > lag_seconds, replaced))
    return tuple(seen[max(old, len(seen) - MOST_SEEN) :])


def read_verdict(directory: Path) -> Verdict | None:
    """Return what is wrong with the newest tip, or None."""
    return _one(Verdict, _read(directory / "verdict.toml"))


def write_verdict(directory: Path, verdict: Verdict | None) -> None:
    """Remember what is wrong with the newest tip; None forgets it."""
    _replace(directory / "verdict.toml", None if verdict is None else asdict(verdict))


def read_told(directory: Path) -> dict[str, str]:
    """Return the events that the notify command was run for: kind to what it was about."""
    table = _read(directory / "told.toml")
    return {kind: key for kind, key in table.items() if isinstance(key, str)}


def write_told(directory: Path, told: Mapping[str, str]) -> None:
    """Remember the events that were told; none leaves no file."""
    _replace(directory / "told.toml", told or None)


def read_hold(directory: Path) -> Hold | None:
    """Return the hold in force, or None. A record that cannot be read holds all the same."""
    path = directory / "hold.toml"
    if not path.exists():
        return None
    return _one(Hold, _read(path)) or Hold("the record of a hold cannot be read", 0)


def write_hold(directory: Path, hold: Hold | None) -> None:
    """Put a hold on disk, durably; None lifts it."""
    _replace(directory / "hold.toml", None if hold is None else asdict(hold))
