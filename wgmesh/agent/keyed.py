"""An inventory in which each node has its public key: those that are missing come from OUT/keys."""

from dataclasses import replace
from pathlib import Path

from wgmesh import inventory, keys
from wgmesh.agent import keypairs
from wgmesh.agent.sources import Source
from wgmesh.errors import UsageError
from wgmesh.inventory import rework


def keyed(source: Source, out: Path | None, *, make: bool = False) -> Source:
    """Return `source` with the public keys that it lacks, of the private ones in `out`.

    With `make` those that are not there either are made; the inventory on disk stays as it is.
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
    public = {}
    for name in missing:
        file = keypairs.path(out, name)
        if make:
            public[name] = keypairs.make(out, name)
        elif file.exists():
            public[name] = keypairs.public_half(keys.read(file))
    if not public:
        return source
    changed = rework.set_keys(source.files, public)
    edited = {name: data for name, data in changed.items() if data is not None}
    return replace(source, files=source.files | edited)
