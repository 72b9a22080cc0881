"""What nodes must accept, with whom they take for the signer; the twins of what they refuse."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from wgmesh.agent import fetch
from wgmesh.trust import chain

from .team import PEOPLE, ROLES, RULES, SIGNERS, Node, Team, refused

SIGNED = 'side_commits = "signed"\n' + ROLES
MERGES = 'mainline = "merge"\n' + ROLES
TWO = "approvals = 2\n" + ROLES


@dataclass(frozen=True)
class Scenario:
    """A push: `make` leaves the tip checked out; `kinds` has the verdicts, oldest first."""

    make: Callable[[Team], object]
    signer: str
    kinds: tuple[str, ...]
    rules: str


SCENARIOS: list[Scenario] = []


def scenario(
    signer: str, *kinds: str, rules: str = ROLES
) -> Callable[[Callable[[Team], object]], Callable[[Team], object]]:
    """Enter a scenario: who answers for the tip, and a kind for each commit up to it."""

    def enter(make: Callable[[Team], object]) -> Callable[[Team], object]:
        SCENARIOS.append(Scenario(make, signer, kinds, rules))
        return make

    return enter


# ---------------------------------------------------------------- steps


@scenario("ann", "step", "step", "step")
def people_step_by_step(team: Team) -> None:
    for name in ("ops", "bob", "ann"):
        team.commit(f"By {name}", {name: name}, by=name)


@scenario("ann", "step")
def written_by_somebody_else(team: Team) -> None:
    author = {"GIT_AUTHOR_NAME": "Eve", "GIT_AUTHOR_EMAIL": "eve@evil"}
    team.work.commit("By Eve", {"x": "x"}, sign="ann", **author)


@scenario("ops", "step", "step", rules="")
def everyone_is_an_admin_without_roles(team: Team) -> None:
    team.commit("Eve may", {SIGNERS: team.keys.signers(*PEOPLE, "eve")}, by="bob")
    team.commit("Eve may not", {SIGNERS: team.keys.signers(*PEOPLE)})


@scenario("eve", "step", "step")
def a_new_signer(team: Team) -> None:
    team.commit("Eve may", {SIGNERS: team.keys.signers(*PEOPLE, "forge", "eve")})
    team.commit("By Eve", {"x": "x"}, by="eve")


@scenario("ann", "step", "step")
def a_new_admin(team: Team) -> None:
    rules = ROLES.replace('"ops@example.com"', '"ops@example.com", "ann@example.com"')
    team.commit("Ann decides too", {RULES: rules})
    team.commit("Eve may", {SIGNERS: team.keys.signers(*PEOPLE, "forge", "eve")}, by="ann")


@scenario("ops", "step", "step")
def an_expired_key_on_an_inner_step(team: Team) -> None:
    expired = team.keys.signers(*PEOPLE, "forge", bob='valid-before="20200101Z"')
    team.commit("Bob has expired", {SIGNERS: expired})
    team.settle()
    team.commit("By Bob", {"x": "x"}, by="bob")
    team.commit("On top", {"y": "y"})


# ---------------------------------------------------------------- merges by hand


@scenario("ann", "side", "side", "step")
def unsigned_side_commits(team: Team) -> None:
    team.branch()
    team.commit("One", {"x": "x"}, by=None)
    team.commit("Two", {"x": "y"}, by="eve")
    team.main()
    team.merge(by="ann")


@scenario("ann", "side", "side", "step", rules=SIGNED)
def signed_side_commits_where_all_are_signed(team: Team) -> None:
    team.branch()
    team.commit("One", {"x": "x"}, by="bob")
    team.commit("Two", {"x": "y"}, by="ops")
    team.main()
    team.merge(by="ann")


@scenario("ann", "side", "step")
def a_removed_key_on_an_old_base(team: Team) -> None:
    team.branch()
    team.commit("Bob's old branch", {"x": "x"}, by="bob")
    team.main()
    team.commit("Bob leaves", {SIGNERS: team.keys.signers("ops", "ann", "forge")})
    team.settle()
    team.merge(by="ann")


@scenario("ann", "side", "step")
def an_old_branch_merged_by_an_editor(team: Team) -> None:
    """Merge a branch with an older allowed_signers, which does not change main's."""
    team.branch()
    team.commit("From before", {"x": "x"}, by="bob")
    team.main()
    team.commit("Eve may", {SIGNERS: team.keys.signers(*PEOPLE, "forge", "eve")})
    team.settle()
    team.merge(by="ann")


@scenario("ann", "side", "step", rules=MERGES)
def a_merge_on_a_mainline_of_merges(team: Team) -> None:
    team.branch()
    team.commit("Proposed", {"x": "x"}, by=None)
    team.main()
    team.merge(by="ann")


# ---------------------------------------------------------------- approvals


@scenario("ann", "side", "side", "step", rules=TWO)
def approved_by_another(team: Team) -> None:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.approve("bob")
    team.main()
    team.merge(by="ann")


@scenario("bob", "side", "step", rules=TWO)
def merged_by_the_other(team: Team) -> None:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.main()
    team.merge(by="bob")


@scenario("bob", "side", "side", "step", rules=TWO)
def approved_while_main_moved_on(team: Team) -> None:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.main()
    team.branch("other")
    team.commit("Another", {"y": "y"}, by="ops")
    team.approve("ann")
    team.main()
    team.merge("other", by="ops")
    team.settle()
    team.work.git("checkout", "--quiet", "side")
    team.approve("ops")
    team.main()
    team.merge(by="bob")


@scenario("forge", "side", "side", "forge merge", rules=TWO)
def a_forge_merge_with_two_approvals(team: Team) -> None:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.approve("bob")
    team.main()
    team.press_merge()


# ---------------------------------------------------------------- the forge's button


@scenario("forge", "side", "forge merge", rules=MERGES)
def a_forge_merge(team: Team) -> None:
    team.branch()
    team.commit("Proposed", {"x": "x"}, by="ann")
    team.main()
    team.press_merge()


@scenario("forge", "side", "side", "forge merge")
def a_forge_merge_of_two_changes_to_one_file(team: Team) -> None:
    team.branch()
    team.commit("The end", {"mesh.toml": "a\nb\nc\nd\nE\n"}, by="ann")
    team.commit("A move", {"moved.toml": "a\nb\nc\nd\nE\n", "mesh.toml": None}, by="bob")
    team.main()
    team.commit("The beginning", {"mesh.toml": "A\nb\nc\nd\ne\n"})
    team.settle()
    team.press_merge()


@scenario("forge", "side", "forge merge")
def a_forge_merge_of_an_old_branch(team: Team) -> None:
    """Have the trust files that merging gives: those of main, not of the branch."""
    team.branch()
    team.commit("From before", {"x": "x"}, by="ann")
    team.main()
    team.commit("Eve may", {SIGNERS: team.keys.signers(*PEOPLE, "forge", "eve")})
    team.settle()
    team.press_merge()


@scenario("forge", "side", "side", "forge merge")
def a_forge_merge_of_an_admins_change_of_signers(team: Team) -> None:
    team.branch()
    team.commit("Eve may", {SIGNERS: team.keys.signers(*PEOPLE, "forge", "eve")})
    team.commit("And a node", {"x": "x"}, by="ann")
    team.main()
    team.press_merge()


@scenario("forge", "side", "side", "forge merge")
def a_forge_merge_of_a_branch_updated_by_hand(team: Team) -> None:
    team.branch()
    team.commit("Proposed", {"x": "x"}, by="ann")
    team.main()
    team.commit("Meanwhile", {"y": "y"})
    team.settle()
    team.work.git("checkout", "--quiet", "side")
    team.merge("main", by="bob")
    team.main()
    team.press_merge()


@scenario("ops", "side", "forge merge", "side", "forge merge", "step")
def forge_merges_one_after_another(team: Team) -> None:
    for name in ("one", "two"):
        team.branch(name)
        team.commit(name, {name: name}, by="ann")
        team.main()
        team.press_merge(name)
    team.commit("On top", {"z": "z"})


# ---------------------------------------------------------------- joins


@scenario("ops", "side", "join", "step")
def joined_by_an_admin(team: Team) -> None:
    """Have main's own commits as the second parent, as after git pull && git push."""
    team.branch("local")
    team.commit("Local", {"x": "x"}, by="ann")
    team.main()
    team.commit("Meanwhile", {"y": "y"})
    team.settle()
    team.work.git("checkout", "--quiet", "local")
    team.merge("main", by="ops")
    team.commit("On top", {"z": "z"})


# ---------------------------------------------------------------- the tests


@pytest.fixture
def node(team: Team) -> Node:
    return team.node()


@pytest.mark.parametrize(
    ("each", "team"),
    [pytest.param(each, each.rules, id=each.make.__name__) for each in SCENARIOS],
    indirect=["team"],
)
def test_accepted(each: Scenario, team: Team, node: Node) -> None:
    each.make(team)
    tip = team.publish()
    verdicts = node.verdicts()
    assert tuple(found.kind for found in verdicts) == each.kinds
    assert [found.problem for found in verdicts] == [None] * len(verdicts)
    found = node.look()
    assert found.id == tip
    assert found.signer == f"{each.signer}@example.com"
    assert found.fingerprint == team.keys.fingerprint(each.signer)
    assert (verdicts[-1].id, verdicts[-1].signer) == (tip, found.signer)


def served_a_pull_request(team: Team, node: Node) -> str:
    """Serve the tip of a pull request as main, which the node trusts; return it."""
    team.branch()
    tip = team.commit("Pull request", {"nodes/a.toml": "a"}, by="ann")
    team.publish()
    assert node.look().id == tip
    team.main()
    team.commit("Meanwhile", {"y": "y"})
    return tip


def test_a_pull_requests_tip_then_true_main_merged_by_an_admin(team: Team, node: Node) -> None:
    served_a_pull_request(team, node)
    other = team.node()
    team.merge(by="ops")
    tip = team.publish()
    assert node.look().id == other.look().id == tip


@pytest.mark.parametrize("by", ["bob", "forge"])
def test_a_pull_requests_tip_then_true_main_merged_by_another(
    team: Team, node: Node, by: str
) -> None:
    """Whoever trusts the pull request's tip needs an admin; all nodes accept what he makes."""
    served = served_a_pull_request(team, node)
    other = team.node()
    merge = team.merge(by=by)
    team.publish()
    assert other.look().id == merge
    error = refused(node)
    assert error.commit == merge
    assert f"has {served[:12]} elsewhere than as first parent" in error.message
    healed = team.run(error.hint.splitlines()[-1], "ops")
    assert node.look().id == other.look().id == healed


def test_a_bad_push_on_top_of_a_repair(team: Team, node: Node) -> None:
    """Each refusal starts from what is trusted by then, however often."""
    for number in range(3):
        team.commit(f"Evil {number}", {"mesh.toml": f"evil {number}"}, by="eve")
        team.publish()
        error = refused(node)
        assert node.trusted[:12] in error.hint
        team.run(error.hint.splitlines()[-1], "bob")
        node.look()


def test_revoked_here_and_nowhere_else(team: Team, node: Node) -> None:
    """A revocation wins over what the repository says; the repair is accepted by all nodes."""
    other = team.node()
    node.revoked = (team.keys.fingerprint("ann"),)
    bad = team.commit("By Ann", {"x": "x"}, by="ann")
    team.commit("On top", {"y": "y"})
    team.publish()
    other.look()
    error = refused(node)
    assert error.commit == bad and "revoked on this node" in error.message
    healed = team.run(error.hint.splitlines()[-1], "ops")
    assert node.look().id == other.look().id == healed


@pytest.mark.parametrize("team", [ROLES, SIGNED, MERGES, TWO], indirect=True)
def test_a_trusted_tip_whose_signer_is_revoked_is_signed_again(team: Team, node: Node) -> None:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.approve("bob")
    team.main()
    team.merge(by="ann")
    tip = team.publish()
    assert node.look().id == tip
    other = team.node()
    node.revoked = (team.keys.fingerprint("ann"),)
    error = refused(node)
    assert error.commit == tip and "revoked on this node" in error.message
    healed = team.run(error.hint.splitlines()[-1], "ops")
    assert healed != tip
    assert node.look().id == other.look().id == healed
    assert team.work.tree(healed) == team.work.tree(tip)


def test_the_last_admin_revoked_here_or_expired_stops_no_editor(team: Team, node: Node) -> None:
    """Only a commit that changes trust files can be to blame for what they leave."""
    node.revoked = (team.keys.fingerprint("ops"),)
    team.commit("By ann", {"x": "x"}, by="ann")
    tip = team.publish()
    assert node.look().id == tip
    node.revoked = ()
    expiring = team.keys.signers(*PEOPLE, "forge", ops='valid-before="20240101Z"')
    team.commit("Ops until the end of the year", {SIGNERS: expiring})
    team.settle()
    team.commit("By bob", {"y": "y"}, by="bob")
    tip = team.publish()
    later = 1_800_000_000
    found = chain.verify(node.repository, node.trusted, node.fetch(), now=later)
    assert found.id == tip


def test_a_change_of_signers_below_the_tip_must_leave_an_admin_by_now(
    team: Team, node: Node
) -> None:
    expired = team.keys.signers(*PEOPLE, "forge", ops='valid-before="20200101Z"')
    bad = team.commit("Ops has expired", {SIGNERS: expired})
    tip = team.commit("On top", {"x": "x"}, by="ann")
    team.publish()
    error = refused(node)
    assert error.commit == tip and bad != tip
    assert "leave no usable admin" in error.message
    assert node.verdicts()[-1].problem == error.message
    healed = team.run(error.hint.splitlines()[-1], "bob")
    assert node.look().id == healed


def test_an_annotated_tag_at_the_branch_is_no_commit(team: Team, node: Node) -> None:
    """A server may put one there, which git itself would not; the repair takes it away again."""
    trusted = team.head
    team.commit("Next", {"x": "x"})
    team.work.git("tag", "-a", "-m", "A tag", "main-tag")
    tag = team.work.git("rev-parse", "main-tag")
    team.work.git("push", "--quiet", "origin", "main-tag")
    (team.server / "refs" / "heads" / "main").write_text(f"{tag}\n")
    error = refused(node)
    assert error.commit == tag and f"{tag[:12]} is a tag, not a commit" in error.message
    healed = team.run(error.hint.splitlines()[-1], "ann")
    assert node.look().id == healed
    assert team.work.tree(healed) == team.work.tree(trusted)


def test_one_admin_left_is_told_once(team: Team, node: Node) -> None:
    two = ROLES.replace('"ops@example.com"', '"ops@example.com", "ann@example.com"')
    both = team.commit("Ann decides too", {RULES: two})
    later = team.commit("A change", {"x": "x"})
    alone = team.commit("Ann no more", {RULES: ROLES})
    last = team.commit("Another change", {"y": "y"})
    team.settle()

    def risks(tip: str, before: str | None, revoked: tuple[str, ...] = ()) -> list[str]:
        return fetch.new_risks(node.repository, revoked, tip, before)

    assert risks(later, both) == risks(both, None) == []
    (told,) = risks(alone, later)
    assert told.startswith("ops@example.com alone may change who signs")
    assert risks(last, alone) == [] and risks(last, later) == risks(last, None) == [told]
    (gone,) = risks(last, both, (team.keys.fingerprint("ops"),))
    assert gone.startswith("nobody is left")


@pytest.mark.parametrize("team", [TWO], indirect=True)
def test_a_revoked_key_approves_nothing_and_merges_nothing(team: Team, node: Node) -> None:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.approve("bob")
    team.main()
    tip = team.press_merge()
    team.publish()
    for name in ("bob", "forge"):
        node.revoked = (team.keys.fingerprint(name),)
        assert "revoked on this node" in refused(node).message
    team.work.git("reset", "--quiet", "--hard", "HEAD~1")
    tip = team.merge(by="ann")
    team.publish()
    bob = team.keys.fingerprint("bob")
    node.revoked = (bob,)
    assert "approvals = 2, but 1 signed it" in refused(node).message
    node.revoked = ()
    found = node.look()
    assert (found.id, found.relies_on) == (tip, (bob,))
    assert fetch.rests_on_any(found, [bob]) and not fetch.rests_on_any(found, ["SHA256:x"])
    assert chain.describe(node.repository, tip) == found
    node.revoked = (bob,)
    assert "approvals = 2, but 1 signed it" in refused(node).message  # although it is trusted


@pytest.mark.parametrize("team", [ROLES, TWO, SIGNED], indirect=True)
def test_who_signed_what_a_forge_merged_is_revoked_afterwards(team: Team, node: Node) -> None:
    team.branch()
    for name in ("ann", "bob", "ops"):
        team.commit("Ours", {name: name}, by=name)
    for name in ("ann", "bob"):
        team.approve(name)
    team.main()
    tip = team.press_merge()
    team.publish()
    found = node.look()
    keys = {name: team.keys.fingerprint(name) for name in PEOPLE}
    assert found.signer == "forge@example.com"
    assert set(found.relies_on) == set(keys.values())
    assert chain.describe(node.repository, tip) == found
    other = team.node()
    node.revoked = (keys["bob"],)
    error = refused(node)
    assert error.commit == team.work.git("rev-parse", "side")
    assert "revoked on this node" in error.message
    healed = team.run(error.hint.splitlines()[-1], "ann")
    assert node.look().id == other.look().id == healed
