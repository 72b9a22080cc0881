"""What a refusal says: the commit, the rule that it breaks, and the command that mends it."""

import shlex

from wgmesh.errors import RefusedError
from wgmesh.trust.commit import Commit


def refused(commit: Commit, rule: str, hint: str) -> RefusedError:
    """Return the refusal of `commit`, whose author and subject are made fit for a terminal."""
    return RefusedError(
        f'commit {commit.short} ("{commit.subject}" by {commit.author}) is refused: {rule}',
        hint,
        commit.id,
    )


def merge(trusted: str, branch: str, *, unrelated: bool = False) -> str:
    """Return how to go on from `trusted` without a forced push, whatever the branch holds now.

    The last line is the command, to be pasted as it is: one signed commit that has `trusted` as
    its first parent, the tree of `trusted`, and everything else merged away.
    """
    option = "--allow-unrelated-histories " if unrelated else ""
    return (
        f"in a clone, someone whom {trusted[:12]} authorises makes one signed commit that returns "
        f"to the files of {trusted[:12]} and answers for all that came otherwise:\n"
        f"git fetch origin && git checkout --detach {trusted} && "
        f"git merge -s ours {option}-S --no-edit {shlex.quote(f'origin/{branch}')} && "
        f"git push origin {shlex.quote(f'HEAD:refs/heads/{branch}')}"
    )


def push(trusted: str, branch: str) -> str:
    """Return how to undo a rewind; the last line is the command, to be pasted as it is."""
    return (
        f"push what was there, from a clone that still has {trusted[:12]} (every node has it):\n"
        f"git push origin {shlex.quote(f'{trusted}:refs/heads/{branch}')}"
    )


def sign_again(trusted: str, branch: str) -> str:
    """Return how to put another signature on a tip; the last line is the command."""
    return (
        f"in a clone, someone else whom {trusted[:12]} authorises signs what is there:\n"
        f"git fetch origin && git checkout --detach {trusted} && "
        f"git commit --allow-empty -S -m 'Sign again' && "
        f"git push origin {shlex.quote(f'HEAD:refs/heads/{branch}')}"
    )
