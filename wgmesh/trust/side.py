"""What a merge brings along: the commits of the merged branch, and the people who signed them."""

from collections.abc import Callable, Iterator
from functools import partial

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust.commit import Commit
from wgmesh.trust.objects import Objects, oldest
from wgmesh.trust.policy import Policy, Role
from wgmesh.trust.refusal import Refuse
from wgmesh.trust.signature import Signatures, Signed

MOST_SIDE_COMMITS = 200_000
"""Commits on merged branches that are looked at in one walk, at most."""

BY_HAND = "git merge --no-ff -S BRANCH && git push"

UP_TO_DATE = "git merge -S main"
"""How a person signs a branch as it will be on top of main."""

Read = Callable[[str], Commit]
"""Reads a commit by its id."""


@frozen
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
        self._last: tuple[str, str, list[str]] = ("", "", [])

    def brought(self, commit: Commit, base: Base) -> Iterator[Commit]:
        """Yield what `commit` brings beside itself and what `base` has, newest first."""
        of, on, found = self._last
        if (of, on) != (commit.id, base.commit.id):
            tips = [parent for parent in commit.parents if parent != base.commit.id]
            found = self._objects.beyond(base.commit.id, tips, self._left + 1) if tips else []
            self._left -= len(found)
            self._last = (commit.id, base.commit.id, found)
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

    def people(self, commit: Commit, base: Base, clock: float | None) -> set[Signed]:
        """Return who signed what `commit` brings: each side commit a person under `base`.

        With `clock` who signed the tip of the merged branch must be valid then. Raises the refusal
        of a side commit that nobody signed, unless `base` has it too; see signers().
        """
        tip, found = base.other(commit), set[Signed]()
        for side in self.brought(commit, base):
            try:
                found.add(self.person(side, commit, base, clock if side.id == tip else None))
            except RefusedError:
                if not self._objects.is_ancestor(side.id, base.commit.id):
                    raise
        return found

    def brings(self, commit: Commit, base: Base) -> bool:
        """Return whether `commit` brings anything beside itself that `base` lacks.

        That may be more than is looked at: what merges a bad push away brings all of it.
        """
        tips = [parent for parent in commit.parents if parent != base.commit.id]
        newest = self._objects.beyond(base.commit.id, tips, 1) if tips else []
        return bool(newest) and not self._objects.is_ancestor(newest[0], base.commit.id)

    def signers(
        self, commit: Commit, base: Base, clock: float | None, matches: Callable[[Commit], bool]
    ) -> Iterator[tuple[Commit, Signed]]:
        """Yield the side commits that match and who signed them, people who are valid at `clock`.

        Where dates contradict the history, the list of side commits may have some that `base` has
        too. What was signed for an earlier step must not count again, so this looks once more.
        """
        for side in self.brought(commit, base):
            if not matches(side):
                continue
            try:
                who = self._signatures.by(side, base.policy, base.source, clock)
            except RefusedError:  # does not count; whether it may be there is not asked here
                continue
            if base.policy.role(who.names) is Role.MERGE:
                continue
            if not self._objects.is_ancestor(side.id, base.commit.id):
                yield side, who

    def known(self, side: Commit, base: Base) -> Commit | None:
        """Return the newest commit of the line up to `base` that a side commit was made on."""
        newer = self._objects.line_beyond(side.id, base.commit.id)
        if not newer:
            return base.commit
        parents = self.read(newer[-1]).parents
        return self.read(parents[0]) if parents else None

    def since(self, side: Commit, base: Base) -> Iterator[Commit]:
        """Yield the commits of the line up to `base`, from known() on; none when that is none."""
        known = self.known(side, base)
        if known is not None:
            yield known
            yield from map(self.read, self._objects.line_beyond(side.id, base.commit.id))

    def knows(self, side: Commit, base: Base) -> bool:
        """Return whether a side commit was made on top of `base`, so that its signer knew that."""
        return self._objects.is_ancestor(base.commit.id, side.id)

    def gives(self, side: Commit, commit: Commit, base: Base) -> bool:
        """Return whether what the signer of `side` has signed makes `base` into `commit`.

        That is what `side` changes of the line as it was known to who signed it. What else the two
        have in common, by merges that somebody made since, has no say: those choose what git's own
        merge takes for granted. Nor has the line alone, which a join turns: git must agree.
        """
        known = self.known(side, base)
        if known is None:
            return False
        if known.id == base.commit.id:
            return side.tree == commit.tree
        given = self._merged(commit, base.commit.id, side.id, known.id)
        return given == commit.tree and self.merges(side.id, commit, base)

    def merges(self, side: str, commit: Commit, base: Base) -> bool:
        """Return whether `commit` has the files that git makes of merging `side` into `base`."""
        return self._merged(commit, base.commit.id, side) == commit.tree

    def left_behind(self, side: str, base: Base) -> str | None:
        """Return a commit of the branch `side` that `base` has, but not for its files; else None.

        Merging takes for granted what both have in common. That holds on the line of first parents,
        and for what a clean merge brought there. A merge that took something else (`-s ours`, or
        resolved by hand) leaves files behind, which a later merge of the same branch does not bring
        either, although they were signed with the rest.
        """
        for common in self._objects.merge_bases(base.commit.id, side):
            line = self._objects.line_beyond(common, base.commit.id)
            if not line or self.read(line[-1]).parents[:1] == (common,):
                continue
            brought_by = self.read(oldest(line, partial(self._objects.is_ancestor, common)))
            if len(brought_by.parents) != 2 or not self._is_clean(brought_by):
                return common
        return None

    def _is_clean(self, commit: Commit) -> bool:
        return self._merged(commit, *commit.parents) == commit.tree

    def _merged(self, commit: Commit, one: str, other: str, since: str | None = None) -> str | None:
        """Return what Objects.merged does; what is too much for it is laid to `commit`."""
        try:
            return self._objects.merged(one, other, since)
        except RefusedError as error:
            raise self._refuse(commit, error.message, error.hint) from None
