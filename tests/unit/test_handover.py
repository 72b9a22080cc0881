"""What the fetch leaves for root, and everything else that could lie in its place."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wgmesh import handover
from wgmesh.errors import WgmeshError
from wgmesh.handover import LARGEST_ANSWER_BYTES, LARGEST_BUNDLE_BYTES, Answer, Request, Said
from wgmesh.model.numbers import MOST_REMOTES

COMMIT = "12" * 20
SAID = (Said("git://h/x", COMMIT), Said("git://i/x", reason="it is away"))
ANSWER = Answer("aa", "bb", "reached", 1_700_000_000, SAID, bundled=(COMMIT,), since="")
TIP = f'[[said]]\nremote = "r"\ncommit = "{COMMIT}"\n'
MOST_MEBIBYTES = 150
HELD_SECONDS = 5
"""Far more than a look takes, far less than a pipe or a lease would hold it."""


def test_an_answer_comes_back(tmp_path: Path) -> None:
    assert handover.read_answer(tmp_path) is None
    handover.write_answer(tmp_path, ANSWER)
    assert handover.read_answer(tmp_path) == ANSWER
    assert stat.S_IMODE((tmp_path / "answer.toml").stat().st_mode) == 0o644
    failed = Answer("cc", outcome="unreachable", error="no", hint="yes", failures=3, again=5)
    handover.write_answer(tmp_path, failed)
    assert handover.read_answer(tmp_path) == failed


def test_a_request_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "fetch.toml"
    assert handover.read_request(path) is None
    asked = Request("aa", ("git://h/x", "/srv/y"), "main", everything=True)
    handover.write_request(path, asked)
    assert handover.read_request(path) == asked
    path.write_text("id = 3")
    with pytest.raises(WgmeshError, match="damaged"):
        handover.read_request(path)


def test_ids_differ() -> None:
    assert len({handover.new_id() for _ in range(100)}) == 100


def test_the_longest_texts_can_be_read(tmp_path: Path) -> None:
    said = tuple(Said('"' * 3000, COMMIT, "𝄞" * 3000) for _ in range(MOST_REMOTES))
    bundled = (COMMIT,) * MOST_REMOTES
    long = replace(ANSWER, said=said, bundled=bundled, error="\\" * 3000, hint="é" * 3000)
    handover.write_answer(tmp_path, long)
    found = handover.read_answer(tmp_path)
    assert found is not None and found.error.startswith("\\\\") and len(found.error) == 400
    assert found.said[-1].remote == handover.shown('"' * 3000) and len(found.bundled) == 8
    assert (tmp_path / "answer.toml").stat().st_size <= LARGEST_ANSWER_BYTES


def test_texts_are_fit_for_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "answer.toml").write_text(
        'run = "a\\u001b[2J"\noutcome = "unreachable"\nerror = "x\\u001b]0;y\\u0007\\nz"\n'
    )
    found = handover.read_answer(tmp_path)
    assert found is not None and (found.run, found.error) == ("a[2J", "x]0;yz")


# ---------------------------------------------------------------- in its place


def link(path: Path) -> None:
    secret = path.parent / "secret"
    secret.write_text('run = "hunter2"\noutcome = "hunter2"')
    path.symlink_to(secret)


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGEST_BUNDLE_BYTES + 1)


@pytest.mark.parametrize("what", [link, dangling, pipe, directory, listener, sparse])
@pytest.mark.parametrize("name", ["answer.toml", "bundle"])
def test_what_is_no_plain_file_is_not_read(
    tmp_path: Path, name: str, what: Callable[[Path], None]
) -> None:
    what(tmp_path / name)
    start = time.monotonic()
    with pytest.raises(WgmeshError) as caught:
        if name == "bundle":
            with handover.open_handed(tmp_path, name, LARGEST_BUNDLE_BYTES):
                pass
        else:
            handover.read_answer(tmp_path)
    assert time.monotonic() - start < HELD_SECONDS
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "journalctl" in caught.value.hint


def test_the_directory_is_no_link(tmp_path: Path) -> None:
    handover.write_answer(tmp_path / "real", ANSWER)
    (tmp_path / "fetch").symlink_to("real")
    with pytest.raises(WgmeshError, match="no directory"):
        handover.read_answer(tmp_path / "fetch")


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o600])
def test_a_closed_directory(tmp_path: Path, mode: int) -> None:
    """As the service meets it, which has no right to pass over modes."""
    fetch = tmp_path / "fetch"
    handover.write_answer(fetch, ANSWER)
    code = (
        "import sys; from pathlib import Path; from wgmesh import handover\n"
        "from wgmesh.errors import WgmeshError\n"
        "try: handover.read_answer(Path(sys.argv[1]))\n"
        "except WgmeshError as error: print(error.message, error.hint, sep='\\n')\n"
    )
    argv = [sys.executable, "-c", code, str(fetch)]
    if os.geteuid() == 0:
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *argv]
    fetch.chmod(mode)
    try:
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    finally:
        fetch.chmod(0o755)
    assert "Permission denied" in said[0] and "fetch" in said[0]
    assert "journalctl" in said[1]


def test_a_lease_holds_nobody_up(tmp_path: Path) -> None:
    handover.write_answer(tmp_path, ANSWER)
    code = (
        "import fcntl, os, signal, sys\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        f"fd = os.open({str(tmp_path / 'answer.toml')!r}, os.O_RDWR)\n"
        f"fcntl.fcntl(fd, {fcntl.F_SETLEASE}, fcntl.F_WRLCK)\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        start = time.monotonic()
        with pytest.raises(WgmeshError, match="cannot be read"):
            handover.read_answer(tmp_path)
        assert time.monotonic() - start < HELD_SECONDS
        child.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_hard_link_to_somebody_elses_file_is_not_read(tmp_path: Path) -> None:
    fetch = tmp_path / "fetch"
    fetch.mkdir()
    handover.write_answer(fetch, ANSWER)
    os.chown(fetch, 65534, 65534)
    with pytest.raises(WgmeshError, match="not a file of its own"):
        handover.read_answer(fetch)


# ---------------------------------------------------------------- in its text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run = 3",
        'run = "a"\nodd = 1',
        'run = "a"\noutcome = "fine"',
        f'run = ""\noutcome = "reached"\n{TIP}',
        f'run = "\\u0001"\noutcome = "reached"\n{TIP}',
        'run = "a"\noutcome = "reached"',
        'run = "a"\noutcome = "reached"\n[[said]]\nremote = "r"',
        'run = "a"\noutcome = "reached"\nsaid = ["a"]',
        'run = "a"\noutcome = "reached"\nsaid = 5',
        f'run = "a"\noutcome = "reached"\n[said]\nremote = "r"\ncommit = "{COMMIT}"',
        f'run = "a"\noutcome = "reached"\n{TIP}odd = 1',
        f'run = "a"\noutcome = "reached"\n[[said]]\ncommit = "{COMMIT}"',
        f'run = "a"\noutcome = "reached"\n{TIP * 9}',
        f'run = "a"\noutcome = "reached"\n{TIP.replace(COMMIT, COMMIT + " --exec=x")}',
        f'run = "a"\noutcome = "reached"\nbundled = ["../../x"]\n{TIP}',
        f'run = "a"\noutcome = "reached"\nbundled = "{COMMIT}"\n{TIP}',
        f'run = "a"\noutcome = "reached"\nbundled = {[COMMIT] * 9}\n{TIP}',
        f'run = "a"\noutcome = "refused"\nrefused = "-x"\n{TIP}',
        'run = "a"\noutcome = "failed"\nsince = "-x"',
        f'run = "a"\ntime = {"9" * 5000}',
        "a = " + "[" * 4000,
        "a" + ".a" * 3000 + " = 1",
        'run = "a"\nfailures = true',
        'run = "a"\nfailures = -1',
        'run = "a"\nfailures = 10000000',
        "\x00" * 100,
        "\xff",
    ],
)
def test_what_says_nothing_sensible_is_no_answer(tmp_path: Path, text: str) -> None:
    (tmp_path / "answer.toml").write_text(text, encoding="latin-1")
    with pytest.raises(WgmeshError) as caught:
        handover.read_answer(tmp_path)
    assert caught.value.message.isprintable() and len(caught.value.message) < 300


@pytest.mark.parametrize("parts", [500, 16_380], ids=["many lines", "one line"])
def test_no_key_takes_more_of_root_than_a_file_of_this_size_may(tmp_path: Path, parts: int) -> None:
    line = "a." * parts + "a = 1\n"
    lines = [f"k{number}." + line for number in range(LARGEST_ANSWER_BYTES // len(line) or 1)]
    text = "".join(lines)[-LARGEST_ANSWER_BYTES:]
    (tmp_path / "answer.toml").write_text(text)
    code = (
        "import sys; from pathlib import Path; from wgmesh import handover\n"
        "from wgmesh.errors import WgmeshError\n"
        "try: handover.read_answer(Path(sys.argv[1]))\n"
        # ru_maxrss would be that of who started it
        "except WgmeshError:\n"
        "    print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert int(said) < MOST_MEBIBYTES << 10


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=300)
    | st.text(alphabet='runotcme=[]{}".\n\\u0123', max_size=200).map(str.encode)
)
def test_no_text_makes_root_stumble(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "answer.toml").write_bytes(data)
    try:
        found = handover.read_answer(tmp_path)
    except WgmeshError as error:
        assert error.hint
    else:
        assert found is not None and found.outcome in handover.OUTCOMES
