"""When streams of pings pass again, and over which time they did not."""

from collections.abc import Iterable, Sequence
from functools import partial

from tests.lab.machine import Machine
from tests.lab.pings import PingCount, Pings
from tests.lab.wait import wait_until

SETTLED = 100
"""Answers without a loss between them, after which a tunnel is taken to be up."""


def passes(pings: Sequence[Pings], deadline_seconds: float = 90) -> None:
    """Wait until every one of `pings` has lost nothing for a while. Raises AssertionError."""
    start = {each: each.count() for each in pings}

    def settled(each: Pings) -> bool:
        now = each.count()
        if now.lost - start[each].lost > 2:  # those under way count as lost
            start[each] = now
        return now.received - start[each].received >= SETTLED

    for each in pings:
        wait_until(partial(settled, each), deadline_seconds, "a ping passes")


def answers(machine: Machine, address: str) -> bool:
    """Return whether an address answers a machine."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0


def without_service_seconds(counts: Iterable[PingCount]) -> float:
    """Return how long anything was lost: from the first lost request to the last, of all."""
    lost = sorted(time for each in counts for time in each.lost_at)
    return lost[-1] - lost[0] if lost else 0.0
