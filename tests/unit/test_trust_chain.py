"""The chain rule on real repositories: which commit may follow the trusted one, and which not."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.model.commit import VerifiedCommit
from wgmesh.repository.bare import Repository
from wgmesh.trust import chain, line, side, verdict

from .signing import EPOCH, Keys, Workshop, environment

NOW = float(EPOCH)
SIGNERS = "allowed_signers"


@pytest.fixture
def work(tmp_path: Path, keys: Keys) -> Workshop:
    return Workshop(tmp_path / "work", keys).start()


@pytest.fixture
def objects(work: Workshop) -> Iterator[Repository]:
    with Repository(work.git_dir) as repository:
        yield repository


@pytest.fixture
def first(work: Workshop, keys: Keys) -> str:
    """Make the introduction commit, which names ops and ann."""
    return work.commit("Begin", {SIGNERS: keys.signers("ops", "ann"), "mesh.toml": "one"})


def refusal(
    objects: Repository, trusted: str, tip: str, *, now: float = NOW, revoked: tuple[str, ...] = ()
) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        chain.verify(objects, trusted, tip, now=now, revoked=revoked)
    error = caught.value
    assert error.exit_code == 4 and error.hint and error.message.isprintable()
    return error


# ---------------------------------------------------------------- accepted


def test_steps_by_authorised_signers(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    work.commit("Second", {"mesh.toml": "two"}, sign="ann")
    tip = work.commit("Third", {"mesh.toml": "three"})
    assert chain.verify(objects, first, tip, now=NOW) == VerifiedCommit(
        id=tip,
        tree=work.tree(tip),
        signer="ops@example.com",
        fingerprint=keys.fingerprint("ops"),
        author="Ada <ada@example.com>",
        subject="Third",
        time=int(work.git("log", "-1", "--format=%ct", tip)),
    )


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
def test_ecdsa_signers(objects: Repository, work: Workshop, keys: Keys, curve: str) -> None:
    first = work.commit("Begin", {SIGNERS: keys.signers("ops", curve)})
    tip = work.commit("Next", sign=curve)
    found = chain.verify(objects, first, tip, now=NOW)
    assert (found.signer, found.fingerprint) == (f"{curve}@example.com", keys.fingerprint(curve))


def test_unsigned_side_commits_are_vouched_for_by_the_merge(
    objects: Repository, work: Workshop, first: str
) -> None:
    work.git("checkout", "--quiet", "-b", "side")
    work.commit("Side", {"nodes/a.toml": "a"}, sign=None)
    work.git("checkout", "--quiet", "main")
    tip = work.merge("side", sign="ann")
    assert chain.verify(objects, first, tip, now=NOW).signer == "ann@example.com"


def test_the_author_may_be_somebody_else(objects: Repository, work: Workshop, first: str) -> None:
    tip = work.commit("By Eve", sign="ann", GIT_AUTHOR_NAME="Eve", GIT_AUTHOR_EMAIL="eve@evil")
    found = chain.verify(objects, first, tip, now=NOW)
    assert (found.author, found.signer) == ("Eve <eve@evil>", "ann@example.com")


def test_an_added_signer_signs_the_next_step(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    work.commit("Add Eve", {SIGNERS: keys.signers("ops", "ann", "eve")})
    tip = work.commit("By Eve", sign="eve")
    assert chain.verify(objects, first, tip, now=NOW).signer == "eve@example.com"


def test_a_served_pull_request_then_true_main(
    objects: Repository, work: Workshop, first: str
) -> None:
    """The trusted tip is then the second parent of a merge: the join."""
    work.git("checkout", "--quiet", "-b", "side")
    side = work.commit("Pull request", {"nodes/a.toml": "a"}, sign="ann")
    work.git("checkout", "--quiet", "main")
    work.commit("Meanwhile on main", sign=None)  # reached by the join, so vouched for by it
    work.merge("side")
    tip = work.commit("After it", sign="ann")
    assert chain.verify(objects, first, side, now=NOW).id == side
    assert chain.verify(objects, side, tip, now=NOW).id == tip


def test_a_join_needs_a_signer_of_the_trusted_commit(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    work.git("checkout", "--quiet", "-b", "side")
    side = work.commit("Without Ann", {SIGNERS: keys.signers("ops")})
    work.git("checkout", "--quiet", "main")
    join = work.merge("side", sign="ann")
    tip = work.commit("After it")
    assert refusal(objects, side, tip).commit == join
    assert chain.verify(objects, first, join, now=NOW).id == join


def test_a_join_far_below_a_long_line(
    objects: Repository, work: Workshop, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "FIRST_LOOK", 2)
    for number in range(5):
        work.commit(f"Below {number}", sign=None)
    base = work.head()
    work.checkout(first)
    trusted = work.commit("Served early")
    work.checkout(base)
    join = work.merge(trusted)
    for number in range(4):
        work.commit(f"Above {number}")
    assert chain.verify(objects, trusted, work.head(), now=NOW).subject == "Above 3"
    work.checkout(base)
    bad = work.merge(trusted, sign=None)
    assert bad != join
    assert refusal(objects, trusted, bad).commit == bad


def test_the_trusted_commit_again(objects: Repository, work: Workshop, first: str) -> None:
    tip = work.commit("Next", sign="ann")
    assert chain.verify(objects, tip, tip, now=NOW).signer == "ann@example.com"
    assert chain.describe(objects, first).signer == "ops@example.com"


def test_a_trusted_commit_with_the_signature_of_another(
    objects: Repository, work: Workshop, first: str
) -> None:
    tip = work.edit(work.commit("Good"), lambda raw: raw.replace(b"Good", b"Evil"))
    assert "does not match" in refusal(objects, tip, tip).message
    with pytest.raises(RefusedError, match="does not match"):
        chain.describe(objects, tip)


def test_an_expired_key_on_an_inner_step(objects: Repository, work: Workshop, keys: Keys) -> None:
    expired = keys.signers("ops", "ann", ann='valid-before="20200101Z"')
    first = work.commit("Begin", {SIGNERS: expired})
    inner = work.commit("By Ann", sign="ann")
    tip = work.commit("By Ops")
    assert chain.verify(objects, first, tip, now=NOW).id == tip
    error = refusal(objects, first, inner)
    assert "not valid after 2020-01-01T00:00:00Z" in error.message
    assert "this node's clock" in error.message and "2023-11-14T22:13:20Z" in error.message


def test_refs_replace_changes_nothing(objects: Repository, work: Workshop, first: str) -> None:
    bad = work.commit("Bad", sign=None)
    work.checkout(first)
    good = work.commit("Good")
    work.git("replace", bad, good)
    assert work.git("cat-file", "commit", bad) == work.git("cat-file", "commit", good)
    assert "not signed" in refusal(objects, first, bad).message


# ---------------------------------------------------------------- refused signatures


def test_an_unsigned_tip(objects: Repository, work: Workshop, first: str) -> None:
    tip = work.commit("Evil \x1b[2J thing", sign=None)
    error = refusal(objects, first, tip)
    assert error.commit == tip
    for part in (tip[:12], "Evil [2J thing", "Ada <ada@example.com>", "not signed"):
        assert part in error.message
    assert f"git checkout --detach {first} && git merge -s ours -S" in error.hint


def test_an_unsigned_step_under_a_signed_tip(
    objects: Repository, work: Workshop, first: str
) -> None:
    bad = work.commit("Unsigned", sign=None)
    tip = work.commit("Signed")
    assert refusal(objects, first, tip).commit == bad


def test_an_unknown_key(objects: Repository, work: Workshop, keys: Keys, first: str) -> None:
    error = refusal(objects, first, work.commit("By Eve", sign="eve"))
    named = f"{keys.fingerprint('eve')} signed it, which allowed_signers of {first[:12]} does not"
    assert named in error.message


def test_a_commit_that_adds_its_own_key(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    files: dict[str, str | None] = {SIGNERS: keys.signers("ops", "ann", "eve")}
    error = refusal(objects, first, work.commit("Me too", files, sign="eve"))
    assert "does not name" in error.message


def test_a_removed_key(objects: Repository, work: Workshop, keys: Keys, first: str) -> None:
    work.commit("Ann leaves", {SIGNERS: keys.signers("ops")})
    assert "does not name" in refusal(objects, first, work.commit("Back", sign="ann")).message


def test_a_local_revocation_wins(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    inner = work.commit("By Ann", sign="ann")
    tip = work.commit("By Ops")
    revoked = (keys.fingerprint("ann"),)
    assert refusal(objects, first, tip, revoked=revoked).commit == inner
    error = refusal(objects, inner, inner, revoked=revoked)
    assert "revoked on this node" in error.message and "--allow-empty" in error.hint
    assert chain.verify(objects, inner, tip, now=NOW, revoked=revoked).id == tip


def test_a_key_for_other_namespaces(objects: Repository, work: Workshop, keys: Keys) -> None:
    first = work.commit("Begin", {SIGNERS: keys.signers("ops", "ann", ann='namespaces="file"')})
    assert "namespace 'git'" in refusal(objects, first, work.commit("x", sign="ann")).message


def test_a_signature_for_another_namespace(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    def sign(raw: bytes) -> bytes:
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(keys.private("ops"))]
        armor = subprocess.run(
            argv, input=raw, capture_output=True, env=environment(work.path), check=True
        ).stdout
        head, _, message = raw.partition(b"\n\n")
        return head + b"\ngpgsig " + armor.rstrip().replace(b"\n", b"\n ") + b"\n\n" + message

    tip = work.edit(work.commit("Signed as a file", sign=None), sign)
    assert "namespace 'git'" in refusal(objects, first, tip).message


def test_a_key_that_is_not_valid_yet(objects: Repository, work: Workshop, keys: Keys) -> None:
    early = keys.signers("ops", "ann", ann='valid-after="20300101Z"')
    first = work.commit("Begin", {SIGNERS: early})
    tip = work.commit("By Ann", sign="ann")
    assert "not valid before 2030-01-01T00:00:00Z" in refusal(objects, first, tip).message
    assert chain.verify(objects, first, tip, now=1_900_000_000).id == tip


def test_a_signature_moved_to_an_edited_commit(
    objects: Repository, work: Workshop, first: str
) -> None:
    good = work.commit("Open port 51820")
    empty = work.git("mktree").encode()
    for old, new in (
        (b"Open port 51820", b"Open port 22222"),
        (b"Ada", b"Eve"),
        (b"tree " + work.tree(good).encode(), b"tree " + empty),
        (b"\ngpgsig", b"\nencoding x\ngpgsig"),
    ):
        tip = work.edit(good, lambda raw, old=old, new=new: raw.replace(old, new))  # type: ignore[misc]
        assert tip != good
        assert "does not match" in refusal(objects, first, tip).message
    other = work.commit("Another parent")
    tip = work.edit(good, lambda raw: raw.replace(first.encode(), other.encode()))
    assert "does not match" in refusal(objects, other, tip).message


def test_signatures_in_another_form(objects: Repository, work: Workshop, first: str) -> None:
    good = work.commit("Next")

    def header(raw: bytes) -> bytes:
        return raw[raw.index(b"gpgsig ") : raw.index(b"\n\n") + 1]

    def armor(raw: bytes) -> bytes:
        return header(raw).removeprefix(b"gpgsig")

    pgp = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n wsBc\n -----END PGP SIGNATURE-----\n"
    for change, reason in (
        (lambda raw: raw.replace(b"\n\n", b"\nencoding UTF-8\n\n", 1), "header follows"),
        (lambda raw: raw.replace(b"\n\n", b"\n" + header(raw) + b"\n", 1), "more than one"),
        (lambda raw: raw.replace(b"\n\n", b"\n" + armor(raw) + b"\n", 1), "exactly one"),
        (lambda raw: raw.replace(b"gpgsig ", b"gpgsig-sha256 "), "SHA-256"),
        (lambda raw: raw.replace(header(raw), pgp), "OpenPGP"),
    ):
        assert reason in refusal(objects, first, work.edit(good, change)).message


def test_rsa(objects: Repository, work: Workshop, keys: Keys) -> None:
    first = work.commit("Begin", {SIGNERS: keys.signers("ops", "rsa")})
    tip = work.commit("x", sign="rsa")
    assert chain.verify(objects, first, tip, now=NOW).fingerprint == keys.fingerprint("rsa")


# ---------------------------------------------------------------- refused trust files


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (SIGNERS, None, "no allowed_signers"),
        (SIGNERS, "", "names nobody"),
        (SIGNERS, "a cert-authority ssh-ed25519 AAAA", "cert-authority"),
        ("trust.toml", "approval = 2", "trust.toml has the unknown key"),
        ("trust.toml", "approvals = 3", "approvals = 3, but leaves 2 who can sign"),
        ("trust.toml", "[roles]\nadmin = ['eve@example.com']", "names 'eve@example.com'"),
        ("openpgp/ada.asc", "key", "is not named FINGERPRINT.asc"),
        ("openpgp", "key", "openpgp is a file, not a directory"),
    ],
)
def test_a_step_with_unusable_trust_files(
    objects: Repository, work: Workshop, first: str, name: str, text: str | None, reason: str
) -> None:
    bad = work.commit("Trust files", {name: text})
    assert reason in refusal(objects, first, bad).message
    work.git("revert", "--no-edit", "HEAD", sign="ops")
    assert refusal(objects, first, work.head()).commit == bad


def test_a_step_that_leaves_no_usable_signer(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    for text in (
        keys.signers("ops", ops='namespaces="file"'),
        keys.signers("ops", ops='valid-before="20200101"'),
    ):
        work.checkout(first)
        tip = work.commit("Lock everybody out", {SIGNERS: text})
        assert "leave nobody" in refusal(objects, first, tip).message


def test_a_tree_that_is_none(objects: Repository, work: Workshop, first: str) -> None:
    """Trees are read ahead; the refusal names the commit that has the bad one."""
    argv = ("hash-object", "-t", "tree", "-w", "--literally", "--stdin")
    tree = work.git(*argv, stdin=b"nonsense")
    good = work.commit("Good")
    bad = work.git("commit-tree", "-S", tree, "-p", good, "-m", "Bad", sign="ops")
    tip = work.git("commit-tree", "-S", f"{good}^{{tree}}", "-p", bad, "-m", "Tip", sign="ops")
    error = refusal(objects, first, tip)
    assert error.commit == bad and "tree" in error.message


def test_a_signers_file_that_is_a_link(objects: Repository, work: Workshop, first: str) -> None:
    (work.path / SIGNERS).rename(work.path / "elsewhere")
    (work.path / SIGNERS).symlink_to("elsewhere")
    tip = work.commit("A link")
    assert "is a symbolic link, not a file" in refusal(objects, first, tip).message


# ---------------------------------------------------------------- refused histories


def test_a_rewind(objects: Repository, work: Workshop, first: str) -> None:
    trusted = work.commit("Next")
    error = refusal(objects, trusted, first)
    assert "rewound" in error.message
    assert error.hint.endswith(f"git push origin {trusted}:refs/heads/main")
    with pytest.raises(RefusedError) as caught:
        list(verdict.judge(objects, trusted, first, now=NOW))
    assert caught.value.hint == error.hint


def test_a_forced_sibling(objects: Repository, work: Workshop, first: str) -> None:
    trusted = work.commit("Next")
    work.checkout(first)
    error = refusal(objects, trusted, work.commit("Instead"))
    assert "was forced" in error.message and "-s ours -S" in error.hint


def test_an_unrelated_root(objects: Repository, work: Workshop, keys: Keys, first: str) -> None:
    work.git("checkout", "--quiet", "--orphan", "other")
    error = refusal(objects, first, work.commit("Another mesh"))
    assert "nothing in common" in error.message
    assert "--allow-unrelated-histories" in error.hint


def test_a_trusted_commit_that_is_gone(objects: Repository, work: Workshop, first: str) -> None:
    assert "no longer contains" in refusal(objects, "12" * 20, first).message


def test_what_is_no_commit(objects: Repository, work: Workshop, first: str) -> None:
    work.git("tag", "-a", "-m", "v1", "v1")
    tag = work.git("rev-parse", "v1")
    assert "is a tag, not a commit" in refusal(objects, first, tag).message
    with pytest.raises(WgmeshError, match="not in the repository"):
        chain.verify(objects, first, "12" * 20, now=NOW)
    assert chain.verify(objects, first, first, now=NOW).id == first  # still readable


def test_walks_are_bounded(
    objects: Repository, work: Workshop, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "LONGEST_WALK", 3)
    for number in range(4):
        work.commit(f"Step {number}")
    tip = work.head()
    for look in (1, 2, 3, 4, 5, 1024):
        monkeypatch.setattr(line, "FIRST_LOOK", look)
        assert "more than 3 commits" in refusal(objects, first, tip).message
        below = work.git("rev-parse", f"{tip}~3")
        assert chain.verify(objects, below, tip, now=NOW).id == tip


def test_a_list_of_commits_that_is_no_line(work: Workshop, first: str) -> None:
    """Who git says is a parent of whom is looked up in the commits themselves."""
    middle, tip = work.commit("Unsigned", sign=None), work.commit("Tip")

    class Liar(Repository):
        def line(self, tip: str, limit: int) -> list[str]:
            return [commit for commit in super().line(tip, limit) if commit != middle]

    with Liar(work.git_dir) as objects:
        assert f"its first parent is not {first[:12]}" in refusal(objects, first, tip).message
        work.commit("Above")
        assert refusal(objects, first, work.head()).commit == tip


def test_side_commits_are_bounded_for_all_merges_together(
    objects: Repository, work: Workshop, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = work.commit(
        "Begin", {SIGNERS: keys.signers("ops", "ann"), "trust.toml": 'side_commits = "signed"'}
    )
    for name in ("one", "two"):
        work.git("checkout", "--quiet", "-b", name)
        for number in range(2):
            work.commit(f"{name} {number}", {name: f"{number}"}, sign="ann")
        work.git("checkout", "--quiet", "main")
        work.merge(name)
    tip = work.head()
    monkeypatch.setattr(side, "MOST_SIDE_COMMITS", 4)
    assert chain.verify(objects, first, tip, now=NOW).id == tip
    monkeypatch.setattr(side, "MOST_SIDE_COMMITS", 3)
    assert "more commits than the 3 that are looked at" in refusal(objects, first, tip).message


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_line_with_a_gap_is_none(
    objects: Repository,
    work: Workshop,
    first: str,
    left_out: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever git says of a line: each commit is held against the one that it names."""
    made = [work.commit(f"Step {number}") for number in range(3)]
    claimed = [each for number, each in enumerate(made) if number != left_out]
    found = line.Line(claimed[::-1], joins=False)
    monkeypatch.setattr(line, "find", lambda *_: found)
    before = ([first, *made])[left_out]
    error = refusal(objects, first, made[-1])
    assert error.commit == made[left_out + 1]
    assert f"its first parent is not {before[:12]}" in error.message


# ---------------------------------------------------------------- beginnings


def test_introduction(objects: Repository, work: Workshop, keys: Keys, first: str) -> None:
    ops, ann = keys.fingerprint("ops"), keys.fingerprint("ann")
    assert chain.introduce(objects, first, fingerprint=ops, now=NOW).fingerprint == ops
    assert chain.introduce(objects, first, fingerprint=None, now=NOW).id == first
    with pytest.raises(RefusedError, match=re.escape(f"{ops} signed it, not {ann}")):
        chain.introduce(objects, first, fingerprint=ann, now=NOW)
    with pytest.raises(RefusedError, match="not in the history"):
        chain.introduce(objects, "12" * 20, fingerprint=None, now=NOW)
    with pytest.raises(RefusedError, match="revoked"):
        chain.introduce(objects, first, fingerprint=None, now=NOW, revoked=[ops])
    with pytest.raises(RefusedError, match="not signed"):
        chain.introduce(objects, work.commit("x", sign=None), fingerprint=None, now=NOW)
    with pytest.raises(RefusedError, match="does not name"):
        chain.introduce(objects, work.commit("x", sign="eve"), fingerprint=None, now=NOW)


def test_an_introduction_outlives_its_key(objects: Repository, work: Workshop, keys: Keys) -> None:
    text = keys.signers("ops", "ann", ops='valid-before="20200101Z"')
    first = work.commit("Begin", {SIGNERS: text})
    assert chain.introduce(objects, first, fingerprint=None, now=None).id == first
    with pytest.raises(RefusedError, match="clock"):
        chain.introduce(objects, first, fingerprint=None, now=NOW)


def test_an_introduction_must_leave_an_admin_who_is_valid_now(
    objects: Repository, work: Workshop, keys: Keys
) -> None:
    text = keys.signers("ops", "ann", ops='valid-before="20200101Z"')
    rules = '[roles]\nadmin = ["ops@example.com"]\n'
    first = work.commit("Begin", {SIGNERS: text, "trust.toml": rules}, sign="ann")
    assert chain.introduce(objects, first, fingerprint=None, now=None).id == first
    with pytest.raises(RefusedError, match="no usable admin"):
        chain.introduce(objects, first, fingerprint=None, now=NOW)


def test_who_is_revoked_here_is_not_among_those_who_are_left(
    objects: Repository, work: Workshop, keys: Keys
) -> None:
    first = work.commit("Begin", {SIGNERS: keys.signers("ops", "ann", "bob")})
    tip = work.commit("Two", {"trust.toml": "approvals = 2\n", SIGNERS: keys.signers("ops", "ann")})
    assert chain.verify(objects, first, tip, now=NOW).id == tip
    error = refusal(objects, first, tip, revoked=(keys.fingerprint("ann"),))
    assert "approvals = 2, but leaves 1 who can sign" in error.message


def test_a_signers_file_given_by_hand(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    tip = work.commit("By Eve", sign="eve")
    given = keys.signers("eve").encode()
    assert chain.admit(objects, tip, given, now=NOW).signer == "eve@example.com"
    assert chain.describe(objects, tip).signer == keys.fingerprint("eve")
    with pytest.raises(RefusedError, match="does not name"):
        chain.admit(objects, first, given, now=NOW)
    bare = work.commit("No signers", {SIGNERS: None}, sign="eve")
    with pytest.raises(RefusedError, match="no allowed_signers"):
        chain.admit(objects, bare, given, now=NOW)


def test_a_signers_file_with_the_forges_key_admits_nothing_of_the_forge(
    objects: Repository, work: Workshop, keys: Keys
) -> None:
    files: dict[str, str | None] = {SIGNERS: keys.signers("ops", "forge")}
    work.commit("Begin", files | {"trust.toml": '[roles]\nmerge = ["forge@example.com"]\n'})
    tip = work.commit("Squashed (#1)", sign="forge")
    given = keys.signers("ops", "forge").encode()
    with pytest.raises(RefusedError, match="a forge's key that vouches for nothing") as caught:
        chain.admit(objects, tip, given, now=NOW)
    assert "--introduction" in caught.value.hint
    assert chain.introduce(objects, tip, fingerprint=None, now=NOW).signer == "forge@example.com"


def test_what_a_beginning_leaves_must_be_usable(
    objects: Repository, work: Workshop, keys: Keys
) -> None:
    files: dict[str, str | None] = {SIGNERS: keys.signers("ops", ops='valid-before="20200101Z"')}
    tip = work.commit("Begin", files, sign="eve")
    with pytest.raises(RefusedError, match="leave nobody who could sign"):
        chain.admit(objects, tip, keys.signers("eve").encode(), now=NOW)
    rules = 'approvals = 2\n[roles]\nmerge = ["forge@example.com"]\n'
    tip = work.commit("Robots", {SIGNERS: keys.signers("ops", "forge"), "trust.toml": rules})
    with pytest.raises(RefusedError, match="approvals = 2, but leaves 1 who can sign"):
        chain.introduce(objects, tip, fingerprint=None, now=None)


# ---------------------------------------------------------------- verdicts, for people


def test_each_verdict_knows_who_is_revoked_here(
    objects: Repository, work: Workshop, keys: Keys, first: str
) -> None:
    made = [work.commit(f"Step {n}", sign=by) for n, by in enumerate(("ann", "ann", "ops"))]
    revoked = (keys.fingerprint("ann"),)
    found = list(verdict.judge(objects, first, made[-1], now=NOW, revoked=revoked))
    assert ["revoked" in (each.problem or "") for each in found] == [True, True, False]


def test_a_verdict_per_commit(objects: Repository, work: Workshop, keys: Keys, first: str) -> None:
    good = work.commit("Good", sign="ann")
    bad = work.commit("Bad", sign=None)
    tip = work.commit("On top")
    found = list(verdict.judge(objects, first, tip, now=NOW))
    assert [(each.id, each.kind, each.signer) for each in found] == [
        (good, "step", "ann@example.com"),
        (bad, "step", None),
        (tip, "step", "ops@example.com"),
    ]
    assert [each.problem is None for each in found] == [True, False, True]
    assert "not signed" in (found[1].problem or "")
    assert found[0].fingerprint == keys.fingerprint("ann")
    assert list(verdict.judge(objects, tip, tip, now=NOW)) == []


def test_the_authority_of_a_commit(objects: Repository, work: Workshop, first: str) -> None:
    assert chain.authority(objects, first).usable() == {"ops@example.com", "ann@example.com"}
    bare = work.commit("No signers", {SIGNERS: None})
    with pytest.raises(RefusedError, match="no allowed_signers"):
        chain.authority(objects, bare)
