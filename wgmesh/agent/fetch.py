"""From a remote to a trusted tip: ask, fetch, verify, remember."""

import logging
import time
from dataclasses import dataclass, replace

from wgmesh import records
from wgmesh.agent.node import PLACES, Node, running
from wgmesh.errors import UnreachableError
from wgmesh.model import VerifiedCommit
from wgmesh.records import Tips
from wgmesh.repository import Repository
from wgmesh.settings import REPOSITORY_DIR

log = logging.getLogger(__name__)

ASK_SECONDS = 20
FETCH_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Tip:
    """The tip of a remote that answered."""

    remote: str
    commit: str


def ask(node: Node, *, timeout_seconds: float = ASK_SECONDS) -> Tip:
    """Return the tip of the first remote that answers. Raises UnreachableError when none does."""
    repository = Repository(REPOSITORY_DIR)
    failures = []
    for remote in node.enrolment.remotes:
        try:
            commit = repository.ls_remote(
                remote, node.enrolment.branch, timeout_seconds=timeout_seconds
            )
        except UnreachableError as error:
            failures.append(error.message)
            continue
        return Tip(remote, commit)
    raise UnreachableError(
        "; ".join(failures) or "no remote is configured",
        "the running configuration stays; the next poll tries again",
    )


def answers(node: Node) -> bool:
    """Return whether a remote answers now: a check of the way there, not of what it says."""
    try:
        ask(node, timeout_seconds=5)
    except UnreachableError:
        return False
    return True


def trust(node: Node, tip: Tip, tips: Tips) -> VerifiedCommit:
    """Return the verified commit at `tip`, fetched and checked from the trusted tip on.

    Raises RefusedError when the chain rule says no, UnreachableError when the fetch fails. The
    new trusted tip is on disk before this returns.
    """
    with Repository(REPOSITORY_DIR) as repository:
        repository.ensure()
        trusted = tips.trusted.id if tips.trusted is not None else _lost_tip(node)
        known = tips.trusted is not None and tips.trusted.id == tip.commit
        if tips.trusted is not None and known and repository.has(tip.commit):
            return tips.trusted
        repository.fetch(
            tip.remote, node.enrolment.branch, tip.commit, timeout_seconds=FETCH_SECONDS
        )
        from wgmesh.trust import chain

        verified = chain.verify(
            repository,
            trusted,
            tip.commit,
            now=time.time(),
            revoked=node.enrolment.revoked,
            branch=node.enrolment.branch,
        )
        repository.keep(verified.id)
    records.write_tips(PLACES.state, replace(tips, trusted=verified))
    log.info("%s by %s is trusted: %s", verified.id[:12], verified.signer, verified.subject)
    return verified


def _lost_tip(node: Node) -> str:
    """Return where trust restarts when its record is lost: the boot manifest, else the anchor.

    What runs was verified from the anchor on, so it is never older.
    """
    confirmed = running()
    if confirmed is not None and confirmed.manifest.commit is not None:
        return confirmed.manifest.commit.id
    return node.enrolment.anchor.commit
