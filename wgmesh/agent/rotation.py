"""The change of a key without a gap: on the node whose key it is, and on its peers.

The node tries its next key with its peers first. Once all that count know it, the node goes over to
it and lets the old one go on beside it, until each of them has handed its AllowedIPs over.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from wgmesh import generation, keys, linux, probe, records
from wgmesh.agent import node, states
from wgmesh.agent.gathered import Gathered
from wgmesh.agent.node import PLACES, Node
from wgmesh.errors import WgmeshError, system_errors
from wgmesh.model.change import PeerSet
from wgmesh.model.inventory import Inventory
from wgmesh.model.inventory import Node as Entry
from wgmesh.model.kernel import Observed
from wgmesh.model.numbers import SESSION_SECONDS
from wgmesh.model.plan import NodePlan, Peer
from wgmesh.model.terms import Secret
from wgmesh.proof import Fits
from wgmesh.remembered import Rotation
from wgmesh.rotation import handed_over, in_force
from wgmesh.transaction.proposal import Bridge

log = logging.getLogger(__name__)

TRIAL_SECONDS = 10
"""For two handshakes, the first one lost. Who has known the key is not asked again."""

DEAD_SECONDS = 15
"""As long nothing must come back through a key before the other one is turned to again."""

_LOOK_SECONDS = 2
_LARGE_BYTES = 800
"""An echo as large as this tells by the counters which key it came by."""

SILENT_SECONDS = 600
"""Peers that answer by neither key, as those that drop ICMP, keep the old one no longer."""


# ---------------------------------------------------------------- before a change


def as_used(plan: NodePlan) -> NodePlan:
    """Return `plan` with the keys of its peers as the device uses them now."""
    if all(peer.next_public_key is None for peer in plan.peers):
        return plan
    return in_force(plan, states.observe(plan).state.link)


def note(own: Entry, runs: str, *, remember: bool = True) -> bool:
    """Remember how far the rotation of the key that `runs` is, by what the inventory says.

    Returns whether there is a next key to go over to.
    """
    known = records.read_rotation(PLACES.state)
    following, now = own.next_public_key, int(time.time())
    record: Rotation | None = None
    if following is not None:
        same = known is not None and known.next_public_key == following
        record = known if known is not None and same else Rotation(following, begun=now)
        record = replace(record, staged=record.staged or now)
        if runs == following:
            record = replace(record, switched=record.switched or now, waiting=())
        elif record.switched:
            record = replace(record, switched=0, behind=(), over=False)  # gone back by hand
        if not node.holds(following):
            record = replace(record, waiting=("its private half, which is not on this machine",))
    elif known is not None and not known.staged and known.next_public_key != runs:
        record = known  # made here, and not merged yet
    if record != known and remember:
        records.write_rotation(PLACES.state, record)
    return following is not None and runs != following and node.holds(following)


def known_to(me: Node, own: Entry, plan: NodePlan) -> frozenset[str] | None:
    """Return the peers, by public key, that know the next key of this node: they shook hands.

    None when one that counts does not yet, which is remembered for `status`. A peer counts when
    its tunnel is alive. Behind NAT it may be out of reach for what comes from another port: then it
    is taken to know the key `peer_lag_seconds` after the inventory had it.
    """
    record = records.read_rotation(PLACES.state)
    if record is None or own.next_public_key is None:
        return None
    seen = states.observe(plan)
    link = seen.state.link
    if link is None:
        waits(record, ("the interface, which is not there",))
        return None
    alive = _alive(in_force(plan, link), seen)
    count = [peer for peer in alive if peer.managed and not peer.intermittent]
    if not count and plan.peers:
        waits(record, ("a peer that is up",))
        return None
    asked = [link.peers[peer.public_key] for peer in alive if peer.public_key not in record.known]
    knows = frozenset(record.known)
    try:
        if asked:
            key = Secret(keys.read(keys.path(PLACES.wireguard, own.next_public_key)))
            knows |= linux.bridge.trial(key, link, asked, TRIAL_SECONDS)
    except WgmeshError as error:
        waits(record, (f"a machine that can hold two keys at once: {error.message}",))
        return None
    if knows != set(record.known):
        record = replace(record, known=tuple(sorted(knows)))
        records.write_rotation(PLACES.state, record)
    old_enough = time.time() - record.staged >= me.settings.peer_lag_seconds
    missing = tuple(
        peer.name
        for peer in count
        if peer.public_key not in knows and (peer.endpoints or not old_enough)
    )
    if missing:
        waits(record, missing)
        return None
    left = [peer.name for peer in plan.peers if not peer.managed]
    if left:
        log.warning("not managed, so give them this node's new key by hand: %s", ", ".join(left))
    return knows


def waits(record: Rotation | None, waiting: tuple[str, ...]) -> None:
    """Remember for `status` what the next key waits for."""
    log.info("the next key waits for %s", ", ".join(waiting))
    if record is not None and waiting != record.waiting:
        records.write_rotation(PLACES.state, replace(record, waiting=waiting))


def _alive(plan: NodePlan, seen: Observed) -> list[Peer]:
    """Return the peers of `plan` that have a session."""
    now, found = time.time(), []
    peers = seen.state.link.peers if seen.state.link is not None else {}
    for peer in plan.peers:
        counters = seen.counters.get(peer.public_key)
        shaken = counters.latest_handshake if counters is not None else 0
        if peer.public_key in peers and 0 <= now - shaken < SESSION_SECONDS:
            found.append(peer)
    return found


def certain(fits: Fits, knows: frozenset[str] | None) -> Fits:
    """Return `fits`, but that peers which know the new key can prove it, whatever they run."""

    def found(asked: frozenset[str], another_psk: frozenset[str]) -> Mapping[str, int | None]:
        return {**fits(asked, another_psk), **dict.fromkeys(asked & (knows or frozenset()), 0)}

    return found


def bridge(another_key: bool, knows: frozenset[str] | None = None) -> Bridge:
    """Return whether the old key has to go on beside the new one."""
    if not another_key:
        return Bridge.NONE
    return Bridge.WANTED if knows is None else Bridge.NEEDED


# ---------------------------------------------------------------- after a change


def before_boot(goal: NodePlan | None) -> None:
    """Before `goal` may boot: let the key that it reads by the interface's name be its own.

    What runs now names the file of its key itself, or has the same key.
    """
    if goal is not None and keys.DIRECTORY not in PurePosixPath(goal.private_key_path).parts:
        point(goal)


def point(plan: NodePlan | None) -> None:
    """After `plan` was confirmed: let the key by the interface's name be its own."""
    if plan is not None:
        keys.point(PLACES.wireguard, plan.interface, plan.public_key)


def settle(model: Inventory, plan: NodePlan) -> None:
    """After `plan`, out of `model`, was confirmed: remember it, let go of keys nothing needs."""
    point(plan)
    own = next(each for each in model.nodes if each.name == plan.node)
    note(own, plan.public_key)
    if not keys.held(PLACES.wireguard):
        return
    wanted = {key for key in (plan.public_key, own.public_key, own.next_public_key) if key}
    record = records.read_rotation(PLACES.state)
    wanted |= {record.next_public_key} if record is not None else set()
    for number in generation.numbers(PLACES.generations):
        try:
            kept = node.at_generation(number).plan
        except WgmeshError as error:
            log.debug("%s", error.message)
            return
        wanted |= {kept.public_key} if kept is not None else set()
    gone = keys.prune(PLACES.wireguard, wanted)
    if gone:
        log.info("%d private keys that no generation has are deleted", gone)


def look_after(have: Gathered) -> bool:
    """Hand AllowedIPs over, and end what no peer uses any more; return whether anything was.

    What fails is told and left for the next turn.
    """
    plan = have.running.plan if have.running is not None else None
    if plan is None or have.seen is None or have.seen.state.link is None:
        return False
    changed = False
    try:
        with system_errors():
            point(plan)
            changed = _hand_over(plan, have.seen)
            changed |= _let_go(plan)
    except WgmeshError as error:
        log.warning("the change of a key goes on later: %s", error.message)
    return changed


def _hand_over(plan: NodePlan, seen: Observed) -> bool:
    """Hand the AllowedIPs of peers that change their key over, if it is time."""
    if all(peer.next_public_key is None for peer in plan.peers) or seen.state.link is None:
        return False
    now = time.time()
    used = in_force(plan, seen.state.link)
    everybody = {peer.public_key for peer in used.peers}
    at_once = handed_over(plan, seen, (), now)
    doubtful = handed_over(plan, seen, everybody, now).keys() - at_once.keys()
    moves = at_once
    if doubtful:
        targets = {
            peer.public_key: peer.addresses
            for peer in used.peers
            if {peer.public_key, peer.next_public_key} & doubtful
        }
        answers = probe.round_trips(plan.interface, targets, DEAD_SECONDS)
        silent = {key for key, own in targets.items() if answers.keys().isdisjoint(own)}
        moves = handed_over(plan, states.observe(plan), silent, time.time())
    names = {key: peer.name for peer in plan.peers for key in _keys(peer)}
    linux.apply([PeerSet(plan.interface, replace(peer, endpoint=None)) for peer in moves.values()])
    for key in moves:
        log.info("%s uses its other key now: %s", names[key], key)
    return bool(moves)


def _keys(peer: Peer) -> tuple[str, ...]:
    following = peer.next_public_key
    return (peer.public_key,) if following is None else (peer.public_key, following)


def _let_go(plan: NodePlan) -> bool:
    """End the second key of this node when no peer uses it any more."""
    record = records.read_rotation(PLACES.state)
    behind: tuple[str, ...] = ()
    ended = False
    if linux.bridge.present():
        behind, silent = _behind(plan)
        since = record.switched if record is not None else 0
        wait = bool(behind) or (silent and time.time() - since < SILENT_SECONDS)
        if not wait:
            linux.bridge.remove_if_present()
            log.info("no peer uses the old key any more")
            ended = True
        elif not behind:
            behind = ("peers that answer no ping",)
    if record is not None and record.switched:
        fresh = replace(record, behind=behind, over=not linux.bridge.present())
        if fresh != record:
            records.write_rotation(PLACES.state, fresh)
    return ended


def _behind(plan: NodePlan) -> tuple[tuple[str, ...], bool]:
    """Return who still sends by the old key, and whether somebody sends by neither."""
    used = in_force(plan, states.observe(plan).state.link)
    before = linux.counters(plan.interface), linux.counters(linux.bridge.SECOND)
    addresses = {address for peer in used.peers for address in peer.addresses}
    with probe.Prober(plan.interface, padding_bytes=_LARGE_BYTES) as prober:
        prober.send(addresses)
        prober.receive(_LOOK_SECONDS, addresses)
    after = linux.counters(plan.interface), linux.counters(linux.bridge.SECOND)
    names, silent = [], False
    for peer in used.peers:
        if not peer.managed or peer.intermittent or peer.public_key not in after[1]:
            continue
        new, old = (
            now[peer.public_key].rx_bytes - was[peer.public_key].rx_bytes
            if peer.public_key in now and peer.public_key in was
            else 0
            for was, now in zip(before, after, strict=True)
        )
        age = time.time() - after[1][peer.public_key].latest_handshake
        if old >= _LARGE_BYTES:
            names.append(peer.name)
        elif new < _LARGE_BYTES and age < SESSION_SECONDS:
            silent = True
    return tuple(names), silent
