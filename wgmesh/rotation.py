"""Which of a peer's two keys carries its traffic, while that node changes its key: pure.

A node that changes its key is two peers on the devices of the others, of which one has the
AllowedIPs. Each of the others decides by itself when to hand them over; what the device has is the
memory of that.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from wgmesh.model.kernel import LinkState, Observed, PeerCounters, PeerState
from wgmesh.model.numbers import SESSION_SECONDS
from wgmesh.model.plan import NodePlan, Peer


def in_force(plan: NodePlan, link: LinkState | None) -> NodePlan:
    """Return `plan` with the keys of its peers exchanged where the device uses the next one."""
    if link is None or all(peer.next_public_key is None for peer in plan.peers):
        return plan
    peers = tuple(_exchanged(peer) if uses_next(peer, link) else peer for peer in plan.peers)
    now = {peer.next_public_key or "": peer.public_key for peer in peers}
    use = plan.exits
    if use is not None:
        known = (replace(x, public_key=now.get(x.public_key, x.public_key)) for x in use.candidates)
        use = replace(use, candidates=tuple(known))
    return replace(plan, peers=peers, exits=use)


def _exchanged(peer: Peer) -> Peer:
    if peer.next_public_key is None:
        return peer
    return replace(peer, public_key=peer.next_public_key, next_public_key=peer.public_key)


def uses_next(peer: Peer, link: LinkState) -> bool:
    """Tell whether the AllowedIPs of `peer` lie with its next key."""
    old, new = link.peers.get(peer.public_key), link.peers.get(peer.next_public_key or "")
    return new is not None and bool(new.allowed_ips) and (old is None or not old.allowed_ips)


def handed_over(
    plan: NodePlan, seen: Observed, silent: Collection[str], now: float
) -> dict[str, PeerState]:
    """Return the peers, by public key, that are to get the AllowedIPs of their other key.

    `plan` is that of the inventory, `silent` are the keys in use through which nothing came back
    just now; `now` is wall clock, as handshakes are. The next key gets them as soon as the node
    has shown that it runs it: by a living session, begun no earlier than that of the old key, from
    where the old key is (a key that is only tried comes from another port). The old key gets them
    back when the next one's is dead and the old one's is newer.
    """
    link = seen.state.link
    found: dict[str, PeerState] = {}
    for peer in plan.peers if link is not None else ():
        if link is None or peer.next_public_key is None:
            continue
        old, new = link.peers.get(peer.public_key), link.peers.get(peer.next_public_key)
        if old is None or new is None:
            continue
        ages = _Ages(seen.counters, now)
        if uses_next(peer, link):
            dead = not ages.lives(new) or new.public_key in silent
            if dead and ages.lives(old) and ages.newer(old, new):
                found[old.public_key] = replace(old, allowed_ips=new.allowed_ips)
        elif ages.lives(new) and _runs(old, new, ages, dead=old.public_key in silent):
            found[new.public_key] = replace(new, allowed_ips=old.allowed_ips)
    return found


class _Ages:
    """How old sessions are, by what the device counts."""

    def __init__(self, counters: Mapping[str, PeerCounters], now: float) -> None:
        self._counters = counters
        self._now = now

    def handshake(self, peer: PeerState) -> int:
        seen = self._counters.get(peer.public_key)
        return seen.latest_handshake if seen is not None else 0

    def lives(self, peer: PeerState) -> bool:
        return 0 <= self._now - self.handshake(peer) < SESSION_SECONDS

    def newer(self, one: PeerState, other: PeerState) -> bool:
        return self.handshake(one) > self.handshake(other)


def _runs(old: PeerState, new: PeerState, ages: _Ages, *, dead: bool) -> bool:
    """Tell whether the node runs its next key, whose session is alive."""
    if not ages.lives(old):
        return True
    if ages.newer(old, new):
        return False
    return new.endpoint == old.endpoint or (dead and old.endpoint is None)
