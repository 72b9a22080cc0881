"""Files whole or not at all, links in one step, and the lock between processes."""

import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wgmesh import process
from wgmesh.errors import LockedError
from wgmesh.files import (
    directory_atomic,
    left_aside,
    link_atomic,
    locked,
    sweep,
    sync_directory,
    write_atomic,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def entries(directory: Path) -> list[str]:
    """Return the names in `directory`, sorted."""
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond `size_bytes`: what a full disk does, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("durable", [True, False])
def test_write(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, b"one", durable=durable)
    assert path.read_bytes() == b"one"
    assert mode(path) == 0o644
    write_atomic(path, b"", 0o600, durable=durable)
    assert path.read_bytes() == b""
    assert mode(path) == 0o600
    assert entries(path.parent) == ["file"]


def test_the_mode_is_not_the_umasks(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_atomic(tmp_path / "file", b"x", 0o644)
    finally:
        os.umask(old)
    assert mode(tmp_path / "file") == 0o644


def test_nor_are_those_of_directories_made_on_the_way(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_atomic(tmp_path / "a" / "b" / "file", b"x")
        with locked(tmp_path / "run" / "lock"):
            pass
    finally:
        os.umask(old)
    for made in ("a", "a/b", "run"):
        assert mode(tmp_path / made) == 0o755
    (tmp_path / "a").chmod(0o700)
    write_atomic(tmp_path / "a" / "b" / "file", b"x")
    assert mode(tmp_path / "a") == 0o700, "one that is there is the administrator's"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old", 0o600)
    with full_disk(1000), pytest.raises(OSError, match="File too large") as caught:
        write_atomic(path, b"x" * 100_000)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert mode(path) == 0o600
    assert entries(tmp_path) == ["file"]


def test_a_directory_in_the_way_is_left(tmp_path: Path) -> None:
    (tmp_path / "file" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory") as caught:
        write_atomic(tmp_path / "file", b"x")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "file"), None)
    assert entries(tmp_path) == ["file"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "file").symlink_to("target")
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_reader_sees_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = [bytes([65 + n]) * 50_000 for n in range(8)]
    write_atomic(path, whole[0])
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for data in whole * 3:
            write_atomic(path, data, durable=False)
    finally:
        done.set()
        reader.join()
    assert seen
    assert seen <= set(whole)


WRITER = """\
import os
import signal
import sys
from pathlib import Path
from wgmesh import files


def stop(fd):
    print("written", flush=True)
    signal.pause()


os.fsync = stop
files.write_atomic(Path(sys.argv[1]), b"half", 0o600)
"""


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that has written what becomes `path`, and goes no further."""
    argv = [sys.executable, "-c", WRITER, os.fspath(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        try:
            yield child
        finally:
            child.kill()


def test_what_a_killed_writer_leaves_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "alpha.key"
    with writer(path) as child:
        aside = f".alpha.key.{child.pid}.tmp"
        sweep(tmp_path, ".conf", ".key")
        assert entries(tmp_path) == [aside], "it is at work"
        child.kill()
        child.wait()
        assert entries(tmp_path) == [aside]
        sweep(tmp_path, ".conf", ".key")
        assert entries(tmp_path) == []


def test_a_writer_that_is_not_seen_from_here_has_a_lock(tmp_path: Path) -> None:
    with writer(tmp_path / "alpha.key") as child, subprocess.Popen(["true"]) as gone:
        gone.wait()
        moved = tmp_path / f".alpha.key.{gone.pid}.tmp"
        (tmp_path / f".alpha.key.{child.pid}.tmp").rename(moved)
        sweep(tmp_path, ".conf", ".key")
        assert moved.exists()
        child.kill()
        child.wait()
        sweep(tmp_path, ".conf", ".key")
        assert not moved.exists()


def test_what_a_killed_process_of_this_number_leaves_is_removed(tmp_path: Path) -> None:
    """In a container each of them is number 1."""
    path = tmp_path / "mesh"
    left = tmp_path / f".mesh.{os.getpid()}.tmp"
    left.mkdir()
    (left / "half").write_text("")
    assert left_aside(path) == [left]
    with directory_atomic(path) as aside:
        (aside / "whole").write_text("")
    assert entries(tmp_path) == ["mesh"] and entries(path) == ["whole"]


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    number = gone.pid
    target = tmp_path / "target"
    target.write_text("precious")
    kept = ["target", *(f".{what}.key.{number}.tmp" for what in ("link", "pipe", "directory"))]
    (tmp_path / kept[1]).symlink_to(target)
    os.mkfifo(tmp_path / kept[2])
    (tmp_path / kept[3]).mkdir()
    names = f"a.key.{number}.tmp .{number}.tmp .a.key.{number}.tmp~ .a.key.x{number}.tmp .a.key.tmp"
    kept += [*names.split(), ".a.key..tmp", f".a.key.{os.getpid()}.tmp", ".a.key.99999999999.tmp"]
    kept += [f".a.txt.{number}.tmp", f".a.{number}.tmp"]
    for name in kept[4:]:
        (tmp_path / name).write_text("")
    sweep(tmp_path, ".conf", ".key")
    assert entries(tmp_path) == sorted(kept) and target.read_text() == "precious"
    sweep(tmp_path / "nowhere", ".key")


def test_link(tmp_path: Path) -> None:
    path = tmp_path / "boot"
    link_atomic(path, "gen-1")
    assert path.readlink() == Path("gen-1")
    link_atomic(path, "gen-2")
    assert path.readlink() == Path("gen-2")
    path.unlink()
    path.write_bytes(b"a file")
    link_atomic(path, "gen-3")
    assert path.readlink() == Path("gen-3")
    assert entries(tmp_path) == ["boot"]


def test_a_link_that_cannot_be_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "boot" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        link_atomic(tmp_path / "boot", "gen-1")
    assert entries(tmp_path) == ["boot"]


def test_sync_directory(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "file")


# ---------------------------------------------------------------- the lock

HOLD = """
import sys
from pathlib import Path
from wgmesh.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Hold the lock in another process; it lets go when its standard input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()


def test_the_second_comer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with other_process(path):
        with pytest.raises(LockedError) as caught, locked(path):
            pytest.fail("two hold the lock")
        assert caught.value.exit_code == 9
        assert caught.value.hint
    with locked(path):
        assert mode(path) == 0o600


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with other_process(path) as holder:
        holder.kill()
        holder.wait()
        with locked(path):
            assert path.exists()


def test_waiting_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    got = threading.Event()

    def take() -> None:
        with locked(path, wait=True):
            got.set()

    with other_process(path) as holder:
        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        assert not got.wait(0.3)
        assert holder.stdin is not None
        holder.stdin.close()
        assert got.wait(20)
        taker.join(20)


def test_no_child_keeps_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        child = process.start(["sleep", "60"], detached=True)
    try:
        with locked(path):
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_the_lock_is_let_go_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    with locked(path):
        assert path.exists()
