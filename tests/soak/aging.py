"""`python -m tests.soak.aging`: what a sync costs once a node has seen many commits.

One node of a small mesh takes commits that each change it. It keeps in mind what its peers may run,
generations, its own repository: the first syncs are held against the last.
"""

import sys
from collections.abc import Callable
from statistics import median

from tests.bench.cpu import Start, cpu_ms
from tests.bench.noop_sync import converged, starter
from tests.bench.result import Column, Effort, Result, Row, show
from tests.lab.mesh import Mesh
from tests.lab.world import World

COMMITS, RUNS = 60, 9
NOTHING, CHANGE = "nothing new", "a change of the node"


def committed(mesh: Mesh, name: str) -> Callable[[int], None]:
    """Return what commits the change number so-and-so of a node."""
    file = f"nodes/{name}.toml"
    text = (mesh.author.tree / file).read_text()

    def commit(number: int) -> None:
        mesh.commit({file: f"{text}persistent_keepalive = {10 + number}\n"})

    return commit


def taken(sync: Start, commit: Callable[[int], None], commits: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of each sync, in their order."""
    found: dict[str, list[float]] = {NOTHING: [], CHANGE: []}
    for number in range(commits):
        commit(number)
        found[CHANGE].append(cpu_ms(sync))
        found[NOTHING].append(cpu_ms(sync))
    return found


def benchmark(effort: Effort) -> list[Result]:
    """Measure on one node of three."""
    runs = effort.of(RUNS)
    with World(("alpha", "bravo", "charlie")) as world:
        mesh = converged(world)
        alpha = world["alpha"]
        sync = starter(alpha, *alpha.wgmesh_argv, "sync")
        found = taken(sync, committed(mesh, alpha.name), max(COMMITS, 2 * runs))
    ends = {what: (median(ms[:runs]), median(ms[-runs:])) for what, ms in found.items()}
    return [
        Result(
            "aging",
            f"Medians of the first and of the last {runs} of {max(COMMITS, 2 * runs)} commits",
            "a sync with",
            (Column("first, CPU ms"), Column("last, CPU ms"), Column("÷ first", 2)),
            tuple(Row(what, (first, last, last / first)) for what, (first, last) in ends.items()),
            {what: last / first for what, (first, last) in ends.items()},
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.soak.aging", benchmark))
