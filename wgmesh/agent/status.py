"""What `wgmesh status` says, made purely out of what was gathered."""

from collections.abc import Mapping

from wgmesh.agent import awaited
from wgmesh.agent.contract import Report, commit_table, timestamp
from wgmesh.agent.gathered import Gathered, exit_in_use, hub_in_use, since
from wgmesh.agent.reasons import reasons
from wgmesh.model.commit import VerifiedCommit
from wgmesh.model.numbers import SESSION_SECONDS
from wgmesh.model.plan import Peer
from wgmesh.model.terms import Endpoint
from wgmesh.remembered import Rotation, Tips, Verdict
from wgmesh.rotation import in_force

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
    if rtt_ms is not None or (age is not None and age < SESSION_SECONDS):
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
    return since(have, watch.since, now)


def assemble(have: Gathered, now: float) -> Report:
    """Return the contract's report out of what was gathered; pure."""
    peers = _peers(have, now)
    found = reasons(have, peers, now)
    kinds = {kind for kind, _ in found}
    state = next((state for state in STATES if state in kinds), "in-sync")
    last = have.last
    return {
        "node": have.me.enrolment.node,
        "interface": have.me.enrolment.interface,
        "state": state,
        "reasons": [sentence for _, sentence in found],
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
        "exit": exit_in_use(have),
        "exit_since": since(have, have.steering.standing.since if exit_in_use(have) else 0, now),
        "hub": hub_in_use(have),
        "hub_since": since(have, have.failover.hubs.standing.since if hub_in_use(have) else 0, now),
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
