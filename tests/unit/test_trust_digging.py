"""What one person, a forge or an expired key may not bring about by what was signed long ago.

A signature on a branch says yes to what that branch did then: not to what its files would undo now.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wgmesh.trust import chain, side
from wgmesh.trust.authority import Authorities
from wgmesh.trust.commit import Commit
from wgmesh.trust.signature import Signatures, Signed

from .signing import Keys
from .team import NOW, ROLES, RULES, SIGNERS, Team, refused

TWO = "approvals = 2\n" + ROLES
STRICTEST = 'approvals = 2\nside_commits = "signed"\nmainline = "merge"\n' + ROLES
TWO_ADMINS = ROLES.replace('"ops@example.com"]', '"ops@example.com", "ann@example.com"]')
EXPIRED = 'valid-before="20200101"'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys")).make()


@pytest.fixture
def team(tmp_path: Path, keys: Keys, request: pytest.FixtureRequest) -> Iterator[Team]:
    made = Team.meet(tmp_path, keys, getattr(request, "param", ROLES))
    yield made
    made.close()


def made_of(team: Team, tree: str, *parents: str, by: str) -> str:
    """Sign a commit of a tree and parents that git's commands would not make."""
    options = [word for each in parents for word in ("-p", team.work.git("rev-parse", each))]
    tree = team.work.git("rev-parse", f"{tree}^{{tree}}")
    return team.work.git("commit-tree", "-S", tree, *options, "-m", "Bring up to date", sign=by)


def put(team: Team, commit: str) -> str:
    """Have main be a commit, and publish it."""
    team.work.git("reset", "--quiet", "--hard", commit)
    return team.publish()


def branch_of(team: Team, name: str, commit: str) -> str:
    """Call a commit a branch; returns the name."""
    team.work.git("branch", "--force", name, commit)
    return name


def land(team: Team, name: str, by: str, approved_by: str) -> None:
    """Land a change as two people do."""
    team.branch(name)
    team.commit(name, {name: f"{name}\n"}, by=by)
    team.main()
    team.merge(name, by=approved_by)


def only_files(team: Team) -> set[str]:
    """Return the names of the files of main."""
    return set(team.work.git("ls-tree", "--name-only", "main").split())


# ---------------------------------------------------------------- old branches


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


# ---------------------------------------------------------------- dates that are made up

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


# ---------------------------------------------------------------- keys that have expired


def expire(team: Team, who: str) -> None:
    """Let a key have expired, and every node know it."""
    options = {who: EXPIRED}
    files = {SIGNERS: team.keys.signers("ops", "ann", "bob", "forge", **options)}
    team.branch("expiry")
    team.commit(f"{who} has expired", files, by="ops")
    team.approve("ann" if who != "ann" else "bob")
    team.main()
    team.merge("expiry", by="ops")
    team.settle()


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


# ---------------------------------------------------------------- the repair


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
    found = list(chain.judge(node.repository, first, tip, now=None))
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
