"""Everything about a node that is not as it should be, each as a state and a sentence."""

from collections.abc import Iterator

from wgmesh.agent import awaited
from wgmesh.agent.contract import Report, timestamp
from wgmesh.agent.gathered import Gathered, exit_in_use, stale
from wgmesh.remembered import RemoteState, Rotation, Verdict


def reasons(have: Gathered, peers: list[Report], now: float) -> list[tuple[str, str]]:
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


def _no_exit(have: Gathered) -> str:
    """Return the sentence for a node that wants an exit and has none; "" for any other."""
    plan = have.running.plan if have.running is not None else None
    if plan is None or plan.exits is None or exit_in_use(have) is not None:
        return ""
    what = "leaves directly" if have.steering.direct else "is blocked"
    return f"no exit works: internet traffic {what}"
