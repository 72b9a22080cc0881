"""Reports as text for people."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from wgmesh.cli.output import painter

_COLOUR = {"in-sync": "green", "held": "yellow", "pending": "yellow"}


def table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Return `rows` in columns that are as wide as their widest cell."""
    widths = (
        [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    )
    lines = (
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "".join(line.rstrip() + "\n" for line in lines)


def size(count: int | None) -> str:
    """Return a number of bytes for people."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return "-"


def _commit(commit: Mapping[str, Any] | None) -> str:
    if commit is None:
        return "none"
    signed = f" signed by {commit['signer']}" if commit["signer"] else ""
    subject = f": {commit['subject']}" if commit["subject"] else ""
    return f"{commit['id'][:12]}{signed}{subject}"


def status_text(report: Mapping[str, Any]) -> str:
    """Return the report of `wgmesh status` as text."""
    paint = painter(sys.stdout)
    state = report["state"]
    if state == "not-joined" and report["node"] is None:
        return "not joined: this machine is in no mesh\n  wgmesh join REMOTE … enrols it\n"
    rows = [("node", f"{report['node']} ({report['interface']})")]
    rows.append(("state", paint(state, _COLOUR.get(state, "red"))))
    long = [reason for reason in report["reasons"] if "\n" in reason]  # with what to do
    rows += [("", reason) for reason in report["reasons"] if reason not in long]
    generation = report["generation"]
    runs = "nothing yet" if generation is None else f"generation {generation}, "
    what = "out of a file" if state == "not-joined" else _commit(report["commit"])
    rows.append(("runs", runs + (what if generation is not None else "")))
    if report["candidate"] is not None:
        rows.append(("newer", _commit(report["candidate"])))
    last = report["last_sync"]
    if last is not None:
        rows.append(("last sync", f"{last['time']}, {last['outcome']}"))
    for way in ("exit", "hub"):
        if report[way] is not None:
            since = report.get(f"{way}_since")
            rows.append((way, report[way] + (f", since {since}" if since else "")))
    rows += [
        ("quarantine", f"{entry['commit'][:12]} {entry['subject']}: {entry['reason']}")
        for entry in report["quarantine"]
    ]
    text = table(rows) + "".join(f"\n{reason}\n" for reason in long)
    if report["peers"]:
        text += "\n" + table(_peer_rows(report["peers"]))
    return text


def _peer_rows(peers: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("PEER", "STATE", "ENDPOINT", "FROM", "HANDSHAKE", "RTT", "RECEIVED", "SENT")
    ]
    for peer in peers:
        age = peer["handshake_age_seconds"]
        rtt = peer["rtt_ms"]
        rows.append(
            (
                peer["name"],
                peer["state"],
                peer["endpoint"] or "-",
                peer["endpoint_source"] or "-",
                "never" if age is None else f"{age} s ago",
                "-" if rtt is None else f"{rtt:.1f} ms",
                size(peer["rx_bytes"]),
                size(peer["tx_bytes"]),
            )
        )
    return rows


def history_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the report of `wgmesh history` as text."""
    if not rows:
        return "no generation yet\n"
    head = ("GENERATION", "OUTCOME", "TIME", "COMMIT", "SIGNER", "SUBJECT")
    cells = [
        (
            str(row["generation"]),
            row["outcome"],
            row["time"] or "-",
            (row["commit"] or "-")[:12],
            row["signer"] or "-",
            row["subject"] or "-",
        )
        for row in rows
    ]
    return table([head, *cells])
