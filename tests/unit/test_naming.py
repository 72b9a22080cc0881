"""How often the fetch is asked for names of endpoints that nobody finds."""

from collections.abc import Collection
from itertools import pairwise

import pytest

from wgmesh import resolve
from wgmesh.agent import failover, naming
from wgmesh.history import Failover, Watched

MEMORY = Failover(watched={"B": Watched("bravo", "10.40.0.2", ("bravo.example.net:51820",))})
HOUR, TICK_SECONDS = 3600, 10


def asked(monkeypatch: pytest.MonkeyPatch, *, found_at: float = HOUR) -> list[float]:
    """Return when the fetch was asked in an hour in which bravo stays away from the first tick on.

    `found_at`: from then on the resolver finds the name, for a minute.
    """
    now, times = 0.0, list[float]()

    def addresses(hosts: Collection[str], *, seconds: float) -> dict[str, tuple[str, ...]]:
        there = found_at <= now < found_at + 60
        return {host: ("192.0.2.9",) for host in hosts if there}

    monkeypatch.setattr(resolve, "addresses", addresses)
    monkeypatch.setattr(naming, "ask", lambda _: times.append(now))
    memory = MEMORY
    for number in range(1, HOUR // TICK_SECONDS):
        now = float(number * TICK_SECONDS)
        turn = failover._Turn(memory)
        turn._resolve(["B"], now)
        memory = turn.memory
    return times


def test_more_and_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    times = asked(monkeypatch)
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] == TICK_SECONDS, "at once, the first time"
    assert gaps[:4] == [30, 60, 120, 240] and set(gaps[4:]) == {300}


def test_at_once_again_after_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    times = asked(monkeypatch, found_at=1800)
    lost = next(time for time in times if time > 1800)
    assert lost - 1860 <= failover.ASK_AGAIN_SECONDS
    assert sum(1860 < time <= 2000 for time in times) >= 2
