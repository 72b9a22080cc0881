"""wg-quick files that others wrote, as values; no line is ever shown, for it may hold a key."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address, ip_interface

from wgmesh.errors import InventoryError
from wgmesh.frozen import frozen
from wgmesh.inventory.values import BadValue, endpoint, public_key
from wgmesh.model.terms import Address, Endpoint, Interface

_MARKED = re.compile(
    r"(?:(?:friendly_)?name|node|peer|client|user|device|host)\s*[:=]\s*([\w .'\u2019()@+-]{1,40})"
    r"|(?:client|begin|begin_peer)\s+([\w.@+-]{1,40})",
    re.I,
)
"""What says that a name follows; the second by scripts that write `### Client NAME` at a peer."""
_END = re.compile(r"end(?:_peer)?\s+[\w.@+-]+", re.I)
"""What the same scripts write below a peer: it calls nothing."""

_WORDS = re.compile(r"\w[\w .'\u2019()@+-]{0,39}")
_MOST_WORDS = 3
_REMARK = re.compile(r"\([^()]*\)$")
_MOST_VALUES = 1 << 14
_KEY_FILE = re.compile(r"wg set (?:%i|\w+) private-key (/[A-Za-z0-9_./-]+)")


@frozen
class Called:
    """A name in a comment, "" for none; the heaviest counts. Prose is not `is_plain`."""

    name: str = ""
    weight: int = 0
    is_plain: bool = False


_NOTHING = Called()


@dataclass(slots=True)
class ForeignPeer:
    """A section `[Peer]`; `called` is what comments call it."""

    called: Called = _NOTHING
    public_key: str = ""
    allowed_ips: list[Interface] = field(default_factory=list)
    endpoint: Endpoint | None = None
    keepalive: int = 0
    preshared: bool = False


@dataclass(slots=True)
class Foreign:
    """A wg-quick file; `public_key` is "" when its private key is not in it.

    `name` is what it calls its node, or the author does (`is_given`), `fallback` one for when
    nobody calls it anything.
    """

    file: str
    name: str = ""
    is_given: bool = False
    fallback: str = "node"
    public_key: str = ""
    key_file: str = ""
    addresses: list[Interface] = field(default_factory=list)
    listen_port: int | None = None
    mtu: int | None = None
    dns: list[Address] = field(default_factory=list)
    up: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    peers: list[ForeignPeer] = field(default_factory=list)


def read(file: str, data: bytes, public_half: Callable[[str], str]) -> Foreign:
    """Return what a wg-quick file says; `public_half` makes a public key of a private one.

    Raises InventoryError, which shows no value, for a line that wg-quick would not take.
    """
    found = Foreign(file)
    peer: ForeignPeer | None = None
    section = ""
    above = _NOTHING
    for number, row in enumerate(data.decode(errors="replace").splitlines(), 1):
        line, mark, comment = row.strip().partition("#")
        line = line.strip()
        if not line:
            above = _called(comment) if mark else _NOTHING
            if section == "[peer]" and peer is not None and not peer.public_key:
                peer.called = max(peer.called, above, key=lambda each: each.weight)
            elif section == "[interface]" and not found.addresses and above.is_plain:
                found.name = found.name or above.name
            continue
        if line.lower() in ("[interface]", "[peer]"):
            section = line.lower()
            if section == "[peer]":
                peer = ForeignPeer(called=replace(above, weight=above.weight - 1))
                found.peers.append(peer)
            elif above.is_plain:
                found.name = above.name
            above = _NOTHING
            continue
        above = _NOTHING
        key, equals, value = (part.strip() for part in line.partition("="))
        try:
            if not equals or not section:
                raise ValueError
            if section == "[peer]" and peer is not None:
                _peer(peer, key.lower(), value)
            else:
                _interface(found, key, value, public_half)
        except (ValueError, BadValue):
            # a key that lost its name must not be shown: it has 43 characters, digits among them
            known = f"{key}: " if equals and key.isalpha() and len(key) <= 20 else ""
            raise InventoryError(
                f"{file}:{number}: {known}no line of a wg-quick file", "see man wg-quick, man wg"
            ) from None
    if not found.addresses and not found.peers:
        raise InventoryError(f"{file} is no wg-quick file", "name files such as wg0.conf")
    return found


def _called(comment: str) -> Called:
    """Return what a comment calls what follows it, or stands in: if it says so, or is short."""
    text = comment.strip("# \t")
    marked = _MARKED.fullmatch(_REMARK.sub("", text))
    if marked is not None:
        return Called((marked[1] or marked[2]).strip(), 4, is_plain=True)
    if _END.fullmatch(text):
        return _NOTHING
    words = len(text.split())
    if words > _MOST_WORDS or not _WORDS.fullmatch(text) or text.endswith("."):
        return _NOTHING
    return Called(text, 2, is_plain=words == 1)


def _interface(found: Foreign, key: str, value: str, public_half: Callable[[str], str]) -> None:
    match key.lower():
        case "privatekey":
            found.public_key = public_half(public_key(value))  # both are 32 bytes of base64
        case "address":
            found.addresses += _interfaces(value)
        case "listenport":
            found.listen_port = int(value)
        case "mtu":
            found.mtu = int(value)
        case "dns":
            found.dns += [ip_address(part) for part in _parts(value) if _is_address(part)]
        case "postup":
            if set_key := _KEY_FILE.fullmatch(value):
                found.key_file = set_key[1]
            else:
                found.up.append(value)
        case "postdown":
            found.down.append(value)
        case "preup" | "predown" | "table" | "fwmark" | "saveconfig":
            found.ignored.append(key)
        case _:
            raise ValueError


def _peer(peer: ForeignPeer, key: str, value: str) -> None:
    match key:
        case "publickey":
            peer.public_key = public_key(value)
        case "allowedips":
            peer.allowed_ips += _interfaces(value)
        case "endpoint":
            peer.endpoint = _endpoint(value)
        case "persistentkeepalive":
            peer.keepalive = 0 if value == "off" else int(value)
        case "presharedkey":
            peer.preshared = True
        case _:
            raise ValueError


# In the files of a mesh of n nodes the same value stands n times.
_endpoint = lru_cache(maxsize=_MOST_VALUES)(endpoint)


@lru_cache(maxsize=_MOST_VALUES)
def _interfaces(value: str) -> tuple[Interface, ...]:
    return tuple(map(ip_interface, _parts(value)))


def _parts(value: str) -> Iterator[str]:
    return (part for part in (each.strip() for each in value.split(",")) if part)


def _is_address(text: str) -> bool:
    """Return whether an entry of `DNS` is an address: others are search domains."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
