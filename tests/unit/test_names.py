"""The names that the fetch resolves for root, and what may lie in the place of its answer."""

import os
import time
from pathlib import Path

import pytest

from wgmesh import names
from wgmesh.errors import WgmeshError
from wgmesh.names import MOST_ADDRESSES, MOST_NAMES, Wanted

WANTED = Wanted("aa", ("sierra.example.com", "tango.example.com"))
LONG_SECONDS = 2
FOUND = {"sierra.example.com": ("198.51.100.7", "2001:db8::7"), "tango.example.com": ("192.0.2.1",)}


def test_a_question_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "names.toml"
    assert names.read_wanted(path) is None
    names.write_wanted(path, WANTED)
    assert names.read_wanted(path) == WANTED
    names.write_wanted(path, Wanted("bb", tuple(f"n{number}" for number in range(300))))
    found = names.read_wanted(path)
    assert found is not None and len(found.names) == MOST_NAMES


def test_an_answer_is_for_its_question_alone(tmp_path: Path) -> None:
    assert names.read_found(tmp_path, WANTED) is None
    assert not names.just_told(tmp_path)
    names.write_found(tmp_path, "aa", FOUND)
    assert names.read_found(tmp_path, WANTED) == FOUND
    assert names.answered(tmp_path, WANTED)
    assert names.just_told(tmp_path)
    assert names.read_found(tmp_path, Wanted("bb", WANTED.names)) is None
    assert not names.answered(tmp_path, Wanted("bb", WANTED.names))
    os.utime(tmp_path / names.FOUND, (1, 1))
    assert not names.just_told(tmp_path)


def test_only_addresses_of_wanted_names_are_believed(tmp_path: Path) -> None:
    (tmp_path / names.FOUND).write_text(
        "aa\nsierra.example.com 198.51.100.7\nsierra.example.com fe80::1%eth0\n"
        "sierra.example.com $(reboot)\nother.example.com 192.0.2.9\n\ntango.example.com\n"
    )
    assert names.read_found(tmp_path, WANTED) == {"sierra.example.com": ("198.51.100.7",)}


def test_no_more_addresses_than_anybody_needs(tmp_path: Path) -> None:
    lines = [f"sierra.example.com 192.0.2.{number}" for number in range(200)]
    (tmp_path / names.FOUND).write_text("\n".join(["aa", *lines]))
    found = names.read_found(tmp_path, WANTED)
    assert found is not None and len(found["sierra.example.com"]) == MOST_ADDRESSES


@pytest.mark.parametrize("text", ["", "\n", "bb\n", 'id = "aa"\nfound = []\n', "\x00", "aa \n"])
def test_what_is_not_for_this_question_is_no_answer(tmp_path: Path, text: str) -> None:
    (tmp_path / names.FOUND).write_text(text)
    assert names.read_found(tmp_path, WANTED) is None


@pytest.mark.parametrize("data", [b"aa\n\xff", b"\xfe"])
def test_what_is_no_text_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / names.FOUND).write_bytes(data)
    with pytest.raises(WgmeshError, match="no answer"):
        names.read_found(tmp_path, WANTED)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 16_000 + "a = 1",  # which costs tomllib a gigabyte
        "aa\n" + "sierra.example.com x\n" * 49_000,
        "aa\n" + "sierra.example.com 192.0.2.1\n" * 36_000,
        "aa\n" + "\n" * 1_000_000,
        "aa\nsierra.example.com " + ":" * 1_000_000,
    ],
    ids=["deep", "nonsense", "many", "empty", "long"],
)
def test_no_text_keeps_root_long(tmp_path: Path, text: str) -> None:
    (tmp_path / names.FOUND).write_text(text)
    start = time.process_time()
    found = names.read_found(tmp_path, WANTED)
    assert time.process_time() - start < LONG_SECONDS
    assert not found or set(found) == {"sierra.example.com"}


def test_a_link_or_a_pipe_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("aa\n")
    (tmp_path / names.FOUND).symlink_to(tmp_path / "secret")
    with pytest.raises(WgmeshError):
        names.read_found(tmp_path, WANTED)
    (tmp_path / names.FOUND).unlink()
    os.mkfifo(tmp_path / names.FOUND)
    with pytest.raises(WgmeshError):
        names.read_found(tmp_path, WANTED)


def test_a_question_is_hostile_too(tmp_path: Path) -> None:
    path = tmp_path / "names.toml"
    path.write_text('id = "aa"\nnames = ["-x", "a b", "ok.example.com", ""]\n')
    found = names.read_wanted(path)
    assert found is not None and found.names == ("ok.example.com",)
    path.write_text("names = 3\n")
    with pytest.raises(WgmeshError, match="damaged"):
        names.read_wanted(path)
