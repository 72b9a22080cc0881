"""The notify command under systemd: in its own unit, whether a timer or a person runs the turn."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fleet.booted import BootedMachine
from tests.fleet.mesh import TURN_SECONDS, TimedMesh
from tests.lab.wait import wait_until

UNIT = "wgmesh-notify.service"
PROGRAM = "/usr/local/sbin/tell me"
HOME = "/var/lib/wgmesh/notify"
TOLD = f"{HOME}/refused"
FORBIDDEN = ("/root/told", "/etc/told", "/run/told", "/dev/shm/told", "/var/lib/wgmesh/told")
NOTE = f"""#!/bin/sh
exec 3>&1 >"$HOME/new"
printf '%s\\n' "$*"
env -0 >"$HOME/env"
grep CapBnd /proc/self/status
cat /etc/wireguard/wg0.key
for path in {" ".join(FORBIDDEN)}; do touch $path; done
systemd-run touch /root/told
cat >"$HOME/$WGMESH_EVENT.json"
setsid sleep 654 &
setsid sh -c 'trap "" TERM; sleep 654' &
mv "$HOME/new" "$HOME/$WGMESH_EVENT"
exec >&3 2>&3
"""
CHATTY = 'yes "$WGMESH_REASON" | head -c 5000000\n'
HANGS = "sleep 654\n"


@pytest.fixture
def forged(mesh: TimedMesh) -> Iterator[str]:
    """Have a commit on the forge that every node refuses; it is gone afterwards."""
    for name in mesh.keys:
        mesh[name].run(["rm", "-rf", HOME])
    mallory = mesh.world.author("mallory")
    mallory.pull()
    commit = mallory.commit({"README": "mine"}, "A forgery")
    yield commit
    mesh.author.git("push", "--quiet", "--force", "origin", f"{mesh.author.head}:main")
    for name in mesh.keys:
        mesh.policy(name)
        mesh[name].run(["systemctl", "stop", UNIT])
        mesh[name].run(["systemctl", "reset-failed", UNIT], check=False)
        mesh[name].wgmesh("sync", check=False)
    mesh.converge(mesh.change("After the forgery"))


def tells(mesh: TimedMesh, name: str, script: str) -> BootedMachine:
    """Have a node tell by a program."""
    machine = mesh[name]
    machine.write(PROGRAM, script, 0o755)
    path = "/etc/wgmesh/wgmesh.toml"
    machine.write(path, machine.read(path) + f"notify = \"'{PROGRAM}' --to 'the admins'\"\n")
    return machine


def was_told(machine: BootedMachine, commit: str, key: str) -> None:
    """Require that the command was told of the refusal, in a sandbox, and has left nothing."""
    event: dict[str, Any] = json.loads(machine.read(f"{TOLD}.json"))
    said = machine.read(TOLD).splitlines()
    assert (event["event"], event["commit"], event["node"]) == ("refused", commit, machine.name)
    assert said[0] == "--to the admins"
    pairs = machine.read(f"{HOME}/env").split("\0")
    env = dict(pair.split("=", 1) for pair in pairs if pair)
    assert env["WGMESH_COMMIT"] == commit and env["HOME"] == HOME
    assert env["WGMESH_REASON"] == event["reason"]
    facts = {name for name in env if name.startswith("WGMESH_")}
    assert env.keys() - facts - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LC_ALL", "HOME"}
    assert "CapBnd:\t0000000000000000" in said
    assert key not in said
    for path in FORBIDDEN:
        assert not machine.exists(path), path
    wait_until(lambda: not machine.pids("sleep"), 10, "nothing that it has started is left")
    assert not machine.exists("/run/wgmesh/notify.json")


def test_by_the_timer_and_by_hand(mesh: TimedMesh, forged: str) -> None:
    alpha, bravo, charlie = (mesh[name] for name in ("alpha", "bravo", "charlie"))
    keys = {one.name: one.read("/etc/wireguard/wg0.key").strip() for one in (alpha, bravo, charlie)}
    tells(mesh, "alpha", NOTE + CHATTY)
    tells(mesh, "bravo", NOTE)
    tells(mesh, "charlie", NOTE + HANGS)
    for machine in (bravo, charlie):
        machine.run(["systemctl", "stop", "wgmesh-sync.timer"])
    try:
        wait_until(lambda: not mesh.turning("bravo"), 60, "no turn is under way")
        wait_until(lambda: not mesh.turning("charlie"), 60, "no turn is under way")
        mesh.world.author("mallory").push()

        done = bravo.wgmesh("sync", check=False)
        assert done.returncode == 4
        was_told(bravo, forged, keys["bravo"])
        bravo.run(["rm", "-r", HOME])
        assert bravo.wgmesh("sync", check=False).returncode == 4
        assert not bravo.exists(TOLD), "it is told once"

        began = time.monotonic()
        done = charlie.wgmesh("sync", check=False)
        assert done.returncode == 4
        assert 10 < time.monotonic() - began < 40
        assert f"{UNIT} did not end well" in done.stderr
        assert "timeout" in charlie.unit(UNIT, "Result")
        was_told(charlie, forged, keys["charlie"])
    finally:
        for machine in (bravo, charlie):
            machine.run(["systemctl", "start", "wgmesh-sync.timer"])

    wait_until(lambda: alpha.peek(f"{TOLD}.json"), TURN_SECONDS, "the timer's turn tells")
    wait_until(lambda: alpha.unit(UNIT, "ActiveState") == "inactive", 20, "it has ended")
    assert alpha.unit(UNIT, "Result") == "success"
    was_told(alpha, forged, keys["alpha"])
    lines = alpha.journal("-u", UNIT).splitlines()
    assert 50 < len(lines) < 2000, "the journal has some of what it said"


def test_a_program_that_is_not_there(mesh: TimedMesh, forged: str) -> None:
    bravo = tells(mesh, "bravo", NOTE)
    bravo.run(["rm", PROGRAM])
    mesh.world.author("mallory").push()
    wait_until(lambda: bravo.unit(UNIT, "Result") == "exit-code", TURN_SECONDS, "it has failed")
    assert "there is no such program" in bravo.journal("-u", UNIT)
    assert f"journalctl -u {UNIT}" in bravo.journal("-u", "wgmesh-sync.service")
