"""What can be read of a node's past: its generations, and what differs between them."""

import difflib
from typing import Any

from wgmesh import generation, inventory, records, render
from wgmesh.agent import look, node
from wgmesh.agent.node import PLACES
from wgmesh.agent.status import timestamp
from wgmesh.errors import WgmeshError
from wgmesh.generation import Manifest
from wgmesh.history import read_failover
from wgmesh.repository import Repository
from wgmesh.settings import REPOSITORY_DIR


def history() -> list[dict[str, Any]]:
    """Return every generation that is known, ascending: what it was and how it ended."""
    node.require_root()
    node.load()
    root = PLACES.generations
    current = generation.booted(root)
    left = {entry.digest for entry in records.read_quarantine(PLACES.state)}
    rows = []
    for number in generation.numbers(root):
        try:
            manifest = generation.read_manifest(root, number)
        except WgmeshError:
            rows.append(_row(Manifest(number, "", "", 0), "damaged"))
            continue
        outcome = (
            "before wgmesh"
            if number == 0
            else "running"
            if number == current
            else "left"
            if manifest.digest in left
            else "confirmed"
        )
        rows.append(_row(manifest, outcome))
    for number in generation.rejected(root):
        manifest = generation.read_manifest(root / generation.REJECTED, number)
        rows.append(_row(manifest, "rolled-back"))
    return sorted(rows, key=lambda row: int(row["generation"]))


def _row(manifest: Manifest, outcome: str) -> dict[str, Any]:
    commit = manifest.commit
    return {
        "generation": manifest.number,
        "commit": commit.id if commit is not None else None,
        "signer": commit.signer if commit is not None else None,
        "subject": commit.subject if commit is not None else None,
        "time": timestamp(manifest.created),
        "outcome": outcome,
    }


def differences(first: int | None, second: int | None) -> str:
    """Return what differs between two generations as a unified diff; empty when nothing does.

    Without `second` the first is compared with what runs, without either what runs with the
    newest trusted tip. Generation 0 may hold keys: it is refused.
    """
    node.require_root()
    me = node.load()
    running = generation.booted(PLACES.generations)
    if 0 in (first, second):
        raise WgmeshError("generation 0 may hold keys and is not shown", "read it in its directory")
    if first is None:
        old = {} if not running else generation.read_files(PLACES.generations, running)
        return _unified(old, _candidate(me), f"gen-{running}", "candidate")
    other = running if second is None else second
    if other is None:
        raise WgmeshError("nothing was applied yet", "run: wgmesh sync")
    return _unified(_files(first), _files(other), f"gen-{first}", f"gen-{other}")


def _files(number: int) -> dict[str, bytes]:
    root = PLACES.generations
    if number in generation.rejected(root):
        root = root / generation.REJECTED
    return generation.read_files(root, number)


def _candidate(me: node.Node) -> dict[str, bytes]:
    tip = node.tips(me).trusted
    if tip is None:
        raise WgmeshError("nothing was fetched yet", "run: wgmesh sync")
    with Repository(REPOSITORY_DIR) as repository:
        model = inventory.load(repository.inventory_files(tip.id, me.enrolment.path))
    own = node.own_entry(me.enrolment, model)
    if own is None:
        raise WgmeshError("this node's key is not in the inventory", "merge its entry first")
    key = node.key_in_use(me, own, node.running())
    return render.files(node.share(me, model, own, key))


def _unified(old: dict[str, bytes], new: dict[str, bytes], old_name: str, new_name: str) -> str:
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        lines += difflib.unified_diff(
            old.get(name, b"").decode(errors="replace").splitlines(keepends=True),
            new.get(name, b"").decode(errors="replace").splitlines(keepends=True),
            f"{old_name}/{name}",
            f"{new_name}/{name}",
        )
    return "".join(lines)


def endpoints() -> list[tuple[str, ...]]:
    """Return for each peer that has an endpoint a row for `wg-failover status`.

    Name, endpoint in force, its source, since when it was chosen, moves since boot, candidates.
    """
    node.load()
    report = look.report()
    known = {peer["public_key"]: peer for peer in report["peers"]}
    running = node.running()
    if running is None or running.plan is None:
        raise WgmeshError("nothing was applied yet", "run: wgmesh sync")
    watches = read_failover(PLACES.run).watches
    return [
        (
            peer.name,
            known[peer.public_key]["endpoint"] or "-",
            known[peer.public_key]["endpoint_source"] or "-",
            known[peer.public_key]["endpoint_since"] or "-",
            str(watches[peer.public_key].switches) if peer.public_key in watches else "-",
            ", ".join(map(str, peer.endpoints)),
        )
        for peer in running.plan.peers
        if peer.endpoints
    ]


def exits() -> list[tuple[str, str, str, str]]:
    """Return for each exit that this node may use: name, tunnel state, round trip, primary."""
    node.load()
    report = look.report()
    known = {peer["public_key"]: peer for peer in report["peers"]}
    running = node.running()
    if running is None or running.plan is None:
        raise WgmeshError("nothing was applied yet", "run: wgmesh sync")
    plan = running.plan.exits
    rows = []
    for candidate in plan.candidates if plan is not None else ():
        peer = known.get(candidate.public_key, {})
        rtt = peer.get("rtt_ms")
        rows.append(
            (
                candidate.name,
                peer.get("state", "unknown"),
                "-" if rtt is None else f"{rtt:.1f} ms",
                "yes" if plan is not None and candidate.name == plan.primary else "",
            )
        )
    return rows
