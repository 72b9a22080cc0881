"""How a packet fares between two nodes, hop by hop, over what their plans hold: pure.

AllowedIPs is a routing table for what leaves and a filter of sources for what comes: a node sends
to the peer with the longest prefix that has the destination, and takes a packet only from the peer
that has the source in the same way. WireGuard: Next Generation Kernel Network Tunnel, section 2.
"""

from collections.abc import Iterator
from enum import Enum

from wgmesh.frozen import frozen
from wgmesh.mesh import exits, topology
from wgmesh.mesh.plan import is_exit
from wgmesh.mesh.topology import Layout
from wgmesh.model.inventory import Inventory, Node
from wgmesh.model.terms import Address, Prefix


class Cause(Enum):
    """Why a packet does not arrive."""

    FAMILY = "they have no address of one family"
    NOWHERE = "no peer of {here} carries it"
    TUNNEL = "{here} and {there} cannot find each other: both are behind NAT"
    FORWARD = "{here} does not forward"
    FILTER = "it comes to {there} through {here}, and {there} takes it from {wanted} only"
    LOOP = "it goes round"


@frozen
class Place:
    """Where a packet can go at a node: an address of its own, or one in a network behind it."""

    address: Address
    network: Prefix | None = None


@frozen
class Way:
    """The nodes that a packet passes; `cause` None: it arrives, and its answer comes back.

    `why` says where and why it does not, of the packet or else of its answer.
    """

    path: tuple[str, ...]
    cause: Cause | None = None
    why: str = ""


@frozen
class Claim:
    """A prefix that has an address: `owner` None is the mesh, which a hub carries.

    `own` is an address of the node itself, `behind` among its allowed_ips; it can be both.
    """

    prefix: Prefix
    owner: Node | None
    own: bool = False
    behind: bool = False


@frozen
class Atlas:
    """A mesh in which packets can be followed; `claims` by version, length and leading bits."""

    of: Layout
    claims: dict[tuple[int, int, int], Claim]
    lengths: dict[int, tuple[int, ...]]
    default: dict[tuple[str, int], Node]
    forwards: frozenset[str]


def atlas(inventory: Inventory) -> Atlas:
    """Return what packets can be followed in. Costs O(nodes and their prefixes)."""
    of = topology.layout(inventory)
    claims: dict[tuple[int, int, int], Claim] = {}
    for cidr in of.mesh_cidr:
        claims[_key(cidr)] = Claim(cidr, None)
    for node in of.nodes.values():
        for prefix in topology.hosts(node.address):
            claims[_key(prefix)] = Claim(prefix, node, own=True)
        for prefix in node.allowed_ips:
            was = claims.get(_key(prefix))
            own = was is not None and was.owner is node and was.own
            claims[_key(prefix)] = Claim(prefix, node, own=own, behind=True)
    found: dict[int, set[int]] = {4: set(), 6: set()}
    for version, length, _ in claims:
        found[version].add(length)
    mesh = inventory.mesh
    return Atlas(
        of=of,
        claims=claims,
        lengths={version: tuple(sorted(each, reverse=True)) for version, each in found.items()},
        default=dict(_defaults(inventory, of)),
        forwards=frozenset(
            node.name
            for node in of.nodes.values()
            if node.forwarding or node.name in of.hubs or is_exit(mesh, node)
        ),
    )


def _key(prefix: Prefix) -> tuple[int, int, int]:
    bits = int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
    return (prefix.version, prefix.prefixlen, bits)


def _defaults(inventory: Inventory, of: Layout) -> Iterator[tuple[tuple[str, int], Node]]:
    """Yield the exit that has the default route at a node, by node and family."""
    mesh = inventory.mesh
    for name in set(mesh.enable_exit_for_nodes) - set(mesh.exit_nodes):
        node = of.nodes.get(name)
        if node is None:
            continue
        used = exits.at_boot(mesh, of, node)
        if used is not None:
            own = {address.version for address in node.address}
            for version in own & {address.version for address in used.address}:
                yield (name, version), used


def claims(of: Atlas, address: Address) -> Iterator[Claim]:
    """Yield the prefixes that have `address`, the narrowest first."""
    version, number, bits = address.version, int(address), address.max_prefixlen
    for length in of.lengths[version]:
        claim = of.claims.get((version, length, number >> (bits - length)))
        if claim is not None:
            yield claim


def places(of: Atlas, node: Node) -> Iterator[Place]:
    """Yield the addresses of `node`, then one in each network behind it, as far as it has any.

    A network's is one that no narrower prefix takes away; a default route is not a place.
    """
    for interface in node.address:
        yield Place(interface.ip)
    for prefix in node.allowed_ips:
        if prefix.prefixlen:
            address = _free(of, prefix)
            if address is not None:
                yield Place(address, prefix)


def _free(of: Atlas, prefix: Prefix) -> Address | None:
    """Return the first address in `prefix` that no narrower one has, None when there is none."""
    address: Address = prefix.network_address
    while address in prefix:
        narrowest = next(claims(of, address)).prefix
        if narrowest.prefixlen <= prefix.prefixlen:
            return address
        if int(narrowest.broadcast_address) + 1 > int(prefix.broadcast_address):
            return None
        address = narrowest.broadcast_address + 1
    return None


def toward(of: Atlas, node: Node, address: Address) -> Node | None:
    """Return the peer that has `address` in its AllowedIPs at `node`."""
    for claim in claims(of, address):
        if (peer := _carrier(of.of, node, claim)) is not None:
            return peer
    return of.default.get((node.name, address.version))


def _carrier(of: Layout, node: Node, claim: Claim) -> Node | None:
    """Return the peer whose AllowedIPs at `node` name the prefix of `claim`."""
    if claim.owner is None:
        return topology.gateway(of, node) if of.hubs else None
    if claim.owner is node:
        return None
    if topology.are_peers(of, node, claim.owner):
        return claim.owner
    carried = claim.behind if of.hubs else claim.owner.endpoint is None
    return topology.gateway(of, node) if carried else None


def _routed(of: Atlas, node: Node, address: Address) -> bool:
    """Tell whether the table main of `node` leads `address` into the mesh."""
    return any(
        claim.owner is None
        or (_carrier(of.of, node, claim) is not None and claim.prefix not in node.allowed_ips)
        for claim in claims(of, address)
        if claim.prefix.prefixlen
    )


def course(of: Atlas, start: Node, end: Node, address: Address) -> tuple[str, ...]:
    """Return the nodes by which `start` and those after it would send, whoever would take it.

    It ends with `end`, or where nobody has the address, or with the first node that comes twice.
    """
    passed = [start.name]
    here = start
    while here is not end:
        there = toward(of, here, address)
        if there is None:
            break
        passed.append(there.name)
        if there.name in passed[:-1]:
            break
        here = there
    return tuple(passed)


def way(of: Atlas, start: Node, end: Node, place: Place) -> Way:
    """Return how a packet from the first address of `start` gets to `place`, which `end` has."""
    source = speaks(start, place.address.version)
    if source is None:
        return Way((start.name,), Cause.FAMILY, Cause.FAMILY.value)
    planned = course(of, start, end, place.address)
    if planned[-1] in planned[:-1]:
        return Way(planned, Cause.LOOP, f"{Cause.LOOP.value}: {' -> '.join(planned)}")
    hubs: list[Node] = []
    going = _follow(of, start, end, (source, place.address), hubs)
    if going.cause is not None:
        return going
    here = end
    for there in [*reversed(hubs), start]:  # each takes its own address off the answer again
        known = speaks(there, place.address.version) or source
        back = _follow(of, here, there, (place.address, known))
        if back.cause is not None:
            return Way(going.path, back.cause, f"the answer: {back.why}")
        here = there
    return going


def _follow(
    of: Atlas,
    start: Node,
    end: Node,
    ends: tuple[Address, Address],
    hubs: list[Node] | None = None,
) -> Way:
    """Return how a packet gets from `start` to `end`; `ends` are its source and destination.

    Hubs that put their own address in the place of the source are added to `hubs`; without, it is
    an answer, which nobody touches. A loop ends at the first node that comes twice.
    """
    source, destination = ends
    path = [start.name]
    here = start
    while here is not end:
        there = toward(of, here, destination)
        words = {"here": here.name, "there": "" if there is None else there.name, "wanted": ""}
        cause: Cause | None = None
        if there is None or not _routed(of, here, destination):
            cause = Cause.NOWHERE
        elif here is not start and here.name not in of.forwards:
            cause = Cause.FORWARD
        elif here.endpoint is None and there.endpoint is None:
            cause = Cause.TUNNEL
        elif there.name in path:
            cause = Cause.LOOP
        else:
            if here is not start and hubs is not None and _masks(of, here, end, destination):
                source = speaks(here, source.version) or source
                hubs.append(here)
            wanted = toward(of, there, source)
            if wanted is not here:
                cause = Cause.FILTER
                words["wanted"] = "nobody" if wanted is None else wanted.name
        if cause is not None or there is None:
            return Way(tuple(path), cause, cause.value.format(**words) if cause else "")
        path.append(there.name)
        here = there
    return Way(tuple(path))


def _masks(of: Atlas, hub: Node, end: Node, address: Address) -> bool:
    """Tell whether `hub` gives what it passes on to `end` its own address.

    It does where there are several hubs, to those that use another one: the firewall's `shares`.
    """
    if hub.name not in of.of.hubs or len(of.of.hubs) < 2:
        return False
    inside = any(address in cidr for cidr in of.of.mesh_cidr)
    return inside and topology.gateway(of.of, end) is not hub


def speaks(node: Node, version: int) -> Address | None:
    """Return the address from which `node` speaks in a family: its first one."""
    own = (address.ip for address in node.address if address.version == version)
    return next(own, None)
