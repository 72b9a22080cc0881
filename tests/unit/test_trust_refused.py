"""What nodes must refuse, why, and that the printed repair heals every node.

Each scenario is one push. A node that saw it refuses it, names the commit and the rule, and prints
a command; that is run as it is by somebody who may, without a forced push, and then both that node
and one that never saw the bad tip go on, with the files from before.
"""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from wgmesh.errors import RefusedError
from wgmesh.gpgv import Gpgv
from wgmesh.trust import chain

from .signing import EPOCH, environment
from .team import NOW, PEOPLE, ROLES, RULES, SIGNERS, Team, refused

SIGNED = 'side_commits = "signed"\n' + ROLES
MERGES = 'mainline = "merge"\n' + ROLES
TWO = "approvals = 2\n" + ROLES


@dataclass(frozen=True)
class Scenario:
    """A push: `make` leaves the bad tip checked out and returns the commit that is to blame."""

    make: Callable[[Team], str]
    rule: str
    rules: str
    instead: str
    repaired_by: str

    @property
    def leads_on(self) -> bool:
        """Whether the bad tip descends from what nodes trust."""
        return not self.rule.startswith(("main was", "its history"))


SCENARIOS: list[Scenario] = []


def scenario(
    rule: str, *, rules: str = ROLES, instead: str = "", repaired_by: str = "ann"
) -> Callable[[Callable[[Team], str]], Callable[[Team], str]]:
    """Enter a scenario: a part of the message, and of what it says works instead."""

    def enter(make: Callable[[Team], str]) -> Callable[[Team], str]:
        SCENARIOS.append(Scenario(make, rule, rules, instead, repaired_by))
        return make

    return enter


# ---------------------------------------------------------------- who signed


@scenario("it is not signed", instead="git commit -S")
def unsigned_tip(team: Team) -> str:
    return team.commit("Evil \x1b[2J thing", {"mesh.toml": "evil"}, by=None)


@scenario("it is not signed")
def unsigned_step_under_a_signed_tip(team: Team) -> str:
    bad = team.commit("Unsigned", {"mesh.toml": "evil"}, by=None)
    team.commit("Signed", {"x": "x"})
    return bad


@scenario("allowed_signers of {first} does not name", instead="an admin adds the key first")
def unknown_key(team: Team) -> str:
    return team.commit("By Eve", {"mesh.toml": "evil"}, by="eve")


@scenario("does not name")
def removed_key(team: Team) -> str:
    team.commit("Bob leaves", {SIGNERS: team.keys.signers("ops", "ann", "forge")})
    team.settle()
    return team.commit("Bob again", {"mesh.toml": "evil"}, by="bob")


@scenario("does not name")
def own_key_added(team: Team) -> str:
    files: dict[str, str | None] = {SIGNERS: team.keys.signers(*PEOPLE, "forge", "eve")}
    return team.commit("Me too", files, by="eve")


@scenario("not made for the namespace 'git'")
def signed_as_a_file(team: Team) -> str:
    def sign(raw: bytes) -> bytes:
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "file"]
        argv += ["-f", str(team.keys.private("ops"))]
        armor = subprocess.run(
            argv, input=raw, capture_output=True, env=environment(team.work.path), check=True
        ).stdout
        head, _, message = raw.partition(b"\n\n")
        return head + b"\ngpgsig " + armor.rstrip().replace(b"\n", b"\n ") + b"\n\n" + message

    return checked_out(team, team.work.edit(team.commit("A file", by=None), sign))


@scenario("does not match")
def message_edited(team: Team) -> str:
    return edited(team, lambda raw: raw.replace(b"Good", b"Evil"))


@scenario("does not match")
def tree_exchanged(team: Team) -> str:
    tree = team.work.tree(team.commit("Elsewhere", {"mesh.toml": "evil"}, by=None)).encode()
    team.work.git("reset", "--quiet", "--hard", "HEAD~1")
    return edited(team, lambda raw: b"tree " + tree + raw[45:])


@scenario("does not match")
def parent_exchanged(team: Team) -> str:
    first = team.head.encode()
    later = team.commit("Later", {"x": "x"}).encode()
    team.settle()
    team.work.git("reset", "--quiet", "--hard", first.decode())
    return edited(team, lambda raw: raw.replace(b"parent " + first, b"parent " + later))


@scenario("a header follows its signature")
def header_after_the_signature(team: Team) -> str:
    return edited(team, lambda raw: raw.replace(b"\n\n", b"\nx-note evil\n\n", 1))


@scenario("more than one signature")
def two_signatures(team: Team) -> str:
    return edited(team, lambda raw: raw.replace(b"\n\n", b"\n" + header(raw) + b"\n", 1))


@scenario("not exactly one armored block")
def two_armors(team: Team) -> str:
    return edited(team, lambda raw: raw.replace(b"\n\n", b"\n" + header(raw)[6:] + b"\n", 1))


@scenario("signed for SHA-256 repositories only")
def signed_for_another_hash(team: Team) -> str:
    return edited(team, lambda raw: raw.replace(b"\ngpgsig ", b"\ngpgsig-sha256 "))


@scenario("does not match")
def claims_a_trusted_key(team: Team) -> str:
    """Give an unsigned commit the signature of another, by a key that nodes trust."""
    trusted = header(team.work.raw(team.commit("Good", by="ops")))
    team.work.git("reset", "--quiet", "--hard", "HEAD~1")
    bad = team.commit("Evil", {"mesh.toml": "evil"}, by=None)
    return checked_out(
        team, team.work.edit(bad, lambda raw: raw.replace(b"\n\n", b"\n" + trusted + b"\n", 1))
    )


@scenario("not valid after 2020-01-01T00:00:00Z; by this node's clock it is {now}")
def backdated_by_an_expired_key(team: Team) -> str:
    expired = team.keys.signers(*PEOPLE, "forge", bob='valid-before="20200101Z"')
    team.commit("Bob has expired", {SIGNERS: expired})
    team.settle()
    date = "2019-06-01T00:00:00Z"
    return team.work.commit(
        "Long ago", {"mesh.toml": "evil"}, sign="bob", GIT_COMMITTER_DATE=date, GIT_AUTHOR_DATE=date
    )


@scenario("it is not signed")
def replaced_by_a_signed_one(team: Team) -> str:
    bad = team.commit("Bad", {"mesh.toml": "evil"}, by=None)
    team.work.git("reset", "--quiet", "--hard", "HEAD~1")
    good = team.commit("Good")
    team.work.git("replace", bad, good)
    team.work.git("push", "--quiet", "origin", "refs/replace/*:refs/replace/*")
    for node in team.nodes:
        run_in(node.repository.path, "fetch", "--quiet", str(team.server), "+refs/*:refs/*")
    return checked_out(team, bad)


# ---------------------------------------------------------------- trust files


@scenario(
    "ann@example.com signed it, who is no admin in trust.toml of {first}, and it changes"
    " allowed_signers",
    instead="one of the admins signs it: ops@example.com",
)
def editor_changes_signers(team: Team) -> str:
    signers = team.keys.signers(*PEOPLE, "forge", "eve")
    return team.commit("Eve may", {SIGNERS: signers}, by="ann")


@scenario("it changes trust.toml")
def editor_makes_himself_admin(team: Team) -> str:
    return team.commit("All may", {RULES: ROLES.replace("ops", "ann")}, by="ann")


@scenario("it changes allowed_signers and trust.toml")
def editor_merges_a_change_of_signers(team: Team) -> str:
    team.branch()
    signers = team.keys.signers(*PEOPLE, "forge", "eve")
    team.commit("Eve may", {SIGNERS: signers, RULES: ROLES + "# all\n"}, by=None)
    team.main()
    return team.merge(by="ann")


@scenario("it changes openpgp")
def editor_adds_a_certificate(team: Team) -> str:
    return team.commit("A key", {f"openpgp/{'AB' * 20}.asc": "x"}, by="ann")


@scenario("it has no allowed_signers", instead="put allowed_signers back")
def signers_file_deleted(team: Team) -> str:
    return team.commit("Nobody", {SIGNERS: None})


@scenario("it has no allowed_signers", repaired_by="bob")
def signers_file_deleted_and_restored(team: Team) -> str:
    bad = team.commit("Nobody", {SIGNERS: None, RULES: None})
    team.work.git("revert", "--no-edit", "HEAD", sign="ops")
    return bad


@scenario("the role admin names 'ops@example.com', whom neither allowed_signers nor openpgp/ has")
def last_admin_removed(team: Team) -> str:
    return team.commit("Ops leaves", {SIGNERS: team.keys.signers("ann", "bob", "forge")})


@scenario("leave no usable admin")
def last_admin_expires(team: Team) -> str:
    signers = team.keys.signers(*PEOPLE, "forge", ops='valid-before="20200101Z"')
    return team.commit("Ops has expired", {SIGNERS: signers})


@scenario("leave nobody who could sign the next one")
def only_the_forge_is_left(team: Team) -> str:
    rules = '[roles]\nmerge = ["forge@example.com"]\n'
    return team.commit("Robots", {SIGNERS: team.keys.signers("forge"), RULES: rules})


@scenario("approvals = 4, but leaves 3 who can sign", repaired_by="ops")
def more_approvals_than_people(team: Team) -> str:
    return team.commit("Four eyes, and four more", {RULES: "approvals = 4\n" + ROLES})


@scenario("is a cert-authority", instead="name each signer")
def certificate_authority(team: Team) -> str:
    line = team.keys.signers("eve").replace(" ssh-", " cert-authority ssh-")
    return team.commit("A CA", {SIGNERS: team.keys.signers(*PEOPLE, "forge") + line})


@scenario("trust.toml has the unknown key 'approval'", instead="known are: approvals")
def rules_that_are_not_known(team: Team) -> str:
    return team.commit("Typo", {RULES: "approval = 2\n" + ROLES})


@scenario("has the roles admin and merge, but a forge's key is never a person")
def forge_as_admin(team: Team) -> str:
    rules = '[roles]\nadmin = ["forge@example.com"]\nmerge = ["forge@example.com"]\n'
    return team.commit("Trust the forge", {RULES: rules})


@scenario("its allowed_signers is a symbolic link, not a file")
def signers_file_is_a_link(team: Team) -> str:
    (team.work.path / SIGNERS).rename(team.work.path / "elsewhere")
    (team.work.path / SIGNERS).symlink_to("elsewhere")
    return team.commit("A link")


# ---------------------------------------------------------------- what lies beside the line


@scenario(
    "it is not signed; {tip} brings it, which needs each commit signed by a person", rules=SIGNED
)
def unsigned_side_commit_where_all_are_signed(team: Team) -> str:
    team.branch()
    bad = team.commit("Side", {"x": "x"}, by=None)
    team.main()
    team.merge(by="ann")
    return bad


@scenario("it is not signed; {tip} brings it", rules=SIGNED)
def unsigned_side_commit_without_files_where_all_are_signed(team: Team) -> str:
    """Leave the files as they are, so that the repair would look just like the bad merge."""
    team.branch()
    bad = team.commit("Side", by=None)
    team.main()
    team.merge(by="ann")
    return bad


@scenario("does not name; {tip} brings it", rules=SIGNED)
def removed_key_on_an_old_base_where_all_are_signed(team: Team) -> str:
    team.branch()
    bad = team.commit("Bob's old branch", {"x": "x"}, by="bob")
    team.main()
    team.commit("Bob leaves", {SIGNERS: team.keys.signers("ops", "ann", "forge")})
    team.settle()
    team.merge(by="ann")
    return bad


@scenario("a forge's key that vouches for nothing; {tip} brings it", rules=SIGNED)
def forge_on_a_side_branch_where_all_are_signed(team: Team) -> str:
    team.branch()
    bad = team.commit("Edited on the web", {"x": "x"}, by="forge")
    team.main()
    team.merge(by="ann")
    return bad


@scenario('it merges nothing, but trust.toml of {first} says mainline = "merge"', rules=MERGES)
def straight_onto_a_mainline_of_merges(team: Team) -> str:
    return team.commit("Quickly", {"x": "x"})


# ---------------------------------------------------------------- approvals


@scenario("says approvals = 2, but 1 signed it: ann@example.com", rules=TWO)
def alone_where_two_approve(team: Team) -> str:
    return team.commit("Alone", {"x": "x"}, by="ann")


@scenario("says approvals = 2, but 1 signed it: ann@example.com", rules=TWO)
def alone_without_files_where_two_approve(team: Team) -> str:
    return team.commit("Nothing at all", by="ann")


@scenario("says approvals = 2, but 1 signed it: ann@example.com", rules=TWO)
def twice_the_same_person(team: Team) -> str:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.main()
    return team.merge(by="ann")


@scenario("says approvals = 2, but 1 signed it: ann@example.com", rules=TWO)
def more_added_after_the_approval(team: Team) -> str:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.approve("bob")
    team.commit("And this", {"y": "y"}, by="ann")
    team.main()
    return team.merge(by="ann")


@scenario("others signed other files than it has", rules=TWO)
def something_else_merged_than_approved(team: Team) -> str:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.approve("bob")
    team.main()
    team.work.git("merge", "--quiet", "--no-ff", "--no-commit", "side")
    (team.work.path / "mesh.toml").write_text("evil")
    return team.commit("Merge branch 'side'", by="ann")


@scenario("says approvals = 2, but 1 signed it: ann@example.com", rules=TWO)
def approved_by_the_forge(team: Team) -> str:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.commit("Approved by a robot", by="forge")
    team.main()
    return team.merge(by="ann")


@scenario("says approvals = 2, but 1 signed it: ann@example.com", rules=TWO)
def approved_by_an_expired_key(team: Team) -> str:
    expired = team.keys.signers(*PEOPLE, "forge", bob='valid-before="20200101Z"')
    team.branch("expiry")
    team.commit("Bob has expired", {SIGNERS: expired})
    team.approve("ann")
    team.main()
    team.merge("expiry", by="ops")
    team.settle()
    team.branch()
    team.commit("Mine", {"x": "x"}, by="ann")
    team.approve("bob")
    team.main()
    return team.merge(by="ann")


@scenario("says approvals = 2, but 1 signed it: bob@example.com", rules=TWO)
def forge_merge_with_one_approval(team: Team) -> str:
    team.branch()
    team.commit("Mine", {"x": "x"}, by="bob")
    team.main()
    return team.press_merge()


@scenario("says approvals = 2, but 1 signed it: ann@example.com", rules=TWO)
def approval_of_an_earlier_step_used_again(team: Team) -> str:
    """Bob once approved these very files, then main moved on."""
    team.branch()
    team.commit("Open", {"x": "x"}, by="ann")
    approved = team.approve("bob")
    team.main()
    team.merge(by="ann")
    team.branch("close")
    team.commit("Close", {"x": None}, by="ann")
    team.approve("bob")
    team.main()
    team.merge("close", by="ann")
    team.settle()
    team.branch("again")
    team.work.git("checkout", "--quiet", approved, "--", ".")
    team.commit("Open again", by="ann")
    team.main()
    return team.merge("again", by="ann")


@scenario("says approvals = 2, but 1 signed it: ann@example.com", rules=TWO)
def approval_of_an_earlier_step_dug_up_by_dates(team: Team) -> str:
    """Have git list what main has as if the branch brought it: its dates contradict the history."""
    team.branch()
    team.commit("Open", {"x": "x"}, by="ann")
    approved = team.approve("bob")
    team.main()
    team.merge(by="ann")
    team.branch("close")
    team.commit("Close", {"x": None}, by="ann")
    team.approve("bob")
    team.main()
    team.merge("close", by="ann")
    team.work.clock = 100_000_000
    for number in range(12):
        team.branch(f"nothing-{number}")
        team.commit("Nothing", {"x": f"{number}"}, by=None)
        team.main()
        team.merge(f"nothing-{number}", "-s", "ours", by="ann")
    team.settle()
    team.work.clock = EPOCH + 1000
    main, tree = team.head, team.work.tree(approved)
    tip = team.work.git(
        "commit-tree", "-S", "-p", main, "-p", approved, "-m", "Again", tree, sign="ann"
    )
    assert approved in team.nodes[0].repository.beyond(main, [approved], 100)
    return team.merge(tip, by="ann")


# ---------------------------------------------------------------- the forge's buttons

VOUCHES = "forge@example.com signed it, a forge's key that vouches for nothing, and it "


def proposed(team: Team, by: str | None = "ann") -> None:
    """Make a branch with a change, and let main move on."""
    team.branch()
    team.commit("Proposed", {"x": "x"}, by=by)
    team.main()
    team.commit("Meanwhile", {"y": "y"})
    team.settle()


@scenario(f"{VOUCHES}is no merge of two commits", instead='"Create a merge commit"')
def forge_squash(team: Team) -> str:
    proposed(team)
    return team.squash()


@scenario("it is not signed", instead="merge button")
def forge_rebase(team: Team) -> str:
    """Rebased by a button: the signature is gone."""
    proposed(team)
    team.work.git("cherry-pick", "side")
    return team.head


@scenario(f"{VOUCHES}is no merge of two commits", instead="git merge --no-ff -S BRANCH")
def forge_web_edit(team: Team) -> str:
    return team.commit("Update mesh.toml", {"mesh.toml": "evil"}, by="forge")


@scenario(f"{VOUCHES}is no merge of two commits")
def forge_merge_of_three(team: Team) -> str:
    proposed(team)
    team.branch("other")
    team.commit("Other", {"z": "z"}, by="bob")
    team.main()
    team.work.git("merge", "--quiet", "--no-edit", "--no-ff", "side", "other", sign="forge")
    return team.head


@scenario(f"{VOUCHES}has a tree that merging its parents does not give")
def forge_merge_with_a_changed_tree(team: Team) -> str:
    proposed(team)
    team.work.git("merge", "--quiet", "--no-ff", "--no-commit", "side")
    (team.work.path / "mesh.toml").write_text("evil")
    return team.commit("Merge branch 'side'", by="forge")


@scenario(f"{VOUCHES}has a tree that merging its parents does not give")
def forge_merge_that_takes_nothing(team: Team) -> str:
    proposed(team)
    return team.press_merge("side", "-s", "ours")


@scenario(f"{VOUCHES}has a tree that merging its parents does not give")
def forge_merge_of_a_conflict(team: Team) -> str:
    team.branch()
    team.commit("Mine", {"x": "mine"}, by="ann")
    team.main()
    team.commit("Theirs", {"x": "theirs"})
    team.settle()
    return team.press_merge("side", "-X", "theirs")


@scenario(f"{VOUCHES}has {{trusted}} elsewhere than as first parent")
def forge_merge_with_swapped_parents(team: Team) -> str:
    proposed(team)
    team.work.git("checkout", "--quiet", "side")
    return team.press_merge("main")


@scenario(f"{VOUCHES}merges nothing that")
def forge_merge_with_swapped_parents_of_a_branch_from_the_tip(team: Team) -> str:
    """Make what the forge adds nothing: the branch's commit is a good step by itself."""
    main = team.head
    team.branch()
    tip = team.commit("Proposed", {"x": "x"}, by="ann")
    team.main()
    raw = team.work.raw(team.press_merge())
    swapped = raw.replace(main.encode(), b"@").replace(tip.encode(), main.encode())
    unsigned = swapped.replace(b"@", tip.encode()).replace(header(raw), b"")
    tree = unsigned[5:45].decode()
    made = team.work.git(
        "commit-tree", "-S", "-p", tip, "-p", main, "-m", "Merge", tree, sign="forge"
    )
    return checked_out(team, made)


@scenario("it is not signed; {tip} brings it, which needs each commit signed by a person")
def forge_merge_of_an_unsigned_commit(team: Team) -> str:
    proposed(team, by=None)
    team.press_merge()
    return team.work.git("rev-parse", "side")


@scenario("it is not signed; {tip} brings it")
def forge_merge_of_a_signed_commit_on_an_unsigned_one(team: Team) -> str:
    team.branch()
    bad = team.commit("Unsigned", {"x": "x"}, by=None)
    team.commit("Signed", {"z": "z"}, by="ann")
    team.main()
    team.press_merge()
    return bad


@scenario("does not name; {tip} brings it")
def forge_merge_of_a_removed_key(team: Team) -> str:
    proposed(team, by="bob")
    team.commit("Bob leaves", {SIGNERS: team.keys.signers("ops", "ann", "forge")})
    team.settle()
    team.press_merge()
    return team.work.git("rev-parse", "side")


@scenario("whose key is not valid after 2020-01-01T00:00:00Z; by this node's clock")
def forge_merge_of_an_expired_key(team: Team) -> str:
    expired = team.keys.signers(*PEOPLE, "forge", bob='valid-before="20200101Z"')
    team.commit("Bob has expired", {SIGNERS: expired})
    proposed(team, by="bob")
    team.press_merge()
    return team.work.git("rev-parse", "side")


@scenario(
    "a forge's key that vouches for nothing; {tip} brings it",
    instead="bring a branch up to date by hand",
)
def forge_merge_of_a_branch_updated_by_a_button(team: Team) -> str:
    proposed(team)
    team.work.git("checkout", "--quiet", "side")
    bad = team.press_merge("main")
    team.main()
    team.press_merge()
    return bad


@scenario(f"{VOUCHES}changes allowed_signers, which no admin signed on the branch")
def forge_merge_of_an_editors_change_of_signers(team: Team) -> str:
    team.branch()
    team.commit("Eve may", {SIGNERS: team.keys.signers(*PEOPLE, "forge", "eve")}, by="ann")
    team.main()
    return team.press_merge()


@scenario(f"{VOUCHES}changes allowed_signers, which no admin signed on the branch")
def forge_merge_of_signers_changed_after_the_admin_signed(team: Team) -> str:
    team.branch()
    team.commit("One key less", {SIGNERS: team.keys.signers("ops", "ann", "forge")})
    team.commit("One key more", {SIGNERS: team.keys.signers(*PEOPLE, "forge", "eve")}, by="ann")
    team.main()
    return team.press_merge()


@scenario(f"{VOUCHES}changes allowed_signers, which no admin signed on the branch")
def forge_merge_of_an_expired_admins_change_of_signers(team: Team) -> str:
    rules = ROLES.replace('"ops@example.com"', '"ops@example.com", "bob@example.com"')
    expired = {"ops": 'valid-before="20200101Z"'}
    signers = team.keys.signers(*PEOPLE, "forge", **expired)
    team.commit("Bob decides too", {RULES: rules})
    team.commit("Ops has expired", {SIGNERS: signers}, by="bob")
    team.settle()
    team.branch()
    team.commit("Eve may", {SIGNERS: signers + team.keys.signers("eve")})
    team.commit("And a node", {"x": "x"}, by="ann")
    team.main()
    return team.press_merge()


# ---------------------------------------------------------------- where main leads


@scenario("main was rewound to it")
def rewound(team: Team) -> str:
    first = team.head
    team.commit("Next", {"x": "x"})
    team.settle()
    team.work.git("reset", "--quiet", "--hard", first)
    return first


@scenario("main was forced: it does not contain the trusted commit {trusted}")
def forced_sibling(team: Team) -> str:
    first = team.head
    team.commit("Next", {"x": "x"})
    team.settle()
    team.work.git("reset", "--quiet", "--hard", first)
    return team.commit("Instead", {"mesh.toml": "other"})


@scenario("main was forced", rules=SIGNED)
def forced_sibling_with_the_same_files(team: Team) -> str:
    first = team.head
    team.commit("Next")
    team.settle()
    team.work.git("reset", "--quiet", "--hard", first)
    return team.commit("Instead", by=None)


@scenario("its history has nothing in common with the trusted commit {trusted}")
def unrelated_root(team: Team) -> str:
    team.work.git("checkout", "--quiet", "--orphan", "other")
    return team.commit("Another mesh")


@scenario("its history has nothing in common", rules=TWO)
def unrelated_root_where_two_approve(team: Team) -> str:
    team.work.git("checkout", "--quiet", "--orphan", "other")
    return team.commit("Another mesh")


@scenario(
    "ann@example.com signed it, who is no admin in trust.toml of {trusted}, and it has {trusted}"
    " elsewhere than as first parent",
    instead="one of the admins signs it: ops@example.com",
)
def joined_by_an_editor(team: Team) -> str:
    """Have main's own commits as the second parent, as after git pull && git push."""
    team.branch("local")
    team.commit("Local", {"x": "x"}, by="ann")
    team.main()
    team.commit("Meanwhile", {"y": "y"})
    team.settle()
    team.work.git("checkout", "--quiet", "local")
    return team.merge("main", by="ann")


# ---------------------------------------------------------------- the test


def header(raw: bytes) -> bytes:
    """Return the signature's header of a raw commit."""
    return raw[raw.index(b"gpgsig ") : raw.index(b"\n\n") + 1]


def checked_out(team: Team, commit: str) -> str:
    team.work.checkout(commit)
    return commit


def edited(team: Team, change: Callable[[bytes], bytes]) -> str:
    """Check out a changed copy of a good commit, with the signature of that one."""
    good = team.commit("Good", {"z": "z"})
    bad = team.work.edit(good, change)
    assert bad != good
    return checked_out(team, bad)


def run_in(directory: Path, *args: str) -> None:
    argv = ["git", "-C", str(directory), *args]
    subprocess.run(argv, env=environment(directory), check=True)


@pytest.mark.parametrize(
    ("each", "team"),
    [pytest.param(each, each.rules, id=each.make.__name__) for each in SCENARIOS],
    indirect=["team"],
)
def test_refused_until_repaired(each: Scenario, team: Team) -> None:
    seen, unseen = team.node(), team.node()
    first = team.head
    culprit = each.make(team)
    trusted = seen.trusted
    tip = team.publish()

    error = refused(seen)
    assert error.exit_code == 4 and error.message.isprintable()
    names = {"first": first[:12], "trusted": trusted[:12], "tip": tip[:12]}
    names["now"] = "2023-11-14T22:13:20Z"
    assert each.rule.format(**names) in error.message
    assert each.instead in error.hint
    assert error.commit == culprit
    shown = team.work.git("--no-replace-objects", "show", "-s", "--format=%s%n%an <%ae>", culprit)
    subject, author = shown.split("\n")
    for part in (culprit[:12], subject.replace("\x1b", ""), author):
        assert part in error.message
    again = refused(seen)
    assert (again.message, again.hint) == (error.message, error.hint)
    if each.leads_on:
        verdicts = {found.id: found for found in seen.verdicts()}
        assert verdicts[culprit].problem == error.message
    else:
        with pytest.raises(RefusedError, match=re.escape(error.message)):
            seen.verdicts()

    command = error.hint.splitlines()[-1]
    assert "--force" not in command and " -f " not in command
    healed = team.run(command, each.repaired_by)
    assert healed != tip
    for node in (seen, unseen):
        assert node.look().id == healed
        assert node.trusted == healed
    # with the files of the last good commit, which mostly is the trusted one
    named = re.search(r"--detach ([0-9a-f]{40}) ", command)
    good = named[1] if named else trusted
    assert chain.verify(seen.repository, trusted, good, now=NOW, gpg=Gpgv()).id == good
    assert team.work.tree(healed) == team.work.tree(good)
