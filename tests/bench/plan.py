"""`python -m tests.bench.plan`: what `plan --base` costs, and who is strict, in a large mesh."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.bench.cpu import medians
from tests.bench.result import Column, Effort, Result, Row, median_of, show
from tests.bench.validate import starter, write_inventory
from wgmesh import inventory
from wgmesh.mesh import topology
from wgmesh.mesh.compat import outlook
from wgmesh.model.inventory import Inventory

SIZES = (100, 1000)
RUNS = 7
CHANGES: dict[str, Callable[[str], str]] = {
    "a node's keepalive": lambda text: text + "persistent_keepalive = 25\n",
    "a node's endpoint": lambda text: text.replace(".example.com", ".example.org"),
}


def git(directory: Path, *words: str) -> None:
    """Run git in `directory`, as nobody in particular."""
    who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    argv = ["git", *who, "-c", "commit.gpgSign=false", *words]
    subprocess.run(argv, cwd=directory, check=True, capture_output=True)


def repository(directory: Path, nodes: int, change: Callable[[str], str]) -> None:
    """Make a repository whose second commit changes one node of the first."""
    write_inventory(directory, nodes, split=True)
    git(directory, "init", "--quiet")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "-m", "a mesh")
    path = directory / "nodes" / "node-00007.toml"
    path.write_text(change(path.read_text()))
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "-m", "a change\n\nWgmesh-Allow-Break: node-00007")


def roles_ms(directory: Path, runs: int) -> float:
    """Return the CPU ms to read one other version and ask it about every tunnel of a node."""
    names = ["mesh.toml", *(f"nodes/{path.name}" for path in (directory / "nodes").iterdir())]
    files = {name: (directory / name).read_bytes() for name in names}
    new: Inventory = inventory.load(files)
    after = topology.layout(new)
    key = str(new.nodes[0].public_key)
    taken = []
    for _ in range(runs):
        start = time.process_time()
        theirs = topology.layout(inventory.load(files))
        for peer in after.by_key:
            if peer != key:
                assert outlook(after, after, (key, key), theirs, peer) == 0
        taken.append(1000 * (time.process_time() - start))
    return median(taken)


def benchmark(effort: Effort) -> list[Result]:
    """Measure two sizes; beside each, what it takes to read and check one version of it."""
    runs, sizes = effort.of(RUNS), SIZES[-1:] if effort.quick else SIZES
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as temporary:
        programs, base = {}, {}
        for nodes in sizes:
            for number, (what, change) in enumerate(CHANGES.items()):
                place = Path(temporary) / f"{nodes}-{number}"
                repository(place, nodes, change)
                words = ("-m", "wgmesh", "plan", "-c", str(place), "--base", "HEAD~1")
                name = f"`wgmesh plan --base`, {nodes:,} nodes, {what}"
                programs[name] = starter(*words)
                base[name] = f"`wgmesh validate`, {nodes:,} nodes"
            one = Path(temporary) / f"{nodes}-0"
            programs[f"`wgmesh validate`, {nodes:,} nodes"] = starter(
                "-m", "wgmesh", "validate", "-c", str(one)
            )
        taken = medians(programs, runs)
        roles = {nodes: roles_ms(Path(temporary) / f"{nodes}-0", runs) for nodes in sizes}
    rows = [Row(name, (ms, ms / taken[base.get(name, name)])) for name, ms in taken.items()]
    for nodes, ms in roles.items():
        rows.append(Row(f"who is strict: one more version, {nodes:,} nodes", (ms, None)))
    last = list(base)[-1]
    return [
        Result(
            "plan",
            f"{median_of(runs)}, user and system time",
            "program",
            (Column("CPU ms"), Column("÷ validate", 1)),
            tuple(rows),
            {"base_1000": taken[last] / taken[base[last]]},
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.plan", benchmark))
