"""Exits: nothing leaves in plaintext, whatever happens."""

import signal
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.exits import (
    NET,
    NODES,
    OPTIONS,
    OVERRIDE,
    SEEN,
    TICK,
    enter,
    in_use,
    leaked,
    put_right,
    reaches,
    tick,
    user_of_exits,
    watched,
)
from tests.lab.installed import add_user
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.state import KILLER
from tests.lab.wait import wait_until

RULES = "for f in -4 -6; do ip $f rule flush; ip $f rule add lookup main pref 32766; done"
EVENTS = {
    "no exit": "for p in $(wg show wg0 peers); do wg set wg0 peer $p allowed-ips ''; done",
    "link deleted": "ip link del wg0",
    "link down and up": "ip link set wg0 down; sleep 0.3; ip link set wg0 up",
    "nft flushed": "nft flush ruleset",
    "rules flushed": "for f in -4 -6; do ip $f rule flush protocol 101; done",
    "table flushed": "ip route flush table 101; ip -6 route flush table 101",
    "guard again": f"for i in 1 2 3 4 5; do {NET} guard; done",
    "interface restarted": f"ip link del wg0; wg-quick up wg0; {NET} up wg0",
    "service stopped and started": f"{NET} down wg0; wg-quick down wg0; sleep 1.5;"
    f" wg-quick up wg0; {NET} up wg0",
    "lo down and up": "ip link set lo down; sleep 0.3; ip link set lo up",
}


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Alpha uses the exits bravo and charlie; delta is a plain node."""
    return user_of_exits(module_world_factory(NODES))


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return the node that uses exits; afterwards everything works again, by the primary exit."""
    with put_right(mesh) as alpha:
        yield alpha


@pytest.mark.parametrize("event", EVENTS)
def test_nothing_leaks(mesh: Mesh, alpha: Machine, event: str) -> None:
    with watched(mesh) as counters:
        alpha.run(["sh", "-c", EVENTS[event]], check=False)
        time.sleep(0.7)
        alpha.wgmesh("reconcile", check=False)
        wait_until(partial(reaches, alpha), 40, "traffic flows again")
    assert leaked(counters) == {}


def test_nothing_leaks_when_the_daemon_dies(mesh: Mesh, alpha: Machine) -> None:
    with watched(mesh) as counters:
        for pid in alpha.pids("wireguard-go"):
            alpha.kill(pid)
        time.sleep(0.7)
        wait_until(lambda: alpha.wgmesh("reconcile", check=False).returncode == 0, 20, "mended")
        wait_until(partial(reaches, alpha), 40, "traffic flows again")
    assert leaked(counters) == {}


@pytest.mark.parametrize("what", ["a change", "a switch"])
def test_nothing_leaks_when_the_agent_is_killed(mesh: Mesh, alpha: Machine, what: str) -> None:
    """Before each of its operations in turn, or each third of the many that a change has."""
    log = mesh.world.directory / "operations"
    start = "journal.toml" if what == "a change" else "exits.json"

    def struck(number: int) -> bool:
        """Do it once, killed before that operation (0: not killed); returns whether it was."""
        env = {"PYTHONPATH": f"{KILLER}:{CHECKOUT}", "WGLAB_KILL": f"{number}|agent|{log}|{start}"}
        if what == "a change":
            mesh.commit({"mesh.toml": mesh.text + OPTIONS + f"mtu = {1400 + number}\n"}, "Changed")
            done = alpha.wgmesh("sync", "--retry", check=False, env=env)
        else:
            alpha.write(OVERRIDE, "bravo\n" if in_use(alpha) == "charlie" else "charlie\n")
            done = alpha.run(TICK, check=False, env=env, timeout=90)
        return done.returncode == -signal.SIGKILL

    with watched(mesh) as counters:
        kills = [number for number in range(1, 40, 3) if struck(number)]
        assert len(kills) >= 3
        alpha.wgmesh("recover", check=False)
        tick(alpha)
        wait_until(partial(reaches, alpha), 40, "traffic flows again")
    assert leaked(counters) == {}
    enter(mesh)


def test_nothing_leaks_in_changes_and_switches(mesh: Mesh, alpha: Machine) -> None:
    with watched(mesh) as counters:
        for name in ("charlie", "bravo"):
            alpha.write(OVERRIDE, f"{name}\n")
            tick(alpha)
            assert in_use(alpha) == name
        enter(mesh, OPTIONS + "mtu = 1400\n")
        alpha.wgmesh("rollback", "--no-hold")
        enter(mesh, OPTIONS)
        alpha.wgmesh("sync", "--retry")
    assert leaked(counters) == {}


def test_nothing_leaks_from_boot_on(mesh: Mesh, alpha: Machine) -> None:
    """The guard first, as its unit comes before the network; then traffic, then the interface."""
    alpha.reboot()
    add_user(alpha)
    alpha.run([NET, "guard"])
    with watched(mesh) as counters:
        time.sleep(0.5)
        assert not reaches(alpha)
        alpha.run(["wg-quick", "up", "wg0"])
        alpha.run([NET, "up", "wg0"])
        wait_until(partial(reaches, alpha), 30, "the exit that a boot begins with")
        tick(alpha)  # what is directly connected is found at the first one
        assert mesh.status("alpha")["drift"] == []
    assert leaked(counters) == {}


def test_what_the_counters_would_see(mesh: Mesh, alpha: Machine) -> None:
    """The control: without both layers everything leaks."""
    with watched(mesh) as counters:
        alpha.run(["sh", "-c", f"nft flush ruleset; {RULES}; ip link del wg0"])
        time.sleep(0.5)
        alpha.run(["sh", "-c", "ip route flush proto 101; ip -6 route flush proto 101"])
        time.sleep(0.5)
    assert set(leaked(counters)) == set(SEEN)
