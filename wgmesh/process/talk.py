"""A program that is talked with: it gets its input at once, and is heard line by line as it goes.

For the author's ssh, on Linux and macOS alike; what a node runs goes through `wgmesh.process`.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from wgmesh.frozen import frozen
from wgmesh.process import CommandError

log = logging.getLogger(__name__)

LINGER_SECONDS = 2.0
"""How long the last words of a program that has ended are waited for."""

MOST_BYTES = 4 << 20
"""Of what one end says that is kept: whoever says more is ended."""


@frozen
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
        talk = _Talk(child, hear)
        threads = [
            threading.Thread(target=work, daemon=True)
            for work in (partial(talk.give, stdin), talk.read, talk.listen)
        ]
        for thread in threads:
            thread.start()
        try:
            code = child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            talk.cut()
            code = child.wait()
        finally:
            with self._lock:
                self._children.discard(child)
        end = time.monotonic() + LINGER_SECONDS
        for thread in threads:  # what it left behind, a ControlMaster say, may keep the pipes open
            thread.join(max(0.0, end - time.monotonic()))
        over = talk.was_cut.is_set() or code == -signal.SIGKILL
        return Ended(None if over else code, _text(bytes(talk.out)), "\n".join(talk.err))

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
    if child.returncode is None:  # else its number may be somebody else's
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


class _Talk:
    """What is said in one conversation, gathered by threads of which each has one pipe."""

    def __init__(self, child: subprocess.Popen[bytes], hear: Callable[[str], None]) -> None:
        self._child = child
        self._hear = hear
        self.out = bytearray()
        self.err: list[str] = []
        self.was_cut = threading.Event()

    def cut(self) -> None:
        """End the program before its own end."""
        self.was_cut.set()
        _end(self._child)

    def give(self, data: bytes) -> None:
        """Write `data`; who does not read it to the end says why in its own words."""
        assert self._child.stdin is not None
        with suppress(BrokenPipeError), self._child.stdin as pipe:
            pipe.write(data)

    def read(self) -> None:
        """Gather standard output."""
        assert self._child.stdout is not None
        with self._child.stdout as pipe:
            while more := os.read(pipe.fileno(), 1 << 16):
                self.out += more
                if len(self.out) > MOST_BYTES:
                    return self.cut()

    def listen(self) -> None:
        """Gather standard error, and have each line of it heard."""
        assert self._child.stderr is not None
        count = 0
        with self._child.stderr as pipe:
            while line := pipe.readline(1 << 16):
                count += len(line)
                if count > MOST_BYTES:
                    return self.cut()
                text = _text(line).rstrip()
                if text:
                    self.err.append(text)
                    self._hear(text)


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
