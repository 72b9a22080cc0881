"""The roots of the fleet: one that a run uses stays, whatever another checkout wants."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fleet import roots

HOLD = """
import sys
from pathlib import Path
from tests.fleet.roots import hold
print(hold(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@contextmanager
def another_run(root: Path) -> Iterator[None]:
    """Hold `root` in another process; it dies at the end, as a run does that is killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"True\n"
        yield
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()


def test_a_root_in_use_is_not_removed(tmp_path: Path) -> None:
    used, unused = tmp_path / "trixie-one", tmp_path / "trixie-two"
    for root in (used, unused):
        (root / "etc").mkdir(parents=True)
    with another_run(used):
        roots.remove_unused(sorted(tmp_path.iterdir()))
        assert list(tmp_path.iterdir()) == [used] and (used / "etc").is_dir()
    roots.remove_unused([used])
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_not_there_is_not_held(tmp_path: Path) -> None:
    assert not roots.hold(tmp_path / "trixie-one")
