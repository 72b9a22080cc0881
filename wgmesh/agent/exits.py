"""One tick of the exit selector: the exit in use, better ones, and the guard that lets nothing out.

Most ticks find all well: as with the failover, such a tick loads no model and no plan.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from wgmesh import glance, history, settings
from wgmesh.agent import ticks
from wgmesh.agent.exit_turn import Turn
from wgmesh.files import locked
from wgmesh.history import Exit, Steering
from wgmesh.select import Standing

if TYPE_CHECKING:
    from wgmesh.model.plan import NodePlan


def tick() -> None:
    """Look at the exits, and move the default routes when another one shall have them.

    Raises LockedError when a change is in flight, NotJoinedError, or another WgmeshError.
    """
    ticks.require_a_mesh()
    with locked(settings.LOCK_FILE, patience_seconds=ticks.PATIENCE_SECONDS):
        memory = up_to_date(history.read_exits(settings.RUN_DIR))
    if memory is None:
        return
    turn = Turn(memory)
    try:
        turn.run()
    finally:
        history.write_exits(settings.RUN_DIR, turn.memory)
    if turn.memory.standing.switches != memory.standing.switches:
        ticks.tell_status()


def up_to_date(memory: Steering) -> Steering | None:
    """Return `memory` for the generation that is confirmed now; None for a node without exits."""
    confirmed = ticks.confirmed_generation()
    if memory.generation == confirmed:
        return memory if confirmed else None
    from wgmesh.agent import node

    running = node.running()
    plan = running.plan if running is not None else None
    fresh = None if plan is None or plan.exits is None else _for_plan(memory, confirmed, plan)
    history.write_exits(settings.RUN_DIR, fresh)
    return fresh


def _for_plan(memory: Steering, confirmed: str, plan: "NodePlan") -> Steering:
    """Return the memory for another generation: of exits that are still to be had, all of it."""
    from wgmesh.model.terms import ExitPolicy, OnNoExit

    use = plan.exits
    if use is None:
        raise AssertionError("only a node that uses exits has a memory of them")
    own = {address.version for address in plan.addresses}
    following = {peer.public_key: peer.next_public_key for peer in plan.peers}
    exits = tuple(
        Exit(
            each.name,
            each.public_key,
            str(each.addresses[0]),
            tuple(sorted(own & {address.version for address in each.addresses})),
            following.get(each.public_key) or "",
        )
        for each in use.candidates
        if each.addresses
    )
    names = {each.name for each in exits}
    holder = history.renamed(exits, memory.exits, memory.holder)
    first = next(
        (p.public_key for p in plan.peers if any(not each.prefixlen for each in p.allowed_ips)), ""
    )
    kept = bool(holder) and memory.standing.chosen in {"", *names}
    named = next((each.name for each in exits if each.public_key == first), "")
    begun = Steering(holder=first, standing=Standing(named, glance.clock()))
    return replace(
        replace(memory, holder=holder) if kept else begun,
        generation=confirmed,
        interface=plan.interface,
        exits=exits,
        primary=use.primary or "",
        manual=use.policy is ExitPolicy.MANUAL,
        block=use.on_no_exit is OnNoExit.BLOCK,
        interval=use.check_interval_seconds,
        targets=tuple(map(str, use.test_target)),
        lives={key: life for key, life in memory.lives.items() if key.split("/")[0] in names},
        kernel="",
    )
