"""An inventory in which each node has its public key: those missing come from private keys."""

from dataclasses import replace
from pathlib import Path

from wgmesh import inventory
from wgmesh.agent import keypairs
from wgmesh.agent.sources import Source
from wgmesh.errors import UsageError
from wgmesh.inventory import rework


def keyed(source: Source, out: Path | None, *, make: bool = False) -> Source:
    """Return `source` with the public keys that it lacks, of the private ones in `out`.

    A node that has none there has the one at its private_key_path, if there is one on this machine.
    With `make` those that are nowhere are made; the inventory on disk stays as it is.
    Raises UsageError, InventoryError or another WgmeshError.
    """
    if make and out is None:
        raise UsageError("--gen-keys has nowhere to keep the keys", "name a directory with -o")
    if out is None:
        return source
    found = inventory.load(source.files, require_keys=False)
    missing = [node.name for node in found.nodes if node.public_key is None]
    if make and missing:
        keypairs.make_room(out, source)
    own = keypairs.at_paths(found.nodes)
    public = {
        name: keypairs.make(out, name, own.get(name))
        for name in missing
        if make or name in own or keypairs.path(out, name).exists()
    }
    if not public:
        return source
    changed = rework.set_keys(source.files, public)
    edited = {name: data for name, data in changed.items() if data is not None}
    return replace(source, files=source.files | edited)
