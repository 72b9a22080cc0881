"""An author's own repository, which belongs to somebody: only asked, never changed."""

import re
from pathlib import Path, PurePosixPath

from wgmesh.errors import UsageError, WgmeshError
from wgmesh.repository import command
from wgmesh.repository.inventory_files import inventory_files
from wgmesh.repository.reader import Reader
from wgmesh.trust.plain import plain

# Ownership is no question here: only plumbing runs, without hooks and protocols, and whoever
# builds pull requests in a container seldom owns the checkout.
_EXTRA = command.NO_PROTOCOL | {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}
_LOCAL_SECONDS = 30
_MOST_TRAILER_BYTES = 1 << 20


def files_at(directory: Path, rev: str, path: str) -> dict[str, bytes]:
    """Return the inventory at REV:PATH of the git repository around `directory`, by name.

    As in git, `path` counts from the root of the tree, but from `directory` when it is "." or
    begins with "./". `rev` may be any text. Raises UsageError when there is no such repository or
    revision, else what inventory_files() raises.
    """
    commit = commit_id(directory, rev)
    if path == "." or path.startswith("./"):
        prefix = _ask(directory, "rev-parse", "--show-prefix")
        if prefix is None:
            raise WgmeshError(f"git cannot place {directory}", "run this inside the repository")
        path = str(PurePosixPath(prefix or ".") / path)
    git_dir = _ask(directory, "rev-parse", "--absolute-git-dir")
    reader = Reader(Path(git_dir or ""), _EXTRA)
    try:
        return inventory_files(reader, commit, path)
    finally:
        reader.close()


def commit_id(directory: Path, rev: str) -> str:
    """Return the full id of the commit that `rev`, any text, names in the repository around it.

    Raises UsageError when there is no such repository or revision.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory", "name a directory inside a repository")
    if not _ask(directory, "rev-parse", "--absolute-git-dir"):
        raise UsageError(f"{directory} is in no git repository", "run this inside a repository")
    if not rev or "\0" in rev:
        raise UsageError("the revision is empty or has a NUL", "name a branch, tag or commit")
    words = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}"]
    commit = _ask(directory, *words)
    if not commit:
        raise UsageError(f"{plain(rev, 80)!r} names no commit", "name a branch, tag or commit")
    return commit


def git_directory(directory: Path) -> Path:
    """Return where the repository around `directory` has its objects. Raises UsageError."""
    found = _ask(directory, "rev-parse", "--path-format=absolute", "--git-common-dir")
    if not found:
        raise UsageError(f"{directory} is in no git repository", "run this inside a repository")
    return Path(found)


def trailer_words(directory: Path, base: str, tip: str, key: str) -> frozenset[str]:
    """Return the words of the trailers `key` in the commits that `tip` has and `base` has not.

    Both are full ids; trailers are what git-interpret-trailers(1) takes for such, and their words
    are parted by blanks or commas. Raises WgmeshError.
    """
    form = f"--format=%(trailers:key={key},valueonly,unfold)"
    said = _ask(directory, "rev-list", "--no-commit-header", form, f"{base}..{tip}", "--")
    if said is None or len(said) > _MOST_TRAILER_BYTES:
        raise WgmeshError(f"the commits since {base[:12]} cannot be read", "fetch all of history")
    return frozenset(word for word in re.split(r"[\s,]+", said) if word)


def _ask(directory: Path, *args: str) -> str | None:
    """Return what git says, without its last line feed; None when it fails."""
    outcome = command.run(directory, None, list(args), extra=_EXTRA, timeout_seconds=_LOCAL_SECONDS)
    text = outcome.stdout.decode(errors="surrogateescape").removesuffix("\n")
    return None if outcome.status else text
