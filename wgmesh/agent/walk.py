"""The operator's part of a change of this node's key: `wgmesh rotate-key`."""

import time
from pathlib import PurePosixPath

from wgmesh import inventory, keys, records, settings
from wgmesh.agent import node, rotation, shares
from wgmesh.agent.node import PLACES, Node
from wgmesh.agent.sync import finish_cut_short
from wgmesh.errors import WgmeshError, system_errors
from wgmesh.inventory import rekey
from wgmesh.model.inventory import Node as Entry
from wgmesh.model.plan import NodePlan
from wgmesh.remembered import Rotation
from wgmesh.repository.bare import Repository


def walk() -> tuple[str, str]:
    """Take the next step of a rotation that is the operator's; return a patch, and what to do.

    The patch is "" when there is nothing to merge now. Raises WgmeshError.
    """
    node.require_root()
    with node.turn(), node.lock(), system_errors():
        me = node.load()
        finish_cut_short()
        running, tip = node.running(), node.tips(me).trusted
        if running is None or running.plan is None or tip is None:
            raise WgmeshError("nothing was applied yet", "run: wgmesh sync")
        with Repository(settings.REPOSITORY_DIR) as repository:
            files = repository.inventory_files(tip.id, me.enrolment.path)
        model = inventory.load(files)
        own = shares.own_entry(me.enrolment, model)
        if own is None:
            raise WgmeshError(
                "this node's key is not in the inventory", "merge its entry: wgmesh join prints it"
            )
        root = _root(me.enrolment.path)
        if own.next_public_key is None:
            said, key = _begin(me, own, running.plan)
            if not key:
                return "", said
            return rekey.patch(files, rekey.stage(files, own.name, key), root), said
        if not node.holds(own.next_public_key):
            raise WgmeshError(
                f"the private half of {own.name}'s next_public_key is not on this machine",
                "take next_public_key out of the inventory, then run this again",
            )
        if running.plan.public_key != own.next_public_key:
            return "", _staged()
        rotation.note(own, running.plan.public_key)
        record = records.read_rotation(PLACES.state)
        if record is None or not record.over:
            left = ", ".join(record.behind) if record is not None else ""
            said = "the node uses its new key, and keeps the old one for"
            return "", f"{said} {left or 'its peers until they use the new one'}; no step is due"
        said = (
            "every peer uses the new key: merge this, and the old one is gone"
            f"\n  commit message: {own.name} has changed its key"
        )
        return rekey.patch(files, rekey.complete(files, own.name), root), said


def _root(path: str) -> str:
    pure = PurePosixPath(path)
    if str(pure) == ".":
        return ""
    return str(pure) if pure.suffix in (".toml", ".conf") else f"{pure}/"


def _begin(me: Node, own: Entry, runs: NodePlan) -> tuple[str, str]:
    """Make the next key, unless one waits to be merged; return what to do, and that key."""
    record = records.read_rotation(PLACES.state)
    if own.public_key != runs.public_key:
        return "the inventory has another key of this node than runs: wgmesh sync comes first", ""
    again = record is not None and record.next_public_key != own.public_key
    if record is not None and again and not record.staged and node.holds(record.next_public_key):
        key = record.next_public_key
    else:
        keys.adopt(PLACES.wireguard, me.enrolment.interface)
        key = keys.make(PLACES.wireguard)
        records.write_rotation(PLACES.state, Rotation(key, begun=int(time.time())))
    return (
        "merge this: the peers learn the next key, then this node goes over to it by itself"
        f"\n  commit message: {own.name} will change its key",
        key,
    )


def _staged() -> str:
    record = records.read_rotation(PLACES.state)
    waiting = ", ".join(record.waiting) if record is not None else ""
    return f"the next key waits for {waiting or 'the next poll'}; no step is due"
