"""Which events the notify command is run for."""

from dataclasses import replace

import pytest

from wgmesh.agent.notify import REFUSED, ROLLED_BACK, STALE, Event, events
from wgmesh.quarantine import Quarantined, harmed
from wgmesh.remembered import LastSync, Verdict

NOW = 1_790_000_000
FRESH = LastSync(NOW - 60, "in-sync", fetched=NOW - 60)
REFUSAL = Verdict("refused", "b" * 40, "not signed", "sign it", NOW - 5, "a" * 40)
UNDONE = Verdict("rolled-back", "b" * 40, "bravo was lost", "", NOW - 5)
HARM = harmed((), Quarantined("digest", "b" * 40, "s", "r", NOW - 5), forever=False)


def told(
    verdict: Verdict | None = None,
    quarantine: tuple[Quarantined, ...] = (),
    last: LastSync | None = FRESH,
) -> dict[str, Event]:
    found = events(verdict, quarantine, last, stale_after_seconds=3600, now=NOW)
    assert len({event.kind for event in found}) == len(found), "one of each kind"
    return {event.kind: event for event in found}


@pytest.mark.parametrize("kind", ["invalid", "removed", "pending", "held"])
def test_nothing_to_tell(kind: str) -> None:
    assert told() == {}
    assert told(last=None) == {}
    assert told(replace(REFUSAL, kind=kind)) == {}
    assert told(quarantine=HARM) == {}, "something else runs by now"


def test_a_refusal() -> None:
    event = told(REFUSAL)[REFUSED]
    assert (event.reason, event.hint) == ("not signed", "sign it")
    assert (event.commit, event.time) == ("b" * 40, NOW - 5)
    again = told(replace(REFUSAL, time=NOW, reason="said otherwise"))[REFUSED]
    assert again.key == event.key, "the same tip, found again at a later turn"
    assert told(replace(REFUSAL, commit="c" * 40))[REFUSED].key != event.key
    assert told(replace(REFUSAL, culprit="c" * 40))[REFUSED].key != event.key


def test_a_rollback() -> None:
    event = told(UNDONE, HARM)[ROLLED_BACK]
    assert event.reason == "bravo was lost"
    in_another_commit = replace(UNDONE, commit="c" * 40, reason="stays in quarantine")
    assert told(in_another_commit, HARM)[ROLLED_BACK].key == event.key
    harm_again = harmed(HARM, replace(HARM[0], time=NOW), forever=False)
    assert told(UNDONE, harm_again)[ROLLED_BACK].key != event.key
    other = harmed(HARM, replace(HARM[0], digest="other", time=NOW), forever=False)
    assert told(UNDONE, other)[ROLLED_BACK].key != event.key
    assert told(UNDONE)[ROLLED_BACK].key, "also when the record of the harm is lost"


def test_staleness() -> None:
    assert told(last=replace(FRESH, fetched=NOW - 3600)) == {}
    old = LastSync(NOW - 60, "unreachable", "no route", fetched=NOW - 3601)
    event = told(last=old)[STALE]
    assert "2026-09-21T13:13:19Z" in event.reason
    assert event.reason.endswith("the last turn: no route") and "doctor" in event.hint
    assert told(last=replace(old, time=NOW))[STALE].key == event.key, "once for as long as it lasts"
    assert told(last=replace(old, fetched=NOW - 9999))[STALE].key != event.key
    assert "since ever" in told(last=LastSync(NOW, "unreachable"))[STALE].reason


def test_all_at_once() -> None:
    assert set(told(REFUSAL, HARM, LastSync(NOW, "refused"))) == {REFUSED, STALE}
