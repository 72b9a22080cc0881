"""What a refusal says: the commit, the rule that it breaks, what works instead, and the repair."""

import shlex
from collections.abc import Callable

from wgmesh.errors import RefusedError
from wgmesh.trust.commit import Commit

Refuse = Callable[[Commit, str, str], RefusedError]
"""Makes the refusal of a commit out of the rule that it breaks, and what works instead."""

_EMPTY_TREE = '"$(git mktree </dev/null)"'


def refused(commit: Commit, rule: str, hint: str) -> RefusedError:
    """Return the refusal of `commit`, whose author and subject are made fit for a terminal."""
    return RefusedError(
        f'commit {commit.short} ("{commit.subject}" by {commit.author}) is refused: {rule}',
        hint,
        commit.id,
    )


def merge(trusted: str, branch: str, *, unrelated: bool = False, aside: bool = False) -> str:
    """Return how to go on from `trusted` without a forced push, whatever the branch holds now.

    The last line is the command, to be pasted as it is: one signed commit that has `trusted` as
    its first parent, the tree of `trusted`, and everything else merged away. `aside`: what is
    merged away gets a commit without files on top, so that it shows that nothing of it is taken.
    """
    other = shlex.quote(f"origin/{branch}")
    if aside:
        other = _without_files(other)
    return (
        f"in a clone, someone whom {trusted[:12]} authorises (an admin, where nodes trust"
        " different commits) makes one signed commit that returns to the files of"
        f" {trusted[:12]} and answers for all that came otherwise:\n"
        + _ours(trusted, branch, other, unrelated=unrelated)
    )


def push(trusted: str, branch: str) -> str:
    """Return how to undo a rewind; the last line is the command, to be pasted as it is."""
    return (
        f"push what was there, from a clone that still has {trusted[:12]} (every node has it):\n"
        f"git push origin {shlex.quote(f'{trusted}:refs/heads/{branch}')}"
    )


def sign_again(trusted: str, branch: str, *, aside: bool = False) -> str:
    """Return how to put another signature on a tip; the last line is the command.

    `aside`: by a merge that takes nothing, where an empty commit would need more than one person.
    """
    head = f"in a clone, someone else whom {trusted[:12]} authorises signs what is there:\n"
    if aside:
        return head + _ours(trusted, branch, _without_files(trusted))
    return (
        f"{head}git fetch origin && git checkout --detach {trusted} && "
        f"git commit --allow-empty -S -m 'Sign again' && "
        f"git push origin {shlex.quote(f'HEAD:refs/heads/{branch}')}"
    )


def _ours(trusted: str, branch: str, other: str, *, unrelated: bool = False) -> str:
    option = "--allow-unrelated-histories " if unrelated else ""
    return (
        f"git fetch origin && git checkout --detach {trusted} && "
        f"git merge -s ours {option}-S --no-verify-signatures --no-edit {other} && "
        f"git push origin {shlex.quote(f'HEAD:refs/heads/{branch}')}"
    )


def _without_files(commit: str) -> str:
    return f"\"$(git commit-tree -p {commit} -m 'Merged away' {_EMPTY_TREE})\""
