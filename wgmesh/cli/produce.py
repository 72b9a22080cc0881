"""The commands that make files out of an inventory, or for it."""

import logging
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from wgmesh.cli.command import Command, inventory_option, out_option
from wgmesh.errors import UsageError

log = logging.getLogger(__name__)


def _declare_schema(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--node", action="store_true", help="the schema of a node's own file, nodes/NAME.toml"
    )


def _schema(arguments: Namespace) -> int:
    from wgmesh.inventory.schema import schema

    sys.stdout.write(schema(of_node=arguments.node))
    return 0


def _declare_gen(parser: ArgumentParser) -> None:
    inventory_option(parser)
    out_option(parser)
    parser.add_argument("--node", metavar="NAME", help="of the nodes' files this one only")
    parser.add_argument(
        "--gen-keys", action="store_true", help="make the keys that are missing, in OUT/keys"
    )
    parser.add_argument(
        "--qr", action="store_true", help="a QR code as well; with --node shown on a terminal"
    )


def _gen(arguments: Namespace) -> int:
    from wgmesh.agent import generate, picture, sources

    made = generate.generate(
        sources.load(arguments.inventory),
        arguments.out,
        only=arguments.node,
        gen_keys=arguments.gen_keys,
        qr=arguments.qr,
    )
    for path in made:
        print(path)
        if arguments.node and path.suffix == ".png" and sys.stdout.isatty():
            sys.stdout.write(picture.drawing(path.with_suffix(".conf").read_bytes()))
    return 0


def _declare_gen_keys(parser: ArgumentParser) -> None:
    inventory_option(parser)
    out_option(parser)


def _gen_keys(arguments: Namespace) -> int:
    from wgmesh.agent import generate, sources

    with sources.editing(arguments.inventory) as source:
        for path in generate.gen_keys(source, arguments.out):
            print(path)
    return 0


def _declare_convert(parser: ArgumentParser) -> None:
    parser.add_argument("source", metavar="FROM", help="a file, a directory, or REV:PATH")
    parser.add_argument(
        "target", type=Path, metavar="TO", help="a new file, .toml or .conf, or a new directory"
    )


def _convert(arguments: Namespace) -> int:
    from wgmesh.agent import sources
    from wgmesh.inventory import convert

    source, target = sources.load(arguments.source), arguments.target
    match target.suffix:
        case ".toml":
            made = sources.create(source, target, convert.to_toml(source.files))
        case ".conf":
            made = sources.create(source, target, convert.to_conf(source.files))
        case _:
            if target.suffix and not target.is_dir():
                raise UsageError(
                    f"{target} is neither .toml nor .conf, and no directory",
                    "name a file by one of these endings, or make that directory first",
                )
            files = convert.to_directory(source.files)
            made = sources.create_directory(source, target, files)
    for path in made:
        print(path)
    return 0


def _declare_import(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="[NAME=]FILE",
        nargs="+",
        help="a node's wg-quick file",
    )


def _import(arguments: Namespace) -> int:
    from wgmesh import inventory
    from wgmesh.agent import importing
    from wgmesh.inventory import problems

    made = importing.adopt(arguments.files)
    for remark in made.remarks:
        log.warning("%s", remark)
    sys.stdout.write(made.text)
    result = inventory.read({"mesh.toml": made.text.encode()})
    sys.stderr.write(problems.as_text(result.problems))
    return 0 if result.inventory is not None else 3


COMMANDS = (
    Command(
        "gen",
        "wg-quick files for machines without wgmesh",
        "wgmesh gen -c mesh -o out --node phone --qr",
        _declare_gen,
        _gen,
    ),
    Command(
        "gen-keys",
        "key pairs for the nodes that have none yet",
        "wgmesh gen-keys -c mesh -o out",
        _declare_gen_keys,
        _gen_keys,
    ),
    Command(
        "convert",
        "an inventory in another form: mesh.conf, mesh.toml, a file per node",
        "wgmesh convert mesh.conf mesh.toml",
        _declare_convert,
        _convert,
    ),
    Command(
        "import",
        "an inventory out of the wg-quick files of a mesh",
        "wgmesh import alpha=alpha/wg0.conf bravo=bravo/wg0.conf > mesh.toml",
        _declare_import,
        _import,
    ),
    Command(
        "schema",
        "the inventory's JSON Schema, for editors",
        "wgmesh schema > mesh.schema.json",
        _declare_schema,
        _schema,
    ),
)
