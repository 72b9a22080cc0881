"""`wgmesh`: the table of commands, and the one place that catches errors."""

import argparse
import os
import sys
from collections.abc import Sequence

from wgmesh import __version__
from wgmesh.cli import author, node, output
from wgmesh.cli.command import Command
from wgmesh.errors import WgmeshError

COMMANDS: tuple[Command, ...] = (*node.COMMANDS, *author.COMMANDS)


def parser() -> argparse.ArgumentParser:
    """Return the whole command line, declared by the rooms `node` and `author`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show each command that is run",
    )
    common.add_argument(
        "--quiet", action="store_true", default=argparse.SUPPRESS, help="warnings and results only"
    )
    top = argparse.ArgumentParser(
        prog="wgmesh",
        description="GitOps for WireGuard meshes, without a control plane.",
        epilog="examples: wgmesh status; wgmesh rollback; wgmesh validate -c inventory/",
        parents=[common],
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"wgmesh {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=f"example: {command.example}",
            parents=[common],
            allow_abbrev=False,
        )
        command.declare(sub)
        sub.set_defaults(run=command.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` and return its exit code; no traceback reaches a user."""
    output.accept_any_terminal()
    try:
        arguments = parser().parse_args(argv)
        output.set_up_logging(
            verbose=getattr(arguments, "verbose", False), quiet=getattr(arguments, "quiet", False)
        )
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except WgmeshError as error:
        return output.complain(error)
    except BrokenPipeError:
        # the reader of our output has gone: nothing to say, and nowhere to say it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return output.complain(WgmeshError(f"{where}{error.strerror or error}"))
    return code
