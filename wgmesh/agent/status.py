"""What `wgmesh status` says: gathered, assembled purely, and kept in /run for all to read."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wgmesh import generation, probe, records, settings
from wgmesh.agent import node
from wgmesh.agent.node import PLACES, Node, Running
from wgmesh.describe import describe
from wgmesh.errors import NotJoinedError, WgmeshError
from wgmesh.files import write_atomic
from wgmesh.model import Endpoint, Health, Observed, Peer, VerifiedCommit
from wgmesh.records import Hold, LastSync, Quarantined, Tips, Verdict

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

_PROBE_SECONDS = 2.0
_SKEW_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that a report is made from; `rtt_ms` by public key is what the last tick measured."""

    me: Node
    running: Running | None
    tips: Tips
    last: LastSync | None
    verdict: Verdict | None
    hold: Hold | None
    quarantine: tuple[Quarantined, ...]
    seen: Observed | None
    drift: tuple[str, ...]
    rtt_ms: Mapping[str, float]
    probed_at: int


def timestamp(seconds: int) -> str | None:
    """Return `seconds` since the epoch as RFC 3339 in UTC; None for 0, which is never."""
    if seconds == 0:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _commit(commit: VerifiedCommit | None) -> Report | None:
    if commit is None:
        return None
    return {
        "id": commit.id,
        "signer": commit.signer,
        "fingerprint": commit.fingerprint,
        "subject": commit.subject,
        "time": timestamp(commit.time),
    }


def _candidate(tips: Tips, verdict: Verdict | None) -> Report | None:
    """Return the newer tip, if any: a refused one has no signer that counts."""
    if verdict is not None and verdict.kind == "refused":
        nothing = dict.fromkeys(("signer", "fingerprint", "subject", "time"))
        return {"id": verdict.commit, **nothing}
    if tips.trusted is None or (tips.applied is not None and tips.applied.id == tips.trusted.id):
        return None
    return _commit(tips.trusted)


def endpoint_source(peer: Peer, endpoint: Endpoint | None) -> str | None:
    """Return where a peer's endpoint comes from; a named one cannot be told from here."""
    if endpoint is None:
        return None
    exact = [index for index, known in enumerate(peer.endpoints) if known == endpoint]
    named = [
        index
        for index, known in enumerate(peer.endpoints)
        if not known.literal and known.port == endpoint.port
    ]
    found = exact or named
    if not found:
        return "roamed"
    return "inventory" if found[0] == 0 else "alternative"


def peer_state(peer: Peer, age: int | None, rtt_ms: float | None, probed: bool) -> str:
    """Return up, down, expected-down or unknown for a peer.

    A session younger than 180 s or an echo at the last tick is up; no probe and no handshake is
    unknown; a peer that may sleep or is not managed is expected-down.
    """
    if rtt_ms is not None or (age is not None and age < node.SESSION_SECONDS):
        return "up"
    if peer.intermittent or not peer.managed:
        return "expected-down"
    return "down" if probed else "unknown"


def _peers(have: Gathered, now: float) -> list[Report]:
    plan = have.running.plan if have.running is not None else None
    if plan is None:
        return []
    link = have.seen.state.link if have.seen is not None else None
    found = []
    for peer in plan.peers:
        live = link.peers.get(peer.public_key) if link is not None else None
        counters = have.seen.counters.get(peer.public_key) if have.seen is not None else None
        handshake = counters.latest_handshake if counters is not None else 0
        gone = now - handshake
        # one from the future, of a clock that has been set back, says nothing
        age = max(0, int(gone)) if handshake and gone > -_SKEW_SECONDS else None
        endpoint = live.endpoint if live is not None else None
        fresh = now - have.probed_at < 3 * have.me.settings.poll_interval_seconds
        rtt = have.rtt_ms.get(peer.public_key) if fresh and live is not None else None
        found.append(
            {
                "name": peer.name,
                "public_key": peer.public_key,
                "endpoint": None if endpoint is None else str(endpoint),
                "endpoint_source": endpoint_source(peer, endpoint),
                "handshake_age_seconds": age,
                "rx_bytes": counters.rx_bytes if counters is not None else None,
                "tx_bytes": counters.tx_bytes if counters is not None else None,
                "rtt_ms": None if rtt is None else round(rtt, 3),
                "state": peer_state(peer, age, rtt, fresh and live is not None),
            }
        )
    return found


def _reasons(have: Gathered, peers: list[Report], now: float) -> list[tuple[str, str]]:
    """Return (state, sentence) for everything that is not as it should be."""
    found = []
    if have.verdict is not None:
        found.append((have.verdict.kind, have.verdict.reason))
    if have.hold is not None:
        found.append(("held", f"held: {have.hold.reason}"))
    if have.running is None and have.verdict is None and not have.drift:
        found.append(("pending", "nothing was applied yet"))
    down = [peer["name"] for peer in peers if peer["state"] == "down"]
    if down:
        found.append(("degraded", f"down: {', '.join(down)}"))
    if have.drift:
        found.append(("degraded", f"changed by hand: {'; '.join(have.drift)}"))
    fetched = have.last.fetched if have.last is not None else 0
    if have.last is not None and now - fetched > have.me.settings.stale_after_seconds:
        since = timestamp(fetched) or "ever"
        found.append(("degraded", f"stale: no remote has answered since {since}"))
    elif have.last is not None and have.last.outcome in ("unreachable", "failed"):
        found.append(("in-sync", f"the last sync: {have.last.reason}"))
    return found


def _hub(have: Gathered) -> str | None:
    """Return the peer that carries the mesh's own prefixes, None in a full mesh."""
    plan = have.running.plan if have.running is not None else None
    if plan is None:
        return None
    routes = {route.prefix for route in plan.routes}
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
        "commit": _commit(have.tips.applied),
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
        "peers": peers,
        "exit": None,
        "hub": _hub(have),
    }


def not_joined() -> Report:
    """Return the report of a machine that is in no mesh."""
    names = ("node", "interface", "commit", "candidate", "generation", "last_sync", "exit", "hub")
    empty: Report = {"reasons": ["this machine has not joined a mesh"]}
    empty |= {name: [] for name in ("quarantine", "drift", "peers")}
    return {"state": "not-joined"} | dict.fromkeys(names) | empty


def gather(me: Node) -> Gathered:
    """Return what a report needs: records from disk, one look at the device. Sends nothing."""
    drift: list[str] = []
    try:
        running = node.running()
    except WgmeshError as error:
        running = None
        drift.append(error.message)
    plan = running.plan if running is not None else None
    seen = None
    if plan is not None:
        try:
            seen = node.observe(plan)
            drift += [describe(change) for change in node.drift(plan, seen, time.time())]
        except WgmeshError as error:
            drift.append(error.message)
        drift += generation.link_complaints(PLACES.generations, PLACES.wireguard, plan.interface)
    tick = _read_tick()
    return Gathered(
        me=me,
        running=running,
        tips=records.read_tips(PLACES.state),
        last=records.read_last_sync(PLACES.state),
        verdict=records.read_verdict(PLACES.state),
        hold=records.read_hold(PLACES.state),
        quarantine=records.read_quarantine(PLACES.state),
        seen=seen,
        drift=tuple(drift),
        rtt_ms=tick.get("rtt_ms", {}),
        probed_at=tick.get("time", 0),
    )


def report() -> Report:
    """Return the report for `wgmesh status`: live for root, else what the last tick wrote.

    Raises WgmeshError when there is nothing to read without root.
    """
    if os.geteuid() == 0:
        try:
            me = node.load()
        except NotJoinedError:
            return not_joined()
        return assemble(gather(me), time.time())
    if not settings.NODE_FILE.exists():
        return not_joined()
    try:
        kept: Report = json.loads(settings.STATUS_FILE.read_bytes())
    except FileNotFoundError:
        raise WgmeshError(
            "the agent has not run since boot", "run `wgmesh status` as root, or wait for a poll"
        ) from None
    return kept


def refresh(me: Node) -> None:
    """Write the report that `status` shows without root; it has no secret."""
    have = gather(me)
    if have.running is not None and have.running.plan is not None and have.seen is not None:
        node.remember_endpoints(have.running.plan, have.seen)
    data = json.dumps(assemble(have, time.time()), indent=1).encode()
    write_atomic(settings.STATUS_FILE, data + b"\n", 0o644, durable=False)


def tick() -> None:
    """Probe every peer once and keep what came back: what `status` calls the last tick."""
    running = node.running()
    if running is None or running.plan is None:
        return
    targets = {peer.public_key: peer.addresses for peer in running.plan.peers}
    answers = probe.round_trips(running.plan.interface, targets, _PROBE_SECONDS)
    rtt = {
        key: min(answers[address] for address in own)
        for key, addresses in targets.items()
        if (own := [address for address in addresses if address in answers])
    }
    _write_tick(rtt)


def remember_probe(health: Health) -> None:
    """Keep the round trips of a transaction's proof as the last tick."""
    rtt = {key: peer.rtt_ms for key, peer in health.peers.items() if peer.rtt_ms is not None}
    if rtt:
        _write_tick(rtt)


def _write_tick(rtt_ms: Mapping[str, float]) -> None:
    data = json.dumps({"time": int(time.time()), "rtt_ms": dict(rtt_ms)}).encode()
    write_atomic(settings.RUN_DIR / "tick.json", data, 0o644, durable=False)


def _read_tick() -> dict[str, Any]:
    try:
        value = json.loads((settings.RUN_DIR / "tick.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
