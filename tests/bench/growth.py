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
from tests.bench.taken import CHECKOUT, OWN_PEAK_KIB
from tests.bench.validate import write_inventory

SIZES = (10, 100, 1000, 10000)
RUNS = 5
WARM = 2
PARTS = ("read and check", "plan", "files")
WORK = f"""
import json, sys, time
from pathlib import Path
from wgmesh import inventory
from wgmesh.mesh import plan
from wgmesh.render import write

def work(top):
    paths = [top / "mesh.toml", *(top / "nodes").iterdir()]
    files = {{str(path.relative_to(top)): path.read_bytes() for path in paths}}
    marks = [time.process_time()]
    found = inventory.load(files)
    marks.append(time.process_time())
    made = plan(found, "node-00001")
    marks.append(time.process_time())
    write.files(made)
    marks.append(time.process_time())
    return [1000 * (end - start) for start, end in zip(marks, marks[1:])]

work(Path(sys.argv[1]))  # what is imported or compiled once is not the mesh's
print(json.dumps(work(Path(sys.argv[2]))))
{OWN_PEAK_KIB}"""


def once(warm: Path, directory: Path) -> list[float]:
    """Return the CPU ms of each part in a new process, and the most memory in KiB."""
    argv = [sys.executable, "-c", WORK, str(warm), str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=CHECKOUT)
    parts, peak = done.stdout.splitlines()
    return [*json.loads(parts), float(peak)]


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
