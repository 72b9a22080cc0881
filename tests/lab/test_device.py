"""A machine that cannot make the interface: no commit is to blame for that, and none is banned."""

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.mesh import Mesh
from tests.lab.state import unfinished

TRY = "ip link add name wgmesh-try type wireguard && ip link del wgmesh-try"


def test_a_missing_device_is_no_harmful_change(world_factory: WorldFactory) -> None:
    mesh = Mesh(world_factory(["alpha"]))
    alpha = mesh.world["alpha"]
    if alpha.run(["sh", "-c", TRY], check=False).returncode == 0:
        pytest.skip("this kernel makes the interface by itself")
    commit = mesh.enrol("alpha")
    alpha.run(["mount", "--bind", "/dev/null", "/dev/net/tun"])
    for _ in range(2):
        done = alpha.wgmesh("sync", check=False)
        assert done.returncode == 1, done
        assert "wireguard-go wg0 failed" in done.stderr and "harmful" not in done.stderr
        assert "wgmesh doctor says" in done.stderr
        shown = mesh.status("alpha")
        assert (shown["quarantine"], shown["last_sync"]["outcome"]) == ([], "failed")
        assert (shown["state"], shown["generation"]) == ("pending", None)
        assert unfinished(alpha) == ""
    alpha.run(["umount", "/dev/net/tun"])
    assert commit[:12] in alpha.wgmesh("sync").stdout
    assert mesh.status("alpha")["state"] == "in-sync"
