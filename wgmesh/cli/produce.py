"""The commands that make files out of an inventory, or for it."""

import sys
from argparse import ArgumentParser, Namespace

from wgmesh.cli.command import Command


def _declare_schema(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--node", action="store_true", help="the schema of a node's own file, nodes/NAME.toml"
    )


def _schema(arguments: Namespace) -> int:
    from wgmesh.inventory.schema import schema

    sys.stdout.write(schema(of_node=arguments.node))
    return 0


COMMANDS = (
    Command(
        "schema",
        "the inventory's JSON Schema, for editors",
        "wgmesh schema > mesh.schema.json",
        _declare_schema,
        _schema,
    ),
)
