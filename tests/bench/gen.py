"""`python -m tests.bench.gen`: what `gen` of a large mesh costs, beside others.

wg-meshconf writes the same full mesh: two addresses and an endpoint each, private keys in every
file. The floor is to read the files that wgmesh made, and to write them elsewhere.
"""

import csv
import sys
import tempfile
from pathlib import Path

from tests.bench import peers
from tests.bench.peers import NotHere, Taken
from tests.bench.result import Column, Effort, Result, Row, median_of, show
from tests.bench.validate import write_inventory
from wgmesh import inventory
from wgmesh.agent import keypairs

NODES = 1000
RUNS = 5
OTHERS_RUNS = 1
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


def benchmark(effort: Effort) -> list[Result]:
    """Measure them in turns; wg-meshconf, which takes long, once, and not when it is quick."""
    runs, notes = effort.of(RUNS), []
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as temporary:
        top = Path(temporary)
        mesh, database = prepare(top)
        out = top / "out"
        programs: dict[str, list[str | Path]] = {
            OURS: [sys.executable, "-m", "wgmesh", "gen", "-c", mesh, "-o", out],
            COPY: [sys.executable, "-c", COPY_CODE, out, top / "copy"],
            CAT: ["sh", "-c", 'cat "$1"/*.conf >"$2"', "sh", out, top / "all"],
        }
        taken: dict[str, list[Taken]] = {name: [] for name in programs}
        for _ in range(runs):
            for name, argv in programs.items():
                taken[name].append(peers.run(argv))
        written = sum(path.stat().st_size for path in out.glob("*.conf"))
        if not effort.quick:
            try:
                theirs: list[str | Path] = [
                    peers.meshconf(),
                    "-d",
                    database,
                    "genconfig",
                    "-o",
                    top / "theirs",
                ]
                taken[THEIRS] = [peers.run(theirs) for _ in range(OTHERS_RUNS)]
            except NotHere as reason:
                notes.append(str(reason))
    found = {name: peers.middle(each) for name, each in taken.items()}
    base, floor = found[OURS].wall_seconds, found[COPY].wall_seconds
    ratios = {"floor": base / floor}
    if THEIRS in found:
        ratios["meshconf"] = found[THEIRS].wall_seconds / base
    columns = (Column("wall s", 1), Column("CPU s", 1), Column("peak MiB"))
    others = f", of wg-meshconf {OTHERS_RUNS}" if THEIRS in found else ""
    return [
        Result(
            "gen",
            f"{median_of(runs)}{others}; full mesh of {NODES:,} nodes, {written / 1e6:,.0f} MB",
            "program",
            (*columns, Column("÷ floor", 1), Column("÷ wgmesh", 1)),
            tuple(
                Row(
                    name,
                    (
                        one.wall_seconds,
                        one.cpu_seconds,
                        one.peak_mib,
                        one.wall_seconds / floor,
                        one.wall_seconds / base,
                    ),
                )
                for name, one in found.items()
            ),
            ratios,
            tuple(notes),
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.gen", benchmark))
