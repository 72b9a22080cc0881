"""Ends the Python that imports it, by SIGKILL, right before a given operation of a transaction.

Or takes its file system away from there on: full, or read-only.

On a machine's PYTHONPATH it is imported by `wgmesh` at start (the children of wgmesh get a clean
environment). Operations are what changes something: files opened for writing, renames, links,
removals, programs, netlink messages; counted from the first touch of START, mostly the journal.

WGLAB_KILL is "WHEN|WHOM|LOG" or "WHEN|WHOM|LOG|START". WHEN: a number (0: never), or words that
the operation contains. WHOM: agent, watchdog (both at once) or everything (what a power cut does to
a machine's processes); ENOSPC or EROFS: nobody, but the operation and all later ones on its file
system fail with that error. LOG gets a line for each operation.
"""

import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from pathlib import Path

_WRITES = os.O_WRONLY | os.O_RDWR
_FILES = {"os.rename": 1, "os.symlink": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0}


def _what(event: str, args: tuple[object, ...]) -> str:
    """Return the operation in words, "" for one that changes nothing."""
    if event == "os.mkdir" and Path(str(args[0])).exists():
        return ""
    if event in _FILES:
        return f"{event} {args[_FILES[event]]}"
    if event == "open" and isinstance(args[2], int) and args[2] & _WRITES:
        named = isinstance(args[0], (str, Path)) and str(args[0]) != os.devnull
        return f"open {args[0]}" if named else ""
    if event == "subprocess.Popen" and isinstance(args[1], list):
        return f"run {' '.join(map(str, args[1][:3]))}"
    if event == "socket.sendto" and getattr(args[0], "family", None) == socket.AF_NETLINK:
        return "netlink"
    return ""


def _file_system(what: str) -> str:
    """Return which file system an operation writes to, "" for one that writes to none."""
    operation, _, path = what.partition(" ")
    if operation == "run" or not path.startswith("/"):
        return ""
    top = path.split("/")[1]
    return top if top in ("proc", "run") else "disk"


def _strike(whom: str) -> None:
    if whom == "everything":
        os.kill(-1, signal.SIGKILL)
    elif whom == "watchdog":
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and b"recover\0--wait" in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(when: str, whom: str, log: str, start: str = "journal.toml") -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
    main = threading.get_ident()
    seen, lost = 0, ""

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen, lost
        if threading.get_ident() != main:
            return  # the remote is asked beside, whenever
        what = _what(event, args)
        if not what or not (seen or start in what):
            return
        seen += 1
        os.write(out, f"{what.replace(str(os.getpid()), 'PID')}\n".encode())
        if when == str(seen) or (not when.isdigit() and when in what):
            if whom in ("ENOSPC", "EROFS"):
                lost = lost or _file_system(what)
            else:
                _strike(whom)
        freeing = whom == "ENOSPC" and what.startswith(("os.remove ", "os.rmdir "))
        if lost and _file_system(what) == lost and not freeing:
            raise OSError(getattr(errno, whom), os.strerror(getattr(errno, whom)))

    sys.addaudithook(hook)


if "WGLAB_KILL" in os.environ:
    _arm(*os.environ["WGLAB_KILL"].split("|"))
