"""What the package's postrm takes away of the boot path, and what it leaves."""

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT

GENERATION = "/etc/wireguard/wgmesh.d/gen-1"
WANTS = "/etc/systemd/system/multi-user.target.wants"


@pytest.mark.parametrize("interface", ["wg0", "wg-mesh", "wg-"])
def test_purge_ends_what_boots_the_interface(world_factory: WorldFactory, interface: str) -> None:
    alpha = world_factory(["alpha"])["alpha"]
    unit = f"wg-quick@{interface}.service"
    names = (f"{interface}.conf", "wg-failover.conf", "wg-exit-selector.conf")
    alpha.run(["mkdir", "-p", GENERATION, WANTS])
    alpha.run(["ln", "-s", "gen-1", "/etc/wireguard/wgmesh.d/boot"])
    for name in names:
        alpha.write(f"{GENERATION}/{name}", "")
        alpha.run(["ln", "-s", f"wgmesh.d/boot/{name}", f"/etc/wireguard/{name}"])
    alpha.write("/etc/wireguard/other.conf", "")
    for each in (unit, "wg-quick@other.service", "wg-quick@wg-failover.service"):
        alpha.run(["ln", "-s", "/usr/lib/systemd/system/wg-quick@.service", f"{WANTS}/{each}"])

    alpha.run(["sh", CHECKOUT / "debian/postrm", "purge"])
    assert alpha.run(["ls", "/etc/wireguard"]).stdout == "other.conf\n"
    # wg-failover.conf is a helper's, so that an interface of that name is somebody else's
    left = alpha.run(["ls", WANTS]).stdout.split()
    assert unit not in left
    assert {"wg-quick@other.service", "wg-quick@wg-failover.service"} <= set(left)
