"""The one door to programs, and the names that go through it."""

import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.wait import wait_until
from wgmesh import process
from wgmesh.errors import WgmeshError
from wgmesh.model.terms import Endpoint
from wgmesh.process import CommandError, distrusted
from wgmesh.resolve import resolve

SECRET = "AAAA!" + "A" * 38 + "="


def test_run() -> None:
    done = process.run(["sh", "-c", "cat; echo oops >&2"], stdin=b"\0\xff")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\0\xff", b"oops\n")
    assert process.text(["printf", "%s", "a b $HOME `id`"]) == "a b $HOME `id`"
    assert process.run(["cat"]).stdout == b"", "standard input is empty, not ours"


def test_failure() -> None:
    with pytest.raises(CommandError) as caught:
        process.run(["sh", "-c", "echo first >&2; echo last >&2; exit 3"])
    assert caught.value.returncode == 3
    assert caught.value.stderr == "first\nlast\n"
    assert "last" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1
    assert process.run(["sh", "-c", "exit 3"], check=False).returncode == 3


def test_a_signal_is_a_failure() -> None:
    with pytest.raises(CommandError) as caught:
        process.run(["sh", "-c", "kill -9 $$"])
    assert caught.value.returncode == -9


def test_a_missing_program() -> None:
    for check in (True, False):
        with pytest.raises(CommandError) as caught:
            process.run(["no-such-program", "--flag"], check=check)
        assert caught.value.returncode == 127
        assert "no-such-program" in caught.value.hint
    with pytest.raises(CommandError):
        process.start(["no-such-program"])


def test_a_program_that_hangs() -> None:
    start = time.monotonic()
    with pytest.raises(CommandError) as caught:
        process.run(["sleep", "60"], timeout_seconds=0.2)
    assert caught.value.returncode is None
    assert "in time" in caught.value.message
    assert time.monotonic() - start < 20


def test_a_program_that_hangs_with_children() -> None:
    start = time.monotonic()
    with pytest.raises(CommandError):
        process.run(["sh", "-c", "sleep 5 & sleep 5"], timeout_seconds=0.2)
    assert time.monotonic() - start < 4, "a grandchild that keeps the pipe must not hold us up"


def test_output_that_is_no_text() -> None:
    try:
        found = process.text(["printf", "a\\377b"])
    except WgmeshError:
        return
    assert found.startswith("a")


def test_errors_that_are_no_text() -> None:
    with pytest.raises(CommandError) as caught:
        process.run(["sh", "-c", "printf 'a\\377b' >&2; exit 1"])
    assert "a" in caught.value.message


def test_the_environment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "LD_PRELOAD_X", "GIT_SSH_COMMAND", "LANG", "WG_COLOR_MODE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    seen = dict(line.split("=", 1) for line in process.text(["env"]).splitlines())
    assert seen["PATH"] == process.SAFE_PATH
    assert seen["LC_ALL"] == "C.UTF-8"
    assert set(seen) <= {"PATH", "LC_ALL", "HOME", "PWD", "SHLVL", "_"}
    done = process.run(["env"], env={"GIT_DIR": "/mine"})
    assert b"GIT_DIR=/mine\n" in done.stdout


def test_what_comes_by_stdin_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("wgmesh")
    before = logger.propagate
    logger.propagate = True
    try:
        with caplog.at_level(logging.DEBUG, "wgmesh"):
            process.run(["cat", "/dev/stdin"], stdin=SECRET.encode())
    finally:
        logger.propagate = before
    assert "[#] cat /dev/stdin" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.skipif(process.which("wg") is None, reason="needs wg")
def test_wg_and_a_key_that_is_none() -> None:
    with pytest.raises(CommandError) as caught:
        process.text(["wg", "pubkey"], stdin=SECRET.encode())
    assert SECRET not in caught.value.message
    assert SECRET not in repr(caught.value)


def test_start_and_detached() -> None:
    child = process.start(["sh", "-c", "echo out; echo err >&2"])
    assert child.communicate(timeout=20) == (b"out\n", b"err\n")
    alone = process.start(["sleep", "60"], detached=True)
    try:
        assert os.getsid(alone.pid) == alone.pid != os.getsid(0)
        assert alone.stdout is None
    finally:
        alone.kill()
        alone.wait()


def test_which() -> None:
    assert process.which("sh") in ("/usr/bin/sh", "/bin/sh")
    assert process.which("no-such-program") is None


# ---------------------------------------------------------------- for what it does


def test_run_aside() -> None:
    distrusted.run_aside(
        ["sh", "-c", 'test "$(cat)" = "told $WHO"'],
        stdin=b"told me\n",
        env={"WHO": "me"},
        timeout_seconds=20,
    )
    with pytest.raises(CommandError, match="last") as caught:
        distrusted.run_aside(
            ["sh", "-c", "echo first; echo last >&2; exit 3"], stdin=b"", env={}, timeout_seconds=20
        )
    assert caught.value.returncode == 3
    with pytest.raises(CommandError) as caught:
        distrusted.run_aside(["no-such-program"], stdin=b"", env={}, timeout_seconds=20)
    assert caught.value.returncode == 127
    # more than a pipe holds, and nobody reads it
    distrusted.run_aside(["true"], stdin=b"x" * (1 << 20), env={}, timeout_seconds=20)


@pytest.mark.parametrize(
    ("script", "ends"),
    [("yes", False), ("sleep 60", False), ("exec >/dev/null 2>&1; sleep 60", False)]
    + [(f"{what} & echo $!", True) for what in ("yes", "sleep 60", "sh -c 'trap \"\" TERM; yes'")],
)
def test_run_aside_has_an_end(tmp_path: Path, script: str, ends: bool) -> None:
    """Of time, of memory, and of what it has started."""
    code = (
        "import sys\n"
        "from wgmesh.process import distrusted\n"
        "distrusted.run_aside(['sh', '-c', sys.argv[1]], stdin=b'', env={}, timeout_seconds=3)\n"
    )
    script = f"echo $$ >{tmp_path}/group; {script}"
    start = time.monotonic()
    argv = ["prlimit", f"--as={256 << 20}", "--", sys.executable, "-c", code, script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) == ends, done.stderr
    assert ends or "did not end in time" in done.stderr
    assert time.monotonic() - start < 30
    group = int((tmp_path / "group").read_text())
    wait_until(lambda: not living(group), 5, "nothing of it is left")


def living(group: int) -> list[str]:
    """Return the processes of a group that have not ended (proc(5): state is 3, pgrp is 5)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(path.parent.name)
    return found


def test_become() -> None:
    code = (
        "import sys\n"
        "from wgmesh.process import distrusted\n"
        "distrusted.become(sys.argv[1:], stdin=b'told\\n', env={'WHO': 'me'})\n"
    )
    script = "cat; env; ls /proc/self/fd; yes | head -n 1"
    env = {"HOME": "/somewhere", "SECRET": "x", "PATH": "/nowhere"}
    argv = [sys.executable, "-c", code, "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)
    said = done.stdout.splitlines()
    assert said[0] == "told" and said[-1] == "y"
    assert {"WHO=me", "HOME=/somewhere", f"PATH={process.SAFE_PATH}"} <= set(said)
    assert "SECRET=x" not in said and done.stderr == ""
    assert {line for line in said if line.isdecimal()} == {"0", "1", "2", "3"}, "3: of ls"
    with pytest.raises(CommandError):
        distrusted.become(["no-such-program"], stdin=b"", env={})


# ---------------------------------------------------------------- names


def test_localhost_resolves() -> None:
    here, there = Endpoint("localhost", 51820), Endpoint("localhost", 443)
    found = resolve([here, there])
    assert set(found) == {here, there}
    assert found[here].literal
    assert found[here].host in ("127.0.0.1", "::1")
    assert found[here].host == found[there].host
    assert (found[here].port, found[there].port) == (51820, 443)


def test_what_does_not_resolve_delays_only_itself() -> None:
    good, bad = Endpoint("localhost", 1), Endpoint("nowhere.invalid", 1)
    start = time.monotonic()
    assert set(resolve([bad, good], seconds=5)) == {good}
    assert time.monotonic() - start < 15


def test_literals_need_no_answer() -> None:
    assert resolve([Endpoint("192.0.2.1", 1), Endpoint("2001:db8::1", 1)]) == {}
    assert resolve([]) == {}


@pytest.mark.parametrize("host", ["--help", "-V", "", "a b", "..", "x" * 300])
def test_a_name_is_no_option(host: str) -> None:
    assert resolve([Endpoint(host, 1)], seconds=5) == {}


# ---------------------------------------------------------------- whoever may be somebody else


def test_what_is_distrusted_is_heard_to_its_end() -> None:
    script = "echo out; echo err >&2; exit 3"
    assert distrusted.hear(["sh", "-c", script], timeout_seconds=10) == b"out\nerr\n"


def test_who_says_too_much_is_ended() -> None:
    start = time.monotonic()
    said = distrusted.hear(["yes"], timeout_seconds=60, most_bytes=5000)
    assert said == b"y\n" * 2500 and time.monotonic() - start < 30


@pytest.mark.parametrize(
    "script", ["sleep 60", "exec >/dev/null 2>&1; sleep 60", "echo x; sleep 60"]
)
def test_who_takes_too_long_is_ended(script: str) -> None:
    with pytest.raises(process.CommandError, match="did not end in time"):
        distrusted.hear(["sh", "-c", script], timeout_seconds=0.5)


def test_what_is_heard_of_a_program_has_an_end() -> None:
    done = process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False, most_bytes=4)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    start = time.monotonic()
    with pytest.raises(process.CommandError, match="more than 5000 bytes") as caught:
        process.run(["yes"], timeout_seconds=60, most_bytes=5000)
    assert caught.value.returncode == -9 and time.monotonic() - start < 30
    script = "yes | head -c 5000000 >&2; echo last >&2"
    done = process.run(["sh", "-c", script], timeout_seconds=60, most_bytes=5)
    assert done.stderr.endswith(b"y\nlast\n") and len(done.stderr) <= 1 << 17


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "exec >/dev/null 2>&1; sleep 60",
        "echo x; sleep 60",
        "sleep 60 & exit",
        "yes >&2",
    ],
)
def test_what_is_heard_comes_in_time(script: str) -> None:
    start = time.monotonic()
    with pytest.raises(process.CommandError, match="did not end in time"):
        process.run(["sh", "-c", script], timeout_seconds=0.5, most_bytes=100)
    assert time.monotonic() - start < 20
