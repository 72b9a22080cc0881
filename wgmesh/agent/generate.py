"""`gen` and `gen-keys`: an inventory as files for machines on which nothing but wg-quick runs."""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wgmesh import inventory
from wgmesh.agent import keypairs, sources
from wgmesh.agent.sources import Source
from wgmesh.errors import InventoryError, no_node
from wgmesh.files import write_atomic
from wgmesh.inventory import rework
from wgmesh.model.inventory import Inventory, Node
from wgmesh.render.portable import SHARED, Writer

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 1.0
_MAX_NAMED = 3


def generate(
    source: Source, out: Path, *, only: str | None = None, gen_keys: bool = False, qr: bool = False
) -> Iterator[Path]:
    """Write the files of an inventory into `out` and yield their paths.

    `only` one node's file is written, when it is named. With `gen_keys` nodes that have no key yet
    get one, kept in `out`. `qr` adds a picture of each file that has its private key. Raises
    InventoryError or UsageError before anything is written.
    """
    found = inventory.load(source.files, require_keys=not gen_keys)
    if only is not None and all(node.name != only for node in found.nodes):
        raise no_node(only)
    for node in found.nodes:
        if f"{node.name}.conf" in SHARED and only in (None, node.name):
            raise InventoryError(
                f"node {node.name}: {node.name}.conf is the name of a file for all nodes",
                f"give it another name: wgmesh node rename {node.name} NEW",
            )
    keypairs.make_room(out, source)
    if gen_keys:
        found = _with_keys(found, out)
    writer = Writer(found)
    interface = found.mesh.interface
    chosen = [node for node in found.nodes if only in (None, node.name)]
    keyless: list[str] = []
    told = time.monotonic()
    for number, node in enumerate(chosen):
        key = keypairs.at_hand(out, node)
        elsewhere = node.private_key_path or f"/etc/wireguard/{interface}.key"
        text = writer.config(node, key, elsewhere)
        file = out / f"{node.name}.conf"
        write_atomic(file, text, 0o600, durable=False)
        yield file
        if key is None:
            keyless.append(node.name)
        elif qr:
            yield from _picture(out, node, text)
        if time.monotonic() - told > _PATIENCE_SECONDS:
            told = time.monotonic()
            log.info("%d of %d nodes", number + 1, len(chosen))
    for name, data in writer.shared().items():
        write_atomic(out / name, data, durable=False)
        yield out / name
    if keyless:
        more = f" and {len(keyless) - _MAX_NAMED} more" if len(keyless) > _MAX_NAMED else ""
        names = ", ".join(keyless[:_MAX_NAMED])
        what = "no QR code either" if qr else "the file says where it belongs"
        log.warning("no private key at hand for %s%s: %s", names, more, what)


def files_of(out: Path, name: str) -> tuple[Path, ...]:
    """Return the files that `generate` writes into `out` of the node `name` alone."""
    if f"{name}.conf" in SHARED:
        return ()
    return out / f"{name}.conf", out / f"{name}.png"


def gen_keys(source: Source, out: Path) -> list[Path]:
    """Give each node that lacks one a key; return the files that were written.

    The public halves go into the inventory, the private ones into `out`: these first, so that none
    is lost. A key that lies at the node's private_key_path stays where it is. Raises InventoryError
    or UsageError before anything is written.
    """
    found = inventory.load(source.files, require_keys=False)
    missing = [node.name for node in found.nodes if node.public_key is None]
    if not missing:
        return []
    keypairs.make_room(out, source)
    public = {n.name: n.public_key for n in _with_keys(found, out).nodes if n.public_key}
    changed = rework.set_keys(source.files, {name: public[name] for name in missing})
    written = sources.save(source, changed)
    kept = [keypairs.path(out, name) for name in missing]
    return written + [path for path in kept if path.exists()]


def _with_keys(found: Inventory, out: Path) -> Inventory:
    """Return the inventory with a key for each node; those that are made are in `out`."""
    own = keypairs.at_paths(found.nodes)
    nodes = tuple(
        node
        if node.public_key
        else replace(node, public_key=keypairs.make(out, node.name, own.get(node.name)))
        for node in found.nodes
    )
    owners: dict[str | None, Node] = {}
    for node in nodes:
        other = owners.setdefault(node.public_key, node)
        if other is not node:
            lack = {each.name for each in found.nodes if each.public_key is None}
            kept = [keypairs.path(out, each.name) for each in (node, other) if each.name in lack]
            file = next((each for each in kept if each.exists()), None)
            raise InventoryError(
                f"{node.name} has the key of {other.name}",
                f"remove {file}, and its node gets another" if file else "give one another key",
            )
    return replace(found, nodes=nodes)


def _picture(out: Path, node: Node, text: bytes) -> Iterator[Path]:
    from wgmesh.agent import picture

    drawn = picture.png(text)
    if drawn is None:
        log.warning("%s.conf is too long for a QR code: its mesh has too many peers", node.name)
        return
    file = out / f"{node.name}.png"
    write_atomic(file, drawn, 0o600, durable=False)
    yield file
