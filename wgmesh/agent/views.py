"""What can be read of a node's past: its generations, and what differs between them."""

import difflib
import time
from collections.abc import Iterator
from typing import Any

from wgmesh import generation, glance, inventory, records, render
from wgmesh.agent import look, node, shares
from wgmesh.agent.contract import timestamp
from wgmesh.agent.node import PLACES
from wgmesh.errors import WgmeshError
from wgmesh.frozen import frozen
from wgmesh.generation import Manifest
from wgmesh.history import Steering, read_exits, read_failover
from wgmesh.repository.bare import Repository
from wgmesh.select import Life, eligible
from wgmesh.settings import REPOSITORY_DIR


def history() -> list[dict[str, Any]]:
    """Return every generation that is known, ascending: what it was and how it ended."""
    node.require_root()
    node.load_any()
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
        "subject": commit.subject if commit is not None else _without_commit(manifest),
        "time": timestamp(manifest.created),
        "outcome": outcome,
    }


def _without_commit(manifest: Manifest) -> str | None:
    return "applied by `wgmesh apply`" if manifest.direct else None


def differences(first: int | None, second: int | None) -> str:
    """Return what differs between two generations as a unified diff; empty when nothing does.

    Without `second` the first is compared with what runs, without either what runs with the
    newest trusted tip. Generation 0 may hold keys: it is refused.
    """
    node.require_root()
    me = node.load_any()
    running = generation.booted(PLACES.generations)
    if 0 in (first, second):
        raise WgmeshError("generation 0 may hold keys and is not shown", "read it in its directory")
    if first is None and me.enrolment.direct:
        raise WgmeshError(
            "no repository is followed here, so nothing newer is known",
            "name generations: wgmesh history; or: wgmesh apply --dry-run",
        )
    if first is None:
        old = {} if not running else generation.read_files(PLACES.generations, running)
        return _unified(old, _candidate(me), f"gen-{running}", "candidate")
    other = running if second is None else second
    if other is None:
        raise WgmeshError("nothing was applied yet", "run: wgmesh sync")
    return _unified(_files(first), _files(other), f"gen-{first}", f"gen-{other}")


def changes(files: dict[str, bytes]) -> str:
    """Return what differs between the running generation and `files`, as a unified diff."""
    running = generation.booted(PLACES.generations)
    old = generation.read_files(PLACES.generations, running) if running else {}
    return _unified(old, files, f"gen-{running or 0}", "candidate")


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
    own = shares.own_entry(me.enrolment, model)
    if own is None:
        raise WgmeshError("this node's key is not in the inventory", "merge its entry first")
    key = shares.key_in_use(me, own, node.running())
    return render.files(shares.share(me, model, own, key))


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
    node.load_any()
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


@frozen
class Exits:
    """The rows of `wg-exit-selector status`, and the sentences below them."""

    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


def exits() -> Exits:
    """Return for each exit that this node may use: name, tunnel, uplink, round trip, loss, role."""
    node.load_any()
    running = node.running()
    if running is None or running.plan is None:
        raise WgmeshError("nothing was applied yet", "run: wgmesh sync")
    use = running.plan.exits
    memory = read_exits(PLACES.run)
    if use is None:
        return Exits()
    now = glance.clock()
    rows = []
    for each in use.candidates:
        life = memory.lives.get(each.name, Life())
        behind = [memory.lives.get(f"{each.name}/{family}") for family in (4, 6)]
        since = timestamp(int(time.time() - now + memory.standing.since))
        rows.append(
            (
                each.name,
                _standing(life, now),
                ", ".join(
                    f"IPv{family} {_standing(uplink, now)}"
                    for family, uplink in zip((4, 6), behind, strict=True)
                    if uplink is not None
                )
                or "-",
                f"{life.rtt_ms:.1f} ms" if life.rtt_ms else "-",
                f"{100 * life.loss:.0f} %",
                "yes" if each.name == use.primary else "",
                f"since {since}" if each.name == memory.standing.chosen else "",
            )
        )
    return Exits(tuple(rows), tuple(_notes(memory, {each.name for each in use.candidates})))


def _standing(life: Life, now: float) -> str:
    if not life.alive and not life.lost:
        return "unknown"
    return "up" if eligible(life, now) else "down"


def _notes(memory: Steering, names: set[str]) -> Iterator[str]:
    if memory.override:
        known = memory.override in names
        what = "is asked for" if known else "is no exit of this node: ignored"
        yield f"{memory.override!r} in /etc/wireguard/exit.override {what}"
    if memory.generation and not memory.standing.chosen:
        what = "leaves directly" if memory.direct else "is blocked"
        yield f"no exit works: internet traffic {what}"
