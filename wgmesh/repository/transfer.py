"""What comes from a remote: its tip and its objects, within limits of time, memory and disk."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from wgmesh import process
from wgmesh.errors import RefusedError, UnreachableError, WgmeshError
from wgmesh.repository import command
from wgmesh.repository.command import Limits
from wgmesh.repository.remote import (
    ACCESS,
    MALFORMED,
    NO_BRANCH,
    TOO_MUCH,
    advice,
    check_branch,
    check_remote,
    unreachable,
)
from wgmesh.trust.plain import plain

LARGEST_PACK_BYTES = 512 << 20
"""An inventory and its history are a hundredth of that."""

LARGEST_REPOSITORY_BYTES = 2 << 30
"""What was refused stays until then, for it is judged at each poll."""

_LARGEST_REFS_BYTES = 1 << 20
_FULL = ("Out of diskspace", "No space left on device", "Disk quota exceeded")
_SETTINGS = ("fetch.unpackLimit=1",)  # all in one file, whose size has a limit


def ask(
    git_dir: Path,
    remote: str,
    branch: str,
    *,
    extra: Mapping[str, str] = ACCESS,
    timeout_seconds: float,
) -> str:
    """Return the id that `remote` has at the branch now; `extra` is added to git's environment.

    Without GitPython, so that a poll that finds nothing new stays cheap, and without the
    repository, which need not exist yet. Raises UnreachableError when the remote does not answer or
    has no such branch, UsageError for a remote or a branch that cannot be.
    """
    remote, branch = check_remote(remote), check_branch(branch)
    ref = f"refs/heads/{branch}"
    args = ["ls-remote", "--refs", "--", remote, ref]
    argv = command.arguments(git_dir, args, Limits(file_bytes=_LARGEST_REFS_BYTES))
    try:
        done = process.run(
            argv,
            env=command.CLEAN | dict(extra),
            timeout_seconds=timeout_seconds,
            check=False,
            most_bytes=_LARGEST_REFS_BYTES,
        )
    except process.CommandError as error:
        if error.returncode == 127:
            raise
        why = "the time was up" if error.returncode is None else "it says far too much"
        outcome = command.Outcome(None, b"", why)
    else:
        said = done.stderr.decode(errors="replace")
        outcome = command.Outcome(done.returncode, done.stdout, said)
    if outcome.status != 0:
        raise unreachable(remote, outcome)
    for line in outcome.stdout.decode(errors="replace").splitlines():
        commit, _, name = line.partition("\t")
        if name == ref and re.fullmatch(r"[0-9a-f]{40}", commit):
            return commit
    raise UnreachableError(f"{plain(remote, 200)} {NO_BRANCH} {branch}", advice(NO_BRANCH))


def fetch(
    git_dir: Path,
    remote: str,
    source: str,
    target: str,
    *,
    extra: Mapping[str, str],
    timeout_seconds: float,
) -> None:
    """Fetch `source`, a full ref or id, with all its objects, and put `target` there.

    Raises UnreachableError when the remote does not give it in time, RefusedError when git finds an
    object malformed or when what comes is larger than LARGEST_PACK_BYTES or needs too much memory,
    WgmeshError when there is no room for it.
    """
    # No tidying up: what was fetched of another remote before has no ref yet.
    options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]
    options.append("--no-auto-maintenance")
    settings = [part for pair in _SETTINGS for part in ("-c", pair)]
    outcome = command.run(
        git_dir,
        git_dir,
        [*settings, "fetch", *options, "--", remote, f"+{source}:{target}"],
        extra=extra,
        timeout_seconds=timeout_seconds,
        limits=Limits(file_bytes=LARGEST_PACK_BYTES),
    )
    if outcome.status == 0:
        return
    clear(git_dir)
    if "fsck error" in outcome.stderr:
        raise RefusedError(f"{plain(remote, 200)} {MALFORMED}: {outcome.said}", advice(MALFORMED))
    if outcome.too_much:
        raise RefusedError(f"{plain(remote, 200)} {TOO_MUCH}: {outcome.said}", advice(TOO_MUCH))
    own = [line for line in outcome.stderr.splitlines() if not line.startswith("remote:")]
    if any(sign in line for line in own for sign in _FULL):
        raise WgmeshError(
            f"what {plain(remote, 200)} has cannot be written to {git_dir}: {outcome.said}",
            "df shows which file system is full: make room there",
        )
    raise unreachable(remote, outcome)


def clear(git_dir: Path) -> None:
    """Remove what a git that was killed has left: half a pack, and locks that nobody holds.

    git keeps the first for two weeks, and never goes on while there is one of the others. One
    process at a time works on the repository, so nobody misses them.
    """
    packs, refs = git_dir / "objects" / "pack", git_dir / "refs"
    left = [*packs.glob("tmp_*"), *packs.glob("*.keep"), *packs.glob("*.lock")]
    left += [*git_dir.glob("*.lock"), *(git_dir / "objects").glob("*.lock")]
    for path in (*left, *refs.rglob("*.lock")):
        with suppress(FileNotFoundError):
            path.unlink()


def size_bytes(git_dir: Path) -> int:
    """Return what the packs of a repository take."""
    total = 0
    for path in (git_dir / "objects" / "pack").glob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
