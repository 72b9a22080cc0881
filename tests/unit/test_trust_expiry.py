"""What a key that has expired signed, and who answers for it."""

import pytest

from .landing import TWO, expire, put
from .team import ROLES, RULES, Team, refused


def test_the_forge_puts_nothing_on_top_of_what_an_expired_key_signed(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    good = team.head
    team.branch("innocent")
    team.commit("An innocent change", {"innocent": "innocent\n"}, by="bob")
    team.main()
    evil = team.commit("Evil", {"mesh.toml": "evil\n"}, by="ann")
    team.press_merge("innocent")
    team.publish()
    error = refused(node)
    assert error.commit == evil and "nobody who is valid now answers for it" in error.message
    assert "not valid after" in error.message
    assert f"--detach {good}" in error.hint.splitlines()[-1]
    # somebody who has seen it may say yes to it
    team.branch("yes")
    team.approve("bob")
    team.main()
    team.merge("yes", "--no-ff", by="bob")
    team.publish()
    assert node.look().id == team.head


def test_a_branch_that_has_it_answers_for_it_by_the_button_as_well(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    team.commit("By a key that has expired since", {"mesh.toml": "x\n"}, by="ann")
    team.branch("later")
    team.commit("Later", {"later": "later\n"}, by="bob")
    team.main()
    team.press_merge("later")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_one_person_revives_no_approval_of_an_expired_key(team: Team) -> None:
    node = team.node()
    expire(team, "bob")
    good = team.head
    team.branch("evil")
    team.commit("Evil", {"mesh.toml": "evil\n"}, by="ann")
    team.approve("bob")
    team.main()
    evil = team.merge("evil", by="ann")
    team.publish()
    assert refused(node).commit == evil
    team.branch("nothing")
    team.commit("Whatever", {"whatever": "x\n"}, by=None)
    team.main()
    team.merge("nothing", "-s", "ours", by="ann")
    team.publish()
    error = refused(node)
    assert error.commit == evil and "nobody who is valid now answers for it" in error.message
    healed = team.run(error.hint.splitlines()[-1], "ops")
    assert node.look().id == healed
    assert team.work.tree(healed) == team.work.tree(good)


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_nor_does_somebody_who_took_it_back_on_a_branch_that_was_merged_away(team: Team) -> None:
    node = team.node()
    expire(team, "bob")
    team.branch("evil")
    team.commit("Evil", {"mesh.toml": "evil\n"}, by="ann")
    team.approve("bob")
    team.main()
    evil = team.merge("evil", by="ann")
    team.branch("back")
    team.work.git("revert", "-m", "1", "--no-edit", evil, sign="ops")
    team.main()
    team.merge("back", "-s", "ours", by="ann")
    team.publish()
    error = refused(node)
    assert error.commit == evil and "nobody who is valid now answers for it" in error.message
    put(team, evil)
    team.merge("back", by="ann")
    team.settle()


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_an_expired_approval_does_not_lower_the_number_of_approvals(team: Team) -> None:
    node = team.node()
    expire(team, "bob")
    team.branch("one")
    team.commit("One is enough", {RULES: ROLES, "mesh.toml": "evil\n"}, by="ops")
    team.approve("bob")
    team.main()
    change = team.merge("one", by="ops")
    team.commit("More", {"more": "more\n"}, by="ops")
    team.publish()
    assert refused(node).commit == change


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_an_expired_approval_below_another_is_none_by_the_button_either(team: Team) -> None:
    node = team.node()
    expire(team, "bob")
    team.branch()
    team.commit("A change", {"mesh.toml": "x\n"}, by="bob")
    team.approve("ann")
    team.main()
    bad = team.press_merge()
    team.publish()
    error = refused(node)
    assert error.commit == bad and "approvals = 2, but 1 signed it: ann" in error.message


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_an_expired_key_does_not_help_to_answer_for_what_is_below(team: Team) -> None:
    """Who else signed the files on top lacks the commit below, so did not know of it."""
    node = team.node()
    expire(team, "bob")
    team.branch("apart")
    team.commit("The same files", {"mesh.toml": "evil\n", "x": "x\n"}, by="ops")
    team.main()
    team.branch("evil")
    team.commit("Evil", {"mesh.toml": "evil\n"}, by="ann")
    team.approve("bob")
    team.main()
    evil = team.merge("evil", by="ann")
    team.branch("top")
    team.merge("apart", by="bob")
    team.main()
    team.merge("top", by="ann")
    team.publish()
    error = refused(node)
    assert error.commit == evil and "nobody who is valid now answers for it" in error.message


def test_the_repair_does_not_say_yes_to_what_an_expired_key_signed(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    good = team.head
    team.commit("Evil", {"mesh.toml": "evil\n"}, by="ann")
    team.commit("Junk", {"junk": "junk\n"}, by=None)
    team.publish()
    healed = team.run(refused(node).hint.splitlines()[-1], "ops")
    assert node.look().id == healed
    assert team.work.tree(healed) == team.work.tree(good)


def test_a_verdict_on_the_tip_also_where_another_commit_is_to_blame(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    bad = team.commit("By nobody", {"bad": "bad\n"}, by=None)
    tip = team.commit("By ann", {"x": "x\n"}, by="ann")
    team.publish()
    found = {each.id: each.problem or "" for each in node.verdicts()}
    assert "not signed" in found[bad] and "not valid after" in found[tip]
    put(team, bad)
    team.branch()
    side = team.commit("By ann", {"x": "x\n"}, by="ann")
    team.main()
    tip = team.press_merge()
    team.publish()
    found = {each.id: each.problem or "" for each in node.verdicts()}
    assert "not signed" in found[bad]
    assert "not valid after" in found[side] and "not valid after" in found[tip]
