"""Exits and hubs beside Docker, ufw, Tailscale and policies of iptables."""

import sys
from collections.abc import Iterator
from functools import partial

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.exits import (
    FAR4,
    FAR6,
    NODES,
    SEEN,
    enter,
    leaked,
    put_right,
    reaches,
    tick,
    user_of_exits,
    watched,
)
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

IPTABLES = {
    "policy": "for i in iptables ip6tables; do $i -P FORWARD DROP; done",
    "Docker": "for i in iptables ip6tables; do $i -N DOCKER-USER; $i -A DOCKER-USER -j RETURN;"
    " $i -N DOCKER-FORWARD; $i -A DOCKER-FORWARD -i docker0 -j ACCEPT;"
    " $i -A FORWARD -j DOCKER-USER; $i -A FORWARD -j DOCKER-FORWARD; $i -P FORWARD DROP; done",
    "ufw": "for i in iptables ip6tables; do $i -N ufw-before-forward; $i -N ufw-reject-forward;"
    " $i -A ufw-before-forward -p icmp -j ACCEPT; $i -A ufw-reject-forward -j REJECT;"
    " $i -A FORWARD -j ufw-before-forward; $i -A FORWARD -j ufw-reject-forward;"
    " $i -P FORWARD DROP; done",
}
NO_IPTABLES = "for i in iptables ip6tables; do $i -P FORWARD ACCEPT; $i -F; $i -X; done"
FOREIGN = (
    "iptables-save -t filter; ip6tables-save -t filter; iptables-save -t nat;"
    " ip rule; ip -6 rule; ip route show table all; ip -6 route show table all"
)
TAILSCALE = """
ip tuntap add dev tailscale0 mode tun
ip link set tailscale0 up
ip addr add 100.101.102.103/32 dev tailscale0
ip route add 100.100.100.100 dev tailscale0 table 52
for f in -4 -6; do
    ip $f rule add pref 5210 fwmark 0x80000/0xff0000 lookup main
    ip $f rule add pref 5230 fwmark 0x80000/0xff0000 lookup default
    ip $f rule add pref 5250 fwmark 0x80000/0xff0000 unreachable
    ip $f rule add pref 5270 lookup 52
done
iptables -N ts-forward
iptables -I FORWARD -j ts-forward
iptables -A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
iptables -A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
iptables -A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP
iptables -A ts-forward -o tailscale0 -j ACCEPT
iptables -N ts-input
iptables -I INPUT -j ts-input
iptables -A ts-input -s 100.101.102.103 -i lo -j ACCEPT
iptables -A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN
iptables -A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP
iptables -A ts-input -i tailscale0 -j ACCEPT
iptables -t nat -N ts-postrouting
iptables -t nat -A POSTROUTING -j ts-postrouting
iptables -t nat -A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
"""
NO_TAILSCALE = """
ip link del tailscale0
for f in -4 -6; do for p in 5210 5230 5250 5270; do ip $f rule del pref $p; done; done
for t in filter nat; do iptables -t $t -F; iptables -t $t -X; done
"""
TCP = f"""
import socket, sys
s = socket.create_connection(("{FAR4}", 7), 3)
s.sendall(b"x")
print(s.recv(1).decode())
"""
ECHO = """
import socket
listener = socket.create_server(("0.0.0.0", 7))
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    client.sendall(client.recv(1))
    client.close()
"""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Alpha uses the exits bravo and charlie; delta is a plain node."""
    return user_of_exits(module_world_factory(NODES))


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return the node that uses exits; afterwards everything works again, by the primary exit."""
    with put_right(mesh) as alpha:
        yield alpha


@pytest.mark.parametrize("rules", IPTABLES)
def test_an_exit_whose_iptables_drop_what_is_forwarded(
    mesh: Mesh, alpha: Machine, rules: str
) -> None:
    bravo, hub = mesh.world["bravo"], mesh.world.internet.hub
    server = hub.popen([sys.executable, "-c", ECHO])
    assert server.stdout is not None and server.stdout.readline() == "ready\n"
    try:
        bravo.run(["sh", "-ec", IPTABLES[rules]])
        before = foreign(bravo)
        assert alpha.run([sys.executable, "-c", TCP], check=False).returncode != 0
        bravo.wgmesh("sync")
        assert alpha.run([sys.executable, "-c", TCP]).stdout == "x\n"
        assert reaches(alpha, FAR6)
        assert mesh.status("bravo")["drift"] == []
        assert foreign(bravo) == before
        enter(mesh, "")
        assert foreign(bravo) == before
        assert "wgmesh" not in bravo.run(["sh", "-c", "iptables-save; ip6tables-save"]).stdout
    finally:
        server.kill()
        server.communicate()
        bravo.run(["sh", "-ec", NO_IPTABLES])
        enter(mesh)


def foreign(machine: Machine) -> list[str]:
    """Return all that is not ours of iptables, rules and routes, without what is counted."""
    lines = machine.run(["sh", "-c", FOREIGN]).stdout.splitlines()
    found = [line.partition(" [")[0] for line in lines if not line.startswith("#")]
    ours = ("wgmesh", "proto 101", "wg0", "table local")  # the last has the kernel's own
    return [line for line in found if not any(word in line for word in ours)]


def test_a_hub_whose_iptables_drop_what_is_forwarded(world_factory: WorldFactory) -> None:
    mesh = Mesh(world_factory(["alpha", "bravo", "charlie"]))
    alpha = mesh.world["alpha"]
    mesh.enrol("alpha", "bravo", "charlie")
    alpha.run(["sh", "-ec", IPTABLES["Docker"]])
    before = foreign(alpha)
    mesh.commit({"mesh.toml": mesh.text + 'topology = "star"\nhubs = ["alpha"]\n'}, "A star")
    mesh.sync()
    for family in (4, 6):
        wait_until(partial(mesh.pings, "bravo", "charlie", family), 20, "through the hub")
    alpha.run(["sh", "-c", "iptables -F DOCKER-USER; ip6tables -F DOCKER-USER"])
    assert not mesh.pings("bravo", "charlie")
    alpha.wgmesh("sync", check=False)
    for family in (4, 6):
        wait_until(partial(mesh.pings, "bravo", "charlie", family), 5, "put back")
    for command in ("iptables", "ip6tables"):
        alpha.run([command, "-A", "DOCKER-USER", "-j", "RETURN"])
    assert mesh.status("alpha")["drift"] == []
    alpha.wgmesh("leave", "--restore")
    assert "wgmesh" not in alpha.run(["iptables-save"]).stdout
    assert foreign(alpha) == before


def test_beside_tailscale(mesh: Mesh, alpha: Machine) -> None:
    """Its own packets carry 0x80000 and leave by the uplink; 0x40000 means nothing here."""
    world = mesh.world
    for machine in (alpha, world["bravo"]):
        machine.run(["sh", "-ec", TAILSCALE])
    before = {name: foreign(world[name]) for name in ("alpha", "bravo")}
    try:
        with watched(mesh) as counters:
            assert reaches(alpha) and reaches(alpha, FAR6)
            way = alpha.run(["ip", "route", "get", "100.100.100.100"]).stdout
            assert "dev tailscale0" in way
            assert tick(alpha) == ""
            marked = ["ping", "-n", "-c", "1", "-W", "1", "-m"]
            assert alpha.run([*marked, str(0x40000), FAR4], check=False).returncode == 0
        assert leaked(counters) == {}
        plain = world.internet.count("alpha", SEEN["IPv4"])
        assert alpha.run([*marked, str(0x80000), FAR4], check=False).returncode == 0
        assert plain.packets() == 1
        assert mesh.status("alpha")["drift"] == []
        enter(mesh, "")
        assert {name: foreign(world[name]) for name in ("alpha", "bravo")} == before
    finally:
        for machine in (alpha, world["bravo"]):
            machine.run(["sh", "-ec", NO_TAILSCALE])
        enter(mesh)
