"""The WireGuard device, through `wg`: it drives the kernel's and wireguard-go's alike.

What real `wg` does, and this file builds on: `addconf` replaces a peer's AllowedIPs (a section
without any clears them) and keeps PSK, keepalive and endpoint where the section is silent. It
reads /dev/stdin also when that is a pipe. A peer may be named twice in one `wg set`, so that
`peer X remove peer X …` makes it anew in one call. See wg(8) and wg's config.c.
"""

import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from itertools import islice
from pathlib import Path

from wgmesh import process
from wgmesh.errors import WgmeshError
from wgmesh.frozen import frozen
from wgmesh.model.change import DeviceSet
from wgmesh.model.kernel import PeerCounters, PeerState
from wgmesh.model.terms import Endpoint, Prefix, Secret

NO_PSK = "A" * 43 + "="
"""Base64 of 32 zero bytes: as a PSK it means none (WireGuard paper, section 5.4)."""

PEERS_PER_CALL = 500
"""How many peers a `wg set` names: some 60 kB of arguments, far below ARG_MAX."""


VANISH_SECONDS = 1.0


@frozen
class Device:
    """What `wg show … dump` tells; peers and counters by public key."""

    private_key: Secret | None
    listen_port: int
    fwmark: int
    peers: Mapping[str, PeerState]
    counters: Mapping[str, PeerCounters]


def socket_path(interface: str) -> Path:
    """Return where a userspace implementation serves `interface` (wg's ipc-uapi-unix.h)."""
    return Path("/run/wireguard") / f"{interface}.sock"


def userspace(interface: str) -> bool:
    """Return whether a userspace implementation seems to serve `interface`."""
    return socket_path(interface).is_socket()


def present(interface: str) -> bool:
    """Return whether there is an interface of this name, of whatever kind."""
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def observe(interface: str) -> Device | None:
    """Return the device `interface`, or None when there is no such interface.

    Raises WgmeshError when it is no WireGuard device; but first it waits a little, for the device
    of a wireguard-go that dies outlives it by a moment.
    """
    deadline = time.monotonic() + VANISH_SECONDS
    while present(interface):
        done = process.run(["wg", "show", interface, "dump"], check=False)
        if done.returncode == 0:
            return parse(done.stdout.decode())
        if time.monotonic() > deadline:
            said = done.stderr.decode(errors="replace").strip()
            raise WgmeshError(
                f"interface {interface} exists but is no WireGuard device that answers: {said}",
                f"if it is not yours to keep, remove it: ip link del {interface}",
            )
        time.sleep(0.02)
    return None


def parse(dump: str) -> Device:
    """Return what `wg show INTERFACE dump` printed. Raises WgmeshError without showing any of it.

    Format: wg(8), "show": tab-separated; first private key, public key, port, fwmark; then for
    each peer its key, PSK, endpoint, AllowedIPs, handshake, received, sent, keepalive.
    """
    peers: dict[str, PeerState] = {}
    counters: dict[str, PeerCounters] = {}
    head, *lines = dump.splitlines() or [""]
    try:
        private_key, _, listen_port, fwmark = head.split("\t")
        for line in lines:
            key, psk, endpoint, allowed_ips, handshake, rx_bytes, tx_bytes, keepalive = line.split(
                "\t"
            )
            peers[key] = PeerState(
                public_key=key,
                allowed_ips=_allowed_ips(allowed_ips),
                persistent_keepalive=0 if keepalive == "off" else int(keepalive),
                preshared_key=_secret(psk),
                endpoint=None if endpoint == "(none)" else _endpoint(endpoint),
            )
            counters[key] = PeerCounters(int(handshake), int(rx_bytes), int(tx_bytes))
        return Device(
            private_key=_secret(private_key),
            listen_port=int(listen_port),
            fwmark=0 if fwmark == "off" else int(fwmark, 0),
            peers=peers,
            counters=counters,
        )
    except ValueError:
        # neither the line nor the cause is shown: it may be the one with the private key
        raise WgmeshError("`wg show … dump` printed something other than wg(8) says") from None


def _secret(field: str) -> Secret | None:
    return None if field == "(none)" else Secret(field)


def _allowed_ips(field: str) -> frozenset[Prefix]:
    if field == "(none)":
        return frozenset()
    return frozenset(ip_network(prefix) for prefix in field.split(","))


def _endpoint(field: str) -> Endpoint:
    host, port = field.rsplit(":", 1)
    return Endpoint(host.removeprefix("[").removesuffix("]"), int(port))


def section(peer: PeerState) -> str:
    """Return the `[Peer]` section for `peer`, secrets included: all values, none left to chance.

    Only the endpoint is left out when None. Raises WgmeshError when it is a name: wg would ask
    DNS for it, for minutes, and fail the whole call.
    """
    lines = [
        "[Peer]",
        f"PublicKey = {peer.public_key}",
        f"PresharedKey = {peer.preshared_key.reveal() if peer.preshared_key else NO_PSK}",
        f"PersistentKeepalive = {peer.persistent_keepalive or 'off'}",
    ]
    if peer.endpoint is not None:
        lines.append(f"Endpoint = {_literal(peer.endpoint)}")
    if peer.allowed_ips:  # wg refuses the key with an empty value; without it, addconf clears all
        lines.append(f"AllowedIPs = {','.join(_sorted(peer.allowed_ips))}")
    return "\n".join(lines) + "\n"


def _sorted(prefixes: frozenset[Prefix]) -> list[str]:
    return sorted(str(prefix) for prefix in prefixes)


def _literal(endpoint: Endpoint) -> str:
    if not endpoint.literal:
        raise WgmeshError(f"endpoint {endpoint} is a name where the device needs an address")
    return str(endpoint)


def add(interface: str, peers: Sequence[PeerState]) -> None:
    """Write whole sections in one call: new peers, or all but the endpoint of those there.

    Raises WgmeshError.
    """
    text = "".join(section(peer) for peer in peers)
    _feed(["wg", "addconf", interface, "/dev/stdin"], text)


def renew(interface: str, peer: PeerState) -> None:
    """Remove and add one peer in one call, so that it forgets its sessions. Raises WgmeshError."""
    key = peer.public_key
    argv = ["wg", "set", interface, "peer", key, "remove", "peer", key]
    stdin = None
    if peer.preshared_key is not None:
        argv += ["preshared-key", "/dev/stdin"]
        stdin = f"{peer.preshared_key.reveal()}\n"
    if peer.endpoint is not None:
        argv += ["endpoint", _literal(peer.endpoint)]
    argv += ["persistent-keepalive", str(peer.persistent_keepalive or "off")]
    argv += ["allowed-ips", ",".join(_sorted(peer.allowed_ips))]
    _feed(argv, stdin)


def set_device(wanted: DeviceSet) -> None:
    """Set key, port and mark of the device, as far as given, in one call. Raises WgmeshError."""
    argv = ["wg", "set", wanted.name]
    stdin = None
    if wanted.private_key is not None:
        argv += ["private-key", "/dev/stdin"]
        stdin = f"{wanted.private_key.reveal()}\n"
    if wanted.listen_port is not None:
        argv += ["listen-port", str(wanted.listen_port)]
    if wanted.fwmark is not None:
        argv += ["fwmark", str(wanted.fwmark or "off")]
    _feed(argv, stdin)


def _feed(argv: Sequence[str], secrets: str | None) -> None:
    """Run `argv` with `secrets` for its standard input, and keep them out of its complaint.

    wg quotes what it cannot parse: "Key is not the correct length or format: `…'".
    """
    done = process.run(argv, stdin=None if secrets is None else secrets.encode(), check=False)
    if done.returncode:
        said = re.sub("`.*'", "`***'", done.stderr.decode(errors="replace"))
        raise process.CommandError(argv, done.returncode, said)


def set_endpoints(interface: str, endpoints: Mapping[str, Endpoint]) -> None:
    """Move peers that stay, by public key, to other endpoints. Raises WgmeshError."""
    words = (["peer", key, "endpoint", _literal(endpoint)] for key, endpoint in endpoints.items())
    _set(interface, words)


def remove(interface: str, public_keys: Sequence[str]) -> None:
    """Forget peers; one that is not there is fine. Raises WgmeshError."""
    _set(interface, (["peer", key, "remove"] for key in public_keys))


def _set(interface: str, peers: Iterator[list[str]]) -> None:
    while chunk := list(islice(peers, PEERS_PER_CALL)):
        process.run(["wg", "set", interface, *(word for words in chunk for word in words)])
