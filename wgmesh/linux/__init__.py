"""The kernel: `observe` says what is there of ours, `apply` makes changes. Nothing is decided here.

Observing costs four short processes, six on a node that forwards, and no heavy import, for it
happens each minute.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import assert_never

from wgmesh.linux import (
    bridge,
    iproute,
    iptables,
    link,
    nftables,
    route,
    rtnetlink,
    sysctl,
    wireguard,
)
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
from wgmesh.model.kernel import KernelState, LinkState, Observed, PeerCounters

__all__ = ["apply", "bridge", "counters", "observe"]


FORWARDING = frozenset({"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"})
"""Who sets none of these forwards nothing: iptables is not asked there."""


def observe(interface: str, sysctl_keys: Collection[str]) -> Observed:
    """Return what the kernel has of ours, and the counters of the peers of `interface`.

    Of routes: ours wherever they go, and those that somebody put over `interface` (protocol boot
    or static), so that a snapshot of an interface older than wgmesh is complete. Of sysctls: those
    of `sysctl_keys` that this kernel has. Raises WgmeshError when `interface` is there and is no
    WireGuard device, or when a tool fails.
    """
    device = wireguard.observe(interface)
    four, six = (iproute.show(family, None if device is None else interface) for family in (4, 6))
    link_state = None
    if device is not None:
        attributes = link.attributes((*four, *six), interface)
        link_state = LinkState(
            name=interface,
            up=attributes.up,
            mtu=attributes.mtu,
            private_key=device.private_key,
            listen_port=device.listen_port,
            fwmark=device.fwmark,
            addresses=attributes.addresses,
            peers=device.peers,
        )
    forwards = FORWARDING & {*sysctl_keys}
    state = KernelState(
        link=link_state,
        routes=route.routes(4, four, interface) | route.routes(6, six, interface),
        rules=route.rules(4, four) | route.rules(6, six),
        firewall=nftables.observe(),
        sysctls=sysctl.observe(sysctl_keys),
        accepts=iptables.observe()[0] if forwards else frozenset(),
    )
    return Observed(state, device.counters if device is not None else {})


def counters(interface: str) -> Mapping[str, PeerCounters]:
    """Return what `interface` counts for its peers, by public key; empty when it is not there."""
    device = wireguard.observe(interface)
    return device.counters if device is not None else {}


def apply(changes: Sequence[Change]) -> None:
    """Make `changes` in their order; neighbours that one `wg` call can make go together.

    What is already so (an address that is there, a route that is gone) is no failure. Raises
    WgmeshError on the first change that fails; the ones before it stay made.
    """
    with rtnetlink.Socket() as socket:
        for _, group in groupby(changes, key=_batch):
            _make(list(group), socket)


def _batch(change: Change) -> tuple[object, ...]:
    """Return what neighbours must share to be made in one go."""
    match change:
        case PeerSet(renew=True):
            return PeerSet, change.name, change.peer.public_key
        case PeerSet() | EndpointSet() | PeerRemove():
            return type(change), change.name
        case _:
            return (id(change),)


def _make(group: list[Change], socket: rtnetlink.Socket) -> None:
    """Make one batch: changes of one kind, several only for peers."""
    match group[0]:
        case PeerSet(renew=True) as change:
            wireguard.renew(change.name, change.peer)
        case PeerSet(name=name):
            wireguard.add(name, [each.peer for each in group if isinstance(each, PeerSet)])
        case EndpointSet(name=name):
            moves = [each for each in group if isinstance(each, EndpointSet)]
            wireguard.set_endpoints(name, {each.public_key: each.endpoint for each in moves})
        case PeerRemove(name=name):
            gone = [each.public_key for each in group if isinstance(each, PeerRemove)]
            wireguard.remove(name, gone)
        case DeviceSet() as change:
            wireguard.set_device(change)
        case LinkCreate(name=name):
            link.create(name, socket)
        case LinkDelete(name=name):
            link.delete(name, socket)
        case LinkSet() as change:
            link.change(change, socket)
        case AddressAdd(name=name, address=address):
            link.add_address(name, address, socket)
        case AddressRemove(name=name, address=address):
            link.remove_address(name, address, socket)
        case RouteReplace(route=wanted):
            route.replace(wanted, socket)
        case RouteRemove(route=unwanted):
            route.remove(unwanted, socket)
        case RuleAdd(rule=rule):
            route.add_rule(rule, socket)
        case RuleRemove(rule=rule):
            route.remove_rule(rule, socket)
        case FirewallSet(firewall=firewall):
            if firewall is None:
                nftables.delete()
            else:
                nftables.replace(firewall)
        case AcceptAdd(accept=accept):
            iptables.add(accept)
        case AcceptRemove(accept=accept):
            iptables.remove(accept)
        case SysctlSet(key=key, value=value):
            sysctl.apply(key, value)
        case _ as never:
            assert_never(never)
