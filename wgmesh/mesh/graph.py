"""What there is to see of a mesh: nodes with the parts they play, tunnels between them; pure."""

from collections.abc import Iterator
from enum import Enum

from wgmesh.frozen import frozen
from wgmesh.mesh import topology
from wgmesh.mesh.plan import is_exit
from wgmesh.mesh.topology import Layout
from wgmesh.model.inventory import Inventory, Node

MOST_TUNNELS = 500
"""As many are drawn one by one; Mermaid draws no more unless told to. Above, they meet."""


class Role(Enum):
    """The part of a node that decides its shape and colour: the first that it plays."""

    HUB = "hub"
    EXIT = "exit"
    RELAY = "relay"
    SITE = "site"
    NODE = "node"


@frozen
class Dot:
    """A node in a picture; `notes` are for people: address, parts, networks behind it."""

    name: str
    role: Role
    nat: bool
    notes: tuple[str, ...]


@frozen
class Picture:
    """A mesh to be drawn. `tunnels` are between names, each once.

    When there are too many of them, they go from each node to one point called `meeting`, which is
    None otherwise.
    """

    title: str
    dots: tuple[Dot, ...]
    tunnels: tuple[tuple[str, str], ...]
    meeting: str | None = None


def picture(inventory: Inventory) -> Picture:
    """Return the picture of `inventory`: hubs first, in their order, then by name."""
    of = topology.layout(inventory)
    nodes = sorted(inventory.nodes, key=lambda node: (_rank(of, node), node.name))
    names = {node.name for node in nodes if node.name in of.nodes}
    kind = "star" if of.hubs else "full mesh"
    tunnels = tuple(
        (one.name, other.name)
        for position, one in enumerate(nodes)
        for other in nodes[position + 1 :]
        if {one.name, other.name} <= names and topology.are_peers(of, one, other)
    )
    meeting = None
    if len(tunnels) > MOST_TUNNELS:
        if of.hubs:
            meeting = "every node has a tunnel to every hub"
        elif all(node.endpoint is not None for node in nodes):
            meeting = "every node has a tunnel to every other one"
        else:
            meeting = "every two nodes have a tunnel, unless both are behind NAT"
        tunnels = ()
    return Picture(
        title=f"{inventory.mesh.interface}: {kind} of {_count(len(nodes), 'node')}",
        dots=tuple(_dot(inventory, of, node) for node in nodes),
        tunnels=tunnels,
        meeting=meeting,
    )


def _rank(of: Layout, node: Node) -> int:
    return [*of.hubs].index(node.name) if node.name in of.hubs else len(of.hubs)


def _dot(inventory: Inventory, of: Layout, node: Node) -> Dot:
    roles = [*_roles(inventory, of, node)]
    notes = [str(node.address[0].ip)] if node.address else []
    notes += [word for _, word in roles if word]
    notes += ["behind NAT"] if node.endpoint is None else []
    notes += ["no key yet"] if node.public_key is None else []
    notes += [str(prefix) for prefix in node.allowed_ips]
    return Dot(node.name, roles[0][0], node.endpoint is None, tuple(notes))


def _roles(inventory: Inventory, of: Layout, node: Node) -> Iterator[tuple[Role, str]]:
    """Yield the parts that `node` plays, the most important first, each with a word for it."""
    if node.name in of.hubs:
        number = f" {_rank(of, node) + 1}" if len(of.hubs) > 1 else ""
        yield Role.HUB, f"hub{number}"
    if is_exit(inventory.mesh, node):
        yield Role.EXIT, "exit"
    hidden = any(other.endpoint is None for other in inventory.nodes)
    if of.relay is not None and of.relay.name == node.name and hidden:
        yield Role.RELAY, "relay"
    if node.allowed_ips:
        yield Role.SITE, ""
    yield Role.NODE, ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
