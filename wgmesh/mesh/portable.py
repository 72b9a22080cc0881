"""A node's share where nothing but wg-quick runs: a phone, a machine without wgmesh.

There AllowedIPs makes the routes, and nobody chooses hubs or exits: it is the first. What wg-quick
has no word for are commands, which only a node that needs them gets: apps for phones know none.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from wgmesh.errors import InventoryError
from wgmesh.frozen import frozen
from wgmesh.mesh import exits, topology
from wgmesh.mesh.plan import exit_plan, host_length, passes_on, sysctls, table
from wgmesh.mesh.topology import Layout
from wgmesh.model.inventory import Inventory, Mesh, Node
from wgmesh.model.numbers import NFT_TABLE
from wgmesh.model.plan import ExitCandidate, ExitPlan
from wgmesh.model.terms import Interface, Prefix

_TABLE = f"table inet {NFT_TABLE}"


@frozen
class Whole:
    """A mesh, and what of it each node's share needs to know.

    `open_ended` are nodes with a default route in their allowed_ips, `versions` those of IP that
    any route has.
    """

    inventory: Inventory
    layout: Layout
    open_ended: tuple[Node, ...]
    versions: frozenset[int]


@frozen
class Share:
    """What the `[Interface]` of a node says beside its key, and notes for who installs it.

    `takes_key` says whether a command can set the private key where there is none in the file.
    """

    node: Node
    addresses: tuple[Interface, ...]
    takes_key: bool
    preshared: tuple[tuple[str, str], ...]
    own_routes: bool
    up: tuple[str, ...]
    down: tuple[str, ...]
    notes: tuple[str, ...]


class Tunnel(NamedTuple):
    """A node's tunnel to `peer`; `extra` is what the peer carries beside what it owns.

    A mesh of n nodes makes n * (n - 1) of them, and a tuple is made twice as fast.
    """

    peer: Node
    keepalive: int
    extra: tuple[Prefix, ...]


def whole(inventory: Inventory) -> Whole:
    """Return the mesh of `inventory`; nodes without a public key are nobody's peers."""
    of = topology.layout(inventory)
    nodes = of.nodes.values()
    carried = [prefix for node in nodes for prefix in node.allowed_ips]
    return Whole(
        inventory=inventory,
        layout=of,
        open_ended=tuple(n for n in nodes if any(not each.prefixlen for each in n.allowed_ips)),
        versions=frozenset(prefix.version for prefix in (*of.mesh_cidr, *carried)),
    )


def tunnels(whole: Whole, node: Node) -> Iterator[Tunnel]:
    """Yield the tunnels of `node`, by the peers' names."""
    of = whole.layout
    way_out = _way_out(whole.inventory.mesh, of, node)
    for peer in topology.peers(of, node):
        extra: tuple[Prefix, ...] = ()
        if topology.is_gateway(of, node, peer):
            extra = tuple(topology.carried(of, node))
        if way_out is not None and way_out[0] == peer.name:
            extra += way_out[1]
        yield Tunnel(peer, topology.keepalive(node, peer), extra)


def share(whole: Whole, node: Node) -> Share:
    """Return what `node` needs beside its peers. Raises InventoryError for a hook with a `#`."""
    # wg-quick puts the interface's name there, whatever the file is called
    mesh, of = replace(whole.inventory.mesh, interface="%i"), whole.layout
    notes: list[str] = []
    up: list[str] = []
    down: list[str] = []
    own_routes = _must_route(whole, node)
    if own_routes:
        up += _routes(whole, node)
    if passes_on(mesh, of, node):
        wanted = sysctls(mesh, node, whole.versions)
        up += [f"sysctl -q -w {key}={value}" for key, value in wanted]
    firewall = table(mesh, of, node)
    if firewall is not None:
        rules = _one_line(firewall.text)
        up.append(f"nft 'add {_TABLE}; delete {_TABLE}; {rules}'")
        down.append(f"nft 'delete {_TABLE}'")
    for field, hooks in (("post_up", up), ("post_down", down)):
        hook = getattr(node, field)
        if hook is not None and "#" in hook:
            raise InventoryError(
                f"node {node.name}: {field} holds a #, where wg-quick begins a comment",
                "put the commands into a script, and name that",
            )
        if hook is not None:
            hooks.insert(0 if hooks is down else len(hooks), hook)
    preshared = tuple(_preshared(of, node))
    if preshared and not node.managed:
        names = ", ".join(of.by_key[key].name for key, _ in preshared)
        notes.append(f"It needs a PresharedKey in the [Peer] of: {names}.")
        preshared = ()
    return Share(
        node=node,
        addresses=tuple(host_length(address) for address in node.address),
        takes_key=node.managed,
        preshared=preshared,
        own_routes=own_routes,
        up=tuple(up),
        down=tuple(down),
        notes=tuple(notes),
    )


def exits_of(whole: Whole) -> ExitPlan | None:
    """Return the exits as a node has them that peers with all, None when nobody uses any."""
    mesh = whole.inventory.mesh
    if not mesh.enable_exit_for_nodes:
        return None
    nodes = [whole.layout.nodes[name] for name in mesh.exit_nodes if name in whole.layout.nodes]
    return exit_plan(
        mesh,
        [
            ExitCandidate(node.name, node.public_key, tuple(each.ip for each in node.address))
            for node in nodes
            if node.public_key is not None
        ],
    )


def _way_out(mesh: Mesh, of: Layout, node: Node) -> tuple[str, tuple[Prefix, ...]] | None:
    """Return the exit that `node` uses, and the default routes that lead there."""
    chosen = exits.at_boot(mesh, of, node) if exits.uses(mesh, node) else None
    if chosen is None:
        return None
    own = {address.version for address in node.address}
    families = sorted(own & {address.version for address in chosen.address})
    return chosen.name, tuple(map(exits.default, families))


def _must_route(whole: Whole, node: Node) -> bool:
    """Tell whether a peer carries a default route that this node is not to take.

    wg-quick would send everything there; with routes of its own the node only may.
    """
    if not node.managed or node.name in whole.inventory.mesh.enable_exit_for_nodes:
        return False
    return any(topology.are_peers(whole.layout, node, peer) for peer in whole.open_ended)


def _routes(whole: Whole, node: Node) -> Iterator[str]:
    of = whole.layout
    beyond = [
        prefix
        for tunnel in tunnels(whole, node)
        for prefix in (*tunnel.peer.allowed_ips, *tunnel.extra)
        if prefix.prefixlen and prefix not in node.allowed_ips
    ]
    for prefix in topology.sort([*of.mesh_cidr, *topology.outside(beyond, of.mesh_cidr)]):
        yield f"ip -{prefix.version} route add {prefix} dev %i"


def _preshared(of: Layout, node: Node) -> Iterator[tuple[str, str]]:
    if node.preshared_key_path is None:
        return
    for peer in topology.peers(of, node):
        path = topology.psk_path(node, peer)
        if path is not None and peer.public_key is not None:
            yield peer.public_key, path


def _one_line(text: str) -> str:
    """Return a table of ours as one line for nft's command line, inside single quotes."""
    assert "'" not in text and "#" not in text
    words = (line.strip() for line in text.strip().split("\n"))
    return " ".join(line if line.endswith(("{", ";")) else f"{line};" for line in words)
