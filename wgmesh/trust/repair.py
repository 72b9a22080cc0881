"""The way out that a refusal prints: from the last commit that was good, as its rules want it."""

from collections.abc import Callable

from wgmesh.errors import RefusedError
from wgmesh.trust import refusal
from wgmesh.trust.authority import Authorities
from wgmesh.trust.commit import parse
from wgmesh.trust.objects import Objects
from wgmesh.trust.policy import Mainline, SideCommits


class Repair:
    """How to mend a branch whose tip is refused; `good` is the last commit that may stand.

    That is the trusted one first. While a line is verified it moves on, so that what was accepted
    on the way is not lost, also when a node prints it that was away for long.
    """

    def __init__(
        self,
        objects: Objects,
        trusted: str,
        tip: str,
        branch: str,
        stands: Callable[[str], bool] | None = None,
    ) -> None:
        self._objects = objects
        self._trusted = trusted
        self._stands = stands
        self._authorities = Authorities(objects, refusal.refused)
        self._tip = tip
        self._branch = branch
        self._again = tip == trusted
        self.good = trusted

    def __call__(self, *, unrelated: bool = False) -> str:
        """Return the text, whose last line is a command to be pasted as it is.

        It begins at `good` only when that would pass as a tip itself: who signed it may have
        expired, and a repair on top would say yes to it.
        """
        good = self.good
        if good != self._trusted and self._stands is not None and not self._stands(good):
            good = self._trusted
        try:
            if self._again:
                return refusal.sign_again(good, self._branch, aside=self._alone(good))
            aside = self._nothing_shows(good)
        except RefusedError:  # what cannot be read has no rules
            aside = False
        return refusal.merge(good, self._branch, unrelated=unrelated, aside=aside)

    def _alone(self, good: str) -> bool:
        """Return whether one person may only sign a merge that takes nothing."""
        commit = parse(good, self._objects.commit(good))
        rules = self._authorities.policy(commit).rules
        return rules.approvals > 1 or rules.mainline is Mainline.MERGE

    def _nothing_shows(self, good: str) -> bool:
        """Return whether the merge has to show by its files that it takes nothing of the tip."""
        commit = parse(good, self._objects.commit(good))
        tip = parse(self._tip, self._objects.commit(self._tip))
        rules = self._authorities.policy(commit).rules
        strict = rules.approvals > 1 or rules.side_commits is SideCommits.SIGNED
        return strict and tip.tree == commit.tree
