"""Stars with two hubs: every pair meets through one of them, whichever of them works."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

HUBS = ("alpha", "bravo")
SPOKES = ("charlie", "delta", "echo", "foxtrot")
TICK = [sys.executable, "-c", "from wgmesh.cli.failover import main; raise SystemExit(main())"]
TIMER = """
import subprocess, sys, time
while True:
    subprocess.run(sys.argv[1:], check=False)
    time.sleep(9)
"""
LIMIT_SECONDS = 30
PINGS = 'for a; do ping -n -c 1 -W 1 "$a" >/dev/null || echo "$a" & done; wait'


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two hubs, four spokes."""
    mesh = Mesh(module_world_factory([*HUBS, *SPOKES]))
    mesh.enrol(*HUBS, *SPOKES)
    star(mesh, "static")
    return mesh


def star(mesh: Mesh, selection: str) -> None:
    """Make it a star in which the hub is chosen so."""
    options = f'topology = "star"\nhubs = ["alpha", "bravo"]\nhub_selection = "{selection}"\n'
    mesh.commit({"mesh.toml": mesh.text + options}, f"A star, {selection}")
    mesh.sync()


@pytest.fixture
def world(mesh: Mesh) -> Iterator[Mesh]:
    """Return the mesh, every spoke at the first hub; afterwards all lines work."""
    for name in SPOKES:
        mesh.world[name].run(["rm", "-f", "/run/wgmesh/failover.json"])
        mesh.world[name].wgmesh("reconcile")
    wait_until(lambda: not missing(mesh), 60, "every pair meets")
    yield mesh
    for name in (*HUBS, *SPOKES):
        mesh.world.internet.restore(name)


def missing(mesh: Mesh, names: tuple[str, ...] = SPOKES) -> list[str]:
    """Return who does not reach whom, of these nodes, over both families."""
    targets = {each: [mesh.address(each), mesh.address(each, 6)] for each in names}
    children = {
        name: mesh.world[name].popen(
            [
                "sh",
                "-c",
                PINGS,
                "sh",
                *(a for n, each in targets.items() if n != name for a in each),
            ]
        )
        for name in names
    }
    return [f"{n} to {a}" for n, child in children.items() for a in child.communicate()[0].split()]


@contextmanager
def ticking(mesh: Mesh) -> Iterator[None]:
    """Let every spoke run its timer."""
    children = [mesh.world[name].popen([sys.executable, "-c", TIMER, *TICK]) for name in SPOKES]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            print(child.communicate())


def tick(machine: Machine) -> str:
    """Run one tick; returns what it said."""
    done = machine.run(TICK, timeout=90)
    return done.stdout + done.stderr


def hub(mesh: Mesh, name: str) -> str:
    """Return the hub that a spoke has in force."""
    return str(mesh.status(name)["hub"])


def test_every_pair_meets_and_a_tick_changes_nothing(world: Mesh) -> None:
    assert missing(world, (*HUBS, *SPOKES)) == []
    for name in SPOKES:
        assert tick(world.world[name]) == "" == tick(world.world[name])
        status = world.status(name)
        assert (status["hub"], status["drift"]) == ("alpha", [])
        carried = world.world[name].run(["wg", "show", "wg0", "allowed-ips"]).stdout
        assert carried.count("10.40.0.0/24") == 1


@pytest.mark.parametrize("fault", ["line cut", "forwards no more"])
def test_a_dead_hub_is_left_by_all_within_thirty_seconds(world: Mesh, fault: str) -> None:
    alpha = world.world["alpha"]
    for name in SPOKES:
        tick(world.world[name])
    with ticking(world):
        dead = time.monotonic()
        if fault == "line cut":
            world.world.internet.cut("alpha")
        else:
            keys = ["net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"]
            alpha.run(["sysctl", "-qw", *keys])
        wait_until(lambda: missing(world), 10, "the hub is missed")
        try:
            wait_until(lambda: not missing(world), LIMIT_SECONDS, "every pair meets again")
            assert time.monotonic() - dead < LIMIT_SECONDS
        finally:
            alpha.wgmesh("reconcile")
    assert {hub(world, name) for name in SPOKES} == {"bravo"}
    assert world.status("charlie")["drift"] == []


def test_spokes_at_different_hubs_meet_all_the_same(world: Mesh) -> None:
    """Delta has lost alpha for a moment and stays at bravo, for ten minutes at least."""
    machines = world.world
    delta = machines["delta"]
    for name in SPOKES:
        tick(machines[name])
    with machines.internet.part(delta, machines["alpha"]):
        wait_until(lambda: tick(delta) and hub(world, "delta") == "bravo", 60, "delta is moved")
    with ticking(world):
        wait_until(lambda: not missing(world), 60, "every pair meets")
        time.sleep(25)  # longer than a hub remembers who uses it
        assert missing(world) == []
    assert [hub(world, name) for name in SPOKES] == ["alpha", "bravo", "alpha", "alpha"]


def test_the_choice_survives_a_change_that_does_not_concern_it(world: Mesh) -> None:
    charlie = world.world["charlie"]
    with world.world.internet.part(charlie, world.world["alpha"]):
        tick(charlie)
        wait_until(
            lambda: tick(charlie) is not None and hub(world, "charlie") == "bravo", 60, "moved"
        )
        text = world.author.pull() and world.world["charlie"].read("/etc/wireguard/wg0.conf")
        world.commit({"README": "else"}, "Something else")
        charlie.wgmesh("sync")
        charlie.wgmesh("reconcile")
        assert hub(world, "charlie") == "bravo"
        assert charlie.read("/etc/wireguard/wg0.conf") == text
        carried = charlie.run(["wg", "show", "wg0", "allowed-ips"]).stdout
        assert carried.count("10.40.0.0/24") == 1
        assert world.status("charlie")["drift"] == []
