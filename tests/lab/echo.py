"""Send echo requests at a steady pace and count the answers exactly; runs on a machine of the lab.

`echo.py ADDRESS INTERVAL_SECONDS`. A line on standard input asks for the counts so far; its end
asks to stop: no more is sent, answers may still come for GRACE_SECONDS, then the last counts come.
A request that the kernel would not send (no route, no peer) counts as sent and lost.
"""

import json
import os
import select
import socket
import struct
import sys
import time
from ipaddress import ip_address
from itertools import pairwise

GRACE_SECONDS = 1.5
HEADER = struct.Struct("!BBHHH")
NUMBER = struct.Struct("!Q")


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class Echo:
    """A raw ICMP socket, and when which request left and its answer came."""

    def __init__(self, address: str) -> None:
        self.v6 = ip_address(address).version == 6
        self.request, self.reply = (128, 129) if self.v6 else (8, 0)
        self.identity = os.getpid() & 0xFFFF
        self.sent: list[float] = []
        self.answered: dict[int, float] = {}
        self.socket = socket.socket(
            socket.AF_INET6 if self.v6 else socket.AF_INET,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK,
            socket.IPPROTO_ICMPV6 if self.v6 else socket.IPPROTO_ICMP,
        )
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.target = (address, 0)

    def send(self) -> None:
        """Send the next request."""
        number = len(self.sent)
        body = NUMBER.pack(number)
        head = HEADER.pack(self.request, 0, 0, self.identity, number & 0xFFFF)
        if not self.v6:  # the kernel computes ICMPv6 checksums itself
            total = checksum(head + body)
            head = HEADER.pack(self.request, 0, total, self.identity, number & 0xFFFF)
        self.sent.append(time.time())
        try:
            self.socket.sendto(head + body, self.target)
        except OSError:
            return  # lost, and counted so: no answer will come

    def receive(self) -> None:
        """Take in all the answers that are there."""
        while True:
            try:
                data, sender = self.socket.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error about an earlier request
            message = data if self.v6 else data[(data[0] & 0x0F) * 4 :]
            if len(message) < HEADER.size + NUMBER.size or sender[0] != self.target[0]:
                continue
            kind, _, _, identity, _ = HEADER.unpack_from(message)
            number = NUMBER.unpack_from(message, HEADER.size)[0]
            if kind == self.reply and identity == self.identity and number < len(self.sent):
                self.answered.setdefault(number, time.time())

    def report(self) -> None:
        """Print the counts as one line of JSON."""
        lost = [number for number in range(len(self.sent)) if number not in self.answered]
        marks = sorted(self.answered.values())
        if self.sent:
            marks = [self.sent[0], *marks, *([self.sent[-1]] if lost else [])]
        gaps = [after - before for before, after in pairwise(marks)]
        counts = {
            "sent": len(self.sent),
            "received": len(self.answered),
            "longest_gap_seconds": max([0.0, *gaps]),
            "lost_at": [self.sent[number] for number in lost],
        }
        print(json.dumps(counts), flush=True)


def main() -> None:
    """Ping until standard input ends."""
    echo, interval = Echo(sys.argv[1]), float(sys.argv[2])
    poll = select.poll()
    poll.register(echo.socket, select.POLLIN)
    poll.register(0, select.POLLIN)
    print("ready", flush=True)
    due = time.monotonic()
    asking = True
    while asking:
        now = time.monotonic()
        if now >= due:
            echo.send()
            due = max(due + interval, now)
        for descriptor, _ in poll.poll(max(0.0, (due - time.monotonic()) * 1000)):
            if descriptor != 0:
                echo.receive()
            elif os.read(0, 4096):
                echo.report()
            else:
                asking = False
    end = time.monotonic() + GRACE_SECONDS
    while len(echo.answered) < len(echo.sent) and time.monotonic() < end:
        select.select([echo.socket], [], [], 0.05)
        echo.receive()
    echo.report()


if __name__ == "__main__":
    main()
