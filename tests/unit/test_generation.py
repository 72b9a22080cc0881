"""Generations on real symlink trees: staged, flipped, taken back, pruned, linked."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_files import entries, full_disk
from wgmesh import generation
from wgmesh.errors import WgmeshError
from wgmesh.generation import Manifest
from wgmesh.model.commit import VerifiedCommit

COMMIT = VerifiedCommit(
    id="c" * 40,
    tree="d" * 40,
    signer="ann@example.com",
    fingerprint="SHA256:" + "x" * 43,
    author="Ann <ann@example.com>",
    subject='Add "delta" \\ and = [more]\u2028',
    time=1_790_000_000,
)
FILES = {"wg0.conf": b"[Interface]\n", "wg-failover.conf": b"#\n", "wg-exit-selector.conf": b"#\n"}


@pytest.fixture
def wireguard(tmp_path: Path) -> Path:
    """Return what stands for /etc/wireguard."""
    path = tmp_path / "wireguard"
    path.mkdir()
    return path


@pytest.fixture
def root(wireguard: Path) -> Path:
    """Return what stands for /etc/wireguard/wgmesh.d; it does not exist yet."""
    return wireguard / "wgmesh.d"


def manifest(number: int, commit: VerifiedCommit | None = COMMIT) -> Manifest:
    return Manifest(number, "wg0", f"{number:064x}", 1_790_000_001, commit)


def stage(root: Path, *numbers: int) -> None:
    for number in numbers:
        generation.stage(root, manifest(number), FILES)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---------------------------------------------------------------- staging


def test_stage_and_read_back(root: Path) -> None:
    path = generation.stage(root, manifest(3), FILES | {"wgmesh.nft": b"\0\xff"})
    assert path == root / "gen-3"
    assert generation.read_manifest(root, 3) == manifest(3)
    assert generation.read_files(root, 3) == FILES | {"wgmesh.nft": b"\0\xff"}
    assert {mode(one) for one in path.iterdir()} == {0o600}
    assert entries(root) == ["gen-3"]


def test_a_manifest_without_commit(root: Path) -> None:
    generation.stage(root, manifest(0, None), FILES, before=b'{"private_key": 1}')
    assert generation.read_manifest(root, 0) == manifest(0, None)
    assert generation.read_files(root, 0) == FILES, "what was before is no rendered file"
    for name in ("wg0.conf", generation.BEFORE):
        assert mode(root / "gen-0" / name) == 0o600, "generation 0 may hold keys"


def test_a_stale_half_is_replaced(root: Path) -> None:
    (root / "gen-1.tmp").mkdir(parents=True)
    (root / "gen-1.tmp" / "old").write_bytes(b"half")
    stage(root, 1)
    assert entries(root) == ["gen-1"]
    assert generation.read_files(root, 1) == FILES


def test_a_half_is_no_generation(root: Path) -> None:
    (root / "gen-7.tmp").mkdir(parents=True)
    (root / "gen-").mkdir()
    (root / "gen-x").mkdir()
    (root / "gen-9").touch()
    assert generation.numbers(root) == []
    assert generation.next_number(root) == 1


def test_a_full_disk_stages_nothing(root: Path) -> None:
    stage(root, 1)
    with full_disk(4096), pytest.raises(WgmeshError) as caught:
        generation.stage(root, manifest(2), {"wg0.conf": b"x" * 100_000})
    assert caught.value.hint
    assert entries(root) == ["gen-1"]
    assert generation.next_number(root) == 2


def test_no_generation_is_overwritten(root: Path) -> None:
    stage(root, 1)
    with pytest.raises(WgmeshError):
        generation.stage(root, manifest(1), {"wg0.conf": b"other"})
    assert generation.read_files(root, 1) == FILES
    assert entries(root) == ["gen-1"]


# ---------------------------------------------------------------- manifests


def test_there_is_no_such_generation(root: Path) -> None:
    for read in (generation.read_manifest, generation.read_files):
        with pytest.raises(WgmeshError, match="no generation 4"):
            read(root, 4)


def test_a_manifest_of_another_generation(root: Path) -> None:
    stage(root, 1)
    (root / "gen-1").rename(root / "gen-2")
    with pytest.raises(WgmeshError, match="generation 1, not 2"):
        generation.read_manifest(root, 2)


def readable(root: Path, number: int) -> bool:
    """Return whether the manifest reads; nothing but WgmeshError may say that it does not."""
    try:
        generation.read_manifest(root, number)
    except WgmeshError as error:
        assert error.message
        return False
    return True


def test_a_manifest_cut_short(root: Path) -> None:
    stage(root, 1)
    path = generation.manifest_path(root, 1)
    whole = path.read_bytes()
    cut = whole.index(b"time = ") + len(b"time = ")  # then it is an earlier time, for people
    for length in range(cut):
        path.write_bytes(whole[:length])
        assert not readable(root, 1), length
    for length in range(cut, len(whole)):
        path.write_bytes(whole[:length])
        readable(root, 1)


def test_a_manifest_with_flipped_bits(root: Path) -> None:
    stage(root, 1)
    path = generation.manifest_path(root, 1)
    whole = path.read_bytes()
    for index in range(len(whole)):
        for bit in (0, 2, 5, 7):
            broken = bytearray(whole)
            broken[index] ^= 1 << bit
            path.write_bytes(broken)
            readable(root, 1)
    path.write_bytes(whole)
    assert readable(root, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "number = 1\n",
        'number = 1\ninterface = "wg0"\ndigest = "d"\ncreated = 1\n',
        'number = 1\ninterface = "wg0"\ndigest = "d"\ncreated = 1\ncommit = 5\n[links]\n',
        'number = 1\ninterface = "wg0"\ndigest = "d"\ncreated = 1\n[commit]\nid = "c"\n[links]\n',
        'number = "1"\ninterface = "wg0"\ndigest = "d"\ncreated = 1\n[links]\n',
        'number = 1\ninterface = 5\ndigest = "d"\ncreated = 1\n[links]\n',
        'number = 1\ninterface = "wg0"\ndigest = 5\ncreated = 1\n[links]\n',
        'number = 1\ninterface = "wg0"\ndigest = "d"\ncreated = "now"\n[links]\n',
    ],
)
def test_a_manifest_of_another_shape(root: Path, text: str) -> None:
    stage(root, 1)
    generation.manifest_path(root, 1).write_text(text)
    assert not readable(root, 1)


@given(subject=st.text(), author=st.text())
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, subject: str, author: str
) -> None:
    root = tmp_path_factory.mktemp("any")
    commit = VerifiedCommit("c", "t", "s", "f", author, subject, 5)
    value = Manifest(1, "wg0", "d", 5, commit)
    generation.stage(root, value, {})
    assert generation.read_manifest(root, 1) == value


# ---------------------------------------------------------------- the boot link


def test_flip(root: Path) -> None:
    assert generation.booted(root) is None
    stage(root, 1, 2)
    assert generation.booted(root) is None, "staged is not confirmed"
    generation.flip(root, 1)
    assert generation.booted(root) == 1
    generation.flip(root, 2)
    assert generation.booted(root) == 2
    assert (root / "boot" / "wg0.conf").read_bytes() == FILES["wg0.conf"]
    assert os.fspath((root / "boot").readlink()) == "gen-2", "relative: /etc may be moved"


@pytest.mark.parametrize("target", ["gen-9", "nowhere", "gen-x", "/etc/passwd", "gen-1.tmp", "."])
def test_a_boot_link_to_nothing(root: Path, target: str) -> None:
    stage(root, 1)
    (root / "boot").symlink_to(target)
    assert generation.booted(root) is None
    generation.flip(root, 1)
    assert generation.booted(root) == 1


def test_a_generation_that_lost_its_manifest_does_not_boot(root: Path) -> None:
    stage(root, 1)
    generation.flip(root, 1)
    generation.manifest_path(root, 1).unlink()
    assert generation.booted(root) is None


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir], ids=["file", "directory"])
def test_something_else_in_the_links_place(root: Path, make: Callable[[Path], None]) -> None:
    stage(root, 1)
    make(root / "boot")
    try:
        found = generation.booted(root)
    except WgmeshError:
        return
    assert found is None


# ---------------------------------------------------------------- taken back


def test_reject(root: Path) -> None:
    stage(root, 1, 2)
    generation.flip(root, 1)
    generation.reject(root, 2)
    assert generation.numbers(root) == [1]
    assert generation.rejected(root) == [2]
    assert generation.booted(root) == 1
    assert generation.read_manifest(root / generation.REJECTED, 2) == manifest(2)
    assert generation.next_number(root) == 3, "a number is not used twice"
    generation.reject(root, 8)
    assert generation.rejected(root) == [2]


def test_reject_twice_the_same_number(root: Path) -> None:
    stage(root, 2)
    generation.reject(root, 2)
    generation.stage(root, manifest(2), {"wg0.conf": b"second"})
    generation.reject(root, 2)
    assert generation.read_files(root / generation.REJECTED, 2) == {"wg0.conf": b"second"}


# ---------------------------------------------------------------- pruning


def test_prune_removes_the_oldest(root: Path) -> None:
    stage(root, *range(12, 0, -1))
    assert generation.numbers(root) == list(range(1, 13)), "as numbers, not as text"
    generation.flip(root, 12)
    assert generation.prune(root, 10) == [1, 2]
    assert generation.numbers(root) == list(range(3, 13))
    assert generation.prune(root, 10) == []


@given(
    numbers=st.sets(st.integers(0, 12), min_size=1),
    taken_back=st.sets(st.integers(13, 20)),
    keep=st.integers(2, 8),
    data=st.data(),
)
def test_prune(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: set[int],
    taken_back: set[int],
    keep: int,
    data: st.DataObject,
) -> None:
    root = tmp_path_factory.mktemp("prune")
    for number in numbers | taken_back:
        (root / f"gen-{number}").mkdir()
        (root / f"gen-{number}" / generation.MANIFEST).touch()
    for number in taken_back:
        generation.reject(root, number)
    boot = data.draw(st.none() | st.sampled_from(sorted(numbers)))
    if boot is not None:
        generation.flip(root, boot)
    following = generation.next_number(root)
    removed = generation.prune(root, keep)
    left = set(generation.numbers(root))
    assert left | set(removed) == numbers
    assert not left & set(removed)
    assert not {0, boot} & set(removed)
    assert generation.booted(root) == boot
    assert len(left - {0}) == min(len(numbers - {0}), keep), "no more than necessary"
    free = numbers - {0, boot}
    assert not removed or max(removed) < min(free - set(removed), default=99), "the oldest go"
    assert set(generation.rejected(root)) == set(sorted(taken_back)[-keep:])
    assert generation.next_number(root) == following, "pruning gives no number free"


# ---------------------------------------------------------------- the files that boot reads


def linked(wireguard: Path) -> bool:
    return all((wireguard / name).is_symlink() for name in FILES)


def test_link_files(root: Path, wireguard: Path) -> None:
    stage(root, 1)
    generation.flip(root, 1)
    assert len(generation.link_complaints(root, wireguard, "wg0")) == 3
    assert generation.link_files(root, wireguard, "wg0") == []
    assert generation.link_complaints(root, wireguard, "wg0") == []
    assert linked(wireguard)
    for name, data in FILES.items():
        assert (wireguard / name).read_bytes() == data
        assert os.fspath((wireguard / name).readlink()) == f"wgmesh.d/boot/{name}"
    stage(root, 2)
    generation.flip(root, 2)
    assert generation.link_complaints(root, wireguard, "wg0") == [], "they go through boot"
    assert generation.link_files(root, wireguard, "wg0") == []


def test_somebodys_file_is_not_clobbered(root: Path, wireguard: Path) -> None:
    stage(root, 1)
    generation.flip(root, 1)
    (wireguard / "wg0.conf").write_bytes(b"my own work")
    complaints = generation.link_files(root, wireguard, "wg0")
    assert len(complaints) == 1
    assert "wg0.conf" in complaints[0]
    assert (wireguard / "wg0.conf").read_bytes() == b"my own work"
    assert generation.link_complaints(root, wireguard, "wg0") == complaints
    assert (wireguard / "wg-failover.conf").is_symlink(), "the others are linked all the same"


def test_a_file_that_generation_0_keeps_is_replaced(root: Path, wireguard: Path) -> None:
    (wireguard / "wg0.conf").write_bytes(b"from before")
    generation.stage(root, manifest(0, None), {"wg0.conf": b"from before"}, before=b"{}")
    stage(root, 1)
    generation.flip(root, 1)
    assert generation.link_files(root, wireguard, "wg0") == []
    assert linked(wireguard)
    assert (root / "gen-0" / "wg0.conf").read_bytes() == b"from before"


def test_a_file_that_was_edited_since_stays(root: Path, wireguard: Path) -> None:
    generation.stage(root, manifest(0, None), {"wg0.conf": b"from before"}, before=b"{}")
    (wireguard / "wg0.conf").write_bytes(b"from before, edited")
    generation.flip(root, 0)
    assert any("wg0.conf" in one for one in generation.link_files(root, wireguard, "wg0"))
    assert (wireguard / "wg0.conf").read_bytes() == b"from before, edited"


def test_somebodys_link_is_not_clobbered(root: Path, wireguard: Path) -> None:
    stage(root, 1)
    generation.flip(root, 1)
    (wireguard / "wg0.conf").symlink_to("elsewhere.conf")
    complaints = generation.link_files(root, wireguard, "wg0")
    assert ["elsewhere.conf" in one for one in complaints] == [True]
    assert os.fspath((wireguard / "wg0.conf").readlink()) == "elsewhere.conf"


def test_unlink_files(root: Path, wireguard: Path) -> None:
    generation.stage(root, manifest(0, None), {"wg0.conf": b"from before"}, before=b"{}")
    stage(root, 1)
    generation.flip(root, 1)
    generation.link_files(root, wireguard, "wg0")
    (wireguard / "wg0.key").write_bytes(b"key")
    generation.unlink_files(root, wireguard, "wg0")
    assert entries(wireguard) == ["wg0.conf", "wg0.key"]
    assert not (wireguard / "wg0.conf").is_symlink()
    assert (wireguard / "wg0.conf").read_bytes() == b"from before"
    assert mode(wireguard / "wg0.conf") == 0o600, "it may hold a key"


def test_unlink_files_leaves_what_is_not_ours(root: Path, wireguard: Path) -> None:
    stage(root, 1)
    generation.flip(root, 1)
    (wireguard / "wg0.conf").write_bytes(b"my own work")
    generation.link_files(root, wireguard, "wg0")
    generation.unlink_files(root, wireguard, "wg0")
    assert entries(wireguard) == ["wg0.conf"]
    assert (wireguard / "wg0.conf").read_bytes() == b"my own work"


def test_unlink_files_before_the_first_generation(root: Path, wireguard: Path) -> None:
    # joined, never in the inventory, leaves again
    generation.unlink_files(root, wireguard, "wg0")
    assert entries(wireguard) == []
