"""`python -m tests.bench.gen [WG-MESHCONF]`: what `gen` costs, and a node's own share of a mesh.

`WG-MESHCONF` is the program of that name, version 2.5.1 of PyPI: then both take turns on one mesh.
Both write the same full mesh: two addresses and an endpoint each, private keys in every file.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.bench.cpu import table
from tests.bench.validate import write_inventory
from wgmesh import inventory
from wgmesh.agent import keypairs

NODES = 1000
SHARES = (1000, 10000)
RUNS = 3


def prepare(directory: Path) -> tuple[Path, Path]:
    """Make the mesh as an inventory with its keys, and as a database of wg-meshconf."""
    mesh, database = directory / "mesh", directory / "database.csv"
    write_inventory(mesh, NODES, split=True)
    out = directory / "out"
    out.mkdir()
    found = inventory.load(
        {"mesh.toml": (mesh / "mesh.toml").read_bytes()}
        | {f"nodes/{path.name}": path.read_bytes() for path in (mesh / "nodes").iterdir()}
    )
    fields = ["Name", "Address", "Endpoint", "AllowedIPs", "ListenPort", "PersistentKeepalive"]
    fields += ["FwMark", "PrivateKey", "DNS", "MTU", "Table", "PreUp", "PostUp", "PreDown"]
    fields += ["PostDown", "SaveConfig"]
    with database.open("w", newline="") as file:
        rows = csv.DictWriter(file, fields, quoting=csv.QUOTE_ALL)
        rows.writeheader()
        for node in found.nodes:
            public = keypairs.make(out, node.name)
            path = mesh / "nodes" / f"{node.name}.toml"
            path.write_text(path.read_text().replace(str(node.public_key), public))
            rows.writerow(
                {
                    "Name": node.name,
                    "Address": ",".join(map(str, node.address)),
                    "Endpoint": node.endpoint.host if node.endpoint else "",
                    "AllowedIPs": ",".join(map(str, node.allowed_ips)),
                    "ListenPort": node.listen_port,
                    "PrivateKey": keypairs.path(out, node.name).read_text().strip(),
                    "MTU": found.mesh.mtu,
                }
            )
    return mesh, database


def run(argv: Sequence[str | Path]) -> tuple[float, float, int]:
    """Run a program; returns its wall and CPU seconds, and the most memory that it had, in KiB."""
    start = time.monotonic()
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{argv!r} exited {child.returncode}"
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def whole_mesh(directory: Path, other: str | None) -> list[tuple[str, ...]]:
    """Return rows of the table: `gen`, and wg-meshconf where it is given, taking turns."""
    mesh, database = prepare(directory)
    ours: list[str | Path] = [sys.executable, "-m", "wgmesh", "gen", "-c", mesh]
    programs: dict[str, list[str | Path]] = {"`wgmesh gen`": [*ours, "-o", directory / "out"]}
    if other is not None:
        theirs: list[str | Path] = [other, "-d", database, "genconfig", "-o", directory / "theirs"]
        programs["`wg-meshconf genconfig`, 2.5.1"] = theirs
    taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in programs}
    for _ in range(RUNS):
        for name, argv in programs.items():
            taken[name].append(run(argv))
    written = sum(path.stat().st_size for path in (directory / "out").glob("*.conf"))
    print(f"{NODES:,} nodes, full mesh; wgmesh writes {written / 1e6:.0f} MB.\n")
    return [
        (
            name,
            f"{median(wall for wall, _, _ in runs):.1f}",
            f"{median(cpu for _, cpu, _ in runs):.1f}",
            f"{max(memory for _, _, memory in runs) / 1024:.0f}",
        )
        for name, runs in taken.items()
    ]


SHARE = """
import resource, sys, time
from pathlib import Path
from wgmesh import inventory
from wgmesh.mesh import plan
from wgmesh.render import write
top = Path(sys.argv[1])
files = {"mesh.toml": (top / "mesh.toml").read_bytes()}
files |= {f"nodes/{path.name}": path.read_bytes() for path in (top / "nodes").iterdir()}
found = inventory.load(files)
write.environment()
start = time.process_time()
write.files(plan(found, "node-00007"))
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def share(directory: Path, nodes: int) -> tuple[str, ...]:
    """Return the row of one node's plan and its files, the inventory having been read."""
    write_inventory(directory, nodes, split=True)
    seconds, memory = [], []
    for _ in range(RUNS):
        argv = [sys.executable, "-c", SHARE, str(directory)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        cpu, peak = done.stdout.split()
        seconds.append(float(cpu))
        memory.append(int(peak))
    name = f"plan and files of one node of {nodes:,}"
    return name, f"{median(seconds):.2f}", f"{max(memory) / 1024:.0f}"


def main() -> int:
    """Measure and print the tables."""
    other = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as temporary:
        top = Path(temporary)
        rows = whole_mesh(top, other)
        print(table(("program", "wall s", "CPU s", "peak MiB"), rows))
        shares = [share(top / str(nodes), nodes) for nodes in SHARES]
        sys.stdout.write(table(("part", "CPU s", "peak MiB"), shares))
    return 0


if __name__ == "__main__":
    sys.exit(main())
