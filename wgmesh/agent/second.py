"""A second look at a confirmed change: what a living session hid, the next handshake reveals.

A session is younger than 180 s, so a while after that every tunnel that carries packets has shaken
hands under the new configuration. Nobody holds the lock meanwhile, and nothing need stay in memory:
a record in /run says what to look at and when. A boot ends it, as it ends the sessions.
"""

import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

from wgmesh import glance, linux, proof, quarantine, records, settings
from wgmesh.agent import look, manual, node, notify
from wgmesh.agent.node import PLACES, Node, Running
from wgmesh.agent.sync import Result, finish_cut_short
from wgmesh.errors import NotJoinedError, WgmeshError
from wgmesh.files import locked
from wgmesh.judge import StrictPeer, listed
from wgmesh.model.health import Proof
from wgmesh.model.kernel import PeerCounters
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import SecondLook, Verdict
from wgmesh.transaction.proposal import Outcome

log = logging.getLogger(__name__)

UNIT = "wgmesh-look-again"
COMMAND = (sys.executable, "-P", "-m", "wgmesh", "look-again")


def expect(me: Node, previous: int | None, number: int, digest: str, outcome: Outcome) -> None:
    """Have a second look at the change that was just confirmed, where it needs one.

    It does for each tunnel that was proven by a session from before. Where such a tunnel still
    waits for the look at an earlier change, the way back is to before that one. systemd starts this
    program when it is time; where there is none, the next poll looks.
    """
    strict = (peer.public_key for peer in outcome.roles.strict)
    before = {key: outcome.handshakes.get(key, 0) for key in strict}
    waiting = unproven(before, linux.counters(me.enrolment.interface))
    known = records.read_second(PLACES.run)
    if known is not None and waiting.items() & known.handshakes.items():
        previous = known.back_to
    if previous is None or not waiting:
        records.write_second(PLACES.run, None)
        return
    seconds = me.settings.confirm_again_seconds
    record = SecondLook(number, digest, previous, glance.clock() + seconds, waiting)
    records.write_second(PLACES.run, record)
    if linux.systemd.running():
        try:
            linux.systemd.systemd_run(COMMAND, f"{UNIT}-{number}", after_seconds=seconds)
        except WgmeshError as error:
            log.warning("the second look is left to the polls: %s", error.message)


def forget() -> None:
    """Have no second look at anything: this machine leaves. Raises WgmeshError."""
    records.write_second(PLACES.run, None)
    if linux.systemd.running():
        linux.systemd.stop(f"{UNIT}-*.timer")


def unproven(handshakes: Mapping[str, int], counters: Mapping[str, PeerCounters]) -> dict[str, int]:
    """Return those of the peers that have shaken no hands since; times compare for change only."""
    return {
        key: handshake
        for key, handshake in handshakes.items()
        if key in counters and counters[key].latest_handshake in (0, handshake)
    }


def look_again() -> Result:
    """Look at what waits for it, if it is time. Raises WgmeshError."""
    node.require_root()
    with notify.afterwards(), locked(settings.LOCK_FILE, wait=True):
        try:
            me = node.load_any()
        except NotJoinedError:
            return Result("left", "this machine has left the mesh meanwhile")
        finish_cut_short()
        said = at_due_time(me)
        if said:
            look.refresh(me)
    return Result("looked", said or "there is nothing to take back")


def at_due_time(me: Node) -> str:
    """Take the change back when it lost a tunnel after all; return what was done, "" for nothing.

    The caller holds the lock. Before it is time, and while the node is held, nothing is done.
    """
    record = records.read_second(PLACES.run)
    if record is None:
        return ""
    current = node.running()
    if (
        current is None
        or current.plan is None
        or (current.manifest.number, current.manifest.digest) != (record.generation, record.digest)
    ):
        records.write_second(PLACES.run, None)
        return ""
    waiting = unproven(record.handshakes, linux.counters(current.plan.interface))
    if waiting and (glance.clock() < record.due_seconds or records.read_hold(PLACES.state)):
        return ""
    records.write_second(PLACES.run, None)
    lost = proof.unheard(current.plan, waiting, me.settings.confirm_most_seconds)
    if not lost:
        return ""
    names = {peer.public_key: peer.name for peer in current.plan.peers}
    peers = tuple(StrictPeer(names[key], key, Proof.SILENT) for key in sorted(lost))
    return _take_back(me, current, record.back_to, peers)


def _take_back(me: Node, current: Running, back_to: int, lost: tuple[StrictPeer, ...]) -> str:
    """Go back to generation `back_to`; forth again when nothing of what was lost comes back."""
    if current.plan is None:
        raise AssertionError("a generation without a plan has no peers to lose")
    try:
        goal = manual.whole(back_to)
    except WgmeshError as error:
        log.warning("lost at the second look: %s; and no way back: %s", listed(lost), error.message)
        return ""
    reason = f"lost once their session had ended: {listed(lost)}"
    log.warning("taking the change back: %s", reason)
    before = records.read_quarantine(PLACES.state), records.read_verdict(PLACES.state)
    tips = node.tips(me)
    _condemn(current, reason)
    manual.go(current, goal)
    applied = replace(tips, applied=goal.manifest.commit, digest=goal.manifest.digest)
    records.write_tips(PLACES.state, applied)
    proof.speak_up(current.plan)
    if proof.comes_back(current.plan, lost, None, me.settings.confirm_minority_seconds):
        return f"generation {back_to} runs again: {reason}"
    log.warning("away without the change as well: %s; so it is put in force again", listed(lost))
    manual.go(goal, current)
    records.write_tips(PLACES.state, tips)
    records.write_quarantine(PLACES.state, before[0])
    records.write_verdict(PLACES.state, before[1])
    proof.speak_up(current.plan)
    return f"generation {current.manifest.number} stays: what was lost was not lost by it"


def _condemn(current: Running, reason: str) -> None:
    """Keep what was found harmful after all from being applied again."""
    commit, now = current.manifest.commit, int(time.time())
    name, subject = (commit.id, commit.subject) if commit is not None else ("", "")
    entry = Quarantined(current.manifest.digest, name, subject, reason, now)
    entries = quarantine.harmed(records.read_quarantine(PLACES.state), entry, forever=False)
    records.write_quarantine(PLACES.state, entries)
    records.write_verdict(PLACES.state, Verdict("rolled-back", name, reason, "", now))
