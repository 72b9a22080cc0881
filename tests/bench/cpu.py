"""CPU time of programs, their children included: the median of several runs, as Markdown."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from statistics import median

Start = Callable[[], subprocess.Popen[str]]

RUNS = 21


def cpu_ms(start: Start) -> float:
    """Return the user and system CPU milliseconds of one run, of all that it waited for as well.

    Raises AssertionError when it exits other than 0.
    """
    child = start()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{child.args!r} exited {child.returncode}"
    return 1000 * (usage.ru_utime + usage.ru_stime)


def medians(programs: Mapping[str, Start], runs: int = RUNS) -> dict[str, float]:
    """Return the median CPU milliseconds of each program; they take turns, so noise hits all."""
    for start in programs.values():  # what is read from disk now is in memory afterwards
        cpu_ms(start)
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, start in programs.items():
            taken[name].append(cpu_ms(start))
    return {name: median(values) for name, values in taken.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; every column but the first is of numbers."""
    ruler = ["---"] + ["---:"] * (len(head) - 1)
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ruler, *rows))
