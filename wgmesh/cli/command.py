"""One command of the table: what it is called, takes, does."""

import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import IO

from wgmesh.frozen import frozen


class Parser(ArgumentParser):
    """An ArgumentParser whose help is not lost in silence: Python 3.13 ignores a full disk."""

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        target = file or sys.stderr
        if message and target is not None:
            target.write(message)


def common() -> Parser:
    """Return the options of every command and action, as a parent of their parsers."""
    made = Parser(add_help=False)
    made.add_argument(
        "--verbose", action="store_true", default=SUPPRESS, help="show each command that is run"
    )
    made.add_argument(
        "--quiet", action="store_true", default=SUPPRESS, help="warnings and results only"
    )
    return made


@frozen
class Command:
    """A subcommand; `run` returns the exit code. A hidden one is for units, not for people."""

    name: str
    summary: str
    example: str
    declare: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    hidden: bool = False


def nothing(_: ArgumentParser) -> None:
    """Declare no argument."""


def inventory_option(parser: ArgumentParser) -> None:
    """Declare `-c`, which names an inventory; the long name is that of the shell tool."""
    parser.add_argument(
        "-c",
        "--config",
        dest="inventory",
        default=".",
        metavar="PATH",
        help="the inventory: a file, a directory, or REV:PATH (default: here)",
    )


def out_option(parser: ArgumentParser) -> None:
    """Declare `-o`, where secrets and what is made of them go."""
    parser.add_argument(
        "-o",
        "--out",
        dest="out",
        type=Path,
        default=Path("out"),
        metavar="OUT",
        help="the directory for it, which git is told to ignore (default: out)",
    )
