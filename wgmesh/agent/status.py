"""What `wgmesh status` says, made purely out of what was gathered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from wgmesh.agent import awaited, node
from wgmesh.agent.node import Node, Running
from wgmesh.history import Failover, Steering
from wgmesh.model.change import Change
from wgmesh.model.commit import VerifiedCommit
from wgmesh.model.kernel import Observed
from wgmesh.model.plan import Peer
from wgmesh.model.terms import Endpoint
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import Awaited, Hold, LastSync, RemoteState, Rotation, Tips, Verdict
from wgmesh.rotation import in_force

Report = dict[str, Any]

STATES = (
    "not-joined",
    "refused",
    "invalid",
    "held",
    "rolled-back",
    "removed",
    "pending",
    "degraded",
    "in-sync",
)
ALARMS = frozenset({"refused", "invalid", "rolled-back", "removed", "degraded"})
"""States that make `wgmesh status` exit with 7."""

_SKEW_SECONDS = 5


@dataclass(frozen=True, slots=True)
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


def timestamp(seconds: int) -> str | None:
    """Return `seconds` since the epoch as RFC 3339 in UTC; None for 0, which is never."""
    if seconds == 0:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit_table(commit: VerifiedCommit | None) -> Report | None:
    """Return a commit as the contract shows it."""
    if commit is None:
        return None
    return {
        "id": commit.id,
        "signer": commit.signer,
        "fingerprint": commit.fingerprint,
        "subject": commit.subject,
        "time": timestamp(commit.time),
    }


def _runs(have: Gathered) -> VerifiedCommit | None:
    """Return the commit that runs: the last that changed nothing, or the generation's own."""
    manifest = have.running.manifest if have.running is not None else None
    if manifest is None or have.tips.digest == manifest.digest:
        return have.tips.applied
    return manifest.commit


def _candidate(tips: Tips, verdict: Verdict | None) -> Report | None:
    """Return the newer tip, if any: a refused one has no signer that counts."""
    if verdict is not None and verdict.kind == "refused":
        nothing = dict.fromkeys(("signer", "fingerprint", "subject", "time"))
        return {"id": verdict.commit, **nothing}
    if tips.trusted is None or (tips.applied is not None and tips.applied.id == tips.trusted.id):
        return None
    return commit_table(tips.trusted)


def endpoint_source(
    peer: Peer,
    endpoint: Endpoint | None,
    resolved: Mapping[str, tuple[str, ...]] | None = None,
) -> str | None:
    """Return where a peer's endpoint comes from.

    A name that was never `resolved` by the failover is taken for the one of this port.
    """
    if endpoint is None:
        return None
    known_as = resolved or {}
    exact = [
        index
        for index, known in enumerate(peer.endpoints)
        if known == endpoint or str(endpoint) in known_as.get(str(known), ())
    ]
    named = [
        index
        for index, known in enumerate(peer.endpoints)
        if not known.literal and known.port == endpoint.port
    ]
    found = exact or named
    if not found:
        return "roamed"
    return "inventory" if found[0] == 0 else "alternative"


def peer_state(
    peer: Peer, age: int | None, rtt_ms: float | None, probed: bool, due: bool = False
) -> str:
    """Return up, down, expected-down or unknown for a peer.

    A session younger than 180 s or an echo at the last tick is up; no probe and no handshake is
    unknown; a peer that may sleep, is not managed, or is `due` to come is expected-down.
    """
    if rtt_ms is not None or (age is not None and age < node.SESSION_SECONDS):
        return "up"
    if peer.intermittent or not peer.managed or due:
        return "expected-down"
    return "down" if probed else "unknown"


def _peers(have: Gathered, now: float) -> list[Report]:
    plan = have.running.plan if have.running is not None else None
    if plan is None:
        return []
    link = have.seen.state.link if have.seen is not None else None
    plan = in_force(plan, link)
    settings = have.me.settings
    due = {entry.public_key for entry in have.awaited if not awaited.overdue(entry, settings, now)}
    found = []
    for peer in plan.peers:
        live = link.peers.get(peer.public_key) if link is not None else None
        counters = have.seen.counters.get(peer.public_key) if have.seen is not None else None
        handshake = counters.latest_handshake if counters is not None else 0
        gone = now - handshake
        # one from the future, of a clock that has been set back, says nothing
        age = max(0, int(gone)) if handshake and gone > -_SKEW_SECONDS else None
        endpoint = live.endpoint if live is not None else None
        fresh = now - have.probed_at < 3 * settings.poll_interval_seconds
        rtt = have.rtt_ms.get(peer.public_key) if fresh and live is not None else None
        found.append(
            {
                "name": peer.name,
                "public_key": peer.public_key,
                "endpoint": None if endpoint is None else str(endpoint),
                "endpoint_source": endpoint_source(peer, endpoint, have.failover.resolved),
                "endpoint_since": _chosen_since(have, peer, endpoint, now),
                "handshake_age_seconds": age,
                "rx_bytes": counters.rx_bytes if counters is not None else None,
                "tx_bytes": counters.tx_bytes if counters is not None else None,
                "rtt_ms": None if rtt is None else round(rtt, 3),
                "state": peer_state(
                    peer, age, rtt, fresh and live is not None, peer.public_key in due
                ),
            }
        )
    return found


def _chosen_since(have: Gathered, peer: Peer, endpoint: Endpoint | None, now: float) -> str | None:
    """Return since when the failover has this endpoint in force; None when it has none."""
    watch = have.failover.watches.get(peer.public_key)
    if watch is None or endpoint is None or watch.endpoint != str(endpoint):
        return None
    return _since(have, watch.since, now)


def _since(have: Gathered, moment: float, now: float) -> str | None:
    """Return a moment of the ticks' clock as a time for people; None for 0."""
    return timestamp(int(now - (have.uptime - moment))) if moment else None


def _reasons(have: Gathered, peers: list[Report], now: float) -> list[tuple[str, str]]:
    """Return (state, sentence) for everything that is not as it should be."""
    found = []
    if have.me.enrolment.direct:
        found.append(("not-joined", "applied by hand: no repository is followed"))
    if have.verdict is not None:
        found.append((have.verdict.kind, _said(have.verdict)))
    if have.hold is not None:
        found.append(("held", f"held: {have.hold.reason}"))
    if have.running is None and have.verdict is None and not have.drift:
        found.append(("pending", "nothing was applied yet"))
    if have.soaks and have.hold is None:
        found.append(("in-sync", have.soaks))
    if have.rotation is not None:
        found.append(("in-sync", _rotates(have.rotation)))
    down = [peer["name"] for peer in peers if peer["state"] == "down"]
    if down:
        found.append(("degraded", f"down: {', '.join(down)}"))
    found += _late(have, peers, now)
    if have.drift:
        found.append(("degraded", f"changed by hand: {'; '.join(have.drift)}"))
    lost = _no_exit(have)
    if lost:
        found.append(("degraded", lost))
    if have.last is not None and stale(have, now):
        since = timestamp(have.last.fetched) or "ever"
        found.append(("degraded", f"stale: no remote has answered since {since}"))
    elif have.last is not None and have.last.outcome in ("unreachable", "failed"):
        kind = "degraded" if have.last.outcome == "failed" else "in-sync"
        found.append((kind, f"the last sync: {have.last.reason}"))
    return found + [("in-sync", sentence) for sentence in _lacking(have.remotes)]


def _said(verdict: Verdict) -> str:
    """Return what is wrong with a tip; of a refused one also what to do, on lines of its own."""
    said, hint = verdict.reason, verdict.hint
    return f"{said}\n{hint}" if verdict.kind == "refused" and hint else said


def _lacking(remotes: tuple[RemoteState, ...]) -> Iterator[str]:
    """Yield a sentence for each remote that others stand in for; that none answers is no news."""
    if all(state.standing == "silent" for state in remotes):
        return
    for state in remotes:
        since = timestamp(state.since)
        if state.standing == "silent":
            yield f"{state.remote} gives nothing since {since}, others do: {state.reason}"
        elif state.standing == "behind":
            yield f"{state.remote} is behind since {since}, at {state.commit[:12]}"


def _rotates(record: Rotation) -> str:
    """Return how far the change of this node's key is."""
    if not record.staged:
        what = "the next key is made, not merged: wgmesh rotate-key prints it again"
    elif not record.switched:
        what = f"the next key waits for {', '.join(record.waiting) or 'the next poll'}"
    elif not record.over:
        left = ", ".join(record.behind) or "peers that have not gone over yet"
        what = f"the new key is in use, the old one goes on for {left}"
    else:
        what = "every peer uses the new key: wgmesh rotate-key prints the last commit"
    return f"key rotation: {what}"


def _late(have: Gathered, peers: list[Report], now: float) -> list[tuple[str, str]]:
    """Return what to say of peers whose end has not changed for longer than two polls take."""
    names = {peer["public_key"]: peer["name"] for peer in peers}
    return [
        (
            "degraded",
            f"{names[entry.public_key]} has not come back since {entry.commit[:12]} changed both"
            " ends of its tunnel: has it applied that?",
        )
        for entry in have.awaited
        if entry.public_key in names and awaited.overdue(entry, have.me.settings, now)
    ]


def stale(have: Gathered, now: float) -> bool:
    """Return whether no remote has answered for so long that this node may miss something."""
    limit = have.me.settings.stale_after_seconds
    return have.last is not None and now - have.last.fetched > limit


def _exit(have: Gathered) -> str | None:
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


def _no_exit(have: Gathered) -> str:
    """Return the sentence for a node that wants an exit and has none; "" for any other."""
    plan = have.running.plan if have.running is not None else None
    if plan is None or plan.exits is None or _exit(have) is not None:
        return ""
    what = "leaves directly" if have.steering.direct else "is blocked"
    return f"no exit works: internet traffic {what}"


def _hub(have: Gathered) -> str | None:
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


def assemble(have: Gathered, now: float) -> Report:
    """Return the contract's report out of what was gathered; pure."""
    peers = _peers(have, now)
    reasons = _reasons(have, peers, now)
    kinds = {kind for kind, _ in reasons}
    state = next((state for state in STATES if state in kinds), "in-sync")
    last = have.last
    return {
        "node": have.me.enrolment.node,
        "interface": have.me.enrolment.interface,
        "state": state,
        "reasons": [sentence for _, sentence in reasons],
        "commit": commit_table(_runs(have)),
        "candidate": _candidate(have.tips, have.verdict),
        "generation": have.running.manifest.number if have.running is not None else None,
        "last_sync": None
        if last is None
        else {
            "time": timestamp(last.time),
            "outcome": last.outcome,
            "reason": last.reason or None,
            "commit": last.commit or None,
        },
        "quarantine": [
            {
                "digest": entry.digest,
                "commit": entry.commit,
                "subject": entry.subject,
                "reason": entry.reason,
                "time": timestamp(entry.time),
                "until": timestamp(entry.until),
            }
            for entry in have.quarantine
            if entry.blocks(now)
        ],
        "drift": list(have.drift),
        "rotation": _rotation(have.rotation),
        "peers": peers,
        "exit": _exit(have),
        "exit_since": _since(have, have.steering.standing.since if _exit(have) else 0, now),
        "hub": _hub(have),
        "hub_since": _since(have, have.failover.hubs.standing.since if _hub(have) else 0, now),
    }


def _rotation(record: Rotation | None) -> Report | None:
    """Return how far the change of this node's key is, for programs."""
    if record is None:
        return None
    return {
        "next_public_key": record.next_public_key,
        "staged": timestamp(record.staged),
        "switched": timestamp(record.switched),
        "waiting": list(record.waiting),
        "behind": list(record.behind),
        "over": record.over,
    }


def not_joined() -> Report:
    """Return the report of a machine that is in no mesh."""
    names = ["node", "interface", "commit", "candidate", "generation", "last_sync", "rotation"]
    names += ["exit", "exit_since", "hub", "hub_since"]
    empty: Report = {"reasons": ["this machine has not joined a mesh"]}
    empty |= {name: [] for name in ("quarantine", "drift", "peers")}
    return {"state": "not-joined"} | dict.fromkeys(names) | empty
