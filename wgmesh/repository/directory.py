"""The directory of a bare repository: made, looked at, set aside when it is damaged."""

import shutil
from pathlib import Path

from wgmesh.errors import WgmeshError
from wgmesh.files import make_directory, sync_directory
from wgmesh.repository import command

_SECONDS = 60


def create(path: Path) -> None:
    """Make a repository: bare, private, without hooks. Raises WgmeshError when it cannot."""
    try:
        make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    args = ["init", "--bare", "--quiet", "--template=", "--object-format=sha1"]
    args += ["--initial-branch=main", "--", str(path)]
    outcome = command.run(path, None, args, extra=command.NO_PROTOCOL, timeout_seconds=_SECONDS)
    if outcome.status:
        raise WgmeshError(f"cannot make {path}: {outcome.said}", "check that directory")
    sync_directory(path.parent)


def valid(path: Path) -> bool:
    """Return whether git takes the directory for a bare repository and its refs resolve."""
    return (
        path.is_dir()
        and _said(path, "rev-parse", "--is-bare-repository") == b"true\n"
        # Every ref must lead to an object that can be read; a power cut breaks the newest first.
        and _said(path, "for-each-ref", "--format=%(objecttype) %(objectsize)") is not None
    )


def _said(path: Path, *args: str) -> bytes | None:
    outcome = command.run(path, path, args, extra=command.NO_PROTOCOL, timeout_seconds=_SECONDS)
    return None if outcome.status else outcome.stdout


def set_aside(path: Path) -> None:
    """Rename what is there to NAME.damaged, instead of an earlier one. Raises WgmeshError."""
    aside = path.with_name(path.name + ".damaged")
    try:
        if path.exists():
            if aside.exists():
                shutil.rmtree(aside)
            path.rename(aside)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> WgmeshError:
    return WgmeshError(f"cannot make {path}: {error.strerror}", "check its parent directory")
