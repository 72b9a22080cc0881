"""What a node remembers: there and back, and damaged."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_files import entries as files_in
from wgmesh import records
from wgmesh.model.commit import VerifiedCommit
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import (
    Awaited,
    Hold,
    LastSync,
    RemoteState,
    Rotation,
    SecondLook,
    Seen,
    Soak,
    Tips,
    Verdict,
)

NOW = 1_790_000_000


def commit(letter: str) -> VerifiedCommit:
    return VerifiedCommit(letter * 40, "t", "ann", "SHA256:x", 'Ann "A"', "s\u00fcbject", NOW)


def entry(digest: str = "d", *, time: int = NOW) -> Quarantined:
    return Quarantined(digest, "c" * 40, "subject", "why", time)


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize(
    "tips",
    [Tips(), Tips(commit("a")), Tips(None, commit("b")), Tips(commit("a"), commit("b"))],
)
def test_tips(tmp_path: Path, tips: Tips) -> None:
    assert records.read_tips(tmp_path) == Tips()
    records.write_tips(tmp_path, tips)
    assert records.read_tips(tmp_path) == tips


def test_last_sync(tmp_path: Path) -> None:
    assert records.read_last_sync(tmp_path) is None
    remotes = (RemoteState("git://a/b", "newest", 5, "c" * 40), RemoteState("/x", "silent", 6))
    value = LastSync(NOW, "applied", "why\nso", "c" * 40, NOW - 5, "run", remotes)
    records.write_last_sync(tmp_path, value)
    assert records.read_last_sync(tmp_path) == value


def test_verdict(tmp_path: Path) -> None:
    assert records.read_verdict(tmp_path) is None
    value = Verdict("refused", "c" * 40, "unsigned", "sign it", NOW, "d" * 40)
    records.write_verdict(tmp_path, value)
    assert records.read_verdict(tmp_path) == value
    records.write_verdict(tmp_path, None)
    assert records.read_verdict(tmp_path) is None
    assert files_in(tmp_path) == []
    records.write_verdict(tmp_path, None)


def test_hold(tmp_path: Path) -> None:
    assert records.read_hold(tmp_path) is None
    for reason in ("moving", ""):
        records.write_hold(tmp_path, Hold(reason, NOW))
        assert records.read_hold(tmp_path) == Hold(reason, NOW)
    records.write_hold(tmp_path, None)
    assert records.read_hold(tmp_path) is None
    assert files_in(tmp_path) == []


def test_quarantine(tmp_path: Path) -> None:
    assert records.read_quarantine(tmp_path) == ()
    entries = (entry("d"), replace(entry("e"), until=NOW + 5, harms=3, interruptions=1))
    records.write_quarantine(tmp_path, entries)
    assert records.read_quarantine(tmp_path) == entries
    records.write_quarantine(tmp_path, ())
    assert files_in(tmp_path) == []


def test_no_record_is_executable_or_secret(tmp_path: Path) -> None:
    records.write_tips(tmp_path, Tips(commit("a")))
    assert (tmp_path / "tips.toml").stat().st_mode & 0o777 == 0o644


# ---------------------------------------------------------------- damaged

Reader = Callable[[Path], object]
READERS: dict[str, tuple[Reader, object]] = {
    "tips.toml": (records.read_tips, Tips()),
    "last-sync.toml": (records.read_last_sync, None),
    "verdict.toml": (records.read_verdict, None),
    "quarantine.toml": (records.read_quarantine, ()),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\0",
        b"a = ",
        b"[entry]\n",
        b"entry = 5\n",
        b"entry = [5]\n",
        b'entry = "text"\n',
        b'[[entry]]\ndigest = "d"\n',
        b'trusted = "text"\n',
        b'[trusted]\nid = "c"\n',
        b"[applied]\nfrom_another_version = 1\n",
        b"from_another_version = 1\n",
        b'kind = "refused"\n',
        b"time = 5\n",
    ],
)
def test_what_cannot_be_read_counts_as_lost(tmp_path: Path, name: str, data: bytes) -> None:
    read, lost = READERS[name]
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path) == lost


WRONG = {
    "last-sync.toml": 'time = "now"\noutcome = "applied"\n',
    "verdict.toml": 'kind = 5\ncommit = "c"\nreason = "r"\nhint = "h"\ntime = 5\n',
    "quarantine.toml": '[[entry]]\ndigest = "d"\ncommit = "c"\nsubject = "s"\nreason = "r"\n'
    'time = 5\nuntil = "never"\nharms = 1\n',
    "tips.toml": '[trusted]\nid = 5\ntree = "t"\nsigner = "s"\nfingerprint = "f"\nauthor = "a"\n'
    'subject = "s"\ntime = "now"\n',
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_types_count_as_lost(tmp_path: Path, name: str) -> None:
    read, lost = READERS[name]
    (tmp_path / name).write_text(WRONG[name])
    assert read(tmp_path) == lost


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"reason = ", b'reason = "x"\n', b"a = 1\n", b"reason = 5\ntime = 5\n"]
)
def test_a_hold_that_cannot_be_read_holds(tmp_path: Path, data: bytes) -> None:
    # Nothing can rebuild it, and somebody wanted this node to stay as it is.
    (tmp_path / "hold.toml").write_bytes(data)
    found = records.read_hold(tmp_path)
    assert found is not None
    assert isinstance(found.reason, str)


def test_tips_cut_short(tmp_path: Path) -> None:
    tips = Tips(commit("a"), commit("b"))
    records.write_tips(tmp_path, tips)
    path = tmp_path / "tips.toml"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = records.read_tips(tmp_path)
        for kept, whole_tip in ((found.trusted, tips.trusted), (found.applied, tips.applied)):
            assert kept is None or whole_tip is None or kept.id == whole_tip.id, length


# ---------------------------------------------------------------- versions seen


def test_seen(tmp_path: Path) -> None:
    assert records.read_seen(tmp_path) == ()
    value = (Seen("a" * 40, 0), Seen("b" * 40, NOW))
    records.write_seen(tmp_path, value)
    assert records.read_seen(tmp_path) == value
    (tmp_path / "seen.toml").write_text('version = [5, {commit = "c"}, {commit = "d", time = 1}]')
    assert records.read_seen(tmp_path) == (Seen("d", 1),)


def test_awaited(tmp_path: Path) -> None:
    value = (Awaited("k", "c" * 40, 5, NOW), Awaited("l", "c" * 40, 0, NOW))
    assert records.read_awaited(tmp_path) == ()
    records.write_awaited(tmp_path, value)
    assert records.read_awaited(tmp_path) == value
    records.write_awaited(tmp_path, ())
    assert files_in(tmp_path) == []


def test_second_look(tmp_path: Path) -> None:
    assert records.read_second(tmp_path) is None
    value = SecondLook(7, "d", 5, 300.5, {"bravo=": 0, "charlie=": NOW})
    records.write_second(tmp_path, value)
    assert records.read_second(tmp_path) == value
    path = tmp_path / "second-look.toml"
    path.write_text(path.read_text().replace(f"= {NOW}", '= "now"'))
    assert records.read_second(tmp_path) is None
    records.write_second(tmp_path, None)
    assert files_in(tmp_path) == []


def test_rotation(tmp_path: Path) -> None:
    assert records.read_rotation(tmp_path) is None
    value = Rotation(
        "key=", NOW, NOW + 1, 0, ("bravo", "charlie"), ("delta",), over=True, known=("b=",)
    )
    records.write_rotation(tmp_path, value)
    assert records.read_rotation(tmp_path) == value
    path = tmp_path / "rotation.toml"
    good = path.read_text()
    for old, new in (("over = true", "over = 5"), ('"delta"', "5"), ('"key="', "[]")):
        path.write_text(good.replace(old, new))
        assert records.read_rotation(tmp_path) is None
    path.write_text('next_public_key = "key="\nwaiting = 5\n')
    assert records.read_rotation(tmp_path) is None
    records.write_rotation(tmp_path, None)
    assert files_in(tmp_path) == []


def test_soak(tmp_path: Path) -> None:
    assert records.read_soak(tmp_path) is None
    value = Soak("c" * 40, "boot", 1.5, 601.5, NOW)
    records.write_soak(tmp_path, value)
    assert records.read_soak(tmp_path) == value


@given(
    st.builds(
        Quarantined,
        digest=st.text(),
        commit=st.text(),
        subject=st.text(),
        reason=st.text(),
        time=st.integers(0, 2**40),
        until=st.integers(0, 2**40),
        harms=st.integers(0, 99),
        interruptions=st.integers(0, 99),
    )
)
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, value: Quarantined) -> None:
    directory = tmp_path_factory.getbasetemp() / "any-quarantine"
    records.write_quarantine(directory, (value,))
    assert [asdict(one) for one in records.read_quarantine(directory)] == [asdict(value)]
