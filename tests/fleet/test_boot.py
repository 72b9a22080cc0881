"""Reboots: inside the confirm window, after it, and with a Python that is broken that day."""

import pytest

from tests.fleet.mesh import TURN_SECONDS, TimedMesh, comes_back, ours
from tests.lab.state import unfinished
from tests.lab.wait import wait_until

NAMES = ("alpha", "bravo", "charlie")
PACKAGE = "/usr/lib/python3/dist-packages/wgmesh"
WINDOW_SECONDS = 300  # no confirm window of these tests ends by itself


@pytest.mark.parametrize(
    ("name", "how"), [("alpha", "reboot"), ("bravo", "power_cycle"), ("charlie", "power_cycle")]
)
def test_inside_the_confirm_window_the_old_configuration_boots(
    mesh: TimedMesh, name: str, how: str
) -> None:
    machine = mesh[name]
    mesh.policy(name, most=WINDOW_SECONDS, silent=WINDOW_SECONDS, minority=WINDOW_SECONDS)
    before = ours(machine)
    with mesh.fleet.internet.block_udp_port(name, 4511):
        mesh.change("Move the port", **{name: {"listen_port": 4511}})
        wait_until(
            lambda: (
                'phase = "applying"' in machine.peek("/var/lib/wgmesh/journal.toml")
                and port(mesh, name) == "4511"
            ),
            TURN_SECONDS,
            f"{name} is in the confirm window",
        )
        plain = mesh.change("Plain again")  # what the first turn after the boot will find
        getattr(machine, how)()
        comes_back(machine, before, 20)
        assert port(mesh, name) == "51820"
        assert unfinished(machine) == ""
        mesh.wait_for_tunnels(name, *(other for other in NAMES if other != name))
    mesh.policy(name)
    mesh.hurry(plain)
    assert ours(machine) == before


def test_after_it_the_new_one_does(mesh: TimedMesh) -> None:
    commit = mesh.change("Keep alive", **{name: {"persistent_keepalive": 17} for name in NAMES})
    mesh.hurry(commit)
    before = {name: ours(mesh[name]) for name in NAMES}
    for name in NAMES:
        mesh[name].reboot()
    for name in NAMES:
        comes_back(mesh[name], before[name], 20)
        assert " 17" in before[name]["device"]
        assert mesh[name].unit("wg-quick@wg0.service", "ActiveState") == "active"
        assert unfinished(mesh[name]) == ""
    mesh.wait_for_tunnels()
    mesh.hurry(mesh.change("Plain again"))


@pytest.mark.parametrize("gone", [False, True], ids=["as it booted", "its interface gone"])
def test_who_leaves_after_a_reboot_leaves_nothing_behind(mesh: TimedMesh, gone: bool) -> None:
    alpha = mesh["alpha"]
    if gone:
        alpha.run(["systemctl", "start", "wg-quick@wg0.service"])
        alpha.run(["systemctl", "stop", "wgmesh-sync.timer"])
        wait_until(
            lambda: alpha.unit("wgmesh-net@wg0.service", "ActiveState") == "active",
            20,
            "wgmesh-net@wg0 has done its part",
        )
        alpha.run(["ip", "link", "del", "wg0"])
    else:
        alpha.reboot()
    assert alpha.unit("wg-quick@wg0.service", "ActiveState") == "active"
    alpha.wgmesh("leave", "--restore")
    assert alpha.run(["systemctl", "is-system-running"], check=False).stdout == "running\n"
    assert alpha.unit("wg-quick@wg0.service", "ActiveState") == "inactive"
    assert alpha.unit("wg-quick@wg0.service", "UnitFileState") == "disabled"
    assert alpha.run(["ip", "link", "show", "wg0"], check=False).returncode != 0
    assert alpha.run(["ip", "route", "show", "table", "all", "proto", "101"]).stdout == ""
    assert "inet wgmesh" not in alpha.run(["nft", "list", "tables"]).stdout
    assert alpha.run(["sh", "-c", "ls /etc/wireguard"]).stdout == "wg0.key\n"

    assert mesh.join("alpha") == mesh.keys["alpha"]
    mesh.converge(mesh.author.head)
    mesh.wait_for_tunnels()


def test_a_mesh_boots_without_python(mesh: TimedMesh) -> None:
    before = {name: ours(mesh[name]) for name in NAMES}
    for name in NAMES:
        mesh[name].run(["mv", PACKAGE, f"{PACKAGE}.away"])
        mesh[name].power_cycle(wanted="degraded")  # the program cannot run, and that is seen
    try:
        for name in NAMES:
            comes_back(mesh[name], before[name], 20)
        mesh.wait_for_tunnels()
        assert mesh["alpha"].run(["wgmesh", "status"], check=False).returncode == 1
    finally:
        for name in NAMES:
            mesh[name].run(["mv", f"{PACKAGE}.away", PACKAGE])
    mesh.hurry(mesh.change("Python again"))
    for name in NAMES:
        mesh[name].run(["systemctl", "reset-failed"])


def port(mesh: TimedMesh, name: str) -> str:
    return mesh[name].run(["wg", "show", "wg0", "listen-port"], check=False).stdout.strip()
