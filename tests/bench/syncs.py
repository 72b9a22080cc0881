"""`python -m tests.bench.syncs`: how long a sync takes that finds new commits."""

import sys
from collections.abc import Sequence
from functools import partial
from statistics import median

from tests.bench.result import Column, Effort, Result, Row, median_of, show
from tests.bench.verify import STEPS, seconds
from tests.lab.installed import add_user
from tests.lab.mesh import Mesh
from tests.lab.world import World

RUNS = 5
NODES = ("alpha", "bravo")


def measure(world: World, runs: int = RUNS, steps: Sequence[int] = STEPS) -> dict[int, float]:
    """Return the median of seconds of a `wgmesh sync` that finds so many new commits.

    They change nothing for the node: what is left is to ask, fetch, hand over, verify and plan.
    """
    mesh = Mesh(world)
    for machine in world.nodes.values():
        add_user(machine)
    mesh.enrol(*world.nodes)
    mesh.sync()
    alpha = world[NODES[0]]
    taken = {count: list[float]() for count in (0, *steps)}
    for run in range(runs):
        for count in taken:
            for number in range(count):
                mesh.commit({"README": f"{run} {count} {number}"})
            taken[count].append(seconds(partial(alpha.wgmesh, "sync")))
    return {count: median(values) for count, values in taken.items()}


def benchmark(effort: Effort) -> list[Result]:
    """Measure on a node that fetches as the user wgmesh, as the package has it."""
    runs = effort.of(RUNS)
    with World(NODES) as world:
        taken = measure(world, runs)
    return [
        Result(
            "syncs",
            f"{median_of(runs)}, on the clock",
            "program",
            (Column("ms"), Column("÷ nothing new", 1)),
            tuple(
                Row(f"`wgmesh sync`, {count or 'nothing'} new", (1000 * took, took / taken[0]))
                for count, took in taken.items()
            ),
            {"one": taken[STEPS[0]] / taken[0]},
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.syncs", benchmark))
