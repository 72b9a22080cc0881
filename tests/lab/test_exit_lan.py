"""A network behind a node that uses exits uses them as well, and is kept in as well."""

import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.exits import FAR4, FAR6, NET, NODES, SEEN, enter, leaked, tick, user_of_exits
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

POLICY = "/etc/wgmesh/wgmesh.toml"
LAN = f"""
ip netns add lan
ip link add lan0 type veth peer name eth0 netns lan
ip addr add 192.168.50.1/24 dev lan0
ip addr add fd50::1/64 dev lan0 nodad
ip link set lan0 up
sysctl -qw net.ipv6.conf.all.forwarding=1
ip -n lan addr add 192.168.50.2/24 dev eth0
ip -n lan addr add fd50::2/64 dev eth0 nodad
ip -n lan link set lo up
ip -n lan link set eth0 up
ip -n lan route add default via 192.168.50.1
ip -n lan route add default via fd50::1
for a in {FAR4} {FAR6}; do
    ip netns exec lan sh -c "while :; do ping -n -c 1 -W 1 $a; sleep 0.05; done" >/dev/null 2>&1 &
done
"""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Alpha, with a network behind it, uses the exits bravo and charlie."""
    return user_of_exits(module_world_factory(NODES))


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return alpha with a network behind it that uses its exit."""
    alpha = mesh.world["alpha"]
    alpha.run(["sh", "-ec", LAN])
    alpha.write(POLICY, 'exit_sources = ["lan0"]\n')
    alpha.wgmesh("sync")
    yield alpha
    alpha.run(["rm", POLICY])
    alpha.wgmesh("sync")


def reaches(alpha: Machine, address: str = FAR4) -> bool:
    """Return whether a host behind alpha reaches the far host."""
    argv = ["ip", "netns", "exec", "lan", "ping", "-n", "-c", "1", "-W", "1", address]
    return alpha.run(argv, check=False).returncode == 0


def test_a_network_behind_the_node(mesh: Mesh, alpha: Machine) -> None:
    world = mesh.world
    plain = {name: world.internet.count("alpha", match) for name, match in SEEN.items()}
    by_exit = world.internet.count("bravo", f"ip saddr {world['bravo'].ipv4} ip daddr {FAR4}")
    for address in (FAR4, FAR6):
        wait_until(partial(reaches, alpha, address), 20, "through the exit")
    assert by_exit.packets() > 0
    assert mesh.status("alpha")["drift"] == []
    assert tick(alpha) == ""
    for event in (
        "nft flush ruleset",
        "for f in -4 -6; do ip $f rule flush protocol 101; done",
        "ip link del wg0",
        f"wg-quick up wg0; {NET} up wg0",
    ):
        alpha.run(["sh", "-c", event], check=False)
        time.sleep(0.7)
        alpha.wgmesh("reconcile", check=False)
    wait_until(partial(reaches, alpha), 40, "through the exit again")
    for name in ("bravo", "charlie"):
        world.internet.cut(name)
    assert not reaches(alpha) and not reaches(alpha, FAR6)
    wait_until(lambda: tick(alpha) is not None and not mesh.status("alpha")["exit"], 60, "none")
    assert not reaches(alpha)
    assert leaked(plain) == {}
    for name in ("bravo", "charlie"):
        world.internet.restore(name)
    enter(mesh, "")
    assert alpha.run(["sysctl", "-n", "net.ipv4.ip_forward"]).stdout == "0\n", "as it was before"
    alpha.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    direct = world.internet.count("alpha", "ip saddr 192.168.50.0/24")
    wait_until(lambda: direct.packets() > 0, 10, "the control: without exits it leaves as it is")
    alpha.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"])
    enter(mesh)
