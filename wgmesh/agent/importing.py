"""`wgmesh import`: the wg-quick files of a mesh as an inventory; private keys stay in them."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wgmesh.agent import keypairs
from wgmesh.errors import UsageError
from wgmesh.inventory import adoption, foreign
from wgmesh.inventory.values import BadValue, interface_name, node_name

_USUAL = re.compile(r"wg-?[0-9]*")
_PLAIN = ("", "wireguard", "etc")


def adopt(words: Sequence[str]) -> adoption.Adopted:
    """Return the inventory of the files `[NAME=]PATH`, one for each node.

    Raises UsageError for one that cannot be read and for a name that no node can have,
    InventoryError for one that is no wg-quick file.
    """
    named = [_named(word) for word in words]
    for name, number in Counter(name for name, _ in named if name).items():
        if number > 1:
            raise UsageError(f"{number} files are given the name {name}", "name each node once")
    stems = Counter(path.stem for _, path in named)
    files = []
    for name, path in named:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}", "name another") from None
        found = foreign.read(str(path), data, keypairs.public_half)
        found.name, found.is_given = name or found.name, bool(name)
        parent = path.resolve().parent.name
        common = (stems[path.stem] > 1 or _USUAL.fullmatch(path.stem)) and parent not in _PLAIN
        found.fallback = parent if common else path.stem
        files.append(found)
    keys = Counter(each.public_key for each in files if each.public_key)
    twice = [each.file for each in files if keys[each.public_key] > 1]
    if twice:
        raise UsageError(f"{' and '.join(twice)} have one private key", "name each node once")
    return adoption.adopt(files, _interface(stems))


def _named(word: str) -> tuple[str, Path]:
    name, equals, path = word.partition("=")
    if equals and "/" not in name and not Path(word).exists():
        try:
            return node_name(name), Path(path)
        except BadValue as bad:
            raise UsageError(bad.message, bad.hint) from None
    return "", Path(word)


def _interface(stems: Counter[str]) -> str:
    """Return the interface's name: that of the files when all have one, else wg0."""
    if len(stems) == 1:
        try:
            return interface_name(next(iter(stems)))
        except BadValue:
            pass
    return "wg0"
