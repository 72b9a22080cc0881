"""Packets in, Health out: ICMP echoes inside the tunnel, bound to the interface."""

import os
import select
import socket
import struct
import time
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from wgmesh.errors import WgmeshError
from wgmesh.model import Address

_ECHO_REQUEST = {4: 8, 6: 128}
_ECHO_REPLY = {4: 0, 6: 129}
_SO_BINDTODEVICE = 25  # <asm-generic/socket.h>


def checksum(data: bytes) -> int:
    """Return the Internet checksum of `data` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(family: int, identifier: int, sequence: int) -> bytes:
    """Return an ICMP (RFC 792) or ICMPv6 (RFC 4443) echo request; the kernel sums ICMPv6."""
    kind = _ECHO_REQUEST[family]
    body = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + b"wgmesh probe"
    if family == 6:
        return body
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


class Prober:
    """Raw ICMP sockets bound to one interface; use as a context manager."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._identifier = int.from_bytes(os.urandom(2))
        self._sequence = 0
        self._sent: dict[tuple[Address, int], float] = {}
        self._sockets: dict[int, socket.socket] = {}

    def __enter__(self) -> "Prober":
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def _socket(self, family: int) -> socket.socket | None:
        if family not in self._sockets:
            kind = (
                (socket.AF_INET, socket.IPPROTO_ICMP)
                if family == 4
                else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
            )
            try:
                sock = socket.socket(kind[0], socket.SOCK_RAW | socket.SOCK_NONBLOCK, kind[1])
            except PermissionError:
                raise WgmeshError("probing needs root", "run as root") from None
            except OSError:
                return None  # a kernel without this family has no peer to probe over it
            try:
                sock.setsockopt(
                    socket.SOL_SOCKET, _SO_BINDTODEVICE, self._interface.encode() + b"\0"
                )
            except OSError:
                sock.close()
                return None  # no such interface: nothing can answer
            self._sockets[family] = sock
        return self._sockets[family]

    def send(self, targets: Collection[Address]) -> None:
        """Send one echo request to each of `targets`; one that cannot be sent has no answer."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        for target in targets:
            sock = self._socket(target.version)
            if sock is None:
                continue
            packet = echo_request(target.version, self._identifier, self._sequence)
            try:
                sock.sendto(packet, (str(target), 0))
            except OSError:
                continue  # no route or no key (ENOKEY, EDESTADDRREQ): as lost as on the way
            self._sent[target, self._sequence] = time.monotonic()

    def receive(self, seconds: float, until: Collection[Address] = ()) -> dict[Address, float]:
        """Return the round-trip time in ms of each address that answers within `seconds`.

        Returns earlier once all of `until` (when given) have answered.
        """
        waiting = set(until)
        answers: dict[Address, float] = {}
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not (until and not waiting):
            if not self._sockets:
                select.select([], [], [], left)
                break
            ready, _, _ = select.select(list(self._sockets.values()), [], [], left)
            for sock in ready:
                answer = self._read(sock)
                if answer is not None:
                    answers.setdefault(*answer)
                    waiting.discard(answer[0])
        return answers

    def _read(self, sock: socket.socket) -> tuple[Address, float] | None:
        """Return who answered and after how many ms; None for a packet that is not ours."""
        try:
            data, address = sock.recvfrom(2048)
        except OSError:
            return None
        source: IPv4Address | IPv6Address = ip_address(address[0].partition("%")[0])
        if source.version == 4:  # a raw IPv4 socket delivers the IP header too (raw(7))
            data = data[(data[0] & 0xF) * 4 :]
        if len(data) < 8:
            return None
        kind, _, _, identifier, sequence = struct.unpack("!BBHHH", data[:8])
        sent = self._sent.get((source, sequence))
        if kind != _ECHO_REPLY[source.version] or identifier != self._identifier or sent is None:
            return None
        return source, (time.monotonic() - sent) * 1000


def round_trips(
    interface: str, targets: Mapping[str, Collection[Address]], seconds: float
) -> dict[Address, float]:
    """Probe all `targets` (addresses by public key) once a second for at most `seconds`.

    Return the round-trip time in ms by address; ends as soon as every address has answered.
    """
    every = {address for addresses in targets.values() for address in addresses}
    answers: dict[Address, float] = {}
    with Prober(interface) as prober:
        end = time.monotonic() + seconds
        while every - answers.keys() and (left := end - time.monotonic()) > 0:
            missing = every - answers.keys()
            prober.send(missing)
            answers |= prober.receive(min(1.0, left), missing)
    return answers
