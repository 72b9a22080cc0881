"""Files that survive a power cut: write aside, fsync, rename, fsync the directory. And the lock."""

import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wgmesh.errors import LockedError, of_system

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.05
_MOST_DIGITS = 7
"""Of a process number: proc(5) has them below 4,194,304."""


def sync_directory(path: Path) -> None:
    """Make the entries of directory `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make `path` and what is missing above it, mode 0755 whatever the umask; one there stays so.

    The user who fetches passes through; what is secret has a mode of its own.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return  # somebody else has just made it
    path.chmod(0o755)


def write_atomic(path: Path, data: bytes, mode: int = 0o644, *, durable: bool = True) -> None:
    """Put `data` at `path`, whole or not at all; `durable` also survives a power cut.

    Raises OSError, which names `path` whatever failed on the way there.
    """
    try:
        _write_atomic(path, data, mode, durable=durable)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _write_atomic(path: Path, data: bytes, mode: int, *, durable: bool) -> None:
    make_directory(path.parent)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.unlink(missing_ok=True)  # of a process with this number that was killed
    # the directory may be another user's: nothing that lies there by this name is written into
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            with suppress(OSError):  # for sweep(); some network filesystems know no locks
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(fd)
        aside.replace(path)
    except BaseException:  # also KeyboardInterrupt: nothing half-written may stay beside the file
        aside.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


@contextmanager
def directory_atomic(path: Path) -> Iterator[Path]:
    """Give a directory to fill, which becomes `path`, whole or not at all, when the body ends.

    `path` is new, or empty.
    """
    with directory_aside(path) as aside:
        yield aside
        aside.rename(path)
        sync_directory(path.parent)


@contextmanager
def directory_aside(path: Path) -> Iterator[Path]:
    """Give a new directory beside `path`, which is gone in the end unless the body has renamed it.

    What a process that was killed in the body has left is removed.
    """
    import shutil  # late: it brings every packer along, and no tick asks

    make_directory(path.parent)
    for left in left_aside(path):
        shutil.rmtree(left, ignore_errors=True)  # no file, and nothing behind a link
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.mkdir()
    try:
        aside.chmod(0o755)
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def left_aside(path: Path) -> list[Path]:
    """Return what processes that were killed have left aside of `path`."""
    start = f".{path.name}."
    ours = [
        each
        for each in path.parent.iterdir()
        if each.name.startswith(start) and _is_aside(each.name, (path.name,))
    ]
    numbers = ((each, int(each.name.split(".")[-2])) for each in ours)
    # one of this number is no more: this process has made none yet, and in a container each is 1
    return [each for each, number in numbers if number == os.getpid() or not _is_alive(number)]


def link_atomic(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target`, replacing what was there in one step, durably."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    try:
        aside.replace(path)
    except OSError:
        aside.unlink()
        raise
    sync_directory(path.parent)


def sweep(directory: Path, *endings: str) -> None:
    """Remove what writers of files with such `endings` who were killed have left in `directory`.

    Only plain files by the name that write_atomic() gives them, whose process is no more; its lock
    tells of one that is not seen from here, in another container or on another machine.
    """
    try:
        left = [path for path in directory.iterdir() if _is_aside(path.name, endings)]
    except OSError:
        return  # there is none, or nothing to be removed by this user
    for path in left:
        if not _is_alive(int(path.name.split(".")[-2])):
            with suppress(OSError):  # it has just gone, or is another user's
                _remove_left(path)


def _is_aside(name: str, endings: tuple[str, ...]) -> bool:
    head, _, number = name.removesuffix(".tmp").rpartition(".")
    known = name.startswith(".") and name.endswith(".tmp") and head.endswith(endings)
    return known and number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _remove_left(path: Path) -> None:
    """Remove `path` unless it is no plain file, or somebody holds its lock."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        log.debug("removed %s, which a process that is no more had left", path)
    finally:
        os.close(fd)


@contextmanager
def tolerant() -> Iterator[None]:
    """Tell what the system refuses in the body, and go on: all else is still done."""
    try:
        yield
    except OSError as error:
        log.warning("%s", of_system(error).message)


@contextmanager
def locked(path: Path, *, wait: bool = False, patience_seconds: float = 0) -> Iterator[None]:
    """Hold an exclusive flock on `path`; LockedError when another process has it, unless `wait`.

    With some patience only when that process has it for so long.

    The descriptor is closed on exec, so no child keeps the lock alive.
    """
    make_directory(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                break
            except BlockingIOError:
                if time.monotonic() < end:
                    time.sleep(_RETRY_SECONDS)
                    continue
                raise LockedError(
                    "another wgmesh is at work on this node", "wait for it to end, then try again"
                ) from None
        yield
    finally:
        os.close(fd)
