"""Exits: traffic flows through one that works, and nothing leaves in plaintext, whatever happens.

The far host lies behind the provider's gateway, where what it sees of the node is counted.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from subprocess import Popen
from typing import Any

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.installed import add_user
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.net import Counter
from tests.lab.pings import Pings
from tests.lab.wait import wait_until

FAR4, FAR6 = "203.0.113.1", "2001:db8:1::1"
MEMORY = "/run/wgmesh/exits.json"
OVERRIDE = "/etc/wireguard/exit.override"
EXIT = {"exit_out_iface": "eth0", "enable_nat": True}
OPTIONS = f"""\
exit_nodes = ["bravo", "charlie"]
exit_primary = "bravo"
exit_test_target = ["{FAR4}", "{FAR6}"]
enable_exit_for_nodes = ["alpha"]
"""
TICK = [sys.executable, "-c", "from wgmesh.cli.exits import main; raise SystemExit(main())"]
TIMER = """
import subprocess, sys, time
while True:
    print(time.time(), flush=True)
    subprocess.run(sys.argv[1:], check=False)
    print(time.time(), "end", flush=True)
    time.sleep(9)
"""
NET = CHECKOUT / "systemd" / "wgmesh-net"
LIMIT_SECONDS = 20
SEEN = {
    "IPv4": f"ip daddr {FAR4}",
    "IPv6": f"ip6 daddr {FAR6}",
    "mesh": "ip daddr 10.40.0.0/24",
    "mesh IPv6": "ip6 daddr fd40::/64",
}


def tick(machine: Machine, *words: str) -> str:
    """Run one tick; returns what it said."""
    done = machine.run([*TICK, *words], timeout=90)
    return done.stdout + done.stderr


def memory(machine: Machine) -> dict[str, Any]:
    """Return what the ticks remember."""
    found: dict[str, Any] = json.loads(machine.read(MEMORY))
    return found


def in_use(machine: Machine) -> str:
    """Return the exit in use."""
    return str(memory(machine)["standing"]["chosen"])


def reaches(machine: Machine, address: str = FAR4) -> bool:
    """Return whether a machine reaches the far host."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0


def timer(machine: Machine) -> Popen[str]:
    """Start what the timer does: a tick, nine seconds after the end of the one before."""
    return machine.popen([sys.executable, "-c", TIMER, *TICK])


def enter(mesh: Mesh, options: str = OPTIONS) -> None:
    """Put these options into force."""
    mesh.commit({"mesh.toml": mesh.text + options}, "Exits")
    mesh.sync()


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Alpha uses the exits bravo and charlie; delta is a plain node."""
    nodes = ["alpha", "bravo", "charlie", "delta"]
    world = module_world_factory(nodes)
    world.internet.beyond(f"{FAR4}/32", f"{FAR6}/128")
    mesh = Mesh(world)
    add_user(world["alpha"])
    mesh.enrol(*nodes, bravo=EXIT, charlie=EXIT)
    mesh.sync()
    enter(mesh)
    mesh.wait_for_tunnels()
    return mesh


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return the node that uses exits; afterwards everything works again, by the primary exit."""
    alpha = mesh.world["alpha"]
    tick(alpha)
    yield alpha
    for name in ("bravo", "charlie"):
        mesh.world.internet.restore(name)
    alpha.run(["rm", "-f", MEMORY, OVERRIDE])
    alpha.wgmesh("sync", check=False)
    alpha.wgmesh("reconcile", check=False)
    wait_until(
        lambda: not tick(alpha) and reaches(alpha) and reaches(alpha, FAR6), 60, "all is well"
    )


@contextmanager
def watched(mesh: Mesh) -> Iterator[dict[str, Counter]]:
    """Keep traffic of every kind going; yields what the provider sees of it in plaintext."""
    alpha = mesh.world["alpha"]
    counters = {name: mesh.world.internet.count("alpha", match) for name, match in SEEN.items()}
    with ExitStack() as stack:
        for target in (FAR4, FAR6, mesh.address("delta"), mesh.address("delta", 6)):
            stack.enter_context(Pings(alpha, target, 0.01))
        yield counters


def leaked(counters: dict[str, Counter]) -> dict[str, int]:
    """Return what was seen that must not be."""
    return {name: count for name, each in counters.items() if (count := each.packets())}


# ---------------------------------------------------------------- as it should be


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
        asked = alpha.run(["git", "ls-remote", f"git://{far}/mesh.git"], check=False, timeout=200)
        assert asked.returncode != 0, "nobody else gets past"
    finally:
        alpha.write("/etc/wgmesh/node.toml", node)
        world.internet.hub.run(["nft", "delete", "table", "ip", "lab_forge"])


# ---------------------------------------------------------------- nothing leaks


RULES = "for f in -4 -6; do ip $f rule flush; ip $f rule add lookup main pref 32766; done"
EVENTS = {
    "no exit": "for p in $(wg show wg0 peers); do wg set wg0 peer $p allowed-ips ''; done",
    "link deleted": "ip link del wg0",
    "link down and up": "ip link set wg0 down; sleep 0.3; ip link set wg0 up",
    "nft flushed": "nft flush ruleset",
    "rules flushed": "for f in -4 -6; do ip $f rule flush protocol 101; done",
    "table flushed": "ip route flush table 101; ip -6 route flush table 101",
    "guard again": f"for i in 1 2 3 4 5; do {NET} guard; done",
    "interface restarted": f"ip link del wg0; wg-quick up wg0; {NET} up wg0",
}


@pytest.mark.parametrize("event", EVENTS)
def test_nothing_leaks(mesh: Mesh, alpha: Machine, event: str) -> None:
    with watched(mesh) as counters:
        alpha.run(["sh", "-c", EVENTS[event]], check=False)
        time.sleep(0.7)
        alpha.wgmesh("reconcile", check=False)
        wait_until(partial(reaches, alpha), 40, "traffic flows again")
    assert leaked(counters) == {}


def test_nothing_leaks_when_the_daemon_dies(mesh: Mesh, alpha: Machine) -> None:
    with watched(mesh) as counters:
        for pid in alpha.pids("wireguard-go"):
            alpha.kill(pid)
        time.sleep(0.7)
        wait_until(lambda: alpha.wgmesh("reconcile", check=False).returncode == 0, 20, "mended")
        wait_until(partial(reaches, alpha), 40, "traffic flows again")
    assert leaked(counters) == {}


def test_nothing_leaks_in_changes_and_switches(mesh: Mesh, alpha: Machine) -> None:
    with watched(mesh) as counters:
        for name in ("charlie", "bravo"):
            alpha.write(OVERRIDE, f"{name}\n")
            tick(alpha)
            assert in_use(alpha) == name
        enter(mesh, OPTIONS + "mtu = 1400\n")
        alpha.wgmesh("rollback", "--no-hold")
        enter(mesh, OPTIONS)
        alpha.wgmesh("sync", "--retry")
    assert leaked(counters) == {}


def test_nothing_leaks_from_boot_on(mesh: Mesh, alpha: Machine) -> None:
    """The guard first, as its unit comes before the network; then traffic, then the interface."""
    alpha.reboot()
    add_user(alpha)
    alpha.run([NET, "guard"])
    with watched(mesh) as counters:
        time.sleep(0.5)
        assert not reaches(alpha)
        alpha.run(["wg-quick", "up", "wg0"])
        alpha.run([NET, "up", "wg0"])
        wait_until(partial(reaches, alpha), 30, "the exit that a boot begins with")
        tick(alpha)  # what is directly connected is found at the first one
        assert mesh.status("alpha")["drift"] == []
    assert leaked(counters) == {}


def test_what_the_counters_would_see(mesh: Mesh, alpha: Machine) -> None:
    """The control: without both layers everything leaks."""
    with watched(mesh) as counters:
        alpha.run(["sh", "-c", f"nft flush ruleset; {RULES}; ip link del wg0"])
        time.sleep(0.5)
        alpha.run(["sh", "-c", "ip route flush proto 101; ip -6 route flush proto 101"])
        time.sleep(0.5)
    assert set(leaked(counters)) == set(SEEN)


# ---------------------------------------------------------------- exits that die


@pytest.mark.parametrize("fault", ["line cut", "uplink dead", "rebooted"])
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
        dead = time.monotonic()
        print("dead", time.time())
        if fault == "line cut":
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
