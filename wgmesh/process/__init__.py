"""The one door to other programs: argv lists, a clean environment, a time limit, no shell."""

import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

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
            end_group(child)
            raise CommandError(argv, None, "") from error
        except TooMuchError as error:
            end_group(child)
            raise CommandError(argv, -signal.SIGKILL, f"more than {most_bytes} bytes") from error
        except BaseException:  # also KeyboardInterrupt: no child outlives its caller
            end_group(child)
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


def end_group(child: subprocess.Popen[bytes]) -> None:
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
