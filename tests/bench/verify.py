"""`python -m tests.bench.verify`: what the chain rule costs, beside git that verifies commits."""

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from tests.bench.cpu import table
from tests.bench.history import EPOCH, History, Key, linear
from tests.lab.installed import add_user
from tests.lab.mesh import Mesh
from tests.lab.world import World
from wgmesh.repository.bare import Repository
from wgmesh.trust import chain

COMMITS = 10_000
SAMPLE = 200
RUNS = 5
STEPS = (1, 10)
NODES = ("alpha", "bravo")
GIT = "`git verify-commit`, one by one"


@dataclass(frozen=True)
class Bench:
    """A bare repository, and its line of signed commits: oldest first, the first is trusted."""

    git_dir: Path
    line: list[str]

    def verify(self, trusted: str) -> None:
        """Do what a node does with a new tip, from `trusted` on; anew, with nothing in memory."""
        with Repository(self.git_dir) as repository:
            found = chain.verify(repository, trusted, self.line[-1], now=EPOCH)
        assert found.id == self.line[-1]

    def git_verify(self, commit: str) -> None:
        """Have git verify one commit, with the same signers file."""
        config = ["-c", f"gpg.ssh.allowedSignersFile={self.git_dir.parent / 'signers'}"]
        argv = ["git", *config, "--git-dir", str(self.git_dir), "verify-commit", commit]
        subprocess.run(argv, check=True, capture_output=True)


def prepare(directory: Path, commits: int = COMMITS) -> Bench:
    """Write a history of `commits` steps, each of them signed, that change a file each."""
    history, key = History(), Key()
    _, tip = linear(history, commits, key)
    history.write(directory / "mesh.git", tip)
    (directory / "signers").write_text(key.line("ada@example.com"))
    argv = ["git", "--git-dir", str(directory / "mesh.git"), "rev-list", "--reverse", tip]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return Bench(directory / "mesh.git", listed.split())


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(bench: Bench, runs: int = RUNS, sample: int = SAMPLE) -> dict[str, tuple[int, float]]:
    """Return commits and the median of seconds of each way; they take turns, so noise hits all."""
    line = bench.line
    picked = line[1 :: max(1, (len(line) - 1) // sample)][:sample]

    def one_by_one() -> None:
        for commit in picked:
            bench.git_verify(commit)

    ways: dict[str, tuple[int, Callable[[], object]]] = {
        GIT: (len(picked), one_by_one),
        "the chain rule": (len(line) - 1, partial(bench.verify, line[0])),
    }
    for steps in STEPS:
        ways[f"the chain rule, {steps} new"] = (steps, partial(bench.verify, line[-1 - steps]))
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, (_, work) in ways.items():
            taken[name].append(seconds(work))
    return {name: (count, median(taken[name])) for name, (count, _) in ways.items()}


def measure_syncs(world: World, runs: int = RUNS) -> dict[int, float]:
    """Return the median of seconds of a `wgmesh sync` that finds so many new commits.

    They change nothing for the node: what is left is to ask, fetch, hand over, verify and plan.
    """
    mesh = Mesh(world)
    for machine in world.nodes.values():
        add_user(machine)
    mesh.enrol(*world.nodes)
    mesh.sync()
    alpha = world[NODES[0]]
    taken = {steps: list[float]() for steps in (0, *STEPS)}
    for run in range(runs):
        for steps in taken:
            for number in range(steps):
                mesh.commit({"README": f"{run} {steps} {number}"})
            taken[steps].append(seconds(partial(alpha.wgmesh, "sync")))
    return {steps: median(values) for steps, values in taken.items()}


def main() -> int:
    """Measure and print the tables."""
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as directory:
        found = measure(prepare(Path(directory)))
    base = found[GIT][1] / found[GIT][0]
    print(f"Median of {RUNS} runs, on the clock.\n")
    rows = [
        (
            name,
            f"{count:,}",
            f"{1000 * took:,.0f}",
            f"{count / took:,.0f}",
            f"{count * base / took:.1f}",
        )
        for name, (count, took) in found.items()
    ]
    head = ("way", "commits", "ms", "commits/s", "times git")
    sys.stdout.write(table(head, rows))
    with World(NODES) as world:
        syncs = measure_syncs(world)
    print()
    named = [(f"`wgmesh sync`, {steps or 'nothing'} new", took) for steps, took in syncs.items()]
    sys.stdout.write(
        table(("program", "ms"), [(name, f"{1000 * took:.0f}") for name, took in named])
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
