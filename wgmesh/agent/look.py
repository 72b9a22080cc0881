"""Looks at this machine for `status`, and keeps what was seen in /run for those without root."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgmesh import generation, glance, history, probe, records, settings
from wgmesh.agent import awaited, metrics, node, soak, spare, states
from wgmesh.agent.contract import Report, timestamp
from wgmesh.agent.gathered import Gathered
from wgmesh.agent.node import PLACES, Node, Running
from wgmesh.agent.status import STATES, assemble, not_joined
from wgmesh.describe import describe
from wgmesh.errors import NotJoinedError, WgmeshError
from wgmesh.files import tolerant, write_atomic
from wgmesh.model.change import Change
from wgmesh.remembered import LastSync, RemoteState, Tips
from wgmesh.rotation import in_force

if TYPE_CHECKING:
    from wgmesh.model.health import Health

_PROBE_SECONDS = 2.0
_LIMIT = "stale_after_seconds"
"""Of the policy, which only root may be able to read: status.json has it beside the report."""


def gather(me: Node, known: Running | None = None) -> Gathered:
    """Return what a report needs: records from disk, one look at the device. Sends nothing.

    `known` is what runs, when the caller has just read it.
    """
    drift: list[str] = []
    changes: tuple[Change, ...] = ()
    try:
        running = known or node.running()
    except WgmeshError as error:
        running = None
        drift.append(error.message)
    plan = running.plan if running is not None else None
    seen = None
    if plan is not None:
        try:
            seen = states.observe(plan)
            changes = states.drift(plan, seen, time.time())
            drift += [describe(change) for change in changes]
        except WgmeshError as error:
            drift.append(error.message)
        if running is not None and running.altered:
            where = PLACES.generations / f"gen-{running.manifest.number}"
            drift.append(f"a file in {where} is not what was rendered")
        drift += generation.link_complaints(PLACES.generations, PLACES.wireguard, plan.interface)
    tips = node.tips(me)
    tick = _read_tick()
    rtt_ms, probed_at = tick.get("rtt_ms", {}), tick.get("time", 0)
    waiting = records.read_awaited(PLACES.state)
    if waiting and plan is not None and seen is not None:
        waiting = awaited.left(waiting, plan, seen.counters, rtt_ms, probed_at)
    last = spare.last_sync()
    return Gathered(
        me=me,
        running=running,
        tips=tips,
        last=last,
        verdict=records.read_verdict(PLACES.state),
        hold=records.read_hold(PLACES.state),
        quarantine=records.read_quarantine(PLACES.state),
        remotes=_remotes(me, last),
        seen=seen,
        changes=changes,
        drift=tuple(drift),
        rtt_ms=rtt_ms,
        probed_at=probed_at,
        awaited=waiting,
        soaks=_soaks(tips),
        rotation=records.read_rotation(PLACES.state),
        failover=history.read_failover(settings.RUN_DIR),
        steering=history.read_exits(settings.RUN_DIR),
        uptime=glance.clock(),
    )


def _remotes(me: Node, last: LastSync | None) -> tuple[RemoteState, ...]:
    """Return how the remotes stood, when there are several."""
    names = me.enrolment.remotes
    if len(names) == 1 or last is None:
        return ()
    return tuple(one for one in last.remotes if one.remote in names)


def _soaks(tips: Tips) -> str:
    """Return what is to say of a tip that waits for others to go first."""
    wait = records.read_soak(PLACES.state)
    trusted, applied = tips.trusted, tips.applied
    if trusted is None or wait is None or (applied is not None and applied.id == trusted.id):
        return ""
    return soak.sentence(wait) if soak.waits(wait, trusted.id) else ""


def report() -> Report:
    """Return the report for `wgmesh status`: live for root, else what the last tick wrote.

    Raises WgmeshError when there is nothing to read without root.
    """
    if os.geteuid() == 0:
        try:
            me = node.load_any()
        except NotJoinedError:
            return not_joined()
        return assemble(gather(me), time.time())
    if not settings.runs_a_mesh():
        return not_joined()
    try:
        kept: Report = json.loads(settings.STATUS_FILE.read_bytes())
        written = settings.STATUS_FILE.stat().st_mtime
        limit: int = kept.pop(_LIMIT, settings.Settings().stale_after_seconds)
    except (FileNotFoundError, ValueError):
        raise WgmeshError(
            "the agent has not run since boot", "run `wgmesh status` as root, or wait for a poll"
        ) from None
    if kept["state"] == "not-joined":  # nothing polls: what was seen is as old as it is
        kept["reasons"].append(f"as seen at {timestamp(int(written))}; root sees the present")
    elif time.time() - written > limit:
        kept["reasons"].append(f"stale: the agent has not run since {timestamp(int(written))}")
        kept["state"] = min(kept["state"], "degraded", key=STATES.index)
    return kept


def refresh(me: Node, known: Running | None = None) -> Gathered:
    """Write the report that `status` shows without root, and the metrics; return what they tell.

    Neither has a secret. What cannot be written is told, no more. `known` as in gather().
    """
    have = gather(me, known)
    if have.running is not None and have.running.plan is not None and have.seen is not None:
        with tolerant():
            states.remember_endpoints(have.running.plan, have.seen)
    if have.awaited != records.read_awaited(PLACES.state):
        with tolerant():
            records.write_awaited(PLACES.state, have.awaited)
    now = time.time()
    shown = assemble(have, now)
    kept = shown | {_LIMIT: me.settings.stale_after_seconds}
    data = json.dumps(kept, indent=1).encode()
    with tolerant():
        write_atomic(settings.STATUS_FILE, data + b"\n", 0o644, durable=False)
    if me.settings.metrics and not me.enrolment.direct:  # nobody would keep them up to date
        metrics.write(Path(me.settings.metrics), have, shown, now)
    return have


def forget(me: Node) -> None:
    """Remove what tells of this node, and what was told: it is in no mesh any more."""
    settings.STATUS_FILE.unlink(missing_ok=True)
    settings.NAMES_FILE.unlink(missing_ok=True)
    spare.forget()
    records.write_told(PLACES.state, {})
    for name in (history.FAILOVER, history.EXITS):
        (settings.RUN_DIR / name).unlink(missing_ok=True)
    if me.settings.metrics:
        metrics.remove(Path(me.settings.metrics))


def tick() -> Running | None:
    """Probe every peer once and keep what came back: what `status` calls the last tick.

    Returns what runs. Raises WgmeshError when that cannot be read.
    """
    running = node.running()
    if running is None or running.plan is None:
        return running
    plan = running.plan
    if any(peer.next_public_key for peer in plan.peers):
        plan = in_force(plan, states.observe(plan).state.link)
    targets = {peer.public_key: peer.addresses for peer in plan.peers}
    answers = probe.round_trips(running.plan.interface, targets, _PROBE_SECONDS)
    rtt = {
        key: min(answers[address] for address in own)
        for key, addresses in targets.items()
        if (own := [address for address in addresses if address in answers])
    }
    _write_tick(rtt)
    return running


def remember_probe(health: "Health") -> None:
    """Keep the round trips of a transaction's proof as the last tick."""
    rtt = {key: peer.rtt_ms for key, peer in health.peers.items() if peer.rtt_ms is not None}
    if rtt:
        _write_tick(rtt)


def _write_tick(rtt_ms: Mapping[str, float]) -> None:
    data = json.dumps({"time": int(time.time()), "rtt_ms": dict(rtt_ms)}).encode()
    with tolerant():
        write_atomic(settings.RUN_DIR / "tick.json", data, 0o644, durable=False)


def _read_tick() -> dict[str, Any]:
    try:
        value = json.loads((settings.RUN_DIR / "tick.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
