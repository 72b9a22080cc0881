"""Where an author's inventory comes from: a file, a directory, or REV:PATH of a git repository."""

import fcntl
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import and_
from pathlib import Path

from wgmesh.errors import InventoryError, UsageError, of_system
from wgmesh.files import directory_atomic, sweep, write_atomic
from wgmesh.frozen import frozen
from wgmesh.repository.checkout import files_at
from wgmesh.repository.inventory_files import LARGEST_FILE_BYTES, NoPathError, is_entry

log = logging.getLogger(__name__)

NAMES = ("mesh.toml", "mesh.conf")


@frozen
class Source:
    """An inventory's files by the names that problems are reported under.

    `root` is the directory they lie in, None when they come out of a commit. `misnamed` is the file
    that is read as mesh.toml, though its name says nothing of that.
    """

    root: Path | None
    files: dict[str, bytes]
    misnamed: Path | None = None


def load(text: str) -> Source:
    """Return the inventory that `text` names. Raises UsageError when there is none.

    In a directory what nodes would refuse, such as a symbolic link, is an InventoryError.
    """
    path = Path(text)
    if path.is_dir():
        return Source(path, _directory(path))
    if path.is_file():
        if path.suffix not in (".conf", ".toml"):
            return Source(path.parent, {"mesh.toml": _read(path)}, path)
        beside = _directory(path.parent) if path.name == "mesh.toml" else {}
        nodes = {name: data for name, data in beside.items() if name.startswith("nodes/")}
        return Source(path.parent, {path.name: _read(path)} | nodes)
    revision, colon, inside = text.partition(":")
    if colon and revision:
        return Source(None, files_at(Path(), revision, inside or "."))
    raise UsageError(f"{text}: there is no such inventory", "name a file, a directory, or REV:PATH")


def at(source: Source, revision: str) -> Source:
    """Return the same inventory as it was at `revision` of its git repository.

    It has no files where its directory was not there. Raises what files_at() does.
    """
    root = checkout(source)
    name = next(iter(source.files))
    if source.misnamed is None and ("/" in name or name in NAMES):
        try:
            return Source(None, files_at(root, revision, "."))
        except NoPathError:
            return Source(None, {})
    path = name if source.misnamed is None else source.misnamed.name
    [data] = files_at(root, revision, path).values()
    return Source(None, {name: data})


def checkout(source: Source) -> Path:
    """Return where the inventory lies in a work tree. Raises UsageError when it does not."""
    if source.root is None:
        raise UsageError("--base needs an inventory in a work tree", "name it with -c DIR")
    return source.root


def editable(source: Source) -> Path:
    """Return the directory whose files are edited. Raises UsageError when there is none."""
    if source.root is None:
        raise UsageError("an inventory in a commit cannot be edited", "name a directory with -c")
    if source.misnamed is not None:
        raise UsageError(f"{source.misnamed} is neither .toml nor .conf", "rename it")
    return source.root


@contextmanager
def editing(text: str) -> Iterator[Source]:
    """Load the inventory that `text` names for an edit; no other edit begins before this one ends.

    What an edit that was killed has left beside the files is removed.
    Raises what `load` and `editable` do. Where a directory cannot be locked, edits are not told
    apart.
    """
    named = Path(text)  # what is odd about its files is told once: when it is locked
    root = named if named.is_dir() else named.parent if named.is_file() else editable(load(text))
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(root, error) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:  # NFS locks nothing that is open for reading only
            log.debug("%s is not locked: %s", root, error.strerror)
        source = load(text)
        editable(source)
        for directory in (root, root / "nodes"):
            sweep(directory, ".toml", ".conf")
        yield source
    finally:
        os.close(fd)


def save(source: Source, files: Mapping[str, bytes | None], *, dry_run: bool = False) -> list[Path]:
    """Write the files that differ from `source`, remove those that are None; return their paths.

    All are written before the first is removed, and where one is new ones come first: an entry that
    moves is never nowhere. A file keeps its mode, also when it moves; a new one is for those who
    may read all the others.
    """
    root = editable(source)
    changed = {name: data for name, data in files.items() if source.files.get(name) != data}
    for name in changed:
        if (root / name).is_symlink():
            raise UsageError(f"{root / name} is a symbolic link", "edit the file that it leads to")
    gone = [root / name for name, data in changed.items() if data is None]
    if not dry_run:
        for name in sorted(changed, key=lambda name: bool(gone) and name in source.files):
            if (data := changed[name]) is not None:
                like = [root / name] if (root / name).exists() else gone
                write_atomic(root / name, data, _mode(like) if like else mode(source))
        for name, data in changed.items():
            if data is None:
                (root / name).unlink()
    return [root / name for name in changed]


def mode(source: Source) -> int:
    """Return the mode of what is made of `source`: for those who may read each of its files."""
    if source.misnamed is not None:
        return _mode([source.misnamed])
    return _mode([] if source.root is None else [source.root / name for name in source.files])


def _mode(files: Sequence[Path]) -> int:
    modes = [stat.S_IMODE(file.stat().st_mode) for file in files]
    return reduce(and_, modes) if modes else 0o644


def create(source: Source, path: Path, data: bytes) -> list[Path]:
    """Write a new file, made of `source`, and return its path. Raises UsageError when it is there.

    What a process that was killed while it did so has left is removed.
    """
    may_be_directory(path.parent)
    _must_be_new(path)
    sweep(path.parent, path.name)
    write_atomic(path, data, mode(source))
    return [path]


def create_directory(source: Source, root: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write new files, made of `source`, into the directory `root`; return their paths.

    At no moment there is a mesh without some of its nodes: a new directory appears as a whole, and
    in one that is there mesh.toml comes last. Raises UsageError when there is an inventory already.
    """
    may_be_directory(root)
    for name in NAMES:
        _must_be_new(root / name)
    below = root / "nodes"
    if below.is_symlink() or not below.is_dir() or any(below.iterdir()):
        _must_be_new(below)
    usual = mode(source)
    nodes = {name: data for name, data in files.items() if name.startswith("nodes/")}
    if not root.exists():
        with directory_atomic(root) as aside:
            for name, data in files.items():
                write_atomic(aside / name, data, usual)
        return [root / name for name in files]
    sweep(root, *NAMES)
    if nodes:
        with directory_atomic(below) as aside:
            for name, data in nodes.items():
                write_atomic(aside / Path(name).name, data, usual)
    for name, data in files.items():
        if name not in nodes:
            write_atomic(root / name, data, usual)
    return [root / name for name in files]


def may_be_directory(path: Path) -> None:
    """Raise UsageError where no directory can be: something else lies at `path`, or above it."""
    there = next((each for each in (path, *path.parents) if os.path.lexists(each)), Path())
    if not there.is_dir():
        leads_nowhere = there.is_symlink() and not there.exists()
        what = "a link that leads nowhere" if leads_nowhere else "no directory"
        raise UsageError(f"{there} is {what}", "name another directory, which may be new")


def _must_be_new(path: Path) -> None:
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already", "name another, or remove it first")


def _directory(path: Path) -> dict[str, bytes]:
    tops = [path / name for name in NAMES if _is_there(path / name)]
    every = _below(path / "nodes")
    nodes = [file for file in every if is_entry(file.name)]
    for file in (*tops, *nodes):
        if file.is_symlink() or not file.is_file():
            raise InventoryError(
                f"{file} is no plain file", "put the file itself there: nodes take nothing else"
            )
    for file in every:
        if not is_entry(file.name) and file.is_file():  # else it is a lock
            log.warning("%s is left out: no node's name begins with . or #", file)
    found = {file.name: _read(file) for file in tops}
    found |= {f"nodes/{file.name}": _read(file) for file in nodes}
    for name, data in found.items():
        if len(data) > LARGEST_FILE_BYTES:
            log.warning(
                "%s has %d bytes; nodes refuse a file of more than %d: give each node its own",
                path / name,
                len(data),
                LARGEST_FILE_BYTES,
            )
    if not found:
        raise UsageError(
            f"{path}: there is no mesh.toml or mesh.conf", "wgmesh init DIR makes a new inventory"
        )
    return found


def _below(nodes: Path) -> list[Path]:
    """Return the files for nodes, by name. A directory that cannot be read is not an empty one."""
    if not _is_there(nodes):
        return []
    if nodes.is_symlink() or not nodes.is_dir():
        raise InventoryError(
            f"{nodes} is no directory", "put the directory itself there: nodes take nothing else"
        )
    try:
        with os.scandir(nodes) as entries:
            return sorted(nodes / each.name for each in entries if each.name.endswith(".toml"))
    except OSError as error:
        raise _unreadable(nodes, error) from None


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unreadable(path, error) from None
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be read: {error.strerror}", of_system(error).hint)
