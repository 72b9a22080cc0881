"""Single values: each function turns one string into what it means, or says why it cannot."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from types import MappingProxyType
from typing import Any

from wgmesh.errors import WgmeshError
from wgmesh.model.terms import Address, Endpoint, Interface, Prefix

PORTS = (1, 65535)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# wg-quick(8), less what a path or a sysctl's name would read otherwise
_IFNAME = re.compile(r"(?!.*\.\.)(?!.*\.$)[A-Za-z0-9_][A-Za-z0-9_+.-]{0,14}")
# The kernel keeps all and default for net.*.conf, wg(8) keeps interfaces, lo is taken everywhere,
# and wg-failover.conf is a file of ours.
_RESERVED_IFNAMES = frozenset({"all", "default", "interfaces", "lo", "wg-failover"})
# 32 bytes are 43 digits and one pad; the last digit carries four bits, so only 16 are canonical.
_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_ZERO_KEY = "A" * 43 + "="
_CIDR = re.compile(r"([0-9A-Fa-f:.]+)/(0|[1-9][0-9]{0,2})")
_ENDPOINT = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([^:]*))?")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")  # RFC 1123, 2.1
_DIGITS = re.compile(r"[0-9]+")
_PATH = re.compile(r"/[A-Za-z0-9_./%-]*[A-Za-z0-9_%-]")
_SSH_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
_SSH_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?")

_ENDPOINT_SHAPE = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[1-9][0-9]{0,4})?"

_PRIVATE = tuple(  # RFC 1918, RFC 4193
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)


class BadValue(WgmeshError):  # noqa: N818 - it never leaves this package
    """A value that its field cannot take; the readers turn it into a problem."""


def show(text: str, limit: int = 60) -> str:
    """Return `text` quoted, escaped and cut to `limit` characters, fit for a message."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return f"'{escaped(cut)}'"


def escaped(text: str) -> str:
    """Return `text` with what is not printable escaped, so that it can draw no line of its own."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def printable(text: str) -> str:
    """Return `text`; raises BadValue when it holds a character that could smuggle a line."""
    if text.isprintable():
        return text
    char = next(c for c in text if not c.isprintable())
    kind = "control" if unicodedata.category(char) == "Cc" else "invisible"
    raise BadValue(f"holds the {kind} character U+{ord(char):04X}", "remove it")


def is_private(network: Prefix) -> bool:
    """Return whether the network lies in RFC 1918 or ULA space."""
    first, last = network.network_address, network.broadcast_address
    return any(first in block and last in block for block in _PRIVATE)


def _list_hint(text: str, otherwise: str = "") -> str:
    return 'several values are a list: ["a", "b"]' if "," in text else otherwise


def node_name(text: str) -> str:
    """Return a node's name; it is a file name and a part of paths on every node."""
    if not _NAME.fullmatch(text):
        hint = "1 to 63 of a-z 0-9 -, the first one no dash"
        raise BadValue(f"{show(text)} is no node name", _list_hint(text, hint))
    return text


def interface_name(text: str) -> str:
    """Return an interface name that both the kernel and wg-quick take."""
    if not _IFNAME.fullmatch(text) or text in _RESERVED_IFNAMES:
        raise BadValue(
            f"{show(text)} is no interface name", "1 to 15 of A-Z a-z 0-9 _ . + -, such as wg0"
        )
    return text


def public_key(text: str) -> str:
    """Return a WireGuard public key: 32 bytes in canonical base64, not all zero."""
    if not _KEY.fullmatch(text):
        raise BadValue(
            f"{show(text)} is not 32 bytes of base64", "`wg pubkey` prints 44 characters"
        )
    if text == _ZERO_KEY:
        raise BadValue("the key is all zero", "`wg pubkey` derives it from the private key")
    return text


def _cidr(text: str) -> Interface:
    match = _CIDR.fullmatch(text)
    try:
        if match:
            return ip_interface(text)
    except ValueError:
        pass
    try:
        ip = ip_address(match[1] if match else text)
    except ValueError:
        hint = _list_hint(text, "such as 10.40.0.1/32 or fd40::1/128")
        raise BadValue(f"{show(text)} is no CIDR", hint) from None
    if match:
        raise BadValue(
            f"{show(text)} has an impossible prefix length",
            f"IPv{ip.version} has 0 to {ip.max_prefixlen}",
        )
    raise BadValue(f"{show(text)} lacks a prefix length", f"write '{ip}/{ip.max_prefixlen}'")


def mesh_address(text: str) -> Interface:
    """Return a node's address with its prefix length; host bits are welcome here."""
    interface = _cidr(text)
    if not any(interface.ip in block for block in _PRIVATE):
        what = "a public address" if interface.ip.is_global else "not a private address"
        raise BadValue(f"{show(text)} is {what}", "a mesh has RFC 1918 or ULA addresses")
    return interface


def prefix(text: str) -> Prefix:
    """Return a network; raises BadValue when host bits are set."""
    interface = _cidr(text)
    network = interface.network
    if interface.ip != network.network_address:
        raise BadValue(
            f"{show(text)} has host bits set",
            f"the network is {network}, the host {interface.ip}/{interface.max_prefixlen}",
        )
    return network


def mesh_prefix(text: str) -> Prefix:
    """Return one of the mesh's own networks, which are private."""
    network = prefix(text)
    if not is_private(network):
        raise BadValue(
            f"{show(text)} is not private", "RFC 1918 or ULA only, such as 10.40.0.0/24, fd40::/64"
        )
    return network


def address(text: str) -> Address:
    """Return an address without prefix length."""
    try:
        if "%" not in text:
            return ip_address(text)
    except ValueError:
        pass
    raise BadValue(f"{show(text)} is no IP address", _list_hint(text, "such as 1.1.1.1"))


def _host(text: str, shown: str) -> str:
    labels = text.removesuffix(".").split(".")
    if _DIGITS.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(text))
        except ValueError:
            raise BadValue(f"{shown} has an impossible IPv4 address") from None
    if len(text) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise BadValue(f"{shown} has no valid host name", "RFC 1123: letters, digits, '-' and '.'")
    return text


def endpoint(text: str) -> Endpoint:
    """Return an endpoint; its port is 0 where the text has none."""
    shown = show(text)
    match = _ENDPOINT.fullmatch(text)
    if not match:
        if text.count(":") > 1 and "[" not in text:
            raise BadValue(f"{shown} has IPv6 without brackets", "write '[2001:db8::1]:51820'")
        raise BadValue(
            f"{shown} is no endpoint", _list_hint(text, "host:port, [IPv6]:port or host")
        )
    literal, name, port = match.groups()
    if literal is not None:
        try:
            host = str(IPv6Address(literal)) if "%" not in literal else ""
        except ValueError:
            host = ""
        if not host:
            raise BadValue(f"{shown} has an impossible IPv6 address")
    else:
        host = _host(name, shown)
    return _routable(Endpoint(host, 0 if port is None else _port(port, shown)), shown)


def _port(text: str, shown: str) -> int:
    if _DIGITS.fullmatch(text) and len(text) <= 5 and 1 <= int(text) <= 65535 and text[0] != "0":
        return int(text)
    raise BadValue(f"{shown} has an impossible port", "ports are 1 to 65535")


def _routable(found: Endpoint, shown: str) -> Endpoint:
    if found.literal:
        ip = ip_address(found.host)
        if ip.is_unspecified or ip.is_multicast:
            raise BadValue(f"{shown} is no address that a host can have")
    return found


def _path(text: str, placeholder: str) -> str:
    # The text is not shown: somebody may have put the key itself here.
    hint = "an absolute path of A-Z a-z 0-9 _ . / -" + (
        f", {placeholder} is the peer's name" if placeholder else ""
    )
    if not text.startswith("/"):
        raise BadValue("is no absolute path", hint)
    rest = text.replace(placeholder, "") if placeholder else text
    if not _PATH.fullmatch(text) or "%" in rest:
        raise BadValue("has characters that are not safe in a path", hint)
    if {".", ".."} & set(text.split("/")):
        raise BadValue("has '.' or '..' in its path", hint)
    return text


def private_key_path(text: str) -> str:
    """Return the absolute path of a private key; raises BadValue on anything a shell would read."""
    return _path(text, "")


def preshared_key_path(text: str) -> str:
    """Return the absolute path of preshared keys, in which %p stands for the peer's name."""
    return _path(text, "%p")


def ssh_host(text: str) -> str:
    """Return a host or alias for ssh(1); a leading dash would be an option."""
    if not _SSH_HOST.fullmatch(text):
        raise BadValue(f"{show(text)} is no host for ssh", "a name, an alias or an address")
    return text


def ssh_user(text: str) -> str:
    """Return a login name for ssh(1)."""
    if not _SSH_USER.fullmatch(text):
        raise BadValue(f"{show(text)} is no login name")
    return text


def hook(text: str) -> str:
    """Return a command line for wg-quick; it is one line and not blank."""
    if not text.strip():
        raise BadValue("is empty", "leave it out")
    return text


SHAPES: Mapping[Callable[[str], Any], str] = MappingProxyType(
    {
        node_name: _NAME.pattern,
        interface_name: _IFNAME.pattern,
        public_key: _KEY.pattern,
        mesh_address: _CIDR.pattern,
        mesh_prefix: _CIDR.pattern,
        prefix: _CIDR.pattern,
        address: "[0-9A-Fa-f:.]+",
        endpoint: _ENDPOINT_SHAPE,
        private_key_path: _PATH.pattern,
        preshared_key_path: _PATH.pattern,
        ssh_host: _SSH_HOST.pattern,
        ssh_user: _SSH_USER.pattern,
        hook: r".*\S.*",
    }
)
"""What the text looks like that each parser takes: wider than the parser, never narrower."""
