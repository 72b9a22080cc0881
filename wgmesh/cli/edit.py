"""The commands that edit an inventory."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from wgmesh.cli.command import Command, inventory_option
from wgmesh.errors import UsageError


def _declare_node(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a node; it takes the next free address")
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--from", dest="entry", default="-", metavar="FILE|-", help="its entry, as `join` prints it"
    )
    inventory_option(add)


def _node(arguments: Namespace) -> int:
    from wgmesh.agent import sources
    from wgmesh.inventory import edit

    source = sources.load(arguments.inventory)
    entry = _entry(arguments.entry)
    for path in sources.save(source, edit.add_node(source.files, arguments.name, entry)):
        print(path)
    return 0


def _entry(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not text", "give it the entry that join prints") from None
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", "name a file or -") from None


COMMANDS = (
    Command(
        "node",
        "edit the inventory's nodes",
        "wgmesh node add delta --from entry.toml -c mesh",
        _declare_node,
        _node,
    ),
)
