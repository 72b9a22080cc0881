"""`python -m tests.bench.gen`: what `gen` of a large mesh costs, beside others.

wg-meshconf writes the same full mesh: two addresses and an endpoint each, private keys in every
file. The floor is to read the files that wgmesh made, and to write them elsewhere.
"""

import csv
import sys
import tempfile
from pathlib import Path

from tests.bench import peers, taken
from tests.bench.peers import NotHere
from tests.bench.result import Column, Effort, Result, Row, median_of, show
from tests.bench.taken import Taken
from tests.bench.validate import write_inventory
from wgmesh import inventory
from wgmesh.agent import keypairs

NODES = 1000
QUICK_NODES = 400
RUNS = 5
DATABASE = "database.csv"
OURS, COPY, CAT = "`wgmesh gen`", "the same files, read and written by Python", "`cat` of them"
THEIRS = f"`wg-meshconf genconfig`, {peers.MESHCONF.partition('==')[2]}"
COPY_CODE = """
import sys
from pathlib import Path
source, target = map(Path, sys.argv[1:])
target.mkdir(exist_ok=True)
for path in source.glob("*.conf"):
    (target / path.name).write_bytes(path.read_bytes())
"""


def prepare(directory: Path, nodes: int = NODES) -> Path:
    """Make the mesh as an inventory, which is returned, its keys, and a database of wg-meshconf."""
    mesh, database = directory / "mesh", directory / DATABASE
    write_inventory(mesh, nodes, split=True)
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
    return mesh


def measure(top: Path, nodes: int, runs: int) -> dict[str, Taken]:
    """Return what each program took; all but wg-meshconf, which takes long, in turns."""
    mesh, out = prepare(top, nodes), top / "out"
    programs: dict[str, list[str | Path]] = {
        OURS: [sys.executable, "-m", "wgmesh", "gen", "-c", mesh, "-o", out],
        COPY: [sys.executable, "-c", COPY_CODE, out, top / "copy"],
        CAT: ["sh", "-c", 'cat "$1"/*.conf >"$2"', "sh", out, top / "all"],
    }
    found: dict[str, list[Taken]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, argv in programs.items():
            found[name].append(taken.run(argv))
    return {name: taken.middle(each) for name, each in found.items()}


def beside(top: Path) -> Taken:
    """Return what wg-meshconf takes for the mesh that lies in `top`. Raises NotHere."""
    program = peers.meshconf()
    return taken.run([program, "-d", top / DATABASE, "genconfig", "-o", top / "theirs"])


def benchmark(effort: Effort) -> list[Result]:
    """Measure; wg-meshconf once, and not when it is quick."""
    runs, nodes, notes = effort.of(RUNS), QUICK_NODES if effort.quick else NODES, []
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as temporary:
        found = measure(Path(temporary), nodes, runs)
        mb = sum(path.stat().st_size for path in Path(temporary, "out").glob("*.conf")) / 1e6
        try:
            if not effort.quick:
                found[THEIRS] = beside(Path(temporary))
        except NotHere as reason:
            notes.append(str(reason))
    base, floor = found[OURS].wall_seconds, found[COPY].wall_seconds
    rows = []
    for name, one in found.items():
        by = (one.wall_seconds / floor, one.wall_seconds / base)
        peak = None if name == CAT else one.peak_mib
        rows.append(Row(name, (one.wall_seconds, one.cpu_seconds, peak, *by)))
    ratios = {
        "floor": base / floor,
        "floor_cpu": found[OURS].cpu_seconds / found[COPY].cpu_seconds,
    }
    if THEIRS in found:
        ratios["meshconf"] = found[THEIRS].wall_seconds / base
    times = f"{median_of(runs)}{', of wg-meshconf one' if THEIRS in found else ''}"
    columns = (Column("wall s", 2), Column("CPU s", 2), Column("peak MiB"))
    return [
        Result(
            "gen",
            f"{times}; full mesh of {nodes:,} nodes, {mb:,.0f} MB",
            "program",
            (*columns, Column("÷ floor", 1), Column("÷ wgmesh", 1)),
            tuple(rows),
            ratios,
            tuple(notes),
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.gen", benchmark))
