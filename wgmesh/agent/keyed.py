"""An inventory in which each node has its public key: those missing come from private keys."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wgmesh import inventory
from wgmesh.agent import keypairs
from wgmesh.agent.sources import Source
from wgmesh.errors import UsageError
from wgmesh.inventory import rework

log = logging.getLogger(__name__)


def keyed(source: Source, out: Path | None, *, make: bool = False) -> Source:
    """Return `source` with the public keys that it lacks, of the private ones in `out`.

    A node that has none there has the one at its private_key_path, if there is one on this machine.
    With `make` those that are nowhere are made; the inventory on disk stays as it is.
    Raises UsageError, InventoryError or another WgmeshError.
    """
    if out is None:
        if make:
            raise _nowhere()
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
    return _with(source, public)


def foreseen(source: Source, out: Path | None) -> tuple[Source, dict[str, str]]:
    """Return `source` as keyed() that makes keys would, and writes nothing; and the keys, by node.

    Those that would be made are made for this once: what comes of them can be tried. Raises what
    keyed() does.
    """
    if out is None:
        raise _nowhere()
    found = inventory.load(source.files, require_keys=False)
    missing = [node.name for node in found.nodes if node.public_key is None]
    if missing:
        keypairs.must_be_fit(out, source)
    own = keypairs.at_paths(found.nodes)
    made, public = {}, {}
    for name in missing:
        if name in own or keypairs.path(out, name).exists():
            public[name] = keypairs.make(out, name, own.get(name))
        else:
            log.info("%s would be made", keypairs.path(out, name))
            made[name] = keypairs.generate()
            public[name] = keypairs.public_half(made[name])
    return _with(source, public), made


def _nowhere() -> UsageError:
    return UsageError("--gen-keys has nowhere to keep the keys", "name a directory with -o")


def _with(source: Source, public: Mapping[str, str]) -> Source:
    if not public:
        return source
    changed = rework.set_keys(source.files, public)
    edited = {name: data for name, data in changed.items() if data is not None}
    return replace(source, files=source.files | edited)
