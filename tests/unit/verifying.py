"""`python -m tests.unit.verifying GIT_DIR BUNDLE TRUSTED TIP`: what root does with a new tip.

Takes the bundle, applies the chain rule, reads the inventory. Prints as JSON how that ended, and
the most memory that this process had at a time.
"""

import json
import resource
import sys
from pathlib import Path

from wgmesh.errors import WgmeshError
from wgmesh.handover import LARGEST_BUNDLE_BYTES
from wgmesh.repository.bare import Repository
from wgmesh.trust import chain

from .signing import EPOCH


def peak_bytes() -> int:
    """Return the peak of this process's memory, since it began to run this program.

    The figure of getrusage(2) has that of the process that started it as well.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in /proc/self/status")


def main() -> int:
    """Do it."""
    git_dir, path, trusted, tip = sys.argv[1:]
    said: dict[str, object] = {"error": "", "message": ""}
    with Repository(Path(git_dir)) as repository:
        try:
            with Path(path).open("rb") as bundle:
                repository.take_bundle(bundle, [tip], limit_bytes=LARGEST_BUNDLE_BYTES)
            verified = chain.verify(repository, trusted, tip, now=float(EPOCH))
            repository.inventory_files(verified.id, ".")
        except WgmeshError as error:
            said = {"error": type(error).__name__, "message": error.message}
    said["peak_bytes"] = peak_bytes()
    said["git_peak_bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
