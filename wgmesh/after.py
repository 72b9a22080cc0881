"""A state after changes: a model of the executor, which the diff plays its changes through.

AllowedIPs follow the device's own rules (`wg addconf` replaces a peer's AllowedIPs, and a prefix
given to one peer is taken from any other without a word).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from wgmesh.errors import WgmeshError
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
from wgmesh.model.plan import Route
from wgmesh.model.terms import Interface, Prefix, Secret


def after(observed: KernelState, changes: Sequence[Change]) -> KernelState:
    """Return the state that making `changes` on `observed` gives: a model of the executor.

    Raises WgmeshError when a change is for an interface that is not there.
    """
    machine = Machine(observed)
    for change in changes:
        machine.make(change)
    return machine.state()


@dataclass(slots=True)
class Link:
    """The WireGuard interface, to be changed; `owner` says whose AllowedIPs have a prefix."""

    name: str
    up: bool
    mtu: int
    private_key: Secret | None
    listen_port: int
    fwmark: int
    addresses: set[Interface]
    peers: dict[str, PeerState]
    allowed: dict[str, set[Prefix]]
    owner: dict[Prefix, str]


class Machine:
    """The kernel as the executor changes it; guards that each prefix has one owner at most."""

    def __init__(self, state: KernelState) -> None:
        self.link = None if state.link is None else _thawed(state.link)
        self.routes = set(state.routes)
        self.rules = set(state.rules)
        self.firewall = state.firewall
        self.sysctls = dict(state.sysctls)
        self.accepts = set(state.accepts)

    def state(self) -> KernelState:
        """Return what the kernel has now."""
        return KernelState(
            link=None if self.link is None else _frozen(self.link),
            routes=frozenset(self.routes),
            rules=frozenset(self.rules),
            firewall=self.firewall,
            sysctls=dict(self.sysctls),
            accepts=frozenset(self.accepts),
        )

    def make(self, change: Change) -> None:
        """Make one change. Raises WgmeshError when its interface is not there."""
        match change:
            case LinkCreate():
                # The kernel chooses MTU and port of a new device: nothing that a plan could want.
                fresh = LinkState(change.name, False, 0, None, 0, 0, frozenset(), {})
                self.link = _thawed(fresh)
            case LinkDelete():
                self.link = None
                self._drop_routes_over(change.name)
            case LinkSet():
                self._set_link(change)
            case DeviceSet():
                link = self._on(change.name)
                if change.private_key is not None:
                    link.private_key = change.private_key
                if change.listen_port is not None:
                    link.listen_port = change.listen_port
                if change.fwmark is not None:
                    link.fwmark = change.fwmark
            case PeerSet():
                self._set_peer(self._on(change.name), change)
            case EndpointSet():
                peers = self._on(change.name).peers
                peers[change.public_key] = replace(
                    peers[change.public_key], endpoint=change.endpoint
                )
            case PeerRemove():
                link = self._on(change.name)
                link.peers.pop(change.public_key, None)
                for prefix in link.allowed.pop(change.public_key, ()):
                    del link.owner[prefix]
            case AddressAdd():
                self._on(change.name).addresses.add(change.address)
            case AddressRemove():
                self._on(change.name).addresses.discard(change.address)
            case RouteReplace():
                key = _route_key(change.route)
                self.routes = {route for route in self.routes if _route_key(route) != key}
                self.routes.add(change.route)
            case RouteRemove():
                self.routes.discard(change.route)
            case RuleAdd():
                self.rules.add(change.rule)
            case RuleRemove():
                self.rules.discard(change.rule)
            case FirewallSet():
                self.firewall = change.firewall
            case AcceptAdd():
                self.accepts.add(change.accept)
            case AcceptRemove():
                self.accepts.discard(change.accept)
            case SysctlSet():
                self.sysctls[change.key] = change.value
            case _:
                assert_never(change)

    def _on(self, name: str) -> Link:
        if self.link is None or self.link.name != name:
            raise WgmeshError(f"there is no interface {name} to change")
        return self.link

    def _set_link(self, change: LinkSet) -> None:
        link = self._on(change.name)
        if change.mtu is not None:
            link.mtu = change.mtu
        if change.up is not None:
            link.up = change.up
        if change.up is False:  # the kernel forgets IPv6 addresses and all routes of such a link
            link.addresses = {each for each in link.addresses if each.version == 4}
            self._drop_routes_over(change.name)

    def _drop_routes_over(self, device: str) -> None:
        self.routes = {route for route in self.routes if route.device != device}

    @staticmethod
    def _set_peer(link: Link, change: PeerSet) -> None:
        peer = change.peer
        key = peer.public_key
        before = None if change.renew else link.peers.get(key)
        endpoint = peer.endpoint or (before.endpoint if before else None)
        link.peers[key] = replace(peer, endpoint=endpoint)
        for prefix in link.allowed.get(key, ()):
            del link.owner[prefix]
        for prefix in peer.allowed_ips:
            if prefix in link.owner:
                link.allowed[link.owner[prefix]].discard(prefix)
            link.owner[prefix] = key
        link.allowed[key] = set(peer.allowed_ips)


def _thawed(link: LinkState) -> Link:
    return Link(
        name=link.name,
        up=link.up,
        mtu=link.mtu,
        private_key=link.private_key,
        listen_port=link.listen_port,
        fwmark=link.fwmark,
        addresses=set(link.addresses),
        peers=dict(link.peers),
        allowed={key: set(peer.allowed_ips) for key, peer in link.peers.items()},
        owner={prefix: key for key, peer in link.peers.items() for prefix in peer.allowed_ips},
    )


def _frozen(link: Link) -> LinkState:
    return LinkState(
        name=link.name,
        up=link.up,
        mtu=link.mtu,
        private_key=link.private_key,
        listen_port=link.listen_port,
        fwmark=link.fwmark,
        addresses=frozenset(link.addresses),
        peers={
            key: replace(peer, allowed_ips=frozenset(link.allowed[key]))
            for key, peer in link.peers.items()
        },
    )


def _route_key(route: Route) -> tuple[Prefix, int, int]:
    """Return what the kernel tells routes apart by; `replace` puts one in the place of another."""
    return route.prefix, route.table, route.metric
