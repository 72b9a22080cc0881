"""The share of an inventory that is this node's: its entry, the key that it runs, and the plan."""

from pathlib import Path

from wgmesh import keys
from wgmesh.agent import node
from wgmesh.agent.node import PLACES, Node, Running, exempt
from wgmesh.mesh.plan import find_node, plan
from wgmesh.model.inventory import Inventory
from wgmesh.model.inventory import Node as Entry
from wgmesh.model.plan import NodePlan
from wgmesh.settings import Enrolment


def own_public_key(enrolment: Enrolment) -> str:
    """Return the public half of this node's key, which says which entry is its own."""
    return keys.public_half(keys.read(enrolment.key_path))


def own_entry(enrolment: Enrolment, model: Inventory) -> Entry | None:
    """Return this node's entry, None when it has none: known by its key, or by one kept for it."""
    found = find_node(model, own_public_key(enrolment))
    held = keys.held(PLACES.wireguard) if found is None else frozenset()
    for entry in model.nodes if held else ():
        for key in (entry.public_key, entry.next_public_key):
            if key is not None and keys.fingerprint(key) in held:
                return entry
    return found


def key_in_use(me: Node, entry: Entry, before: Running | None) -> str | None:
    """Return the key of `entry` that this node runs, while no other is to follow.

    The next one, once the node has gone over to it.
    """
    following = entry.next_public_key
    if following is None or not node.holds(following):
        return entry.public_key
    running = before.plan if before is not None else None
    runs = running.public_key if running is not None else own_public_key(me.enrolment)
    return following if following == runs else entry.public_key


def key_file(enrolment: Enrolment, public_key: str | None) -> Path:
    """Return the file of a key of this node: one of its own, once a key of it has changed."""
    if public_key is not None and node.holds(public_key):
        return keys.path(PLACES.wireguard, public_key)
    return enrolment.key_path


def share(me: Node, model: Inventory, entry: Entry, public_key: str | None) -> NodePlan:
    """Return the share of this node, which is `entry` and runs `public_key`."""
    return plan(
        model,
        entry.name,
        allow_hooks=me.settings.allow_hooks,
        private_key_path=str(key_file(me.enrolment, public_key)),
        public_key=public_key,
        exempt=exempt(me),
    )
