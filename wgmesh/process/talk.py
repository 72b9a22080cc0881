"""A program that is talked with: it gets its input at once, and is heard line by line as it goes.

For the author's ssh, on Linux and macOS alike; what a node runs goes through `wgmesh.process`.
"""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from wgmesh.process import CommandError

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20
"""Of what one end says that is kept: whoever says more is ended."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended; `returncode` None: its time was up, or it said too much."""

    returncode: int | None
    out: str
    err: str


class Talks:
    """The conversations that are going on, so that all can be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._over = False

    def hold(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes,
        timeout_seconds: float,
        hear: Callable[[str], None],
    ) -> Ended:
        """Run `argv` with the caller's environment and `stdin`; `hear` gets each line of stderr.

        Raises CommandError when it cannot be started.
        """
        log.debug("[#] %s", " ".join(argv))
        with self._lock:
            if self._over:
                return Ended(None, "", "")
            child = _start(argv)
            self._children.add(child)
        timer = threading.Timer(timeout_seconds, _end, (child,))
        timer.start()
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        said: list[str] = []
        threads = [
            threading.Thread(target=_give, args=(child.stdin, stdin)),
            threading.Thread(target=_listen, args=(child, child.stderr, said, hear)),
        ]
        try:
            for thread in threads:
                thread.start()
            out = child.stdout.read(MOST_BYTES)
            if child.stdout.read(1):
                _end(child)
            for thread in threads:
                thread.join()
            code = child.wait()
        finally:
            timer.cancel()
            with self._lock:
                self._children.discard(child)
            child.stdout.close()
            child.stderr.close()
        return Ended(None if code == -signal.SIGKILL else code, _text(out), "\n".join(said))

    def end(self) -> None:
        """End every conversation, and let none begin."""
        with self._lock:
            self._over = True
            for child in self._children:
                _end(child)


def _start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # what it starts, a ProxyCommand say, ends with it
        )
    except OSError as error:
        hint = f"install the package that provides {argv[0]}"
        raise CommandError(argv, 127, error.strerror or str(error), hint) from error


def _end(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _give(pipe: IO[bytes], data: bytes) -> None:
    """Write `data`; who does not read it to the end says why in its own words."""
    with suppress(BrokenPipeError), pipe:
        pipe.write(data)


def _listen(
    child: subprocess.Popen[bytes], pipe: IO[bytes], said: list[str], hear: Callable[[str], None]
) -> None:
    count = 0
    while line := pipe.readline(1 << 16):
        count += len(line)
        if count > MOST_BYTES:
            _end(child)
            return
        text = _text(line).rstrip()
        if text:
            said.append(text)
            hear(text)


def _text(data: bytes) -> str:
    """Return what came as text that cannot steer a terminal."""
    text = data.decode(errors="replace")
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def in_terminal(argv: Sequence[str]) -> int:
    """Run `argv` with this terminal for its own, and return how it ended. Raises CommandError."""
    log.debug("[#] %s", " ".join(argv))
    try:
        return subprocess.run(list(argv), check=False).returncode
    except OSError as error:
        raise CommandError(argv, 127, error.strerror or str(error)) from error


def by_terminal(argv: Sequence[str], *, stdin: bytes) -> tuple[int, str]:
    """Run `argv` with `stdin`, free to ask the terminal; return how it ended and what it said."""
    log.debug("[#] %s", " ".join(argv))
    try:
        done = subprocess.run(list(argv), input=stdin, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise CommandError(argv, 127, error.strerror or str(error)) from error
    return done.returncode, _text(done.stdout)
