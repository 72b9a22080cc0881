"""Bundles against real git: handed over, taken in, and what somebody could hand instead."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.repository.bare import Repository
from wgmesh.repository.bundle import MAGIC, MissingBaseError
from wgmesh.trust import chain

from .packs import BLOB, COMMIT, TREE, commit_of, object_id, pack
from .signing import EPOCH, Keys, Workshop, pushed, run

NOW = float(EPOCH)
SECONDS = 30
LIMIT = 64 << 20
REF = "refs/wgmesh/fetched"


@pytest.fixture
def work(tmp_path: Path, keys: Keys) -> Workshop:
    return pushed(tmp_path, keys)


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[Repository]:
    with Repository(tmp_path / "fetch" / "repository.git") as repository:
        repository.ensure()
        yield repository


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Repository]:
    with Repository(tmp_path / "state" / "repository.git") as repository:
        repository.ensure()
        yield repository


def handed(work: Workshop, fetcher: Repository, since: str = "") -> bytes:
    """Push, fetch, and return the bundle that the fetch would leave."""
    work.git("push", "--quiet", "--force", "origin", "HEAD:main")
    hub = str(work.path.parent / "hub.git")
    fetcher.fetch(hub, "main", work.head(), timeout_seconds=SECONDS)
    path = work.path.parent / "bundle"
    assert fetcher.write_bundle(path, since)
    return path.read_bytes()


def take(root: Repository, data: bytes, commit: str, limit: int = LIMIT) -> None:
    root.take_bundle(io.BytesIO(data), [commit], limit_bytes=limit)


def contents(root: Repository) -> set[str]:
    """Return every file of the repository: what a refusal must leave as it is."""
    return {str(path) for path in root.path.rglob("*")}


# ---------------------------------------------------------------- as it should be


def test_everything_then_what_is_new(work: Workshop, fetcher: Repository, root: Repository) -> None:
    first = work.head()
    take(root, handed(work, fetcher), first)
    assert root.fetched() == (first,) and root.reaches(first)
    root.keep(first)
    work.commit("More", {"mesh.toml": "two", "nodes/a.toml": "x" * 5000})
    second = work.head()
    assert not root.reaches(second)
    data = handed(work, fetcher, first)
    assert f"-{first}".encode() in data
    take(root, data, second)
    verified = chain.verify(root, first, second, now=NOW)
    assert verified.id == second
    assert root.inventory_files(second, ".") == {
        "mesh.toml": b"two",
        "nodes/a.toml": b"x" * 5000,
    }
    assert root.valid() and not (root.path / "incoming").exists()
    run(["git", "fsck", "--strict", "--full"], root.path)
    take(root, data, second)  # again is harmless


def test_nothing_new_is_no_bundle(work: Workshop, fetcher: Repository, tmp_path: Path) -> None:
    first = work.head()
    work.commit("More", {"mesh.toml": "two"})
    handed(work, fetcher)
    path = tmp_path / "bundle"
    assert path.exists()
    assert not fetcher.write_bundle(path, work.head()) and not path.exists()
    work.checkout(first)  # and one that was rewound has nothing that root lacks
    handed(work, fetcher)
    tip = run(["git", "rev-parse", "main"], work.path).decode().strip()
    assert not fetcher.write_bundle(path, tip) and not path.exists()


def test_a_base_that_the_fetch_lost_counts_as_none(work: Workshop, fetcher: Repository) -> None:
    data = handed(work, fetcher, "12" * 20)
    assert b"\n-" not in data.partition(b"PACK")[0]


def test_a_base_that_root_lost_is_told_apart(
    work: Workshop, fetcher: Repository, root: Repository
) -> None:
    first = work.head()
    handed(work, fetcher)
    work.commit("More", {"mesh.toml": "two"})
    with pytest.raises(MissingBaseError):
        take(root, handed(work, fetcher, first), work.head())
    take(root, handed(work, fetcher), work.head())


def test_many_small_packs_become_one(work: Workshop, fetcher: Repository, root: Repository) -> None:
    run(["git", "config", "gc.autoPackLimit", "3"], root.path)
    first = work.head()
    take(root, handed(work, fetcher), first)
    root.keep(first)
    for number in range(5):
        since = work.head()
        work.commit("More", {"mesh.toml": f"{number}"})
        take(root, handed(work, fetcher, since), work.head())
    assert len(list((root.path / "objects" / "pack").glob("*.pack"))) <= 3
    assert chain.verify(root, first, work.head(), now=NOW).id == work.head()


# ---------------------------------------------------------------- two remotes


def both(work: Workshop, fetcher: Repository, since: str, *tips: str) -> bytes:
    """Return the bundle of a fetch from remotes that have these tips."""
    hub = str(work.path.parent / "hub.git")
    for tip in tips:
        work.git("push", "--quiet", "--force", "origin", f"{tip}:refs/heads/main")
        fetcher.fetch(hub, "main", tip, timeout_seconds=SECONDS)
    fetcher.hold(tips)
    path = work.path.parent / "bundle"
    written = fetcher.write_bundle(path, since)
    assert written == tuple(tip for tip in tips if tip != since)
    return path.read_bytes()


def test_a_fork_comes_in_one_bundle(work: Workshop, fetcher: Repository, root: Repository) -> None:
    first = work.head()
    take(root, handed(work, fetcher), first)
    one = work.commit("One", {"a": "a"})
    work.checkout(first)
    two = work.commit("Two", {"b": "b"})
    data = both(work, fetcher, first, one, two)
    root.take_bundle(io.BytesIO(data), [one, two], limit_bytes=LIMIT)
    assert root.fetched() == (one, two)
    assert root.reaches(one) and root.reaches(two)
    assert not root.is_ancestor(one, two) and not root.is_ancestor(two, one)
    run(["git", "fsck", "--strict", "--full"], root.path)
    root.hold([two])
    assert root.fetched() == (two,) and not root.reaches(one)


def test_a_tip_that_is_late_comes_too(
    work: Workshop, fetcher: Repository, root: Repository
) -> None:
    first = work.head()
    late, tip = work.commit("Late"), work.commit("Tip")
    data = both(work, fetcher, "", late, tip, first)
    root.take_bundle(io.BytesIO(data), [late, tip, first], limit_bytes=LIMIT)
    assert root.fetched() == (late, tip, first)
    both(work, fetcher, first, tip, first)  # what the base has already is left out


def test_a_bundle_leads_to_all_that_was_announced_and_to_no_more(
    work: Workshop, fetcher: Repository, root: Repository
) -> None:
    first = work.head()
    one = work.commit("One", {"a": "a"})
    work.checkout(first)
    two = work.commit("Two", {"b": "b"})
    data, single = both(work, fetcher, "", one, two), handed(work, fetcher)
    before = contents(root)
    for bundled, announced in (
        (data, [one]),
        (data, [two]),
        (data, [two, one]),
        (data, [one, two, first]),
        (data, []),
        (single, [one]),
        (single, [two, one]),
    ):
        with pytest.raises(WgmeshError, match="leads elsewhere"):
            root.take_bundle(io.BytesIO(bundled), announced, limit_bytes=LIMIT)
        assert contents(root) == before


# ---------------------------------------------------------------- as it should not be


def test_other_heads(work: Workshop, fetcher: Repository, root: Repository) -> None:
    data = handed(work, fetcher)
    tip = work.head()
    head = f"{tip} {REF}\n".encode()
    before = contents(root)
    for changed in (
        b"",
        b"\n\n",
        b"# v3 git bundle\n@filter=blob:none\n" + data[len(MAGIC) :],
        b"PACK" + data,
        data.replace(b"# v2", b"# v9"),
        data.replace(head, b""),
        data.replace(head, head + f"{tip} refs/wgmesh/trusted\n".encode()),
        data.replace(head, head * 2),
        data.replace(REF.encode(), b"refs/heads/main"),
        data.replace(REF.encode(), b"../../config"),
        data.replace(head, f"{'12' * 20} {REF}\n".encode()),
        data.replace(head, b"--upload-pack=x\n" + head),
        data.replace(head, b"-12 short\n" + head),
        MAGIC + b"x" * 100_000,
        MAGIC + head,
    ):
        with pytest.raises(WgmeshError) as caught:
            take(root, changed, tip)
        assert caught.value.message.isprintable()
        assert contents(root) == before
    assert root.fetched() == ()


def test_packs_that_are_none(work: Workshop, fetcher: Repository, root: Repository) -> None:
    data = handed(work, fetcher)
    at = data.index(b"PACK")
    flipped = bytes([*data[: at + 30], data[at + 30] ^ 0x55, *data[at + 31 :]])
    before = contents(root)
    for changed in (data[:at], data[:-30], data[: at + 12], flipped, data[:at] + b"x" * 1000):
        with pytest.raises(WgmeshError):
            take(root, changed, work.head())
        assert contents(root) == before
    assert root.fetched() == ()


def bundle(commit: str, packed: bytes) -> bytes:
    return MAGIC + f"{commit} {REF}\n\n".encode() + packed


@pytest.mark.parametrize("names", [[b".git"], [b".."], [b"."], [b"a/b"], [b"twice", b"twice"]])
def test_malformed_trees_are_refused(root: Repository, names: list[bytes]) -> None:
    blob = b"x"
    entry = b"\0" + bytes.fromhex(object_id(BLOB, blob))
    tree = b"".join(b"100644 " + name + entry for name in names)
    commit = commit_of(object_id(TREE, tree))
    tip = object_id(COMMIT, commit)
    before = contents(root)
    with pytest.raises(RefusedError, match="git refuses"):
        take(root, bundle(tip, pack((COMMIT, commit), (TREE, tree), (BLOB, blob))), tip)
    assert contents(root) == before


def test_a_commit_without_its_tree_is_not_taken(root: Repository) -> None:
    commit = commit_of("34" * 20)
    tip = object_id(COMMIT, commit)
    before = contents(root)
    with pytest.raises(WgmeshError):
        take(root, bundle(tip, pack((COMMIT, commit))), tip)
    assert contents(root) == before and not root.has(tip)


def test_a_commit_that_is_not_in_the_pack_is_not_taken(root: Repository) -> None:
    before = contents(root)
    with pytest.raises(WgmeshError):
        take(root, bundle("56" * 20, pack((BLOB, b"x"))), "56" * 20)
    assert contents(root) == before


def test_more_than_the_limit_is_not_taken(
    work: Workshop, fetcher: Repository, root: Repository
) -> None:
    data = handed(work, fetcher)
    before = contents(root)
    for limit in (len(data) // 2, 10):
        with pytest.raises(WgmeshError, match=r"more than|maximum allowed size"):
            take(root, data, work.head(), limit=limit)
        assert contents(root) == before


def test_what_a_killed_run_left_is_cleared_away(
    work: Workshop, fetcher: Repository, root: Repository
) -> None:
    left = root.path / "incoming" / "pack"
    left.mkdir(parents=True)
    (left / "tmp_pack_XXXXXX").write_bytes(b"half")
    take(root, handed(work, fetcher), work.head())
    assert not left.exists() and root.valid()


def test_the_fetchs_own_configuration_is_not_root_s(
    work: Workshop, fetcher: Repository, root: Repository, tmp_path: Path
) -> None:
    """A bundle is bytes: what its maker's repository says has no way to root's git."""
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    script.chmod(0o755)
    data = handed(work, fetcher)
    (fetcher.path / "config").write_text(
        "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
        f"\tfsmonitor = {script}\n\thooksPath = {tmp_path}\n"
        f"[uploadpack]\n\tpackObjectsHook = {script}\n"
    )
    (fetcher.path / "objects" / "info").mkdir(exist_ok=True)
    (fetcher.path / "objects" / "info" / "alternates").write_text(f"{root.path}/objects\n")
    take(root, data, work.head())
    assert root.fetched() == (work.head(),) and not (tmp_path / "ran").exists()
    assert not (root.path / "objects" / "info" / "alternates").exists()


def test_a_full_disk_leaves_nothing(
    work: Workshop, fetcher: Repository, root: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = handed(work, fetcher)
    before = contents(root)

    class Full(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise OSError(28, os.strerror(28))
            return super().read(100 + data.index(b"PACK") if size else size)

    with pytest.raises(WgmeshError, match="No space left"):
        root.take_bundle(Full(data), [work.head()], limit_bytes=LIMIT)
    assert contents(root) == before
