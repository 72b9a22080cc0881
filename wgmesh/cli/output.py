"""How the tool speaks: results on stdout, talk on stderr, a sentence and a hint for an error."""

import io
import logging
import os
import sys
from collections.abc import Callable
from typing import TextIO

from wgmesh.errors import WgmeshError

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""syslog(3) levels, as sd-daemon(3) wants them at the beginning of a line."""

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}


class _Lines(logging.Formatter):
    """Plain lines; under systemd each begins with its priority."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if self._journal:
            return f"<{_PRIORITIES.get(record.levelno, 6)}>{text}"
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


def set_up_logging(*, verbose: bool, quiet: bool) -> None:
    """Send talk to stderr: everything under --verbose, warnings only under --quiet."""
    logging.raiseExceptions = False  # a terminal that hangs up must not stop a transaction
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(journal="JOURNAL_STREAM" in os.environ))
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logger = logging.getLogger("wgmesh")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


def accept_any_terminal() -> None:
    """Let a terminal without our letters show a question mark instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def complain(error: WgmeshError) -> int:
    """Print an error as one sentence and one hint, and return its exit code."""
    prefix = "<3>" if "JOURNAL_STREAM" in os.environ else ""
    print(f"{prefix}wgmesh: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"{prefix}  {error.hint}", file=sys.stderr)
    return error.exit_code


def painter(stream: TextIO) -> Callable[[str, str], str]:
    """Return paint(text, colour) for `stream`: colours on a terminal only, never under NO_COLOR."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return lambda text, _colour: text
    return lambda text, colour: f"\033[{_COLOURS[colour]}m{text}\033[0m"
