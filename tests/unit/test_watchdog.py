"""Waiting for a transaction's end: real processes, each ended by its pid."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from wgmesh import journal, process, watchdog
from wgmesh.journal import Journal, Phase

DEADLINE_SECONDS = 20  # how long a test waits for what shall happen within two


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that stands for the agent."""
    running = process.start(["sleep", "300"])
    yield running
    running.kill()
    running.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.toml"


def record(pid: int, *, due_in_seconds: float = 300) -> Journal:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return Journal(
        Phase.APPLYING,
        id="one",
        generation=1,
        interface="wg0",
        boot_id=journal.boot_id(),
        pid=pid,
        pid_start=journal.process_start(pid),
        deadline_seconds=now + due_in_seconds,
    )


def waiting(path: Path) -> threading.Thread:
    """Start to wait for the journal at `path`; return the thread that does once it has read it."""
    read, real = threading.Event(), journal.read

    def reading(path: Path) -> Journal:
        found = real(path)
        read.set()
        return found

    thread = threading.Thread(target=watchdog.wait, args=(path,), daemon=True)
    with patch.object(journal, "read", reading):
        thread.start()
        assert read.wait(DEADLINE_SECONDS)
    return thread


def ends(thread: threading.Thread) -> bool:
    thread.join(DEADLINE_SECONDS)
    return not thread.is_alive()


def test_no_journal(path: Path) -> None:
    assert ends(waiting(path))


def test_a_process_that_is_dead(path: Path, child: subprocess.Popen[bytes]) -> None:
    journal.write(path, record(child.pid))
    child.kill()
    child.wait()
    assert ends(waiting(path))


def test_a_pid_that_is_somebody_elses_now(path: Path, child: subprocess.Popen[bytes]) -> None:
    mine = record(child.pid, due_in_seconds=-1)
    journal.write(path, replace(mine, pid_start=mine.pid_start - 1))
    assert ends(waiting(path))
    assert child.poll() is None, "a stranger must live"


def test_another_boot(path: Path, child: subprocess.Popen[bytes]) -> None:
    journal.write(path, replace(record(child.pid, due_in_seconds=-1), boot_id="another"))
    assert ends(waiting(path))
    assert child.poll() is None


def test_garbled(path: Path, child: subprocess.Popen[bytes]) -> None:
    journal.write(path, record(child.pid, due_in_seconds=-1))
    path.write_bytes(path.read_bytes()[:-1])
    assert ends(waiting(path))
    assert child.poll() is None


def test_past_the_deadline_the_process_is_ended(path: Path, child: subprocess.Popen[bytes]) -> None:
    journal.write(path, record(child.pid, due_in_seconds=-1))
    assert ends(waiting(path))
    assert child.wait(DEADLINE_SECONDS) == -9


def test_a_stopped_process_is_ended_too(path: Path, child: subprocess.Popen[bytes]) -> None:
    journal.write(path, record(child.pid, due_in_seconds=1))
    process.run(["kill", "-STOP", str(child.pid)])
    assert ends(waiting(path))
    assert child.wait(DEADLINE_SECONDS) == -9


@pytest.mark.parametrize(
    "change",
    [lambda _: journal.IDLE, lambda one: replace(one, id="two", deadline_seconds=0.0)],
    ids=["idle", "another transaction"],
)
def test_it_ends_with_the_transaction(
    path: Path, child: subprocess.Popen[bytes], change: Callable[[Journal], Journal]
) -> None:
    mine = record(child.pid)
    journal.write(path, mine)
    thread = waiting(path)
    assert thread.is_alive()
    journal.write(path, change(mine))
    assert ends(thread)
    assert child.poll() is None


def test_it_acts_at_once_when_the_process_dies(path: Path, child: subprocess.Popen[bytes]) -> None:
    journal.write(path, record(child.pid))
    thread = waiting(path)
    thread.join(0.3)
    assert thread.is_alive(), "while the agent works there is nothing to do"
    child.kill()
    assert ends(thread)


def test_phases_do_not_end_the_wait(path: Path, child: subprocess.Popen[bytes]) -> None:
    mine = record(child.pid)
    journal.write(path, mine)
    thread = waiting(path)
    journal.write(path, journal.advance(mine, Phase.UNDOING))
    thread.join(1.5)  # longer than one look
    assert thread.is_alive()
    child.kill()
    assert ends(thread)
