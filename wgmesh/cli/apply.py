"""`wgmesh apply` and `apply-remote`: an inventory put in force without git, here or over ssh."""

import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from wgmesh.cli.command import Command, inventory_option

if TYPE_CHECKING:
    from wgmesh.agent.hosts import Told


def _declare_inventory(parser: ArgumentParser) -> None:
    inventory_option(parser)
    parser.add_argument(
        "-o", "--out", type=Path, metavar="OUT", help="where `gen-keys` put private keys"
    )


def _declare_apply(parser: ArgumentParser) -> None:
    _declare_inventory(parser)
    parser.add_argument("-n", "--node", metavar="N", help="which one this is; default: local_node")
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


def _declare_apply_remote(parser: ArgumentParser) -> None:
    _declare_inventory(parser)
    hosts = parser.add_mutually_exclusive_group(required=True)
    hosts.add_argument("-n", "--node", metavar="N", help="one host")
    hosts.add_argument("--all", action="store_true", help="every managed node")
    parser.add_argument("--ssh-tty", action="store_true", help="a terminal for sudo; one by one")
    parser.add_argument("--dry-run", action="store_true", help="say what would change")
    parser.add_argument(
        "--gen-keys", action="store_true", help="make the keys that are missing, in OUT/keys"
    )
    parser.add_argument("--jobs", type=_jobs, default=8, metavar="N", help="at a time; default: 8")


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 256:
        raise ArgumentTypeError(f"{text!r} is no number of hosts from 1 to 256")
    return int(text)


def _apply_remote(arguments: Namespace) -> int:
    from wgmesh.agent import hosts

    request = hosts.Request(
        text=arguments.inventory,
        name=arguments.node,
        terminal=arguments.ssh_tty,
        dry_run=arguments.dry_run,
        jobs=arguments.jobs,
        out=arguments.out,
        gen_keys=arguments.gen_keys,
    )
    told = []
    for each in hosts.apply(request):
        told.append(each)
        print(_report(each), end="", flush=True)
    good = sum(not each.code for each in told)
    if len(told) > 1:
        print(f"{good} of {len(told)} hosts done", file=sys.stderr)
    return hosts.exit_code(told)


def _report(told: "Told") -> str:
    """Return a host's lines: what came of it with its last words, what else it said before."""
    *before, last = told.lines or ("",)
    lines = [f"{told.node}: {line}" for line in before]
    lines.append(f"{told.node}: {told.outcome}" + (f": {last}" if last else ""))
    lines += [f"  {told.hint}"] if told.hint else []
    return "".join(f"{line}\n" for line in lines)


COMMANDS = (
    Command(
        "apply",
        "put an inventory in force on this machine, with proof and rollback, without git",
        "wgmesh apply -c mesh.toml --node alpha",
        _declare_apply,
        _apply,
    ),
    Command(
        "apply-remote",
        "put an inventory in force on its hosts, over ssh, each with proof and rollback",
        "wgmesh apply-remote -c mesh.toml --all",
        _declare_apply_remote,
        _apply_remote,
    ),
)
