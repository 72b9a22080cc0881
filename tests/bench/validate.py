"""`python -m tests.bench.validate`: what it costs to validate a large inventory."""

import subprocess
import sys
import tempfile
from base64 import b64encode
from pathlib import Path

from tests.bench.cpu import Start, medians, table

SIZES = (10, 100, 1000)
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


def measure(directory: Path, sizes: tuple[int, ...] = SIZES, runs: int = RUNS) -> dict[str, float]:
    """Return the median CPU milliseconds of `wgmesh validate` by size and form of the inventory."""
    programs = {"`python3 -c pass`": starter("-c", "pass")}
    for nodes in sizes:
        for form in ("one file", "a file per node"):
            place = directory / f"{nodes}-{form[:3]}"
            write_inventory(place, nodes, split=form != "one file")
            words = ("-m", "wgmesh", "validate", "-c", str(place))
            programs[f"`wgmesh validate`, {nodes:,} nodes, {form}"] = starter(*words)
    return medians(programs, runs)


def main() -> int:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as directory:
        taken = measure(Path(directory))
    print(f"Median of {RUNS} runs, user and system time.\n")
    sys.stdout.write(table(("program", "CPU ms"), [(n, f"{ms:.0f}") for n, ms in taken.items()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
