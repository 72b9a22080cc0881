"""Whose word counts when trust files change: who was there before, is valid now, and saw it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .signing import Keys
from .team import ROLES, RULES, SIGNERS, Team, refused

TWO = "approvals = 2\n" + ROLES
EXPIRED = 'valid-before="20200101"'
NOBODY = "nobody of {} who is valid now signed above it"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys")).make()


@pytest.fixture
def team(tmp_path: Path, keys: Keys, request: pytest.FixtureRequest) -> Iterator[Team]:
    made = Team.meet(tmp_path, keys, getattr(request, "param", ROLES))
    yield made
    made.close()


def landed(team: Team, subject: str, files: dict[str, str | None], *people: str) -> str:
    """Land a change that these people sign, the last of them by merging it; returns main's tip."""
    team.branch("change")
    for number, who in enumerate(people[:-1] or people):
        team.commit(subject, {} if number else files, by=who)
    team.main()
    return team.merge("change", by=people[-1])


def handed_over(team: Team, *, approved_by: tuple[str, ...] = ()) -> str:
    """Let ops expire, and name eve afterwards; returns that commit. Nodes trust the one before."""
    people = (*approved_by, "ops")
    listed = team.keys.signers("ops", "ann", "bob", "forge", ops=EXPIRED)
    rules = (team.work.path / RULES).read_text().replace('"ops@', '"ann@example.com", "ops@')
    landed(team, "ops expires", {SIGNERS: listed, RULES: rules}, *people)
    team.settle()
    more = team.keys.signers("ops", "ann", "bob", "eve", "forge", ops=EXPIRED)
    return landed(team, "Name eve", {SIGNERS: more}, *people)


def test_a_newcomer_on_top_does_not_hide_who_was_there(team: Team) -> None:
    node = team.node()
    handed_over(team)
    team.commit("Seen", by="bob")
    team.commit("By eve", {"eve": "eve\n"}, by="eve")
    team.publish()
    assert node.look().id == team.head


def test_the_forge_is_nobody_who_has_seen_it(team: Team) -> None:
    node = team.node()
    change = handed_over(team)
    team.branch("side")
    team.commit("By eve", {"eve": "eve\n"}, by="eve")
    team.main()
    team.press_merge("side")
    team.publish()
    error = refused(node)
    assert error.commit == change
    assert NOBODY.format(node.trusted[:12]) in error.message


@pytest.mark.parametrize("team", [TWO], indirect=True)
@pytest.mark.parametrize("second", ["ann", "bob"])
def test_several_have_seen_it_one_after_the_other(team: Team, second: str) -> None:
    """Who merges says so; whose commit is merged may not have known it."""
    node = team.node()
    change = handed_over(team, approved_by=("ann",))
    landed(team, "One", {"one": "1\n"}, "eve", "ann")
    team.publish()
    assert refused(node).commit == change
    landed(team, "Two", {"two": "2\n"}, "eve", second)
    team.publish()
    if second == "ann":
        assert refused(node).commit == change
    else:
        assert node.look().id == team.head


def test_an_admins_word_on_another_history_is_none(team: Team) -> None:
    """What ops once signed, of a mesh of other people, is brought along by an editor."""
    node = team.node()
    main = team.head
    listed = team.keys.signers("ops", "ann", "bob", "eve", "forge")
    team.work.git("checkout", "--quiet", "--orphan", "elsewhere")
    team.commit("A mesh with eve", {SIGNERS: listed})
    team.main()
    team.branch("side")
    options = ("--allow-unrelated-histories", "-X", "theirs")
    team.merge("elsewhere", *options, by="ann")
    assert team.work.git("show", f"HEAD:{SIGNERS}").strip() == listed.strip()
    team.main()
    assert team.head == main
    bad = team.press_merge("side")
    team.publish()
    error = refused(node)
    assert error.commit == bad
    assert "changes allowed_signers, which no admin signed on the branch" in error.message
