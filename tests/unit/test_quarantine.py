"""The back-off of what was found harmful."""

from hypothesis import given
from hypothesis import strategies as st

from wgmesh import quarantine
from wgmesh.quarantine import HOUR_SECONDS, Quarantined

NOW = 1_790_000_000


def entry(digest: str = "d", *, time: int = NOW) -> Quarantined:
    return Quarantined(digest, "c" * 40, "subject", "why", time)


def test_an_entry_is_found_by_its_digest() -> None:
    entries = (entry("d"), entry("e"))
    assert quarantine.find(entries, "e") == entries[1]
    assert quarantine.find(entries, "f") is None


def test_a_harmful_change_waits_an_hour_then_two() -> None:
    entries: tuple[Quarantined, ...] = ()
    now = NOW
    for hours in (1, 2, 4, 8):
        entries = quarantine.harmed(entries, entry(time=now), forever=False)
        assert len(entries) == 1
        assert entries[0].blocks(now)
        assert entries[0].blocks(now + hours * HOUR_SECONDS - 1)
        assert not entries[0].blocks(now + hours * HOUR_SECONDS)
        now += hours * HOUR_SECONDS


@given(st.integers(1, 80))
def test_back_off_has_an_end(times: int) -> None:
    entries: tuple[Quarantined, ...] = ()
    for _ in range(times):
        entries = quarantine.harmed(entries, entry(), forever=False)
    assert entries[0].harms == times
    assert HOUR_SECONDS <= entries[0].until - NOW <= quarantine.LONGEST_BACK_OFF_SECONDS


def test_by_hand_is_for_good() -> None:
    (one,) = quarantine.harmed((), entry(), forever=True)
    assert one.blocks(NOW)
    assert one.blocks(NOW + 10**10)


def test_others_stay() -> None:
    first = quarantine.harmed((), entry("a"), forever=True)
    both = quarantine.harmed(first, entry("b"), forever=False)
    again = quarantine.harmed(both, entry("a"), forever=True)
    assert [one.digest for one in again] == ["b", "a"]
    assert quarantine.find(again, "b") == quarantine.find(both, "b")


def test_the_second_interruption_blocks() -> None:
    once = quarantine.interrupted((), entry())
    assert not once[0].blocks(NOW)
    twice = quarantine.interrupted(once, entry(time=NOW + 60))
    assert len(twice) == 1
    assert twice[0].blocks(NOW + 60)
    assert not twice[0].blocks(NOW + 60 + HOUR_SECONDS)


def test_an_entry_that_was_never_tried_does_not_block() -> None:
    assert not entry().blocks(NOW)


@given(
    forever=st.booleans(),
    harms=st.integers(1, 9),
    interruptions=st.integers(1, 4),
    later=st.integers(0, 8 * 86_400),
)
def test_an_interruption_never_lifts_a_quarantine(
    forever: bool, harms: int, interruptions: int, later: int
) -> None:
    entries: tuple[Quarantined, ...] = ()
    for _ in range(harms):
        entries = quarantine.harmed(entries, entry(), forever=forever)
    before = entries[0]
    for _ in range(interruptions):
        entries = quarantine.interrupted(entries, entry())
    if before.blocks(NOW + later):
        assert entries[0].blocks(NOW + later)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=12))
def test_each_digest_is_there_once(events: list[tuple[str, bool, bool]]) -> None:
    entries: tuple[Quarantined, ...] = ()
    for digest, harm, forever in events:
        entries = (
            quarantine.harmed(entries, entry(digest), forever=forever)
            if harm
            else quarantine.interrupted(entries, entry(digest))
        )
        assert entries[-1].digest == digest
    digests = [one.digest for one in entries]
    assert sorted(digests) == sorted({digest for digest, _, _ in events})
    for one in entries:
        mine = [harm for digest, harm, _ in events if digest == one.digest]
        assert (one.harms, one.interruptions) == (mine.count(True), mine.count(False))
