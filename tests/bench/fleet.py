"""`python -m tests.bench.fleet`: what a fleet's polls come to at the git server, simulated.

Each node is its timer: the unit's own interval and random delay, and systemd's way to fire within
AccuracySec. What one sync costs the server was measured by `python -m tests.bench.polls --json`,
which printed polls.json; `--measure` takes new figures. What is simulated is when.
"""

import argparse
import configparser
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Self

from tests.bench import polls
from tests.bench.cpu import table
from tests.bench.polls import CHANGE, POLL, Cost
from tests.lab.machine import CHECKOUT

UNIT = CHECKOUT / "systemd/wgmesh-sync.timer"
SIZES = (10, 100, 1000, 10_000)
LATENCY_SECONDS = 0.05
"""There and back between a node and the server: assumed, for in the laboratory it is none."""

HOUR = 3600
MINUTE = 60
REPEATS = 10
SEED = 8
CELLS = 100
"""Into so many parts each second is cut to see how many connections are open at once."""

MEASURED = Path(__file__).with_name("polls.json")


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer that fires a time after boot, and after the end of each turn that it started.

    The random delay is drawn anew each time; then systemd waits for a moment within AccuracySec
    that is the machine's own from its boot on: systemd.timer(5).
    """

    boot_seconds: float
    interval_seconds: float
    random_delay_seconds: float
    accuracy_seconds: float

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what a unit file says, whose times are seconds. Raises ValueError or KeyError."""
        unit = configparser.ConfigParser(comment_prefixes=("#",), strict=False)
        unit.read_string(path.read_text())
        said = unit["Timer"]
        if "FixedRandomDelay" in said:
            raise ValueError(f"{path}: FixedRandomDelay is not simulated")
        keys = ("OnBootSec", "OnUnitInactiveSec", "RandomizedDelaySec", "AccuracySec")
        return cls(*(float(said[key].removesuffix("s")) for key in keys))

    def period_seconds(self, turn_seconds: float = 0.0) -> float:
        """Return the mean time from one firing to the next, when a turn takes so long."""
        least = self.interval_seconds + turn_seconds
        return least + self.random_delay_seconds / 2 + self.accuracy_seconds / 2


class Traffic:
    """What the server sees in each second: operations, bytes, CPU time, and what is open at once.

    An operation is a git command at the other end, which is one connection over git:// and ssh.
    """

    def __init__(self, seconds: int, since: float = 0.0) -> None:
        self.seconds, self.since = seconds, since
        self.operations = [0] * seconds
        self.bytes = [0.0] * seconds
        self.cpu_seconds = [0.0] * seconds
        self._change = [0] * (seconds * CELLS + 1)

    def add(self, at: float, cost: Cost, latency_seconds: float) -> None:
        """Note one sync that begins at `at`; its connections come one after another."""
        count = max(1, round(cost.connections))
        took = (cost.open_seconds + cost.turns * latency_seconds) / count
        for begun in (at - self.since + number * took for number in range(count)):
            if not 0 <= begun < self.seconds:
                continue
            second = int(begun)
            self.operations[second] += 1
            self.bytes[second] += (cost.to_server_bytes + cost.to_client_bytes) / count
            self.cpu_seconds[second] += cost.server_cpu_seconds / count
            last = len(self._change) - 1
            self._change[int(begun * CELLS)] += 1
            self._change[min(last, max(int(begun * CELLS) + 1, ceil((begun + took) * CELLS)))] -= 1

    def open_at_once(self) -> list[int]:
        """Return how many connections are open, CELLS times a second."""
        return list(accumulate(self._change))[:-1]


def syncs(
    timer: Timer, dice: random.Random, first: float, until: float, cost: Callable[[bool], Cost]
) -> Iterator[tuple[float, Cost]]:
    """Yield when one node's timer fires, which could at `first` at the earliest, and for what.

    `cost` is told whether it is the node's first sync from 0 on.
    """
    own = dice.random() * timer.accuracy_seconds
    could, before = first, -1.0
    while True:
        at = could = could + dice.uniform(0, timer.random_delay_seconds)
        if timer.accuracy_seconds:
            steps = ceil((could - own) / timer.accuracy_seconds)
            at = own + steps * timer.accuracy_seconds
        if at >= until:
            return
        one = cost(before < 0 <= at)
        yield at, one
        could, before = at + one.sync_seconds + timer.interval_seconds, at


def quiet(
    timer: Timer, nodes: int, poll: Cost, dice: random.Random, latency: float, seconds: int = HOUR
) -> Traffic:
    """Return what a fleet asks that nothing is new for, long after its nodes were booted."""
    return after_a_commit(timer, nodes, (poll, poll), dice, latency, seconds)


def after_a_commit(
    timer: Timer,
    nodes: int,
    costs: tuple[Cost, Cost],
    dice: random.Random,
    latency: float,
    seconds: int = MINUTE,
) -> Traffic:
    """Return what a fleet asks from 0 on, when there is a new commit; costs before and then."""
    seen, (poll, news) = Traffic(seconds), costs
    for _ in range(nodes):
        # each at a moment of its own, and some polls ago, so that no moment is preferred
        first = -timer.period_seconds(poll.sync_seconds) * (5 + dice.random())
        for at, cost in syncs(timer, dice, first, seconds, lambda is_first: (poll, news)[is_first]):
            seen.add(at, cost, latency)
    return seen


def booted_at_once(
    timer: Timer,
    nodes: int,
    poll: Cost,
    dice: random.Random,
    latency: float,
    seconds: int = MINUTE,
    since: int = 0,
) -> Traffic:
    """Return what a fleet asks in that time whose nodes all boot at 0, as after a power cut."""
    seen = Traffic(seconds, since)
    for _ in range(nodes):
        for at, cost in syncs(timer, dice, timer.boot_seconds, since + seconds, lambda _: poll):
            seen.add(at, cost, latency)
    return seen


# ---------------------------------------------------------------- what is printed


@dataclass(frozen=True, slots=True)
class Load:
    """What a server has to bear, each second: the mean, and where it says so the worst."""

    operations: float
    operations_p99: int
    operations_worst: int
    kilobytes: float
    kilobytes_worst: float
    open_mean: float
    open_worst: int
    cores: float


def load(parts: Sequence[Traffic]) -> Load:
    """Return what some stretches of time have in common."""
    operations = sorted(each for part in parts for each in part.operations)
    sent = [each / 1000 for part in parts for each in part.bytes]
    at_once = [each for part in parts for each in part.open_at_once()]
    seconds = len(operations)
    return Load(
        operations=sum(operations) / seconds,
        operations_p99=operations[ceil(0.99 * seconds) - 1],
        operations_worst=operations[-1],
        kilobytes=sum(sent) / seconds,
        kilobytes_worst=max(sent),
        open_mean=sum(at_once) / len(at_once),
        open_worst=max(at_once),
        cores=sum(each for part in parts for each in part.cpu_seconds) / seconds,
    )


QUIET, AFTER = "nothing new, an hour", "the minute after a commit for all"
BOOT, LATER = "all boot at once, first minute", "half an hour later"
NO_DELAY = "half an hour later, had the timer no random delay"


def loads(timer: Timer, nodes: int, costs: Mapping[str, Cost]) -> dict[str, Load]:
    """Return what a fleet of that size asks of its server in each case."""
    dice, latency, poll = random.Random(SEED), LATENCY_SECONDS, costs[POLL]
    both = poll, costs[CHANGE]
    exact = replace(timer, random_delay_seconds=0.0)
    half = HOUR // 2
    return {
        QUIET: load([quiet(timer, nodes, poll, dice, latency)]),
        AFTER: load([after_a_commit(timer, nodes, both, dice, latency) for _ in range(REPEATS)]),
        BOOT: load([booted_at_once(timer, nodes, poll, dice, latency) for _ in range(REPEATS)]),
        LATER: load([booted_at_once(timer, nodes, poll, dice, latency, 10 * MINUTE, half)]),
        NO_DELAY: load([booted_at_once(exact, nodes, poll, dice, latency, 10 * MINUTE, half)]),
    }


HEAD = (
    *("nodes", "case", "operations/s", "99th percentile", "worst second", "kB/s"),
    *("kB, worst second", "open at once", "most", "cores"),
)


def rows(
    costs: Mapping[str, Cost] | None = None,
    timer: Timer | None = None,
    sizes: Sequence[int] = SIZES,
) -> list[list[str]]:
    """Return the rows of the table for docs/scale.md.

    Without them, the costs are those of ssh that were measured, and the timer is the package's.
    """
    costs = polls.read(MEASURED)["ssh"] if costs is None else costs
    timer = timer or Timer.read(UNIT)
    return [
        [
            f"{nodes:,}",
            case,
            f"{each.operations:.2f}" if each.operations < 1 else f"{each.operations:.1f}",
            f"{each.operations_p99:,}",
            f"{each.operations_worst:,}",
            f"{each.kilobytes:,.1f}",
            f"{each.kilobytes_worst:,.0f}",
            f"{each.open_mean:.1f}",
            f"{each.open_worst:,}",
            f"{each.cores:.2f}",
        ]
        for nodes in sizes
        for case, each in loads(timer, nodes, costs).items()
    ]


def most_nodes(per_second: float, timer: Timer, turn_seconds: float) -> int:
    """Return how many nodes ask so often on average, when nothing is new."""
    return int(per_second * timer.period_seconds(turn_seconds))


INTERVALS = (60, 120, 300, 600)
LIMITS = (10, 15)
"""GitLab's 600 a minute, for each user and project over ssh; GitHub's 15 a second, for each
repository: docs/scale.md has where they say so."""


def reach(timer: Timer, turn_seconds: float) -> list[list[str]]:
    """Return the rows of the table of limits: how many nodes, by the interval of their timers."""
    timers = [replace(timer, interval_seconds=float(each)) for each in INTERVALS]
    return [
        [f"{each.interval_seconds:.0f}", f"{each.period_seconds(turn_seconds):.0f}"]
        + [f"{most_nodes(limit, each, turn_seconds):,}" for limit in LIMITS]
        for each in timers
    ]


def main() -> int:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet")
    parser.add_argument("--measure", action="store_true", help="take the costs anew (as root)")
    parser.add_argument("--way", choices=tuple(polls.PORTS), default="ssh")
    options = parser.parse_args()
    costs = polls.measure(options.way) if options.measure else polls.read(MEASURED)[options.way]
    timer, turn = Timer.read(UNIT), costs[POLL].sync_seconds
    print(f"By {options.way}; {timer}, a turn of {turn:.1f} s, {LATENCY_SECONDS:g} s of latency\n")
    sys.stdout.write(table(HEAD, rows(costs, timer)) + "\n")
    head = ("interval s", "period s", *(f"nodes at {limit}/s" for limit in LIMITS))
    sys.stdout.write(table(head, reach(timer, turn)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
