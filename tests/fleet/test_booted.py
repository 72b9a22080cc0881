"""The harness itself: machines boot, reach one another, keep their disks, leave no trace."""

from collections.abc import Iterator
from itertools import permutations

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.roots import SUITES
from tests.lab.pings import Pings

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(dict(zip(NAMES, SUITES, strict=True))) as fleet:
        yield fleet


def test_each_is_a_debian_of_its_own_that_runs(fleet: Fleet) -> None:
    pythons = set()
    for name in NAMES:
        machine = fleet[name]
        assert machine.read("/proc/1/comm") == "systemd\n"
        assert machine.hostname == name
        pythons.add(machine.run(["python3", "--version"]).stdout)
        assert machine.run(["systemd-run", "--wait", "--pipe", "id", "-u"]).stdout == "0\n"
        assert "/run-" in machine.run(["systemd-run", "--scope", "cat", "/proc/self/cgroup"]).stdout
    assert len(pythons) == 3


def test_they_reach_one_another_and_the_forge(fleet: Fleet) -> None:
    for one, other in permutations(NAMES, 2):
        for address in (fleet[other].ipv4, fleet[other].ipv6, f"{other}.example.net"):
            fleet[one].run(["ping", "-n", "-c", "1", "-W", "2", address])
    for name in NAMES:
        fleet[name].run(["ping", "-n", "-c", "1", "-W", "2", fleet.forge.machine.ipv4])
    with Pings(fleet["one"], fleet["two"].ipv4) as pings:
        fleet["three"].run(["ping", "-n", "-c", "5", "-i", "0.1", fleet["two"].ipv4])
        assert pings.stop().lost == 0


@pytest.mark.parametrize("name", NAMES)
def test_disks_outlive_reboots_and_power_cuts(fleet: Fleet, name: str) -> None:
    machine = fleet.booted[name]
    boot_ids = [machine.read("/proc/sys/kernel/random/boot_id")]
    for again in (machine.reboot, machine.power_cycle):
        machine.write("/var/lib/kept", "kept\n")
        machine.write("/run/gone", "gone\n")
        machine.run(["ip", "link", "add", "gone0", "type", "bridge"])
        again()
        assert machine.read("/var/lib/kept") == "kept\n"
        assert not machine.exists("/run/gone")
        assert machine.run(["ip", "link", "show", "gone0"], check=False).returncode != 0
        boot_ids.append(machine.read("/proc/sys/kernel/random/boot_id"))
        machine.run(["ping", "-n", "-c", "1", "-W", "2", fleet.forge.machine.ipv4])
    assert len(set(boot_ids)) == 3


def test_a_machine_in_which_a_service_failed_is_not_called_up(fleet: Fleet) -> None:
    machine = fleet.booted["one"]
    machine.write(
        "/etc/systemd/system/bad.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n",
    )
    machine.run(["systemctl", "enable", "bad.service"])
    with pytest.raises(AssertionError, match="one is degraded"):
        machine.reboot()
    machine.run(["systemctl", "disable", "bad.service"])
    machine.reboot()
