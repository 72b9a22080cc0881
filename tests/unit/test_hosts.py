"""What `apply-remote` gives ssh, and what it makes of the answers."""

import shlex
import subprocess
import sys
import threading
import time
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from tests.unit.inventory_texts import key
from wgmesh.agent import hosts
from wgmesh.agent.hosts import Told
from wgmesh.model.inventory import Node
from wgmesh.process.talk import MOST_BYTES, Talks

NODE = Node("alpha", (ip_interface("10.40.0.1/32"),), key(1), None, 51820)


def test_the_command_line_of_ssh() -> None:
    node = replace(NODE, ssh_host="gate", ssh_user="ubuntu", ssh_port=2222)
    words = hosts.argv(node, "echo 'it is' $HOME; false", "-T")
    assert words[:2] == ["ssh", "-T"]
    end = words.index("--")
    assert words[end - 4 : end] == ["-l", "ubuntu", "-p", "2222"]
    assert words[end + 1] == "gate" and len(words) == end + 3
    assert shlex.split(words[-1]) == ["sh", "-c", "echo 'it is' $HOME; false"]
    bare = hosts.argv(NODE, "true")
    assert bare[-2] == "alpha" and "-l" not in bare and "-p" not in bare


@pytest.mark.parametrize(
    ("codes", "wanted"),
    [([], 0), ([0, 0], 0), ([0, 6], 6), ([5, 0, 5], 5), ([5, 6, 0], 1), ([1, 1], 1)],
)
def test_the_exit_code_is_that_of_all_that_failed(codes: list[int], wanted: int) -> None:
    assert hosts.exit_code([Told("n", code, "") for code in codes]) == wanted


@pytest.mark.parametrize(
    ("code", "err", "wanted", "words"),
    [
        (255, "ssh: connect to host x port 22: No route to host", 5, "ssh: connect to host x"),
        (255, "", 5, "ssh failed"),
        (1, "sudo: a password is required", 1, "sudo: a password is required"),
        (1, "sudo: sorry, you must have a tty to run sudo", 1, "you must have a tty"),
        (127, "sh: 1: exec: wgmesh: not found", 1, "there is no wgmesh"),
        (1, "sudo: wgmesh: command not found", 1, "there is no wgmesh"),
        (6, "applied\nwgmesh: found harmful\n  mend it", 6, "found harmful"),
        (2, "wgmesh: this machine has joined a mesh\n  merge", 2, "this machine has joined"),
        (3, "wgmesh: the inventory is invalid", 3, "the inventory is invalid"),
        (70, "", 1, "exit code 70"),
        (2, "usage: wgmesh apply\nwgmesh apply: error: unrecognized", 1, "unrecognized"),
        (None, "applied; waiting for proof", 1, "did not end in time"),
    ],
)
def test_what_a_host_says_is_told(code: int | None, err: str, wanted: int, words: str) -> None:
    told = hosts.tell("alpha", code, "", err)
    assert told.code == wanted and words in told.lines[-1] and told.outcome != "done"


def test_a_hint_is_passed_on() -> None:
    told = hosts.tell("alpha", 6, "", "x\nwgmesh: it was harmful\n  mend it\n")
    assert (told.lines, told.hint, told.outcome) == (("it was harmful",), "mend it", "rolled back")
    done = hosts.tell("alpha", 0, "+a\nalpha runs this\n", "warning: x\n")
    assert (done.code, done.lines) == (0, ("+a", "alpha runs this"))


def talk(code: str, stdin: bytes = b"", seconds: float = 20) -> tuple[int | None, str, list[str]]:
    """Have a Python program run; returns how it ended, what it said, and what was heard."""
    heard: list[str] = []
    argv = [sys.executable, "-c", code]
    ended = Talks().hold(argv, stdin=stdin, timeout_seconds=seconds, hear=heard.append)
    return ended.returncode, ended.out, heard


def test_a_conversation() -> None:
    code = "import sys; d = sys.stdin.read(); print(len(d)); print('a\\x1b[2J', file=sys.stderr)"
    assert talk(code, b"x" * 1_000_000) == (0, "1000000\n", ["a [2J"])
    assert talk("raise SystemExit(7)", b"x" * 1_000_000) == (7, "", [])
    assert talk("import time; time.sleep(60)", seconds=0.2)[0] is None
    assert talk(f"print('x' * {MOST_BYTES + 10})")[0] is None


def test_who_is_left_behind_is_not_waited_for() -> None:
    """As a ControlMaster of ssh, which keeps standard error open."""
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(9)'])\n"
        "print('done'); print('talk', file=sys.stderr)"
    )
    begun = time.monotonic()
    assert talk(code) == (0, "done\n", ["talk"])
    assert time.monotonic() - begun < 8


def test_all_conversations_end_at_once() -> None:
    talks = Talks()
    begun = threading.Event()
    code = "import sys, time; print('up', file=sys.stderr, flush=True); time.sleep(60)"
    argv = [sys.executable, "-c", code]
    found: list[int | None] = []

    def hold() -> None:
        ended = talks.hold(argv, stdin=b"", timeout_seconds=50, hear=lambda _: begun.set())
        found.append(ended.returncode)

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(20)
    start = time.monotonic()
    talks.end()
    thread.join(20)
    assert found == [None] and time.monotonic() - start < 10
    assert talks.hold(argv, stdin=b"", timeout_seconds=1, hear=print).returncode is None


def test_macos_has_what_it_needs() -> None:
    """The author's commands import nothing that is Linux only."""
    code = (
        "import sys\n"
        "sys.modules['pyroute2'] = None\n"
        "import wgmesh.cli.main, wgmesh.agent.hosts\n"
        "raise SystemExit('wgmesh.linux' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
