"""A disk that takes nothing more: the node mends itself all the same, and says what is wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.installed import by_nobody
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

STATE, WIREGUARD, RUN = "/var/lib/wgmesh", "/etc/wireguard", "/run/wgmesh"
POLICY = "/etc/wgmesh/wgmesh.toml"
FULL = "No space left on device"
FILL = """
cp -a {place} /copy.of.place
mount -t tmpfs -o size=4m,mode=0755 small {place}
cp -a /copy.of.place/. {place}; rm -r /copy.of.place
dd if=/dev/zero of={place}/fill bs=4k 2>/dev/null || true
"""
EMPTY = """
rm -f {place}/fill
cp -a {place} /copy.of.place && umount {place} && rm -rf {place}/* &&
    cp -a /copy.of.place/. {place} && rm -r /copy.of.place
"""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes that have nothing left to do, and know one another by name."""
    made = Mesh(module_world_factory(["alpha", "bravo"]))
    names = {name: {"endpoint": f"{name}.example.net:51820"} for name in ("alpha", "bravo")}
    made.bring_up("alpha", "bravo", **names)
    made.sync("alpha", "bravo")
    return made


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return a node of the mesh, which is well again afterwards."""
    machine = mesh.world["alpha"]
    yield machine
    machine.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


@contextmanager
def full(machine: Machine, place: str) -> Iterator[None]:
    """Have a file system of `place` alone, without room for one more byte."""
    machine.run(["sh", "-euc", FILL.format(place=place)])
    try:
        yield
    finally:
        machine.run(["sh", "-euc", EMPTY.format(place=place)])


def routes(machine: Machine) -> list[str]:
    """Return the routes of the mesh."""
    return sorted(machine.run(["ip", "-4", "route", "show", "dev", "wg0"]).stdout.splitlines())


def lose_a_route(machine: Machine) -> list[str]:
    """Take the route of the mesh away; return what there was."""
    before = routes(machine)
    machine.run(["ip", "route", "del", "10.40.0.0/24", "dev", "wg0"])
    assert routes(machine) != before
    return before


def test_what_was_lost_comes_back_and_status_says_that_the_disk_is_full(
    mesh: Mesh, alpha: Machine
) -> None:
    before = lose_a_route(alpha)
    with full(alpha, STATE):
        for _ in range(2):
            done = alpha.wgmesh("sync", check=False)
            assert done.returncode == 1 and "Traceback" not in done.stderr
            said = done.stderr.splitlines()
            assert f"wgmesh: {STATE}/last-sync.toml: {FULL}" in said
            assert said[-1].startswith("  df shows")
            assert routes(alpha) == before
            for shown in (
                mesh.status("alpha"),
                json.loads(by_nobody(alpha, "status", "--json").stdout),
            ):
                assert shown["state"] == "degraded"
                assert shown["last_sync"]["outcome"] == "failed"
                assert any(FULL in reason for reason in shown["reasons"])
            lose_a_route(alpha)
    alpha.wgmesh("sync")
    assert routes(alpha) == before
    assert mesh.status("alpha")["last_sync"]["outcome"] == "in-sync"
    assert by_nobody(alpha, "status").returncode == 0
    assert not alpha.exists(f"{RUN}/last-sync.toml")


@pytest.mark.parametrize("place", [WIREGUARD, RUN])
def test_another_file_system_that_is_full(mesh: Mesh, alpha: Machine, place: str) -> None:
    before = lose_a_route(alpha)
    alpha.run(["rm", "-f", f"{WIREGUARD}/wgmesh.d/endpoints"])
    with full(alpha, place):
        done = alpha.wgmesh("sync", check=False)
        assert FULL in done.stderr and place in done.stderr and "Traceback" not in done.stderr
        assert routes(alpha) == before
        assert mesh.status("alpha")["state"] == "in-sync", "none of this is needed now"


def test_all_are_full(mesh: Mesh, alpha: Machine) -> None:
    before = lose_a_route(alpha)
    with full(alpha, STATE), full(alpha, WIREGUARD), full(alpha, RUN):
        done = alpha.wgmesh("sync", check=False)
        assert done.returncode == 1 and FULL in done.stderr and "Traceback" not in done.stderr
        assert routes(alpha) == before


def test_a_disk_that_is_read_only(mesh: Mesh, alpha: Machine) -> None:
    before = lose_a_route(alpha)
    alpha.run(["mount", "--bind", STATE, STATE])
    alpha.run(["mount", "-o", "remount,ro,bind", STATE])
    try:
        done = alpha.wgmesh("sync", check=False)
        assert done.returncode == 1 and f"{STATE}/last-sync.toml: Read-only" in done.stderr
        assert routes(alpha) == before
        assert mesh.status("alpha")["state"] == "degraded"
    finally:
        alpha.run(["umount", STATE])


def test_a_turn_that_fails_anyway_says_both(mesh: Mesh, alpha: Machine) -> None:
    before = lose_a_route(alpha)
    mesh.world.forge.stop()
    try:
        with full(alpha, STATE):
            done = alpha.wgmesh("sync", check=False)
            assert done.returncode == 5
            assert "cannot be reached" in done.stderr and FULL in done.stderr
            assert routes(alpha) == before
            (reason,) = mesh.status("alpha")["reasons"]
            assert FULL in reason and "cannot be reached" in reason
            (remote,) = json.loads(alpha.wgmesh("trust", "show", "--json").stdout)["remotes"]
            assert remote["standing"] == "silent"
    finally:
        mesh.world.forge.start()


def test_a_refusal_that_cannot_be_recorded_is_seen(mesh: Mesh, alpha: Machine) -> None:
    alpha.write(POLICY, 'notify = "/run/tell"\n')
    alpha.write("/run/tell", "#!/bin/sh\necho $WGMESH_EVENT >>/run/told\n", 0o755)
    mallory = mesh.world.author("mallory")
    mallory.pull()
    mallory.commit({"README": "mine"}, "A forgery")
    mallory.push()
    try:
        assert alpha.wgmesh("sync", check=False).returncode == 4
        alpha.run(["rm", f"{STATE}/verdict.toml", f"{STATE}/told.toml", "/run/told"])
        with full(alpha, STATE):
            done = alpha.wgmesh("sync", check=False)
            assert done.returncode == 1 and "mallory" in done.stderr and FULL in done.stderr
            shown = mesh.status("alpha")
            assert shown["state"] == "degraded"
            assert any("refused" in each and "mallory" in each for each in shown["reasons"])
    finally:
        mesh.author.git("push", "--quiet", "--force", "origin", f"{mesh.author.head}:main")
        alpha.run(["rm", POLICY])


def test_what_cannot_be_recorded_is_told_once(mesh: Mesh, alpha: Machine) -> None:
    alpha.write(POLICY, 'notify = "/run/tell"\nstale_after_seconds = 1\n')
    alpha.write("/run/tell", "#!/bin/sh\necho $WGMESH_EVENT >>/run/told\n", 0o755)
    alpha.run(["rm", "-f", "/run/told"])

    def sync(code: int) -> bool:
        return alpha.wgmesh("sync", check=False).returncode == code

    mesh.world.forge.stop()
    try:
        with full(alpha, STATE):
            wait_until(lambda: sync(5) and alpha.exists("/run/told"), 20, "it is told")
            assert sync(5) and sync(5)
            assert alpha.read("/run/told") == "stale\n"
    finally:
        mesh.world.forge.start()
        alpha.run(["rm", POLICY])
