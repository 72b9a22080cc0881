"""From a remote to a trusted tip: fetch, verify, remember."""

import logging
import time
from dataclasses import replace

from wgmesh import records
from wgmesh.agent import remote
from wgmesh.agent.node import PLACES, Node, running
from wgmesh.agent.remote import Source, Tip
from wgmesh.model import VerifiedCommit
from wgmesh.records import Tips
from wgmesh.repository import Repository
from wgmesh.settings import REPOSITORY_DIR

log = logging.getLogger(__name__)


def source(node: Node) -> Source:
    """Return what this node asks."""
    return Source(node.enrolment.remotes, node.enrolment.branch)


def trust(node: Node, tip: Tip, tips: Tips, *, remember: bool = True) -> VerifiedCommit:
    """Return the verified commit at `tip`, fetched and checked from the trusted tip on.

    Raises RefusedError when the chain rule says no, UnreachableError when the fetch fails. The
    new trusted tip is on disk before this returns, unless it is not to be remembered. When the
    branch moves on meanwhile, it is the newer one.
    """
    known = tips.trusted
    if known is not None and known.id == tip.commit and _settled(node, tips, known):
        return known
    with Repository(REPOSITORY_DIR) as repository:
        repository.ensure()
        tip = remote.bring(repository, source(node), tip)
        trusted = known.id if known is not None else _lost_tip(node, repository)
        verified = _verify(node, repository, trusted, tip.commit)
        if not remember:
            return verified
        repository.keep(verified.id)
    anchor = node.enrolment.anchor.commit
    records.write_tips(PLACES.state, replace(tips, trusted=verified, anchor=anchor))
    log.info("%s by %s is trusted: %s", verified.id[:12], verified.signer, verified.subject)
    return verified


def still_trusted(node: Node, known: VerifiedCommit) -> VerifiedCommit:
    """Return the trusted tip. Raises RefusedError when its signer was revoked here since."""
    if known.fingerprint not in node.enrolment.revoked:
        return known
    with Repository(REPOSITORY_DIR) as repository:
        return _verify(node, repository, known.id, known.id)


def _verify(node: Node, repository: Repository, trusted: str, tip: str) -> VerifiedCommit:
    from wgmesh.trust import chain

    return chain.verify(
        repository,
        trusted,
        tip,
        now=time.time(),
        revoked=node.enrolment.revoked,
        branch=node.enrolment.branch,
    )


def _settled(node: Node, tips: Tips, known: VerifiedCommit) -> bool:
    """Return whether the trusted tip needs no second look: nobody revoked its signer since.

    One that does not run yet is still to be read, so its objects must be there; of one that runs
    the repository itself will do.
    """
    if known.fingerprint in node.enrolment.revoked:
        return False
    if tips.applied is not None and tips.applied.id == known.id:
        return REPOSITORY_DIR.is_dir()
    with Repository(REPOSITORY_DIR) as repository:
        return repository.valid() and repository.has(known.id)


def _lost_tip(node: Node, repository: Repository) -> str:
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
