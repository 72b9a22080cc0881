"""`python -m tests.bench.harm`: how long one harmful change lasts, beside others.

One run of each, in three laboratories at once, since they mostly wait: wgmesh with its own windows;
a change that stays when somebody confirms it within 30 s, as deploy-rs has it, or 120 s, as
`netplan try` has it. All six harms, many times: tests.soak.restore.
"""

import subprocess
import sys
from collections.abc import Sequence

from tests.bench.result import Column, Effort, Result, Row, Value, show
from tests.bench.taken import CHECKOUT
from tests.soak import labs
from tests.soak.labs import Record

HARM = "nft rule drops tunnels"
TOOLS = {
    "wgmesh": "`wgmesh sync`",
    "canary, 30 s": "stays when confirmed, 30 s, as deploy-rs does",
    "confirm, 120 s": "stays when confirmed, 120 s, as `netplan try` does",
}
LIMIT_SECONDS = 420


def measure(others: int = 1) -> list[Record]:
    """Return the records of a soak with that one harm; `others`: runs of what is beside wgmesh.

    Raises AssertionError when it says that a promise was broken, or that a laboratory was.
    """
    argv = [sys.executable, "-m", "tests.soak.restore", "--labs", str(1 + 2 * others)]
    argv += ["--harm", HARM, "--runs", "1", "--others", str(others)]
    child = subprocess.Popen(
        argv, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=CHECKOUT
    )
    try:
        _, said = child.communicate(timeout=LIMIT_SECONDS)
    finally:
        child.terminate()  # harmless for one that has ended
        child.wait()
    assert child.returncode == 0, said
    return list(labs.read(said.splitlines()))


def rows(found: Sequence[Record]) -> list[Row]:
    """Return a row for each tool that there is a record of."""
    by_tool: dict[str, Record] = {each["tool"]: each for each in found}
    ours = by_tool["wgmesh"]["seconds"]
    made = []
    for tool, name in TOOLS.items():
        if tool in by_tool:
            took = by_tool[tool]["seconds"]
            values: tuple[Value, Value] = ("stays", None)
            made.append(Row(name, values if took is None else (took, took / ours)))
    return made


def benchmark(effort: Effort) -> list[Result]:
    """Do the harm; when it is quick, by wgmesh alone."""
    found = measure(0 if effort.quick else 1)
    taken = {each["tool"]: each["seconds"] for each in found}
    ratios = {
        name: taken[tool] / taken["wgmesh"]
        for tool, name in (("canary, 30 s", "canary"), ("confirm, 120 s", "confirm"))
        if taken.get(tool) is not None
    }
    return [
        Result(
            "harm",
            f"One run of each, the harm: {HARM}",
            "by",
            (Column("seconds without service", 1), Column("÷ wgmesh", 1)),
            tuple(rows(found)),
            ratios,
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.harm", benchmark))
