"""What merging two commits gives, by git itself, and which commits a merge brings.

`git merge-tree` writes the objects that it makes, and reads configuration and attributes that could
make nodes differ. So it writes into a directory that goes away, and everything is spelled out.
"""

from collections.abc import Sequence
from pathlib import Path

from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.repository import command
from wgmesh.repository.command import Limits
from wgmesh.repository.reader import full_id

SECONDS = 60
_LIMITS = Limits(64 << 20, cpu_seconds=SECONDS)

_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_SETTINGS = (
    "merge.default=text",
    "merge.renames=true",
    "merge.renameLimit=7000",
    "merge.directoryRenames=conflict",
    f"attr.tree={_EMPTY_TREE}",  # git 2.43 and later read attributes in a bare repository too
    "core.attributesFile=/dev/null",
    "core.fsync=none",  # what is written here is thrown away
)
"""git's own defaults, so that what a forge merged comes out the same; nothing of a repository's."""


def merged(git_dir: Path, one: str, other: str, since: str | None = None) -> str | None:
    """Return the tree of a merge of two commits; None when they conflict or are unrelated.

    With `since` it is as if `other` had been made of that commit in one step. Raises RefusedError
    when it takes more than SECONDS or too much memory, WgmeshError when git fails otherwise.
    """
    settings = [part for pair in _SETTINGS for part in ("-c", pair)]
    args = ["merge-tree", "--write-tree", "--no-messages", "--name-only"]
    import tempfile  # which a poll has no use for

    with tempfile.TemporaryDirectory(prefix="wgmesh-merge-") as aside:
        extra = command.NO_PROTOCOL | {
            "GIT_OBJECT_DIRECTORY": aside,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(_objects(git_dir)),
        }
        theirs = full_id(other)
        if since is not None:  # git merge-tree takes --merge-base since 2.40 only
            theirs = _in_one_step(git_dir, [*settings], theirs, full_id(since), extra)
        outcome = command.run(
            git_dir,
            git_dir,
            [*settings, *args, full_id(one), theirs],
            extra=extra,
            timeout_seconds=SECONDS,
            limits=_LIMITS,
        )
    if outcome.status == 0:
        return full_id(outcome.stdout.decode(errors="replace").removesuffix("\n"))
    conflict = outcome.status == 1 and outcome.stdout  # without output it is an error
    if conflict or "unrelated histories" in outcome.stderr:
        return None
    if outcome.status is None or outcome.status < 0 or outcome.too_much:
        raise RefusedError(
            f"merging {one[:12]} and {other[:12]} takes more than {SECONDS} s or"
            f" {_LIMITS.memory_bytes >> 20} MiB",
            "merge it by hand: git merge --no-ff -S",
        )
    raise WgmeshError(
        f"git cannot merge {one[:12]} and {other[:12]}: {outcome.said}", "check the disk"
    )


def _in_one_step(
    git_dir: Path, settings: list[str], commit: str, since: str, extra: dict[str, str]
) -> str:
    """Write a commit with the files of `commit` and the parent `since`; return its id."""
    nobody = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "-"), ("EMAIL", "-"), ("DATE", "@0 +0000"))
    }
    outcome = command.run(
        git_dir,
        git_dir,
        [*settings, "commit-tree", "-p", since, "-m", "-", f"{commit}^{{tree}}"],
        extra=extra | nobody,
        timeout_seconds=SECONDS,
        limits=_LIMITS,
    )
    if outcome.status:
        raise WgmeshError(f"git cannot read {commit[:12]}: {outcome.said}", "check the disk")
    return full_id(outcome.stdout.decode().strip())


def _objects(git_dir: Path) -> Path:
    """Return where a repository has its objects; a linked work tree has none of its own."""
    common = git_dir / "commondir"
    return (git_dir / common.read_text().strip() if common.is_file() else git_dir) / "objects"


def _quoted(path: Path) -> str:
    """Return an entry of GIT_ALTERNATE_OBJECT_DIRECTORIES (git(1)), which colons separate."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def beyond(git_dir: Path, base: str, tips: Sequence[str], limit: int) -> list[str]:
    """Return up to `limit` commits that `tips` reach and `base` does not, newest first."""
    args = ["--topo-order", f"--max-count={limit}", *map(full_id, tips), f"^{full_id(base)}"]
    return _listed(git_dir, args)


def line(git_dir: Path, tip: str, limit: int) -> list[str]:
    """Return up to `limit` commits of the line of first parents from `tip` on, newest first."""
    return _listed(git_dir, ["--first-parent", f"--max-count={limit}", full_id(tip)])


def line_beyond(git_dir: Path, base: str, tip: str) -> list[str]:
    """Return the line of first parents from `tip` on, as far as `base` does not reach it.

    With commit dates that contradict the history it may go on to commits that `base` does reach.
    """
    return _listed(git_dir, ["--first-parent", full_id(tip), f"^{full_id(base)}"])


def _listed(git_dir: Path, args: Sequence[str]) -> list[str]:
    outcome = command.run(
        git_dir,
        git_dir,
        ["rev-list", *args],
        extra=command.NO_PROTOCOL,
        timeout_seconds=SECONDS,
    )
    if outcome.status:
        raise WgmeshError(
            f"git cannot list commits in {git_dir}: {outcome.said}",
            "remove that directory: it will be made anew",
        )
    return outcome.stdout.decode().split()
