"""How the tool speaks: results on stdout, talk on stderr, a sentence and a hint for an error.

The one place that catches errors.
"""

import io
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from wgmesh.errors import WgmeshError, of_system

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
    handler.setFormatter(_Lines(journal=_to_journal(sys.stderr)))
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logger = logging.getLogger("wgmesh")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


def _to_journal(stream: TextIO) -> bool:
    """Return whether `stream` is the journal, by device and inode (systemd.exec(5)).

    The variable alone says little: what a service starts inherits it, a terminal for example.
    """
    journal = os.environ.get("JOURNAL_STREAM")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return journal is not None  # no file of the system that could be told apart
    return journal == f"{status.st_dev}:{status.st_ino}"


def accept_any_terminal() -> None:
    """Let a terminal without our letters show a question mark instead of ending the program.

    A stream that the caller has closed is one that nobody reads, or that brings nothing.
    """
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - open to the end
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open to the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def complain(error: WgmeshError) -> int:
    """Print an error as one sentence and one hint, and return its exit code."""
    prefix = "<3>" if _to_journal(sys.stderr) else ""
    lines = f"wgmesh: {error.message}\n" + (f"  {error.hint}\n" if error.hint else "")
    with suppress(OSError):  # there is nowhere left to say it; the exit code still does
        for line in lines.splitlines(keepends=True):
            sys.stderr.write(prefix + line)
    return error.exit_code


def guard(run: Callable[[], int]) -> int:
    """Return the exit code of `run`, errors told to the user; no traceback gets past here."""
    accept_any_terminal()
    try:
        code = run()
    except SystemExit as stop:  # argparse has said what is wrong, or given the help asked for
        raise SystemExit(_finish(stop.code if isinstance(stop.code, int) else 2)) from None
    except WgmeshError as error:
        code = complain(error)
    except BrokenPipeError:
        code = 1
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        code = complain(of_system(error))
    return _finish(code)


def _finish(code: int) -> int:
    """Write out what is left of the result; return `code`, or 1 when it cannot be written.

    What cannot be written is thrown away, or the interpreter would try again and complain.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _throw_away(sys.stdout)
        code = code or 1
        if not isinstance(error, BrokenPipeError):  # a reader that has gone wants no word of it
            complain(WgmeshError(f"the result cannot be written: {error.strerror}"))
    try:
        sys.stderr.flush()
    except OSError:
        _throw_away(sys.stderr)
    return code


def _throw_away(stream: TextIO) -> None:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def say(result: object) -> int:
    """Print what a command came to, in a sentence; return 0."""
    print(getattr(result, "message", ""))
    return 0


def painter(stream: TextIO) -> Callable[[str, str], str]:
    """Return paint(text, colour) for `stream`: colours on a terminal only, never under NO_COLOR."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return lambda text, _colour: text
    return lambda text, colour: f"\033[{_COLOURS[colour]}m{text}\033[0m"
