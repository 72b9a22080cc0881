"""A verdict on each commit, for people and programs; what may run, only the chain rule says."""

from collections.abc import Collection, Iterator

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust import chain, line
from wgmesh.trust.commit import Commit
from wgmesh.trust.objects import Objects
from wgmesh.trust.openpgp import GpgVerifier
from wgmesh.trust.policy import SideCommits
from wgmesh.trust.repair import Repair
from wgmesh.trust.side import Base
from wgmesh.trust.signature import Signed
from wgmesh.trust.step import Kind
from wgmesh.trust.walk import Walk


@frozen
class Judged:
    """What the chain rule says of one commit; `problem` None: it is as it has to be.

    `kind` is step, forge merge, join or side. `signer` and `fingerprint` are None unless its
    signature is right and counts.
    """

    id: str
    short: str
    author: str
    subject: str
    time: int  # the committer's clock, seconds since the epoch: for people only
    signer: str | None
    fingerprint: str | None
    kind: str
    problem: str | None


def judge(
    objects: Objects,
    trusted: str,
    tip: str,
    *,
    now: float | None,
    revoked: Collection[str] = (),
    branch: str = "main",
    gpg: GpgVerifier | None = None,
) -> Iterator[Judged]:
    """Yield a verdict on each commit from `trusted` (left out) to `tip`, oldest first.

    The commits that a merge brings come before it. With `now` those who answer for the tip must be
    valid then; give None for a tip that is trusted. A commit after a refused one is judged as if
    that one had been right. Raises RefusedError as `verify` does when the tip does not descend from
    `trusted`, or a commit cannot be read.
    """
    walk = Walk(objects, Repair(objects, trusted, tip, branch), revoked=revoked, gpg=gpg)
    if tip == trusted:
        return
    found = line.find(walk, trusted, tip, branch)
    whole: RefusedError | None = None
    try:
        chain.accept(objects, trusted, tip, now, revoked, branch, gpg, None)
    except RefusedError as error:  # it may blame a commit that is right by itself
        whole = error
    before = walk.commit(trusted)
    join = found.joins
    for commit in walk.commits(found.commits[::-1], None if found.joins else trusted):
        clock = now if commit.id == tip else None
        kind, problem = Kind.JOIN if join else Kind.STEP, None
        who: Signed | None = None
        try:
            who, kind = walk.steps.signed(commit, before, clock, join=join)
            walk.steps.check(commit, before, who, kind, clock)
        except RefusedError as error:
            problem = error.message
        if whole is not None and commit.id == whole.commit:
            problem = whole.message
        if len(commit.parents) > 1:
            yield from _sides(walk, commit, before, kind, clock)
        yield judged(commit, who, kind, problem)
        before, join = commit, False


def _sides(
    walk: Walk, commit: Commit, before: Commit, kind: Kind, clock: float | None
) -> Iterator[Judged]:
    """Yield a verdict on each commit that a merge brings, oldest first.

    None when `before` has no trust files to judge by: that is said of the merge.
    """
    try:
        base = Base(before, walk.steps.authorities.policy(before))
    except RefusedError:
        return
    by_forge = kind is Kind.FORGE_MERGE
    signed = base.policy.rules.side_commits is SideCommits.SIGNED
    asked = by_forge or (signed and not walk.steps.takes_nothing(commit, base))
    for side in reversed(list(walk.steps.sides.brought(commit, base))):
        who, problem = None, None
        try:
            at = clock if by_forge and side.id == base.other(commit) else None
            who = walk.steps.sides.person(side, commit, base, at)
        except RefusedError as error:
            if walk.objects.is_ancestor(side.id, before.id):  # git listed it for made-up dates
                continue
            problem = error.message if asked else None
        yield judged(side, who, Kind.SIDE, problem)


def judged(commit: Commit, who: Signed | None, kind: Kind, problem: str | None) -> Judged:
    """Return the verdict on `commit`, signed by `who`, if that counts."""
    return Judged(
        id=commit.id,
        short=commit.short,
        author=commit.author,
        subject=commit.subject,
        time=commit.time,
        signer=who.name if who is not None else None,
        fingerprint=who.fingerprint if who is not None else None,
        kind=kind.value,
        problem=problem,
    )
