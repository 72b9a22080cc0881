"""The notify command on a real node: when it runs, what it gets, and that nobody waits for it."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import CONFIRM, Mesh
from tests.lab.test_harm import TAKE_PORT
from tests.lab.wait import wait_until

PROGRAM = "/etc/wgmesh/tell me"
TOLD = "/var/lib/told"
NOTE = """#!/bin/sh
n=$(ls {told} | wc -l)
mkdir -p {told}/$n.new
env -0 > {told}/$n.new/env
cat > {told}/$n.new/stdin
ls /proc/self/fd > {told}/$n.new/fds
printf '%s\\n' "$@" > {told}/$n.new/arguments
mv {told}/$n.new {told}/$n
{last}
"""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes that have nothing left to do; alpha tells."""
    made = Mesh(module_world_factory(["alpha", "bravo"]))
    made.bring_up("alpha", "bravo")
    made.sync("alpha", "bravo")
    policy(made.world["alpha"])
    return made


def policy(machine: Machine, *, last: str = "exit 0", more: str = "") -> None:
    """Have `machine` tell by a program that writes down what it got, and ends with `last`."""
    machine.run(["mkdir", "-p", TOLD])
    machine.write(PROGRAM, NOTE.format(told=TOLD, last=last), 0o755)
    text = CONFIRM.format(most=4, silent=6, minority=8)
    text += f"notify = \"'{PROGRAM}' --to 'the admins'\"\n{more}"
    machine.write("/etc/wgmesh/wgmesh.toml", text)


@pytest.fixture
def alpha(mesh: Mesh) -> Machine:
    """Return the node that tells."""
    return mesh.world["alpha"]


def told(machine: Machine) -> list[dict[str, Any]]:
    """Return the JSON documents that the program got, in order."""
    listed = machine.run(["ls", TOLD]).stdout.split()
    names = sorted((name for name in listed if name.isdecimal()), key=int)  # N.new is not whole
    return [json.loads(machine.read(f"{TOLD}/{name}/stdin")) for name in names]


def sync(machine: Machine, code: int, *words: str) -> str:
    done = machine.wgmesh("sync", *words, check=False)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stderr


def forge_a_commit(mesh: Mesh, message: str) -> str:
    mallory = mesh.world.author("mallory")
    mallory.pull()
    commit = mallory.commit({"nodes/mallory.toml": f"# {message}\n"}, message)
    mallory.push()
    return commit


def take_back(mesh: Mesh) -> None:
    """Put the branch back to what ada last pushed."""
    mesh.author.git("fetch", "--quiet", "origin")
    mesh.author.git("push", "--quiet", "--force", "origin", f"{mesh.author.head}:main")


def test_a_refusal_is_told_once(mesh: Mesh, alpha: Machine) -> None:
    sync(alpha, 0)
    assert told(alpha) == []
    first = forge_a_commit(mesh, "one")
    sync(alpha, 4, "--dry-run")
    assert told(alpha) == [], "a dry run does nothing"
    sync(alpha, 4)
    sync(alpha, 4)
    (event,) = told(alpha)
    assert event["event"] == "refused"
    assert (event["node"], event["interface"]) == ("alpha", "wg0")
    assert event["commit"] == first
    assert event["generation"] == mesh.status("alpha")["generation"]
    assert event["reason"] in "\n".join(mesh.status("alpha")["reasons"])
    second = forge_a_commit(mesh, "two")
    sync(alpha, 4)
    assert [each["commit"] for each in told(alpha)] == [first, second]
    take_back(mesh)
    sync(alpha, 0)
    assert len(told(alpha)) == 2
    third = forge_a_commit(mesh, "three")
    sync(alpha, 4)
    assert told(alpha)[2]["commit"] == third
    take_back(mesh)
    sync(alpha, 0)


def test_what_the_program_gets(alpha: Machine) -> None:
    """After the test above: its environment, its arguments, and nothing of ours beside."""
    pairs = alpha.read(f"{TOLD}/0/env").split("\0")
    env = dict(pair.split("=", 1) for pair in pairs if pair)
    event = told(alpha)[0]
    facts = {name: value for name, value in env.items() if name.startswith("WGMESH_")}
    assert facts == {f"WGMESH_{name.upper()}": str(value) for name, value in event.items()}
    ours = {"PATH", "LC_ALL", "HOME"}
    assert env.keys() - facts.keys() - {"PWD", "OLDPWD", "SHLVL", "_"} == ours
    assert alpha.read(f"{TOLD}/0/arguments").splitlines() == ["--to", "the admins"]
    fds = set(alpha.read(f"{TOLD}/0/fds").split())
    assert fds == {"0", "1", "2", "3"}, "3 is the listing's own"
    key = alpha.read("/etc/wireguard/wg0.key").strip()
    assert alpha.run(["grep", "-r", key, TOLD], check=False).returncode == 1


def test_a_rollback_is_told_once(mesh: Mesh, alpha: Machine) -> None:
    before = len(told(alpha))
    path = mesh.author.tree / "nodes" / "alpha.toml"
    good = path.read_text()
    taker = alpha.popen([sys.executable, "-c", TAKE_PORT, "40000"], stdin=subprocess.PIPE)
    assert taker.stdout is not None
    assert taker.stdout.readline() == "taken\n"
    bad = mesh.commit({"nodes/alpha.toml": good + "listen_port = 40000\n"}, "A taken port")
    assert "rolled back" in sync(alpha, 6)
    again = mesh.commit({"nodes/alpha.toml": good + "listen_port=40000\n"}, "In other words")
    assert "quarantine" in alpha.wgmesh("sync").stdout
    assert mesh.status("alpha")["candidate"]["id"] == again
    (event,) = told(alpha)[before:]
    assert (event["event"], event["commit"]) == ("rolled-back", bad)
    assert event["generation"] == mesh.status("alpha")["generation"]
    assert "idle" in alpha.read("/var/lib/wgmesh/journal.toml")
    sync(alpha, 6, "--retry")
    assert [each["commit"] for each in told(alpha)[before:]] == [bad, again], "harm once more"
    taker.communicate("")
    mesh.commit({"nodes/alpha.toml": good}, "Back")
    sync(alpha, 0)
    assert len(told(alpha)) == before + 2


def test_staleness_is_told_once(mesh: Mesh, alpha: Machine) -> None:
    policy(alpha, more="stale_after_seconds = 1\n")
    before = len(told(alpha))
    mesh.world.forge.stop()
    try:
        wait_until(lambda: sync(alpha, 5) and len(told(alpha)) > before, 20, "it is told")
        sync(alpha, 5)
    finally:
        mesh.world.forge.start()
    (event,) = told(alpha)[before:]
    assert event["event"] == "stale"
    assert event["commit"] is None
    policy(alpha)
    sync(alpha, 0)
    assert len(told(alpha)) == before + 1


def test_a_program_that_hangs(mesh: Mesh, alpha: Machine) -> None:
    """Nobody waits for it: the lock is free, and after its time it ends with all it started."""
    policy(alpha, last="sleep 600 & sleep 600")
    before = len(told(alpha))
    forge_a_commit(mesh, "hang")
    began = time.monotonic()
    child = alpha.popen([*alpha.wgmesh_argv, "sync"])
    wait_until(lambda: len(told(alpha)) > before, 20, "it is told")
    assert alpha.wgmesh("hold", "--reason", "me first").returncode == 0
    assert alpha.wgmesh("resume").returncode == 0
    assert child.poll() is None
    _, said = child.communicate(timeout=30)
    assert child.returncode == 4
    assert time.monotonic() - began < 25
    assert "did not end in time" in said
    wait_until(lambda: alpha.pids("sleep") == [], 5, "nothing is left")
    sync(alpha, 4)
    assert len(told(alpha)) == before + 1
    take_back(mesh)
    sync(alpha, 0)


def test_a_program_that_says_too_much_and_leaves_something_behind(
    mesh: Mesh, alpha: Machine
) -> None:
    """Nobody keeps what it says, and who waits for it does so no longer than it lives itself."""
    policy(alpha, last="sleep 600 & yes | head -c 200000000")
    before = len(told(alpha))
    forge_a_commit(mesh, "chat")
    argv = ["prlimit", "--as=500000000", "--", *alpha.wgmesh_argv, "sync"]
    done = alpha.run(argv, check=False)
    assert done.returncode == 4 and len(told(alpha)) == before + 1
    assert "notify command failed" not in done.stderr and len(done.stderr) < 5000
    wait_until(lambda: alpha.pids("sleep") == [], 5, "nothing is left")
    take_back(mesh)
    sync(alpha, 0)


@pytest.mark.parametrize(
    ("last", "said"), [("echo no mail today >&2; exit 3", "no mail today"), ("kill $$", "failed")]
)
def test_a_program_that_fails(mesh: Mesh, alpha: Machine, last: str, said: str) -> None:
    policy(alpha, last=last)
    before = len(told(alpha))
    forge_a_commit(mesh, "somebody")
    assert said in sync(alpha, 4)
    assert said not in sync(alpha, 4)
    assert len(told(alpha)) == before + 1
    take_back(mesh)
    sync(alpha, 0)


def test_a_program_that_is_not_there(mesh: Mesh, alpha: Machine) -> None:
    alpha.write("/etc/wgmesh/wgmesh.toml", 'notify = "/no/such/program"\n')
    forge_a_commit(mesh, "nobody to tell")
    assert "/no/such/program" in sync(alpha, 4)
    take_back(mesh)
    sync(alpha, 0)


def test_leaving_forgets_what_was_told(mesh: Mesh) -> None:
    bravo = mesh.world["bravo"]
    policy(bravo)
    forge_a_commit(mesh, "to bravo")
    sync(bravo, 4)
    assert bravo.exists("/var/lib/wgmesh/told.toml")
    bravo.wgmesh("leave")
    assert not bravo.exists("/var/lib/wgmesh/told.toml")
    take_back(mesh)
