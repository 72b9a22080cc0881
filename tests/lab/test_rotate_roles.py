"""The key of an exit, and that of a hub, change under the traffic of those who use them."""

from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.exits import FAR4, FAR6, NODES, SEEN, in_use, tick, user_of_exits
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.rotation import merge, public_key
from tests.lab.wait import wait_until

HUBS, SPOKES = ("alpha", "bravo"), ("charlie", "delta")
STAR = 'topology = "star"\nhubs = ["alpha", "bravo"]\nhub_selection = "static"\n'
INTERVAL_SECONDS = 0.02
pytestmark = pytest.mark.alone  # packets are counted


def walk(mesh: Mesh, name: str, others: Sequence[str]) -> None:
    """Change the key of a node by merging what it prints, every node syncing after each commit."""
    old = public_key(mesh, name)
    for _ in range(2):
        merge(mesh, name)
        for _ in range(3):  # who waits for whom is the nodes' own affair
            mesh.sync(name, *others)
    assert mesh.status(name)["rotation"] is None
    assert public_key(mesh, name) != old


def test_an_exit_changes_its_key(world_factory: WorldFactory) -> None:
    mesh = user_of_exits(world_factory(NODES))
    alpha, internet = mesh.world["alpha"], mesh.world.internet
    wait_until(lambda: tick(alpha) == "" and in_use(alpha) == "bravo", 60, "the exit is in use")
    with ExitStack() as stack:
        seen = [internet.count("alpha", match) for match in SEEN.values()]
        pings = {
            address: stack.enter_context(Pings(alpha, address, INTERVAL_SECONDS))
            for address in (FAR4, FAR6)
        }
        walk(mesh, "bravo", ("alpha", "charlie", "delta"))
        assert tick(alpha) == ""
        assert in_use(alpha) == "bravo"
        lost = {address: each.stop().lost for address, each in pings.items()}
    assert all(each <= 1 for each in lost.values()), lost
    assert [each.packets() for each in seen] == [0] * len(SEEN)


def test_a_hub_changes_its_key(world_factory: WorldFactory) -> None:
    mesh = Mesh(world_factory([*HUBS, *SPOKES]))
    mesh.enrol(*HUBS, *SPOKES)
    mesh.commit({"mesh.toml": mesh.text + STAR}, "A star")
    mesh.sync()
    mesh.wait_for_tunnels()
    charlie = mesh.world["charlie"]
    with ExitStack() as stack:
        pings = {
            name: stack.enter_context(Pings(charlie, mesh.address(name), INTERVAL_SECONDS))
            for name in ("alpha", "bravo", "delta")
        }
        walk(mesh, "alpha", ("bravo", *SPOKES))
        lost = {name: each.stop().lost for name, each in pings.items()}
    assert {mesh.status(name)["hub"] for name in SPOKES} == {"alpha"}
    assert all(each <= 2 for each in lost.values()), lost
