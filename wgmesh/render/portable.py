"""Portable wg-quick files, see wgmesh.mesh.portable: one a node, and two for all nodes."""

from wgmesh.mesh import portable, topology
from wgmesh.model.inventory import Inventory, Node
from wgmesh.model.terms import Secret
from wgmesh.render import words
from wgmesh.render.write import environment

SHARED = frozenset({words.FAILOVER, words.EXIT_SELECTOR})
"""The files beside those of the nodes, whose names no node's file can have."""


class Writer:
    """Writes the files of one inventory; keeps what they have in common, which is nearly all.

    A mesh of n nodes has n * (n - 1) sections `[Peer]`, of which few differ.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._mesh = portable.whole(inventory)
        self._head = environment().get_template("portable.conf.j2")
        self._peer = environment().get_template("portable-peer.conf.j2")
        self._known: dict[tuple[str, int], str] = {}

    def config(self, node: Node, key: Secret | None, key_path: str | None) -> bytes:
        """Return the wg-quick file of `node`, with its private key where that is at hand.

        Else a command takes it from `key_path`, a plain path, on the machine where the file is
        used; a note says so. Raises InventoryError when wg-quick could not read what the inventory
        says.
        """
        share = portable.share(self._mesh, node)
        notes = list(share.notes)
        own_key = None
        if key is None and key_path is not None and share.takes_key:
            notes.append(f"The private key is not in here: it is taken from {key_path}.")
            own_key = key_path
        elif key is None:
            notes.append(
                "The private key is not in here: write PrivateKey = ... under [Interface]."
            )
        setting = words.key_words(own_key, iter(share.preshared))
        head = self._head.render(
            node=node,
            mesh=self._inventory.mesh,
            interface=self._inventory.mesh.interface,
            addresses=share.addresses,
            own_routes=share.own_routes,
            private_key=None if key is None else key.reveal(),
            notes=notes,
            up=[*([setting] if setting else ()), *share.up],
            down=share.down,
        )
        parts = [head]
        parts += [self._section(tunnel) for tunnel in portable.tunnels(self._mesh, node)]
        return "".join(parts).encode()

    def _section(self, tunnel: portable.Tunnel) -> str:
        known = (tunnel.peer.name, tunnel.keepalive)
        if not tunnel.extra and known in self._known:
            return self._known[known]
        text = self._peer.render(
            peer=tunnel.peer,
            keepalive=tunnel.keepalive,
            allowed_ips=tuple(topology.sort([*topology.own(tunnel.peer), *tunnel.extra])),
        )
        if not tunnel.extra:
            self._known[known] = text
        return text

    def shared(self) -> dict[str, bytes]:
        """Return the files that are the same for all nodes: every endpoint, and the exits."""
        found = {}
        peers = [
            {"name": node.name, "public_key": node.public_key, "endpoints": endpoints}
            for node in self._mesh.layout.nodes.values()
            if (endpoints := topology.endpoints(node))
        ]
        found[words.FAILOVER] = self._file("failover.conf.j2", hubs=None, peers=peers)
        exits = portable.exits_of(self._mesh)
        if exits is not None:
            found[words.EXIT_SELECTOR] = self._file("exit-selector.conf.j2", exits=exits)
        return found

    def _file(self, template: str, **context: object) -> bytes:
        context |= {"generated": words.GENERATED, "none_there": words.NO_PEERS}
        return environment().get_template(template).render(**context).encode()
