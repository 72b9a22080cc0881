"""Desired and observed state to changes: what to do, in an order that never breaks what stays.

Adds come before removals. A change may change what else there is to do, as when a prefix that one
peer gets is taken from another: so each is played through the model of `wgmesh.after` at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from wgmesh.after import Link, Machine
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
from wgmesh.model.kernel import KernelState, LinkState, PeerState
from wgmesh.model.numbers import ROUTE_PROTOCOL
from wgmesh.model.plan import Route, RouteKind, Rule, RuleAction
from wgmesh.model.terms import Interface, Prefix


def diff(desired: KernelState, observed: KernelState, *, adopt: bool = False) -> tuple[Change, ...]:
    """Return the changes that lead from `observed` to `desired`, in the order to make them.

    First what adds, then what takes away (`split` finds the border). What both states share is at
    no moment absent. Left alone: an endpoint or private key that `desired` gives as None, sysctls
    that it does not name, and routes whose protocol is not ours; the latter go with `adopt`, which
    takes over an interface that others had configured.
    """
    machine = Machine(observed)
    changes: list[Change] = []
    for step in (_replace_link, _add, partial(_remove, adopt=adopt)):
        for change in step(desired, machine):
            machine.make(change)
            changes.append(change)
    return tuple(changes)


def split(changes: Sequence[Change]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """Return `changes` in two parts: the additive ones, and from the first removal on."""
    for position, change in enumerate(changes):
        if _takes_away(change):
            return tuple(changes[:position]), tuple(changes[position:])
    return tuple(changes), ()


def _takes_away(change: Change) -> bool:
    match change:
        case RuleRemove() | RouteRemove() | AddressRemove() | PeerRemove() | LinkDelete():
            return True
        case AcceptRemove():
            return True
        case FirewallSet(firewall=None) | LinkSet(up=False):
            return True
        case _:
            return False


# ---------------------------------------------------------------- the steps
# Each is a generator whose changes the caller makes on `machine` before it asks for the next.


def _replace_link(desired: KernelState, machine: Machine) -> Iterator[Change]:
    """Yield the end of an interface of another name: the new one may want its port."""
    old, new = machine.link, desired.link
    if old is not None and new is not None and old.name != new.name:
        yield LinkDelete(old.name)


def _add(desired: KernelState, machine: Machine) -> Iterator[Change]:
    want = desired.link
    if want is not None:
        if machine.link is None:
            yield LinkCreate(want.name)
        yield from _device(want, machine)
    for key, value in desired.sysctls.items():
        if machine.sysctls.get(key) != value:
            yield SysctlSet(key, value)
    if desired.firewall is not None and desired.firewall != machine.firewall:
        yield FirewallSet(desired.firewall)
    for accept in sorted(desired.accepts - machine.accepts, key=repr):
        yield AcceptAdd(accept)
    if want is not None and machine.link is not None:
        if machine.link.mtu != want.mtu:
            yield LinkSet(want.name, mtu=want.mtu)
        yield from _peers(want, machine.link)
        there = {address.ip for address in machine.link.addresses}
        for address in sorted(want.addresses - machine.link.addresses, key=_address_order):
            if address.ip not in there:
                yield AddressAdd(want.name, address)
        if want.up and not machine.link.up:
            yield LinkSet(want.name, up=True)
    for route in sorted(desired.routes - machine.routes, key=_route_order):
        yield RouteReplace(route)
    if want is not None and machine.link is not None:
        # Those of another prefix length: with the old one goes its route, so ours comes first.
        for address in sorted(want.addresses - machine.link.addresses, key=_address_order):
            yield AddressAdd(want.name, address)
    for rule in sorted(desired.rules - machine.rules, key=_rule_order):
        yield RuleAdd(rule)


def _remove(desired: KernelState, machine: Machine, *, adopt: bool) -> Iterator[Change]:
    want = desired.link
    for rule in sorted(machine.rules - desired.rules, key=_rule_order, reverse=True):
        yield RuleRemove(rule)
    for route in sorted(machine.routes - desired.routes, key=_route_order, reverse=True):
        dies_with_link = want is None and machine.link and machine.link.name == route.device
        if (adopt or route.protocol == ROUTE_PROTOCOL) and not dies_with_link:
            yield RouteRemove(route)
    if want is not None and machine.link is not None:
        if machine.link.up and not want.up:
            yield LinkSet(want.name, up=False)
            for address in sorted(want.addresses - machine.link.addresses, key=_address_order):
                yield AddressAdd(want.name, address)
        for address in sorted(machine.link.addresses - want.addresses, key=_address_order):
            yield AddressRemove(want.name, address)
        for public_key in sorted(machine.link.peers.keys() - want.peers.keys()):
            yield PeerRemove(want.name, public_key)
    for accept in sorted(machine.accepts - desired.accepts, key=repr):
        yield AcceptRemove(accept)
    if desired.firewall is None and machine.firewall is not None:
        yield FirewallSet(None)
    if want is None and machine.link is not None:
        yield LinkDelete(machine.link.name)


def _device(want: LinkState, machine: Machine) -> Iterator[Change]:
    have = machine.link
    if have is None:
        return
    wanted_key = want.private_key
    private_key = wanted_key if wanted_key is not None and wanted_key != have.private_key else None
    listen_port = want.listen_port if want.listen_port != have.listen_port else None
    fwmark = want.fwmark if want.fwmark != have.fwmark else None
    if (private_key, listen_port, fwmark) != (None, None, None):
        yield DeviceSet(want.name, private_key, listen_port, fwmark)


def _peers(want: LinkState, link: Link) -> Iterator[Change]:
    """Yield PeerSets, gainers first, then EndpointSets.

    A gainer takes its prefix from the loser, so that a loser whose whole loss is somebody's gain
    has the right AllowedIPs by the time that it is looked at, and needs no section of its own.
    Gainers that lose a prefix too come after those that do not: so what they lose goes to its
    next owner before they let go of it.
    """
    gainers = {
        key: not link.allowed.get(key, set()) <= peer.allowed_ips
        for key, peer in want.peers.items()
        if key not in link.peers or not peer.allowed_ips <= link.allowed[key]
    }
    for key in sorted(gainers, key=lambda each: (gainers[each], each)):
        yield _section(want.name, want.peers[key], link.peers.get(key))
    for key in sorted(want.peers.keys() - gainers.keys()):
        peer, have = want.peers[key], link.peers[key]
        same = (
            link.allowed[key] == peer.allowed_ips
            and have.persistent_keepalive == peer.persistent_keepalive
            and have.preshared_key == peer.preshared_key
        )
        if not same:
            yield _section(want.name, peer, have)
    for key in sorted(want.peers):
        endpoint = want.peers[key].endpoint
        if endpoint is not None and endpoint != link.peers[key].endpoint:
            yield EndpointSet(want.name, key, endpoint)


def _section(name: str, peer: PeerState, have: PeerState | None) -> PeerSet:
    """Return the section for `peer`, with an endpoint only where it has to change.

    A changed PSK shows in no running session, so the peer is made anew; its endpoint would be
    lost by that and goes along.
    """
    renew = have is not None and have.preshared_key != peer.preshared_key
    endpoint = peer.endpoint
    if have is not None and renew:
        endpoint = endpoint or have.endpoint
    elif have is not None and endpoint == have.endpoint:
        endpoint = None
    return PeerSet(name, replace(peer, endpoint=endpoint), renew)


# ---------------------------------------------------------------- order


def _prefix_order(prefix: Prefix) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), prefix.prefixlen


def _address_order(address: Interface) -> tuple[int, int, int]:
    return address.version, int(address.ip), address.network.prefixlen


def _route_order(route: Route) -> tuple[object, ...]:
    """Sort the unreachable floor in before, and out after, the ways that lie above it."""
    floor = route.kind is RouteKind.UNREACHABLE
    return not floor, route.table, _prefix_order(route.prefix), route.metric, route.device or ""


def _rule_order(rule: Rule) -> tuple[object, ...]:
    """Sort exemptions first, then the unreachable floor, then the look-ups that lead out.

    Put in like this, and taken out in reverse, no packet finds the way out without the floor
    below it, nor the floor without its exemptions.
    """
    exempt = rule.action is RuleAction.GOTO or rule.suppress_prefixlength is not None
    stage = 0 if exempt else 1 if rule.action is RuleAction.UNREACHABLE else 2
    return stage, rule.family, rule.priority, repr(rule)
