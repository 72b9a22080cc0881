"""Faults around a change: programs that hang or are gone, packets that are lost, a second comer.

What kills the agent at each point is in test_kill, full disks are in test_full_disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.net import ignore_pings
from tests.lab.pings import Pings
from tests.lab.stage import boot
from tests.lab.state import state, unfinished
from tests.lab.wait import wait_until
from wgmesh.agent import remote

THREE = ("alpha", "bravo", "charlie")
PORTS = count(51900)
INITIATION = "udp length 156 @th,64,8 1"  # type 1, 148 bytes (WireGuard paper, section 5.4.2)
ONCE = """\
#!/bin/sh
# the first call of this word hangs
[ "$1" = {word} ] && mkdir /run/hung 2>/dev/null && exec sleep 600
exec /run/real "$@"
"""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    made = Mesh(module_world_factory(THREE))
    made.bring_up(*THREE)
    return made


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return the node that changes; afterwards nothing is unfinished, and all reach one another."""
    machine = mesh.world["alpha"]
    yield machine
    machine.wgmesh("sync", "--retry")
    assert unfinished(machine) == ""
    mesh.sync()
    mesh.wait_for_tunnels()


def entry(mesh: Mesh, name: str, **fields: Any) -> dict[str, str | None]:  # noqa: ANN401
    """Return a node's file with other fields."""
    key = mesh.world[name].run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    return {f"nodes/{name}.toml": mesh.entry(name, key, fields)}


def another_port(mesh: Mesh) -> int:
    """Commit that alpha listens elsewhere, which concerns all its tunnels; returns the port."""
    port = next(PORTS)
    mesh.commit(entry(mesh, "alpha", listen_port=port), f"Port {port}")
    return port


def listen_port(machine: Machine) -> int:
    return int(machine.run(["wg", "show", "wg0", "listen-port"], check=False).stdout or 0)


def real_path(machine: Machine, program: str) -> str:
    return machine.run(["sh", "-c", f"readlink -f $(command -v {program})"]).stdout.strip()


@contextmanager
def hanging_once(machine: Machine, word: str) -> Iterator[None]:
    """Let the next `wg WORD` hang."""
    real = real_path(machine, "wg")
    machine.write("/run/wg", ONCE.format(word=word), 0o755)
    machine.run(["rm", "-rf", "/run/hung"])
    machine.run(["cp", real, "/run/real"])
    machine.run(["mount", "--bind", "/run/wg", real])
    try:
        yield
        assert machine.exists("/run/hung"), "it was called"
    finally:
        machine.run(["umount", real])
        for pid in machine.pids("sleep"):
            machine.kill(pid)


@contextmanager
def gone(machine: Machine, program: str) -> Iterator[None]:
    """Let a program be missing, as after its package was removed."""
    directory, _, name = real_path(machine, program).rpartition("/")
    options = f"lowerdir={directory},upperdir=/run/upper,workdir=/run/work"
    machine.run(["mkdir", "-p", "/run/upper", "/run/work"])
    machine.run(["mount", "-t", "overlay", "overlay", "-o", options, directory])
    try:
        machine.run(["rm", f"{directory}/{name}"])
        yield
    finally:
        machine.run(["umount", "--lazy", directory])  # whoever runs a program of it keeps it
        machine.run(["rm", "-rf", "/run/upper", "/run/work"])


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize("word", ["set", "addconf"])
def test_wg_hangs_in_the_middle(mesh: Mesh, alpha: Machine, word: str) -> None:
    before = state(alpha).content
    address = {"allowed_ips": [f"192.168.{next(PORTS) % 200}.0/24"]}
    mesh.commit(entry(mesh, "charlie", **address) | entry(mesh, "alpha", listen_port=4444))
    with hanging_once(alpha, word), Pings(mesh.world["bravo"], mesh.address("alpha")) as pings:
        done = alpha.wgmesh("sync", check=False)
        assert pings.stop().longest_gap_seconds < 20
    assert done.returncode == 6, done.stderr
    assert f"wg {word}" in done.stderr and "Traceback" not in done.stderr
    assert state(alpha).content == before and unfinished(alpha) == ""


@pytest.mark.parametrize("program", ["wg", "ip"])
def test_a_program_is_gone(mesh: Mesh, alpha: Machine, program: str) -> None:
    before = state(alpha).content
    another_port(mesh)
    with gone(alpha, program):
        done = alpha.wgmesh("sync", check=False)
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert program in done.stderr and "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 4
    assert state(alpha).content == before and unfinished(alpha) == ""


# ---------------------------------------------------------------- packets


def test_the_first_handshake_packet_is_lost(mesh: Mesh, alpha: Machine) -> None:
    """It is sent again after 5 s (WireGuard paper, section 6.4), well within the window."""
    port = another_port(mesh)
    alpha.run(["ip", "link", "del", "wg0"])
    with mesh.world.internet.lose_next("alpha", 1, INITIATION):
        done = alpha.wgmesh("sync")
        assert "runs as generation" in done.stdout and listen_port(alpha) == port
        mesh.wait_for_tunnels("alpha", "bravo")


def test_a_third_of_the_packets_is_lost(mesh: Mesh, alpha: Machine) -> None:
    """Of the tunnels' packets: none of them is sent again but the handshake's."""
    for name in THREE[1:]:
        mesh.sync(name)
    port = another_port(mesh)
    with mesh.world.internet.lose("alpha", 30, "meta l4proto udp"):
        done = alpha.wgmesh("sync")
    assert "runs as generation" in done.stdout and listen_port(alpha) == port


@pytest.mark.timeout(500)
def test_a_third_of_the_forges_packets_is_lost(mesh: Mesh, alpha: Machine) -> None:
    """TCP sends them again after ever longer: git gets through or is given up, before or after."""
    another_port(mesh)
    with mesh.world.internet.lose("alpha", 30, "meta l4proto tcp"):
        done = alpha.wgmesh("sync", check=False, timeout=remote.UNIT_SECONDS + 60)
    assert done.returncode in {0, 5, 6}, done
    assert "Traceback" not in done.stderr
    if done.returncode == 6:
        assert "the git remote is no longer reachable" in done.stderr


# ---------------------------------------------------------------- others, meanwhile


def test_in_the_window_nobody_else_gets_in(mesh: Mesh, alpha: Machine) -> None:
    port = another_port(mesh)
    with ignore_pings(mesh.world["bravo"]):
        child = alpha.popen([*alpha.wgmesh_argv, "sync"])
        wait_until(lambda: listen_port(alpha) == port, 60, "it is applied")
        for words in (["sync"], ["rollback"], ["reconcile"]):
            done = alpha.wgmesh(*words, check=False)
            assert done.returncode == 9, (words, done)
            assert len(done.stderr.splitlines()) <= 2 and "Traceback" not in done.stderr
        assert child.poll() is None, "it was still in its window"
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0 and "runs as generation" in out, err
    assert listen_port(alpha) == port


def test_a_reboot_in_the_window_twice(mesh: Mesh, alpha: Machine) -> None:
    old = listen_port(alpha)
    port = another_port(mesh)
    for _ in range(2):
        with ignore_pings(mesh.world["bravo"]):
            mesh.wait_for_tunnels("alpha", "charlie")
            child = alpha.popen([*alpha.wgmesh_argv, "sync"])
            wait_until(lambda: listen_port(alpha) == port, 60, "it is applied")
            boot(alpha)
            child.communicate(timeout=20)
            assert listen_port(alpha) == old and unfinished(alpha) == ""
    assert "quarantine" in alpha.wgmesh("sync").stdout
    assert listen_port(alpha) == old


def test_a_file_in_the_place_of_the_link_is_told_and_kept(mesh: Mesh, alpha: Machine) -> None:
    conf = "/etc/wireguard/wg0.conf"
    link = alpha.run(["readlink", conf]).stdout.strip()
    mine = alpha.read(conf).replace("[Interface]", "# mine\n[Interface]")
    alpha.run(["rm", conf])
    alpha.write(conf, mine, 0o600)
    try:
        port = another_port(mesh)
        alpha.wgmesh("sync", check=False)
        assert listen_port(alpha) == port
        assert alpha.read(conf) == mine
        assert any(
            "wg0.conf is a file of its own" in each for each in mesh.status("alpha")["drift"]
        )
    finally:
        alpha.run(["ln", "-sfn", link, conf])


def test_a_peer_is_two_commits_behind(mesh: Mesh, alpha: Machine) -> None:
    """The same end changes twice before it looks once: nobody takes either change back."""
    bravo = mesh.world["bravo"]
    for port in (next(PORTS), next(PORTS)):
        moved = {"listen_port": port, "endpoint": f"{bravo.ipv4}:{port}"}
        mesh.commit(entry(mesh, "bravo", **moved), f"bravo at {port}")
        for name in ("alpha", "charlie"):
            done = mesh.world[name].wgmesh("sync")
            assert "runs as generation" in done.stdout
    bravo.wgmesh("sync")
    assert listen_port(bravo) == port
    mesh.wait_for_tunnels()
