"""Exits: traffic flows through one that works, and every packet goes where it belongs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.exits import (
    FAR4,
    FAR6,
    MEMORY,
    NET,
    NODES,
    OPTIONS,
    OVERRIDE,
    SEEN,
    carry,
    enter,
    in_use,
    leaked,
    memory,
    put_right,
    reaches,
    tick,
    timer,
    user_of_exits,
    watched,
)
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

LIMIT_SECONDS = 20
KILLED = """
import os, signal
from wgmesh.agent import exit_turn
from wgmesh.cli.exits import main
exit_turn._round = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""
ECHOES = """
import socket
listener = socket.create_server(("0.0.0.0", 22))
print("ready", flush=True)
client, _ = listener.accept()
while said := client.recv(100):
    client.sendall(said)
"""
SESSION = """
import socket, sys
out = socket.create_connection((sys.argv[2], 22), 5, (sys.argv[1], 0))
for line in sys.stdin:
    out.sendall(line.encode())
    print(out.recv(100).decode(), end="", flush=True)
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


def test_everything_goes_where_it_belongs(mesh: Mesh, alpha: Machine) -> None:
    world = mesh.world
    plain = {name: world.internet.count("alpha", match) for name, match in SEEN.items()}
    by_exit = world.internet.count("bravo", f"ip saddr {world['bravo'].ipv4} ip daddr {FAR4}")
    on_link = world.internet.count(
        "alpha", f"icmp type echo-request ip daddr {world['delta'].ipv4}"
    )
    assert reaches(alpha) and reaches(alpha, FAR6)
    assert mesh.pings("alpha", "delta") and mesh.pings("alpha", "delta", 6)
    assert leaked(plain) == {}
    assert by_exit.packets() > 0, "translated to the exit's own address"
    assert reaches(alpha, world["delta"].ipv4)
    assert on_link.packets() > 0, "what is directly connected needs no exit"
    private = world.internet.count("alpha", "ip daddr { 192.168.77.1, 100.100.100.100 }")
    for address in ("192.168.77.1", "100.100.100.100"):
        assert not reaches(alpha, address)
    assert private.packets() > 0, "private networks are the machine's own business"
    status = mesh.status("alpha")
    assert (status["exit"], status["hub"], status["state"]) == ("bravo", None, "in-sync")
    assert status["drift"] == []


def test_a_tick_that_finds_all_well_changes_nothing(mesh: Mesh, alpha: Machine) -> None:
    before = alpha.run(["sh", "-c", "ip rule; ip -6 rule; nft -s list ruleset; wg show"]).stdout
    assert tick(alpha) == "" == tick(alpha)
    after = alpha.run(["sh", "-c", "ip rule; ip -6 rule; nft -s list ruleset; wg show"]).stdout
    assert [x for x in after.splitlines() if "transfer" not in x and "handshake" not in x] == [
        x for x in before.splitlines() if "transfer" not in x and "handshake" not in x
    ]
    said = tick(alpha, "status")
    assert "IPv4 up, IPv6 up" in said
    assert said == alpha.wgmesh("exit-status").stdout


def test_connections_from_outside_keep_answering(mesh: Mesh, alpha: Machine) -> None:
    """Of hosts that are not directly connected: the far host calls the node's public address."""
    hub = mesh.world.internet.hub
    for family, far, own in (("-4", FAR4, alpha.ipv4), ("-6", FAR6, alpha.ipv6)):
        argv = ["ping", "-n", family, "-I", far, "-c", "2", "-W", "1", own]
        assert hub.run(argv, check=False).returncode == 0, (family, far)


def test_a_session_from_outside_lives_on_through_switches(mesh: Mesh, alpha: Machine) -> None:
    """As ssh to the node's public address does, over TCP, while exits change and die."""
    hub = mesh.world.internet.hub
    server = alpha.popen([sys.executable, "-c", ECHOES])
    assert server.stdout is not None and server.stdout.readline() == "ready\n"
    client = hub.popen([sys.executable, "-c", SESSION, FAR4, alpha.ipv4], stdin=subprocess.PIPE)
    assert client.stdin is not None and client.stdout is not None

    def works() -> bool:
        client.stdin.write("x\n")  # type: ignore[union-attr]
        client.stdin.flush()  # type: ignore[union-attr]
        return client.stdout.readline() == "x\n"  # type: ignore[union-attr]

    try:
        assert works()
        alpha.write(OVERRIDE, "charlie\n")
        tick(alpha)
        assert in_use(alpha) == "charlie" and works()
        for name in ("bravo", "charlie"):
            mesh.world.internet.cut(name)
        assert not reaches(alpha) and works()
        alpha.wgmesh("reconcile", check=False)
        assert works()
    finally:
        for child in (client, server):
            child.kill()
            child.communicate()


def test_no_packet_goes_round(mesh: Mesh, alpha: Machine) -> None:
    """What the tunnel carries crosses the uplink once; for longer: tests.bench.round."""
    carried = carry(mesh, 3)
    assert carried.tunnel_bytes > 1_000_000
    assert carried.ratio <= 1.1, carried


def test_the_fetch_works_while_no_exit_does(mesh: Mesh, alpha: Machine) -> None:
    """The forge at an address that is not directly connected, as most are."""
    world = mesh.world
    far, forge = "203.0.113.5", world.forge.machine.ipv4
    world.internet.beyond(f"{far}/32")
    nat = f"""
        table ip lab_forge {{
            chain to {{ type nat hook prerouting priority dstnat; ip daddr {far} dnat to {forge}; }}
            chain from {{ type nat hook postrouting priority srcnat; ip daddr {forge} masquerade; }}
        }}"""
    world.internet.hub.run(["nft", "-f", "-"], stdin=nat)
    node = alpha.read("/etc/wgmesh/node.toml")
    alpha.write("/etc/wgmesh/node.toml", node.replace(forge, far))
    try:
        world.internet.cut("bravo")
        world.internet.cut("charlie")
        commit = mesh.commit({"README": "while no exit works"}, "Fetched past the exits")
        assert not reaches(alpha)
        alpha.wgmesh("sync", check=False)
        assert commit in json.dumps(mesh.status("alpha"))
        plain = world.internet.count("alpha", f"ip daddr {far}")
        argv = ["timeout", "10", "git", "ls-remote", f"git://{far}/mesh.git"]
        assert alpha.run(argv, check=False).returncode == 124, "nobody else gets past"
        assert plain.packets() == 0
    finally:
        alpha.write("/etc/wgmesh/node.toml", node)
        world.internet.hub.run(["nft", "delete", "table", "ip", "lab_forge"])


def test_an_exit_keeps_the_mesh_out_of_its_own_private_networks(mesh: Mesh, alpha: Machine) -> None:
    """Delta sends them all the same: an exit does not believe that others are as it is."""
    world, delta = mesh.world, mesh.world["delta"]
    private, public = "192.168.88.1", "203.0.113.9"
    world.internet.beyond(f"{private}/32", f"{public}/32")
    peer = world["bravo"].run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    own = f"{mesh.address('bravo')}/32,{mesh.address('bravo', 6)}/128"
    argv = ["wg", "set", "wg0", "peer", peer, "allowed-ips"]
    delta.run([*argv, f"{own},{private}/32,{public}/32"])
    delta.run(["ip", "route", "add", private, "dev", "wg0"])
    delta.run(["ip", "route", "add", public, "dev", "wg0"])
    inside = world.internet.count("bravo", f"ip daddr {private}")
    try:
        assert reaches(delta, public)
        assert not reaches(delta, private)
        assert inside.packets() == 0
    finally:
        delta.wgmesh("reconcile")
        delta.run(["ip", "route", "flush", private])
        delta.run(["ip", "route", "flush", public])


# ---------------------------------------------------------------- exits that die


@contextmanager
def waiting_for_its_remote(mesh: Mesh, machine: Machine) -> Iterator[None]:
    """Have a sync at work that waits for a forge which takes its connection and says nothing."""
    mesh.world.forge.freeze()
    sync = machine.popen([*machine.wgmesh_argv, "sync"])
    try:
        wait_until(lambda: machine.pids("git"), 20, "a sync asks the remote")
        yield
    finally:
        mesh.world.forge.thaw()
        sync.communicate(timeout=60)


@pytest.mark.alone  # within twenty seconds, of which the silence takes fifteen
@pytest.mark.parametrize("fault", ["line cut", "uplink dead", "rebooted", "cut while a sync waits"])
def test_another_exit_takes_over_within_twenty_seconds(
    mesh: Mesh, alpha: Machine, fault: str
) -> None:
    world = mesh.world
    bravo = world["bravo"]
    assert in_use(alpha) == "bravo"
    with ExitStack() as stack:
        ticks = timer(alpha)
        stack.callback(lambda: print("ticks:", ticks.communicate(), alpha.read(MEMORY)))
        stack.callback(ticks.kill)
        counters = stack.enter_context(watched(mesh))
        if fault == "cut while a sync waits":
            stack.enter_context(waiting_for_its_remote(mesh, alpha))
        dead = time.monotonic()
        print("dead", time.time())
        if fault in ("line cut", "cut while a sync waits"):
            world.internet.cut("bravo")
        elif fault == "uplink dead":
            stack.enter_context(world.internet.block("bravo", f"ip daddr {FAR4}"))
            stack.enter_context(world.internet.block("bravo", f"ip6 daddr {FAR6}"))
        else:
            bravo.reboot()
            stack.callback(bravo.run, [NET, "up", "wg0"])
            stack.callback(bravo.run, ["wg-quick", "up", "wg0"])
        wait_until(lambda: reaches(alpha), LIMIT_SECONDS, "traffic flows again")
        wait_until(lambda: reaches(alpha, FAR6), LIMIT_SECONDS, "IPv6 too")
        assert time.monotonic() - dead < LIMIT_SECONDS
        wait_until(lambda: in_use(alpha) == "charlie", 20, "and the selector knows")
    assert leaked(counters) == {}


def test_no_exit_left_is_no_traffic_until_one_returns(mesh: Mesh, alpha: Machine) -> None:
    world = mesh.world
    with watched(mesh) as counters:
        for name in ("bravo", "charlie"):
            world.internet.cut(name)
        wait_until(lambda: tick(alpha) is not None and in_use(alpha) == "", 60, "none is in use")
        assert not reaches(alpha) and not reaches(alpha, FAR6)
        status = mesh.status("alpha")
        assert (status["exit"], status["state"]) == (None, "degraded")
        assert any("is blocked" in reason for reason in status["reasons"])
        assert mesh.pings("alpha", "delta")
        world.internet.restore("charlie")
        wait_until(lambda: tick(alpha) is not None and reaches(alpha), 60, "charlie is back")
        assert in_use(alpha) == "charlie"
    assert leaked(counters) == {}


def test_direct_where_the_inventory_wants_it(mesh: Mesh, alpha: Machine) -> None:
    enter(mesh, OPTIONS + 'on_no_exit = "direct"\n')
    world = mesh.world
    try:
        tick(alpha)
        plain = world.internet.count("alpha", SEEN["IPv4"])
        inside = world.internet.count("alpha", SEEN["mesh"])
        for name in ("bravo", "charlie"):
            world.internet.cut(name)
        wait_until(lambda: tick(alpha) is not None and reaches(alpha), 60, "traffic is direct")
        assert plain.packets() > 0 and reaches(alpha, FAR6)
        assert mesh.status("alpha")["drift"] == []
        world.internet.restore("bravo")
        wait_until(
            lambda: tick(alpha) is not None and in_use(alpha) == "bravo", 60, "bravo is back"
        )
        before = plain.packets()
        assert reaches(alpha) and plain.packets() == before
        assert inside.packets() == 0
    finally:
        for name in ("bravo", "charlie"):
            world.internet.restore(name)
        enter(mesh)


def test_an_exit_without_ipv6_blocks_ipv6(mesh: Mesh, alpha: Machine) -> None:
    world = mesh.world
    with (
        watched(mesh) as counters,
        world.internet.block("bravo", f"ip6 daddr {FAR6}"),
        world.internet.block("charlie", f"ip6 daddr {FAR6}"),
    ):
        wait_until(lambda: tick(alpha) is not None and memory(alpha)["families"] == [4], 60, "IPv4")
        assert reaches(alpha) and not reaches(alpha, FAR6)
    assert leaked(counters) == {}


# ---------------------------------------------------------------- by hand


def test_an_override_wins_and_one_that_names_nothing_is_told(mesh: Mesh, alpha: Machine) -> None:
    alpha.write(OVERRIDE, "charlie\n")
    assert "charlie" in tick(alpha)
    assert in_use(alpha) == "charlie"
    mesh.world.internet.cut("charlie")
    wait_until(lambda: tick(alpha) is not None and in_use(alpha) == "bravo", 60, "it is dead")
    mesh.world.internet.restore("charlie")
    wait_until(lambda: tick(alpha) is not None and in_use(alpha) == "charlie", 60, "it is back")
    alpha.write(OVERRIDE, "nobody\n")
    assert "nobody" in tick(alpha)
    assert tick(alpha) == "", "told once"
    assert "ignored" in tick(alpha, "status")
    assert in_use(alpha) == "charlie" and reaches(alpha)


def test_a_tick_that_is_killed_gives_no_target_away(mesh: Mesh, alpha: Machine) -> None:
    """While charlie proves itself it has the targets; the tick that has lent them ends there."""
    charlie = mesh.world["charlie"].run(["wg", "show", "wg0", "public-key"]).stdout.strip()

    def has() -> str:
        listed = alpha.run(["wg", "show", "wg0", "allowed-ips"]).stdout
        return next(line for line in listed.splitlines() if line.startswith(charlie))

    alpha.write(OVERRIDE, "charlie\n")
    assert alpha.run([sys.executable, "-c", KILLED], check=False).returncode == -signal.SIGKILL
    assert f"{FAR4}/32" in has() and f"{FAR6}/128" in has()
    alpha.run(["rm", OVERRIDE])
    tick(alpha)
    assert in_use(alpha) == "bravo"
    assert FAR4 not in has() and FAR6 not in has()
    assert mesh.status("alpha")["drift"] == []


def test_the_choice_survives_a_change_that_does_not_concern_it(mesh: Mesh, alpha: Machine) -> None:
    alpha.write(OVERRIDE, "charlie\n")
    tick(alpha)
    enter(mesh, OPTIONS + "mtu = 1400\n")
    assert mesh.status("alpha")["exit"] == "charlie"
    assert mesh.status("alpha")["drift"] == []
    assert tick(alpha) == ""
    alpha.wgmesh("reconcile")
    assert in_use(alpha) == "charlie" and reaches(alpha)
    enter(mesh)


def test_a_node_that_uses_exits_no_more_is_as_before(mesh: Mesh, alpha: Machine) -> None:
    enter(mesh, "")
    assert "proto 101" not in alpha.run(["sh", "-c", "ip rule; ip -6 rule"]).stdout
    assert alpha.run(["nft", "list", "ruleset"]).stdout == ""
    plain = mesh.world.internet.count("alpha", SEEN["IPv4"])
    assert reaches(alpha) and plain.packets() > 0
    assert alpha.run(["sysctl", "-n", "net.ipv4.conf.all.src_valid_mark"]).stdout == "0\n"
    assert tick(alpha) == "" and not alpha.exists(MEMORY)
    enter(mesh)
