"""Exits on booted machines: the units by themselves, from a boot on."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fleet.booted import BootedMachine
from tests.fleet.mesh import TURN_SECONDS, TimedMesh
from tests.lab.net import GATEWAY_IPV4
from tests.lab.wait import wait_until

FAR4, FAR6 = "203.0.113.1", "2001:db8:1::1"
OPTIONS = f"""\
exit_nodes = ["bravo", "charlie"]
exit_test_target = ["{FAR4}", "{FAR6}"]
enable_exit_for_nodes = ["alpha"]
"""
EXIT = {"exit_out_iface": "eth0", "enable_nat": True}
MEMORY = "/run/wgmesh/exits.json"
SEEN = [f"ip daddr {FAR4}", f"ip6 daddr {FAR6}", "ip daddr 10.40.0.0/24", "ip6 daddr fd40::/64"]
# From before the network on, whatever becomes of it.
CHATTER = f"""\
[Unit]
DefaultDependencies=no
After=wgmesh-guard.service
[Service]
ExecStart=/bin/sh -c 'for a in {FAR4} {FAR6} 10.40.0.3 fd40::3; do \
while :; do ping -n -c 1 -W 1 $a; sleep 0.1; done >/dev/null 2>&1 & done; wait'
[Install]
WantedBy=sysinit.target
"""
TIMERS = ("wg-failover.timer", "wg-exit-selector.timer")
SWITCH_SECONDS = 40  # 20 on a machine of one's own
BOOT_SECONDS = 120


@pytest.fixture
def alpha(mesh: TimedMesh) -> Iterator[BootedMachine]:
    """Return a machine that uses exits; afterwards it does not."""
    mesh.fleet.internet.beyond(f"{FAR4}/32", f"{FAR6}/128")
    fields = dict(mesh.fields)
    for name in ("bravo", "charlie"):
        mesh.fields[name] = EXIT
    mesh.hurry(mesh.change("Exits out"))
    mesh.hurry(mesh.commit({"mesh.toml": mesh.text + OPTIONS}, "Exits"))
    alpha = mesh["alpha"]
    wait_until(lambda: in_use(alpha), TURN_SECONDS, "an exit is in use")
    yield alpha
    mesh.fields = fields
    mesh.commit({"mesh.toml": mesh.text}, "No exits")
    mesh.settle()


def in_use(machine: BootedMachine) -> str:
    """Return the exit in use; "" none."""
    text = machine.peek(MEMORY)
    found: dict[str, Any] = json.loads(text) if text else {}
    return str(found["standing"]["chosen"]) if found else ""


def reaches(machine: BootedMachine) -> bool:
    """Return whether a machine reaches the far host."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", FAR4]
    return machine.run(argv, check=False).returncode == 0


def test_exits_from_a_boot_on(mesh: TimedMesh, alpha: BootedMachine) -> None:
    internet = mesh.fleet.internet
    for timer in TIMERS:
        assert alpha.unit(timer, "ActiveState") == "active"
    assert reaches(alpha)
    alpha.write("/etc/systemd/system/chatter.service", CHATTER)
    alpha.run(["systemctl", "enable", "chatter.service"])
    try:
        counters = [internet.count("alpha", match) for match in SEEN]
        alpha.reboot()
        wait_until(lambda: reaches(alpha), BOOT_SECONDS, "traffic flows after a boot")
        wait_until(lambda: in_use(alpha), BOOT_SECONDS, "the selector is at work")
        assert alpha.unit("chatter.service", "ActiveState") == "active"
        first = in_use(alpha)
        internet.cut(first)
        wait_until(lambda: in_use(alpha) not in ("", first), SWITCH_SECONDS, "another exit")
        wait_until(lambda: reaches(alpha), 10, "traffic flows by it")
        alpha.run(["systemctl", "restart", "nftables.service"], check=False)
        alpha.run(["systemctl", "restart", "wg-quick@wg0.service"])
        wait_until(lambda: reaches(alpha), 60, "and after a restart of the interface")
        assert [each.packets() for each in counters] == [0, 0, 0, 0]
        failed = alpha.run(
            ["systemctl", "list-units", "--failed", "--no-legend", "--plain", "wg*"]
        ).stdout
        assert failed == ""
    finally:
        alpha.run(["systemctl", "disable", "--now", "chatter.service"])
        for name in ("bravo", "charlie"):
            internet.restore(name)


@pytest.fixture
def stub(alpha: BootedMachine) -> Iterator[None]:
    """Have names as systemd-resolved does: a link to its stub's file, the real servers beside."""
    before = alpha.run(["cat", "/etc/resolv.conf"], check=False).stdout  # "": there is none
    # The stub is the resolver of somebody else: its questions go through the exit in use.
    alpha.write("/run/systemd/resolve/stub-resolv.conf", f"nameserver {FAR4}\n")
    alpha.write("/run/systemd/resolve/resolv.conf", f"nameserver {GATEWAY_IPV4}\n")
    alpha.run(["ln", "-sf", "../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf"])
    yield
    alpha.run(["rm", "-rf", "/run/systemd/resolve"])
    alpha.run(["rm", "-f", "/etc/resolv.conf"])
    if before:
        alpha.write("/etc/resolv.conf", before)


@pytest.mark.usefixtures("stub")
def test_the_fetch_asks_the_uplinks_own_servers(alpha: BootedMachine) -> None:
    argv = ["systemctl", "show", "-p", "BindReadOnlyPaths", "wgmesh-fetch.service"]
    assert "/run/systemd/resolve/resolv.conf:/etc/resolv.conf" in alpha.run(argv).stdout
    drop_in = "/run/systemd/system/wgmesh-fetch.service.d/zz-show.conf"
    alpha.write(drop_in, "[Service]\nExecStartPre=cat /etc/resolv.conf\n")
    try:
        alpha.run(["systemctl", "daemon-reload"])
        alpha.wgmesh("sync")
        said = alpha.journal("-u", "wgmesh-fetch.service", "-n", "30")
        assert f"nameserver {GATEWAY_IPV4}" in said
    finally:
        alpha.run(["rm", "-f", drop_in])
        alpha.run(["systemctl", "daemon-reload"])


@pytest.mark.usefixtures("stub")
def test_the_fetch_finds_names_while_no_exit_works(mesh: TimedMesh, alpha: BootedMachine) -> None:
    """What the failover asks when the resolver is behind exits that are dead."""
    server = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--no-hosts",
    ]
    server += ["--no-resolv", "--pid-file", f"--listen-address={GATEWAY_IPV4}", "--bind-interfaces"]
    internet = mesh.fleet.internet
    child = internet.hub.popen([*server, "--address=/sierra.mesh.test/198.51.100.7"])
    try:
        for name in ("bravo", "charlie"):
            internet.cut(name)
        wait_until(lambda: not reaches(alpha), SWITCH_SECONDS, "no exit works")
        assert alpha.run(["getent", "ahosts", "sierra.mesh.test"], check=False).returncode == 2
        asked = (
            "from wgmesh.agent import naming; naming.ask(['sierra.mesh.test', 'nobody.invalid'])"
        )
        alpha.run(["python3", "-c", asked])
        heard = "from wgmesh.agent import naming; print(naming.answer())"
        said = {"sierra.mesh.test": ("198.51.100.7",)}
        wait_until(
            lambda: alpha.run(["python3", "-c", heard]).stdout.strip() == str(said),
            SWITCH_SECONDS,
            "the fetch has found it",
        )
        assert not alpha.peek("/run/wgmesh/names.toml"), "the question is over"
    finally:
        for name in ("bravo", "charlie"):
            internet.restore(name)
        child.terminate()
        child.wait(10)
