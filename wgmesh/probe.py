"""Packets in, Health out: ICMP echoes inside the tunnel, bound to the interface."""

import os
import select
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from wgmesh.errors import WgmeshError

Address = IPv4Address | IPv6Address
"""As in the model, which is not loaded for it: a tick does without."""

_ECHO_REQUEST = {4: 8, 6: 128}
_ECHO_REPLY = {4: 0, 6: 129}
_SO_BINDTODEVICE = 25  # <asm-generic/socket.h>
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1  # <linux/icmp.h>, <linux/icmpv6.h>
_BURST = 64
_PAUSE_SECONDS = 0.025
"""After each burst: wireguard-go begins a handshake with each dead peer, some 0.2 ms of work, while
its interface holds 500 packets (txqueuelen) and drops what healthy tunnels send beyond that."""


def checksum(data: bytes) -> int:
    """Return the Internet checksum of `data` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(family: int, identifier: int, sequence: int, padding_bytes: int = 0) -> bytes:
    """Return an ICMP (RFC 792) or ICMPv6 (RFC 4443) echo request; the kernel sums ICMPv6."""
    kind = _ECHO_REQUEST[family]
    body = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + b"wgmesh probe"
    body += bytes(padding_bytes)
    if family == 6:
        return body
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


class Prober:
    """Raw ICMP sockets bound to one interface; use as a context manager.

    `padding_bytes` make its requests longer, and their answers.
    """

    def __init__(self, interface: str, *, padding_bytes: int = 0) -> None:
        self._interface = interface
        self._padding_bytes = padding_bytes
        self._first = int.from_bytes(os.urandom(2))
        self._sequence = 0
        self._sent: dict[tuple[Address, int], float] = {}
        self._early: dict[Address, float] = {}
        self._sockets: dict[int, socket.socket] = {}

    def __enter__(self) -> "Prober":
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def _identifier(self, sequence: int) -> int:
        """Return that of a round: each is a flow of its own to what tracks flows on the way."""
        return (self._first + sequence) & 0xFFFF

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
                # other ICMP would crowd the answers out: icmp(7), raw(7), RFC 3542 section 3.2
                if family == 4:
                    blocked = struct.pack("=I", ~(1 << _ECHO_REPLY[4]) & 0xFFFFFFFF)
                    sock.setsockopt(_SOL_RAW, _ICMP_FILTER, blocked)
                else:
                    words = [0xFFFFFFFF] * 8
                    words[_ECHO_REPLY[6] // 32] ^= 1 << (_ECHO_REPLY[6] % 32)
                    sock.setsockopt(
                        socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words)
                    )
            except OSError:
                sock.close()
                return None  # no such interface: nothing can answer
            self._sockets[family] = sock
        return self._sockets[family]

    def send(self, targets: Collection[Address]) -> None:
        """Send one echo request to each of `targets`; one that cannot be sent has no answer.

        Answers are read on the way, or those of a thousand peers would overflow the socket; a
        thousand targets take half a second.
        """
        self._sequence = (self._sequence + 1) & 0xFFFF
        for count, target in enumerate(targets):
            if count and count % _BURST == 0:
                self._pause()
            sock = self._socket(target.version)
            if sock is None:
                continue
            packet = echo_request(
                target.version,
                self._identifier(self._sequence),
                self._sequence,
                self._padding_bytes,
            )
            self._sent[target, self._sequence] = time.monotonic()
            with suppress(OSError):  # no route or no key (ENOKEY): as lost as on the way
                sock.sendto(packet, (str(target), 0))

    def _pause(self) -> None:
        end = time.monotonic() + _PAUSE_SECONDS
        while (left := end - time.monotonic()) > 0:
            self._early |= self._ready(left)

    def receive(self, seconds: float, until: Collection[Address] = ()) -> dict[Address, float]:
        """Return the round-trip time in ms of each address that answers within `seconds`.

        Returns earlier once all of `until` (when given) have answered.
        """
        answers, self._early = self._early, {}
        waiting = set(until) - answers.keys()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not (until and not waiting):
            fresh = self._ready(left)
            answers = fresh | answers
            waiting -= fresh.keys()
        return answers

    def _ready(self, seconds: float) -> dict[Address, float]:
        """Return the answers that are there, waiting at most `seconds` for the first packet."""
        answers: dict[Address, float] = {}
        ready, _, _ = select.select(list(self._sockets.values()), [], [], seconds)
        for sock in ready:
            for source, rtt_ms in self._answers(sock):
                answers.setdefault(source, rtt_ms)
        return answers

    def _answers(self, sock: socket.socket) -> Iterator[tuple[Address, float]]:
        """Yield who has answered and after how many ms, until the socket has no more packets."""
        while True:
            try:
                data, address = sock.recvfrom(2048)
            except OSError:
                return
            source: IPv4Address | IPv6Address = ip_address(address[0].partition("%")[0])
            if source.version == 4:  # a raw IPv4 socket delivers the IP header too (raw(7))
                data = data[(data[0] & 0xF) * 4 :]
            if len(data) < 8:
                continue
            kind, _, _, identifier, sequence = struct.unpack("!BBHHH", data[:8])
            sent = self._sent.get((source, sequence))
            ours = kind == _ECHO_REPLY[source.version] and identifier == self._identifier(sequence)
            if ours and sent is not None:
                yield source, (time.monotonic() - sent) * 1000


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
