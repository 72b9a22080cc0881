"""What came of `python -m tests.soak.syncs`: its table, and what was promised and did not hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

from tests.soak.converge import GUEST
from tests.soak.labs import Record

FLAT = 0.05
"""How much more memory a sync may take at the end than at the start."""

NOTHING = "nothing for the node"
LIGHT, HEAVY = "applied", "applied, links or routes too"


@dataclass(frozen=True, slots=True)
class Course:
    """How a figure went over a run: the median of its first and last quarter, and a line.

    `growth`: by how much of the median a straight line through all values rises, start to end.
    """

    count: int
    first: float
    last: float
    growth: float

    @property
    def flat(self) -> bool:
        """Whether it stays as it is, by line and by quarters."""
        return self.growth <= FLAT and self.last <= self.first * (1 + FLAT)


def course(values: Sequence[float]) -> Course:
    """Return how the values went, of which there is one at least."""
    size, growth = max(1, len(values) // 4), 0.0
    if len(values) > 1:
        slope, _ = linear_regression(range(len(values)), values)
        growth = slope * (len(values) - 1) / median(values)
    return Course(len(values), median(values[:size]), median(values[-size:]), growth)


def kinds(syncs: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the syncs by what they had to do, for that decides what they load.

    One that changes links or routes loads the library for it, another does not: those that take
    more than the middle between the least and the most are taken for the first.
    """
    applied = [each["kib"] for each in syncs if each["applied"]]
    middle = (min(applied) + max(applied)) / 2 if applied else 0
    found: dict[str, list[Record]] = {NOTHING: [], LIGHT: [], HEAVY: []}
    for each in syncs:
        heavy = max(applied, default=0) > 1.15 * middle and each["kib"] > middle
        name = HEAVY if heavy else LIGHT
        found[name if each["applied"] else NOTHING].append(each)
    return {name: some for name, some in found.items() if some}


def random_ones(found: Sequence[Record]) -> list[Record]:
    """Return the syncs of random commits by members, in their order."""
    last = max((each["commit"] for each in found if "commit" in each), default=0)
    some = [each for each in found if "commit" in each and each["node"] != GUEST]
    return [each for each in some if each["commit"] < last]


def headline(found: Sequence[Record]) -> str:
    """Return how much was done."""
    syncs = [each for each in found if "commit" in each]
    commits = len({each["commit"] for each in syncs})
    took = sum(each["took"] for each in found if "took" in each)
    applied = sum(each["applied"] for each in syncs)
    return f"{commits} commits, {len(syncs)} syncs, {applied} of which changed their node; {took} s"


def verdicts(found: Sequence[Record]) -> dict[str, list[str]]:
    """Return what was promised, and for each what was seen against it."""
    syncs = [each for each in found if "commit" in each]
    ends = [each for each in found if "end" in each]
    failed = [f"{e['node']} at {e['commit']}: {e['said']}" for e in syncs if e["exit"]]
    failed += [f"{e['node']} at {e['commit']}: {e['tick']}" for e in syncs if "tick" in e]
    behind = [f"{e['node']} at {e['commit']}: {each}" for e in syncs for each in e["left"]]
    memory = {
        name: course([each["kib"] for each in some])
        for name, some in kinds(random_ones(found)).items()
    }

    def held(*sorts: str) -> list[str]:
        return [f"{e['end']}: {m}" for e in ends for m in e["more"] if m.startswith(sorts)]

    def said(key: str) -> list[str]:
        return [f"{e['end']}: {each}" for e in ends for each in e.get(key, ())]

    return {
        "syncs or ticks that failed": failed,
        "processes left behind by a sync": behind,
        "processes or descriptors more than at first": held("processes", "descriptors"),
        "namespaces or mounts more than at first": held("namespaces", "mounts"),
        "files that are no record of the node's": held("files"),
        "nodes with generations beyond keep_generations": held("generations", "rejected"),
        "nodes that are not what their plan says": said("unequal"),
        "nodes whose kernel is not as at first": said("changed"),
        "kinds of sync whose memory grows": [
            f"{name}: {seen}" for name, seen in memory.items() if not seen.flat
        ],
        "ends that were not reached": [] if ends else ["the run was cut short"],
    }


def rows(found: Sequence[Record]) -> Iterator[list[str]]:
    """Yield the rows of the table: how each figure went."""
    for name, some in kinds(random_ones(found)).items():
        for key, unit, scale in (("kib", "peak MiB", 1024), ("cpu", "CPU s", 1)):
            seen = course([each[key] / scale for each in some])
            figures = [f"{seen.first:.2f}", f"{seen.last:.2f}", f"{seen.growth:+.1%}"]
            yield [f"{name}: {unit}", str(seen.count), *figures]
    ends = [each for each in found if "end" in each]
    if ends:
        start, end = (median(each["bytes"][at] for each in ends) / 1024 for at in (0, 1))
        yield ["KiB in `/var/lib/wgmesh`", str(len(ends)), f"{start:,.0f}", f"{end:,.0f}", ""]
