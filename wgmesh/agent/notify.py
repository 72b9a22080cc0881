"""Runs the admin's `notify` command when a change was rolled back or refused, or news stay away.

Each event is told once, and again when it is another one: a record says which were. It runs after
the turn has given the lock back, so that nobody waits for it.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from wgmesh import generation, records, settings
from wgmesh.agent import node, spare
from wgmesh.agent.contract import timestamp
from wgmesh.agent.node import PLACES, Node
from wgmesh.errors import LockedError, NotJoinedError, WgmeshError
from wgmesh.files import locked
from wgmesh.frozen import frozen
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import LastSync, Verdict
from wgmesh.trust.plain import plain

log = logging.getLogger(__name__)

LOCK_FILE = settings.RUN_DIR / "notify.lock"

REFUSED, ROLLED_BACK, STALE = "refused", "rolled-back", "stale"


@frozen
class Event:
    """Something to tell; `key` differs when it is another event of its kind.

    `commit` is the one that it is about, "" for none; `time` is in seconds since the epoch.
    """

    kind: str
    key: str
    reason: str
    hint: str
    commit: str
    time: int


def events(
    verdict: Verdict | None,
    quarantine: tuple[Quarantined, ...],
    last: LastSync | None,
    *,
    stale_after_seconds: int,
    now: float,
) -> tuple[Event, ...]:
    """Return what is to be told of the records of a node; pure."""
    found = []
    if verdict is not None and verdict.kind == REFUSED:
        found.append(_of(verdict, f"{verdict.commit} {verdict.culprit}"))
    if verdict is not None and verdict.kind == ROLLED_BACK:
        # the same change in another commit stays in quarantine: that is no new event
        harms = [entry for entry in quarantine if entry.harms]
        newest = max(harms, key=lambda entry: entry.time, default=None)
        key = verdict.commit if newest is None else f"{newest.digest} {newest.time}"
        found.append(_of(verdict, key))
    if last is not None and now - last.fetched > stale_after_seconds:
        since = timestamp(last.fetched) or "ever"
        reason = f"no remote has answered since {since}"
        reason += f"; the last turn: {last.reason}" if last.reason else ""
        hint = "wgmesh doctor looks at the way there"
        found.append(Event(STALE, str(last.fetched), reason, hint, "", int(now)))
    return tuple(found)


def _of(verdict: Verdict, key: str) -> Event:
    return Event(verdict.kind, key, verdict.reason, verdict.hint, verdict.commit, verdict.time)


@contextmanager
def afterwards(*, wanted: bool = True) -> Iterator[None]:
    """Tell what is to be told once the body has ended, well or with a WgmeshError of its own.

    Not when somebody else is at work, or this machine is in no mesh, or it is not `wanted`.
    """
    try:
        yield
    except (LockedError, NotJoinedError):
        raise
    except WgmeshError:
        if wanted:
            tell()
        raise
    if wanted:
        tell()


def tell() -> None:
    """Run the command for each event that was not told yet. What fails is logged, no more."""
    try:
        me = node.load()
    except WgmeshError:
        return  # nobody knows what to run, and the turn has said why
    if not me.settings.notify.strip():
        return
    try:
        with locked(LOCK_FILE):
            _tell(me)
    except LockedError:
        log.debug("somebody else tells already")
    except (WgmeshError, OSError) as error:
        log.warning("the notify command was not run: %s", error)


def _tell(me: Node) -> None:
    """Run the command for what is new; the record is written after it, so that a kill repeats."""
    told = spare.told()
    now = time.time()
    due = events(
        records.read_verdict(PLACES.state),
        records.read_quarantine(PLACES.state),
        spare.last_sync(),
        stale_after_seconds=me.settings.stale_after_seconds,
        now=now,
    )
    current = {event.kind: event.key for event in due}
    for event in due:
        if told.get(event.kind) != event.key:
            _run(me, event)
    if current != told:
        spare.remember_told(current)


def _run(me: Node, event: Event) -> None:
    from wgmesh.agent import messenger

    try:
        messenger.deliver(me.settings.notify, describe(me, event))
    except WgmeshError as error:
        hint = f" ({error.hint})" if error.hint else ""
        log.warning("the notify command failed: %s%s", plain(error.message, 400), hint)
    else:
        log.info("told by the notify command: %s", event.kind)


def describe(me: Node, event: Event) -> dict[str, str | int | None]:
    """Return what the command is told: its environment in small letters, and its JSON document."""
    return {
        "event": event.kind,
        "node": me.enrolment.node,
        "interface": me.enrolment.interface,
        "reason": event.reason,
        "hint": event.hint,
        "commit": event.commit or None,
        "generation": generation.booted(PLACES.generations),
        "time": timestamp(event.time),
    }
