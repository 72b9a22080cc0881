"""`python -m tests.bench.plan`: what `plan --base` costs, and who is strict, in a large mesh."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.bench.cpu import medians, table
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


def roles_ms(directory: Path) -> float:
    """Return the CPU ms to read one other version and ask it about every tunnel of a node."""
    names = ["mesh.toml", *(f"nodes/{path.name}" for path in (directory / "nodes").iterdir())]
    files = {name: (directory / name).read_bytes() for name in names}
    new: Inventory = inventory.load(files)
    after = topology.layout(new)
    key = str(new.nodes[0].public_key)
    taken = []
    for _ in range(RUNS):
        start = time.process_time()
        theirs = topology.layout(inventory.load(files))
        for peer in after.by_key:
            if peer != key:
                assert outlook(after, after, (key, key), theirs, peer) == 0
        taken.append(1000 * (time.process_time() - start))
    return median(taken)


def main() -> int:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as temporary:
        programs, rows = {}, []
        for nodes in SIZES:
            for what, change in CHANGES.items():
                place = Path(temporary) / f"{nodes}-{what[9:]}"
                repository(place, nodes, change)
                words = ("-m", "wgmesh", "plan", "-c", str(place), "--base", "HEAD~1")
                programs[f"`wgmesh plan --base`, {nodes:,} nodes, {what}"] = starter(*words)
        rows += [(name, f"{ms:.0f}") for name, ms in medians(programs, RUNS).items()]
        for nodes in SIZES:
            place = Path(temporary) / f"{nodes}-{next(iter(CHANGES))[9:]}"
            text = f"who is strict: one more version, {nodes:,} nodes"
            rows.append((text, f"{roles_ms(place):.0f}"))
    print(f"Median of {RUNS} runs, user and system time.\n")
    sys.stdout.write(table(("program", "CPU ms"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
