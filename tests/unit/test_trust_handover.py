"""Whose word counts when trust files change: who was there before, is valid now, and saw it."""

import pytest

from wgmesh.trust.commit import Commit
from wgmesh.trust.signature import Signatures, Signed

from .landing import EXPIRED, TWO, TWO_ADMINS, expire, put
from .team import RULES, SIGNERS, Team, refused

NOBODY = "nobody of {} who is valid now signed above it"


@pytest.mark.parametrize("team", [TWO_ADMINS], indirect=True)
@pytest.mark.parametrize("renewed", [True, False])
def test_an_expired_admin_neither_renews_the_key_nor_names_others(
    team: Team, renewed: bool
) -> None:
    node = team.node()
    expire(team, "ann")
    good = team.head
    everyone = team.keys.signers("ops", "ann", "bob", "forge")
    text = (
        everyone if renewed else team.keys.signers("ops", "ann", "bob", "eve", "forge", ann=EXPIRED)
    )
    change = team.commit("Hand over", {SIGNERS: text}, by="ann")
    tip = team.commit("Evil", {"mesh.toml": "evil\n"}, by="ann" if renewed else "eve")
    team.publish()
    error = refused(node)
    assert "who is valid now signed above it" in error.message
    assert error.commit == change
    assert f"--detach {good}" in error.hint.splitlines()[-1]
    problems = {each.id: each.problem for each in node.verdicts()}
    assert problems[change] == error.message and problems[tip] is None
    # somebody who was there before, and is valid, says yes
    team.commit("Seen", by="bob")
    team.publish()
    assert node.look().id == team.head


def one_is_enough(team: Team) -> str:
    """Let ops and ann, whose key has expired, change signers and rules; returns main's tip."""
    files = {SIGNERS: team.keys.signers("ops", "ann", "bob", "eve", "forge"), RULES: TWO_ADMINS}
    team.branch("change")
    team.commit("One is enough", files, by="ann")
    team.main()
    return team.merge("change", by="ops")


def hand_over(team: Team, number: int = 0) -> str:
    """Let ann, whose key has expired, change the signers on a branch; returns its name."""
    text = team.keys.signers("ops", "ann", "bob", "eve", "forge", ann=EXPIRED)
    team.branch("change")
    team.commit("Eve may", {SIGNERS: f"{text}# {number}\n"}, by="ann")
    return "change"


@pytest.mark.parametrize("team", [TWO_ADMINS], indirect=True)
def test_who_signs_a_branch_above_answers_for_a_change_of_signers(team: Team) -> None:
    """With the button no step is a person's; bob knows the change, and lets it stand."""
    node = team.node()
    expire(team, "ann")
    team.branch("before")
    team.commit("Not knowing", {"before": "before\n"}, by="bob")
    team.main()
    name = hand_over(team)
    team.main()
    team.press_merge(name)
    team.press_merge("before")
    team.publish()
    assert "who is valid now signed above it" in refused(node).message
    for name in ("one", "two"):
        team.branch(name)
        team.commit(name, {name: name}, by="bob")
    team.main()
    team.press_merge("one")
    team.press_merge("two")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", [TWO_ADMINS], indirect=True)
def test_who_takes_a_change_of_signers_back_does_not_answer_for_it(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    good = team.head
    hand_over(team)
    change = team.head
    team.branch("back")
    team.work.git("revert", "--no-edit", change, sign="ops")
    team.main()
    put(team, change)
    team.merge("back", "-s", "ours", by="eve")
    team.publish()
    error = refused(node)
    assert "who is valid now signed above it" in error.message
    assert error.commit == change
    healed = team.run(error.hint.splitlines()[-1], "ops")
    assert node.look().id == healed
    assert good in team.work.git("rev-list", healed).split()


@pytest.mark.parametrize("team", [TWO_ADMINS], indirect=True)
@pytest.mark.parametrize("how", ["back", "repair"])
def test_nor_when_only_the_change_of_signers_is_taken_back(team: Team, how: str) -> None:
    """Ann renews herself, brings in what ops signed against that, and keeps her other files."""
    node = team.node()
    expire(team, "ann")
    good = team.head
    everyone = team.keys.signers("ops", "ann", "bob", "forge")
    change = team.commit("Ann again", {SIGNERS: everyone}, by="ann")
    if how == "back":
        team.work.git("checkout", "--quiet", "-B", "honest", change)
        team.work.git("revert", "--no-edit", change, sign="ops")
    else:
        team.work.git("checkout", "--quiet", "-B", "honest", good)
        team.merge(change, "-s", "ours", by="ops")
    signers = team.work.git("show", f"{good}:{SIGNERS}") + "\n"
    team.main()
    put(team, change)
    team.commit("Evil", {SIGNERS: signers, "mesh.toml": "evil\n"}, by="ann")
    team.press_merge("honest")
    team.publish()
    error = refused(node)
    assert "who is valid now signed above it" in error.message
    assert error.commit == change


@pytest.mark.parametrize("team", ["approvals = 2\n" + TWO_ADMINS], indirect=True)
def test_two_sign_a_branch_on_a_change_of_signers(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    name = hand_over(team)
    team.approve("bob")
    team.main()
    change = team.merge(name, by="ann")
    team.publish()
    assert refused(node).commit == change
    team.branch("yes")
    team.approve("bob")
    team.main()
    team.merge("yes", by="eve")
    team.publish()
    assert refused(node).commit == change, "eve is there by it"
    put(team, change)
    team.merge("yes", by="ops")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", [TWO_ADMINS], indirect=True)
def test_who_signed_the_same_files_elsewhere_does_not_answer_for_a_change(team: Team) -> None:
    """Ops wrote the same, on a branch that lacks the change of ann; the button merges both."""
    node = team.node()
    expire(team, "ann")
    team.branch("apart")
    text = team.keys.signers("ops", "ann", "bob", "eve", "forge", ann=EXPIRED)
    team.commit("The same files", {SIGNERS: f"{text}# 0\n"}, by="ops")
    team.main()
    hand_over(team)
    change = team.head
    team.main()
    put(team, change)
    team.branch("top")
    team.merge("apart", by="eve")
    team.main()
    team.press_merge("top", "--no-ff")
    team.publish()
    assert refused(node).commit == change
    team.branch("seen")
    team.approve("ops")
    team.main()
    team.press_merge("seen", "--no-ff")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", ["approvals = 2\n" + TWO_ADMINS], indirect=True)
def test_two_sign_a_branch_that_the_button_merges(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    name = hand_over(team)
    team.approve("bob")
    team.main()
    team.merge(name, by="ann")
    team.branch("seen")
    for who in ("bob", "ops"):
        team.approve(who)
    team.main()
    team.press_merge("seen", "--no-ff")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", [TWO_ADMINS], indirect=True)
def test_one_branch_above_answers_for_several_changes_of_signers(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    for number in range(3):
        hand_over(team, number)
    change = team.head
    team.main()
    put(team, change)
    team.branch("seen")
    team.approve("bob")
    team.main()
    team.press_merge("seen", "--no-ff")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", ["approvals = 2\n" + TWO_ADMINS], indirect=True)
def test_who_signed_a_change_of_signers_is_not_above_it(team: Team) -> None:
    """Of two, one has expired: it takes two above, of whom each counts once."""
    node = team.node()
    expire(team, "ann")
    change = one_is_enough(team)
    team.commit("Seen", by="bob")
    team.publish()
    assert refused(node).commit == change
    team.commit("Seen too", by="ops")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", ["approvals = 2\n" + TWO_ADMINS], indirect=True)
def test_who_signed_the_second_change_of_signers_is_above_the_first_alone(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    text = team.keys.signers("ops", "ann", "bob", "eve", "forge", ann=EXPIRED)
    for files in ({SIGNERS: text}, {RULES: TWO_ADMINS}):
        team.branch("change")
        team.commit("A change", files, by="ann")
        team.main()
        change = team.merge("change", by="ops")
    team.commit("Seen", by="bob")
    team.publish()
    assert refused(node).commit == change
    team.commit("Seen too", by="ops")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", ["approvals = 2\n" + TWO_ADMINS], indirect=True)
def test_the_same_person_above_counts_once_and_hides_nobody(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    change = one_is_enough(team)
    for _ in range(2):
        team.commit("Seen", by="ops")
    team.publish()
    assert refused(node).commit == change
    put(team, change)
    for who in ("ops", "bob"):
        team.commit("Seen", by=who)
    team.branch("again")
    team.approve("bob")
    team.main()
    team.merge("again", "--no-ff", by="eve")
    team.publish()
    assert node.look().id == team.head


@pytest.mark.parametrize("team", ["approvals = 2\n" + TWO_ADMINS], indirect=True)
def test_who_agreed_and_thought_better_of_it_does_not_answer_for_a_change(team: Team) -> None:
    node = team.node()
    expire(team, "ann")
    change = one_is_enough(team)
    team.branch("doubt")
    team.approve("bob")
    team.work.git("revert", "-m", "1", "--no-edit", change, sign="bob")
    team.main()
    team.merge("doubt", "-s", "ours", by="ops")
    team.publish()
    assert refused(node).commit == change


@pytest.mark.parametrize("team", [TWO_ADMINS], indirect=True)
def test_many_changes_of_signers_cost_no_more_than_others(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = team.node()
    expire(team, "ann")
    for number in range(10):
        hand_over(team, number)
    for number in range(10):
        team.commit(f"Work {number}", {"work": f"{number}\n"}, by="eve")
    team.commit("Work", {"work": "bob\n"}, by="bob")
    for number in range(10):
        team.commit(f"Work {number}", {"work": f"{number}\n"}, by="eve")
    team.publish()
    checked, by = list[str](), Signatures.by

    def counted(self: Signatures, commit: Commit, *others: object) -> Signed:
        checked.append(commit.id)
        return by(self, commit, *others)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(Signatures, "by", counted)
    assert node.look().id == team.head
    assert len(checked) < 31 + 11 + 10 * 4, "each once, from the tip to bob's, and some per change"


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
