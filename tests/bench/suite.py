"""What `make bench` runs: every benchmark of docs/benchmarks.md that does not take hours."""

import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench import (
    gen,
    growth,
    harm,
    noop_sync,
    one_peer,
    overtake,
    plan,
    round,
    shell,
    syncs,
    tick,
    validate,
    verify,
)
from tests.bench.result import Effort, Measure, Result, as_json, markdown
from tests.bench.taken import CHECKOUT


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How to measure, and whether it takes the laboratory, which is root's."""

    measure: Measure
    laboratory: bool = False


SUITE: Mapping[str, Benchmark] = {
    "noop_sync": Benchmark(noop_sync.benchmark, laboratory=True),
    "verify": Benchmark(verify.benchmark),
    "syncs": Benchmark(syncs.benchmark, laboratory=True),
    "tick": Benchmark(tick.benchmark, laboratory=True),
    "round": Benchmark(round.benchmark, laboratory=True),
    "overtake": Benchmark(overtake.benchmark, laboratory=True),
    "harm": Benchmark(harm.benchmark, laboratory=True),
    "one_peer": Benchmark(one_peer.benchmark, laboratory=True),
    "validate": Benchmark(validate.benchmark),
    "growth": Benchmark(growth.benchmark),
    "plan": Benchmark(plan.benchmark),
    "gen": Benchmark(gen.benchmark),
    "shell": Benchmark(shell.benchmark),
}
"""By name, which is that of its module, and of the result that it has."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of a benchmark: results, or why there are none; and the load around it."""

    name: str
    results: tuple[Result, ...]
    seconds: float
    load_before: float
    load_after: float
    failed: str = ""


def run(names: Iterable[str], effort: Effort) -> Iterator[Measured]:
    """Run benchmarks one after the other; yield what each has found as soon as it is there."""
    for name in names:
        before, begun = os.getloadavg()[0], time.monotonic()
        results: tuple[Result, ...] = ()
        failed = ""
        if SUITE[name].laboratory and os.geteuid() != 0:
            failed = "only root can make the laboratory"
        else:
            try:
                results = tuple(SUITE[name].measure(effort))
            except Exception as error:  # one that breaks must not cost the others their minutes
                traceback.print_exc(file=sys.stderr)
                failed = f"{type(error).__name__}: {error}"
        took = time.monotonic() - begun
        yield Measured(name, results, took, before, os.getloadavg()[0], failed)


def ratios(found: Iterable[Measured]) -> dict[str, float]:
    """Return every ratio by RESULT.RATIO."""
    return {
        f"{result.name}.{name}": value
        for each in found
        for result in each.results
        for name, value in result.ratios.items()
    }


def blocks(found: Iterable[Measured]) -> dict[str, str]:
    """Return what docs/benchmarks.md has in its places, by name."""
    return {
        result.name: markdown(
            result,
            f"{os.cpu_count()} cores, Python {platform.python_version()},"
            f" load {each.load_before:.1f} before and {each.load_after:.1f} after",
        )
        for each in found
        for result in each.results
    }


def report(found: Iterable[Measured], effort: Effort) -> dict[str, Any]:
    """Return everything for json.dumps: the machine, the tree, and each benchmark."""
    git = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12"]
    tree = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "tree": tree or None,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "runs": effort.runs,
        "quick": effort.quick,
        "benchmarks": [
            {
                "name": each.name,
                "seconds": each.seconds,
                "load_before": each.load_before,
                "load_after": each.load_after,
                "failed": each.failed or None,
                "results": [as_json(result) for result in each.results],
            }
            for each in found
        ],
    }
