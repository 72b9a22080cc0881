"""Who comes and goes: the first node, its first peer, the last one; another name, another key."""

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.state import unfinished

THREE = ("alpha", "bravo", "charlie")


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    return Mesh(module_world_factory(THREE))


def test_one_alone_then_two_then_one(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    mesh.enrol("alpha")
    mesh.sync("alpha")
    assert kernel.dump(alpha).keys() == {""}, "a device without a peer"
    assert mesh.status("alpha")["state"] == "in-sync"

    mesh.enrol("bravo")
    mesh.sync("bravo", "alpha")
    mesh.wait_for_tunnels("alpha", "bravo")

    mesh.commit({"nodes/bravo.toml": None}, "Remove bravo")
    mesh.sync("alpha")
    assert kernel.dump(alpha).keys() == {""}
    assert mesh.status("alpha")["state"] == "in-sync"
    before = kernel.dump(mesh.world["bravo"])
    done = mesh.world["bravo"].wgmesh("sync")
    assert mesh.status("bravo")["state"] == "removed", done.stdout
    assert kernel.dump(mesh.world["bravo"]).keys() == before.keys(), "its tunnels stay"


def test_it_comes_back_with_another_key(mesh: Mesh) -> None:
    """As after the machine was installed anew: nothing of it is left but its name."""
    bravo = mesh.world["bravo"]
    old = bravo.run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    bravo.wgmesh("leave", "--restore")
    bravo.run(["sh", "-c", "rm -rf /etc/wireguard/* /var/lib/wgmesh/* /run/wgmesh"])
    mesh.enrol("bravo")
    mesh.sync("alpha", "bravo")
    mesh.wait_for_tunnels("alpha", "bravo")
    peers = kernel.dump(mesh.world["alpha"])
    assert old not in peers and len(peers) == 2


def test_another_name(mesh: Mesh) -> None:
    """A node is who has the key; its name is a label, and changing that concerns no tunnel."""
    mesh.enrol("charlie")
    mesh.sync("charlie", "alpha", "bravo")
    mesh.wait_for_tunnels(*THREE)
    charlie = mesh.world["charlie"]
    key = charlie.run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    before = [kernel.dump(mesh.world[name]) for name in THREE]
    files = {"nodes/charlie.toml": None, "nodes/carol.toml": mesh.entry("charlie", key)}
    mesh.commit(files, "charlie is carol now")
    with Pings(charlie, mesh.address("alpha"), 0.02) as pings:
        mesh.sync(*THREE)
    assert pings.stop().lost == 0
    shown = mesh.status("charlie")
    assert (shown["state"], shown["drift"]) == ("in-sync", [])
    assert [kernel.dump(mesh.world[name]) for name in THREE] == before
    assert unfinished(charlie) == ""
