"""Bundles (gitformat-bundle(5)): written by the fetch, and taken in by root, who trusts no byte.

git before 2.46 checks nothing of a bundle that it fetches from, so the head is read here, and the
pack goes through `git index-pack --strict` into a directory of its own. Only when everything that
the commit needs has proved to be there does it join the repository.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.files import sync_directory
from wgmesh.frozen import frozen
from wgmesh.repository import command
from wgmesh.repository.remote import MALFORMED, advice

MAGIC = b"# v2 git bundle\n"
_LARGEST_HEAD_BYTES = 64 << 10
_CHUNK_BYTES = 1 << 20
_SECONDS = 300
_NEED = re.compile(rb"-([0-9a-f]{40})(?: .*)?")
_REF = re.compile(rb"([0-9a-f]{40}) (\S+)")


class MissingBaseError(WgmeshError):
    """The bundle builds on a commit that the repository does not have."""


@frozen
class Head:
    """What a bundle builds on, and the refs that it leads to."""

    needs: tuple[str, ...]
    refs: tuple[tuple[str, str], ...]


def read_head(stream: BinaryIO) -> tuple[Head, bytes]:
    """Return the head of the bundle in `stream`, and what was read of the pack behind it.

    Raises WgmeshError when it is not that of a bundle.
    """
    data = b""
    while b"\n\n" not in data and len(data) < _LARGEST_HEAD_BYTES:
        more = stream.read(_LARGEST_HEAD_BYTES - len(data))
        if not more:
            break
        data += more
    head, blank, pack = data.partition(b"\n\n")
    if not blank or not head.startswith(MAGIC):
        raise _broken("it is no bundle")
    needs, refs = [], []
    for line in head[len(MAGIC) :].split(b"\n"):
        if need := _NEED.fullmatch(line):
            needs.append(need[1].decode())
        elif ref := _REF.fullmatch(line):
            refs.append((ref[1].decode(), ref[2].decode(errors="replace")))
        else:
            raise _broken("its head is malformed")
    return Head(tuple(needs), tuple(refs)), pack


def take(
    git_dir: Path,
    stream: BinaryIO,
    expected: tuple[tuple[str, str], ...],
    *,
    has: Callable[[str], bool],
    limit_bytes: int,
) -> None:
    """Take the objects of the bundle in `stream` into the repository; no ref is changed.

    `expected` are the commits and the refs that the bundle must lead to, and nothing else. Raises
    MissingBaseError, RefusedError when git finds an object malformed, or WgmeshError for anything
    else that is not as it should be; the repository is then as it was.
    """
    head, begun = read_head(stream)
    if not expected or sorted(head.refs) != sorted(expected):
        raise _broken("it leads elsewhere")
    for need in head.needs:
        if not has(need):
            raise MissingBaseError(f"{need[:12]} is not in {git_dir}", "fetch everything")
    staging = git_dir / "incoming"
    try:
        _take(git_dir, staging, stream, begun, [commit for commit, _ in expected], limit_bytes)
    except OSError as error:
        raise WgmeshError(
            f"cannot write to {git_dir}: {error.strerror}", "check the disk"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # the next run begins with doing so


def _take(
    git_dir: Path,
    staging: Path,
    stream: BinaryIO,
    begun: bytes,
    commits: list[str],
    limit_bytes: int,
) -> None:
    if staging.exists():
        shutil.rmtree(staging)
    (staging / "pack").mkdir(mode=0o700, parents=True)
    copy = staging / "bundle.pack"
    _copy(stream, begun, copy, limit_bytes)
    aside = {
        "GIT_OBJECT_DIRECTORY": str(staging),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(git_dir / "objects"),
    } | command.NO_PROTOCOL
    with copy.open("rb") as pack:
        args = ["index-pack", "--stdin", "--fix-thin", "--strict", "--threads=1"]
        args.append(f"--max-input-size={limit_bytes}")
        _git(git_dir, args, aside, limit_bytes, pack)
    copy.unlink()
    # All that the commits reach and that no ref of ours reaches must be there.
    reached = ["rev-list", "--objects", "--quiet", *commits, "--not", "--all"]
    _git(git_dir, reached, aside, limit_bytes)
    made = sorted((staging / "pack").glob("pack-*"), key=lambda path: path.suffix == ".idx")
    target = git_dir / "objects" / "pack"
    target.mkdir(exist_ok=True)
    for path in made:  # the index last: it is what makes a pack known
        path.rename(target / path.name)
    sync_directory(target)


def _copy(stream: BinaryIO, begun: bytes, to: Path, limit_bytes: int) -> None:
    """Make a copy that nobody else can write while git reads it."""
    left = limit_bytes - len(begun)
    with to.open("xb") as copy:
        copy.write(begun)
        while more := stream.read(_CHUNK_BYTES):
            left -= len(more)
            if left < 0:
                raise _broken(f"it has more than {limit_bytes} bytes")
            copy.write(more)


def _git(
    git_dir: Path,
    args: list[str],
    extra: dict[str, str],
    limit_bytes: int,
    pack: BinaryIO | None = None,
) -> None:
    """Run git within limits of memory and time."""
    outcome = command.run(
        git_dir,
        git_dir,
        args,
        extra=extra,
        timeout_seconds=_SECONDS,
        limits=command.Limits(file_bytes=2 * limit_bytes),
        istream=pack,
    )
    if outcome.status == 0:
        return
    if "fsck error" in outcome.stderr:
        raise RefusedError(f"the remote {MALFORMED}: {outcome.said}", advice(MALFORMED))
    raise _broken(outcome.said)


def _broken(why: str) -> WgmeshError:
    return WgmeshError(
        f"the bundle that the fetch left cannot be used: {why}",
        "the next poll tries again; see: journalctl -u wgmesh-fetch.service",
    )
