"""The one door to other programs: argv lists, a clean environment, a time limit, no shell."""

import logging
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, NoReturn

from wgmesh.errors import WgmeshError

log = logging.getLogger(__name__)

TimeoutExpired = subprocess.TimeoutExpired

MOST_BYTES = 64 << 20
"""Of output that is kept, unless a caller says otherwise."""

SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandError(WgmeshError):
    """A program failed; `returncode` is its exit status (None: it did not end in time)."""

    def __init__(
        self, argv: Sequence[str], returncode: int | None, stderr: str, hint: str = ""
    ) -> None:
        said = stderr.strip().splitlines()
        what = "did not end in time" if returncode is None else f"failed ({returncode})"
        super().__init__(f"{' '.join(argv[:3])} {what}" + (f": {said[-1]}" if said else ""), hint)
        self.returncode = returncode
        self.stderr = stderr


class TooMuchError(Exception):
    """A program says more than anybody wants to know."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child: a fixed PATH, the C locale, HOME, and `extra`."""
    env = {"PATH": SAFE_PATH, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/root")}
    return env | dict(extra or {})


def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = 30,
    check: bool = True,
    most_bytes: int = 0,
) -> subprocess.CompletedProcess[bytes]:
    """Run `argv` to its end and return what it said, as bytes.

    `stdin` is never logged: keys travel by it. `most_bytes`, of a program without `stdin` that says
    what others tell it, is how much of that is heard. Raises CommandError when the program cannot
    be started, takes longer than `timeout_seconds`, says more, or (with `check`) does not exit 0.
    """
    assert stdin is None or not most_bytes
    log.debug("[#] %s", " ".join(argv))
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            start_new_session=True,  # a process group to end as a whole: git starts ssh, ssh …
        )
    except OSError as error:
        hint = f"install the package that provides {argv[0]}" if not which(argv[0]) else ""
        raise CommandError(argv, 127, error.strerror or str(error), hint) from error
    with child:
        try:
            if most_bytes:
                assert child.stdout is not None and child.stderr is not None
                end = time.monotonic() + timeout_seconds
                out, err = gather(child.stdout, child.stderr, end, most_bytes)
                child.wait(max(0.0, end - time.monotonic()))
            else:
                out, err = child.communicate(stdin, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            _end_group(child)
            raise CommandError(argv, None, "") from error
        except TooMuchError as error:
            _end_group(child)
            raise CommandError(argv, -signal.SIGKILL, f"more than {most_bytes} bytes") from error
        except BaseException:  # also KeyboardInterrupt: no child outlives its caller
            _end_group(child)
            raise
    done = subprocess.CompletedProcess(list(argv), child.returncode, out, err)
    if check and done.returncode:
        raise CommandError(argv, done.returncode, err.decode(errors="replace"))
    return done


def gather(
    out: IO[bytes], err: IO[bytes], end: float, most_bytes: int = MOST_BYTES
) -> tuple[bytes, bytes]:
    """Return what comes by two pipes until both are closed; of the second, the last part of it.

    `end` is a time of time.monotonic(). Raises TimeoutExpired then, and TooMuchError when more than
    `most_bytes` come by `out`: whoever reads what others write has an end to it.
    """
    said, complaints = bytearray(), bytearray()
    with selectors.DefaultSelector() as pipes:
        pipes.register(out, selectors.EVENT_READ, said)
        pipes.register(err, selectors.EVENT_READ, complaints)
        while pipes.get_map():
            left = end - time.monotonic()
            ready = pipes.select(max(0.0, left))
            if not ready or left < 0:  # somebody who never stops is always ready
                raise subprocess.TimeoutExpired("", 0)
            for key, _ in ready:
                more = os.read(key.fd, 1 << 16)
                if not more:
                    pipes.unregister(key.fileobj)
                key.data.extend(more)
            if len(said) > most_bytes:
                raise TooMuchError
            del complaints[: -(1 << 16)]
    return bytes(said), bytes(complaints)


def run_distrusted(
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
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(env),
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(argv, 127, error.strerror or str(error)) from error
    said = b""
    with child:
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
            _end_group(child)
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
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(env),
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(argv, 127, error.strerror or str(error)) from error
    with child:
        try:
            assert child.stdout is not None
            if not _watch(child, child.stdout, said, end):
                raise CommandError(argv, None, "")
        finally:
            _end_group(child)  # before it is reaped: until then its number is nobody else's
    if child.returncode:
        raise CommandError(argv, child.returncode, said.decode(errors="replace"))


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


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and all that it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def text(argv: Sequence[str], *, stdin: bytes | None = None, timeout_seconds: float = 30) -> str:
    """Run `argv`, require success, and return its standard output as text."""
    return run(argv, stdin=stdin, timeout_seconds=timeout_seconds).stdout.decode(errors="replace")


def start(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, detached: bool = False
) -> subprocess.Popen[bytes]:
    """Start `argv` and return at once; `detached` gives it a session of its own and no pipes.

    Raises CommandError when the program cannot be started.
    """
    log.debug("[#] %s &", " ".join(argv))
    pipe = subprocess.DEVNULL if detached else subprocess.PIPE
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=environment(env),
            start_new_session=detached,
            cwd="/" if detached else None,
        )
    except OSError as error:
        raise CommandError(argv, 127, error.strerror or str(error)) from error


def which(program: str) -> str | None:
    """Return the full path of `program` in our PATH, or None."""
    import shutil  # late: it brings every packer along, and no tick asks

    return shutil.which(program, path=SAFE_PATH)
