"""What can go wrong, each with the exit code that the contract gives it.

Every error that reaches a user is a `WgmeshError`: one sentence, one hint, one exit code.
Only `wgmesh.cli` catches them.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from wgmesh.model.inventory import Problem


_MOST_CHARACTERS = 80


class WgmeshError(Exception):
    """A failure that a user can read: `message` says what is wrong, `hint` what to do instead."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(WgmeshError):
    """The command line asks for something that cannot be."""

    exit_code = 2


def no_node(name: str) -> UsageError:
    """Return what is wrong with a command line that names a node which the inventory has not."""
    shown = repr(name[:_MOST_CHARACTERS])  # without control characters
    return UsageError(f"there is no node {shown} in the inventory", "check the name")


class InventoryError(WgmeshError):
    """The inventory is invalid; `problems` has every reason."""

    exit_code = 3

    def __init__(self, message: str, hint: str = "", problems: "Sequence[Problem]" = ()) -> None:
        super().__init__(message, hint)
        self.problems = tuple(problems)


class RefusedError(WgmeshError):
    """The trust rules refuse a commit; `commit` is its full id, `tip` that of the branch then."""

    exit_code = 4

    def __init__(self, message: str, hint: str = "", commit: str = "") -> None:
        super().__init__(message, hint)
        self.commit = commit
        self.tip = commit


class UnreachableError(WgmeshError):
    """No remote answered; the running configuration stays."""

    exit_code = 5


class DeviceError(WgmeshError):
    """This machine cannot make a WireGuard interface; no commit is to blame for that."""


class RolledBackError(WgmeshError):
    """The change was applied, found harmful and taken back."""

    exit_code = 6


class NotJoinedError(WgmeshError):
    """This machine is in no mesh."""

    exit_code = 8


class LockedError(WgmeshError):
    """Another wgmesh is at work."""

    exit_code = 9


_FULL = "df shows which file system is full: make room there"
_CLOSED = "check its owner and its mode, and those of its directory"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "mount it for writing; what a service may write, ReadWritePaths= of its unit says",
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EIO: "the disk fails: see what dmesg says of it",
}


def of_system(error: OSError) -> WgmeshError:
    """Return what the system refused as an error that a user can read: which file, and why."""
    where = f"{error.filename}: " if error.filename else ""
    hint = _ADVICE.get(error.errno or 0, "check that file" if where else "")
    return WgmeshError(f"{where}{error.strerror or error}", hint)


@contextmanager
def system_errors() -> Iterator[None]:
    """Raise what the system refuses in the body as a WgmeshError."""
    try:
        yield
    except OSError as error:
        raise of_system(error) from error
