"""The printed repair of nodes that trust different commits, were away, or revoked a key."""

import pytest

from wgmesh.trust import chain, side, verdict

from .landing import STRICTEST, TWO, land, put
from .team import NOW, ROLES, SIGNERS, Team, refused


def test_the_repair_of_a_node_that_was_away_loses_nothing_that_was_accepted(team: Team) -> None:
    away, there = team.node(), team.node()
    for number in range(3):
        team.commit(f"Work {number}", {f"work{number}": "x\n"}, by="ops")
    team.commit("Bob is out", {SIGNERS: team.keys.signers("ops", "ann", "forge")}, by="ops")
    good = team.publish()
    there.look()
    team.commit("Bad", {"bad": "bad\n"}, by=None)
    team.publish()
    commands = {refused(node).hint.splitlines()[-1] for node in (away, there)}
    assert len(commands) == 1, "both print the same"
    healed = team.run(commands.pop(), "ops")
    for node in (away, there):
        assert node.look().id == healed
    assert team.work.tree(healed) == team.work.tree(good)


@pytest.mark.parametrize("team", ['mainline = "merge"\n' + ROLES, TWO, STRICTEST], indirect=True)
def test_the_repair_of_more_than_is_looked_at(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "MOST_SIDE_COMMITS", 9)
    node = team.node()
    land(team, "first", "ann", "bob")
    good = team.head
    for number in range(10):
        team.commit("Junk", {"junk": f"{number}\n"}, by=None)
    team.publish()
    healed = team.run(refused(node).hint.splitlines()[-1], "ops")
    assert node.look().id == healed
    assert team.work.tree(healed) == team.work.tree(good)


@pytest.mark.parametrize(
    ("team", "aside"),
    [
        (ROLES, False),
        ('mainline = "merge"\n' + ROLES, False),
        (TWO, True),
        ('side_commits = "signed"\n' + ROLES, True),
    ],
    indirect=["team"],
)
def test_the_repair_of_a_push_without_a_change(team: Team, aside: bool) -> None:
    """Where more than its signer is asked, it has to show that it takes nothing: by other files."""
    node = team.node()
    good = team.head
    team.commit("Bad", {"bad": "bad\n"}, by=None)
    team.publish()
    assert "Merged away" not in refused(node).hint
    put(team, good)
    team.commit("Nothing", by=None)
    team.publish()
    command = refused(node).hint.splitlines()[-1]
    assert ("Merged away" in command) is aside
    healed = team.run(command, "ops")
    assert node.look().id == healed
    assert team.work.tree(healed) == team.work.tree(good)


def test_a_node_where_the_key_is_revoked_says_how_to_keep_what_it_signed(team: Team) -> None:
    node = team.node()
    team.commit("By ann", {"work": "x\n"}, by="ann")
    team.commit("Ann is out", {SIGNERS: team.keys.signers("ops", "bob", "forge")}, by="ops")
    team.publish()
    node.revoked = (team.keys.fingerprint("ann"),)
    assert "wgmesh trust reanchor COMMIT" in refused(node).hint


def test_nodes_that_trust_different_commits_need_an_admin(team: Team) -> None:
    """One was served a pull request's tip; an admin's repair, and none of an editor, is for all."""
    one, other = team.node(), team.node()
    team.branch("pull")
    team.commit("A pull request", {"pull": "x\n"}, by="ann")
    team.publish()
    one.look()
    team.main()
    team.commit("Main", {"main": "x\n"}, by="bob")
    team.publish()
    other.look()
    error = refused(one)
    assert "an admin, where nodes trust different commits" in error.hint
    healed = team.run(error.hint.splitlines()[-1], "ops")
    for node in (one, other):
        assert node.look().id == healed


def test_what_is_trusted_is_not_held_against_the_clock_again(team: Team) -> None:
    node, first = team.node(), team.head
    files = {
        SIGNERS: team.keys.signers("ops", "ann", "bob", "forge", ann='valid-before="20240101"')
    }
    team.commit("Ann until 2024", files, by="ops")
    team.commit("By ann", {"work": "x\n"}, by="ann")
    tip = team.settle()
    later = NOW + 10 * 365 * 86_400
    assert chain.verify(node.repository, tip, tip, now=later).id == tip
    found = list(verdict.judge(node.repository, first, tip, now=None))
    assert [each.problem for each in found] == [None, None]


def test_verdicts_go_on_after_trust_files_that_are_none(team: Team) -> None:
    node = team.node()
    team.branch("work")
    team.commit("Work", {"work": "x\n"}, by="ann")
    team.main()
    wrong = team.commit("No signers", {SIGNERS: None}, by="ops")
    merged = team.merge("work", by="ops")
    again = team.commit("Again", {SIGNERS: team.keys.signers("ops", "ann", "bob", "forge")})
    team.publish()
    found = {each.id: each.problem for each in node.verdicts()}
    assert [*found] == [wrong, merged, again]
    assert all("no allowed_signers" in (problem or "") for problem in found.values())
