"""A git server that lies: git's protocol v0 (gitprotocol-pack(5)) by hand, on the loopback."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

FLUSH = b"0000"
BRANCH = "refs/heads/main"


def line(data: bytes) -> bytes:
    """Return a pkt-line."""
    return f"{len(data) + 4:04x}".encode() + data


def advertisement(tip: str, more: Iterable[bytes] = ()) -> Iterator[bytes]:
    """Yield what a server says first: its refs, and that it can do nothing special."""
    yield line(f"{tip} {BRANCH}\0ofs-delta\n".encode())
    yield from more
    yield FLUSH


@dataclass
class HostileServer:
    """Serves one tip and, when asked for it, whatever `pack` yields.

    `refs` are further pkt-lines of the advertisement. Between two pieces of either it waits
    `delay_seconds`. Ends with the `with`.
    """

    tip: str
    pack: Callable[[], Iterable[bytes]] = lambda: ()
    refs: Callable[[], Iterable[bytes]] = lambda: ()
    delay_seconds: float = 0
    asked: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        return f"git://127.0.0.1:{self._socket.getsockname()[1]}/mesh.git"

    def _accept(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                client, _ = self._socket.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # the other side has had enough
            client.settimeout(30)
            self.asked.append(self._line(client))
            self._send(client, advertisement(self.tip, self.refs()))
            wanted = self._line(client)
            if not wanted.startswith(b"want "):
                return
            self.asked.append(wanted)
            while self._line(client) != b"done\n":
                pass
            self._send(client, [line(b"NAK\n")])
            self._send(client, self.pack())

    def _line(self, client: socket.socket) -> bytes:
        size = int(self._exactly(client, 4), 16)
        return self._exactly(client, size - 4) if size else b""

    def _exactly(self, client: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = client.recv(size - len(data))
            if not more:
                raise OSError("gone")
            data += more
        return data

    def _send(self, client: socket.socket, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            if self._over.is_set():
                return
            client.sendall(piece)
            if self.delay_seconds:
                time.sleep(self.delay_seconds)
