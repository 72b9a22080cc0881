"""What a machine's kernel holds, in a form that two moments compare by: for before and after.

Left out is what differs without anybody's doing: link-local addresses (of a WireGuard device they
are random), interface indices, handshakes and counters, and secrets.
"""

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from tests.lab.machine import Machine

OUR_PROTOCOL = "101"
OUR_TABLE = "table inet wgmesh {"
_LINK_LOCAL = re.compile(r"(?:fe80:|ff00::/8)")
_LINK_FIELDS = ("ifname", "flags", "mtu", "qdisc", "operstate", "link_type", "txqlen", "linkinfo")
_SYSCTLS = r"^net\.ipv[46]\.(ip_forward|conf\..*\.(forwarding|accept_ra|rp_filter|disable_ipv6))"


def dump(machine: Machine, interface: str = "wg0") -> dict[str, tuple[str, ...]]:
    """Return the peers by key: endpoint, AllowedIPs, latest handshake, keepalive, a PSK's digest.

    The device's own line is under "": port and mark.
    """
    head, *lines = machine.run(["wg", "show", interface, "dump"]).stdout.splitlines()
    found = {"": tuple(head.split("\t")[1:])}
    for line in lines:
        key, psk, endpoint, allowed, handshake, _, _, keepalive = line.split("\t")
        secret = psk if psk == "(none)" else sha256(psk.encode()).hexdigest()
        prefixes = " ".join(sorted(allowed.split(",")))
        found[key] = (endpoint, prefixes, handshake, keepalive, secret)
    return found


def settled(peers: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return a dump without the handshakes."""
    return {key: value if key == "" else (*value[:2], *value[3:]) for key, value in peers.items()}


def routes(machine: Machine) -> list[str]:
    """Return every route of every table, numeric, with the protocol that made it; sorted."""
    found = []
    for family in ("-4", "-6"):
        listed = machine.run(["ip", "-N", family, "route", "show", "table", "all"]).stdout
        found += [f"{family} {line.strip()}" for line in listed.splitlines()]
    return sorted({line for line in found if not _LINK_LOCAL.search(line)})


def rules(machine: Machine) -> list[str]:
    """Return every policy rule, numeric, with the protocol that made it."""
    return [
        f"{family} {line.strip()}"
        for family in ("-4", "-6")
        for line in machine.run(["ip", "-N", "-d", family, "rule"]).stdout.splitlines()
    ]


def addresses(machine: Machine) -> list[tuple[Any, ...]]:
    """Return every address with its interface, scope and flags; sorted."""
    listed = json.loads(machine.run(["ip", "-j", "addr"]).stdout)
    return sorted(
        (
            link["ifname"],
            address["local"],
            address["prefixlen"],
            address["scope"],
            sorted(key for key, value in address.items() if value is True),
        )
        for link in listed
        for address in link["addr_info"]
        if address["scope"] != "link"
    )


def sysctls(machine: Machine) -> list[str]:
    """Return the sysctls that say how a machine forwards, of every interface."""
    return machine.run(["sysctl", "-a", "-r", _SYSCTLS]).stdout.splitlines()


def link(machine: Machine, interface: str = "wg0") -> dict[str, Any]:
    """Return what the interface is, MTU and flags included."""
    shown = json.loads(machine.run(["ip", "-j", "-d", "link", "show", interface]).stdout)[0]
    return {field: shown.get(field) for field in _LINK_FIELDS}


def firewall(machine: Machine) -> str:
    """Return all nft tables, without what they count."""
    return machine.run(["nft", "-s", "list", "ruleset"]).stdout


def whole(machine: Machine, interface: str = "wg0") -> dict[str, Any]:
    """Return all of it: device, link, addresses, routes, rules, sysctls, nft."""
    return {
        "device": settled(dump(machine, interface)),
        "link": link(machine, interface),
        "addresses": addresses(machine),
        "routes": routes(machine),
        "rules": rules(machine),
        "sysctls": sysctls(machine),
        "nft": firewall(machine),
    }


def foreign(machine: Machine, interface: str = "wg0") -> dict[str, Any]:
    """Return what is not wgmesh's: its table, its protocol and its interface left out."""
    tables, ours = [], False
    for line in machine.run(["nft", "list", "ruleset"]).stdout.splitlines():
        ours = line == OUR_TABLE or (ours and not line.startswith("table "))
        tables += [] if ours else [line]
    return {
        "nft": tables,
        "rules": list(_others(rules(machine), interface)),
        "routes": list(_others(routes(machine), interface)),
        "addresses": [entry for entry in addresses(machine) if entry[0] != interface],
    }


def _others(lines: Iterable[str], interface: str) -> Iterable[str]:
    ours = re.compile(rf"\bproto(?:col)? {OUR_PROTOCOL}\b|\bdev {interface}\b.* proto 2\b")
    return (line for line in lines if not ours.search(line))
