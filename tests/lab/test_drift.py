"""What somebody changed by hand: told, or put back at each turn, as the machine's policy has it."""

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings

POLICY = "/etc/wgmesh/wgmesh.toml"


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    made = Mesh(module_world_factory(["alpha", "bravo", "charlie"]))
    made.bring_up("alpha", "bravo", "charlie")
    return made


def spoil(machine: Machine, peer: str) -> None:
    """Change by hand what wgmesh set: a peer's prefixes, an address, the MTU."""
    machine.run(["wg", "set", "wg0", "peer", peer, "allowed-ips", "10.99.0.0/24"])
    machine.run(["ip", "addr", "add", "10.98.0.1/32", "dev", "wg0"])
    machine.run(["ip", "link", "set", "wg0", "mtu", "1300"])


def test_drift_is_told_and_left(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    whole = kernel.whole(alpha)
    bravo = mesh.world["bravo"].run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    spoil(alpha, bravo)
    spoilt = kernel.whole(alpha)
    alpha.wgmesh("sync")
    assert kernel.whole(alpha) == spoilt != whole
    shown = mesh.status("alpha")
    assert shown["state"] == "degraded" and len(shown["drift"]) == 3
    alpha.wgmesh("reconcile")
    assert kernel.whole(alpha) == whole


def test_drift_is_put_back_at_each_turn_where_the_policy_says_so(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    whole = kernel.whole(alpha)
    alpha.write(POLICY, 'drift = "repair"\n')
    bravo = mesh.world["bravo"].run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    spoil(alpha, bravo)
    alpha.wgmesh("hold")
    alpha.wgmesh("sync")
    assert kernel.whole(alpha) != whole, "a node that is held is left alone"
    alpha.wgmesh("resume")
    with Pings(mesh.world["charlie"], mesh.address("alpha")) as pings:
        assert "put back" in alpha.wgmesh("sync").stderr
    assert pings.stop().lost == 0
    assert kernel.whole(alpha) == whole
    assert (mesh.status("alpha")["state"], mesh.status("alpha")["drift"]) == ("in-sync", [])
    assert "put back" not in alpha.wgmesh("sync").stderr
