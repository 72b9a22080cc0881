"""Merges that a forge signed: its key vouches for nothing, so all they bring must be people's."""

from wgmesh.trust.authority import Authorities
from wgmesh.trust.commit import Commit
from wgmesh.trust.policy import Role
from wgmesh.trust.refusal import Refuse
from wgmesh.trust.side import BY_HAND, UP_TO_DATE, Base, Sides
from wgmesh.trust.signature import Signed

BUTTON = (
    'use the button that makes a merge commit (GitHub: "Create a merge commit"; GitLab: the merge'
    ' method "Merge commit", not squashed), on a branch whose commits people signed; or by hand: '
    + BY_HAND
)


def check(
    commit: Commit,
    base: Base,
    who: Signed,
    clock: float | None,
    changed: list[str],
    *,
    sides: Sides,
    authorities: Authorities,
    refuse: Refuse,
) -> set[Signed]:
    """Return who signed what `commit`, signed by a forge, merges: each a person under `base`.

    `changed` are the trust files that it changes. With `clock`, who signed the tip of the merged
    branch must be valid then, and so must the admin who signed such a change. Raises the refusal
    otherwise.
    """
    forge = f"{who.name} signed it, a forge's key that vouches for nothing, and it "
    if len(commit.parents) != 2:
        how = "squashed, rebased, edited on the web or made by a bot"
        raise refuse(commit, f"{forge}is no merge of two commits: {how}", BUTTON)
    tip = base.other(commit)
    if tip is None or commit.parents[0] != base.commit.id:
        rule = f"{forge}has {base.short} elsewhere than as first parent"
        raise refuse(commit, rule, f"an admin of {base.short} merges it by hand: git merge -S")
    signed = sides.people(commit, base, clock)
    if not signed:
        raise refuse(commit, f"{forge}merges nothing that {base.short} lacks", BUTTON)
    if changed and not _admin_signed(commit, base, clock, sides, authorities):
        rule = f"{forge}changes {' and '.join(changed)}, which no admin signed on the branch"
        instead = f"an admin signs the branch's last files, up to date: {UP_TO_DATE}"
        raise refuse(commit, rule, instead)
    if not sides.merges(tip, commit, base):
        raise refuse(commit, f"{forge}has a tree that merging its parents does not give", BUTTON)
    common = sides.left_behind(tip, base)
    if common is not None:
        rule = (
            f"{forge}merges a branch on {common[:12]}, which came before by a merge that git alone"
            " does not give"
        )
        raise refuse(commit, rule, f"bring the branch up to date: {UP_TO_DATE}")
    return signed


def _admin_signed(
    commit: Commit,
    base: Base,
    clock: float | None,
    sides: Sides,
    authorities: Authorities,
) -> bool:
    """Return whether an admin signed a side commit that makes this change of trust files.

    It has all of them as `commit` has, and since its branch began they have been as `base` has
    them. Else it may just be old: files that were changed since would come back with an admin's
    signature. Or half of it: what a key may do depends on all of them together.
    """
    kept = dict[str, bool]()  # by where branches began

    def makes_it(side: Commit) -> bool:
        known = sides.known(side, base)
        if known is None:
            return False
        if known.id not in kept:
            line = sides.since(side, base)
            kept[known.id] = not any(authorities.changed(it, base.commit) for it in line)
        return kept[known.id]

    found = sides.signers(commit, base, clock, lambda side: not authorities.changed(side, commit))
    return any(base.policy.role(who.names) is Role.ADMIN and makes_it(side) for side, who in found)
