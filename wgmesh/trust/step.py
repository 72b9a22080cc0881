"""The rules for one commit of the line: who signed it, what it changes, what it brings along."""

from collections.abc import Collection
from enum import Enum

from wgmesh.errors import RefusedError
from wgmesh.trust import forge
from wgmesh.trust.authority import Authorities
from wgmesh.trust.commit import Commit
from wgmesh.trust.objects import Objects
from wgmesh.trust.policy import FILE_NAME, Mainline, Policy, Role, SideCommits
from wgmesh.trust.refusal import Refuse
from wgmesh.trust.side import BY_HAND, Base, Read, Sides
from wgmesh.trust.signature import Signatures, Signed


class Kind(Enum):
    """How a commit comes to be looked at."""

    STEP = "step"
    FORGE_MERGE = "forge merge"
    JOIN = "join"
    SIDE = "side"


class Steps:
    """Checks commits one by one, each against the trust files of the one before it."""

    def __init__(
        self, objects: Objects, signatures: Signatures, read: Read, refuse: Refuse
    ) -> None:
        self.authorities = Authorities(objects, refuse)
        self.sides = Sides(objects, signatures, read, refuse)
        self._signatures = signatures
        self._read = read
        self._refuse = refuse

    def usable(self, commit: Commit, clock: float | None) -> Policy:
        """Return the policy of `commit`, which must leave people who can make the next step."""
        policy = self.authorities.policy(commit)
        revoked, wanted = self._signatures.revoked, policy.rules.approvals
        people = policy.usable(revoked=revoked, now=clock)
        if not people:
            rule = "its trust files leave nobody who could sign the next one"
        elif not policy.usable(Role.ADMIN, revoked=revoked, now=clock):
            rule = "its trust files leave no usable admin, so nobody who could change them"
        elif len(people) < wanted:
            rule = f"it wants approvals = {wanted}, but leaves {len(people)} who can sign"
        else:
            return policy
        raise self._refuse(commit, rule, "keep people in them whose keys are usable")

    def signer(self, commit: Commit, policy: Policy, source: str, clock: float | None) -> Signed:
        """Return who of `policy`, whose files are called `source`, signed `commit`."""
        try:
            return self._signatures.by(commit, policy, source, clock)
        except RefusedError as error:
            raise self._refuse(commit, error.message, error.hint) from None

    def signed(
        self, commit: Commit, before: Commit, clock: float | None, *, join: bool
    ) -> tuple[Signed, Kind]:
        """Return who signed `commit`, and as what it has to pass, after `before`.

        `before` is its first parent, or for a join the trusted commit. With `clock` the signer must
        be valid then. Raises RefusedError.
        """
        policy = self.authorities.policy(before)
        who = self.signer(commit, policy, Base(before, policy).source, clock)
        if policy.role(who.names) is Role.MERGE:
            return who, Kind.FORGE_MERGE
        return who, Kind.JOIN if join else Kind.STEP

    def check(
        self, commit: Commit, before: Commit, who: Signed, kind: Kind, clock: float | None
    ) -> set[Signed]:
        """Return on whom else it rests that `commit`, signed by `who`, may follow `before`.

        See signed(). With `clock` all who answer for it must be valid then. When it changes trust
        files, they must leave people who can go on; that somebody's key expires, or is revoked on
        this node, is no fault of a commit that does not. Raises RefusedError.
        """
        base = Base(before, self.authorities.policy(before))
        changed = self.authorities.changed(commit, before)
        if kind is Kind.FORGE_MERGE:
            others = forge.check(
                commit,
                base,
                who,
                clock,
                changed,
                sides=self.sides,
                authorities=self.authorities,
                refuse=self._refuse,
            )
            others |= self._check_approvals(commit, base, None, clock)
        else:
            if base.policy.role(who.names) is not Role.ADMIN:
                self._check_editor(commit, base, who, changed, join=kind is Kind.JOIN)
            others = self._check_rules(commit, base, who, clock)
        if changed:
            self.usable(commit, None)
        return others

    def again(self, commit: Commit, before: Commit, clock: float | None) -> tuple[Signed, Kind]:
        """Hold a commit that has passed against the clock; return who signed it, and as what.

        What a join needs besides, an admin, it has had. Raises RefusedError.
        """
        who, kind = self.signed(commit, before, clock, join=False)
        self.check(commit, before, who, kind, clock)
        return who, kind

    def _check_rules(
        self, commit: Commit, base: Base, who: Signed, clock: float | None
    ) -> set[Signed]:
        """Return on whom else `commit`, signed by a person, rests by the rules of trust.toml.

        Raises the refusal when it breaks one.
        """
        rules = base.policy.rules
        if rules.mainline is Mainline.MERGE and not self.sides.brings(commit, base):
            rule = f'it merges nothing, but {FILE_NAME} of {base.short} says mainline = "merge"'
            raise self._refuse(commit, rule, f"put it on a branch, then: {BY_HAND}")
        if self.takes_nothing(commit, base):
            return set()
        others = set[Signed]()
        if rules.side_commits is SideCommits.SIGNED:
            others = self.sides.people(commit, base, None)
        return others | self._check_approvals(commit, base, who, clock)

    def _check_editor(
        self, commit: Commit, base: Base, who: Signed, changed: list[str], *, join: bool
    ) -> None:
        """Raise the refusal when `commit`, signed by an editor, does what only an admin may."""
        if not join and not changed:
            return
        what = (
            f"has {base.short} elsewhere than as first parent"
            if join
            else f"changes {' and '.join(changed)}"
        )
        raise self._refuse(
            commit,
            f"{who.name} signed it, who is no admin in {FILE_NAME} of {base.short}, and it {what}",
            f"one of the admins signs it: {', '.join(sorted(base.policy.usable(Role.ADMIN)))}",
        )

    def takes_nothing(self, commit: Commit, base: Base) -> bool:
        """Return whether `commit` is `git merge -s ours`: what it brings changes no file.

        Its signer then answers for it alone. Else a bad push could not be repaired where side
        commits have to be signed, or several people have to approve. A join turns the line, even
        when it takes nothing: what was approved since is told by that.
        """
        other = base.other(commit)
        return (
            other is not None
            and commit.parents[0] == base.commit.id
            and commit.tree == base.commit.tree
            and self._read(other).tree != base.commit.tree
        )

    def _check_approvals(
        self, commit: Commit, base: Base, who: Signed | None, clock: float | None
    ) -> set[Signed]:
        """Return who has approved what `commit` brings, where several people must have signed it.

        `who` signed it, if a person did. Raises the refusal when they are not enough.
        """
        wanted, tip = base.policy.rules.approvals, base.other(commit)
        if wanted == 1:
            return set()
        found, others = set[Signed](), set[Signed]()
        if tip is not None:
            tree = self._read(tip).tree
            for side, by in self.sides.signers(commit, base, clock, lambda it: it.tree == tree):
                if by not in found | others:  # the newest of each counts
                    (found if self.sides.gives(side, commit, base) else others).add(by)
        people = self._people(base, who, found)
        if len(people) >= wanted:
            return found
        rule = f"{FILE_NAME} of {base.short} says approvals = {wanted}, but "
        if len(people | self._people(base, None, others)) >= wanted:
            instead = f"merge main into the branch, sign that again, then: {BY_HAND}"
            raise self._refuse(commit, f"{rule}others signed other files than it has", instead)
        instead = (
            "on a branch, each further person signs its last files (git commit --allow-empty"
            f" -S), then: {BY_HAND}"
        )
        rule += f"{len(people)} signed it: {', '.join(sorted(people))}"
        raise self._refuse(commit, rule, instead)

    def answered(
        self, commit: Commit, before: Commit, who: Signed, kind: Kind, clock: float | None
    ) -> bool:
        """Return whether enough people, valid at `clock`, answer for `before` by `commit` on it.

        That are its signer, unless a forge made it, and who signed its files on a merged branch
        that has `before`: whoever signed what lacks it did not know it, and whose files were not
        taken (`git merge -s ours`) may have said no to it.
        """
        base = Base(before, self.authorities.policy(before))
        people = set() if kind is Kind.FORGE_MERGE else self._people(base, who, ())
        wanted, tip = base.policy.rules.approvals, base.other(commit)
        if len(people) < wanted and tip is not None and self._read(tip).tree == commit.tree:
            found = self.sides.signers(commit, base, clock, lambda side: side.tree == commit.tree)
            knew = {by for side, by in found if self.sides.knows(side, base)}
            people |= self._people(base, None, knew)
        return len(people) >= wanted

    def person(self, commit: Commit, base: Base, clock: float | None) -> str | None:
        """Return who of `base`, valid at `clock`, signed `commit`; None when that is no person."""
        try:
            who = self._signatures.by(commit, base.policy, base.source, clock)
        except RefusedError:
            return None
        forge = base.policy.role(who.names) is Role.MERGE
        return None if forge else base.policy.people[who.name]

    @staticmethod
    def _people(base: Base, who: Signed | None, others: Collection[Signed]) -> set[str]:
        everyone = [*others] if who is None else [who, *others]
        return {base.policy.people[each.name] for each in everyone}
