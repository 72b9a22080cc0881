"""Several remotes of one inventory: which tip is the newest, or that they disagree.

A tip that another one descends from is late, no more. Two of which neither descends from the other
are two stories of one branch: somebody tells one of them to some nodes only, so neither is taken.
"""

import shlex
from collections.abc import Sequence

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust.commit import parse
from wgmesh.trust.objects import Objects


@frozen
class Tip:
    """What a remote has as its branch's tip."""

    remote: str
    commit: str


def heads(objects: Objects, commits: Sequence[str]) -> tuple[str, ...]:
    """Return those of `commits` that no other one of them descends from, each once, in order."""
    each = tuple(dict.fromkeys(commits))
    return tuple(
        one
        for one in each
        if not any(other != one and objects.is_ancestor(one, other) for other in each)
    )


def newest(objects: Objects, tips: Sequence[Tip], trusted: str, branch: str) -> str:
    """Return the commit that descends from all the others; the objects of all must be there.

    Raises RefusedError when there is none: it names each story, and prints the one signed commit
    on top of `trusted` that ends them, for somebody who knows that both remotes are honest.
    """
    left = heads(objects, [tip.commit for tip in tips])
    if len(left) == 1:
        return left[0]
    told = [f"{_described(objects, commit)} at {_names(tips, commit)}" for commit in left]
    culprit = next((commit for commit in left if commit != trusted), left[0])
    raise RefusedError(
        f"the remotes disagree, all are refused: {' and '.join(told)}, of which none follows the"
        " others",
        _ending(objects, tips, left, trusted, branch),
        culprit,
    )


def _described(objects: Objects, commit: str) -> str:
    try:
        found = parse(commit, objects.commit(commit))
    except RefusedError:  # nothing in it can be relied on, its author and subject neither
        return f"commit {commit[:12]}"
    return f'commit {found.short} ("{found.subject}" by {found.author})'


def _names(tips: Sequence[Tip], commit: str) -> str:
    return ", ".join(tip.remote for tip in tips if tip.commit == commit)


def _ending(
    objects: Objects, tips: Sequence[Tip], left: Sequence[str], trusted: str, branch: str
) -> str:
    """Return what to do; the last line is the command, to be pasted as it is.

    A commit without files joins the stories first: so the merge shows that it takes nothing of
    them, which one person may sign whatever the rules say of approvals and side commits.
    """
    merged = [commit for commit in left if commit != trusted]
    strange = not objects.has(trusted) or not all(
        objects.related(trusted, commit) for commit in merged
    )
    remotes = [next(tip.remote for tip in tips if tip.commit == commit) for commit in left]
    everywhere = dict.fromkeys(tip.remote for tip in tips)
    ref = shlex.quote(f"refs/heads/{branch}")
    commands = [f"git fetch {shlex.quote(remote)} {ref}" for remote in remotes]
    commands.append(f"git checkout --detach {trusted}")
    unrelated = "--allow-unrelated-histories " if strange else ""
    above = " ".join(f"-p {commit}" for commit in merged)
    nothing = f"$(git commit-tree {above} -m 'Merged away' \"$(git mktree </dev/null)\")"
    commands.append(f'git merge -s ours {unrelated}-S --no-edit "{nothing}"')
    target = shlex.quote(f"HEAD:refs/heads/{branch}")
    commands += [f"git push {shlex.quote(remote)} {target}" for remote in everywhere]
    return (
        "find out who pushed what: a remote that lies goes out of `remotes` in"
        " /etc/wgmesh/node.toml, on every node. When both are honest, somebody whom"
        f" {trusted[:12]} authorises ends it by one signed commit on top of that, in a clone:\n"
        + " && ".join(commands)
    )
