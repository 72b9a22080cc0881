"""Who peers with whom, and which prefixes each end lets through: full mesh and star.

AllowedIPs is a route and a source filter in one, so whatever a node reaches through somebody else
must be carried, both ways, by exactly one peer: its *gateway*. A spoke's gateway is the hub in
force; in a full mesh a node behind NAT has one for the other nodes behind NAT, the *relay*.

Everything here costs O(1) for a pair of nodes, but for what a gateway carries: O(n).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, IPv4Network, IPv6Network

from wgmesh.frozen import frozen
from wgmesh.model.inventory import Inventory, Node
from wgmesh.model.terms import Address, Endpoint, Interface, Prefix, Topology

NAT_KEEPALIVE_SECONDS = 25
"""What keeps most NAT mappings open; wg(8), PersistentKeepalive."""


@frozen
class Layout:
    """The mesh as tunnels see it: nodes that have a key, and the parts some of them play.

    `hubs` are in the inventory's order and empty in a full mesh; `hub` is the one in force; `relay`
    joins the nodes behind NAT of a full mesh. `by_key` knows a node by its next key, too.
    """

    mesh_cidr: tuple[Prefix, ...]
    nodes: dict[str, Node]
    by_key: dict[str, Node]
    hubs: dict[str, Node]
    hub: Node | None
    relay: Node | None


def layout(inventory: Inventory) -> Layout:
    """Return the layout of `inventory`; a node without a public key has no place in it yet."""
    mesh = inventory.mesh
    ordered = sorted(inventory.nodes, key=lambda node: node.name)
    nodes = {node.name: node for node in ordered if node.public_key is not None}
    star = mesh.topology is Topology.STAR
    hubs = {name: nodes[name] for name in mesh.hubs if name in nodes} if star else {}
    relays = (node for node in nodes.values() if node.endpoint is not None and node.forwarding)
    return Layout(
        mesh_cidr=tuple(sort(mesh.mesh_cidr)),
        nodes=nodes,
        by_key={
            key: node
            for node in nodes.values()
            for key in (node.next_public_key, node.public_key)
            if key is not None
        },
        hubs=hubs,
        hub=next(iter(hubs.values()), None),
        relay=None if star else next(relays, None),
    )


def matched(before: Layout, after: Layout) -> Iterator[tuple[str, str]]:
    """Yield the new and the old name of each node that stays: known by key, else by name."""
    taken = {before.by_key[key].name for key in after.by_key if key in before.by_key}
    for name, node in after.nodes.items():
        known = before.by_key.get(str(node.public_key))
        if known is not None:
            yield name, known.name
        elif name in before.nodes and name not in taken:
            yield name, name


def peers(of: Layout, node: Node) -> Iterator[Node]:
    """Yield the peers of `node`, by name."""
    for other in of.nodes.values():
        if are_peers(of, node, other):
            yield other


def are_peers(of: Layout, node: Node, other: Node) -> bool:
    """Tell whether there is a tunnel between two nodes.

    A star's spokes peer with the hubs only. Two nodes behind NAT in a full mesh cannot find one
    another, so they do not peer.
    """
    if node.name == other.name:
        return False
    if of.hubs:
        return node.name in of.hubs or other.name in of.hubs
    return node.endpoint is not None or other.endpoint is not None


def is_spoke(of: Layout, node: Node) -> bool:
    """Tell whether `node` reaches all others but the hubs through the hub in force."""
    return bool(of.hubs) and node.name not in of.hubs


def gateway(of: Layout, node: Node) -> Node | None:
    """Return who carries for `node` the traffic of nodes that it does not peer with."""
    found = of.hub if is_spoke(of, node) else of.relay if node.endpoint is None else None
    return None if found is None or found.name == node.name else found


def is_gateway(of: Layout, node: Node, peer: Node) -> bool:
    """Tell whether `peer` is the gateway of `node`."""
    found = gateway(of, node)
    return found is not None and found.name == peer.name


def own(peer: Node) -> list[Prefix]:
    """Return what `peer` itself owns: its addresses, and the prefixes behind it."""
    return [*hosts(peer.address), *peer.allowed_ips]


def allowed(of: Layout, node: Node, peer: Node) -> list[Prefix]:
    """Return the AllowedIPs that `node` gives `peer`: sorted, each once.

    A peer always carries what it owns, a hub that is not in force too: its packets come straight
    from it, so nobody else may own their sources.
    """
    prefixes = own(peer)
    if is_gateway(of, node, peer):
        prefixes += carried(of, node)
    return sort(prefixes)


def carried(of: Layout, node: Node) -> Iterator[Prefix]:
    """Yield what its gateway carries for `node` beside what it owns itself."""
    if of.hubs:
        yield from of.mesh_cidr
    for other in of.nodes.values():
        if other.name == node.name or other.name in of.hubs:
            continue
        if of.hubs:
            yield from other.allowed_ips  # its addresses are in mesh_cidr
        elif other.endpoint is None:
            yield from own(other)


def carries(of: Layout, node: Node, peer: Node, address: Address) -> bool:
    """Tell whether `node` sends what is for `address` to `peer`, and takes it from there only.

    The narrowest prefix decides. O(1) for the peer's own addresses, else up to O(n).
    """
    if any(own.ip == address for own in peer.address):
        return True
    narrowest = _narrowest(allowed(of, node, peer), address)
    if narrowest in (-1, address.max_prefixlen):
        return narrowest > 0
    return all(
        _narrowest(allowed(of, node, other), address) < narrowest
        for other in peers(of, node)
        if other.name != peer.name
    )


def _narrowest(prefixes: Iterable[Prefix], address: Address) -> int:
    """Return the longest prefix length that has `address`, -1 for none."""
    return max((prefix.prefixlen for prefix in prefixes if address in prefix), default=-1)


def endpoints(peer: Node) -> tuple[Endpoint, ...]:
    """Return where `peer` can be reached, best first; nothing for a node behind NAT."""
    return () if peer.endpoint is None else (peer.endpoint, *peer.endpoint_alt)


def keepalive(node: Node, peer: Node) -> int:
    """Return the PersistentKeepalive, in seconds, on `node`'s side of its tunnel to `peer`.

    It is the node's own need: its setting counts towards all its peers. A node behind NAT that sets
    none (0 and absent are the same) needs one to stay reachable for peers that it can dial.
    """
    if node.persistent_keepalive:
        return node.persistent_keepalive
    return NAT_KEEPALIVE_SECONDS if node.endpoint is None and peer.endpoint is not None else 0


def uses_psk(node: Node, peer: Node) -> bool:
    """Tell whether the tunnel has a preshared key: both ends must name one."""
    return node.preshared_key_path is not None and peer.preshared_key_path is not None


def psk_path(node: Node, peer: Node) -> str | None:
    """Return where `node` has the preshared key of its tunnel to `peer`, None for none."""
    if node.preshared_key_path is None or not uses_psk(node, peer):
        return None
    return node.preshared_key_path.replace("%p", peer.name)


def hosts(addresses: Iterable[Interface]) -> Iterator[Prefix]:
    """Yield each address as a /32 or /128, whatever prefix length it was written with."""
    for address in addresses:
        if address.network.prefixlen == address.max_prefixlen:
            yield address.network
        elif isinstance(address, IPv4Interface):
            yield IPv4Network((int(address), 32))
        else:
            yield IPv6Network((int(address), 128))


def order(prefix: Prefix) -> tuple[int, int, int]:
    """Return the key that sorts prefixes: IPv4 first, then by address, wide before narrow."""
    return (prefix.version, int(prefix.network_address), prefix.prefixlen)


def sort(prefixes: Iterable[Prefix]) -> list[Prefix]:
    """Return `prefixes` in `order`, each once."""
    # Keys tell them apart, not hashes: those of ipaddress are slow.
    keyed = {order(prefix): prefix for prefix in prefixes}
    return [keyed[key] for key in sorted(keyed)]


def outside(prefixes: Iterable[Prefix], networks: Iterable[Prefix]) -> list[Prefix]:
    """Return the `prefixes` that lie in none of `networks`, sorted, each once."""
    ranges = [(*order(network), network.max_prefixlen) for network in networks]
    return [
        prefix
        for prefix in sort(prefixes)
        if not any(
            version == prefix.version
            and length <= prefix.prefixlen
            and (int(prefix.network_address) ^ start) >> (bits - length) == 0
            for version, start, length, bits in ranges
        )
    ]
