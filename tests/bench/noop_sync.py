"""`python -m tests.bench.noop_sync`: what a poll that finds nothing new costs a node."""

import subprocess
import sys

from tests.bench.cpu import RUNS, Start, medians
from tests.bench.result import Column, Effort, Result, Row, median_of, show
from tests.lab.installed import add_user
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.world import World

PYTHON, LS_REMOTE = "`python3 -c pass`", "`git ls-remote`"
SYNC, STATUS = "`wgmesh sync`, nothing new", "`wgmesh status`"
FETCHED = "`wgmesh sync`, nothing new, the user wgmesh fetches"
NODES = ("alpha", "bravo", "charlie")
COUNTS = 5


def starter(machine: Machine, *argv: str) -> Start:
    """Return what starts `argv` on `machine`, its output thrown away."""

    def start() -> subprocess.Popen[str]:
        quiet = subprocess.DEVNULL
        return machine.popen(argv, stdout=quiet, stderr=quiet)

    return start


def measure(mesh: Mesh, name: str, other: str, runs: int = RUNS) -> dict[str, float]:
    """Return the median CPU milliseconds of each program on a node of a converged mesh.

    `other` is a node on which the user wgmesh fetches, as the package has it.
    """
    machine, packaged = mesh.world[name], mesh.world[other]
    ls_remote = ("git", "ls-remote", "--refs", "--", mesh.url, "refs/heads/main")
    return medians(
        {
            PYTHON: starter(machine, sys.executable, "-c", "pass"),
            LS_REMOTE: starter(machine, *ls_remote),
            SYNC: starter(machine, *machine.wgmesh_argv, "sync"),
            FETCHED: starter(packaged, *packaged.wgmesh_argv, "sync"),
            STATUS: starter(machine, *machine.wgmesh_argv, "status"),
        },
        runs,
    )


def processes(machine: Machine, *argv: str) -> int:
    """Return how many processes and threads `argv` takes on `machine`, itself included.

    A machine numbers its processes and threads one after another. wireguard-go may begin a thread
    meanwhile, which only ever adds: the least of several runs is what `argv` takes.
    """

    def number() -> int:
        return int(machine.run(["sh", "-c", "echo $$"]).stdout)

    def once() -> int:
        before = number()
        machine.run(argv)
        return number() - before - 1

    return min(once() for _ in range(COUNTS))


def converged(world: World) -> Mesh:
    """Return a mesh of all machines of `world` in which there is nothing left to do."""
    mesh = Mesh(world)
    mesh.bring_up(*world.nodes)
    mesh.sync()
    return mesh


def benchmark(effort: Effort) -> list[Result]:
    """Measure on a mesh of three nodes."""
    runs = effort.of(RUNS)
    with World(NODES) as world:
        alpha, bravo = world["alpha"], world["bravo"]
        add_user(bravo)
        mesh = converged(world)
        taken = measure(mesh, alpha.name, bravo.name, runs)
        counts = {
            name: processes(machine, *machine.wgmesh_argv, word)
            for name, machine, word in (
                (SYNC, alpha, "sync"),
                (FETCHED, bravo, "sync"),
                (STATUS, alpha, "status"),
            )
        }
    floor = taken[PYTHON] + taken[LS_REMOTE]
    return [
        Result(
            "noop_sync",
            f"{median_of(runs)} on a node with two peers, user and system time, children too",
            "program",
            (Column("CPU ms"), Column("÷ (python3 + git ls-remote)", 1), Column("processes")),
            tuple(Row(name, (ms, ms / floor, counts.get(name, 1))) for name, ms in taken.items()),
            {
                "sync": taken[SYNC] / floor,
                "fetched": taken[FETCHED] / floor,
                "status": taken[STATUS] / floor,
            },
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.noop_sync", benchmark))
