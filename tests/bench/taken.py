"""What a run of a program takes: seconds on the clock and of the CPU, and memory."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from statistics import median

CHECKOUT = Path(__file__).parents[2]
TIMER = """
import json, os, sys, time
null = os.open(os.devnull, os.O_RDWR)
quiet = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
begun = time.monotonic()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
took = time.monotonic() - begun
code = os.waitstatus_to_exitcode(status)
print(json.dumps([code, took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""
"""A child's ru_maxrss begins with the memory of who starts it: so a small process starts it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds on the clock, seconds of the CPU, and the most memory of a process at a time.

    The last is at least the 10 MiB of a Python that has imported nothing.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def timed(argv: Sequence[str | Path]) -> list[str]:
    """Return the command that runs `argv`, its output thrown away, and prints what `read` takes."""
    return [sys.executable, "-S", "-E", "-c", TIMER, *map(str, argv)]


def read(printed: str) -> Taken:
    """Return what a command of `timed` printed. Raises AssertionError: its program failed."""
    code, *taken = json.loads(printed)
    assert code == 0, f"exit code {code}"
    return Taken(*taken)


def run(argv: Sequence[str | Path], limit_seconds: float = 600) -> Taken:
    """Run a program, its children included; it is killed when it takes too long.

    Raises AssertionError when it does not end by itself, or exits other than 0.
    """
    child = subprocess.Popen(
        timed(argv), stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, start_new_session=True
    )
    try:
        printed, _ = child.communicate(timeout=limit_seconds)
    except BaseException as error:
        os.killpg(child.pid, SIGKILL)
        child.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise AssertionError(f"{argv!r} had not ended after {limit_seconds} s") from error
        raise
    return read(printed)


def middle(runs: Sequence[Taken]) -> Taken:
    """Return the medians of the seconds, and the most of the memory."""
    return Taken(
        median(each.wall_seconds for each in runs),
        median(each.cpu_seconds for each in runs),
        max(each.peak_mib for each in runs),
    )
