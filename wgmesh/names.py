"""The names that root has the fetch resolve, and what it found: two files of a few lines.

A node that uses exits asks its resolver through the exit in use. When that is dead, the endpoints
of the others may be known by name only: then the fetch, whose packets leave by the uplink, is asked
(page "Exits"). What it says is no more trusted than a resolver: a peer proves who it is. And it is
plain lines, whose cost is known whatever they are: tomllib's grows with the square of a key.
"""

import re
import time
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from wgmesh import shape
from wgmesh.errors import WgmeshError
from wgmesh.files import write_atomic
from wgmesh.frozen import frozen
from wgmesh.handover import open_handed

MOST_NAMES = 256
MOST_ADDRESSES = 16
LARGEST_BYTES = 1 << 20
TOLD_SECONDS = 60
FOUND = "names"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")


@frozen
class Wanted:
    """What root asks: host names. `id` differs each time."""

    id: str
    names: tuple[str, ...]


def write_wanted(path: Path, wanted: Wanted) -> None:
    """Leave a question where the fetch finds it; of more than MOST_NAMES names the first."""
    import tomli_w

    table = {"id": wanted.id, "names": list(wanted.names[:MOST_NAMES])}
    write_atomic(path, tomli_w.dumps(table).encode(), 0o644, durable=False)


def read_wanted(path: Path) -> Wanted | None:
    """Return root's question, None when there is none. Raises WgmeshError for a damaged one."""
    try:
        wanted = shape.from_table(Wanted, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise WgmeshError(f"{path} is damaged: {error}", "the next tick writes it anew") from None
    return Wanted(wanted.id, tuple(filter(_HOST.fullmatch, wanted.names)))


def write_found(directory: Path, id_: str, found: Mapping[str, tuple[str, ...]]) -> None:
    """Leave what was found in the fetch's directory: the id, then a name and an address each."""
    lines = [f"{name} {each}" for name in found for each in found[name][:MOST_ADDRESSES]]
    data = "".join(f"{line}\n" for line in (id_, *lines)).encode()
    write_atomic(directory / FOUND, data, 0o644, durable=False)


def answered(directory: Path, wanted: Wanted) -> bool:
    """Return whether the fetch has answered a question, as it sees its own directory."""
    try:
        return read_found(directory, wanted) is not None
    except WgmeshError:
        return False


def just_told(directory: Path) -> bool:
    """Return whether the fetch has told names within the last minute."""
    try:
        told = (directory / FOUND).lstat().st_mtime
    except OSError:
        return False
    return 0 <= time.time() - told < TOLD_SECONDS


def read_found(directory: Path, wanted: Wanted) -> dict[str, tuple[str, ...]] | None:
    """Return the addresses of those of the wanted names that were found; None without an answer.

    Raises WgmeshError for anything but a small regular file of text.
    """
    try:
        with open_handed(directory, FOUND, LARGEST_BYTES) as file:
            text = file.read(LARGEST_BYTES).decode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise WgmeshError("what the fetch found of names is no answer") from None
    id_, _, lines = text.partition("\n")
    if id_ != wanted.id:
        return None
    known: dict[str, list[str]] = {name: [] for name in wanted.names}
    for line in lines.split("\n"):
        name, _, address = line.partition(" ")
        found = known.get(name)
        if found is not None and len(found) < MOST_ADDRESSES and _is_address(address):
            found.append(str(ip_address(address)))
    return {name: tuple(found) for name, found in known.items() if found}


def _is_address(text: str) -> bool:
    """Return whether `text` is an address without a scope."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
