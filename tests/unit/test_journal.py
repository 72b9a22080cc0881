"""The journal on disk: there and back, and GARBLED for whatever cannot be trusted."""

import hashlib
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh import journal, process
from wgmesh.frozen import field_names
from wgmesh.journal import IDLE, Journal, Phase


def begun(window_seconds: float = 135) -> Journal:
    return journal.begin(
        generation=7,
        digest="d" * 64,
        commit="c" * 40,
        interface="wg0",
        window_seconds=window_seconds,
        staged=True,
    )


journals = st.builds(
    Journal,
    phase=st.sampled_from([phase for phase in Phase if phase is not Phase.GARBLED]),
    id=st.text(max_size=12),
    generation=st.integers(0, 2**31),
    digest=st.text(max_size=64),
    commit=st.text(max_size=40),
    interface=st.text(max_size=15),
    boot_id=st.text(max_size=36),
    pid=st.integers(0, 2**22),
    pid_start=st.integers(0, 2**62),
    deadline_seconds=st.floats(0, 2**40),
    staged=st.booleans(),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that hypothesis' examples may share: each writes before it reads."""
    return tmp_path_factory.mktemp("journal")


@given(value=journals)
def test_there_and_back(directory: Path, value: Journal) -> None:
    path = directory / "back.toml"
    journal.write(path, value)
    assert journal.read(path) == value


def test_begin_names_this_process() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    one = begun()
    assert one.phase is Phase.PREPARED
    assert one.pid == os.getpid()
    assert one.pid_start == journal.process_start(os.getpid()) > 0
    assert one.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert 134 <= one.deadline_seconds - before <= 145
    assert one.id
    assert one.id != begun().id
    assert journal.advance(one, Phase.UNDOING) == Journal(
        Phase.UNDOING,
        **{name: getattr(one, name) for name in field_names(Journal) if name != "phase"},
    )


def test_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.toml"
    assert journal.read(path) == IDLE
    journal.write(path, begun())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.write(path, IDLE)
    assert journal.read(path) == IDLE
    assert [one.name for one in path.parent.iterdir()] == ["journal.toml"]


def test_cut_short_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "journal.toml"
    journal.write(path, begun())
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert journal.read(path).phase is Phase.GARBLED, length
    path.write_bytes(whole + b"\n")
    assert journal.read(path).phase is Phase.GARBLED


def test_each_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "journal.toml"
    journal.write(path, begun())
    whole = path.read_bytes()
    for index in range(len(whole)):
        for bit in (0, 5, 7):
            broken = bytearray(whole)
            broken[index] ^= 1 << bit
            path.write_bytes(broken)
            assert journal.read(path).phase is Phase.GARBLED, (index, bit)


@given(data=st.binary(max_size=200))
def test_any_bytes(directory: Path, data: bytes) -> None:
    path = directory / "any.toml"
    path.write_bytes(data)
    assert journal.read(path) == Journal(Phase.GARBLED)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"phase = ",
        b'phase = "later"\n',
        b'id = "a"\n',
        b"phase = 5\n",
        b'phase = ["idle"]\n',
        b'phase = "applying"\nfrom_another_version = 1\n',
        b'phase = "applying"\npid = "text"\n',
        b'phase = "applying"\nboot_id = 5\n',
        b'phase = "applying"\ndeadline_seconds = "soon"\n',
        b'phase = "applying"\nstaged = "no"\n',
    ],
)
def test_a_right_checksum_over_what_is_no_journal(tmp_path: Path, body: bytes) -> None:
    # Another version's journal: an upgrade in the middle of a transaction.
    path = tmp_path / "journal.toml"
    path.write_bytes(b"# sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert journal.read(path).phase is Phase.GARBLED


def test_start_of_a_process() -> None:
    child = process.start(["sleep", "60"])
    try:
        start = journal.process_start(child.pid)
        assert start >= journal.process_start(os.getpid()) > 0
        assert journal.process_start(child.pid) == start
    finally:
        child.kill()
        child.communicate()
    assert journal.process_start(child.pid) == 0


def test_a_name_that_looks_like_the_line_in_proc(tmp_path: Path) -> None:
    # proc(5): the name stands in brackets and may have brackets and blanks of its own
    tricky = tmp_path / "a) S 1 1 (b"
    tricky.symlink_to("/bin/sleep")
    child = process.start([str(tricky), "60"])
    try:
        ticks = os.sysconf("SC_CLK_TCK")
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert 0 <= now - journal.process_start(child.pid) / ticks < 120
    finally:
        child.kill()
        child.communicate()


def test_idle_has_no_process() -> None:
    values: dict[str, Any] = {name: getattr(IDLE, name) for name in field_names(Journal)}
    assert not any(value for name, value in values.items() if name != "phase")
