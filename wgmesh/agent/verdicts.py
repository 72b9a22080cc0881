"""What the rules say of the commits that this node has: of each up to the tips, or of one."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from wgmesh import records, settings
from wgmesh.agent import fetch, node, spare
from wgmesh.agent.contract import Report, timestamp
from wgmesh.agent.node import PLACES, Node
from wgmesh.errors import RefusedError, UsageError, WgmeshError
from wgmesh.model.commit import VerifiedCommit
from wgmesh.repository.bare import Repository
from wgmesh.trust.commit import parents, parse
from wgmesh.trust.plain import plain

if TYPE_CHECKING:
    from wgmesh.trust.verdict import Judged


def log(limit: int) -> list[Report]:
    """Return the verdict on each commit from the newest tips to the anchor, `limit` at most.

    The newest come first; what a merge brought follows it. Those above the trusted tip are judged
    from there, as the next sync does; those up to it from the anchor.
    """
    node.require_root()
    me = node.load()
    with Repository(settings.REPOSITORY_DIR) as repository:
        fetch.require_fetched(repository)
        trusted = fetch.start(me, repository, node.tips(me))
        rows: dict[str, Report] = {}
        for tip in _tips(repository, trusted):
            for row in _judged(me, repository, trusted, tip, limit, time.time()):
                rows.setdefault(row["commit"], row)
        anchor = me.enrolment.anchor.commit
        below = _below(repository, anchor, trusted, limit)
        for row in _judged(me, repository, below, trusted, limit, None):
            rows.setdefault(row["commit"], row)
        if len(rows) < limit and repository.has(anchor):
            rows.setdefault(anchor, _anchor(me, repository, anchor))
    found = list(rows.values())[:limit]
    return [row | {"trusted": row["commit"] == trusted} for row in found]


def _tips(repository: Repository, trusted: str) -> list[str]:
    """Return what may come next: the remotes' tips, and one that is refused; not the trusted."""
    last, verdict = spare.last_sync(), records.read_verdict(PLACES.state)
    found = [
        state.commit
        for state in (last.remotes if last is not None else ())
        if state.standing in ("newest", "diverged")
    ]
    if verdict is not None and verdict.kind == "refused":
        found.append(verdict.commit)
    known = [tip for tip in found or repository.fetched() if tip and repository.has(tip)]
    return [tip for tip in dict.fromkeys(known) if tip != trusted]


def _judged(
    me: Node, repository: Repository, start: str, tip: str, limit: int, now: float | None
) -> Iterator[Report]:
    """Yield the verdicts on what leads from `start` to `tip`, newest first."""
    kept: deque[Report] = deque(maxlen=limit)
    try:
        for judged in fetch.judge(me, repository, start, tip, now):
            kept.append(_row(judged))
    except RefusedError as error:
        kept.append(_unjudged(repository, error.commit or tip, error))
    yield from reversed(kept)


def _below(repository: Repository, anchor: str, trusted: str, limit: int) -> str:
    """Return where to begin for `limit` commits up to `trusted`: no earlier than the anchor."""
    at = trusted
    for _ in range(limit):
        above = parents(repository.commit(at))
        if at == anchor or not above:
            return anchor
        at = above[0]
    return at if repository.is_ancestor(anchor, at) else anchor


def _row(judged: "Judged") -> Report:
    verdict = "accepted" if judged.signer is not None else "vouched for"
    return {
        "commit": judged.id,
        "kind": judged.kind,
        "verdict": "refused" if judged.problem is not None else verdict,
        "signer": judged.signer,
        "fingerprint": judged.fingerprint,
        "author": judged.author,
        "subject": judged.subject,
        "time": timestamp(judged.time),
        "problem": judged.problem,
    }


def _unjudged(repository: Repository, commit: str, error: RefusedError) -> Report:
    """Return the row of a commit that ends the walk: it cannot be read, or comes from afar."""
    row = dict.fromkeys(("signer", "fingerprint", "author", "subject", "time"))
    try:
        found = parse(commit, repository.commit(commit))
        row |= {"author": found.author, "subject": found.subject, "time": timestamp(found.time)}
    except WgmeshError:  # then nothing in it is known
        pass
    return {
        "commit": commit,
        "kind": "step",
        "verdict": "refused",
        **row,
        "problem": error.message,
    }


def _anchor(me: Node, repository: Repository, anchor: str) -> Report:
    found = parse(anchor, repository.commit(anchor))
    return {
        "commit": anchor,
        "kind": "anchor",
        "verdict": "accepted",
        "signer": None,
        "fingerprint": me.enrolment.anchor.fingerprint,
        "author": found.author,
        "subject": found.subject,
        "time": timestamp(found.time),
        "problem": None,
    }


def verify(rev: str) -> Report:
    """Return what the rules would say of commit `rev` if it were the tip now.

    A refusal is in `problem`, and `hint` says what to do. Raises UsageError when nothing that was
    fetched is called so.
    """
    node.require_root()
    me = node.load()
    with Repository(settings.REPOSITORY_DIR) as repository:
        fetch.require_fetched(repository)
        trusted = fetch.start(me, repository, node.tips(me))
        commit = _find(me, repository, rev)
        return verdict(commit, trusted, lambda: fetch.verify(me, repository, trusted, commit))


def verdict(commit: str, trusted: str, verify: Callable[[], VerifiedCommit]) -> Report:
    """Return what `verify` says of `commit`, given that `trusted` may run."""
    report: Report = {"commit": commit, "trusted": trusted}
    try:
        found = verify()
    except RefusedError as error:
        nothing = dict.fromkeys(("signer", "fingerprint", "author", "subject", "time"))
        refused = {"problem": error.message, "culprit": error.commit, "hint": error.hint}
        return report | {"verdict": "refused", **nothing, **refused}
    return report | {
        "verdict": "accepted",
        "signer": found.signer,
        "fingerprint": found.fingerprint,
        "author": found.author,
        "subject": found.subject,
        "time": timestamp(found.time),
        **dict.fromkeys(("problem", "culprit", "hint")),
    }


def _find(me: Node, repository: Repository, rev: str) -> str:
    if rev in (me.enrolment.branch, f"origin/{me.enrolment.branch}"):
        last = spare.last_sync()
        states = last.remotes if last is not None else ()
        for commit in (*(state.commit for state in states), *repository.fetched()):
            if commit and repository.has(commit):
                return commit
    found = repository.find(rev)
    if found is None:
        raise UsageError(
            f"{plain(rev, 80)!r} is no commit of what was fetched",
            "give a commit id, or the branch; wgmesh trust log lists them",
        )
    return found
