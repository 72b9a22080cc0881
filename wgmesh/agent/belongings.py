"""What OUT has of a node beside the inventory: it goes with the node, and follows its name."""

from collections.abc import Collection
from pathlib import Path

from wgmesh import keys
from wgmesh.agent import generate, keypairs
from wgmesh.errors import InventoryError, WgmeshError
from wgmesh.inventory import foreign
from wgmesh.mesh.plan import host_length
from wgmesh.model.inventory import Node


def of_node(out: Path, name: str, *, made: bool, key: bool) -> list[Path]:
    """Return the files in `out` that go with the node `name`: what gen `made`, and its `key`."""
    if "/" in name:
        return []
    files = [*(generate.files_of(out, name) if made else ())]
    files += [keypairs.path(out, name)] if key else []
    return [path for path in files if path.exists()]


def proofs(out: Path, old: str, node: Node) -> frozenset[Path]:
    """Return the files in `out` that tell that `node` was called `old` before."""
    if "/" in old:
        return frozenset()
    made, key = generate.files_of(out, old)[:1], keypairs.path(out, old)
    found = {file for file in made if _is_of(file, old, node)}
    return frozenset(found | ({key} if _is_key_of(key, node) else set()))


def moves(out: Path, old: str, new: str, proofs: Collection[Path] = ()) -> list[tuple[Path, Path]]:
    """Return what in `out` gets the name `new`, from and to; what proves that it does comes last.

    So whoever was cut short finds a proof as long as something has the old name.
    """
    pairs = [*zip(*(generate.files_of(out, name) for name in (old, new)), strict=False)]
    pairs.append((keypairs.path(out, old), keypairs.path(out, new)))
    return sorted(pairs, key=lambda pair: pair[0] in proofs)


def _is_of(file: Path, old: str, node: Node) -> bool:
    """Tell whether gen wrote `file` of `node` as `old`: it has its key, or else its addresses."""
    try:
        data = file.read_bytes()
        found = foreign.read(str(file), data, keypairs.public_half)
    except (OSError, InventoryError):
        return False
    if not found.is_ours or not data.startswith(f"# {old}, ".encode()):
        return False
    if found.public_key and node.public_key:
        return found.public_key == node.public_key
    return {*found.addresses} == {*map(host_length, node.address)}


def _is_key_of(file: Path, node: Node) -> bool:
    try:
        return file.exists() and keypairs.public_half(keys.read(file)) == node.public_key
    except (OSError, WgmeshError):
        return False
