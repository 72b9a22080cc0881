"""One command of the table: what it is called, takes, does."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
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
