"""Programs that are measured beside wgmesh: where they are, and what a run takes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from statistics import median
from threading import Timer
from time import monotonic

CHECKOUT = Path(__file__).parents[2]
BUILD = CHECKOUT / "build" / "bench"
MESHCONF = "wg-meshconf==2.5.1"
SHELL_TOOL = "BASH_TOOL"
INSTALL_SECONDS = 120


class NotHere(Exception):  # noqa: N818  (it is no error: the row is left out, and the reason said)
    """A program that is not on this machine: why, as a sentence for the reader of the table."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a run took: seconds on the clock, of the CPU, and the most memory at a time."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def run(argv: Sequence[str | Path], limit_seconds: float = 600) -> Taken:
    """Run a program whose output nobody reads, its children included.

    Raises AssertionError when it exits other than 0; it is killed when it takes too long.
    """
    begun = monotonic()
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(argv, stdout=quiet, stderr=quiet, cwd=CHECKOUT, start_new_session=True)
    timer = Timer(limit_seconds, os.killpg, (child.pid, SIGKILL))
    timer.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        os.killpg(child.pid, SIGKILL)
        raise
    finally:
        timer.cancel()
    wall = monotonic() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{argv!r} exited {child.returncode} after {wall:.0f} s"
    return Taken(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def middle(runs: Sequence[Taken]) -> Taken:
    """Return the medians of the seconds, and the most of the memory."""
    return Taken(
        median(each.wall_seconds for each in runs),
        median(each.cpu_seconds for each in runs),
        max(each.peak_mib for each in runs),
    )


def meshconf(directory: Path = BUILD) -> Path:
    """Return the program wg-meshconf, from PyPI, in a virtual environment of its own.

    Raises NotHere when pip does not get it.
    """
    venv = directory / "wg-meshconf"
    program, made = venv / "bin" / "wg-meshconf", venv / MESHCONF
    if made.exists():
        return program
    python = program.with_name("python")
    make: list[str | Path] = [sys.executable, "-m", "venv", "--clear", venv]
    get: list[str | Path] = [python, "-m", "pip", "install", "--quiet", MESHCONF]
    try:
        for argv in (make, get):
            subprocess.run(
                argv, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines() or [f"exit code {error.returncode}"]
        raise NotHere(f"Not beside it: {MESHCONF}, which pip did not get ({said[-1]}).") from error
    except subprocess.TimeoutExpired as error:
        raise NotHere(f"Not beside it: {MESHCONF}, which pip did not get in time.") from error
    made.touch()
    return program


def shell_tool() -> Path:
    """Return the wgmesh.sh from which wgmesh descends, where BASH_TOOL names it.

    Raises NotHere without it, and AssertionError when there is no such file.
    """
    named = os.environ.get(SHELL_TOOL)
    if not named:
        raise NotHere(
            "Not beside it: `wgmesh.sh gen`, the shell tool that wgmesh took over from;"
            f" `{SHELL_TOOL}=PATH/TO/wgmesh.sh` names one."
        )
    assert Path(named).is_file(), f"{SHELL_TOOL}={named}: there is no such file"
    return Path(named).resolve()
