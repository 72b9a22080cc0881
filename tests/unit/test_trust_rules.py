"""The chain rule at its edges, one commit a case: made in process, so that there can be many."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from wgmesh.errors import RefusedError
from wgmesh.model.commit import VerifiedCommit
from wgmesh.repository.bare import Repository
from wgmesh.trust import chain, line, refusal, side, verdict, walk
from wgmesh.trust.authority import Authorities
from wgmesh.trust.commit import parse
from wgmesh.trust.walk import Walk

from . import soft_keys
from .gpg import GpgHome
from .signing import EPOCH
from .soft_git import SoftGit
from .soft_keys import SoftKey

OPS, ANN, BOB, EVE, FORGE = (soft_keys.make("ssh-ed25519") for _ in range(5))
KEYS = {"ops": OPS, "ann": ANN, "bob": BOB, "forge": FORGE}
NOW = float(EPOCH)
SIGNERS, RULES = "allowed_signers", "trust.toml"
ROLES = '[roles]\nadmin = ["ops@x"]\nmerge = ["forge@x"]\n'
EXPIRED = 'valid-before="20200101Z"'

Files = dict[str, str]


def signers(*names: str, **options: str) -> str:
    return "".join(f"{name}@x {options.get(name, '')} {KEYS[name].line}\n" for name in names)


def files(rules: str = "", *, roles: str = ROLES, **options: str) -> Files:
    """Return the files of a mesh of ops (an admin), ann and bob, with a forge."""
    return {
        SIGNERS: signers("ops", "ann", "bob", "forge", **options),
        RULES: f"{rules}\n{roles}",
        "mesh.toml": "a\n",
    }


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> SoftGit:
    return SoftGit(tmp_path_factory.mktemp("soft") / "mesh.git")


@pytest.fixture
def objects(git: SoftGit) -> Iterator[Repository]:
    with Repository(git.path) as repository:
        yield repository


class Case:
    """A mesh whose first commit has `files`, trusted by a node; and what may come after it."""

    def __init__(self, objects: Repository, git: SoftGit, files: Files) -> None:
        self.objects, self.git, self.files = objects, git, files
        self.first = self.commit(by=OPS, subject="Begin")

    def commit(
        self, *parents: str, by: SoftKey | None, subject: str = "Change", **changes: str
    ) -> str:
        """Write a commit with changed files; `_` stands for a dot in their names."""
        changed = {name.replace("__", "/").replace("_", "."): changes[name] for name in changes}
        changed = {"allowed_signers" if n == "allowed.signers" else n: changed[n] for n in changed}
        return self.git.commit(self.files | changed, *parents, by=by, subject=subject)

    def accepts(self, tip: str, *, trusted: str = "", now: float = NOW) -> VerifiedCommit:
        """Return the tip, which both verify() and judge() take; who vouches is on each commit."""
        trusted = trusted or self.first
        found = chain.verify(self.objects, trusted, tip, now=now)
        assert found.id == tip
        problems = [each.problem for each in self.verdicts(tip, trusted=trusted, now=now)]
        assert not any(problems)
        return found

    def refuses(
        self, tip: str, *said: str, trusted: str = "", now: float = NOW, at: str = ""
    ) -> RefusedError:
        """Return the refusal of the tip, or of the commit `at`, which says all of `said`."""
        trusted = trusted or self.first
        with pytest.raises(RefusedError) as caught:
            chain.verify(self.objects, trusted, tip, now=now)
        error = caught.value
        assert error.commit == (at or tip)
        for each in said:
            assert each in f"{error.message}\n{error.hint}"
        verdicts = {each.id: each for each in self.verdicts(tip, trusted=trusted, now=now)}
        assert verdicts[error.commit].problem or any(each.problem for each in verdicts.values())
        return error

    def verdicts(self, tip: str, *, trusted: str = "", now: float = NOW) -> list[verdict.Judged]:
        return list(verdict.judge(self.objects, trusted or self.first, tip, now=now))


@pytest.fixture
def mesh(objects: Repository, git: SoftGit) -> Case:
    return Case(objects, git, files())


# ---------------------------------------------------------------- steps


def test_what_only_an_admin_may(mesh: Case) -> None:
    first, without_bob = mesh.first, signers("ops", "ann", "forge")
    mesh.accepts(mesh.commit(first, by=ANN, mesh_toml="b"))
    mesh.accepts(mesh.commit(first, by=OPS, allowed_signers=without_bob, trust_toml=ROLES + "#"))
    tip = mesh.commit(first, by=ANN, allowed_signers=without_bob)
    named = f"ann@x signed it, who is no admin in trust.toml of {first[:12]}"
    mesh.refuses(tip, f"{named}, and it changes allowed_signers", "signs it: ops@x\n")
    tip = mesh.commit(first, by=ANN, allowed_signers=without_bob, trust_toml=ROLES + "#")
    mesh.refuses(tip, "and it changes allowed_signers and trust.toml")
    tip = mesh.commit(first, by=ANN, openpgp__a_asc="x")
    mesh.refuses(tip, "and it changes openpgp")
    side = mesh.commit(first, by=None, allowed_signers=without_bob)
    tip = mesh.commit(first, side, by=ANN, allowed_signers=without_bob)
    mesh.refuses(tip, "and it changes allowed_signers")
    mesh.accepts(mesh.commit(first, side, by=ANN))


def test_a_join_needs_an_admin_of_the_trusted_commit(mesh: Case) -> None:
    base = mesh.commit(by=None, mesh_toml="old")
    trusted = mesh.commit(base, by=OPS)
    main = mesh.commit(base, by=None, mesh_toml="b")
    for join in (mesh.commit(main, trusted, by=ANN), mesh.commit(main, base, trusted, by=ANN)):
        for tip in (join, mesh.commit(join, by=OPS)):
            said = f"and it has {trusted[:12]} elsewhere than as first parent"
            mesh.refuses(tip, said, "one of the admins signs it", trusted=trusted, at=join)
    join = mesh.commit(main, trusted, by=OPS, mesh_toml="c")
    mesh.accepts(join, trusted=trusted)
    above = mesh.commit(join, by=ANN, mesh_toml="d")
    found = mesh.verdicts(above, trusted=trusted)
    assert [(each.id, each.kind) for each in found] == [
        (base, "side"),
        (main, "side"),
        (join, "join"),
        (above, "step"),
    ] or [each.kind for each in found] == ["side", "join", "step"]
    mesh.accepts(above, trusted=trusted)


def test_a_mainline_of_merges(objects: Repository, git: SoftGit) -> None:
    mesh = Case(objects, git, files('mainline = "merge"'))
    side = mesh.commit(mesh.first, by=None, mesh_toml="b")
    for by in (OPS, ANN):
        tip = mesh.commit(mesh.first, by=by, mesh_toml="b")
        mesh.refuses(
            tip, "it merges nothing, but trust.toml of", 'says mainline = "merge"', "--no-ff -S"
        )
        mesh.accepts(mesh.commit(mesh.first, side, by=by, mesh_toml="b"))
        mesh.accepts(mesh.commit(mesh.first, side, mesh.first, by=by, mesh_toml="b"))


def test_signed_side_commits(objects: Repository, git: SoftGit) -> None:
    mesh = Case(objects, git, files('side_commits = "signed"', bob=EXPIRED))
    first = mesh.first
    unsigned = mesh.commit(first, by=None, mesh_toml="b")
    strange = mesh.commit(first, by=EVE, mesh_toml="b")
    button = mesh.commit(first, by=FORGE, mesh_toml="b")
    another = git.put(
        "commit",
        objects.commit(mesh.commit(first, by=ANN, mesh_toml="c")).replace(b"Change", b"Charge"),
    )
    by_ann = mesh.commit(first, by=ANN, mesh_toml="b")
    by_bob = mesh.commit(by_ann, by=BOB, mesh_toml="b")
    for bad, said in (
        (unsigned, ("it is not signed", "sign what you commit and merge: git commit -S")),
        (another, ("does not match", "git rebase --force-rebase -S main")),
        (strange, ("which allowed_signers of", "an admin adds the key first")),
        (button, ("forge@x signed it, a forge's key that vouches for nothing", "by hand, not by")),
    ):
        tip = mesh.commit(first, bad, by=OPS, mesh_toml="b")
        brings = f"; {tip[:12]} brings it, which needs each commit signed by a person"
        mesh.refuses(tip, brings, *said, at=bad)
        above = mesh.commit(bad, by=ANN, mesh_toml="b")
        tip = mesh.commit(first, above, by=OPS, mesh_toml="b")
        mesh.refuses(tip, at=bad)
        tip = mesh.commit(first, by_ann, bad, by=OPS, mesh_toml="b")
        mesh.refuses(tip, at=bad)
        # Merged away by a step that shows that it takes nothing, or by one that does not.
        mesh.accepts(mesh.commit(first, bad, by=ANN))
        mesh.refuses(mesh.commit(first, bad, by_ann, by=ANN), at=bad)
        same = mesh.commit(bad, by=ANN)
        mesh.refuses(mesh.commit(first, same, by=ANN), at=bad)
    found = mesh.accepts(mesh.commit(first, by_bob, by=OPS, mesh_toml="b"))
    assert found.relies_on == tuple(sorted([ANN.fingerprint, BOB.fingerprint]))
    found = mesh.accepts(mesh.commit(first, by_ann, by=ANN, mesh_toml="b"))
    assert found.relies_on == () and found.fingerprint == ANN.fingerprint
    assert mesh.accepts(mesh.commit(first, by_ann, by=OPS)).relies_on == ()


def test_approvals(objects: Repository, git: SoftGit) -> None:
    lines = files("approvals = 2", bob=EXPIRED)
    lines[SIGNERS] += f"ann@x,eve@x {EVE.line}\n"
    mesh = Case(objects, git, lines)
    first = mesh.first
    asks = f"trust.toml of {first[:12]} says approvals = 2, but "

    def merged(*signed_by: SoftKey | None, by: SoftKey = OPS, text: str = "b") -> str:
        """Return a merge of a branch on which these signed the same files."""
        tip = first
        for key in signed_by:
            tip = mesh.commit(tip, by=key, mesh_toml="b")
        return mesh.commit(first, tip, by=by, mesh_toml=text)

    alone = mesh.commit(first, by=OPS, mesh_toml="b")
    mesh.refuses(alone, f"{asks}1 signed it: ops@x", "each further person signs its last files")
    mesh.refuses(merged(None), f"{asks}1 signed it: ops@x")
    mesh.refuses(merged(OPS), f"{asks}1 signed it: ops@x")
    mesh.refuses(merged(FORGE), f"{asks}1 signed it: ops@x")
    mesh.refuses(merged(EVE, by=ANN), f"{asks}1 signed it: ann@x")  # one person, two keys
    mesh.refuses(merged(BOB), f"{asks}1 signed it: ops@x")
    again = merged(ANN, by=OPS)
    for tip in (merged(ANN), merged(ANN, None), merged(None, ANN), merged(ANN, FORGE), again):
        assert mesh.accepts(tip).relies_on == (ANN.fingerprint,)
    mesh.refuses(merged(ANN, text="c"), f"{asks}others signed other files than it has", "sign that")
    before = mesh.commit(first, by=ANN, mesh_toml="c")
    after = mesh.commit(before, by=OPS, mesh_toml="b")
    mesh.refuses(mesh.commit(first, after, by=OPS, mesh_toml="b"), f"{asks}1 signed it: ops@x")
    three = mesh.commit(first, before, mesh.commit(first, by=ANN, mesh_toml="b"), by=OPS)
    mesh.refuses(three, f"{asks}1 signed it: ops@x")
    changed = mesh.commit(mesh.commit(first, by=ANN, mesh_toml="b"), by=None, mesh_toml="c")
    back = mesh.commit(changed, by=None, mesh_toml="b")
    found = mesh.accepts(mesh.commit(first, back, by=OPS, mesh_toml="b"))
    assert found.relies_on == (ANN.fingerprint,)
    # What the forge merges, people approve; its own signature is nobody's.
    mesh.refuses(merged(ANN, by=FORGE), f"{asks}1 signed it: ann@x")
    mesh.refuses(merged(ANN, EVE, by=FORGE), f"{asks}1 signed it: ann@x")
    found = mesh.accepts(merged(ANN, OPS, by=FORGE))
    assert found.relies_on == tuple(sorted([ANN.fingerprint, OPS.fingerprint]))
    assert mesh.accepts(mesh.commit(first, before, by=ANN)).relies_on == ()
    # What was signed of another history is no word on this one, be its files the same.
    elsewhere = mesh.commit(by=ANN, mesh_toml="b")
    brought = mesh.commit(first, elsewhere, by=None, mesh_toml="b")
    strange = mesh.commit(first, brought, by=OPS, mesh_toml="b")
    mesh.refuses(strange, f"{asks}others signed other files than it has")
    # An expired key still counts below the tip.
    by_bob = mesh.commit(first, by=BOB, mesh_toml="b")
    step = mesh.commit(first, by_bob, by=OPS, mesh_toml="b")
    mesh.refuses(step, f"{asks}1 signed it: ops@x")
    next_ = mesh.commit(step, by=ANN, mesh_toml="c")
    mesh.accepts(mesh.commit(step, next_, by=OPS, mesh_toml="c"))


def test_who_merges_alone_relies_on_nobody(mesh: Case) -> None:
    by_ann = mesh.commit(mesh.first, by=ANN, mesh_toml="b")
    assert mesh.accepts(mesh.commit(mesh.first, by_ann, by=OPS, mesh_toml="b")).relies_on == ()


def test_three_approvals(objects: Repository, git: SoftGit) -> None:
    mesh = Case(objects, git, files("approvals = 3"))
    one = mesh.commit(mesh.first, by=ANN, mesh_toml="b")
    two = mesh.commit(one, by=BOB, mesh_toml="b")
    mesh.refuses(
        mesh.commit(mesh.first, one, by=OPS, mesh_toml="b"),
        "approvals = 3, but 2 signed it: ann@x, ops@x",
    )
    found = mesh.accepts(mesh.commit(mesh.first, two, by=OPS, mesh_toml="b"))
    assert found.relies_on == tuple(sorted([ANN.fingerprint, BOB.fingerprint]))


def test_side_commits_are_counted(mesh: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    above = mesh.first
    for number in range(3):
        above = mesh.commit(above, by=ANN, mesh_toml=f"{number}")
    tip = mesh.commit(mesh.first, above, by=FORGE, mesh_toml="2")
    monkeypatch.setattr(side, "MOST_SIDE_COMMITS", 3)
    assert chain.verify(mesh.objects, mesh.first, tip, now=NOW).id == tip
    monkeypatch.setattr(side, "MOST_SIDE_COMMITS", 2)
    with pytest.raises(RefusedError, match="more commits than the 2 that are looked at") as caught:
        chain.verify(mesh.objects, mesh.first, tip, now=NOW)
    assert "make one signed commit of the branch" in caught.value.hint


# ---------------------------------------------------------------- merges by a forge


def test_what_a_forge_may_merge(mesh: Case) -> None:
    first = mesh.first
    old = mesh.commit(first, by=ANN, mesh_toml="b")
    side = mesh.commit(first, by=ANN, other="x")
    base = mesh.commit(first, by=OPS, mesh_toml="b")
    clean: Files = {"mesh_toml": "b", "other": "x"}
    vouches = "forge@x signed it, a forge's key that vouches for nothing, and it "
    tip = mesh.commit(base, side, by=FORGE, **clean)
    found = mesh.accepts(tip)
    assert (found.signer, found.fingerprint) == ("forge@x", FORGE.fingerprint)
    assert found.relies_on == (ANN.fingerprint,)
    kinds = [(each.id, each.kind, each.signer) for each in mesh.verdicts(tip)]
    assert kinds == [
        (base, "step", "ops@x"),
        (side, "side", "ann@x"),
        (tip, "forge merge", "forge@x"),
    ]
    for bad, said in (
        (mesh.commit(base, by=FORGE, **clean), "is no merge of two commits: squashed"),
        (mesh.commit(base, side, old, by=FORGE, **clean), "is no merge of two commits"),
        (mesh.commit(base, base, by=FORGE, mesh_toml="b"), "elsewhere than as first parent"),
        (mesh.commit(base, first, by=FORGE, mesh_toml="b"), f"nothing that {base[:12]} lacks"),
        (mesh.commit(base, side, by=FORGE, mesh_toml="b"), "merging its parents does not give"),
        (mesh.commit(base, side, by=FORGE, other="x"), "merging its parents does not give"),
        (mesh.commit(base, side, by=FORGE, **clean, more="x"), "its parents does not give"),
    ):
        error = mesh.refuses(bad, vouches + said.split(":")[0] if "is no" in said else said)
        assert vouches in error.message and ("button" in error.hint or "by hand" in error.hint)
    conflict = mesh.commit(first, by=ANN, mesh_toml="c")
    mesh.refuses(mesh.commit(base, conflict, by=FORGE, mesh_toml="c"), "does not give")
    swapped = mesh.commit(side, base, by=FORGE, **clean)
    error = mesh.refuses(swapped, trusted=base)
    assert f"{vouches}has {base[:12]} elsewhere than as first parent" in error.message
    assert f"an admin of {base[:12]} merges it by hand: git merge -S\n" in error.hint


def test_what_a_merge_by_hand_left_behind(mesh: Case) -> None:
    first = mesh.first
    # A branch that began before a repair has all that the repair kept.
    repair = mesh.commit(first, mesh.commit(first, by=EVE, other="evil"), by=OPS)
    late = mesh.commit(first, by=ANN, late="x")
    mesh.accepts(mesh.commit(repair, late, by=FORGE, late="x"))
    # One of which an octopus took a part only lacks the rest for good.
    one = mesh.commit(first, by=ANN, other="x")
    two = mesh.commit(one, by=ANN, other="x", left="x")
    octopus = mesh.commit(first, one, two, by=OPS, other="x")
    more = mesh.commit(two, by=ANN, other="x", left="x", more="x")
    said = f"merges a branch on {two[:12]}, which came before by a merge that git alone does not"
    mesh.refuses(mesh.commit(octopus, more, by=FORGE, other="x", more="x"), said)


@pytest.mark.parametrize("main_first", [True, False])
def test_each_commit_in_common_is_looked_at(mesh: Case, main_first: bool) -> None:
    """After a criss-cross there are several; git lists them by date."""
    first = mesh.first
    if main_first:
        main = mesh.commit(first, by=OPS, main="x")
    side = mesh.commit(first, by=ANN, left="x")
    if not main_first:
        main = mesh.commit(first, by=OPS, main="x")
    nothing = mesh.commit(main, side, by=OPS, main="x")
    both = mesh.commit(side, main, by=ANN, main="x", left="x")
    more = mesh.commit(both, by=ANN, main="x", left="x", more="x")
    tree = mesh.objects.merged(nothing, more)
    texts = [{"main": "x", "more": "x"} | kept for kept in ({}, {"left": "x"})]
    tips = [mesh.commit(nothing, more, by=FORGE, **text) for text in texts]
    (tip,) = (tip for tip in tips if parse(tip, mesh.objects.commit(tip)).tree == tree)
    mesh.refuses(tip, f"merges a branch on {side[:12]}, which came before")


def test_whose_commits_a_forge_may_merge(objects: Repository, git: SoftGit) -> None:
    mesh = Case(objects, git, files(bob=EXPIRED))
    first = mesh.first
    for key, said in (
        (None, "it is not signed; "),
        (EVE, "does not name; "),
        (FORGE, "a forge's key that vouches for nothing; "),
    ):
        bad = mesh.commit(first, by=key, mesh_toml="b")
        above = mesh.commit(bad, by=ANN, mesh_toml="c")
        for last, text in ((bad, "b"), (above, "c")):
            tip = mesh.commit(first, last, by=FORGE, mesh_toml=text)
            mesh.refuses(tip, said, f"{tip[:12]} brings it, which needs each commit", at=bad)
    by_bob = mesh.commit(first, by=BOB, mesh_toml="b")
    tip = mesh.commit(first, by_bob, by=FORGE, mesh_toml="b")
    mesh.refuses(tip, "bob@x signed it, whose key is not valid after", at=by_bob)
    problems = {each.id: each.problem or "" for each in mesh.verdicts(tip)}
    assert "not valid after" in problems[by_bob] and "not valid after" in problems[tip]
    # Below the tip of the branch, and below the tip of main, it is not asked when.
    above = mesh.commit(by_bob, by=ANN, mesh_toml="c")
    mesh.accepts(mesh.commit(first, above, by=FORGE, mesh_toml="c"))
    mesh.accepts(mesh.commit(tip, by=OPS, mesh_toml="d"))


def test_trust_files_that_a_forge_merges(objects: Repository, git: SoftGit) -> None:
    lines = files()
    lines[SIGNERS] = f"ops@x {OPS.line}\nops@x {EXPIRED} {EVE.line}\n"
    lines[SIGNERS] += signers("ann", "bob", "forge")
    mesh = Case(objects, git, lines)
    first, new = mesh.first, lines[SIGNERS] + "# changed\n"
    lacks = "changes allowed_signers, which no admin signed on the branch"
    hint = "an admin signs the branch's last files, up to date: git merge -S main"

    def merge(*steps: tuple[SoftKey, str, str]) -> str:
        tip = first
        for key, text, other in steps:
            tip = mesh.commit(tip, by=key, allowed_signers=text, other=other)
        last = steps[-1]
        return mesh.commit(first, tip, by=FORGE, allowed_signers=last[1], other=last[2])

    mesh.accepts(merge((OPS, new, "x")))
    mesh.accepts(merge((ANN, new, "x"), (OPS, new, "x")))
    mesh.accepts(merge((OPS, new, "x"), (ANN, new, "y")))  # not in what the admin signed
    mesh.refuses(merge((ANN, new, "x")), lacks, hint)
    mesh.refuses(merge((ANN, new, "x"), (BOB, new, "y")), lacks)
    mesh.refuses(merge((OPS, new, "x"), (ANN, new + "# more\n", "x")), lacks)
    mesh.refuses(merge((OPS, lines[SIGNERS], "x"), (ANN, new, "x")), lacks)
    # The admin's key must be valid now, when this is the tip of main.
    late = merge((EVE, new, "x"), (ANN, new, "y"))
    mesh.refuses(late, lacks)
    files_of_late = {SIGNERS: new, "other": "z"}
    above = mesh.git.commit(mesh.files | files_of_late, late, by=OPS)
    mesh.accepts(above)


# ---------------------------------------------------------------- what is left, and when


def test_who_is_left(mesh: Case) -> None:
    first = mesh.first
    for changes, said in (
        ({"allowed_signers": signers("ops", "forge", ops='namespaces="file"')}, "leave nobody"),
        (
            {"allowed_signers": signers("ops", "ann", "forge", ops='namespaces="file"')},
            "no usable admin",
        ),
        ({"trust_toml": f"approvals = 4\n{ROLES}"}, "wants approvals = 4, but leaves 3 who can"),
        (
            {"trust_toml": f"approvals = 2\n{ROLES}", "allowed_signers": signers("ops", "forge")},
            "leaves 1 who",
        ),
    ):
        tip = mesh.commit(first, by=OPS, **changes)
        mesh.refuses(tip, said, "keep people in them whose keys are usable")
        mesh.refuses(mesh.commit(tip, by=OPS), at=tip)  # though the next one mends it
    mesh.accepts(mesh.commit(first, by=OPS, trust_toml=f"approvals = 3\n{ROLES}"))


def test_whose_keys_are_over_by_now(mesh: Case) -> None:
    """Only what the tip leaves is held against the clock, and only when that was changed."""
    first = mesh.first
    over = signers("ops", "ann", "bob", "forge", ops=EXPIRED)
    tip = mesh.commit(first, by=OPS, allowed_signers=over)
    mesh.refuses(tip, "leave no usable admin")
    lines = mesh.files | {SIGNERS: over}
    inner = mesh.git.commit(lines | {"mesh.toml": "b"}, tip, by=ANN)
    mesh.refuses(inner, "leave no usable admin")
    assert [bool(each.problem) for each in mesh.verdicts(inner)] == [False, True]
    mesh.accepts(inner, trusted=tip)
    mended = mesh.commit(tip, by=OPS)
    mesh.refuses(mended, "whose key is not valid after")
    mesh.accepts(mended, now=1_577_836_800.0)
    soon = signers("ops", "ann", "bob", "forge", ann=EXPIRED)
    one = mesh.commit(first, by=OPS, allowed_signers=soon)
    by_ann = mesh.git.commit(mesh.files | {SIGNERS: soon}, one, by=ANN)
    mesh.refuses(by_ann, "ann@x signed it, whose key is not valid after 2020-01-01T00:00:00Z")
    mesh.accepts(mesh.git.commit(mesh.files | {SIGNERS: soon}, by_ann, by=BOB))


def test_a_key_that_is_revoked_here_is_no_fault_of_a_step(mesh: Case) -> None:
    revoked = [OPS.fingerprint]
    step = mesh.commit(mesh.first, by=ANN, mesh_toml="b")
    tip = mesh.commit(step, by=BOB, mesh_toml="c")
    found = chain.verify(mesh.objects, mesh.first, tip, now=NOW, revoked=revoked)
    assert found.signer == "bob@x"
    found_each = list(verdict.judge(mesh.objects, mesh.first, tip, now=NOW, revoked=revoked))
    assert [each.problem for each in found_each] == [None, None]
    by_ops = mesh.commit(step, by=OPS)
    with pytest.raises(RefusedError, match="revoked on this node") as caught:
        chain.verify(mesh.objects, mesh.first, by_ops, now=NOW, revoked=revoked)
    assert caught.value.commit == by_ops
    lines = mesh.files | {RULES: '[roles]\nadmin = ["ops@x", "ann@x"]\n'}
    two = mesh.git.commit(lines, by=OPS)
    for names, said in ((("ops", "bob"), "no usable admin"), (("ann", "ops"), "")):
        rules = "".join(f'"{name}@x", ' for name in names)
        changed = lines | {RULES: f"[roles]\nadmin = [{rules}]\n"}
        tip = mesh.git.commit(changed, two, by=ANN)
        both = [OPS.fingerprint, BOB.fingerprint]
        if said:
            with pytest.raises(RefusedError, match=said):
                chain.verify(mesh.objects, two, tip, now=NOW, revoked=both)
        else:
            assert chain.verify(mesh.objects, two, tip, now=NOW, revoked=both).id == tip


# ---------------------------------------------------------------- hints


def test_the_printed_repair_is_one_that_the_rules_let_through(
    objects: Repository, git: SoftGit
) -> None:
    branch = "a b"

    def hint(mesh: Case, tip: str, trusted: str = "", *revoked: str) -> str:
        with pytest.raises(RefusedError) as caught:
            chain.verify(
                objects, trusted or mesh.first, tip, now=NOW, branch=branch, revoked=revoked
            )
        return caught.value.hint

    for rules, aside in (
        ("", False),
        ("approvals = 2", True),
        ('side_commits = "signed"', True),
        ('mainline = "merge"', False),
    ):
        mesh = Case(objects, git, files(rules))
        trusted = mesh.first
        other = mesh.commit(trusted, by=None, mesh_toml="b")
        assert hint(mesh, other).endswith(refusal.merge(trusted, branch))
        same = mesh.commit(trusted, by=None)
        assert hint(mesh, same).endswith(refusal.merge(trusted, branch, aside=aside))
        strange = mesh.commit(by=OPS, mesh_toml="b")
        assert hint(mesh, strange) == refusal.merge(trusted, branch, unrelated=True)
        strange = mesh.commit(by=OPS, subject="Begin again")
        assert hint(mesh, strange) == refusal.merge(trusted, branch, unrelated=True, aside=aside)
        tip = mesh.commit(trusted, trusted, by=ANN)
        assert hint(mesh, trusted, tip) == refusal.push(tip, branch)
        aside = bool(rules) and "side" not in rules
        again = refusal.sign_again(trusted, branch, aside=aside)
        assert hint(mesh, trusted, trusted, OPS.fingerprint).endswith(again)
    gone = "12" * 20
    assert hint(mesh, trusted, gone) == refusal.merge(gone, branch, unrelated=True)


def test_what_the_repairs_say() -> None:
    trusted, quoted = "ab" * 20, "'HEAD:refs/heads/a b'"
    merged = refusal.merge(trusted, "a b").splitlines()
    assert merged[0].startswith(
        f"in a clone, someone whom {trusted[:12]} authorises (an admin, where"
    )
    start = f"git fetch origin && git checkout --detach {trusted} && "
    signed = "-S --no-verify-signatures --no-edit"
    assert merged[1:] == [
        f"{start}git merge -s ours {signed} 'origin/a b' && git push origin {quoted}"
    ]
    empty = '-m \'Merged away\' "$(git mktree </dev/null)")"'
    nothing = f"\"$(git commit-tree -p 'origin/a b' {empty}"
    option = "--allow-unrelated-histories "
    assert refusal.merge(trusted, "a b", unrelated=True, aside=True).splitlines()[1:] == [
        f"{start}git merge -s ours {option}{signed} {nothing} && git push origin {quoted}"
    ]
    again = refusal.sign_again(trusted, "a b").splitlines()
    assert again[0].startswith(f"in a clone, someone else whom {trusted[:12]} authorises signs")
    assert again[1:] == [
        f"{start}git commit --allow-empty -S -m 'Sign again' && git push origin {quoted}"
    ]
    nothing = f'"$(git commit-tree -p {trusted} {empty}'
    assert refusal.sign_again(trusted, "a b", aside=True).splitlines()[1:] == [
        f"{start}git merge -s ours {signed} {nothing} && git push origin {quoted}"
    ]
    assert refusal.push(trusted, "a b").splitlines()[1] == (
        f"git push origin '{trusted}:refs/heads/a b'"
    )


# ---------------------------------------------------------------- what was accepted before


def test_a_commit_again(mesh: Case) -> None:
    first, git = mesh.first, mesh.git
    tip = mesh.commit(first, by=ANN, subject="Next", mesh_toml="b")
    expected = VerifiedCommit(
        id=tip,
        tree=git.tree(mesh.files | {"mesh.toml": "b"}),
        signer="ann@x",
        fingerprint=ANN.fingerprint,
        author="Ada <ada@example.com>",
        subject="Next",
        time=git.clock,
    )
    assert mesh.accepts(tip) == expected
    for found in (
        chain.verify(mesh.objects, tip, tip, now=NOW),
        chain.describe(mesh.objects, tip),
        chain.describe(mesh.objects, tip, revoked=[OPS.fingerprint]),
    ):
        assert found == expected
    assert chain.introduce(mesh.objects, tip, fingerprint=ANN.fingerprint, now=NOW) == expected
    given = signers("ann").replace("ann@x", "anna@x").encode()
    assert chain.admit(mesh.objects, tip, given, now=NOW) == replace(expected, signer="anna@x")
    assert mesh.verdicts(tip, trusted=tip) == []
    judged = mesh.verdicts(tip)
    assert judged == [
        verdict.Judged(
            id=tip,
            short=tip[:12],
            author=expected.author,
            subject="Next",
            time=expected.time,
            signer="ann@x",
            fingerprint=ANN.fingerprint,
            kind="step",
            problem=None,
        )
    ]
    for bad in (mesh.commit(first, by=None), mesh.commit(first, by=EVE)):
        (judged_bad,) = mesh.verdicts(bad)
        assert (judged_bad.signer, judged_bad.fingerprint) == (None, None)
        assert judged_bad.problem


def test_what_a_trusted_commit_rests_on(objects: Repository, git: SoftGit) -> None:
    mesh = Case(objects, git, files('side_commits = "signed"'))
    side = mesh.commit(mesh.first, by=ANN, mesh_toml="b")
    tip = mesh.commit(mesh.first, side, by=OPS, mesh_toml="b")
    found = mesh.accepts(tip)
    assert found.relies_on == (ANN.fingerprint,)
    assert chain.describe(objects, tip) == found
    assert chain.describe(objects, tip, revoked=[BOB.fingerprint]) == found
    for revoked in (ANN, OPS):
        with pytest.raises(RefusedError, match="revoked on this node") as caught:
            chain.describe(objects, tip, revoked=[revoked.fingerprint])
        assert caught.value.hint.endswith("re-anchor this node")
        assert caught.value.commit == (side if revoked is ANN else tip)
    by_editor = mesh.commit(mesh.first, side, by=BOB, mesh_toml="b")
    assert chain.describe(objects, by_editor).relies_on == (ANN.fingerprint,)
    # Of a join nothing more is known than who signed it.
    base = mesh.commit(mesh.first, by=None, mesh_toml="c")
    join = mesh.commit(base, mesh.first, by=OPS)
    for revoked in (ANN, BOB):
        found = chain.describe(objects, join, revoked=[revoked.fingerprint])
        assert (found.signer, found.relies_on) == ("ops@x", ())


def test_who_is_left_was_judged_when_it_was_accepted(objects: Repository, git: SoftGit) -> None:
    """A key that is revoked later takes nothing back of what it did not sign."""
    two = files() | {RULES: '[roles]\nadmin = ["ops@x", "ann@x"]\n'}
    one = files() | {RULES: '[roles]\nadmin = ["ops@x"]\n'}
    first = git.commit(two, by=OPS)
    side = git.commit(one, first, by=None)
    tip = git.commit(one, first, side, by=ANN)
    found = chain.describe(objects, tip, revoked=[OPS.fingerprint])
    assert (found.signer, found.relies_on) == ("ann@x", ())


def test_who_names_the_signer_of_a_trusted_commit(objects: Repository, git: SoftGit) -> None:
    """The first parent does, else another one, else the commit itself, else nobody."""

    def named(text: str) -> Files:
        return files() | {SIGNERS: signers("ops", "forge") + text}

    first, second, own = (named(f"{name}@x {EVE.line}\n") for name in ("one", "two", "own"))
    none, broken = named(""), {"mesh.toml": "x"}
    commits = {
        name: git.commit(found, by=OPS, subject=name)
        for name, found in (("1", first), ("2", second), ("0", none), ("x", broken))
    }
    for tree, parents, signer in (
        (own, "12", "one@x"),
        (own, "21", "two@x"),
        (own, "01", "one@x"),
        (own, "x2", "two@x"),
        (own, "0", "own@x"),
        (own, "x", "own@x"),
        (own, "", "own@x"),
        (none, "0", EVE.fingerprint),
        (none, "00", EVE.fingerprint),
    ):
        tip = git.commit(tree, *(commits[each] for each in parents), by=EVE)
        found = chain.describe(objects, tip)
        assert (found.signer, found.fingerprint) == (signer, EVE.fingerprint)


# ---------------------------------------------------------------- beginnings


def test_beginnings(mesh: Case) -> None:
    objects, first = mesh.objects, mesh.first
    introduce, admit = chain.introduce, chain.admit
    ops, ann = OPS.fingerprint, ANN.fingerprint
    for fingerprint in (None, ops):
        for now in (None, NOW):
            found = introduce(objects, first, fingerprint=fingerprint, now=now)
            assert (found.id, found.signer, found.fingerprint) == (first, "ops@x", ops)
    for commit, asked, said in (
        (first, ann, f"{ops} signed it, not {ann}"),
        ("12" * 20, None, "the introduction commit 121212121212 is not in the history"),
        (mesh.commit(by=EVE), None, "which its own allowed_signers does not name"),
        (mesh.commit(by=None), None, "it is not signed"),
    ):
        with pytest.raises(RefusedError) as caught:
            introduce(objects, commit, fingerprint=asked, now=NOW)
        assert said in caught.value.message and caught.value.commit == commit
        assert "ask the person who gave you the join line" in caught.value.hint
    with pytest.raises(RefusedError, match="revoked on this node"):
        introduce(objects, mesh.commit(by=ANN), fingerprint=None, now=None, revoked=[ann])
    with pytest.raises(RefusedError, match="no usable admin"):
        introduce(objects, first, fingerprint=None, now=None, revoked=[ops])
    old = mesh.commit(by=ANN, allowed_signers=signers("ops", "ann", "forge", ann=EXPIRED))
    assert introduce(objects, old, fingerprint=None, now=None).signer == "ann@x"
    with pytest.raises(RefusedError, match="not valid after"):
        introduce(objects, old, fingerprint=None, now=NOW)
    given = f"eve@y {EVE.line}\nforge@x {FORGE.line}\n".encode()
    by_eve = mesh.commit(by=EVE)
    assert admit(objects, by_eve, given, now=NOW).signer == "eve@y"
    for commit, said in (
        (first, "which the given allowed_signers does not name"),
        (mesh.commit(by=FORGE), "forge@x signed it, a forge's key that vouches for nothing"),
        (mesh.commit(by=EVE, allowed_signers=""), "names nobody"),
    ):
        with pytest.raises(RefusedError) as caught:
            admit(objects, commit, given, now=NOW)
        assert said in caught.value.message and caught.value.commit == commit
        assert "give a signers file" in caught.value.hint
    with pytest.raises(RefusedError, match="revoked on this node"):
        admit(objects, by_eve, given, now=NOW, revoked=[EVE.fingerprint])
    with pytest.raises(RefusedError, match="not valid after"):
        admit(objects, by_eve, given.replace(b"eve@y", b"eve@y " + EXPIRED.encode()), now=NOW)
    over = mesh.commit(by=EVE, allowed_signers=signers("ops", "forge", ops=EXPIRED))
    with pytest.raises(RefusedError, match="leave nobody"):
        admit(objects, over, given, now=NOW)


# ---------------------------------------------------------------- trust files


def test_what_trust_files_may_be(objects: Repository, git: SoftGit) -> None:
    text = git.put("blob", signers("ops", "ann").encode())
    empty, link = git.tree({}), git.put("blob", b"elsewhere")
    for mode, found, said in (
        ("100644", text, ""),
        ("100755", text, ""),
        ("120000", link, "allowed_signers is a symbolic link, not a file"),
        ("160000", "12" * 20, "allowed_signers is a submodule, not a file"),
        ("40000", empty, "allowed_signers is a directory, not a file"),
        ("100664", text, "allowed_signers is an entry of mode 100664, not a file"),
    ):
        commit = git.commit_tree(git.listing((mode, SIGNERS, found)), by=OPS)
        if said:
            with pytest.raises(RefusedError, match=said):
                chain.authority(objects, commit)
        else:
            assert chain.authority(objects, commit).usable() == {"ops@x", "ann@x"}
    key = f"{'A' * 40}.asc"
    several = [("100644", f"{number:040X}.asc", "12" * 20) for number in range(257)]
    for mode, found, said in (
        ("100644", text, "openpgp is a file, not a directory"),
        ("120000", link, "openpgp is a symbolic link, not a directory"),
        ("40000", git.listing(("120000", key, link)), f"openpgp/{key} is a symbolic link, not a"),
        ("40000", git.listing(("40000", key, empty)), f"openpgp/{key} is a directory, not a"),
        ("40000", git.listing(("100644", key, text)), f"openpgp/{key} is not exactly one"),
        ("40000", git.listing(*several), "openpgp/ has more than 256 files"),  # none is read
    ):
        tree = git.listing(("100644", SIGNERS, text), (mode, "openpgp", found))
        with pytest.raises(RefusedError, match=said):
            chain.authority(objects, git.commit_tree(tree, by=OPS))
    bare = git.commit_tree(git.listing(("40000", "openpgp", empty)), by=OPS)
    with pytest.raises(RefusedError, match="it has no allowed_signers at the root") as caught:
        chain.authority(objects, bare)
    assert "put allowed_signers back" in caught.value.hint


def test_certificates_alone(objects: Repository, git: SoftGit) -> None:
    with GpgHome() as home:
        key = home.make("ada")
        (name, text), *_ = home.files(key).items()
    commit = git.commit({f"openpgp/{name}": text.decode()}, by=OPS)
    assert chain.authority(objects, commit).usable() == {key}
    both = git.commit({f"openpgp/{name}": text.decode(), SIGNERS: signers("ops")}, by=OPS)
    assert chain.authority(objects, both).usable() == {key, "ops@x"}


# ---------------------------------------------------------------- what git says


def test_a_line_that_is_none(mesh: Case) -> None:
    """Who git says is a parent of whom is looked up in the commits themselves."""
    middle = mesh.commit(mesh.first, by=None)
    tip = mesh.commit(middle, by=OPS)
    above = mesh.commit(tip, by=OPS)

    class Liar(Repository):
        def line(self, tip: str, limit: int) -> list[str]:
            return [commit for commit in super().line(tip, limit) if commit != middle]

    with Liar(mesh.git.path) as objects:
        for last in (tip, above):
            for call in (chain.verify, lambda *args, **more: list(verdict.judge(*args, **more))):
                with pytest.raises(RefusedError, match="its first parent is not") as caught:
                    call(objects, mesh.first, last, now=NOW)
                assert caught.value.commit == tip


@pytest.mark.parametrize("part", [1, 2, 3, 64])
def test_a_line_is_read_in_parts(mesh: Case, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(walk, "READ_AHEAD", part)
    tip = mesh.first
    for number in range(7):
        tip = mesh.commit(tip, by=ANN, mesh_toml=f"{number}")
    mesh.accepts(tip)
    bad = mesh.commit(tip, by=EVE)
    mesh.refuses(mesh.commit(mesh.commit(bad, by=ANN), by=ANN), "does not name", at=bad)


def test_no_more_is_read_ahead_than_fits(mesh: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a chunk holds is known once it is over the limit: it may be one commit more."""
    tip = mesh.first
    for number in range(9):
        tip = mesh.commit(tip, by=ANN, mesh_toml=f"{number}")
    size = len(mesh.objects.commit(tip))
    chunks: list[int] = []
    monkeypatch.setattr(Authorities, "prefetch", lambda _, found: chunks.append(len(found)))
    monkeypatch.setattr(walk, "MOST_AHEAD_BYTES", 2 * size)
    assert chain.verify(mesh.objects, mesh.first, tip, now=NOW).id == tip
    assert chunks == [3, 3, 3]


def test_a_commit_that_cannot_be_read_is_refused_in_its_turn(mesh: Case) -> None:
    good = mesh.commit(mesh.first, by=ANN)
    raw = mesh.objects.commit(mesh.commit(good, by=ANN))
    bad = mesh.git.put("commit", raw.replace(b"author Ada", b"author2 Ada", 1))
    for tip in (bad, mesh.commit(bad, by=ANN)):
        with pytest.raises(RefusedError, match=f"commit {bad[:12]} is refused: ") as caught:
            chain.verify(mesh.objects, mesh.first, tip, now=NOW)
        assert caught.value.commit == bad
    early = mesh.commit(mesh.first, by=EVE)
    raw = mesh.objects.commit(mesh.commit(early, by=ANN))
    bad = mesh.git.put("commit", raw.replace(b"author Ada", b"author2 Ada", 1))
    with pytest.raises(RefusedError, match="does not name") as caught:
        chain.verify(mesh.objects, mesh.first, mesh.commit(bad, by=ANN), now=NOW)
    assert caught.value.commit == early


def test_lines_of_every_length(mesh: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the trusted commit is on the line or joined to it, and however much is looked at."""
    commits = [mesh.first]
    for number in range(9):
        commits.append(mesh.commit(commits[-1], by=None, mesh_toml=f"{number}"))
    served = mesh.commit(commits[1], by=None, subject="Served early")
    joined = commits[:5]
    for other in (served, None, None, None):
        above = [joined[-1]] if other is None else [joined[-1], other]
        joined.append(mesh.commit(*above, by=None, mesh_toml="joined"))
    for look in (1, 2, 3, 8, 1024):
        monkeypatch.setattr(line, "FIRST_LOOK", look)
        walk = Walk(mesh.objects, lambda **_: "")
        for at in (0, 1, 6, 8):
            found = line.find(walk, commits[at], commits[9], "main")
            assert found == line.Line(commits[:at:-1], joins=False)
        for top in range(5, 9):
            found = line.find(walk, served, joined[top], "main")
            assert found == line.Line(joined[top:4:-1], joins=True)
        for trusted, tip in ((commits[9], commits[2]), (served, commits[9]), ("12" * 20, served)):
            with pytest.raises(RefusedError):
                line.find(walk, trusted, tip, "main")
        for longest in (1, 8, 9):
            monkeypatch.setattr(line, "LONGEST_WALK", longest)
            for at in (0, 1, 8):
                if 9 - at > longest:
                    with pytest.raises(RefusedError, match=f"more than {longest} commits lie"):
                        line.find(walk, commits[at], commits[9], "main")
                else:
                    assert len(line.find(walk, commits[at], commits[9], "main").commits) == 9 - at
        monkeypatch.undo()


def test_how_much_of_a_line_is_listed(mesh: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as is asked for, more only when the trusted commit is below, and not twice."""
    commits = [mesh.first]
    for number in range(9):
        commits.append(mesh.commit(commits[-1], by=None, mesh_toml=f"{number}"))
    listed = list[tuple[str, int]]()
    asked = list[str]()

    class Listed(Repository):
        def line(self, tip: str, limit: int) -> list[str]:
            listed.append((tip, limit))
            return super().line(tip, limit)

        def is_ancestor(self, ancestor: str, descendant: str) -> bool:
            asked.append(descendant)
            return super().is_ancestor(ancestor, descendant)

    monkeypatch.setattr(line, "FIRST_LOOK", 1)
    with Listed(mesh.git.path) as objects:
        line.find(Walk(objects, lambda **_: ""), mesh.first, commits[9], "main")
        assert listed == [(commits[9], 1), (commits[9], 8), (commits[2], 57)]
        assert asked == [commits[9], commits[2]]
        listed.clear()
        unrelated = mesh.commit(by=None)
        with pytest.raises(RefusedError):
            line.find(Walk(objects, lambda **_: ""), unrelated, commits[9], "main")
        assert listed == [(commits[9], 1)]
        listed.clear()
        monkeypatch.setattr(line, "LONGEST_WALK", 3)
        with pytest.raises(RefusedError, match="more than 3 commits"):
            line.find(Walk(objects, lambda **_: ""), mesh.first, commits[9], "main")
        assert listed == [(commits[9], 1), (commits[9], 8)]


def test_a_branch_without_a_name_is_main(mesh: Case) -> None:
    strange = mesh.commit(by=OPS)
    for call in (chain.verify, lambda *args, **more: list(verdict.judge(*args, **more))):
        with pytest.raises(RefusedError) as caught:
            call(mesh.objects, mesh.first, strange, now=NOW)
        assert caught.value.hint.endswith("git push origin HEAD:refs/heads/main")


# ---------------------------------------------------------------- verdicts


def test_what_a_refused_commit_would_have_been(mesh: Case) -> None:
    trusted = mesh.commit(mesh.first, by=OPS)
    step = mesh.commit(mesh.first, by=None, mesh_toml="b")
    join = mesh.commit(step, trusted, by=None, mesh_toml="b")
    tip = mesh.commit(join, by=None, mesh_toml="c")
    kinds = [(each.id, each.kind) for each in mesh.verdicts(tip, trusted=trusted)]
    assert kinds[-2:] == [(join, "join"), (tip, "step")]
    found = mesh.verdicts(mesh.commit(step, trusted, by=EVE, mesh_toml="b"), trusted=trusted)
    assert found[-1].kind == "join"


def test_verdicts_on_side_commits(objects: Repository, git: SoftGit) -> None:
    """What a side commit lacks is a problem only where the rules ask for it."""
    for rules, asked in (("", False), ('side_commits = "signed"', True)):
        mesh = Case(objects, git, files(rules, bob=EXPIRED))
        one = mesh.commit(mesh.first, by=None, mesh_toml="b")
        two = mesh.commit(one, by=BOB, mesh_toml="c")
        tip = mesh.commit(mesh.first, two, by=OPS, mesh_toml="c")
        found = mesh.verdicts(tip)
        assert [(each.id, each.kind) for each in found] == [
            (one, "side"),
            (two, "side"),
            (tip, "step"),
        ]
        assert [each.signer for each in found] == [None, "bob@x", "ops@x"]
        assert [bool(each.problem) for each in found] == [asked, False, asked]
        assert "brings it" in (found[0].problem or "brings it")


def test_a_verdict_on_what_comes_after_a_refused_one(mesh: Case) -> None:
    bad = mesh.commit(mesh.first, by=None, mesh_toml="b")
    good = mesh.commit(bad, by=ANN, mesh_toml="c")
    changed = mesh.commit(good, by=ANN, allowed_signers=signers("ann", "forge"))
    above = mesh.git.commit(mesh.files | {SIGNERS: signers("ann", "forge")}, changed, by=BOB)
    found = mesh.verdicts(above)
    assert [bool(each.problem) for each in found] == [True, False, True, True]
    assert [each.signer for each in found] == [None, "ann@x", "ann@x", None]
