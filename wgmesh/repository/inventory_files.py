"""The inventory's files at a commit: plain files of bounded size, and nothing else."""

from pathlib import PurePosixPath

from wgmesh.errors import InventoryError, RefusedError, UsageError
from wgmesh.repository.reader import Reader
from wgmesh.trust.commit import parse
from wgmesh.trust.objects import FILE_MODES, TREE_MODE, Entry
from wgmesh.trust.plain import plain

LARGEST_FILE_BYTES = 1 << 20
LARGEST_TOTAL_BYTES = 16 << 20
MOST_FILES = 20_000


class NoPathError(InventoryError):
    """A commit has nothing at the path of an inventory."""


def is_entry(name: str) -> bool:
    """Return whether a file by this name in nodes/ counts: those that editors put beside it do not.

    Such as Emacs' locks, .#NAME.toml; a node's name begins with a letter or a digit.
    """
    return name.endswith(".toml") and not name.startswith((".", "#"))


def inventory_files(reader: Reader, commit: str, path: str) -> dict[str, bytes]:
    """Return the inventory under `path` (slashes, "." is the root) of `commit`, by name.

    Names are `mesh.toml`, `mesh.conf` and `nodes/NAME.toml`; other files are left out. When `path`
    is itself a file, that file under the first or second name. Raises NoPathError when there is no
    such path, RefusedError for symbolic links, submodules and unusual modes among the files and
    for more than the limits above, WgmeshError when the repository is damaged.
    """
    entry = Entry(TREE_MODE, parse(commit, reader.commit(commit)).tree)
    shown = ""
    for part in _parts(path):
        shown = f"{shown}/{part}" if shown else part
        below = reader.tree(entry.id).get(part) if entry.mode == TREE_MODE else None
        if below is None:
            raise NoPathError(
                f"commit {commit[:12]} has no {plain(shown, 200)}", "check the inventory's path"
            )
        entry = below
    if entry.mode != TREE_MODE:
        found = {"mesh.conf" if shown.endswith(".conf") else "mesh.toml": entry}
    else:
        top = reader.tree(entry.id)
        found = {name: top[name] for name in ("mesh.toml", "mesh.conf") if name in top}
        if "nodes" in top:
            found |= _nodes(reader, top["nodes"], commit)
    if len(found) > MOST_FILES:
        raise _refused(commit, f"the inventory has more than {MOST_FILES} files")
    return _contents(reader, found, commit)


def _nodes(reader: Reader, entry: Entry, commit: str) -> dict[str, Entry]:
    if entry.mode != TREE_MODE:
        raise _refused(commit, f"nodes is {entry.kind}, not a directory")
    found = {}
    for name, below in reader.tree(entry.id).items():
        if is_entry(name):
            if not name.isprintable():  # surrogates, too: names that are not UTF-8
                raise InventoryError(
                    f"a file in nodes/ of {commit[:12]} has an unprintable name",
                    "name files nodes/NAME.toml",
                )
            found[f"nodes/{name}"] = below
    return found


def _contents(reader: Reader, found: dict[str, Entry], commit: str) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    left = LARGEST_TOTAL_BYTES
    for name, entry in found.items():
        if entry.mode not in FILE_MODES:
            raise _refused(commit, f"{plain(name, 200)} is {entry.kind}, not a plain file")
        size = reader.size(entry.id)
        if size > LARGEST_FILE_BYTES:
            limit = f"more than {LARGEST_FILE_BYTES}"
            raise _refused(commit, f"{plain(name, 200)} has {size} bytes, {limit}")
        left -= size
        if left < 0:
            raise _refused(commit, f"the inventory has more than {LARGEST_TOTAL_BYTES} bytes")
        contents[name] = reader.read(entry.id, "blob", LARGEST_FILE_BYTES)
    return contents


def _refused(commit: str, what: str) -> RefusedError:
    return RefusedError(
        f"commit {commit[:12]} is refused: {what}",
        "push a signed commit whose inventory is made of plain files",
        commit,
    )


def _parts(path: str) -> tuple[str, ...]:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not path.isprintable():
        raise UsageError(
            f"{plain(path, 200)!r} is not a path inside a repository",
            "give it from the repository's root, without ..",
        )
    return pure.parts
