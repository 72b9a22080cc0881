"""Who signed the commits of a branch that is not merged yet, and whether its merge needs that."""

import pytest

from wgmesh.errors import RefusedError
from wgmesh.gpgv import Gpgv
from wgmesh.repository.bare import Repository
from wgmesh.trust import branch
from wgmesh.trust.branch import Branch

from .signing import EPOCH
from .team import ROLES, SIGNERS, Team

SIGNED = 'side_commits = "signed"\n'


def look(team: Team, base: str, *, now: float = EPOCH, revoked: tuple[str, ...] = ()) -> Branch:
    """Return what is said of what is checked out, to land on `base`."""
    with Repository(team.work.git_dir) as repository:
        return branch.look(repository, base, team.head, now=now, revoked=revoked, gpg=Gpgv())


def signers(found: Branch) -> list[str | None]:
    """Return who signed each commit, newest first."""
    return [None if each.problem is not None else each.signer for each in found.commits]


def test_each_commit_has_its_signer(team: Team) -> None:
    base = team.head
    team.branch()
    team.commit("By ann", {"a": "a"}, by="ann")
    team.commit("By nobody", {"b": "b"}, by=None)
    team.commit("By eve", {"c": "c"}, by="eve")
    team.commit("By bob", {"d": "d"}, by="bob")
    found = look(team, base)
    assert signers(found) == ["bob@example.com", None, None, "ann@example.com"]
    assert found.commits[0].subject == "By bob"
    assert [each.subject for each in found.unsigned] == ["By eve", "By nobody"]
    assert "does not name" in str(found.unsigned[0].problem)
    assert {each.kind for each in found.commits} == {"side"}
    ann = found.commits[-1]
    assert ann.fingerprint == team.keys.fingerprint("ann") and ann.id.startswith(ann.short)
    author, time = team.work.git("show", "-s", "--format=%an <%ae>%n%ct", ann.id).splitlines()
    assert (ann.author, ann.time) == (author, int(time))


def test_a_forge_vouches_for_nothing(team: Team) -> None:
    """And what main has meanwhile is not the branch's."""
    base = team.head
    team.branch()
    team.commit("By ann", {"a": "a"}, by="ann")
    team.main()
    main = team.commit("Meanwhile", {"m": "m"})
    team.work.git("checkout", "--quiet", "side")
    team.press_merge("main")
    found = look(team, main)
    assert signers(found) == [None, "ann@example.com"]
    assert "a forge's key that vouches for nothing" in str(found.unsigned[0].problem)
    assert len(look(team, base).commits) == 3


def test_a_branch_cannot_name_its_own_signers(team: Team) -> None:
    base = team.head
    team.branch()
    team.commit("Eve as well", {SIGNERS: team.keys.signers("ops", "eve")}, by="eve")
    assert signers(look(team, base)) == [None]


@pytest.mark.parametrize(
    ("team", "needed"),
    [(ROLES, True), (SIGNED, True), ("", False), ('side_commits = "vouched"\n', False)],
    indirect=["team"],
)
def test_what_the_rules_want(team: Team, needed: bool) -> None:
    base = team.head
    team.branch()
    team.commit("By nobody", {"b": "b"}, by=None)
    found = look(team, base)
    assert (found.needed, len(found.unsigned)) == (needed, 1)


def test_who_signed_the_tip_is_held_against_the_clock(team: Team) -> None:
    until = {"ann": 'valid-before="20300101"'}
    base = team.commit(
        "ann until 2030", {SIGNERS: team.keys.signers("ops", "ann", "forge", **until)}
    )
    team.branch()
    team.commit("By ann", {"a": "a"}, by="ann")
    assert signers(look(team, base)) == ["ann@example.com"]
    late = 1_900_000_000
    assert signers(look(team, base, now=late)) == [None]
    team.commit("By ops", {"b": "b"}, by="ops")
    assert signers(look(team, base, now=late)) == ["ops@example.com", "ann@example.com"]


def test_a_revoked_key_counts_for_nothing(team: Team) -> None:
    base = team.head
    team.branch()
    team.commit("By ann", {"a": "a"}, by="ann")
    gone = (team.keys.fingerprint("ann"),)
    assert signers(look(team, base, revoked=gone)) == [None]


def test_a_base_without_signers_is_refused(team: Team) -> None:
    base = team.commit("Nobody", {SIGNERS: None})
    team.branch()
    team.commit("By ops", {"a": "a"})
    with pytest.raises(RefusedError) as refusal:
        look(team, base)
    assert "sign the branch's commits" in refusal.value.hint
