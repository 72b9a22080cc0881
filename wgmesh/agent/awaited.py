"""Peers whose tunnel waits for their end: they were up before a change of both ends.

They never speak against the change. But one that stays away for longer than two polls take has
perhaps not applied it, and `status` says so.
"""

from collections.abc import Mapping, Sequence

from wgmesh.model.kernel import PeerCounters
from wgmesh.model.numbers import SESSION_SECONDS
from wgmesh.model.plan import NodePlan
from wgmesh.remembered import Awaited
from wgmesh.settings import Settings


def renamed_keys(
    previous: NodePlan | None, plan: NodePlan, counters: Mapping[str, PeerCounters], now: float
) -> frozenset[str]:
    """Return the new keys of peers that were up under another key, known by their name."""
    if previous is None:
        return frozenset()
    before = {peer.name: peer.public_key for peer in previous.peers}
    kept = {key for peer in previous.peers for key in (peer.public_key, peer.next_public_key)}
    found = set()
    for peer in plan.peers:
        old = counters.get(before.get(peer.name, ""))
        alive = old is not None and 0 <= now - old.latest_handshake < SESSION_SECONDS
        if peer.public_key not in kept and alive:
            found.add(peer.public_key)
    return frozenset(found)


def begin(
    known: Sequence[Awaited],
    waiting: frozenset[str],
    counters: Mapping[str, PeerCounters],
    commit: str,
    now: float,
    soak_seconds: int = 0,
) -> tuple[Awaited, ...]:
    """Return who is awaited after a change that was confirmed: those known before, and `waiting`.

    `counters` are of right after the proof, `soak_seconds` how long the other ends wait by order.
    """
    old = {entry.public_key: entry for entry in known}
    for key in sorted(waiting):
        handshake = counters[key].latest_handshake if key in counters else 0
        old[key] = Awaited(key, commit, handshake, int(now), soak_seconds)
    return tuple(old.values())


def left(
    known: Sequence[Awaited],
    plan: NodePlan,
    counters: Mapping[str, PeerCounters],
    rtt_ms: Mapping[str, float],
    probed_at: float,
) -> tuple[Awaited, ...]:
    """Return who is still awaited: no handshake and no echo since. Handshakes compare for change.

    `rtt_ms` has those that echoed at `probed_at`.
    """
    peers = {peer.public_key for peer in plan.peers}

    def came(entry: Awaited) -> bool:
        seen = counters.get(entry.public_key)
        again = seen is not None and seen.latest_handshake not in (0, entry.handshake)
        return again or (probed_at > entry.time and entry.public_key in rtt_ms)

    return tuple(entry for entry in known if entry.public_key in peers and not came(entry))


def overdue(entry: Awaited, settings: Settings, now: float) -> bool:
    """Return whether the other end has had time for two polls."""
    poll = settings.poll_interval_seconds + settings.random_delay_seconds
    return not 0 <= now - entry.time <= entry.soak_seconds + 2 * poll
