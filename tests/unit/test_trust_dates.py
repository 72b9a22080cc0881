"""Dates that are made up, or of a machine with a wrong clock: no evidence of anything."""

import pytest

from .landing import TWO, land, made_of, only_files, put
from .team import ROLES, Team, refused

LONG_AGO = {f"GIT_{who}_DATE": "100000000 +0000" for who in ("AUTHOR", "COMMITTER")}


def long_ago(team: Team, by: str) -> None:
    """Put commits onto the branch that are dated before all of main, more than git looks at."""
    options = ("--quiet", "--allow-empty", "-m", "Long ago")
    for _ in range(8):
        team.work.git("commit", *options, sign=by, env=LONG_AGO)


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_made_up_dates_do_not_hide_what_an_approval_was_given_on(team: Team) -> None:
    """Bob approved after the fix was taken out, not the taking out: it has come again since."""
    node = team.node()
    land(team, "fix", "ann", "bob")
    before = team.head
    team.branch("out")
    team.commit("The fix is none", {"fix": None}, by="ops")
    team.main()
    team.merge("out", by="bob")
    team.settle()
    team.branch("feature")
    long_ago(team, "ann")
    made = made_of(team, "feature", "feature", before, by="ann")
    team.work.git("checkout", "--quiet", "-B", "feature", made)
    team.commit("A feature", {"feature": "feature\n"}, by="ann")
    team.approve("bob")
    team.main()
    land(team, "fix", "ops", "bob")
    team.settle()
    put(team, made_of(team, "feature", "main", "feature", by="ann"))
    assert "signed other files than it has" in refused(node).message
    put(team, node.trusted)
    team.merge("feature", by="ann")
    team.settle()
    assert only_files(team) >= {"feature", "fix"}


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_a_machine_with_a_wrong_clock_signs_as_others_do(team: Team) -> None:
    team.node()
    land(team, "one", "ops", "bob")
    team.settle()
    team.branch("feature")
    team.commit("A feature", {"feature": "feature\n"}, by="ann")
    long_ago(team, "ann")
    team.main()
    land(team, "two", "ops", "bob")
    team.merge("feature", by="bob")
    team.settle()


def test_what_main_has_is_not_brought_again_after_a_wrong_clock(team: Team) -> None:
    """Such commits landed; then git lists steps of main, the forge's too, as those of a branch."""
    node = team.node()
    team.branch("one")
    team.commit("One", {"one": "one\n"}, by="bob")
    team.main()
    team.press_merge("one")
    team.settle()
    team.branch("early")
    early = team.commit("Early", {"early": "early\n"}, by="bob")
    team.main()
    long_ago(team, "ann")
    team.settle()
    team.press_merge("early")
    team.publish()
    verdicts = node.verdicts()
    assert not any(each.problem for each in verdicts)
    assert early in {each.id for each in verdicts if each.kind == "side"}
    team.settle()


@pytest.mark.parametrize("team", ['mainline = "merge"\n' + ROLES], indirect=True)
def test_what_main_has_is_merged_by_nobody_after_a_wrong_clock(team: Team) -> None:
    node = team.node()
    team.branch("side")
    has = team.commit("On the side", {"side": "side\n"}, by="ann")
    long_ago(team, "ann")
    team.main()
    team.merge("side", by="ann")
    team.settle()
    team.branch("straight")
    team.commit("Straight", {"straight": "straight\n"}, by="ann")
    put(team, made_of(team, "straight", "main", has, by="ann"))
    assert "it merges nothing" in refused(node).message
