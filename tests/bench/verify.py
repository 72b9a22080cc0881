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

from tests.bench.history import EPOCH, History, Key, linear
from tests.bench.result import Column, Effort, Result, Row, median_of, show
from wgmesh.repository.bare import Repository
from wgmesh.trust import chain

COMMITS = 10_000
QUICK_COMMITS = 2_000
SAMPLE = 200
QUICK_SAMPLE = 50
RUNS = 5
STEPS = (1, 10)
GIT, RULE = "`git verify-commit`, one by one", "the chain rule"


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
        RULE: (len(line) - 1, partial(bench.verify, line[0])),
    }
    for steps in STEPS:
        ways[f"{RULE}, {steps} new"] = (steps, partial(bench.verify, line[-1 - steps]))
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, (_, work) in ways.items():
            taken[name].append(seconds(work))
    return {name: (count, median(taken[name])) for name, (count, _) in ways.items()}


def benchmark(effort: Effort) -> list[Result]:
    """Measure a long line, and git beside it."""
    runs, commits, sample = effort.of(RUNS), COMMITS, SAMPLE
    if effort.quick:
        commits, sample = QUICK_COMMITS, QUICK_SAMPLE
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as directory:
        found = measure(prepare(Path(directory), commits), runs, sample)
    base = found[GIT][1] / found[GIT][0]
    times = {name: count * base / took for name, (count, took) in found.items()}
    columns = (Column("commits"), Column("ms"), Column("commits/s"), Column("÷ git", 1))
    return [
        Result(
            "verify",
            f"{median_of(runs)}, on the clock",
            "program",
            columns,
            tuple(
                Row(name, (count, 1000 * took, count / took, times[name]))
                for name, (count, took) in found.items()
            ),
            {"line": times[RULE], "one": times[f"{RULE}, 1 new"]},
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.verify", benchmark))
