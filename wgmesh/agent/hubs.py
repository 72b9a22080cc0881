"""The hub of a spoke: part of the failover's tick, where a star has more than one.

A hub lives when packets through it come back from other spokes; that it answers itself is not
enough. Where none of them passes, all spokes fall back to the first one that answers, so that they
meet.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from wgmesh import glance, history, select, settings
from wgmesh.errors import LockedError
from wgmesh.history import Exit, Failover, Hubs
from wgmesh.select import Life, Way

if TYPE_CHECKING:
    from wgmesh.model.change import Change
    from wgmesh.model.kernel import KernelState
    from wgmesh.model.plan import NodePlan
    from wgmesh.model.terms import Address

log = logging.getLogger(__name__)

FORGIVEN_SECONDS = 600.0
"""After so long a hub that did not forward is as good as any other."""

SETTLING_SECONDS = 15.0
"""How much longer a hub that was just chosen has to show that it forwards: for 20 seconds it may
yet believe that others use it who have left it."""


def begun(plan: "NodePlan", before: Hubs) -> Hubs:
    """Return the memory for `plan`, with what is known already; an empty one without a choice."""
    from wgmesh.model.terms import HubSelection

    if plan.hubs is None:
        return Hubs()
    following = {peer.public_key: peer.next_public_key for peer in plan.peers}
    hubs = tuple(
        Exit(
            each.name,
            each.public_key,
            str(each.addresses[0]),
            (),
            following.get(each.public_key) or "",
        )
        for each in plan.hubs.candidates
        if each.addresses
    )
    first = hubs[0] if hubs else Exit("", "", "", ())
    holder = history.renamed(hubs, before.hubs, before.holder)
    now = glance.clock()
    fresh = Hubs(
        holder=first.public_key,
        standing=select.Standing(first.name, now),
        through=Life(alive=now),
    )
    return replace(
        replace(before, holder=holder) if holder else fresh,
        hubs=hubs,
        by_latency=plan.hubs.selection is HubSelection.LATENCY,
        targets=tuple(map(str, plan.hubs.targets)),
    )


def targets(memory: Hubs) -> list["Address"]:
    """Return what to probe: each hub, and other spokes through the one in force."""
    return [ip_address(each) for each in (*(hub.address for hub in memory.hubs), *memory.targets)]


def looked(memory: Hubs, answers: Mapping["Address", float], now: float) -> Hubs:
    """Return the memory after one round of probes."""
    lives = dict(memory.lives)
    for hub in memory.hubs:
        rtt_ms = answers.get(ip_address(hub.address))
        life = lives.get(hub.name, Life())
        lives[hub.name] = select.heard(life, rtt_ms, now, works=rtt_ms is not None)
    through = memory.through
    if memory.targets:
        passed = any(ip_address(each) in answers for each in memory.targets)
        through = select.heard(through, None, now, works=passed)
    return replace(memory, lives=lives, through=through)


def in_doubt(memory: Hubs, now: float) -> bool:
    """Return whether the next looks decide if the hub in force is to be left."""
    life = memory.lives.get(memory.standing.chosen, Life())
    forwards = select.doubtful(memory.through, now) and select.eligible(life, now)
    return len(memory.hubs) > 1 and (select.doubtful(life, now) or forwards)


def decided(memory: Hubs, now: float) -> Hubs:
    """Return the memory with the hub in force that shall be; pure in what was seen."""
    muted = {name: at for name, at in memory.muted.items() if now - at < FORGIVEN_SECONDS}
    chosen = memory.standing.chosen
    if memory.targets and chosen and not select.eligible(memory.through, now):
        muted.setdefault(chosen, now)
    else:
        muted.pop(chosen, None)
    lives = {hub.name: memory.lives.get(hub.name, Life()) for hub in memory.hubs}
    answering = [name for name, life in lives.items() if select.eligible(life, now)]
    if answering and all(name in muted for name in answering):
        # No way is better than another: the first one, where the other spokes look as well.
        standing = select.way([Way(answering[0], True, 0.0)], memory.standing, now, by_order=True)
    else:
        standing = select.way(
            [Way(n, n in answering and n not in muted, life.cost_ms) for n, life in lives.items()],
            memory.standing,
            now,
            by_order=not memory.by_latency,
        )
    holder = next((h.public_key for h in memory.hubs if h.name == standing.chosen), memory.holder)
    through = memory.through if holder == memory.holder else Life(alive=now + SETTLING_SECONDS)
    return replace(memory, standing=standing, holder=holder, muted=muted, through=through)


def settle(memory: Failover) -> Failover:
    """Return the memory once the hub that it has chosen is in force; the old one if it is not."""
    wanted = replace(memory, hubs=decided(memory.hubs, glance.clock()))
    if wanted.hubs.holder == memory.hubs.holder:
        return wanted
    from wgmesh.agent import states, steer

    keys = history.keys_of(wanted.hubs.hubs)

    def concerns(change: "Change", seen: "KernelState") -> bool:
        from wgmesh.model.change import PeerSet

        here = seen.link is not None
        return here and isinstance(change, PeerSet) and change.peer.public_key in keys

    def done() -> None:  # at once: others ask what is in force
        history.write_failover(settings.RUN_DIR, wanted)

    choices = replace(states.in_force(), hub=wanted.hubs.holder)
    try:
        steer.follow(memory.generation, choices, concerns, done)
    except LockedError:
        log.info("a change is in flight: the hubs are looked at again after it")
        return memory
    log.info("the mesh is reached through %s now", wanted.hubs.standing.chosen)
    return wanted
