"""Private keys on disk: where each lies, and what the interface's name leads to."""

from pathlib import Path

import pytest

from tests.unit.mesh_inventories import key
from wgmesh import keys, process
from wgmesh.errors import WgmeshError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "wg0.key").write_bytes(process.run(["wg", "genkey"]).stdout)
    return tmp_path


def test_the_key_in_use_gets_a_name_of_its_own_and_stays(directory: Path) -> None:
    link = directory / "wg0.key"
    before = link.read_bytes()
    public = keys.adopt(directory, "wg0")
    own = keys.path(directory, public)
    assert link.is_symlink() and link.resolve() == own.resolve() and link.read_bytes() == before
    assert own.stat().st_mode & 0o777 == 0o600 and own.parent.stat().st_mode & 0o777 == 0o700
    assert keys.adopt(directory, "wg0") == public, "again is harmless"
    assert keys.held(directory) == {keys.fingerprint(public)}


def test_a_new_key_is_made_beside_it(directory: Path) -> None:
    public = keys.adopt(directory, "wg0")
    made = keys.make(directory)
    assert made != public
    own = keys.path(directory, made)
    assert own.stat().st_mode & 0o777 == 0o600 and keys.public_half(keys.read(own)) == made
    keys.point(directory, "wg0", made)
    assert keys.read(directory / "wg0.key") == keys.read(own)
    keys.point(directory, "wg0", key("nobody"))
    assert keys.read(directory / "wg0.key") == keys.read(own), "what is not there is not linked to"


def test_what_nothing_needs_goes(directory: Path) -> None:
    public = keys.adopt(directory, "wg0")
    made = keys.make(directory)
    assert keys.prune(directory, {public, made, key("else")}) == 0
    assert keys.prune(directory, {public}) == 1
    assert keys.held(directory) == {keys.fingerprint(public)}


def test_a_machine_whose_key_never_changed_has_no_directory(directory: Path) -> None:
    assert keys.held(directory) == frozenset()
    keys.point(directory, "wg0", key("alpha"))
    assert not (directory / "wg0.key").is_symlink()
    assert keys.prune(directory, ()) == 0 and not (directory / keys.DIRECTORY).exists()


def test_a_key_file_that_cannot_be_read_comes_with_advice(tmp_path: Path) -> None:
    with pytest.raises(WgmeshError, match="cannot be read: Is a directory") as caught:
        keys.read(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "c2VjcmV0", "\xe9", "A" * 44])
def test_what_is_no_key_is_not_shown(text: str, tmp_path: Path) -> None:
    file = tmp_path / "wg0.key"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(WgmeshError, match="holds no key") as caught:
        keys.read(file)
    assert "c2VjcmV0" not in caught.value.message + caught.value.hint
    with pytest.raises(WgmeshError, match="is missing"):
        keys.read(tmp_path / "other.key")
