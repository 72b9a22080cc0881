"""`python -m tests.bench.validate`: what it costs to validate a large inventory."""

import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from tests.bench.cpu import Start, medians
from tests.bench.result import Column, Effort, Result, Row, median_of, show

SIZES = (10, 100, 1000, 10000)
QUICK_SIZES = (1000,)
PYTHON = "`python3 -c pass`"
FORMS = ("one file", "a file per node")
RUNS = 7
CHECKOUT = Path(__file__).parents[2]


def write_inventory(directory: Path, nodes: int, *, split: bool) -> None:
    """Write an inventory of `nodes` public nodes, each with two addresses and a network behind it.

    `split` gives each node a file of its own.
    """
    texts = {
        f"node-{number:05}": (
            f'address = ["10.40.{number // 250}.{number % 250 + 1}/32",'
            f' "fd40::{number + 1:x}/128"]\n'
            f'public_key = "{b64encode(b"k" + number.to_bytes(31, "big")).decode()}"\n'
            f'endpoint = "node-{number:05}.example.com:51820"\n'
            f'allowed_ips = "10.{100 + number // 250}.{number % 250}.0/24"\n'
        )
        for number in range(nodes)
    }
    mesh = '[mesh]\ninterface = "wg0"\nmesh_cidr = ["10.40.0.0/16", "fd40::/64"]\n'
    directory.mkdir(parents=True)
    if split:
        (directory / "nodes").mkdir()
        for name, text in texts.items():
            (directory / "nodes" / f"{name}.toml").write_text(text)
    else:
        mesh += "".join(f"\n[node.{name}]\n{text}" for name, text in texts.items())
    (directory / "mesh.toml").write_text(mesh)


def starter(*words: str) -> Start:
    """Return what starts the interpreter with `words`, its output thrown away."""

    def start() -> subprocess.Popen[str]:
        quiet = subprocess.DEVNULL
        argv = [sys.executable, *words]
        return subprocess.Popen(argv, stdout=quiet, stderr=quiet, cwd=CHECKOUT, text=True)

    return start


def measure(directory: Path, sizes: Sequence[int] = SIZES, runs: int = RUNS) -> dict[str, float]:
    """Return the median CPU milliseconds of `wgmesh validate` by size and form of the inventory."""
    programs = {PYTHON: starter("-c", "pass")}
    for nodes in sizes:
        for form in FORMS:
            place = directory / f"{nodes}-{form[:3]}"
            write_inventory(place, nodes, split=form != FORMS[0])
            programs[program(nodes, form)] = starter("-m", "wgmesh", "validate", "-c", str(place))
    return medians(programs, runs)


def program(nodes: int, form: str) -> str:
    """Return the name of a program that is measured."""
    return f"`wgmesh validate`, {nodes:,} nodes, {form}"


def benchmark(effort: Effort) -> list[Result]:
    """Measure four sizes, in one file and in many."""
    runs, sizes = effort.of(RUNS), QUICK_SIZES if effort.quick else SIZES
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as directory:
        taken = measure(Path(directory), sizes, runs)
    floor = taken[PYTHON]
    return [
        Result(
            "validate",
            f"{median_of(runs)}, user and system time",
            "program",
            (Column("CPU ms"), Column("÷ python3", 1)),
            tuple(Row(name, (ms, ms / floor)) for name, ms in taken.items()),
            {f"nodes_{nodes}": taken[program(nodes, FORMS[1])] / floor for nodes in sizes},
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.validate", benchmark))
