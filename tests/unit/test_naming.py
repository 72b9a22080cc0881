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

    def ask(_: Collection[str]) -> bool:
        times.append(now)
        return True

    monkeypatch.setattr(naming, "ask", ask)
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


def test_a_name_that_is_lost_later_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[Collection[str]] = []

    def ask(hosts: Collection[str]) -> bool:
        asked_for.append(sorted(hosts))
        return True

    monkeypatch.setattr(resolve, "addresses", lambda *_, **__: {})
    monkeypatch.setattr(naming, "ask", ask)
    exit_ = Watched("exit", "10.40.0.3", ("exit.example.net:51820",))
    memory = Failover(
        watched={**MEMORY.watched, "X": exit_}, named=("bravo.example.net",), named_at=1000.0,
        named_wait=300.0,
    )  # fmt: skip
    turn = failover._Turn(memory)
    turn._resolve(["B"], 1010.0)
    assert asked_for == []
    turn = failover._Turn(turn.memory)
    turn._resolve(["B", "X"], 1050.0)
    assert asked_for == [["bravo.example.net", "exit.example.net"]]
    assert turn.memory.named_wait == failover.ASK_AGAIN_SECONDS
