"""`wgmesh trust` in a clone: what nodes would say of a commit, and who signed a branch.

No node and no root: for authors, and for CI on each pull request and after each merge.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from wgmesh.agent.contract import Report, timestamp
from wgmesh.agent.verdicts import verdict
from wgmesh.errors import UsageError
from wgmesh.repository.bare import Repository
from wgmesh.repository.checkout import commit_id, git_directory

if TYPE_CHECKING:
    from wgmesh.trust.verdict import Judged


def verify(rev: str, base: str) -> Report:
    """Return what a node that runs `base` would say if `rev` were the tip of the branch now.

    Raises UsageError for what is no commit of the repository around the current directory.
    """
    from wgmesh.gpgv import Gpgv
    from wgmesh.trust import chain

    commit, trusted = commit_id(Path(), rev), commit_id(Path(), base)
    with Repository(git_directory(Path())) as repository:
        return verdict(
            commit,
            trusted,
            lambda: chain.verify(repository, trusted, commit, now=time.time(), gpg=Gpgv()),
        )


def branch(rev: str, base: str) -> Report:
    """Return who signed each commit that `rev` has and `base` has not, newest first.

    `needed`: the rules of `base` want each of them signed; `unsigned`: how many are not. Raises
    UsageError, or RefusedError when the trust files of `base` are of no use.
    """
    from wgmesh.gpgv import Gpgv
    from wgmesh.trust import branch

    commit, on = commit_id(Path(), rev), commit_id(Path(), base)
    if commit == on:
        raise UsageError(f"{rev} is {base}: there is nothing between them", "name a branch")
    with Repository(git_directory(Path())) as repository:
        found = branch.look(repository, on, commit, now=time.time(), gpg=Gpgv())
    return {
        "commit": commit,
        "base": on,
        "needed": found.needed,
        "unsigned": len(found.unsigned),
        "commits": [_row(each) for each in found.commits],
    }


def _row(judged: "Judged") -> Report:
    return {
        "commit": judged.id,
        "kind": "side",
        "verdict": "unsigned" if judged.problem is not None else "signed",
        "signer": judged.signer if judged.problem is None else None,
        "fingerprint": judged.fingerprint if judged.problem is None else None,
        "author": judged.author,
        "subject": judged.subject,
        "time": timestamp(judged.time),
        "problem": judged.problem,
    }
