"""What a node knows of itself, for prometheus-node-exporter's textfile collector.

Format: Prometheus' text exposition, version 0.0.4. What is not known is not exported.
"""

import logging
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from wgmesh import __version__
from wgmesh.agent.contract import Report
from wgmesh.agent.gathered import Gathered, stale
from wgmesh.agent.status import STATES
from wgmesh.files import write_atomic
from wgmesh.rotation import in_force

log = logging.getLogger(__name__)

OUTCOMES = (
    "applied",
    "failed",
    "held",
    "in-sync",
    "invalid",
    "pending",
    "quarantined",
    "refused",
    "removed",
    "rolled-back",
    "unreachable",
    "waiting",
)
"""How a turn ends; each has a series, so that an alert sees a 0 where the trouble is over."""

Labels = Mapping[str, str]
Sample = tuple[Labels, float | int]
Family = tuple[str, str, str, Iterable[Sample]]
"""Name without prefix, type, help, samples."""


def exposition(have: Gathered, report: Report, now: float) -> str:
    """Return the whole text: `report` is what `status` says of `have` at `now`."""
    lines: list[str] = []
    for name, kind, text, samples in _families(have, report, now):
        found = [f"wgmesh_{name}{_labels(labels)} {value}" for labels, value in samples]
        if found:
            lines += [f"# HELP wgmesh_{name} {text}", f"# TYPE wgmesh_{name} {kind}", *found]
    return "".join(f"{line}\n" for line in lines)


def write(path: Path, have: Gathered, report: Report, now: float) -> None:
    """Replace the file at `path`, if its directory is there; what fails is told, no more.

    What is there and no plain file, such as a device, is not ours to replace.
    """
    if not path.parent.is_dir():
        return
    try:
        if not _replaceable(path):
            log.warning("%s is no plain file: no metrics are written to it", path)
            return
        write_atomic(path, exposition(have, report, now).encode(), 0o644, durable=False)
    except OSError as error:
        log.warning("the metrics cannot be written to %s: %s", path, error.strerror)


def remove(path: Path) -> None:
    """Take away what write() has left at `path`, and nothing else."""
    if path.exists() and _replaceable(path):
        path.unlink()


def _replaceable(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _labels(labels: Labels) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{','.join(pairs)}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _families(have: Gathered, report: Report, now: float) -> Iterator[Family]:
    yield (
        "info",
        "gauge",
        "This node; the value is always 1.",
        [({"node": report["node"], "interface": report["interface"], "version": __version__}, 1)],
    )
    yield (
        "state",
        "gauge",
        "1 for the state that `wgmesh status` shows, 0 for the others.",
        _one_of("state", report["state"], STATES),
    )
    yield "held", "gauge", "1 while applying is stopped.", _number(have.hold is not None)
    yield from _commit(have, report)
    yield from _sync(have, now)
    yield (
        "quarantined",
        "gauge",
        "Changes that did harm here and are not tried again for now.",
        _number(len(report["quarantine"])),
    )
    yield (
        "drift",
        "gauge",
        "Things that are not as the running generation says.",
        _number(len(report["drift"])),
    )
    yield from _peers(have, report)
    yield from _failovers(have)
    yield from _ways(have, report)


def _number(value: float | None) -> list[Sample]:
    return [] if value is None else [({}, int(value) if isinstance(value, bool) else value)]


def _one_of(label: str, current: str, known: Iterable[str]) -> list[Sample]:
    names = dict.fromkeys((*known, current))
    return [({label: name}, int(name == current)) for name in names]


def _commit(have: Gathered, report: Report) -> Iterator[Family]:
    yield "generation", "gauge", "The generation that runs.", _number(report["generation"])
    runs, tips = report["commit"], have.tips
    times = {each.id: each.time for each in (tips.applied, tips.trusted) if each is not None}
    if have.running is not None and have.running.manifest.commit is not None:
        times[have.running.manifest.commit.id] = have.running.manifest.commit.time
    if runs is not None:
        yield (
            "commit_info",
            "gauge",
            "The commit that runs; the value is always 1.",
            [({"commit": runs["id"]}, 1)],
        )
        yield (
            "commit_timestamp_seconds",
            "gauge",
            "When the commit that runs was made, by its author's clock.",
            _number(times.get(runs["id"])),
        )
    newer = report["candidate"]
    yield (
        "candidate",
        "gauge",
        "1 while there is a newer commit that does not run here.",
        _number(newer is not None),
    )


def _sync(have: Gathered, now: float) -> Iterator[Family]:
    last = have.last
    if last is None:
        return
    yield (
        "last_sync_timestamp_seconds",
        "gauge",
        "When the last turn of the loop ended.",
        _number(last.time),
    )
    yield (
        "last_sync_outcome",
        "gauge",
        "1 for the way in which the last turn ended, 0 for the others.",
        _one_of("outcome", last.outcome, OUTCOMES),
    )
    yield (
        "last_fetch_timestamp_seconds",
        "gauge",
        "When a remote last answered; 0 is never.",
        _number(last.fetched),
    )
    yield (
        "stale",
        "gauge",
        "1 when no remote has answered for stale_after_seconds.",
        _number(stale(have, now)),
    )


_PEER = (
    ("handshake_age_seconds", "gauge", "Age of the last handshake.", "handshake_age_seconds"),
    ("receive_bytes_total", "counter", "Bytes received from the peer.", "rx_bytes"),
    ("transmit_bytes_total", "counter", "Bytes sent to the peer.", "tx_bytes"),
)


def _peers(have: Gathered, report: Report) -> Iterator[Family]:
    peers = report["peers"]
    yield (
        "peer_up",
        "gauge",
        "1 for a peer that is up, 0 for one that is down; unknown is absent.",
        [
            ({"peer": peer["name"]}, int(peer["state"] == "up"))
            for peer in peers
            if peer["state"] != "unknown"
        ],
    )
    plan = have.running.plan if have.running is not None else None
    yield (
        "peer_may_be_down",
        "gauge",
        "1 for a peer that may sleep, or that is not managed by wgmesh.",
        [
            ({"peer": peer.name}, int(peer.intermittent or not peer.managed))
            for peer in (plan.peers if plan is not None else ())
        ],
    )
    for name, kind, text, key in _PEER:
        yield (
            f"peer_{name}",
            kind,
            text,
            [({"peer": peer["name"]}, peer[key]) for peer in peers if peer[key] is not None],
        )
    yield (
        "peer_rtt_seconds",
        "gauge",
        "Round trip inside the tunnel, at the last probe.",
        [
            ({"peer": peer["name"]}, round(peer["rtt_ms"] / 1000, 6))
            for peer in peers
            if peer["rtt_ms"] is not None
        ],
    )


def _failovers(have: Gathered) -> Iterator[Family]:
    """Yield how often a peer was moved to another endpoint, and who is away from the first one."""
    names = {key: each.name for key, each in have.failover.watched.items()}
    watches = {key: each for key, each in have.failover.watches.items() if key in names}
    yield (
        "failovers_total",
        "counter",
        "How often a peer was moved to another of its endpoints since the machine started.",
        [({"peer": names[key]}, watch.switches) for key, watch in watches.items()],
    )
    yield (
        "endpoint_chosen",
        "gauge",
        "1 while a peer is at an endpoint that the failover chose.",
        [({"peer": names[key]}, int(bool(watch.endpoint))) for key, watch in watches.items()],
    )


def _ways(have: Gathered, report: Report) -> Iterator[Family]:
    """Yield who carries this node's other traffic: the hub, and the exit as the device has it."""
    if have.failover.hubs.hubs:
        yield (
            "hub_switches_total",
            "counter",
            "How often another hub, or none, came into use since the machine started.",
            _number(have.failover.hubs.standing.switches),
        )
    if report["hub"] is not None:
        yield "hub_active", "gauge", "1 for the hub in use.", [({"hub": report["hub"]}, 1)]
    plan = have.running.plan if have.running is not None else None
    link = have.seen.state.link if have.seen is not None else None
    if plan is None or plan.exits is None or link is None:
        return
    samples = []
    plan = in_force(plan, link)
    for exit_node in plan.exits.candidates if plan.exits is not None else ():
        live = link.peers.get(exit_node.public_key)
        carries = live is not None and any(not each.prefixlen for each in live.allowed_ips)
        samples.append(({"exit": exit_node.name}, int(carries)))
    yield (
        "exit_switches_total",
        "counter",
        "How often another exit, or none, came into use since the machine started.",
        _number(have.steering.standing.switches),
    )
    yield "exit_active", "gauge", "1 for the exit in use, 0 for the other candidates.", samples
