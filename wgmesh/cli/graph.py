"""`wgmesh graph`: a picture of the mesh, for a README or a pull request."""

import sys
from argparse import ArgumentParser, Namespace

from wgmesh.cli.command import Command, inventory_option


def _declare(parser: ArgumentParser) -> None:
    inventory_option(parser)
    parser.add_argument(
        "--format",
        choices=("svg", "mermaid", "dot"),
        default="svg",
        help="a file for browsers, or text for Markdown or for Graphviz",
    )


def _graph(arguments: Namespace) -> int:
    from wgmesh import inventory
    from wgmesh.agent import sources
    from wgmesh.mesh import diagram, drawing
    from wgmesh.mesh.graph import picture

    seen = picture(inventory.load(sources.load(arguments.inventory).files))
    match arguments.format:
        case "mermaid":
            text = diagram.mermaid(seen)
        case "dot":
            text = diagram.dot(seen)
        case _:
            text = drawing.svg(seen)
    sys.stdout.write(text)
    return 0


COMMANDS = (
    Command(
        "graph",
        "a picture of the mesh: hubs, exits, nodes behind NAT, networks",
        "wgmesh graph -c mesh > mesh.svg",
        _declare,
        _graph,
    ),
)
