"""What only this machine's admin decides of trust: where it starts, and whose key is worth nothing.

node.toml is the one place of both. A re-anchoring has happened when that file is there: a trusted
tip that was verified from another anchor counts as lost, so nothing else has to be written with it.
"""

import time
from dataclasses import replace

from wgmesh import generation, records, settings
from wgmesh.agent import look, node
from wgmesh.agent.node import PLACES, Node
from wgmesh.agent.sync import finish_cut_short
from wgmesh.errors import UsageError, WgmeshError
from wgmesh.files import locked
from wgmesh.model.commit import VerifiedCommit
from wgmesh.repository.bare import Repository
from wgmesh.repository.reader import full_id
from wgmesh.settings import REPOSITORY_DIR, Anchor
from wgmesh.trust.fingerprint import fingerprint
from wgmesh.trust.policy import Policy, Role


def revoke(text: str) -> str:
    """Have a key count for nothing on this node from now on; return what that means, for people.

    Raises UsageError when `text` is no fingerprint.
    """
    node.require_root()
    with locked(settings.LOCK_FILE, wait=True):
        me = node.load()
        key = fingerprint(text)
        if key in me.enrolment.revoked:
            return f"{key} is revoked on this node already"
        revoked = (*me.enrolment.revoked, key)
        settings.save_enrolment(replace(me.enrolment, revoked=revoked))
        trusted = node.tips(me).trusted
        policy = _policy(me, trusted)
    said = f"{key} is revoked on this node: what it signs counts for nothing here"
    if policy is not None and not policy.has(key):
        said += f"; no signer of {_at(me, trusted)[:12]} has it: compare it with wgmesh trust show"
    elif policy is not None and not policy.usable(Role.ADMIN, revoked=revoked, now=time.time()):
        said += (
            "; nobody is left who could change who may sign: the way on is wgmesh trust reanchor"
            " COMMIT, or to take the key out of revoked in node.toml"
        )
    if trusted is not None and trusted.fingerprint == key:
        said += (
            f"; it signed the trusted tip {trusted.id[:12]}, which is refused until somebody else"
            " who may signs a step on top"
        )
    elif trusted is not None and key in trusted.relies_on:
        said += (
            f"; the trusted tip {trusted.id[:12]} rests on it, and is refused, unless others are"
            " enough, until somebody who may signs a step on top"
        )
    return said


def _at(me: Node, trusted: VerifiedCommit | None) -> str:
    return trusted.id if trusted is not None else me.enrolment.anchor.commit


def _policy(me: Node, trusted: VerifiedCommit | None) -> Policy | None:
    """Return who may sign after the trusted tip; None when that cannot be read now."""
    from wgmesh.trust import chain

    try:
        with Repository(REPOSITORY_DIR) as repository:
            return chain.authority(repository, _at(me, trusted))
    except WgmeshError:
        return None  # to revoke a key must not depend on it


def reanchor(commit: str, signer: str | None) -> str:
    """Let trust start at `commit`, which was fetched, in the place of the anchor and trusted tip.

    Its own tree must authorise its signer, who must be `signer` when that is given. Returns what
    was replaced, for people. What runs stays until the next sync. Raises UsageError when it is no
    full id or was not fetched, RefusedError when the rules refuse it, another WgmeshError.
    """
    node.require_root()
    with node.turn(), node.lock():
        me = node.load()
        try:
            full_id(commit)
        except WgmeshError as error:
            raise UsageError(error.message, error.hint) from None
        key = fingerprint(signer) if signer is not None else None
        finish_cut_short()
        with Repository(REPOSITORY_DIR) as repository:
            found = _introduced(me, repository, commit, key)
            said = _replace(me, repository, found)
        look.refresh(node.load())
    return said


def _introduced(
    me: Node, repository: Repository, commit: str, signer: str | None
) -> VerifiedCommit:
    from wgmesh.gpgv import Gpgv
    from wgmesh.trust import chain

    if not repository.valid():
        raise WgmeshError("nothing was fetched yet", "run: wgmesh sync")
    if not repository.reaches(commit):
        raise UsageError(
            f"{commit[:12]} is no commit of what was fetched",
            "wgmesh sync fetches what the remotes have now; give the id of a commit of it",
        )
    newest = commit in repository.fetched()
    return chain.introduce(
        repository,
        commit,
        fingerprint=signer,
        now=time.time() if newest else None,
        revoked=me.enrolment.revoked,
        gpg=Gpgv(),
    )


def _replace(me: Node, repository: Repository, found: VerifiedCommit) -> str:
    """Write the new anchor, then the trusted tip; return what they were.

    A cut after the first leaves a tip of another anchor, which is as good as none: the next sync
    starts at the new anchor. For that the tip has to say which anchor it is of.
    """
    old, tips = me.enrolment.anchor, records.read_tips(PLACES.state)
    if not tips.anchor:
        records.write_tips(PLACES.state, replace(tips, anchor=old.commit))
    after = generation.next_number(PLACES.generations) - 1
    new = Anchor(found.id, found.fingerprint, after)
    repository.keep(found.id, anchor=True)
    settings.save_enrolment(replace(me.enrolment, anchor=new))
    records.write_tips(PLACES.state, replace(tips, trusted=found, anchor=found.id))
    before = f"the anchor {old.commit[:12]} ({old.fingerprint})"
    if tips.trusted is not None:
        before += f" and the trusted tip {tips.trusted.id[:12]} ({tips.trusted.signer})"
    return (
        f'trust starts at {found.id[:12]} ("{found.subject}" signed by {found.signer},'
        f" {found.fingerprint}) in the place of {before}; the next sync goes on from there"
    )
