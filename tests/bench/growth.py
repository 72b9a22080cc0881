"""`python -m tests.bench.growth`: how a node's own work grows with the mesh.

What a node does with a new commit once git has handed the files over: it reads and checks the whole
inventory, plans its own share and renders the files of it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.bench.result import Column, Effort, Result, Row, exponent, median_of, show
from tests.bench.share import PARTS
from tests.bench.taken import CHECKOUT
from tests.bench.validate import write_inventory

SIZES = (10, 100, 1000, 10000)
RUNS = 5
WARM = 2


def once(warm: Path, directory: Path) -> list[float]:
    """Return the CPU ms of each part in a new process, and the most memory in KiB."""
    argv = [sys.executable, "-m", "tests.bench.share", str(warm), str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    found: list[float] = json.loads(done.stdout)
    return found


def measure(top: Path, runs: int = RUNS) -> dict[int, list[float]]:
    """Return the medians for each size: of each part, of all together, and of the memory."""
    write_inventory(top / "warm", WARM, split=True)
    for nodes in SIZES:
        write_inventory(top / str(nodes), nodes, split=True)
    taken: dict[int, list[list[float]]] = {nodes: [] for nodes in SIZES}
    for _ in range(runs):
        for nodes, rows in taken.items():
            *parts, peak = once(top / "warm", top / str(nodes))
            rows.append([*parts, sum(parts), peak / 1024])
    return {
        nodes: [median(column) for column in zip(*rows, strict=True)]
        for nodes, rows in taken.items()
    }


def benchmark(effort: Effort) -> list[Result]:
    """Measure four sizes, and fit the exponent of the growth."""
    runs = effort.of(RUNS)
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as temporary:
        taken = measure(Path(temporary), runs)
    rows = [Row(f"one node of {nodes:,}", tuple(values)) for nodes, values in taken.items()]
    ratios = {}
    for sizes in (SIZES, SIZES[-2:]):
        fitted = [
            exponent([(nodes, taken[nodes][column]) for nodes in sizes])
            for column in range(len(PARTS) + 1)
        ]
        title = f"exponent of the growth, {sizes[0]:,} to {sizes[-1]:,}"
        rows.append(Row(title, (*(f"{each:.2f}" for each in fitted), None)))
        ratios[f"exponent_from_{sizes[0]}"] = fitted[-1]
    columns = tuple(Column(f"{part} ms", 1) for part in (*PARTS, "all"))
    return [
        Result(
            "growth",
            f"{median_of(runs)}, CPU",
            "part",
            (*columns, Column("peak MiB")),
            tuple(rows),
            ratios,
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.growth", benchmark))
