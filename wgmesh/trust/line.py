"""The first-parent line from a tip down to where it leaves the trusted commit."""

from functools import partial

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust import refusal
from wgmesh.trust.objects import oldest
from wgmesh.trust.walk import Walk

LONGEST_WALK = 200_000
"""Commits between the trusted one and the tip, at most."""

FIRST_LOOK = 1024
"""Commits to list before asking whether the trusted one is below at all."""


@frozen
class Line:
    """Commits that descend from the trusted one, newest first.

    `joins`: the oldest has it elsewhere than as first parent.
    """

    commits: list[str]
    joins: bool


def find(walk: Walk, trusted: str, tip: str, branch: str) -> Line:
    """Return the commits of the tip's first-parent line that descend from `trusted`.

    Mostly the line simply arrives at `trusted`. When it does not, its oldest commit that descends
    from `trusted` is the join.
    Raises RefusedError when the tip does not descend from it.
    """
    objects, look = walk.objects, FIRST_LOOK
    walk.commit(tip)
    line = objects.line(tip, look)
    while trusted not in line:
        if len(line) < look or not objects.has(trusted):
            break
        if not objects.is_ancestor(trusted, line[-1]):
            break
        if look > LONGEST_WALK:
            raise _too_long(walk, trusted, tip)
        look *= 8
        line += objects.line(line[-1], look - len(line) + 1)[1:]
    else:
        del line[line.index(trusted) :]
        if len(line) > LONGEST_WALK:
            raise _too_long(walk, trusted, tip)
        return Line(line, joins=False)
    if not objects.has(trusted) or not objects.is_ancestor(trusted, tip):
        raise _not_descended(walk, trusted, tip, branch)
    join = line.index(oldest(line, partial(objects.is_ancestor, trusted)))
    return Line(line[: join + 1], joins=True)


def _too_long(walk: Walk, trusted: str, tip: str) -> RefusedError:
    rule = f"more than {LONGEST_WALK} commits lie between it and {trusted[:12]}"
    return walk.refused(walk.commit(tip), rule)


def _not_descended(walk: Walk, trusted: str, tip: str, branch: str) -> RefusedError:
    commit = walk.commit(tip)
    if not walk.objects.has(trusted):
        rule = f"{branch} no longer contains the trusted commit {trusted[:12]}, nor does this node"
        return refusal.refused(commit, rule, refusal.merge(trusted, branch, unrelated=True))
    if walk.objects.is_ancestor(tip, trusted):
        rule = f"{branch} was rewound to it, from the trusted commit {trusted[:12]} that follows it"
        return refusal.refused(commit, rule, refusal.push(trusted, branch))
    if walk.objects.related(tip, trusted):
        rule = f"{branch} was forced: it does not contain the trusted commit {trusted[:12]}"
        return walk.refused(commit, rule)
    rule = f"its history has nothing in common with the trusted commit {trusted[:12]}"
    return refusal.refused(commit, rule, walk.hint(unrelated=True))
