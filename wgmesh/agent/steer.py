"""What a tick has chosen, into the kernel: the one diff and the one executor, as far as it goes."""

from collections.abc import Callable
from dataclasses import replace

from wgmesh import journal, linux, settings
from wgmesh.agent import node, states
from wgmesh.agent.node import PLACES
from wgmesh.agent.ticks import confirmed_generation
from wgmesh.choices import Choices
from wgmesh.diff import diff
from wgmesh.errors import LockedError
from wgmesh.files import locked
from wgmesh.model.change import Change
from wgmesh.model.kernel import KernelState
from wgmesh.model.terms import Endpoint

PATIENCE_SECONDS = 5.0
"""How long a switch waits for another tick's hold of the lock; a change in flight takes longer."""

Concerns = Callable[[Change, KernelState], bool]


def follow(
    generation: str, choices: Choices, concerns: Concerns, done: Callable[[], None] = lambda: None
) -> None:
    """Bring the kernel to the confirmed plan with `choices` in force, as far as `concerns` says.

    What else differs is somebody's drift, for others to judge. `done` is called before the lock is
    let go. Raises LockedError when a change is in flight, or another generation is confirmed by
    now; another WgmeshError when a command fails.
    """
    with locked(settings.LOCK_FILE, patience_seconds=PATIENCE_SECONDS):
        _require_idle(generation)
        running = node.running()
        plan = running.plan if running is not None else None
        if plan is None:
            raise LockedError("there is no plan to follow", "the next tick looks anew")
        seen = states.observe(plan).state
        target = states.target_for(plan, plan, ask_resolver=False, choices=choices)(seen)
        linux.apply([change for change in diff(target, seen) if concerns(change, seen)])
        done()


def move(generation: str, interface: str, endpoints: dict[str, Endpoint]) -> None:
    """Point peers, by public key, elsewhere, and touch nothing else. Raises as `follow` does."""
    with locked(settings.LOCK_FILE, patience_seconds=PATIENCE_SECONDS):
        _require_idle(generation)
        seen = linux.observe(interface, ()).state
        linux.apply(diff(elsewhere(seen, endpoints), seen))


def elsewhere(observed: KernelState, endpoints: dict[str, Endpoint]) -> KernelState:
    """Return `observed` with those of its peers at other endpoints."""
    link = observed.link
    if link is None:
        return observed
    peers = {
        key: replace(peer, endpoint=endpoints.get(key, peer.endpoint))
        for key, peer in link.peers.items()
    }
    return replace(observed, link=replace(link, peers=peers))


def _require_idle(generation: str) -> None:
    idle = journal.read(PLACES.journal).phase is journal.Phase.IDLE
    if not idle or confirmed_generation() != generation:
        raise LockedError("a change came between", "the next tick looks anew")
