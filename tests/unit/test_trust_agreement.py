"""Several remotes: which tip is the newest, and what is said when there is none. Real git."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.signing import EPOCH, Keys, Workshop, environment, run
from wgmesh.errors import RefusedError
from wgmesh.repository.bare import Repository
from wgmesh.trust import chain
from wgmesh.trust.agreement import Tip, heads, newest

NOW = float(EPOCH)
ONE, TWO, THREE = "git://one.example/mesh.git", "ssh://git@two.example/o'mesh.git", "/srv/three"


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    keys = Keys(tmp_path).make()
    made = Workshop(tmp_path / "work", keys).start()
    made.commit("Begin", {"allowed_signers": keys.signers("ops", "ann"), "mesh.toml": "one"})
    return made


@pytest.fixture
def objects(work: Workshop) -> Iterator[Repository]:
    """Read the work tree's own repository."""
    with Repository(work.git_dir) as repository:
        yield repository


def test_a_single_tip_is_the_newest(work: Workshop, objects: Repository) -> None:
    tip = work.head()
    assert newest(objects, [Tip(ONE, tip)], tip, "main") == tip
    assert newest(objects, [Tip(ONE, tip), Tip(TWO, tip)], tip, "main") == tip


def test_late_is_no_disagreement(work: Workshop, objects: Repository) -> None:
    line = [work.head(), *(work.commit(f"Step {n}") for n in range(3))]
    tips = [Tip(ONE, line[1]), Tip(TWO, line[3]), Tip(THREE, line[2])]
    assert newest(objects, tips, line[0], "main") == line[3]
    assert heads(objects, line) == (line[3],)


def test_a_merge_of_both_follows_both(work: Workshop, objects: Repository) -> None:
    start, one = work.head(), work.commit("One", {"a": "a"})
    work.checkout(start)
    two = work.commit("Two", {"b": "b"})
    merged = work.merge(one)
    assert heads(objects, [one, two]) == (one, two)
    assert newest(objects, [Tip(ONE, one), Tip(TWO, merged)], start, "main") == merged


def fork(work: Workshop) -> tuple[str, str, str]:
    """Return a commit and two that follow it, by different ways."""
    start, one = work.head(), work.commit("One story", {"a": "a"})
    work.checkout(start)
    return start, one, work.commit("Another\x1b[2J story", {"b": "b"}, sign=None)


def test_a_fork_names_both_stories(work: Workshop, objects: Repository) -> None:
    start, one, two = fork(work)
    with pytest.raises(RefusedError) as caught:
        newest(objects, [Tip(ONE, one), Tip(TWO, two), Tip(THREE, one)], start, "main")
    said = caught.value.message
    assert f'commit {one[:12]} ("One story" by Ada' in said
    assert f'commit {two[:12]} ("Another[2J story" by Ada' in said
    assert f" at {ONE}, {THREE} and commit {two[:12]}" in said and f" at {TWO}, of which" in said
    assert "disagree" in said
    assert said.isprintable()
    assert caught.value.commit == one
    assert "/etc/wgmesh/node.toml" in caught.value.hint


def test_what_is_blamed_is_not_the_trusted_one(work: Workshop, objects: Repository) -> None:
    start, one, two = fork(work)
    for trusted, blamed in ((one, two), (two, one), (start, one)):
        with pytest.raises(RefusedError) as caught:
            newest(objects, [Tip(ONE, one), Tip(TWO, two)], trusted, "main")
        assert caught.value.commit == blamed


def remote(work: Workshop, name: str, commit: str) -> str:
    """Make a bare repository that has `commit` as main; return where."""
    path = work.path.parent / name
    run(["git", "init", "--quiet", "--bare", "--initial-branch=main", name], work.path.parent)
    work.git("push", "--quiet", str(path), f"{commit}:refs/heads/main")
    return str(path)


STRICT = 'approvals = 2\nside_commits = "signed"\nmainline = "merge"\n'


UNRELATED = "--allow-unrelated-histories"
CASES = ["fork", "one is trusted", "one is unrelated", "all are unrelated", "three", "strict"]


@pytest.mark.parametrize("case", CASES)
def test_the_printed_command_ends_it(work: Workshop, objects: Repository, case: str) -> None:
    if case == "strict":
        work.commit("Two people from now on", {"trust.toml": STRICT})
    start, one, two = fork(work)
    stories = [one, two]
    for at in {"one is unrelated": [1], "all are unrelated": [0, 1]}.get(case, []):
        work.git("checkout", "--quiet", "--orphan", f"fresh{at}")
        stories[at] = work.commit(f"Fresh start {at}", {"c": "c"}, sign=None)
    if case == "three":
        work.checkout(start)
        stories.append(work.commit("A third", {"c": "c"}))
    trusted = one if case == "one is trusted" else start
    tips = [Tip(remote(work, f"it's {n}.git", commit), commit) for n, commit in enumerate(stories)]
    with pytest.raises(RefusedError) as caught:
        newest(objects, tips, trusted, "main")
    command = caught.value.hint.splitlines()[-1]
    assert command.count(" refs/heads/main && ") == len(tips), (
        "not whatever a remote calls its HEAD"
    )
    assert (UNRELATED in command) is case.endswith("unrelated")
    people = work.path.parent / "people"
    run(["git", "clone", "--quiet", str(work.path), str(people)], work.path.parent)
    for name, value in (("gpg.format", "ssh"), ("user.signingkey", str(work.keys.private("ann")))):
        run(["git", "config", name, value], people)
    run(["sh", "-c", command], people, env=environment(work.path.parent))
    ended = {run(["git", "rev-parse", "main"], Path(tip.remote)).decode().strip() for tip in tips}
    assert len(ended) == 1
    (end,) = ended
    work.git("fetch", "--quiet", tips[0].remote, "main")
    assert heads(objects, [*stories, end]) == (end,)
    verified = chain.verify(objects, trusted, end, now=NOW)
    assert verified.signer == "ann@example.com"
    assert work.tree(end) == work.tree(trusted)


def test_the_printed_command_of_a_node_that_lost_the_trusted_commit(
    work: Workshop, objects: Repository
) -> None:
    _, one, two = fork(work)
    with pytest.raises(RefusedError) as caught:
        newest(objects, [Tip(ONE, one), Tip(TWO, two)], "12" * 20, "main")
    assert UNRELATED in caught.value.hint
