"""What one person or a forge may not bring about by what was signed long ago.

A signature on a branch says yes to what that branch did then: not to what its files would undo now.
"""

import pytest

from wgmesh.trust.authority import Authorities
from wgmesh.trust.commit import Commit

from .landing import STRICTEST, TWO, TWO_ADMINS, branch_of, land, made_of, only_files, put
from .team import ROLES, RULES, SIGNERS, Team, refused


@pytest.mark.parametrize("team", [ROLES, STRICTEST], indirect=True)
def test_an_old_branch_of_an_admin_brings_no_removed_key_back(team: Team) -> None:
    node = team.node()
    team.branch("old")
    team.commit("Work that never landed", {"wip": "wip\n"}, by="ops")
    team.main()
    team.branch("out")
    team.commit("Bob is out", {SIGNERS: team.keys.signers("ops", "ann", "forge")}, by="ops")
    team.approve("ann")
    team.main()
    team.merge("out", by="ops")
    team.settle()
    evil = made_of(team, "old", "old", "main", by="ann")
    team.press_merge(branch_of(team, "evil", evil))
    team.publish()
    assert "no admin signed on the branch" in refused(node).message


def test_an_admins_change_of_signers_lands_by_the_button_and_after_others_too(team: Team) -> None:
    node = team.node()
    team.branch("out")
    team.commit("Bob is out", {SIGNERS: team.keys.signers("ops", "ann", "forge")}, by="ops")
    team.main()
    team.commit("Meanwhile", {"other": "other\n"}, by="ann")
    team.press_merge("out")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", [TWO], indirect=True)
@pytest.mark.parametrize("button", [False, True])
def test_what_another_signed_long_ago_takes_nothing_back(team: Team, button: bool) -> None:
    node = team.node()
    team.branch("old")
    team.commit("Work that never landed", {"wip": "wip\n"}, by="bob")
    team.main()
    for name in ("fix1", "fix2"):
        land(team, name, "ann", "bob")
    team.settle()
    evil = branch_of(team, "evil", made_of(team, "old", "old", "main", by="ann"))
    if button:
        team.press_merge(evil)
        team.publish()
    else:
        put(team, made_of(team, evil, "main", evil, by="ann"))
    assert "signed other files than it has" in refused(node).message


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_a_part_of_an_approved_branch_does_not_land(team: Team) -> None:
    node = team.node()
    team.branch("feature")
    guard = team.commit("guard", {"guard": "guard\n"}, by="ann")
    team.commit("open", {"open": "open\n"}, by="ann")
    team.approve("bob")
    team.main()
    team.merge(guard, "-s", "ours", by="ann")
    team.settle()  # takes nothing, so one person may
    team.merge("feature", by="ann")
    assert only_files(team) & {"guard", "open"} == {"open"}
    team.publish()
    assert "signed other files than it has" in refused(node).message
    # brought up to date, both see what they sign
    put(team, node.trusted)
    team.work.git("checkout", "--quiet", "feature")
    team.merge("main", by="ann")
    team.approve("bob")
    team.main()
    team.merge("feature", by="ann")
    team.settle()


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_nor_does_a_part_whose_rest_was_merged_and_reverted(team: Team) -> None:
    node = team.node()
    team.branch("feature")
    guard = team.commit("guard", {"guard": "guard\n"}, by="ann")
    team.commit("open", {"open": "open\n"}, by="ann")
    team.approve("bob")
    team.main()
    land(team, "fix", "ops", "bob")
    team.settle()
    team.work.git("checkout", "--quiet", "-B", "reverted", guard)
    team.work.git("revert", "--no-edit", guard, sign="ann")
    team.main()
    team.merge("reverted", by="ann")
    team.settle()  # clean, and takes nothing
    team.merge("feature", by="ann")
    team.publish()
    assert "signed other files than it has" in refused(node).message


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_nor_does_the_rest_of_a_branch_whose_first_part_was_taken_back(team: Team) -> None:
    node = team.node()
    team.branch("low")
    team.commit("guard", {"guard": "guard\n"}, by="ann")
    team.approve("bob")
    team.branch("high")
    team.commit("open", {"open": "open\n"}, by="ann")
    team.approve("bob")
    team.main()
    merged = team.merge("low", by="ann")
    team.settle()
    team.branch("back")
    team.work.git("revert", "-m", "1", "--no-edit", merged, sign="ann")
    team.approve("ops")
    team.main()
    team.merge("back", by="ann")
    team.settle()
    team.merge("high", by="ann")
    team.publish()
    assert "signed other files than it has" in refused(node).message


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_what_was_tried_on_a_branch_takes_nothing_of_main(team: Team) -> None:
    """The fix came and went on a branch, with signatures of two; on main it has come since."""
    node = team.node()
    team.branch("bobs")
    half = team.commit("fix", {"fix": "fix\n"}, by="bob")
    team.commit("not yet", {"fix": None}, by="bob")
    team.main()
    team.branch("other")
    team.commit("other", {"other": "other\n"}, by="ops")
    team.commit("fix", {"fix": "fix\n"}, by="ann")
    team.approve("ops")
    team.main()
    team.merge("other", by="ops")
    team.settle()
    team.merge(half, by="ann")
    team.settle()
    team.merge("bobs", by="ann")
    assert "fix" not in only_files(team)
    team.publish()
    assert "signed other files than it has" in refused(node).message


def without_bob(team: Team) -> str:
    """Return the signers file in which bob is missing."""
    return team.keys.signers("ops", "ann", "forge")


def test_an_amended_commit_of_an_admin_does_not_come_again(team: Team) -> None:
    put(team, team.commit("Without bob", {SIGNERS: without_bob(team)}, by="ops"))
    node = team.node()
    team.branch("add")
    team.commit("Add bbo", {SIGNERS: team.keys.signers("ops", "ann", "bob", "forge")}, by="ops")
    team.work.git("branch", "typo")
    team.work.git("commit", "--quiet", "--amend", "-m", "Add bob", sign="ops")
    team.main()
    team.press_merge("add")
    team.settle()
    team.branch("out")
    team.commit("Bob is out", {SIGNERS: without_bob(team)}, by="ops")
    team.main()
    team.press_merge("out")
    team.settle()
    team.press_merge("typo")
    team.publish()
    assert "no admin signed on the branch" in refused(node).message


def test_an_abandoned_branch_of_an_admin_brings_nobody_back_in_two_parts(team: Team) -> None:
    node = team.node()
    everyone = team.keys.signers("ops", "ann", "bob", "forge")
    team.branch("try")
    first = team.commit("Bob is out", {SIGNERS: without_bob(team)}, by="ops")
    team.commit("Not yet", {SIGNERS: everyone}, by="ops")
    team.main()
    team.commit("Meanwhile", {"other": "other\n"}, by="ann")
    team.commit("Bob is out now", {SIGNERS: without_bob(team)}, by="ops")
    team.settle()
    team.press_merge(branch_of(team, "part", first))
    team.settle()  # changes nothing
    team.press_merge("try")
    team.publish()
    assert "no admin signed on the branch" in refused(node).message


def test_what_admins_signed_apart_is_not_put_together_by_the_button(team: Team) -> None:
    """Eve may edit, said one branch; all who sign are admins, said another: without her."""
    node = team.node()
    everyone = team.keys.signers("ops", "ann", "bob", "forge", "eve")
    team.branch("eves")
    team.commit("Eve edits", {SIGNERS: everyone}, by="ops")
    team.main()
    team.branch("all")
    team.commit("All are admins", {RULES: '[roles]\nmerge = ["forge@example.com"]\n'}, by="ops")
    team.main()
    team.press_merge("eves")
    team.settle()
    team.press_merge("all")
    team.publish()
    assert "no admin signed on the branch" in refused(node).message
    put(team, node.trusted)
    team.work.git("checkout", "--quiet", "all")
    team.merge("main", by="ops")
    team.main()
    team.press_merge("all")
    team.settle()


def test_nor_is_half_of_what_an_admin_signed(team: Team) -> None:
    """The key that an admin named as a forge's becomes a person's by what an editor adds."""
    node = team.node()
    everyone = team.keys.signers("ops", "ann", "bob", "forge", "eve")
    forges = ROLES.replace("merge = [", 'merge = ["eve@example.com", ')
    team.branch("forge2")
    team.commit("Another forge", {SIGNERS: everyone, RULES: forges}, by="ops")
    team.commit("A person", {RULES: ROLES}, by="bob")
    team.main()
    team.press_merge("forge2")
    team.publish()
    assert "no admin signed on the branch" in refused(node).message


def test_a_long_old_branch_of_an_admin_is_held_once_against_what_main_kept(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = team.node()
    everyone = team.keys.signers("ops", "ann", "bob", "eve", "forge")
    team.branch("eves")
    for number in range(12):
        team.commit("Eve may", {SIGNERS: everyone, "work": f"{number}\n"}, by="ops")
    team.main()
    back = team.work.git("show", f"main:{SIGNERS}") + "\n"
    team.commit("Bob is out", {SIGNERS: without_bob(team)}, by="ops")
    team.commit("Bob is back", {SIGNERS: back}, by="ops")
    for number in range(12):
        team.commit("Meanwhile", {"other": f"{number}\n"}, by="ops")
    team.settle()
    team.press_merge("eves")
    team.publish()
    asked, changed = list[str](), Authorities.changed

    def counted(self: Authorities, commit: Commit, before: Commit) -> list[str]:
        asked.append(commit.id)
        return changed(self, commit, before)

    monkeypatch.setattr(Authorities, "changed", counted)
    assert "no admin signed on the branch" in refused(node).message
    assert len(asked) < 50


def test_a_branch_on_what_was_merged_away_is_brought_up_to_date_first(team: Team) -> None:
    """Two people make the repair; the forge merges the later one once its good part has landed."""
    node = team.node()
    first = team.head
    bad = team.commit("Good and bad", {"good": "good\n", "bad": "bad\n"}, by=None)
    lost = made_of(team, first, first, bad, by="ann")
    put(team, made_of(team, first, first, bad, by="ops"))
    team.settle()
    team.commit("The good part", {"good": "good\n"}, by="ops")
    team.settle()
    team.press_merge(branch_of(team, "lost", lost))
    team.publish()
    assert "by a merge that git alone does not give" in refused(node).message


def test_a_branch_on_another_one_lands_after_it(team: Team) -> None:
    """As stacked pull requests do: what they have in common was merged cleanly."""
    node = team.node()
    team.branch("below")
    team.commit("Below", {"below": "below\n"}, by="ann")
    team.branch("above")
    team.commit("Above", {"above": "above\n"}, by="bob")
    team.main()
    team.commit("Meanwhile", {"other": "other\n"}, by="ops")
    team.press_merge("below")
    for number in range(3):
        team.commit(f"Then {number}", {"other": f"{number}\n"}, by="ops")
    team.settle()
    team.press_merge("above")
    team.publish()
    assert node.look().id == team.head
    assert {"below", "above"} <= only_files(team)


@pytest.mark.parametrize("team", ['mainline = "merge"\n' + ROLES], indirect=True)
@pytest.mark.parametrize("other", ["main", "main^"])
def test_a_merge_of_what_is_there_already_is_none(team: Team, other: str) -> None:
    land(team, "first", "ann", "ann")
    team.publish()
    node = team.node()
    team.branch("side")
    team.commit("Straight", {"straight": "straight\n"}, by="ann")
    team.main()
    put(team, made_of(team, "side", "main", other, by="ann"))
    assert "it merges nothing" in refused(node).message


def fix_that_went_and_came(team: Team) -> None:
    """Land a fix, take it out, and land it again; bob's early is of the first, late of no fix."""
    land(team, "fix", "ann", "bob")
    team.branch("early")
    team.commit("Early", {"early": "early\n"}, by="bob")
    team.main()
    team.branch("out")
    team.commit("The fix is none", {"fix": None}, by="ops")
    team.main()
    team.merge("out", by="bob")
    team.branch("late")
    team.commit("Late", {"late": "late\n"}, by="bob")
    team.main()
    land(team, "fix", "ops", "bob")
    team.settle()


@pytest.mark.parametrize("team", ["approvals = 2\n" + TWO_ADMINS], indirect=True)
@pytest.mark.parametrize("alone", [True, False])
def test_an_admin_who_turns_the_line_takes_nothing_of_main(team: Team, alone: bool) -> None:
    """By a join main forgets when the fix was out: then what bob made without it takes it out."""
    node = team.node()
    fix_that_went_and_came(team)
    top = team.head
    if alone:
        early = made_of(team, "early", "early~1", by="ann")
        put(team, made_of(team, top, early, top, by="ann"))
        assert "approvals = 2" in refused(node).message
        return
    merged = team.merge("early", by="ann")
    join = put(team, made_of(team, merged, "early", top, by="ann"))
    assert node.look().id == join
    files = team.commit("Without the fix", {"fix": None, "late": "late\n"}, by="ann")
    put(team, made_of(team, files, join, "late", by="ann"))
    assert "signed other files than it has" in refused(node).message
