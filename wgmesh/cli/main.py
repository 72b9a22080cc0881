"""`wgmesh`: the table of commands."""

import argparse
import gc
import sys
from collections.abc import Sequence

from wgmesh import __version__
from wgmesh.cli import node, output
from wgmesh.cli.command import Command, Parser, common

OBJECTS_BETWEEN_COLLECTIONS = 10_000
"""Not 700: what a command makes, a large inventory above all, mostly lives as long as it does."""


def commands() -> tuple[Command, ...]:
    """Return the table: a node's commands, then those of who edits an inventory."""
    from wgmesh.cli import apply, author, doctor, edit, graph, operate, produce, trust

    return (
        *node.COMMANDS,
        *operate.COMMANDS,
        *trust.COMMANDS,
        *doctor.COMMANDS,
        *author.COMMANDS,
        *apply.COMMANDS,
        *edit.COMMANDS,
        *produce.COMMANDS,
        *graph.COMMANDS,
    )


def parser(only: str = "") -> argparse.ArgumentParser:
    """Return the command line, which the other rooms of `cli` declare.

    When `only` is a command, the others are left out: to declare them all costs more than to ask
    a remote does.
    """
    top = Parser(
        prog="wgmesh",
        description="GitOps for WireGuard meshes, without a control plane.",
        epilog="examples: wgmesh status; wgmesh rollback; wgmesh validate -c inventory/",
        parents=[common()],
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"wgmesh {__version__}")
    table = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _chosen(only):
        sub = table.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=f"example: {command.example}",
            parents=[common()],
            allow_abbrev=False,
        )
        command.declare(sub)
        sub.set_defaults(run=command.run)
    return top


def _chosen(only: str) -> list[Command]:
    """Return the command `only`, or all that are for people.

    Of a poll nothing else is loaded, and of what brings a node back no command of an author.
    """
    if found := _named(only, node.COMMANDS):
        return found
    from wgmesh.cli import operate

    if found := _named(only, operate.COMMANDS):
        return found
    every = commands()
    return _named(only, every) or [command for command in every if not command.hidden]


def _named(name: str, among: Sequence[Command]) -> list[Command]:
    return [command for command in among if command.name == name]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` and return its exit code; no traceback reaches a user."""
    words = sys.argv[1:] if argv is None else argv
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    return output.guard(lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    named = next((word for word in words if not word.startswith("-")), "")
    arguments = parser(named).parse_args(words)
    output.set_up_logging(
        verbose=getattr(arguments, "verbose", False), quiet=getattr(arguments, "quiet", False)
    )
    code: int = arguments.run(arguments)
    return code
