"""Where an author's inventory comes from: a file, a directory, or REV:PATH of a git repository."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wgmesh.errors import UsageError
from wgmesh.files import write_atomic
from wgmesh.repository import files_at

NAMES = ("mesh.toml", "mesh.conf")


@dataclass(frozen=True, slots=True)
class Source:
    """An inventory's files by the names that problems are reported under.

    `root` is the directory they lie in, None when they come out of a commit. `misnamed` is the file
    that is read as mesh.toml, though its name says nothing of that.
    """

    root: Path | None
    files: dict[str, bytes]
    misnamed: Path | None = None


def load(text: str) -> Source:
    """Return the inventory that `text` names. Raises UsageError when there is none."""
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
    """Return the same inventory as it was at `revision` of its git repository."""
    return Source(None, files_at(checkout(source), revision, "."))


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


def save(source: Source, files: Mapping[str, bytes | None], *, dry_run: bool = False) -> list[Path]:
    """Write the files that differ from `source`, remove those that are None; return their paths."""
    root = editable(source)
    changed = []
    for name, data in files.items():
        if source.files.get(name) == data:
            continue
        path = root / name
        changed.append(path)
        if dry_run:
            continue
        if data is None:
            path.unlink()
        else:
            write_atomic(path, data, stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644)
    return changed


def create(files: Mapping[Path, bytes]) -> list[Path]:
    """Write new files and return their paths. Raises UsageError when one of them is there."""
    for path in files:
        if path.exists():
            raise UsageError(f"{path} is there already", "name another, or remove it first")
    for path, data in files.items():
        write_atomic(path, data)
    return list(files)


def _directory(path: Path) -> dict[str, bytes]:
    found = {name: _read(path / name) for name in NAMES if (path / name).is_file()}
    nodes = sorted((path / "nodes").glob("*.toml")) if (path / "nodes").is_dir() else []
    found |= {f"nodes/{file.name}": _read(file) for file in nodes}
    if not found:
        raise UsageError(
            f"{path}: there is no mesh.toml or mesh.conf", "wgmesh init DIR makes a new inventory"
        )
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "name another") from None
