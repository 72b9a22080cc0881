"""Generations on disk: gen-N directories, their manifests, and the `boot` link.

A directory gen-N is written whole or not at all. The `boot` link names the confirmed one; flipping
it is the commit point of a transaction. What was tried and taken back moves into rejected/.
"""

import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wgmesh import shape
from wgmesh.errors import WgmeshError
from wgmesh.files import link_atomic, sync_directory, write_atomic
from wgmesh.frozen import field_names, frozen
from wgmesh.model.commit import VerifiedCommit

BOOT = "boot"
REJECTED = "rejected"
MANIFEST = "manifest.toml"
BEFORE = "live.json"
"""In generation 0 only: the live state from before wgmesh, 0600."""


@frozen
class Manifest:
    """What a generation is, and where it came from.

    `created` is seconds since the epoch. Generation 0 has no commit, and neither has one that is
    `direct`: it came out of a file, by `wgmesh apply`.
    """

    number: int
    interface: str
    digest: str
    created: int
    commit: VerifiedCommit | None = None
    direct: bool = False


def to_table(manifest: Manifest) -> dict[str, Any]:
    """Return `manifest` as plain values for TOML and JSON; an absent commit is left out."""
    table: dict[str, Any] = {
        "number": manifest.number,
        "interface": manifest.interface,
        "digest": manifest.digest,
        "created": manifest.created,
    }
    if manifest.commit is not None:
        table["commit"] = commit_table(manifest.commit)
    if manifest.direct:
        table["direct"] = True
    return table


def commit_table(commit: VerifiedCommit) -> dict[str, Any]:
    """Return a commit's fields as plain values."""
    return {name: getattr(commit, name) for name in field_names(VerifiedCommit)}


def manifest_path(root: Path, number: int) -> Path:
    """Return where the manifest of generation `number` lies."""
    return root / f"gen-{number}" / MANIFEST


def read_manifest(root: Path, number: int) -> Manifest:
    """Return the manifest of generation `number`.

    Raises WgmeshError when there is no such generation or its manifest does not match it.
    """
    path = manifest_path(root, number)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        table.pop("links", None)  # of an earlier wgmesh
        if "commit" in table:
            table["commit"] = shape.from_table(VerifiedCommit, table["commit"])
        elif number and table.get("direct") is not True:
            raise ValueError("commit is missing")
        manifest = shape.from_table(Manifest, table)
    except FileNotFoundError:
        raise WgmeshError(f"there is no generation {number}", "wgmesh history lists them") from None
    except (ValueError, AttributeError) as error:
        raise WgmeshError(f"{path} is damaged: {error}", "wgmesh history lists others") from None
    if manifest.number != number:
        raise WgmeshError(f"{path} says generation {manifest.number}, not {number}")
    return manifest


def read_files(root: Path, number: int) -> dict[str, bytes]:
    """Return the rendered files of generation `number`, by name, manifest excluded."""
    directory = root / f"gen-{number}"
    try:
        return {
            path.name: path.read_bytes()
            for path in directory.iterdir()
            if path.name not in (MANIFEST, BEFORE)
        }
    except FileNotFoundError:
        raise WgmeshError(f"there is no generation {number}", "wgmesh history lists them") from None


def _numbers(directory: Path) -> list[int]:
    try:
        names = [path.name for path in directory.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    found = (name.removeprefix("gen-") for name in names if name.startswith("gen-"))
    return sorted(int(number) for number in found if number.isdecimal())


def numbers(root: Path) -> list[int]:
    """Return the numbers of the generations on disk, ascending."""
    return _numbers(root)


def rejected(root: Path) -> list[int]:
    """Return the numbers of the generations that were tried and taken back, ascending."""
    return _numbers(root / REJECTED)


def next_number(root: Path) -> int:
    """Return the number for a new generation: above every one ever used that is still known."""
    return max([*numbers(root), *rejected(root), 0]) + 1


def booted(root: Path) -> int | None:
    """Return the confirmed generation, the one that `boot` names; None when there is none."""
    try:
        target = (root / BOOT).readlink()
    except OSError:  # not there, or no link
        return None
    number = target.name.removeprefix("gen-")
    if not number.isdecimal() or not manifest_path(root, int(number)).exists():
        return None
    return int(number)


def stage(
    root: Path,
    manifest: Manifest,
    files: Mapping[str, bytes],
    *,
    before: bytes | None = None,
) -> Path:
    """Write a generation's directory and return it; after a power cut it is whole or not there.

    `before` is the live state for generation 0, which may hold keys. All files are 0600, since
    wg-quick(8) warns of a configuration that others may read.
    """
    import tomli_w

    final = root / f"gen-{manifest.number}"
    aside = root / f"gen-{manifest.number}.tmp"
    root.mkdir(parents=True, exist_ok=True, mode=0o755)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o755)
    try:
        for name, data in files.items():
            write_atomic(aside / name, data, 0o600)
        if before is not None:
            write_atomic(aside / BEFORE, before, 0o600)
        write_atomic(aside / MANIFEST, tomli_w.dumps(to_table(manifest)).encode(), 0o600)
        aside.rename(final)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise WgmeshError(
            f"generation {manifest.number} cannot be written: {error.strerror}",
            f"make room under {root}",
        ) from error
    sync_directory(root)
    return final


def restore(root: Path, number: int, files: Mapping[str, bytes]) -> None:
    """Write the files of generation `number` again, as they were rendered."""
    directory = root / f"gen-{number}"
    for path in directory.iterdir():
        if path.name not in files and path.name not in (MANIFEST, BEFORE):
            path.unlink()
    for name, data in files.items():
        write_atomic(directory / name, data, 0o600)


def flip(root: Path, number: int) -> None:
    """Make generation `number` the one that boots. This is the commit point.

    Once the link is in place, a disk that cannot say that it is durable changes nothing: after a
    power cut it names the old generation or the new one, both whole.
    """
    try:
        link_atomic(root / BOOT, f"gen-{number}")
    except OSError:
        if booted(root) != number:
            raise


def reject(root: Path, number: int) -> None:
    """Move a generation that was taken back out of the way, if it is there, whole or half."""
    source = root / f"gen-{number}"
    shutil.rmtree(root / f"gen-{number}.tmp", ignore_errors=True)
    if not source.exists():
        return
    target = root / REJECTED / source.name
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)
    sync_directory(root)


def prune(root: Path, keep: int) -> list[int]:
    """Remove the oldest generations beyond `keep`; never generation 0 nor the one that boots."""
    current = booted(root)
    every = [number for number in numbers(root) if number not in (0, current)]
    kept = keep - (current is not None and current != 0)
    old = every[: max(0, len(every) - kept)]
    for number in old:
        shutil.rmtree(root / f"gen-{number}")
    for number in rejected(root)[:-keep]:
        shutil.rmtree(root / REJECTED / f"gen-{number}")
    return old


_LINKED = ("{interface}.conf", "wg-failover.conf", "wg-exit-selector.conf")


def _links(root: Path, wireguard_dir: Path, interface: str) -> Iterator[tuple[Path, str, str]]:
    """Yield each file that boot reads, where it shall point, and a complaint if it does not."""
    for pattern in _LINKED:
        name = pattern.format(interface=interface)
        path = wireguard_dir / name
        target = f"{root.name}/{BOOT}/{name}"
        if path.is_symlink():
            there = os.fspath(path.readlink())
            yield path, target, "" if there == target else f"{path} points to {there}"
        elif path.exists():
            yield path, target, f"{path} is a file of its own, not a link to {target}"
        else:
            yield path, target, f"{path} is missing"


def linked(root: Path, wireguard_dir: Path) -> str:
    """Return the interface whose configuration is linked to the boot generation, "" for none.

    Raises PermissionError when that may not be looked at.
    """
    for path in sorted(wireguard_dir.iterdir()) if wireguard_dir.exists() else ():
        ours = path.is_symlink() and os.fspath(path.readlink()) == f"{root.name}/{BOOT}/{path.name}"
        if ours and path.name not in _LINKED:
            return path.name.removesuffix(".conf")
    return ""


def link_complaints(root: Path, wireguard_dir: Path, interface: str) -> list[str]:
    """Return what is wrong with the files that boot reads; empty when all is well."""
    return [complaint for _, _, complaint in _links(root, wireguard_dir, interface) if complaint]


def link_files(root: Path, wireguard_dir: Path, interface: str) -> list[str]:
    """Point wg0.conf and its siblings through the boot link; return what stays wrong.

    A regular file in the way is replaced only when generation 0 has kept the same bytes: anything
    else is somebody's work and stays.
    """
    complaints = []
    for path, target, complaint in _links(root, wireguard_dir, interface):
        if not complaint:
            continue
        kept = root / "gen-0" / path.name
        if path.is_symlink() or (
            path.exists() and not (kept.exists() and kept.read_bytes() == path.read_bytes())
        ):
            complaints.append(complaint)
        else:
            link_atomic(path, target)
    return complaints


def unlink_files(root: Path, wireguard_dir: Path, interface: str) -> None:
    """Take our links away, and put the files of generation 0 in their place, if there are any.

    The generations themselves go: without an enrolment nothing refers to them.
    """
    for path, _, complaint in list(_links(root, wireguard_dir, interface)):
        if complaint:
            continue
        kept = root / "gen-0" / path.name
        if kept.exists():
            write_atomic(path, kept.read_bytes(), 0o600)
        else:
            path.unlink()
    sync_directory(wireguard_dir)
    if root.exists():
        shutil.rmtree(root)
