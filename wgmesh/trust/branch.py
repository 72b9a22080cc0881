"""Who signed each commit of a branch that is not merged yet, and whether its merge will need that.

A merge that a person signs may bring what nobody signed, unless `side_commits = "signed"`. One that
a forge's key signs may not, and neither may a branch that lands as it is.
"""

from collections.abc import Collection

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust.objects import Objects
from wgmesh.trust.openpgp import GpgVerifier
from wgmesh.trust.policy import Role, SideCommits
from wgmesh.trust.side import MOST_SIDE_COMMITS, Base
from wgmesh.trust.step import Kind
from wgmesh.trust.verdict import Judged, judged
from wgmesh.trust.walk import Walk

_HINT = "sign the branch's commits (git rebase --force-rebase -S main), or merge it by hand"


@frozen
class Branch:
    """The commits of a branch, newest first.

    `needed`: by the rules of what it shall land on, each of them must be signed.
    """

    commits: tuple[Judged, ...]
    needed: bool

    @property
    def unsigned(self) -> tuple[Judged, ...]:
        """Those that no person signed whom the base authorises."""
        return tuple(each for each in self.commits if each.problem is not None)


def look(
    objects: Objects,
    base: str,
    tip: str,
    *,
    now: float,
    revoked: Collection[str] = (),
    gpg: GpgVerifier | None = None,
) -> Branch:
    """Return who signed what `tip` has and `base` has not, by the trust files of `base`.

    Who signed the tip must be valid at `now`. Raises RefusedError when the trust files of `base`
    cannot be used, or a commit cannot be read.
    """
    walk = Walk(objects, lambda **_: _HINT, revoked=revoked, gpg=gpg)
    before = walk.commit(base)
    on = Base(before, walk.steps.authorities.policy(before))
    rules = on.policy.rules
    ids = objects.beyond(base, [tip], MOST_SIDE_COMMITS)
    found = []
    for each in ids:
        commit = walk.commit(each)
        who, problem = None, None
        try:
            who = walk.signatures.by(commit, on.policy, on.source, now if each == tip else None)
            if on.policy.role(who.names) is Role.MERGE:
                problem = f"{who.name} signed it, a forge's key that vouches for nothing"
        except RefusedError as error:
            problem = error.message
        found.append(judged(commit, who, Kind.SIDE, problem))
    return Branch(tuple(found), rules.side_commits is SideCommits.SIGNED or bool(rules.merge))
