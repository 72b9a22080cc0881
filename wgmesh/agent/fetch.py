"""From a remote to a trusted tip: fetch, verify, remember."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wgmesh import records
from wgmesh.agent import remote
from wgmesh.agent.node import PLACES, Node, running
from wgmesh.agent.remote import News, Source
from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.frozen import frozen
from wgmesh.handover import Said
from wgmesh.model.commit import VerifiedCommit
from wgmesh.remembered import RemoteState, Tips
from wgmesh.settings import REPOSITORY_DIR

if TYPE_CHECKING:
    from wgmesh.repository.bare import Repository
    from wgmesh.trust.verdict import Judged

log = logging.getLogger(__name__)


def source(node: Node) -> Source:
    """Return what this node asks."""
    return Source(node.enrolment.remotes, node.enrolment.branch)


@frozen
class Found:
    """The tip to work on. `fresh`: a remote has it, so what this node knows is not out of date."""

    tip: VerifiedCommit
    fresh: bool = True


def obtain(node: Node, news: News, tips: Tips, stood: Sequence[RemoteState]) -> News:
    """Have in the repository what `news` tells of, and all its history; return what is there now.

    That is newer when the branch moves on meanwhile, and nothing is brought when it is all known.
    Raises RefusedError when git refuses it, UnreachableError when the fetch fails.
    """
    if _is_known(node, news, tips, stood):
        return news
    with _repository() as repository:
        repository.ensure()
        try:
            return remote.bring(repository, source(node), news)
        except RefusedError as error:
            error.tip = error.commit or news.commits[0]
            raise


def trust(
    node: Node,
    news: News,
    tips: Tips,
    *,
    stood: Sequence[RemoteState],
    stand: Callable[[Sequence[Said], Sequence[str]], None],
    remember: bool = True,
) -> Found:
    """Return the newest of the tips that were obtained, checked from the trusted tip on.

    Raises RefusedError when the remotes disagree or the chain rule says no. The new trusted tip is
    on disk before this returns, unless it is not to be remembered. When a remote does not answer
    and the others are behind the trusted tip, that one stays. `stood` is how the remotes stood
    before; `stand` is told what they said, and which commits nothing that is known follows.
    """
    known = tips.trusted
    if known is not None and _is_known(node, news, tips, stood):
        stand(news.said, (known.id,))
        return Found(known)
    with _repository() as repository:
        trusted = start(node, repository, tips)
        heads = _heads(repository, news, trusted)
        stand(news.said, heads)
        if known is not None and not news.complete and not set(heads) & set(news.commits):
            # Rewound, or late while the one that is not does not answer: that shows when it does.
            return Found(still_trusted(node, known), fresh=False)
        newest = _newest(node, repository, news, trusted)
        try:
            verified = verify(node, repository, trusted, newest)
        except RefusedError as error:
            error.tip = newest
            raise
        if not remember:
            return Found(verified)
        repository.keep(verified.id)
        risks = new_risks(repository, node.enrolment.revoked, verified.id, trusted)
    anchor = node.enrolment.anchor.commit
    records.write_tips(PLACES.state, replace(tips, trusted=verified, anchor=anchor))
    log.info("%s by %s is trusted: %s", verified.id[:12], verified.signer, verified.subject)
    for risk in risks:
        log.warning("%s: %s", verified.id[:12], risk)
    return Found(verified)


def new_risks(
    repository: "Repository", revoked: Sequence[str], tip: str, before: str | None
) -> list[str]:
    """Return what is allowed in the trust files of `tip` and yet a risk, if new since `before`."""
    from wgmesh.trust import chain

    now = time.time()
    found = chain.authority(repository, tip).warnings(revoked=revoked, now=now)
    known: Sequence[str] = ()
    if found and before is not None:
        known = chain.authority(repository, before).warnings(revoked=revoked, now=now)
    return [risk for risk in found if risk not in known]


def _is_known(node: Node, news: News, tips: Tips, stood: Sequence[RemoteState]) -> bool:
    """Return whether nothing has to be fetched or looked at: it is the trusted tip, and settled."""
    known = tips.trusted
    return known is not None and as_before(news, stood, known.id) and _settled(node, tips, known)


def as_before(news: News, stood: Sequence[RemoteState], trusted: str) -> bool:
    """Return whether all have the trusted tip, or said just the same when it was the newest; pure.

    Then nothing has to be compared.
    """
    if news.commits == (trusted,):
        return True
    newest = any((state.standing, state.commit) == ("newest", trusted) for state in stood)
    before = [(state.remote, state.commit) for state in stood]
    return newest and before == [(one.remote, one.commit) for one in news.said]


def _heads(repository: "Repository", news: News, trusted: str) -> tuple[str, ...]:
    """Return those of the tips and the trusted commit that none of the others descends from."""
    from wgmesh.trust import agreement

    known = [trusted] if repository.has(trusted) else []
    return agreement.heads(repository, [*news.commits, *known])


def _newest(node: Node, repository: "Repository", news: News, trusted: str) -> str:
    """Return the tip that follows all the others. Raises RefusedError when there is none."""
    from wgmesh.trust import agreement

    tips = [agreement.Tip(one.remote, one.commit) for one in news.said if one.commit]
    return agreement.newest(repository, tips, trusted, node.enrolment.branch)


def states(
    said: Sequence[Said], heads: Sequence[str], before: Sequence[RemoteState], now: int
) -> tuple[RemoteState, ...]:
    """Return how each remote stands, `heads` being the commits that nothing known follows; pure."""
    found = []
    for one in said:
        if not one.commit:
            standing = "silent"
        elif one.commit not in heads:
            standing = "behind"
        else:
            standing = "newest" if len(heads) == 1 else "diverged"
        since = next(
            (old.since for old in before if (old.remote, old.standing) == (one.remote, standing)),
            now,
        )
        found.append(RemoteState(one.remote, standing, since, one.commit, one.reason))
    return tuple(found)


def still_trusted(node: Node, known: VerifiedCommit) -> VerifiedCommit:
    """Return the trusted tip. Raises RefusedError when whom it rests on was revoked here since."""
    if not rests_on_any(known, node.enrolment.revoked):
        return known
    with _repository() as repository:
        return verify(node, repository, known.id, known.id)


def rests_on_any(known: VerifiedCommit, keys: Collection[str]) -> bool:
    """Return whether one of `keys` signed a commit, or what it rests on."""
    return not {known.fingerprint, *known.relies_on}.isdisjoint(keys)


def start(node: Node, repository: "Repository", tips: Tips) -> str:
    """Return the commit that the next tip has to follow: the trusted one, or where that is lost."""
    return tips.trusted.id if tips.trusted is not None else _lost_tip(node, repository)


def verify(node: Node, repository: "Repository", trusted: str, tip: str) -> VerifiedCommit:
    """Return `tip` as a commit that may follow `trusted` on this node. Raises RefusedError."""
    from wgmesh.gpgv import Gpgv
    from wgmesh.trust import chain

    return chain.verify(
        repository,
        trusted,
        tip,
        now=time.time(),
        revoked=node.enrolment.revoked,
        branch=node.enrolment.branch,
        gpg=Gpgv(),
    )


def judge(
    node: Node, repository: "Repository", trusted: str, tip: str, now: float | None
) -> "Iterator[Judged]":
    """Yield a verdict on each commit between the two, oldest first; see verdict.judge."""
    from wgmesh.gpgv import Gpgv
    from wgmesh.trust import verdict

    return verdict.judge(
        repository,
        trusted,
        tip,
        now=now,
        revoked=node.enrolment.revoked,
        branch=node.enrolment.branch,
        gpg=Gpgv(),
    )


def _settled(node: Node, tips: Tips, known: VerifiedCommit) -> bool:
    """Return whether the trusted tip needs no second look: whom it rests on is not revoked here.

    One that does not run yet is still to be read, so its objects must be there; of one that runs
    the repository itself will do.
    """
    if rests_on_any(known, node.enrolment.revoked):
        return False
    if tips.applied is not None and tips.applied.id == known.id:
        return REPOSITORY_DIR.is_dir()
    with _repository() as repository:
        return repository.valid() and repository.has(known.id)


def _lost_tip(node: Node, repository: "Repository") -> str:
    """Return where trust restarts when its record is lost: the newer of anchor and boot manifest.

    What runs here was verified from an anchor on, so a branch that lacks it was rewound; so was one
    that lacks the anchor. Either is then refused as such.
    """
    anchor = node.enrolment.anchor.commit
    confirmed = running()
    if confirmed is None or confirmed.manifest.commit is None or not repository.has(anchor):
        return anchor
    if confirmed.manifest.number <= node.enrolment.anchor.after_generation:
        return anchor
    booted = confirmed.manifest.commit.id
    older = repository.has(booted) and not repository.is_ancestor(anchor, booted)
    return anchor if older else booted


def _repository() -> "Repository":
    from wgmesh.repository.bare import Repository

    return Repository(REPOSITORY_DIR)


def require_fetched(repository: "Repository") -> None:
    """Raise WgmeshError when there is nothing to look at yet."""
    if not repository.valid():
        raise WgmeshError("nothing was fetched yet", "run: wgmesh sync")
