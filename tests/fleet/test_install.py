"""A package that was installed and no more: it is quiet, and does nothing until somebody joins."""

import json
from collections.abc import Iterator

import pytest

from tests.fleet import mesh as meshes
from tests.fleet.booted import BootedMachine
from tests.fleet.fleet import Fleet
from tests.fleet.mesh import TimedMesh, everywhere
from tests.fleet.roots import SUITES
from tests.fleet.software import Repository, version
from tests.lab.state import state
from tests.lab.wait import wait_until

UNITS = ["wgmesh-*.service", "wgmesh-*.timer", "wg-failover.*", "wg-exit-selector.*"]


@pytest.fixture(scope="module")
def fresh(fleet: Fleet, repository: Repository) -> Iterator[list[BootedMachine]]:
    """Boot one more machine of each suite and install wgmesh there."""
    names = [f"fresh{number}" for number, _ in enumerate(SUITES)]
    added = fleet.add_booted(dict(zip(names, SUITES, strict=True)))
    before = [state(machine).kernel for machine in added]
    meshes.install(added, repository)
    assert [state(machine).kernel for machine in added] == before
    yield added
    for name in names:
        fleet.remove(name)


def test_it_is_there_and_quiet(fresh: list[BootedMachine]) -> None:
    for machine in fresh:
        assert version() in machine.wgmesh("--version").stdout
        done = machine.wgmesh("status", check=False)
        assert done.returncode == 8 and "wgmesh join" in done.stdout
        listed = machine.run(["systemctl", "list-units", "--all", "--no-legend", "--plain", *UNITS])
        assert not [x for x in listed.stdout.splitlines() if " active " in x or " failed " in x]
        assert machine.unit("wgmesh-sync.timer", "UnitFileState") == "enabled"
        assert nftables_is_stock(machine)
        assert machine.run(["systemctl", "is-system-running"]).stdout == "running\n"


def test_it_boots_as_quietly(fresh: list[BootedMachine]) -> None:
    for machine in fresh:
        machine.reboot()
        said = machine.journal("-p", "warning", "-t", "wgmesh", "-t", "wgmesh-net")
        assert "wgmesh" not in said.replace("-- No entries --", "")
        assert machine.run(["ip", "link", "show", "wg0"], check=False).returncode != 0


def test_the_manual_is_there(fresh: list[BootedMachine]) -> None:
    for printed in everywhere(fresh, ["dpkg", "--listfiles", "wgmesh"]):
        for page in ("man1/wgmesh.1.gz", "man5/mesh.toml.5.gz", "man8/wg-failover.8.gz"):
            assert f"/usr/share/man/{page}" in printed


def test_a_join_starts_the_timer_at_its_usual_pace(
    fresh: list[BootedMachine], mesh: TimedMesh
) -> None:
    """Not in the inventory yet: pending, which is no failure; a minute and up to 15 s more."""
    machine = fresh[1]
    argv = ["join", mesh.url, "--introduction", mesh.introduction]
    done = machine.wgmesh(*argv)
    assert "public_key = " in done.stdout
    wait_until(lambda: not mesh.turning(machine.name), 30, "the first turn is over")
    assert machine.wgmesh(*argv).stdout == done.stdout
    assert machine.wgmesh("join").stdout == done.stdout
    assert machine.wgmesh("status").returncode == 0
    assert machine.unit("wgmesh-sync.timer", "ActiveState") == "active"
    assert not nftables_is_stock(machine)
    assert "OnUnitInactiveUSec=1min" in machine.unit("wgmesh-sync.timer", "TimersMonotonic")
    assert machine.unit("wgmesh-sync.timer", "RandomizedDelayUSec") == "15s"
    assert machine.run(["systemctl", "is-system-running"]).stdout == "running\n"


def test_a_kernel_without_wireguard(fresh: list[BootedMachine], mesh: TimedMesh) -> None:
    """As packaged, the units cannot start wireguard-go: no commit is to blame; doctor helps."""
    machine, sync = fresh[2], "wgmesh-sync.service"
    if machine.run(["ip", "link", "add", "try", "type", "wireguard"], check=False).returncode == 0:
        machine.run(["ip", "link", "del", "try"])
        pytest.skip("this kernel has it")
    for unit in meshes.USERSPACE_UNITS:
        machine.run(["rm", "-r", f"/etc/systemd/system/{unit}.d"])
    machine.run(["systemctl", "daemon-reload"])
    entry = mesh.entry(machine.name, mesh.join(machine.name, "--no-enable"))
    mesh.commit({f"nodes/{machine.name}.toml": entry}, "A guest")
    try:
        assert machine.run(["systemctl", "start", sync], check=False).returncode != 0
        shown = mesh.status(machine.name)
        assert (shown["quarantine"], shown["last_sync"]["outcome"]) == ([], "failed")
        found = json.loads(machine.wgmesh("doctor", "--json", check=False).stdout)["findings"]
        (said,) = (each for each in found if each["check"] == "wireguard")
        assert said["level"] == "error" and "/dev/net/tun is closed" in said["message"]
        machine.run(["sh", "-c", said["fix"].split("slower: ")[1]])
        machine.run(["systemctl", "start", sync])
        assert mesh.status(machine.name)["state"] == "in-sync"
        assert "wireguard" not in machine.wgmesh("doctor", check=False).stdout
        machine.wgmesh("leave", "--restore")
    finally:
        del mesh.numbers[machine.name]
        mesh.hurry(mesh.commit({f"nodes/{machine.name}.toml": None}, "The guest leaves"))


def test_leave_gives_the_machine_back(fresh: list[BootedMachine], mesh: TimedMesh) -> None:
    machine = fresh[1]
    machine.wgmesh("leave", "--restore")
    assert machine.wgmesh("status", check=False).returncode == 8
    assert machine.unit("wgmesh-sync.timer", "ActiveState") == "inactive"
    assert nftables_is_stock(machine)


def nftables_is_stock(machine: BootedMachine) -> bool:
    """Return whether nftables.service runs Debian's own commands, as systemd has it now."""
    started = machine.unit("nftables.service", "ExecStart")
    assert "/usr/sbin/nft -f /etc/nftables.conf" in started or "wgmesh-net nftables" in started
    return "wgmesh" not in started
