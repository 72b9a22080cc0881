"""What merging gives, by git, and which commits a merge brings: the same on every node."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.repository import merge
from wgmesh.repository.bare import Repository
from wgmesh.repository.command import Limits

from .signing import Keys, Workshop, run

TEXT = "".join(f"line {number}\n" for number in range(20))


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    work = Workshop(tmp_path / 'work: "one"', Keys(tmp_path)).start()
    work.commit("Begin", {"a.toml": TEXT}, sign=None)
    return work


@pytest.fixture
def bare(work: Workshop, tmp_path: Path) -> Iterator[Repository]:
    """Return a node's repository, at a path that wants quoting."""
    with Repository(tmp_path / 'no"de: \\ one.git') as repository:
        repository.create()
        yield repository


def fetched(bare: Repository, work: Workshop) -> None:
    run(["git", "fetch", "--quiet", str(work.path), "+refs/*:refs/wgmesh/*"], bare.path)


def fork(work: Workshop, ours: dict[str, str | None], theirs: dict[str, str | None]) -> list[str]:
    """Commit two changes to what is checked out, on branches of their own."""
    base = work.head()
    tips = []
    for name, files in (("ours", ours), ("theirs", theirs)):
        work.checkout(base)
        tips.append(work.commit(name, files, sign=None))
        work.git("branch", "--force", name)
    return tips


def objects(bare: Repository) -> list[Path]:
    return sorted(path for path in bare.path.rglob("*") if path.is_file())


def test_a_clean_merge_is_what_git_merge_makes(bare: Repository, work: Workshop) -> None:
    one, other = fork(
        work,
        {"a.toml": TEXT.replace("line 2\n", "ours\n")},
        {"b.toml": TEXT + "x\n", "a.toml": None},
    )
    work.checkout(one)
    made = work.merge(other, sign=None)
    fetched(bare, work)
    before = objects(bare)
    assert bare.merged(one, other) == work.tree(made)  # with what was renamed, as git does
    assert bare.merged(one, one) == work.tree(one)
    assert objects(bare) == before


def test_nothing_is_left_behind(
    bare: Repository, work: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    one, other = fork(work, {"a.toml": "ours"}, {"a.toml": "theirs"})
    fetched(bare, work)
    before = objects(bare)
    assert bare.merged(one, other) is None
    assert objects(bare) == before and list((tmp_path / "temporary").iterdir()) == []


def test_unrelated_histories_do_not_merge(bare: Repository, work: Workshop) -> None:
    one = work.head()
    work.git("checkout", "--quiet", "--orphan", "other")
    other = work.commit("Another", {"b": "b"}, sign=None)
    work.git("branch", "keep", one)
    fetched(bare, work)
    assert bare.merged(one, other) is None


def test_attributes_and_configuration_change_nothing(
    bare: Repository, work: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have a merge driver that a repository, its commits or the machine's admin might name."""
    attributes = "*.toml merge=mine -text\n"
    work.commit("Attributes", {".gitattributes": "*.toml merge=union\n"}, sign=None)
    one, other = fork(work, {"a.toml": "ours\n" + TEXT}, {"a.toml": "theirs\n" + TEXT})
    fetched(bare, work)
    ran = tmp_path / "ran"
    for file in (bare.path / "config", tmp_path / "gitconfig"):
        for name, value in {
            "merge.mine.driver": f"touch {ran}",
            "merge.default": "mine",
            "merge.renames": "false",
            "diff.renames": "false",
            "core.attributesFile": str(tmp_path / "attributes"),
            "core.hooksPath": str(tmp_path),
        }.items():
            run(["git", "config", "--file", str(file), name, value], tmp_path)
    (tmp_path / "attributes").write_text(attributes)
    (bare.path / ".gitattributes").write_text(attributes)
    run(["git", "symbolic-ref", "HEAD", "refs/wgmesh/heads/ours"], bare.path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    assert bare.merged(one, other) is None  # a conflict, as without attributes
    assert not ran.exists()
    work.checkout(work.git("merge-base", one, other))
    renamed, changed = fork(work, {"a.toml": None, "b.toml": TEXT}, {"a.toml": TEXT + "more\n"})
    work.checkout(renamed)
    (work.path / ".gitattributes").unlink()
    made = work.merge(changed, sign=None)
    fetched(bare, work)
    assert bare.merged(renamed, changed) == work.tree(made)


class Slow(Limits):
    """What has git begin an hour late."""

    @property
    def argv(self) -> tuple[str, ...]:
        """What goes in front of git: a shell that takes git's words for its own."""
        return ("sh", "-c", "sleep 3600")


class Busy(Limits):
    """What has git compute for ever, with a second to do so."""

    @property
    def argv(self) -> tuple[str, ...]:
        """What goes in front of git: see Slow."""
        return ("prlimit", "--cpu=1", "--", "sh", "-c", "while :; do :; done")


def test_time_and_memory_are_bounded(
    bare: Repository, work: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = fork(work, {"b": "b"}, {"c": "c"})
    fetched(bare, work)
    with monkeypatch.context() as patch:
        patch.setattr(merge, "_LIMITS", Busy(1 << 20))
        with pytest.raises(RefusedError, match="takes more than"):
            bare.merged(one, other)
    with monkeypatch.context() as patch:
        patch.setattr(merge, "_LIMITS", Limits(1 << 20, memory_bytes=4 << 20))
        with pytest.raises((RefusedError, WgmeshError)):  # too little even to begin
            bare.merged(one, other)
    with monkeypatch.context() as patch:
        patch.setattr(merge, "_LIMITS", Slow(1 << 20))
        patch.setattr(merge, "SECONDS", 0)
        with pytest.raises(RefusedError, match="takes more than 0 s") as caught:
            bare.merged(one, other)
    assert "git merge --no-ff -S" in caught.value.hint
    assert bare.merged(one, other)


def test_what_is_missing_is_no_verdict(bare: Repository, work: Workshop) -> None:
    fetched(bare, work)
    for ask in (bare.merged, lambda one, other: bare.beyond(one, [other], 9)):
        with pytest.raises(WgmeshError) as caught:
            ask(work.head(), "12" * 20)
        assert not isinstance(caught.value, RefusedError)


def test_what_a_merge_brings(bare: Repository, work: Workshop) -> None:
    base = work.head()
    one, other = fork(work, {"b": "b"}, {"c": "c"})
    work.checkout(other)
    last = work.commit("More", {"d": "d"}, sign=None)
    work.checkout(one)
    made = work.merge(last, sign=None)
    work.git("branch", "made")
    fetched(bare, work)
    assert bare.beyond(one, [last], 9) == [last, other]
    assert bare.beyond(one, [last], 1) == [last]
    assert bare.beyond(base, [last, one], 9)[-1] != base
    assert set(bare.beyond(base, [last, one], 9)) == {last, other, one}
    assert bare.beyond(made, [last, one], 9) == []


def test_a_linked_work_tree_has_its_objects_elsewhere(work: Workshop, tmp_path: Path) -> None:
    one, other = fork(work, {"b": "b"}, {"c": "c"})
    work.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"), one)
    git_dir = Path(
        run(["git", "rev-parse", "--absolute-git-dir"], tmp_path / "linked").decode()[:-1]
    )
    assert git_dir.parent.name == "worktrees"
    work.checkout(one)
    with Repository(git_dir) as linked:
        assert linked.merged(one, other) == work.tree(work.merge(other, sign=None))
    run(["git", "fsck", "--strict"], work.path)
