"""A fetch that root asks for names: it asks no remote, and keeps no later one from asking."""

from pathlib import Path
from typing import NoReturn

import pytest

from wgmesh import names, settings
from wgmesh.agent import fetcher
from wgmesh.errors import NotJoinedError
from wgmesh.names import Wanted


def not_joined() -> NoReturn:
    raise NotJoinedError("this machine has not joined")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the fetch's directory, on a machine that has not joined: who asks git says so."""
    for name in ("FETCH_DIR", "STATE_DIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(settings, name, tmp_path / name)
    for name in ("NAMES_FILE", "REQUEST_FILE"):
        monkeypatch.setattr(settings, name, tmp_path / name)
    monkeypatch.setattr(settings, "load_enrolment", not_joined)
    monkeypatch.setattr(fetcher, "_be_the_owner", lambda: None)
    return tmp_path / "FETCH_DIR"


def test_names_are_told_and_no_remote_is_asked(directory: Path) -> None:
    wanted = Wanted("aa", ("localhost", "nobody..invalid"))
    names.write_wanted(settings.NAMES_FILE, wanted)
    assert fetcher.fetch() == "of 2 names 1 were found"
    found = names.read_found(directory, wanted)
    assert found is not None and set(found) == {"localhost"}
    assert [path.name for path in directory.iterdir()] == [names.FOUND]


def test_a_question_is_answered_once(directory: Path) -> None:
    names.write_wanted(settings.NAMES_FILE, Wanted("aa", ("localhost",)))
    fetcher.fetch()
    with pytest.raises(NotJoinedError):  # it goes on to the remotes
        fetcher.fetch()
    assert (directory / "answer.toml").exists()


@pytest.mark.parametrize("text", ["", "id = 3", "names = [", 'id = "a"\nnames = "x"'])
def test_a_damaged_question_keeps_nobody_from_the_remotes(directory: Path, text: str) -> None:
    settings.NAMES_FILE.write_text(text)
    with pytest.raises(NotJoinedError):
        fetcher.fetch()
    assert not (directory / names.FOUND).exists()


def test_an_answer_that_cannot_be_written_keeps_nobody_from_them(directory: Path) -> None:
    names.write_wanted(settings.NAMES_FILE, Wanted("aa", ("localhost",)))
    (directory / names.FOUND).mkdir()
    with pytest.raises(NotJoinedError):
        fetcher.fetch()
