"""`wgmesh apply` where systemd runs: the helpers' timers, a reboot, and the machine given back."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.fleet import mesh as meshes
from tests.fleet.booted import BootedMachine
from tests.fleet.fleet import Fleet
from tests.fleet.software import Repository
from tests.lab.wait import wait_until

NAMES = ("lone1", "lone2")
CONF = "/etc/lone.conf"


@pytest.fixture
def machines(fleet: Fleet, repository: Repository) -> Iterator[list[BootedMachine]]:
    """Boot two machines of different suites, which follow no repository."""
    added = fleet.add_booted(dict(zip(NAMES, ("bookworm", "trixie"), strict=True)))
    meshes.install(added, repository)
    yield added
    for name in NAMES:
        fleet.remove(name)


def reaches(machine: BootedMachine, address: str) -> bool:
    """Return whether a machine reaches a mesh address."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0


def test_two_machines_without_git(machines: list[BootedMachine]) -> None:
    text = "[mesh]\ninterface = wg0\nmesh_cidr = 10.40.0.0/24\n"
    for number, machine in enumerate(machines, 1):
        private = machine.run(["wg", "genkey"]).stdout
        machine.write("/etc/wireguard/wg0.key", private, 0o600)
        public = machine.run(["wg", "pubkey"], stdin=private).stdout
        text += f'[node "{machine.name}"]\naddress = 10.40.0.{number}/32\npublic_key = {public}'
        text += f"endpoint = {machine.ipv4}:51820\n"
    for machine in machines:
        machine.write(CONF, text)
        assert (
            "as generation 1" in machine.wgmesh("apply", "-c", CONF, "--node", machine.name).stdout
        )
    one = machines[0]
    wait_until(partial(reaches, one, "10.40.0.2"), 30, "the tunnel is up")

    for machine in machines:
        for timer in ("wg-failover.timer", "wg-exit-selector.timer"):
            assert machine.unit(timer, "ActiveState") == "active"
        assert machine.unit("wgmesh-sync.timer", "ActiveState") == "inactive"
        assert machine.unit("wg-quick@wg0.service", "UnitFileState") == "enabled"
        for command in ("install-failover", f"install-exit-selector -c {CONF}"):
            assert "runs, now and after each boot" in machine.wgmesh(*command.split()).stdout
        machine.run(["systemctl", "start", "wg-failover.service"])
        assert machine.run(["systemctl", "is-system-running"]).stdout == "running\n"

    one.reboot()
    wait_until(partial(reaches, one, "10.40.0.2"), 60, "the tunnel is up again")
    assert one.unit("wg-failover.timer", "ActiveState") == "active"
    assert one.run(["systemctl", "status", "wg-quick@wg0.service"]).returncode == 0
    done = one.wgmesh("status", check=False)
    assert done.returncode == 8 and "applied by hand" in done.stdout
    assert "changed by hand" not in done.stdout and "lone2  up" in done.stdout

    one.wgmesh("leave", "--restore")
    assert one.run(["ip", "link", "show", "wg0"], check=False).returncode != 0
    assert one.unit("wg-failover.timer", "ActiveState") == "inactive"
    assert one.run(["systemctl", "is-system-running"]).stdout == "running\n"
