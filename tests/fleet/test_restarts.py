"""What an administrator and other software do to a running node: nothing of the mesh is lost."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fleet.booted import BootedMachine
from tests.fleet.mesh import TURN_SECONDS, TimedMesh, comes_back, ours
from tests.lab.pings import Pings
from tests.lab.wait import wait_until

NAMES = ("alpha", "bravo", "charlie")
TABLE = "table inet wgmesh"
NFTABLES = "nftables.service"
OWN_UNIT = f"/etc/systemd/system/{NFTABLES}"
# With a unit that is not Debian's, a flush and what follows it are two transactions; in between is
# no more than a process.
GUARD_GAP_SECONDS = 1.0
NETWORK = """\
[Match]
Name=eth0
[Network]
IPv6AcceptRA=no
LinkLocalAddressing=no
"""
ADDRESSES = """\
Address={ipv4}/15
Address={ipv6}/64
Gateway=198.18.0.254
Gateway=2001:db8::ffff
"""
# systemd 252 cannot set an address on the kernels of today: there it takes over what there is.
KEEP = "KeepConfiguration=yes\n"
OTHER_VPN = """\
[Interface]
PrivateKey = {private}
Address = 172.31.0.2/32
[Peer]
PublicKey = {public}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 198.18.9.9:51821
"""


class TableWatch:
    """What happens to our firewall table, as the kernel tells it to `nft monitor`."""

    def __init__(self, machine: BootedMachine) -> None:
        self._machine = machine
        self._seen: list[tuple[float, str]] = []
        self._child: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read)

    def start(self) -> None:
        """Start; returns once events are seen to come in."""
        self._child = self._machine.popen(["stdbuf", "-oL", "nft", "monitor"])
        self._reader.start()
        wait_until(self._hears, 10, "nft monitor listens")

    def stop(self) -> None:
        """Wait until all that happened so far was told, then stop."""
        assert self._child is not None
        if self._child.poll() is None:
            self._seen.append((time.monotonic(), "stop"))
            wait_until(self._hears, 10, "nft monitor has told all")
        self._child.kill()
        self._reader.join(10)
        self._child.communicate()

    @property
    def longest_absence_seconds(self) -> float:
        """The longest time without our table; infinite when it is gone now.

        What one transaction deletes and adds again was never away.
        """
        there, gone, longest = True, 0.0, 0.0
        was_there = True
        for moment, line in self._seen:
            if line.strip() in (f"add {TABLE}", f"delete {TABLE}"):
                there = line.startswith("add ")
            elif line.startswith("# new generation") and there != was_there:
                gone, longest = (
                    (moment, longest) if was_there else (gone, max(longest, moment - gone))
                )
                was_there = there
        return longest if was_there else float("inf")

    def _hears(self) -> bool:
        heard = sum("fleet_probe" in line for _, line in self._seen)
        for verb in ("add", "delete"):
            self._machine.run(["nft", verb, "table", "ip", "fleet_probe"])
        return sum("fleet_probe" in line for _, line in self._seen) > heard

    def _read(self) -> None:
        assert self._child is not None and self._child.stdout is not None
        for line in self._child.stdout:
            self._seen.append((time.monotonic(), line))


@contextmanager
def watched(machine: BootedMachine) -> Iterator[TableWatch]:
    """Watch a machine's firewall table while the block runs."""
    watch = TableWatch(machine)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


@pytest.mark.parametrize("name", NAMES)
def test_wg_quick_restarted(mesh: TimedMesh, name: str) -> None:
    machine = mesh[name]
    before = ours(machine)
    assert TABLE in before["nft"]
    with watched(machine) as watch:
        for _ in range(2):  # the first may be its first start, over the living interface
            machine.run(["systemctl", "restart", "wg-quick@wg0.service"])
            comes_back(machine, before, 2)
            mesh.wait_for_tunnels(deadline_seconds=20)
            wait_until(
                lambda: machine.unit("wgmesh-net@wg0.service", "ActiveState") == "active",
                10,
                "wgmesh-net@wg0 has done its part",
            )
    assert watch.longest_absence_seconds == 0
    assert machine.run(["systemctl", "is-system-running"]).stdout == "running\n"


@pytest.mark.parametrize("name", NAMES)
def test_wg_quick_reloaded(mesh: TimedMesh, name: str) -> None:
    machine = mesh[name]
    machine.run(["systemctl", "start", "wg-quick@wg0.service"])
    before = ours(machine)
    other = NAMES[NAMES.index(name) - 1]
    with watched(machine) as watch, Pings(mesh[other], mesh.address(name), 0.01) as pings:
        machine.run(["systemctl", "reload", "wg-quick@wg0.service"])
        comes_back(machine, before, 1)
    assert watch.longest_absence_seconds == 0
    assert pings.stop().lost == 0


@pytest.mark.parametrize("name", NAMES)
def test_nftables_service(mesh: TimedMesh, name: str) -> None:
    machine = mesh[name]
    for absence in flushes(machine):
        assert absence == 0


def test_an_nftables_service_of_the_administrators_own(mesh: TimedMesh) -> None:
    machine = mesh["alpha"]
    stock = machine.read(f"/usr/lib/systemd/system/{NFTABLES}")
    own = stock.replace("/etc/nftables.conf", "/etc/own.nft")
    machine.run(["cp", "/etc/nftables.conf", "/etc/own.nft"])
    machine.write(OWN_UNIT, own)
    machine.run(["systemctl", "daemon-reload"])
    try:
        assert "wgmesh-net" not in machine.run(["systemctl", "cat", NFTABLES]).stdout
        for absence in flushes(machine):
            assert 0 < absence < GUARD_GAP_SECONDS
    finally:
        machine.run(["rm", OWN_UNIT, "/etc/own.nft"])
        machine.run(["systemctl", "daemon-reload"])
    assert "wgmesh-net" in machine.run(["systemctl", "cat", NFTABLES]).stdout


def test_a_firewall_that_does_not_load_is_not_taken_for_one(mesh: TimedMesh) -> None:
    machine = mesh["alpha"]
    machine.run(["systemctl", "start", NFTABLES])
    before = ours(machine)
    good = machine.read("/etc/nftables.conf")
    machine.write("/etc/nftables.conf", good + "table inet broken { nonsense }\n")
    try:
        failed = machine.run(["systemctl", "reload", NFTABLES], check=False)
        assert failed.returncode != 0
        assert ours(machine) == before
    finally:
        machine.write("/etc/nftables.conf", good)


def flushes(machine: BootedMachine) -> Iterator[float]:
    """Reload and restart nftables.service; yield how long our table was away each time."""
    machine.run(["systemctl", "start", NFTABLES])
    for verb in ("reload", "restart"):
        wait_until(lambda: TABLE in tables(machine), TURN_SECONDS, "our table is there")
        before = ours(machine)
        machine.run(["nft", "add", "table", "inet", "somebody"])
        with watched(machine) as watch:
            machine.run(["systemctl", verb, NFTABLES])
            assert "table inet somebody" not in tables(machine), "it did flush all tables"
            comes_back(machine, before, 2)
        yield watch.longest_absence_seconds


def tables(machine: BootedMachine) -> str:
    return machine.run(["nft", "list", "tables"]).stdout


def test_a_flush_by_hand_is_mended_by_the_next_tick(mesh: TimedMesh) -> None:
    before = {name: ours(mesh[name]) for name in NAMES}
    for name in NAMES:
        mesh[name].run(["nft", "flush", "ruleset"])
        mesh[name].run(["ip", "route", "flush", "proto", "101"])
    for name in NAMES:
        comes_back(mesh[name], before[name], TURN_SECONDS)
    mesh.wait_for_tunnels()


@pytest.mark.parametrize("name", NAMES)
def test_systemd_networkd_restarted(mesh: TimedMesh, name: str) -> None:
    machine = mesh[name]
    own = ADDRESSES.format(ipv4=machine.ipv4, ipv6=machine.ipv6)
    old = machine.read("/etc/debian_version").startswith("12.")
    machine.write("/etc/systemd/network/eth0.network", NETWORK + (KEEP if old else own))
    machine.run(["systemctl", "start", "systemd-networkd.service"])
    wait_until(lambda: configured(machine), 20, "networkd has configured eth0")
    machine.run(["ip", "rule", "add", "to", "10.99.0.0/16", "lookup", "100", "pref", "500"])
    machine.run(["ip", "route", "add", "10.99.0.0/16", "dev", "wg0", "table", "100"])
    try:
        before = ours(machine)
        other = NAMES[NAMES.index(name) - 1]
        with watched(machine) as watch, Pings(mesh[other], mesh.address(name), 0.01) as pings:
            machine.run(["systemctl", "restart", "systemd-networkd.service"])
            wait_until(lambda: configured(machine), 20, "networkd has configured eth0 again")
            assert ours(machine) == before
        assert watch.longest_absence_seconds == 0
        assert pings.stop().lost == 0
    finally:
        machine.run(["systemctl", "stop", "systemd-networkd.service"], check=False)
        machine.run(["rm", "/etc/systemd/network/eth0.network"])
        machine.run(["ip", "rule", "del", "pref", "500"])
        machine.run(["ip", "route", "flush", "table", "100"], check=False)


def configured(machine: BootedMachine) -> bool:
    return "(configured)" in machine.run(["networkctl", "status", "eth0"]).stdout


@pytest.mark.parametrize("name", NAMES)
def test_another_vpn_comes_and_goes(mesh: TimedMesh, name: str) -> None:
    machine = mesh[name]
    private = machine.run(["wg", "genkey"]).stdout.strip()
    public = machine.run(["wg", "pubkey"], stdin=machine.run(["wg", "genkey"]).stdout).stdout
    text = OTHER_VPN.format(private=private, public=public.strip())
    machine.write("/etc/wireguard/vpn0.conf", text, 0o600)
    before = ours(machine)
    with watched(machine) as watch:
        for how in (["wg-quick", "up", "vpn0"], ["wg-quick", "down", "vpn0"]):
            machine.run(how)
        comes_back(machine, before, TURN_SECONDS)
        for verb in ("start", "stop"):
            machine.run(["systemctl", verb, "wg-quick@vpn0.service"])
        comes_back(machine, before, TURN_SECONDS)
    assert watch.longest_absence_seconds == 0
    machine.run(["rm", "/etc/wireguard/vpn0.conf"])
    mesh.wait_for_tunnels()
