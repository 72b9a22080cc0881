"""The simulation of a fleet's polls, by data: rates, peaks, and what a commit costs."""

import random
from dataclasses import replace
from pathlib import Path
from statistics import mean, variance

import pytest

from tests.bench import fleet, polls
from tests.bench.fleet import HOUR, MEASURED, UNIT, Timer, Traffic
from tests.bench.polls import CHANGE, POLL, Cost
from tests.bench.wire import ACK, SYN, Book, Packet, parse
from wgmesh.settings import Settings

TIMER = Timer(15, 60, 15, 1)
ONE = Cost(1, 1000, 2000, 0.25, 5, 0.01, 0.5)
THREE = Cost(3, 3000, 6000, 0.75, 15, 0.03, 4)


def dice() -> random.Random:
    return random.Random(1)


def test_the_timer_is_the_packages() -> None:
    timer, usual = Timer.read(UNIT), Settings()
    assert timer == TIMER
    assert timer.interval_seconds == usual.poll_interval_seconds
    assert timer.random_delay_seconds == usual.random_delay_seconds


def test_a_timer_that_is_not_simulated_is_refused(tmp_path: Path) -> None:
    unit = tmp_path / "some.timer"
    unit.write_text(UNIT.read_text().replace("AccuracySec=1s", "FixedRandomDelay=yes"))
    with pytest.raises(ValueError, match="FixedRandomDelay"):
        Timer.read(unit)


@pytest.mark.parametrize("nodes", [10, 1000])
@pytest.mark.parametrize("interval", [60, 300])
def test_the_mean_rate_is_nodes_by_period(nodes: int, interval: int) -> None:
    timer = replace(TIMER, interval_seconds=interval)
    seen = fleet.quiet(timer, nodes, ONE, dice(), 0.0, 2 * HOUR)
    expected = nodes / timer.period_seconds(ONE.sync_seconds)
    assert mean(seen.operations) == pytest.approx(expected, rel=0.02)
    assert mean(seen.bytes) == pytest.approx(expected * 3000, rel=0.02)
    assert mean(seen.cpu_seconds) == pytest.approx(expected * 0.01, rel=0.02)


def test_what_is_open_at_once_is_rate_by_time() -> None:
    """Little's law, with the way there and back in it."""
    seen = fleet.quiet(TIMER, 1000, ONE, dice(), 0.05)
    rate = mean(seen.operations)
    assert mean(seen.open_at_once()) == pytest.approx(rate * (0.25 + 5 * 0.05), rel=0.05)


def test_no_moment_is_preferred_with_the_random_delay() -> None:
    """Seconds vary as if each poll came at random: their variance is their mean."""
    seen = fleet.quiet(TIMER, 1000, ONE, dice(), 0.0)
    later = fleet.booted_at_once(TIMER, 1000, ONE, dice(), 0.0, HOUR, HOUR)
    for part in (seen, later):
        assert variance(part.operations) < 1.3 * mean(part.operations)
        assert max(part.operations) < 3 * mean(part.operations)


def test_nodes_that_boot_at_once_are_spread_over_the_delay_and_then_over_all() -> None:
    first = fleet.booted_at_once(TIMER, 1000, ONE, dice(), 0.0)
    assert sum(first.operations) == 1000
    assert sum(first.operations[15:31]) == 1000
    assert 1000 / 16 < max(first.operations) < 100


def test_without_it_they_stay_together_for_good() -> None:
    exact = replace(TIMER, random_delay_seconds=0)
    for since in (0, HOUR):
        part = fleet.booted_at_once(exact, 1000, ONE, dice(), 0.0, 300, since)
        assert max(part.operations) > 900


def test_each_node_takes_a_commit_once() -> None:
    nodes, seconds = 200, 600
    seen = fleet.after_a_commit(TIMER, nodes, (ONE, THREE), dice(), 0.0, seconds)
    quiet = fleet.quiet(TIMER, nodes, ONE, dice(), 0.0, seconds)
    more = sum(seen.operations) - sum(quiet.operations)
    assert more == pytest.approx(2 * nodes, rel=0.1)
    # all within one interval, its delay, and the turn that was under way
    assert sum(seen.operations[:80]) > 3 * nodes


def test_the_costs_are_of_syncs_that_were_measured() -> None:
    for costs in polls.read(MEASURED).values():
        assert costs[POLL].connections < costs[CHANGE].connections
        assert costs[POLL].to_client_bytes < costs[CHANGE].to_client_bytes


def test_the_table_has_a_row_for_each_case() -> None:
    found = fleet.rows({POLL: ONE, CHANGE: THREE}, TIMER, (10,))
    assert [row[:2] for row in found] == [
        ["10", case] for case in (fleet.QUIET, fleet.AFTER, fleet.BOOT, fleet.LATER, fleet.NO_DELAY)
    ]
    assert {len(row) for row in found} == {len(fleet.HEAD)}


def test_how_many_nodes_a_limit_lets() -> None:
    assert fleet.most_nodes(10, TIMER, 0.0) == 680
    assert fleet.most_nodes(10, replace(TIMER, interval_seconds=120), 0.0) == 1280


def test_seconds_outside_are_not_counted() -> None:
    seen = Traffic(10, since=100)
    for at in (99.9, 100, 109.9, 110):
        seen.add(at, ONE, 0.0)
    assert sum(seen.operations) == 2 and seen.operations[0] == seen.operations[9] == 1


# ---------------------------------------------------------------- what a card sees

CLIENT, SERVER = ("198.18.0.11", 40000), ("198.18.0.1", 22)


def test_a_connection_is_counted_by_its_ends() -> None:
    book = Book([22])
    for now, inward, flags, payload in (
        (1.0, True, SYN, 0),
        (1.1, False, SYN | ACK, 0),
        (1.2, True, ACK, 100),  # it speaks first
        (1.3, False, ACK, 300),
        (1.4, True, ACK, 0),
        (1.5, True, ACK, 50),  # having heard the server
        (1.6, True, ACK, 50),  # and goes on
        (1.7, False, ACK, 10),
    ):
        ends = (CLIENT, SERVER) if inward else (SERVER, CLIENT)
        book.note(Packet(*ends, flags, payload + 40, payload), now)
    (one,) = book.connections
    assert (one.turns, one.to_server_bytes, one.to_client_bytes) == (2, 400, 430)
    assert one.seconds == pytest.approx(0.7)


def test_others_are_not() -> None:
    book = Book([22])
    book.note(Packet(CLIENT, ("198.18.0.1", 80), SYN, 60, 0), 1.0)
    book.note(Packet(CLIENT, SERVER, ACK, 60, 20), 1.0)  # it began before
    assert book.connections == []


@pytest.mark.parametrize("family", [4, 6])
def test_frames(family: int) -> None:
    segment = (40000).to_bytes(2) + (22).to_bytes(2) + bytes(8) + bytes([5 << 4, SYN]) + bytes(6)
    if family == 4:
        ip = bytes([0x45, 0]) + (45).to_bytes(2) + bytes(5) + bytes([6, 0, 0])
        ip += bytes([198, 18, 0, 11]) + bytes([198, 18, 0, 1])
        ends = (CLIENT, SERVER)
    else:
        ip = bytes([0x60, 0, 0, 0]) + (25).to_bytes(2) + bytes([6, 64])
        ip += bytes(15) + b"\x0b" + bytes(15) + b"\x01"
        ends = (("::b", 40000), ("::1", 22))
    kind = b"\x08\x00" if family == 4 else b"\x86\xdd"
    found = parse(bytes(12) + kind + ip + segment + b"hello")
    assert found == Packet(*ends, SYN, len(ip) + 25, 5)
    assert parse(bytes(12) + b"\x08\x06" + bytes(28)) is None
