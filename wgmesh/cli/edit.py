"""The commands that edit an inventory's nodes."""

import logging
import os
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wgmesh.cli.command import Command, common, inventory_option, out_option
from wgmesh.errors import UsageError

if TYPE_CHECKING:
    from wgmesh.agent.sources import Source

log = logging.getLogger(__name__)

_HAS_KEY = re.compile(r"^\s*public_key\s*=", re.MULTILINE)


def _declare_node(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str, example: str) -> ArgumentParser:
        return actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example: wgmesh node {name} {example}",
            parents=[common()],
            allow_abbrev=False,
        )

    add = action("add", "add a node; it takes the next free address", "delta --from entry.toml")
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--from", dest="entry", default="-", metavar="FILE|-", help="its entry, as `join` prints it"
    )
    add.add_argument(
        "--gen-keys", action="store_true", help="make its keys, the private one in OUT/keys"
    )
    add.add_argument(
        "--forwarding",
        metavar="NODE",
        help="let NODE, which has an endpoint, pass packets on between nodes behind NAT",
    )
    inventory_option(add)
    out_option(add)
    _dry_run(add)
    remove = action("remove", "remove nodes, wherever they are named", "delta -c mesh --out-clean")
    _declare_remove(remove)
    rename = action("rename", "call a node otherwise, wherever it is named", "delta echo -c mesh")
    rename.add_argument("name", metavar="NAME")
    rename.add_argument("new", metavar="NEW")
    inventory_option(rename)
    out_option(rename)
    _dry_run(rename)
    readdress = action("readdress", "give a node other mesh addresses", "delta 10.40.0.9 -c mesh")
    readdress.add_argument("name", metavar="NAME")
    readdress.add_argument(
        "addresses", metavar="ADDRESS", nargs="*", help="what it gets (default: the next free)"
    )
    inventory_option(readdress)
    _dry_run(readdress)


def _declare_remove(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+")
    inventory_option(parser)
    out_option(parser)
    _dry_run(parser)
    parser.add_argument(
        "--out-clean", action="store_true", help="remove what gen wrote of them into OUT"
    )
    parser.add_argument(
        "--delete-keys", action="store_true", help="remove their private keys from OUT too"
    )
    parser.add_argument("--yes", action="store_true", help="that keys cannot be had back is known")


def _dry_run(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be")


def _node(arguments: Namespace) -> int:
    match arguments.action:
        case "add":
            return _add(arguments)
        case "rename":
            return _rename(arguments)
        case "readdress":
            return _readdress(arguments)
        case _:
            return _remove(arguments)


def _add(arguments: Namespace) -> int:
    from wgmesh.agent import keypairs, sources
    from wgmesh.inventory import edit, load, rework

    entry = _entry(arguments.entry)
    if arguments.gen_keys and _HAS_KEY.search(entry):
        raise UsageError(
            f"the entry of {arguments.name} has a public_key already",
            "take it out, or leave out --gen-keys",
        )
    with sources.editing(arguments.inventory) as source:
        out, name, relay = arguments.out, arguments.name, arguments.forwarding
        forward = rework.let_forward(source.files, relay) if relay is not None else {}
        files = {k: data for k, data in {**source.files, **forward}.items() if data is not None}

        def added(text: str, *, require_keys: bool = True) -> rework.Changed:
            return {**forward, **edit.add_node(files, name, text, require_keys=require_keys)}

        def with_key(key: str) -> rework.Changed:
            return added(f'public_key = "{key}"\n{entry}')

        if not arguments.gen_keys:
            return _save(source, added(entry), arguments)
        without = edit.add_node(files, name, entry, require_keys=False)
        found = load({**files, **without}, require_keys=False)
        own = keypairs.at_paths(found.nodes).get(name)
        # with any key first, so that none is left of a node that cannot be
        changed = with_key(keypairs.make(out, name, own, dry_run=True))
        if not arguments.dry_run:
            keypairs.make_room(out, source)
            changed = with_key(keypairs.make(out, name, own))
        _save(source, changed, arguments)
        kept = keypairs.path(out, name)
        if own is None or kept.exists():
            print(kept)
        return 0


def _rename(arguments: Namespace) -> int:
    from wgmesh.agent import belongings, sources
    from wgmesh.inventory import load, rework

    with sources.editing(arguments.inventory) as source:
        out, name = arguments.out, arguments.name
        changed: rework.Changed = {}
        missing = None
        try:
            changed = rework.rename(source.files, name, arguments.new)
        except UsageError as error:
            missing = error
        after = {k: data for k, data in {**source.files, **changed}.items() if data is not None}
        nodes = load(after, require_keys=False).nodes
        node = next((each for each in nodes if each.name == arguments.new), None)
        proofs = frozenset() if node is None else belongings.proofs(out, name, node)
        if missing is not None and not proofs:
            raise missing  # else it was cut short before the files in OUT had their new names
        _save(source, changed, arguments)
        for old, new in belongings.moves(out, name, arguments.new, proofs):
            if not os.path.lexists(old):
                continue
            if os.path.lexists(new):
                log.warning("%s stays, since there is a %s", old, new)
                continue
            if not arguments.dry_run:
                old.rename(new)
            print(new)
        if node is not None and node.preshared_key_path is not None:
            log.warning("where files of preshared keys have %s in their name, rename them", name)
        return 0


def _readdress(arguments: Namespace) -> int:
    from wgmesh.agent import sources
    from wgmesh.inventory import edit, load, rework

    with sources.editing(arguments.inventory) as source:
        given = arguments.addresses or list(
            map(str, edit.next_addresses(load(source.files, require_keys=False)))
        )
        addresses = [
            text if "/" in text else f"{text}/{128 if ':' in text else 32}" for text in given
        ]
        return _save(source, rework.readdress(source.files, arguments.name, addresses), arguments)


def _remove(arguments: Namespace) -> int:
    from wgmesh.agent import belongings, sources
    from wgmesh.inventory import load, rework

    if arguments.delete_keys and not arguments.yes and not arguments.dry_run:
        raise UsageError("--delete-keys cannot be undone", "say --yes as well")
    with sources.editing(arguments.inventory) as source:
        out, clean, delete = arguments.out, arguments.out_clean, arguments.delete_keys
        made = {
            name: belongings.of_node(out, name, made=clean, key=delete) for name in arguments.names
        }
        try:
            changed = rework.remove(source.files, made)
        except UsageError:
            known = {node.name for node in load(source.files, require_keys=False).nodes}
            # of one that only OUT still has something the removal was cut short; where the
            # inventory has none of them, OUT may have nothing of another any more
            there = [name for name, files in made.items() if name in known or not files]
            if len(there) == len(made) or known & made.keys():
                changed = rework.remove(source.files, there)
            else:
                changed = {}
                for name in there:
                    log.warning("there is no node '%s' any more, nor anything of it in OUT", name)
        _save(source, changed, arguments)
        for path in (file for files in made.values() for file in files):
            if not arguments.dry_run:
                path.unlink()
            print(path)
        return 0


def _save(source: "Source", changed: Mapping[str, bytes | None], arguments: Namespace) -> int:
    """Write what changes, and print the paths, of files that go as well."""
    from wgmesh.agent import sources

    for path in sources.save(source, changed, dry_run=arguments.dry_run):
        print(path)
    return 0


def _entry(name: str) -> str:
    if name == "-" and sys.stdin.isatty():
        log.info("the entry, as join prints it; Ctrl-D ends it")
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
    Command(
        "remove-node",
        "remove a node: `node remove` by the name that the shell tool had",
        "wgmesh remove-node delta -c mesh --out-clean",
        _declare_remove,
        _remove,
    ),
    Command(
        "prune-nodes",
        "remove nodes: `node remove` by the name that the shell tool had",
        "wgmesh prune-nodes delta echo -c mesh --delete-keys --yes",
        _declare_remove,
        _remove,
    ),
)
