"""One line for people about a change; keys of peers are shortened, secrets never shown."""

from typing import assert_never

from wgmesh.model.change import (
    AcceptAdd,
    AcceptRemove,
    AddressAdd,
    AddressRemove,
    Change,
    DeviceSet,
    EndpointSet,
    FirewallSet,
    LinkCreate,
    LinkDelete,
    LinkSet,
    PeerRemove,
    PeerSet,
    RouteRemove,
    RouteReplace,
    RuleAdd,
    RuleRemove,
    SysctlSet,
)
from wgmesh.model.plan import Route


def _device(change: DeviceSet) -> str:
    parts = []
    if change.private_key is not None:
        parts.append("private key")
    if change.listen_port is not None:
        parts.append(f"listen port {change.listen_port}")
    if change.fwmark is not None:
        parts.append(f"fwmark {change.fwmark:#x}")
    return f"{change.name}: {', '.join(parts)}"


def _link(change: LinkSet) -> str:
    parts = [] if change.mtu is None else [f"mtu {change.mtu}"]
    if change.up is not None:
        parts.append("up" if change.up else "down")
    return f"{change.name}: {', '.join(parts)}"


def route(value: Route) -> str:
    """Return a route as ip-route(8) would have it."""
    device = f" dev {value.device}" if value.device else ""
    return f"{value.kind.value + ' ' if not device else ''}{value.prefix}{device}"


def describe(change: Change) -> str:
    """Return what `change` does, as one line."""
    match change:
        case LinkCreate(name):
            return f"create {name}"
        case LinkDelete(name):
            return f"delete {name}"
        case LinkSet():
            return _link(change)
        case DeviceSet():
            return _device(change)
        case PeerSet():
            prefixes = ", ".join(sorted(map(str, change.peer.allowed_ips)))
            return f"peer {change.peer.public_key[:8]}…: AllowedIPs {prefixes or 'none'}"
        case EndpointSet():
            return f"peer {change.public_key[:8]}…: endpoint {change.endpoint}"
        case PeerRemove():
            return f"peer {change.public_key[:8]}…: remove"
        case AddressAdd():
            return f"address {change.address}: add"
        case AddressRemove():
            return f"address {change.address}: remove"
        case RouteReplace(value):
            return f"route {route(value)}: add"
        case RouteRemove(value):
            return f"route {route(value)}: remove"
        case RuleAdd(rule):
            return f"rule {rule.priority}: add"
        case RuleRemove(rule):
            return f"rule {rule.priority}: remove"
        case FirewallSet(firewall):
            return "nft table inet wgmesh: " + ("remove" if firewall is None else "load")
        case AcceptAdd(accept):
            return f"IPv{accept.family} accept in iptables' {accept.chain}: add"
        case AcceptRemove(accept):
            return f"IPv{accept.family} accept in iptables' {accept.chain}: remove"
        case SysctlSet(key, value):
            return f"sysctl {key}: {value}"
        case _:
            assert_never(change)
