"""`wgmesh apply` and `apply-remote`: an inventory put in force without git, here or over ssh."""

from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

from wgmesh.cli.command import Command


def _declare_inventory(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        dest="inventory",
        default=".",
        metavar="PATH",
        help="the inventory: a file, a directory, or REV:PATH (default: here)",
    )
    parser.add_argument(
        "-o", dest="out", type=Path, metavar="OUT", help="where `gen-keys` put private keys"
    )


def _declare_apply(parser: ArgumentParser) -> None:
    _declare_inventory(parser)
    parser.add_argument("--node", metavar="N", help="which one this is; default: local_node")
    parser.add_argument("--dry-run", action="store_true", help="say what would change")
    parser.add_argument("--received", action="store_true", help=SUPPRESS)  # of apply-remote


def _apply(arguments: Namespace) -> int:
    from wgmesh.agent import apply, parcel

    if arguments.received:
        source, key = parcel.receive()
        asked = apply.Request(source, arguments.node, arguments.dry_run, key)
        result = apply.carry_out(asked)
    else:
        result = apply.apply(
            arguments.inventory, arguments.node, dry_run=arguments.dry_run, out=arguments.out
        )
    print(result.message)
    return 0


COMMANDS = (
    Command(
        "apply",
        "put an inventory in force on this machine, with proof and rollback, without git",
        "wgmesh apply -c mesh.toml --node alpha",
        _declare_apply,
        _apply,
    ),
)
