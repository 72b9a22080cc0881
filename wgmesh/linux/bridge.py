"""One interface, two private keys: a second device beside it, for as long as peers go over.

The second device shares the port of the first, so peers find both keys in one place: what it sends
gets the port of the first, and what comes back is told apart by the receiver's index, which its own
handshakes have announced in clear (WireGuard whitepaper, section 5.4). Whatever goes out by the
interface goes out by both, and a peer takes the copy of the key that has the AllowedIPs; whatever
comes in by the second device comes in by the interface. So routes, addresses, firewalls and sockets
know of one interface alone.

The mirror is a chain of nft: to give a device that is up a tc qdisc would stop it for a moment.
"""

import time
from collections.abc import Collection
from dataclasses import replace

from wgmesh import process
from wgmesh.errors import WgmeshError
from wgmesh.linux import link, rtnetlink, wireguard
from wgmesh.model.change import DeviceSet, LinkSet
from wgmesh.model.kernel import LinkState, PeerState
from wgmesh.model.terms import Secret

SECOND = "wgmesh-2nd"
TRIAL = "wgmesh-try"
TABLE = "wgmesh_keys"
_MOST_HANDSHAKES = 65_536
"""Each peer begins a session each two minutes."""
_SEND_KEEPALIVE_SECONDS = 25
_POLL_SECONDS = 0.05


def present() -> bool:
    """Return whether the interface has a second key."""
    return wireguard.present(SECOND)


def build(first: LinkState, alive: Collection[str], *, seconds: float) -> None:
    """Let the key of `first` go on beside the one that the interface is about to get.

    Waits at most `seconds` for sessions with those of its peers that are `alive`, by public key.
    Raises WgmeshError, and then nothing is left of it.
    """
    remove()
    if first.private_key is None:
        raise WgmeshError(f"{first.name} has no key that could go on")
    try:
        port = _device(SECOND, first.private_key, first, redirect=first.name)
        _feed(_demultiplexer(first.listen_port, port))
        peers = [
            replace(peer, persistent_keepalive=peer.persistent_keepalive or _SEND_KEEPALIVE_SECONDS)
            for peer in first.peers.values()
            if peer.endpoint is not None
        ]
        wireguard.add(SECOND, peers)
        used = {peer.public_key for peer in peers if peer.allowed_ips}
        late = (used & set(alive)) - shaken(SECOND, used & set(alive), seconds)
        if late:
            raise WgmeshError(f"{len(late)} peers begin no session with the second device")
        _feed(_mirror(first.name))
    except BaseException:
        remove()
        raise


def remove() -> None:
    """Take the second key away; none there is fine. Raises WgmeshError."""
    _feed("".join(f"table {f} {TABLE}\ndelete table {f} {TABLE}\n" for f in ("netdev", "inet")))
    with rtnetlink.Socket() as socket:
        link.delete(SECOND, socket)


def remove_if_present() -> None:
    """Take away what a change of the key may have left. Raises WgmeshError."""
    if present():
        remove()
    if wireguard.present(TRIAL):
        with rtnetlink.Socket() as socket:
            link.delete(TRIAL, socket)


def trial(
    key: Secret, first: LinkState, peers: Collection[PeerState], seconds: float
) -> frozenset[str]:
    """Return those of `peers`, by public key, that know the key: they shake hands with it.

    From another port than that of `first`, by which they can tell that it is only tried. Raises
    WgmeshError also when this machine could not hold two keys at once.
    """
    with rtnetlink.Socket() as socket:
        link.delete(TRIAL, socket)
    try:
        port = _device(TRIAL, key, first, redirect=first.name)
        _feed(_demultiplexer(first.listen_port, port) + _mirror(first.name, TRIAL), check=True)
        asked = [
            replace(peer, allowed_ips=frozenset(), persistent_keepalive=_SEND_KEEPALIVE_SECONDS)
            for peer in peers
            if peer.endpoint is not None
        ]
        wireguard.add(TRIAL, asked)
        return shaken(TRIAL, {peer.public_key for peer in asked}, seconds)
    finally:
        with rtnetlink.Socket() as socket:
            link.delete(TRIAL, socket)


def shaken(interface: str, keys: Collection[str], seconds: float) -> frozenset[str]:
    """Return those of `keys` that have ever shaken hands, as soon as all have, or after `seconds`.

    `interface` is a device that was made just now.
    """
    end = time.monotonic() + seconds
    while True:
        device = wireguard.observe(interface)
        counters = device.counters if device is not None else {}
        found = {key for key in keys if key in counters and counters[key].latest_handshake}
        if found == set(keys) or time.monotonic() > end:
            return frozenset(found)
        time.sleep(_POLL_SECONDS)


def _device(name: str, key: Secret, first: LinkState, *, redirect: str) -> int:
    """Make a device whose packets come in by `redirect`; return the port that it has got."""
    with rtnetlink.Socket() as socket:
        link.create(name, socket)
        process.run(["tc", "qdisc", "add", "dev", name, "clsact"])
        ingress = ["tc", "filter", "add", "dev", name, "ingress", "protocol", "all", "prio", "1"]
        everything = ["u32", "match", "u32", "0", "0"]
        action = ["action", "mirred", "ingress", "redirect", "dev", redirect]
        process.run([*ingress, *everything, *action])
        wireguard.set_device(DeviceSet(name, key, fwmark=first.fwmark))
        link.change(LinkSet(name, mtu=first.mtu), socket)
        link.change(LinkSet(name, up=True), socket)
    device = wireguard.observe(name)
    if device is None or not device.listen_port:
        raise WgmeshError(f"{name} has no port")
    return device.listen_port


def _demultiplexer(port: int, second: int) -> str:
    """Return the table that lets the port `second` be one with `port`, seen from outside.

    Types and places of the messages: whitepaper, sections 5.4.2 to 5.4.7. In bits from the UDP
    header on: 64 the type, 96 the sender of types 1 and 2 and the receiver of 3 and 4, 128 the
    receiver of 2.
    """
    return f"""
table inet {TABLE} {{
    set indices {{
        typeof @th,96,32
        size {_MOST_HANDSHAKES}
        flags dynamic
    }}
    chain sent {{
        type filter hook output priority -310; policy accept;
        udp sport {second} @th,64,8 {{ 1, 2 }} add @indices {{ @th,96,32 }}
        udp sport {second} udp sport set {port}
    }}
    chain received {{
        type filter hook prerouting priority -310; policy accept;
        udp dport {port} @th,64,8 2 @th,128,32 @indices udp dport set {second}
        udp dport {port} @th,64,8 3 @th,96,32 @indices udp dport set {second}
        udp dport {port} @th,64,8 4 @th,96,32 @indices udp dport set {second}
    }}
}}
"""


def _mirror(first: str, second: str = SECOND) -> str:
    return f"""
table netdev {TABLE} {{
    chain sent {{
        type filter hook egress device "{first}" priority 0; policy accept;
        dup to "{second}"
    }}
}}
"""


def _feed(script: str, *, check: bool = False) -> None:
    argv = ["nft", *(["-c"] if check else []), "-f", "-"]
    process.run(argv, stdin=script.encode())
