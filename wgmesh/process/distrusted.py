"""Programs that hear what others have written, or are others': little of them is believed.

Each gets a session of its own, and all that is left in it ends with the program.
"""

import logging
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, NoReturn

from wgmesh.process import CommandError, end_group, environment, which

log = logging.getLogger(__name__)


def hear(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float,
    most_bytes: int = 1 << 16,
) -> bytes:
    """Run `argv`, which somebody without rights may have taken over, and return what it said.

    Standard output and error come together. Whoever says more than `most_bytes` is ended, so that
    nobody fills the caller's memory. How it ended is not told: it means nothing. Raises
    CommandError when it cannot be started or takes longer than `timeout_seconds`.
    """
    log.debug("[#] %s", " ".join(argv))
    end = time.monotonic() + timeout_seconds
    said = b""
    with _begin(argv, subprocess.DEVNULL, env) as child:
        try:
            assert child.stdout is not None
            out = child.stdout.fileno()
            while len(said) < most_bytes:
                if not select.select([out], [], [], max(0.0, end - time.monotonic()))[0]:
                    raise CommandError(argv, None, "")
                more = os.read(out, most_bytes - len(said))
                if not more:
                    child.wait(max(0.0, end - time.monotonic()))
                    break
                said += more
        except subprocess.TimeoutExpired as error:
            raise CommandError(argv, None, "") from error
        finally:
            end_group(child)
    return said


def run_aside(
    argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], timeout_seconds: float
) -> None:
    """Run `argv` for what it does; of what it says, only the end is kept, for an error.

    When it ends, or its time is up, what is left of its process group is ended as well. Raises
    CommandError when it cannot be started, takes longer than `timeout_seconds`, or does not exit 0.
    """
    log.debug("[#] %s", " ".join(argv))
    end = time.monotonic() + timeout_seconds
    said = bytearray()
    with _in_memory(stdin) as given:
        child = _begin(argv, given, env)
    with child:
        try:
            assert child.stdout is not None
            if not _watch(child, child.stdout, said, end):
                raise CommandError(argv, None, "")
        finally:
            end_group(child)  # before it is reaped: until then its number is nobody else's
    if child.returncode:
        raise CommandError(argv, child.returncode, said.decode(errors="replace"))


def become(argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str]) -> NoReturn:
    """Replace this process by `argv`, which gets `stdin`. Raises CommandError when that fails."""
    path = which(argv[0])
    if path is None:
        raise CommandError(argv, 127, "there is no such program that may be run")
    with _in_memory(stdin) as given:
        os.dup2(given, 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and exec inherits
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, list(argv), environment(env))
    except OSError as error:
        raise CommandError(argv, 127, error.strerror or str(error)) from error


def _begin(
    argv: Sequence[str], stdin: int, env: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    """Start `argv`; what it says, be it as an error, comes by one pipe. Raises CommandError."""
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(env),
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(argv, 127, error.strerror or str(error)) from error


def _watch(child: subprocess.Popen[bytes], out: IO[bytes], said: bytearray, end: float) -> bool:
    """Gather the end of what comes by `out` until `child` has ended; False when that is too late.

    It is not reaped. Its own children may keep the pipe open: nobody waits for them.
    """
    os.set_blocking(out.fileno(), False)
    pidfd = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as events:
            events.register(pidfd, selectors.EVENT_READ)
            events.register(out, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                ready = {key.fd for key, _ in events.select(left)}
                if out.fileno() in ready:
                    more = out.read(1 << 16)
                    if more == b"":
                        events.unregister(out)
                    said.extend(more or b"")
                    del said[: -(1 << 12)]
                if pidfd in ready:
                    return True
    finally:
        os.close(pidfd)
    return False


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """Give a descriptor to read `data` from, which no pipe holds up."""
    fd = os.memfd_create("stdin")
    try:
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)
