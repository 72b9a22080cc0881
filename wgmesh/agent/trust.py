"""What this node trusts and why: who may sign, from which commit on, the join line."""

import os
import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wgmesh import settings
from wgmesh.agent import fetch, node, spare
from wgmesh.agent.contract import Report, commit_table, timestamp
from wgmesh.agent.node import Node
from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.model.commit import VerifiedCommit
from wgmesh.repository.bare import Repository

if TYPE_CHECKING:
    from wgmesh.trust.policy import Policy
    from wgmesh.trust.signers import Signer


def show() -> Report:
    """Return the anchor, the trusted tip, who may sign after it, revocations, remotes, join line.

    Without root what lies in the repository is missing, and `problem` says so.
    """
    me = node.load()
    tips = node.tips(me)
    last = spare.last_sync()
    stood = {state.remote: state for state in (last.remotes if last is not None else ())}
    anchor = me.enrolment.anchor
    report: Report = {
        "anchor": {"commit": anchor.commit, "fingerprint": anchor.fingerprint},
        "trusted": commit_table(tips.trusted),
        "branch": me.enrolment.branch,
        "path": me.enrolment.path,
        "remotes": [
            {
                "remote": remote,
                "standing": stood[remote].standing if remote in stood else "unknown",
                "since": timestamp(stood[remote].since) if remote in stood else None,
                "commit": (stood[remote].commit or None) if remote in stood else None,
                "reason": (stood[remote].reason or None) if remote in stood else None,
            }
            for remote in me.enrolment.remotes
        ],
        "revoked": list(me.enrolment.revoked),
        "rules": None,
        "signers": None,
        "warnings": [],
        "problem": None,
        "join": _join_line(me, anchor.commit, anchor.fingerprint),
    }
    if os.geteuid() != 0:
        report["problem"] = "who may sign is in the repository, which only root reads"
        return report
    try:
        with Repository(settings.REPOSITORY_DIR) as repository:
            report |= _of_the_repository(me, repository, tips.trusted)
    except WgmeshError as error:
        report["problem"] = error.message
    return report


def _of_the_repository(me: Node, repository: Repository, trusted: VerifiedCommit | None) -> Report:
    from wgmesh.trust import chain

    fetch.require_fetched(repository)
    at = trusted.id if trusted is not None else me.enrolment.anchor.commit
    policy, now = chain.authority(repository, at), time.time()
    revoked = me.enrolment.revoked
    rules = policy.rules
    found: Report = {
        "rules": {
            "approvals": rules.approvals,
            "side_commits": rules.side_commits.value,
            "mainline": rules.mainline.value,
        },
        "signers": list(_signers(policy, frozenset(revoked), now)),
        "warnings": list(policy.warnings(revoked=revoked, now=now)),
    }
    current = _introduction(repository, trusted)
    return found | ({"join": _join_line(me, *current)} if current is not None else {})


def _signers(policy: "Policy", revoked: frozenset[str], now: float) -> Iterator[Report]:
    for signer in policy.signers.values():
        yield {
            "names": list(signer.principals),
            "role": policy.role(signer.principals).value,
            "kind": signer.key.kind,
            "fingerprint": signer.key.fingerprint,
            "valid_after": None if signer.valid_after is None else timestamp(signer.valid_after),
            "valid_before": None if signer.valid_before is None else timestamp(signer.valid_before),
            "state": _state(signer, revoked, now),
        }
    for fingerprint in policy.keyring.certificates:
        state = "revoked" if fingerprint in policy.keyring.revoked else "usable"
        yield {
            "names": [fingerprint],
            "role": policy.role((fingerprint,)).value,
            "kind": "openpgp",
            "fingerprint": fingerprint,
            "valid_after": None,
            "valid_before": None,
            "state": "revoked here" if fingerprint in revoked else state,
        }


def _state(signer: "Signer", revoked: frozenset[str], now: float) -> str:
    if signer.key.fingerprint in revoked:
        return "revoked here"
    if not signer.usable:
        return "not for commits"
    if signer.valid_after is not None and now < signer.valid_after:
        return "not yet valid"
    if signer.valid_before is not None and now > signer.valid_before:
        return "expired"
    return "usable"


def _introduction(repository: Repository, trusted: VerifiedCommit | None) -> tuple[str, str] | None:
    """Return the trusted tip and its signer's key, when its own tree authorises that key.

    The newest introduction is the best one: it leaves a host the least to go back to.
    """
    from wgmesh.gpgv import Gpgv
    from wgmesh.trust import chain

    if trusted is None:
        return None
    try:
        found = chain.introduce(repository, trusted.id, fingerprint=None, now=None, gpg=Gpgv())
    except RefusedError:  # as after a step by which somebody takes out himself
        return None
    return found.id, found.fingerprint


def _join_line(me: Node, commit: str, fingerprint: str) -> str:
    words = ["wgmesh", "join", me.enrolment.remotes[0]]
    if me.enrolment.branch != "main":
        words += ["--branch", me.enrolment.branch]
    if me.enrolment.path != ".":
        words += ["--path", me.enrolment.path]
    return shlex.join([*words, "--introduction", commit, "--signer", fingerprint])
