"""The commands of those who edit the inventory: no root, no Linux needed."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wgmesh.cli.command import Command, inventory_option

if TYPE_CHECKING:
    from wgmesh.agent.sources import Source
    from wgmesh.model.inventory import Problem


def _declare_init(parser: ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--signer", type=Path, required=True, metavar="KEY.pub")


def _init(arguments: Namespace) -> int:
    from wgmesh.agent import scaffold

    made = scaffold.init(arguments.directory, arguments.signer)
    if made.commit is None:
        print(f"{made.directory}: commit it signed (git commit -S), then push; nodes join with")
    else:
        print(f"{made.directory}: push it to where the nodes can read it; they join with")
    commit = made.commit or "COMMIT"
    print(f"wgmesh join REMOTE --introduction {commit} --signer {made.fingerprint}")
    return 0


def _declare_validate(parser: ArgumentParser) -> None:
    inventory_option(parser)
    parser.add_argument("--format", choices=("text", "json", "github"), default="text")


def _validate(arguments: Namespace) -> int:
    from wgmesh import inventory
    from wgmesh.agent import sources
    from wgmesh.inventory import problems

    source = sources.load(arguments.inventory)
    result = inventory.read(source.files)
    match arguments.format:
        case "json":
            sys.stdout.write(problems.as_json(result.problems, result.inventory))
        case "github":
            sys.stdout.write(problems.as_github(_from_here(source, result.problems)))
        case _:
            sys.stderr.write(problems.as_text(result.problems))
            if result.inventory is not None:
                sys.stdout.write(problems.summary(result.inventory))
    return 0 if result.inventory is not None else 3


def _from_here(source: "Source", problems: "Sequence[Problem]") -> "list[Problem]":
    """Return `problems` with the paths of their files: a forge looks for them from the top."""
    root = source.root
    return [
        problem if root is None else replace(problem, file=(root / problem.file).as_posix())
        for problem in problems
    ]


def _declare_plan(parser: ArgumentParser) -> None:
    inventory_option(parser)
    parser.add_argument(
        "--base", metavar="REV", help="what the change since REV does; 3 if it parts nodes"
    )
    parser.add_argument("--node", metavar="NAME", help="of the nodes this one only, with all peers")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")


def _plan(arguments: Namespace) -> int:
    from wgmesh.agent import planning
    from wgmesh.cli import plan

    found = planning.plan(arguments.inventory, arguments.base, arguments.node)
    match arguments.format:
        case "json":
            text = plan.as_json(found)
        case "markdown":
            text = plan.as_markdown(found)
        case _:
            text = plan.as_text(found)
    sys.stdout.write(text)
    return 0 if found.ok else 3


COMMANDS = (
    Command(
        "init",
        "a new inventory repository",
        "wgmesh init mesh --signer ~/.ssh/id_ed25519.pub",
        _declare_init,
        _init,
    ),
    Command(
        "validate",
        "every problem of an inventory at once",
        "wgmesh validate -c mesh --format github",
        _declare_validate,
        _validate,
    ),
    Command(
        "plan",
        "what an inventory, or a change of it, does to each node",
        "wgmesh plan -c mesh --base main",
        _declare_plan,
        _plan,
    ),
)
