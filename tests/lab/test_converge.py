"""A change of both ends of a tunnel is applied by each in its own time: nobody takes it back.

But what one end does wrong on its own is taken back all the same.
"""

import time
from functools import partial
from typing import Any

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.mesh import Mesh
from tests.lab.state import state, unfinished
from tests.lab.wait import wait_until

THREE = ("alpha", "bravo", "charlie")
POLL = "poll_interval_seconds = 1\nrandom_delay_seconds = 0\n"


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    made = Mesh(module_world_factory(THREE))
    made.bring_up(*THREE)
    for name in THREE:
        machine = made.world[name]
        made.policy(name, most=3, silent=4, minority=5)
        machine.write("/etc/wgmesh/wgmesh.toml", machine.read("/etc/wgmesh/wgmesh.toml") + POLL)
    return made


def entry(mesh: Mesh, name: str, **fields: Any) -> dict[str, str | None]:  # noqa: ANN401
    """Return a node's file with other fields."""
    key = mesh.world[name].run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    return {f"nodes/{name}.toml": mesh.entry(name, key, fields)}


def test_a_peer_that_moves_is_waited_for_and_said_to_be_late(mesh: Mesh) -> None:
    alpha, bravo, charlie = (mesh.world[name] for name in THREE)
    moved = {"listen_port": 51900, "endpoint": f"{bravo.ipv4}:51900"}
    commit = mesh.commit(entry(mesh, "bravo", **moved), "bravo moves")
    done = alpha.wgmesh("sync")
    assert "proof from 1 peers" in done.stderr and "end has changed as well: bravo" in done.stderr
    assert unfinished(alpha) == ""

    def late() -> bool:
        return any(commit[:12] in reason for reason in mesh.status("alpha")["reasons"])

    assert not late(), "two polls have not passed yet"
    wait_until(late, 5, "bravo is late")
    assert mesh.status("alpha")["state"] == "degraded"

    done = bravo.wgmesh("sync")
    assert "proof from 2 peers" in done.stderr, "it finds both of them, so both have to answer"
    charlie.wgmesh("sync")
    mesh.wait_for_tunnels()
    alpha.wgmesh("sync")
    assert not alpha.exists("/var/lib/wgmesh/awaited.toml")
    assert (mesh.status("alpha")["state"], mesh.status("alpha")["reasons"]) == ("in-sync", [])


def test_a_node_that_moves_to_where_nobody_hears_it_goes_back(mesh: Mesh) -> None:
    """Its own move is not excused by what the others have yet to do."""
    bravo, before = mesh.world["bravo"], state(mesh.world["bravo"])
    with mesh.world.internet.block_udp_port("bravo", 4500):
        moved = {"listen_port": 4500, "endpoint": f"{bravo.ipv4}:4500"}
        mesh.commit(entry(mesh, "bravo", **moved), "bravo moves again")
        begun = time.monotonic()
        done = bravo.wgmesh("sync", check=False)
        assert done.returncode == 6 and "2 of 2 tunnels" in done.stderr, done.stderr
        assert time.monotonic() - begun < 20
    assert state(bravo) == before and unfinished(bravo) == ""
    home = {"listen_port": 51900, "endpoint": f"{bravo.ipv4}:51900"}
    mesh.commit(entry(mesh, "bravo", **home), "bravo stays")
    mesh.sync()
    mesh.wait_for_tunnels()


def test_another_key_is_waited_for_by_name(mesh: Mesh) -> None:
    alpha, charlie = mesh.world["alpha"], mesh.world["charlie"]
    private = charlie.run(["wg", "genkey"]).stdout
    public = charlie.run(["wg", "pubkey"], stdin=private).stdout.strip()
    commit = mesh.commit({"nodes/charlie.toml": mesh.entry("charlie", public)}, "Another key")
    alpha.wgmesh("sync")
    assert commit in alpha.read("/var/lib/wgmesh/awaited.toml")
    charlie.write("/etc/wireguard/wg0.key", private, 0o600)
    assert "no tunnel can prove this" in charlie.wgmesh("sync").stderr
    mesh.sync("bravo")
    mesh.wait_for_tunnels()
    wait_until(partial(mesh.pings, "alpha", "charlie"), 10, "alpha reaches charlie")
    alpha.wgmesh("sync")
    assert not alpha.exists("/var/lib/wgmesh/awaited.toml")
