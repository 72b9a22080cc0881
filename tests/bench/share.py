"""`python -m tests.bench.share WARM DIRECTORY`: what a node does with an inventory, measured once.

Prints as JSON the CPU ms of each of PARTS, and the most memory in KiB. tests.bench.growth asks in a
new process each time, as a node works.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

from wgmesh import inventory
from wgmesh.mesh.plan import plan
from wgmesh.render import write

PARTS = ("read and check", "plan", "files")
NODE = "node-00001"


def work(top: Path) -> list[float]:
    """Do what a node does with the files of an inventory; return the CPU ms of each part."""
    paths = [top / "mesh.toml", *(top / "nodes").iterdir()]
    files = {str(path.relative_to(top)): path.read_bytes() for path in paths}
    marks = [time.process_time()]
    found = inventory.load(files)
    marks.append(time.process_time())
    own = plan(found, NODE)
    marks.append(time.process_time())
    write.files(own)
    marks.append(time.process_time())
    return [1000 * (end - start) for start, end in pairwise(marks)]


def own_peak_kib() -> int:
    """Return the most memory that this process has had, without who started it; proc(5)."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def main() -> int:
    """Work on WARM, since what is imported or compiled once is not the mesh's; then measure."""
    warm, directory = map(Path, sys.argv[1:])
    work(warm)
    print(json.dumps([*work(directory), own_peak_kib()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
