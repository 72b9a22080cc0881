"""What a merge brings along: the commits of the merged branch, and the people who signed them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wgmesh.errors import RefusedError
from wgmesh.trust.commit import Commit
from wgmesh.trust.objects import Objects
from wgmesh.trust.policy import Policy, Role
from wgmesh.trust.refusal import Refuse
from wgmesh.trust.signature import Signatures, Signed

MOST_SIDE_COMMITS = 200_000
"""Commits on merged branches that are looked at in one walk, at most."""

BY_HAND = "git merge --no-ff -S BRANCH && git push"

Read = Callable[[str], Commit]
"""Reads a commit by its id."""


@dataclass(frozen=True, slots=True)
class Base:
    """The commit that another one answers to, and who may do what by its trust files."""

    commit: Commit
    policy: Policy

    @property
    def short(self) -> str:
        """How the commit is called."""
        return self.commit.short

    @property
    def source(self) -> str:
        """What its trust files are called, {} standing for the name of one."""
        return f"{{}} of {self.commit.short}"

    def other(self, commit: Commit) -> str | None:
        """Return the parent beside this one, when `commit` has just these two."""
        others = [parent for parent in commit.parents if parent != self.commit.id]
        return others[0] if len(commit.parents) == 2 and len(others) == 1 else None


class Sides:
    """Looks at side commits; how many it may look at is bounded for all merges together."""

    def __init__(
        self, objects: Objects, signatures: Signatures, read: Read, refuse: Refuse
    ) -> None:
        self._objects = objects
        self._signatures = signatures
        self.read = read
        self._refuse = refuse
        self._left = MOST_SIDE_COMMITS

    def brought(self, commit: Commit, base: Base) -> Iterator[Commit]:
        """Yield what `commit` brings beside itself and what `base` has, newest first."""
        tips = [parent for parent in commit.parents if parent != base.commit.id]
        found = self._objects.beyond(base.commit.id, tips, self._left + 1) if tips else []
        self._left -= len(found)
        if self._left < 0:
            rule = f"it brings more commits than the {MOST_SIDE_COMMITS} that are looked at"
            raise self._refuse(commit, rule, "make one signed commit of the branch")
        return map(self.read, found)

    def person(self, side: Commit, commit: Commit, base: Base, clock: float | None) -> Signed:
        """Return who signed a side commit that `commit` brings, a person under `base`.

        Raises the refusal of the side commit when nobody did.
        """
        needs = f"; {commit.short} brings it, which needs each commit signed by a person"
        try:
            who = self._signatures.by(side, base.policy, base.source, clock)
        except RefusedError as error:
            instead = error.hint or "sign the branch's commits: git rebase --force-rebase -S main"
            raise self._refuse(side, error.message + needs, instead) from None
        if base.policy.role(who.names) is Role.MERGE:
            rule = f"{who.name} signed it, a forge's key that vouches for nothing"
            instead = "bring a branch up to date by hand, not by a button: git merge -S main"
            raise self._refuse(side, rule + needs, instead)
        return who

    def signers(
        self, commit: Commit, base: Base, clock: float | None, matches: Callable[[Commit], bool]
    ) -> Iterator[Signed]:
        """Yield who signed the side commits that match, as people who are valid at `clock`.

        Where dates contradict the history, the list of side commits may have some that `base` has
        too. What was signed for an earlier step must not count again, so this looks once more.
        """
        for side in self.brought(commit, base):
            if not matches(side) or self._objects.is_ancestor(side.id, base.commit.id):
                continue
            try:
                who = self._signatures.by(side, base.policy, base.source, clock)
            except RefusedError:  # does not count; whether it may be there is not asked here
                continue
            if base.policy.role(who.names) is not Role.MERGE:
                yield who

    def is_clean_merge(self, commit: Commit) -> bool:
        """Return whether the tree of a commit with two parents is what merging them gives."""
        try:
            return self._objects.merged(*commit.parents) == commit.tree
        except RefusedError as error:
            raise self._refuse(commit, error.message, error.hint) from None
