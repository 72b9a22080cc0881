"""What a report of a node is made from: its records, one look at the device, what ticks chose."""

from collections.abc import Mapping
from dataclasses import field

from wgmesh.agent.contract import timestamp
from wgmesh.agent.node import Node, Running
from wgmesh.frozen import frozen
from wgmesh.history import Failover, Steering
from wgmesh.model.change import Change
from wgmesh.model.kernel import Observed
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import Awaited, Hold, LastSync, RemoteState, Rotation, Tips, Verdict
from wgmesh.rotation import in_force


@frozen
class Gathered:
    """All that a report is made from.

    `remotes` are those of node.toml that were asked, when it has several. `changes` lead from what
    is seen to what was confirmed; `drift` tells of them, and of files. `rtt_ms` by public key is
    what the last tick measured, `failover` and `steering` what the failover and the exit selector
    remember, `uptime` their clock now. `soaks` says of a newer tip that it waits for others to go
    first, `rotation` is the change of this node's key.
    """

    me: Node
    running: Running | None
    tips: Tips
    last: LastSync | None
    verdict: Verdict | None
    hold: Hold | None
    quarantine: tuple[Quarantined, ...]
    remotes: tuple[RemoteState, ...]
    seen: Observed | None
    changes: tuple[Change, ...]
    drift: tuple[str, ...]
    rtt_ms: Mapping[str, float]
    probed_at: int
    awaited: tuple[Awaited, ...] = ()
    soaks: str = ""
    rotation: Rotation | None = None
    failover: Failover = field(default_factory=Failover)
    steering: Steering = field(default_factory=Steering)
    uptime: float = 0.0


def stale(have: Gathered, now: float) -> bool:
    """Return whether no remote has answered for so long that this node may miss something."""
    limit = have.me.settings.stale_after_seconds
    return have.last is not None and now - have.last.fetched > limit


def since(have: Gathered, moment: float, now: float) -> str | None:
    """Return a moment of the ticks' clock as a time for people; None for 0."""
    return timestamp(int(now - (have.uptime - moment))) if moment else None


def exit_in_use(have: Gathered) -> str | None:
    """Return the exit in use: what the selector chose, or before it ran, who has the default."""
    plan = have.running.plan if have.running is not None else None
    if plan is None or plan.exits is None:
        return None
    if have.steering.generation:
        return have.steering.standing.chosen or None
    link = have.seen.state.link if have.seen is not None else None
    plan = in_force(plan, link)
    for each in plan.exits.candidates if plan.exits is not None else ():
        live = link.peers.get(each.public_key) if link is not None else None
        if live is not None and any(not prefix.prefixlen for prefix in live.allowed_ips):
            return each.name
    return None


def hub_in_use(have: Gathered) -> str | None:
    """Return the peer that carries the mesh's own prefixes, None in a full mesh."""
    plan = have.running.plan if have.running is not None else None
    if plan is None:
        return None
    if plan.hubs is not None and have.failover.hubs.hubs:
        return have.failover.hubs.standing.chosen or None
    routes = {route.prefix for route in plan.routes if route.prefix.prefixlen}
    for peer in plan.peers:
        wide = routes.intersection(peer.allowed_ips)
        if any(address in prefix for prefix in wide for address in peer.addresses):
            return peer.name
    return None
