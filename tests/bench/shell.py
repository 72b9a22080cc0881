"""`python -m tests.bench.shell`: what `gen` of an INI inventory costs, beside the shell tool's.

`BASH_TOOL=PATH` names its wgmesh.sh, which reads the same file; without it wgmesh stands alone. A
hundred nodes with their keys, a full mesh, as the tool's README describes it.
"""

import sys
import tempfile
from pathlib import Path

from tests.bench import peers, taken
from tests.bench.peers import NotHere
from tests.bench.result import Column, Effort, Result, Row, median_of, show
from tests.bench.taken import Taken
from wgmesh.agent import keypairs

NODES = 100
RUNS = 3
SHELL_SECONDS = 120
OURS, THEIRS = "`wgmesh gen`", "`wgmesh.sh gen`"
_MOST = 254


def prepare(directory: Path, nodes: int = NODES) -> Path:
    """Write an inventory in the tool's own format, and the private keys; return its path."""
    assert nodes <= _MOST, "the addresses are those of one /24"
    lines = ["[mesh]", "interface = wg0", "mesh_cidr = 10.40.0.0/24"]
    for number in range(1, nodes + 1):
        name = f"node-{number:03}"
        public = keypairs.make(directory, name)
        lines += [
            "",
            f'[node "{name}"]',
            f"address = 10.40.0.{number}/24",
            f"endpoint = {name}.example.com:51820",
            f"allowed_ips = 10.40.0.{number}/32",
            f"public_key = {public}",
            f"private_key_path = {keypairs.path(directory, name)}",
        ]
    file = directory / "mesh.conf"
    file.write_text("\n".join(lines) + "\n")
    return file


def benchmark(effort: Effort) -> list[Result]:
    """Measure the two in turns, each into a directory of its own."""
    runs, notes = effort.of(RUNS), []
    with tempfile.TemporaryDirectory(prefix="wgmesh-bench-") as temporary:
        file, ours, theirs = prepare(Path(temporary)), Path(temporary, "a"), Path(temporary, "b")
        programs: dict[str, list[str | Path]] = {
            OURS: [sys.executable, "-m", "wgmesh", "gen", "-c", file, "-o", ours]
        }
        try:
            programs[THEIRS] = ["bash", peers.shell_tool(), "gen", "-c", file, "-o", theirs]
        except NotHere as reason:
            notes.append(str(reason))
        found: dict[str, list[Taken]] = {name: [] for name in programs}
        for _ in range(runs):
            for name, argv in programs.items():
                found[name].append(taken.run(argv, SHELL_SECONDS))
        for place in (ours, theirs) if THEIRS in programs else (ours,):
            written = {path.stem for path in place.glob("node-*.conf")}
            assert len(written) == NODES, f"{len(written)} files were written"
    middle = {name: taken.middle(each) for name, each in found.items()}
    base = middle[OURS].wall_seconds
    return [
        Result(
            "shell",
            f"{median_of(runs)}, full mesh of {NODES:,} nodes",
            "program",
            (Column("wall s", 2), Column("CPU s", 2), Column("peak MiB"), Column("÷ wgmesh", 1)),
            tuple(
                Row(
                    name, (one.wall_seconds, one.cpu_seconds, one.peak_mib, one.wall_seconds / base)
                )
                for name, one in middle.items()
            ),
            {"shell": middle[THEIRS].wall_seconds / base} if THEIRS in middle else {},
            tuple(notes),
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.shell", benchmark))
