"""One node's share of the mesh, in time and space proportional to the number of nodes."""

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface

from wgmesh.errors import WgmeshError
from wgmesh.mesh import exits, topology
from wgmesh.mesh.firewall import Chain, firewall
from wgmesh.mesh.topology import Layout
from wgmesh.model.inventory import Inventory, Mesh, Node
from wgmesh.model.numbers import TUNNEL_MARK
from wgmesh.model.plan import (
    Exempt,
    ExitCandidate,
    ExitPlan,
    Firewall,
    HubPlan,
    NodePlan,
    Peer,
    Route,
)
from wgmesh.model.terms import Address, Interface, Prefix

_NOTHING = Exempt()

_HUB_TARGETS = 3
"""How many spokes have to be off at the same time to make a hub look as if it did not forward."""

_OTHER_INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_+.@-]{1,15}")
"""Names that neither nft (a trailing `*`) nor a sysctl's path (`/`) reads as something else."""


def find_node(inventory: Inventory, public_key: str) -> Node | None:
    """Return the node whose key is or will be `public_key`, or None: the name is only a label."""
    keys = ((node, (node.public_key, node.next_public_key)) for node in inventory.nodes)
    return next((node for node, own in keys if public_key in own), None)


def plan(
    inventory: Inventory,
    node_name: str,
    *,
    allow_hooks: bool = False,
    private_key_path: str | None = None,
    public_key: str | None = None,
    exempt: Exempt = _NOTHING,
) -> NodePlan:
    """Return the share of the node called `node_name`.

    It runs the key `public_key`, by default the inventory's; its next one does as well.

    Hooks are left out unless `allow_hooks`; `%i` in them becomes the interface, as wg-quick(8) has
    it. `private_key_path` defaults to `/etc/wireguard/INTERFACE.key`. Nodes that have no public key
    yet are nobody's peers. `exempt` is what of a node that uses exits does not. Raises WgmeshError
    when the node itself is unknown or has no key, or names an interface that cannot be one.
    """
    mesh = inventory.mesh
    layout = topology.layout(inventory)
    node = layout.nodes.get(node_name)
    if node is None or node.public_key is None:
        if any(other.name == node_name for other in inventory.nodes):
            raise WgmeshError(f"node {node_name} has no public_key", "wgmesh gen-keys makes one")
        raise WgmeshError(f"there is no node {node_name} in the inventory", "check the name")
    peers = tuple(_peer(layout, node, other) for other in topology.peers(layout, node))
    routes = tuple(_routes(layout, node, mesh.interface, peers))
    use = _exits(mesh, node, peers)
    guard: list[Chain] = []
    if use is not None:
        reached = tuple(route.prefix for route in routes)
        guard = exits.chains(mesh.interface, reached, exempt)
        families = exit_families(node, use)
        routes += tuple(exits.routes(mesh.interface, reached, families))
        first = exits.at_boot(mesh, layout, node)
        peers = tuple(
            _carries_default(peer, families) if first and peer.name == first.name else peer
            for peer in peers
        )
    lans = use is not None and bool(exempt.sources)
    forwards = passes_on(mesh, layout, node)
    return NodePlan(
        node=node.name,
        interface=mesh.interface,
        public_key=public_key or node.public_key,
        private_key_path=private_key_path or f"/etc/wireguard/{mesh.interface}.key",
        addresses=tuple(host_length(address) for address in node.address),
        listen_port=node.listen_port,
        mtu=mesh.mtu,
        peers=peers,
        routes=routes,
        firewall=table(mesh, layout, node, guard),
        rules=tuple(exits.rules(exempt)) if use is not None else (),
        fwmark=TUNNEL_MARK if use is not None else 0,
        sysctls=(
            *(exits.SYSCTLS if use is not None else ()),
            *(sysctls(mesh, node, {route.prefix.version for route in routes}) if forwards else ()),
            *((("net.ipv4.ip_forward", "1"),) if lans and not forwards else ()),
        ),
        post_up=_hook(node.post_up, mesh.interface) if allow_hooks else None,
        post_down=_hook(node.post_down, mesh.interface) if allow_hooks else None,
        exits=use,
        hubs=_hubs(mesh, layout, node, peers),
    )


def table(mesh: Mesh, layout: Layout, node: Node, guard: Sequence[Chain] = ()) -> Firewall | None:
    """Return the firewall of `node`, or None when it needs none; `guard` are further chains."""
    return firewall(
        mesh.interface,
        layout.mesh_cidr,
        forwards=node.forwarding,
        relays=node.name in layout.hubs,
        exit_only=_exit_only(mesh, node),
        shares=node.name in layout.hubs and len(layout.hubs) > 1,
        nat_interfaces=_outward(mesh, node),
        guard=guard,
    )


def passes_on(mesh: Mesh, layout: Layout, node: Node) -> bool:
    """Tell whether `node` passes on packets of others."""
    return node.forwarding or node.name in layout.hubs or is_exit(mesh, node)


def exit_families(node: Node, use: ExitPlan) -> tuple[int, ...]:
    """Return the IP versions in which `node` and some exit of its have mesh addresses."""
    own = {address.version for address in node.address}
    theirs = {address.version for each in use.candidates for address in each.addresses}
    return tuple(sorted(own & theirs))


def _carries_default(peer: Peer, families: tuple[int, ...]) -> Peer:
    """Return `peer`, an exit, with the default routes."""
    versions = [v for v in families if any(v == each.version for each in peer.addresses)]
    wider = [*peer.allowed_ips, *map(exits.default, versions)]
    return replace(peer, allowed_ips=tuple(topology.sort(wider)))


def _peer(layout: Layout, node: Node, other: Node) -> Peer:
    if other.public_key is None:
        raise AssertionError("a layout has only nodes with a key")
    return Peer(
        name=other.name,
        public_key=other.public_key,
        addresses=tuple(address.ip for address in other.address),
        allowed_ips=tuple(topology.allowed(layout, node, other)),
        endpoints=topology.endpoints(other),
        persistent_keepalive=topology.keepalive(node, other),
        preshared_key_path=topology.psk_path(node, other),
        intermittent=other.intermittent,
        managed=other.managed,
        next_public_key=other.next_public_key,
    )


def host_length(address: Interface) -> Interface:
    """Return `address` as /32 or /128: the way to the rest of its prefix is a route of ours."""
    if isinstance(address, IPv4Interface):
        return IPv4Interface((int(address), 32))
    return IPv6Interface((int(address), 128))


def _routes(layout: Layout, node: Node, interface: str, peers: tuple[Peer, ...]) -> Iterator[Route]:
    """Yield a route for each mesh prefix and for each prefix beyond it that a peer carries.

    A default route stays in AllowedIPs only: in the main table it would swallow the tunnel's own
    packets. What lies behind this node is not reached through the mesh.
    """
    beyond = [prefix for peer in peers for prefix in peer.allowed_ips if prefix.prefixlen]
    mine = set(node.allowed_ips)
    wanted = [p for p in topology.outside(beyond, layout.mesh_cidr) if not mine or p not in mine]
    for prefix in topology.sort([*layout.mesh_cidr, *wanted]):
        yield Route(prefix, interface)


def is_exit(mesh: Mesh, node: Node) -> bool:
    """Return whether `node` forwards to the internet for others."""
    return node.name in mesh.exit_nodes and node.enable_nat and node.exit_out_iface is not None


def _outward(mesh: Mesh, node: Node) -> tuple[str, ...]:
    """Return the interfaces by which mesh sources leave translated, by name."""
    names = {node.nat_iface, node.exit_out_iface if is_exit(mesh, node) else None}
    outward = tuple(sorted(name for name in names if name is not None))
    for name in outward:
        if not _OTHER_INTERFACE.fullmatch(name):
            raise WgmeshError(
                f"node {node.name}: {name!r} cannot be the name of a network interface",
                "nat_iface and exit_out_iface are names as `ip link` shows them",
            )
    return outward


def _exit_only(mesh: Mesh, node: Node) -> dict[str, tuple[Prefix, ...]]:
    """Return the interface of an exit that is not, by its admin, for the networks there as well."""
    name = node.exit_out_iface
    if name is None or not is_exit(mesh, node) or name == node.nat_iface:
        return {}
    return {name: node.allowed_ips}


def sysctls(mesh: Mesh, node: Node, routed: Set[int]) -> Iterator[tuple[str, str]]:
    """Yield what a node that forwards needs, in the order to set it, for the families it carries.

    `routed` are the IP versions of its routes into the mesh.

    A machine that forwards IPv6 ignores router advertisements and loses its default route, unless
    accept_ra is 2 first; ip-sysctl.rst, "accept_ra". A dot in a name is written `/`; sysctl(8).
    """
    families = routed | {prefix.version for prefix in node.allowed_ips}
    if 4 in families:
        yield "net.ipv4.ip_forward", "1"
    if 6 in families:
        for name in _outward(mesh, node):
            yield f"net.ipv6.conf.{name.replace('.', '/')}.accept_ra", "2"
        yield "net.ipv6.conf.all.forwarding", "1"


def _hook(command: str | None, interface: str) -> str | None:
    return None if command is None else command.replace("%i", interface)


def _hubs(mesh: Mesh, layout: Layout, node: Node, peers: tuple[Peer, ...]) -> HubPlan | None:
    """Return what a spoke needs to choose its hub, where there is a choice."""
    if not topology.is_spoke(layout, node) or len(layout.hubs) < 2:
        return None
    by_name = {peer.name: peer for peer in peers}
    return HubPlan(
        candidates=tuple(
            ExitCandidate(name, by_name[name].public_key, by_name[name].addresses)
            for name in layout.hubs
            if name in by_name
        ),
        selection=mesh.hub_selection,
        carried=tuple(topology.sort(topology.carried(layout, node))),
        targets=tuple(_beyond(layout, node)),
    )


def _beyond(layout: Layout, node: Node) -> Iterator[Address]:
    """Yield the addresses of the next few spokes after `node` that are there day and night."""
    names = [each.name for each in layout.nodes.values() if topology.is_spoke(layout, each)]
    start = names.index(node.name)
    found = 0
    for name in [*names[start + 1 :], *names[:start]]:
        other = layout.nodes[name]
        if other.managed and not other.intermittent and other.address and found < _HUB_TARGETS:
            found += 1
            yield other.address[0].ip


def _exits(mesh: Mesh, node: Node, peers: tuple[Peer, ...]) -> ExitPlan | None:
    """Return what the exit selector needs: the exits that this node peers with, as listed."""
    if not exits.uses(mesh, node):
        return None
    by_name = {peer.name: peer for peer in peers}
    candidates: list[ExitCandidate] = []
    for name in mesh.exit_nodes:
        if name in by_name:
            addresses: tuple[Address, ...] = by_name[name].addresses
            candidates.append(ExitCandidate(name, by_name[name].public_key, addresses))
    return exit_plan(mesh, candidates)


def exit_plan(mesh: Mesh, candidates: Iterable[ExitCandidate]) -> ExitPlan:
    """Return what the exit selector needs to know of these exits."""
    return ExitPlan(
        candidates=tuple(candidates),
        primary=mesh.exit_primary,
        policy=mesh.exit_policy,
        check_interval_seconds=mesh.exit_check_interval_seconds,
        test_target=mesh.exit_test_target,
        on_no_exit=mesh.on_no_exit,
    )
