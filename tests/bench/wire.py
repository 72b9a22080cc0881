"""What a server's card sees of TCP: connections, bytes of IP packets, who spoke when.

As a program, `python -m tests.bench.wire INTERFACE PORT...` on the server, it prints "ready", looks
until its standard input ends, and prints the connections to these ports as JSON.
"""

import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from tests.lab.machine import Machine

ETH_P_ALL = 3  # <linux/if_ether.h>
ETHERTYPES = {0x0800: 4, 0x86DD: 6}
TCP = 6
SYN, ACK = 0x02, 0x10
QUIET_SECONDS = 0.2
_BUFFER_BYTES = 1 << 24


@dataclass(slots=True)
class Connection:
    """One TCP connection, as the server's card saw it. `turns`: how often the client had to wait.

    That is the handshake, and each time that it spoke after it had heard the server: what the way
    there and back costs so many times.
    """

    begun: float
    ended: float
    to_server_bytes: int = 0
    to_client_bytes: int = 0
    turns: int = 1
    heard: bool = False

    @property
    def seconds(self) -> float:
        """How long it was open."""
        return self.ended - self.begun


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet of TCP: its ends, flags, size with its headers, and how much it carries."""

    source: tuple[str, int]
    target: tuple[str, int]
    flags: int
    total_bytes: int
    payload_bytes: int


def parse(frame: bytes) -> Packet | None:
    """Return what an Ethernet frame carries, None when it is not TCP (RFC 791, 8200, 9293)."""
    family = ETHERTYPES.get(int.from_bytes(frame[12:14], "big"))
    packet = frame[14:]
    if family == 4:
        header = (packet[0] & 15) * 4
        total, protocol = int.from_bytes(packet[2:4], "big"), packet[9]
        ends = [socket.inet_ntop(socket.AF_INET, packet[at : at + 4]) for at in (12, 16)]
    elif family == 6:
        header = 40
        total, protocol = int.from_bytes(packet[4:6], "big") + 40, packet[6]
        ends = [socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24)]
    else:
        return None
    if protocol != TCP:
        return None
    segment = packet[header : header + 20]
    source, target = struct.unpack("!HH", segment[:4])
    payload = total - header - (segment[12] >> 4) * 4
    return Packet((ends[0], source), (ends[1], target), segment[13], total, payload)


class Book:
    """The connections to some ports, out of packets in the order in which they passed."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = frozenset(ports)
        self.connections: list[Connection] = []
        self._open: dict[tuple[object, object], Connection] = {}

    def note(self, packet: Packet, now: float) -> None:
        """Take one more packet into account, which passed at `now` (seconds)."""
        inward = packet.target[1] in self.ports
        if not inward and packet.source[1] not in self.ports:
            return
        ends = (packet.source, packet.target) if inward else (packet.target, packet.source)
        if inward and packet.flags & (SYN | ACK) == SYN:
            self._open[ends] = Connection(now, now)
            self.connections.append(self._open[ends])
        known = self._open.get(ends)
        if known is None:
            return  # it began before we looked
        known.ended = now
        if inward:
            known.to_server_bytes += packet.total_bytes
            known.turns += packet.payload_bytes > 0 and known.heard
            known.heard = known.heard and not packet.payload_bytes
        else:
            known.to_client_bytes += packet.total_bytes
            known.heard = known.heard or packet.payload_bytes > 0


def look(interface: str, ports: Sequence[int]) -> list[Connection]:
    """Return the connections to `ports` until standard input ends, and a moment longer."""
    book = Book(ports)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as card:
        card.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        card.bind((interface, 0))
        print("ready", flush=True)
        over = False
        while True:
            waiting = [card] if over else [card, sys.stdin]
            ready, _, _ = select.select(waiting, [], [], QUIET_SECONDS if over else None)
            if card in ready:
                packet = parse(card.recv(1 << 17))
                if packet is not None:
                    book.note(packet, time.monotonic())
            elif over:
                return book.connections
            over = over or sys.stdin in ready


@contextmanager
def watched(machine: Machine, *ports: int) -> Iterator[list[Connection]]:
    """Look at a machine's eth0; the list that is yielded is filled when the block ends."""
    argv = [sys.executable, "-m", "tests.bench.wire", "eth0", *map(str, ports)]
    child = machine.popen(argv, stdin=subprocess.PIPE)
    found: list[Connection] = []
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        yield found
        out, err = child.communicate(timeout=30)
        assert child.returncode == 0, err
        found += [Connection(**each) for each in json.loads(out)]
    finally:
        child.kill()
        child.wait()


def main() -> None:
    """Look, and print what was seen."""
    interface, *ports = sys.argv[1:]
    print(json.dumps([asdict(each) for each in look(interface, list(map(int, ports)))]))


if __name__ == "__main__":
    main()
