"""Namespaces of one's own, with a root directory that nobody else sees mounts in.

As a program it runs another one there: `python own_root.py PROGRAM ARGUMENT...`
"""

import ctypes
import errno
import os
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWNET = 0x00020000, 0x04000000, 0x40000000  # <linux/sched.h>
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000  # <linux/mount.h>


def leave(namespaces: int) -> None:
    """Move this process to new namespaces (CLONE_NEW…, CLONE_NEWNS among them) and a private root.

    In a plain chroot the root directory is no mount point, so a copy of it takes its place, below
    a mount that is private already. Raises OSError.
    """
    _libc("unshare", namespaces)
    try:
        _mount(None, "/", None, MS_REC | MS_PRIVATE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount(None, "/proc", None, MS_PRIVATE)
        _mount("wgmlab", "/proc/tty", "tmpfs", 0)
        root = Path("/proc/tty/root")
        root.mkdir()
        _mount("/", str(root), None, MS_BIND | MS_REC)
        _mount(None, str(root), None, MS_REC | MS_PRIVATE)
        os.chroot(root)
        os.chdir("/")


def mount_tmpfs(path: str) -> None:
    """Mount an empty tmpfs. Raises OSError."""
    _mount("wgmlab", path, "tmpfs", 0)


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    words = (None if word is None else word.encode() for word in (source, target, kind))
    _libc("mount", *words, flags, None)


def _libc(function: str, *arguments: int | bytes | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = [*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_void_p]
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


if __name__ == "__main__":
    leave(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWNET)
    os.execvp(sys.argv[1], sys.argv[1:])
