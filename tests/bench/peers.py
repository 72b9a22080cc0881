"""Programs of others that are measured beside wgmesh: where they are, or why there are none."""

import os
import subprocess
import sys
from pathlib import Path

from tests.bench.taken import CHECKOUT

BUILD = CHECKOUT / "build" / "bench"
MESHCONF = "wg-meshconf==2.5.1"
SHELL_TOOL = "BASH_TOOL"
INSTALL_SECONDS = 120


class NotHere(Exception):  # noqa: N818  (it is no error: the row is left out, and the reason said)
    """A program that is not on this machine: why, as a sentence for the reader of the table."""


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
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(error, error.stderr, file=sys.stderr)
        raise NotHere(f"Not beside it: {MESHCONF}, which pip did not get from PyPI.") from error
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
