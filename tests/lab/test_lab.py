"""The laboratory proves itself: links, faults, forge, people, pings, reboots, and no trace left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT, CommandError, Machine
from tests.lab.net import Fault, ignore_pings
from tests.lab.pings import Pings
from tests.lab.wait import wait_until
from tests.lab.world import World, leftovers

PORT = 51820


@pytest.fixture(scope="module")
def world(module_world_factory: WorldFactory) -> World:
    """Three public nodes, one of them with two lines, and one behind NAT."""
    return module_world_factory(
        ["alpha", "bravo", "charlie"], nat=["delta"], second_uplink=["charlie"]
    )


@pytest.fixture(scope="module")
def tunnel(world: World) -> Iterator[tuple[Machine, Machine]]:
    """Make a tunnel by hand between alpha (10.40.0.1) and bravo (10.40.0.2)."""
    pair = world["alpha"], world["bravo"]
    join_by_hand(*pair)
    yield pair


def join_by_hand(one: Machine, other: Machine) -> None:
    """Make wg0 on both and let them know each other; a machine without public endpoint dials."""
    keys = {}
    for number, machine in enumerate((one, other), start=1):
        machine.run(["wireguard-go", "wg0"])
        key = machine.run(["wg", "genkey"]).stdout
        machine.write("/etc/wireguard/wg0.key", key, 0o600)
        machine.run(["wg", "set", "wg0", "private-key", "/etc/wireguard/wg0.key"])
        machine.run(["wg", "set", "wg0", "listen-port", str(PORT)])
        machine.ip_batch(
            f"addr add 10.40.0.{number}/24 dev wg0",
            f"addr add fd40::{number}/64 dev wg0 nodad",
            "link set wg0 mtu 1420 up",
        )
        keys[machine.name] = machine.run(["wg", "pubkey"], stdin=key).stdout.strip()
    # `one` first: a first handshake that finds nobody is repeated only after 5 s.
    for number, machine, peer in ((2, one, other), (1, other, one)):
        argv = ["wg", "set", "wg0", "peer", keys[peer.name], "persistent-keepalive", "25"]
        argv += ["allowed-ips", f"10.40.0.{number}/32,fd40::{number}/128"]
        if peer.public_ipv4 == peer.ipv4:
            argv += ["endpoint", f"{peer.ipv4}:{PORT}"]
        machine.run(argv)


def answers(machine: Machine, address: str, *, seconds: float = 2) -> bool:
    """Say whether an echo request comes back in that time."""
    argv = ["ping", "-n", "-c", "1", "-W", str(seconds), address]
    return machine.run(argv, check=False).returncode == 0


def silent(machine: Machine, address: str) -> bool:
    """Say whether nothing comes back in half a second."""
    return not answers(machine, address, seconds=0.5)


def udp_passes(source: Machine, target: Machine, port: int, address: str = "") -> bool:
    """Say whether a datagram to `port` (of `address`, else its own) arrives in half a second."""
    listener = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.bind(('0.0.0.0', {port})); s.settimeout(0.5); print('ready', flush=True);"
        "print(s.recv(99).decode(), flush=True)"
    )
    sender = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.sendto(b'hello', ({address or target.ipv4!r}, {port}))"
    )
    waiting = target.popen([sys.executable, "-c", listener])
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "ready\n"
    source.run([sys.executable, "-c", sender])
    out, _ = waiting.communicate(timeout=10)
    return out == "hello\n"


def test_machines_reach_each_other_over_both_families(world: World) -> None:
    public = [world[name] for name in ("alpha", "bravo", "charlie")]
    for source in public:
        for target in public:
            if source is not target:
                assert answers(source, target.ipv4)
                assert answers(source, target.ipv6)
                assert answers(source, f"{target.name}.example.net")


def test_a_machine_is_a_machine_of_its_own(world: World) -> None:
    alpha = world["alpha"]
    assert alpha.hostname == "alpha"
    assert not alpha.exists("/run/systemd/system")
    assert alpha.run(["ls", "/etc/wireguard", "/etc/wgmesh", "/var/lib/wgmesh"]).stdout.split() == [
        "/etc/wgmesh:",
        "/etc/wireguard:",
        "/var/lib/wgmesh:",
    ]
    alpha.write("/etc/wgmesh/node.toml", "x = 1\n", 0o640)
    assert alpha.read("/etc/wgmesh/node.toml") == "x = 1\n"
    assert alpha.run(["stat", "-c", "%a", "/etc/wgmesh/node.toml"]).stdout == "640\n"
    assert not world["bravo"].exists("/etc/wgmesh/node.toml")
    assert not Path("/etc/wgmesh/node.toml").exists()
    alpha.run(["rm", "/etc/wgmesh/node.toml"])
    with pytest.raises(CommandError, match="No such file"):
        alpha.read("/etc/wgmesh/node.toml")


def test_a_running_program_is_killed_by_its_own_pid(world: World) -> None:
    alpha = world["alpha"]
    child = alpha.popen(["sleep", "60"])
    wait_until(lambda: alpha.pids("sleep") == [child.pid], 5, "sleep runs")
    assert world["bravo"].pids("sleep") == []
    with pytest.raises(AssertionError, match="no process of bravo"):
        world["bravo"].kill(child.pid)
    alpha.kill(child.pid)
    assert child.wait(5) == -signal.SIGKILL
    assert alpha.pids("sleep") == []


def test_a_command_has_a_time_limit(world: World) -> None:
    begin = time.monotonic()
    with pytest.raises(CommandError, match=r"outlived 0\.2 s"):
        world["alpha"].run(["sleep", "60"], timeout=0.2)
    assert time.monotonic() - begin < 5
    assert world["alpha"].pids("sleep") == []


def test_a_hand_made_tunnel_carries_pings(tunnel: tuple[Machine, Machine]) -> None:
    alpha, bravo = tunnel
    for address in ("10.40.0.2", "fd40::2"):
        wait_until(partial(answers, alpha, address), 10, "the tunnel is up")
    assert answers(bravo, "fd40::1")
    assert bravo.run(["wg", "show", "wg0", "endpoints"]).stdout.split()[1] == f"{alpha.ipv4}:{PORT}"


def test_a_nat_node_reaches_out_and_is_not_reached(world: World) -> None:
    alpha, delta = world["alpha"], world["delta"]
    assert answers(delta, alpha.ipv4)
    assert udp_passes(delta, alpha, 9000)
    # Even somebody who knows what lies behind the router gets nowhere.
    with Route(alpha, f"192.168.{delta.ipv4.split('.')[2]}.0/24", delta.public_ipv4):
        assert silent(alpha, delta.ipv4)
        assert not udp_passes(alpha, delta, 9000)
    assert not udp_passes(alpha, delta, 9000, delta.public_ipv4)


class Route:
    """A route by hand, for the length of a `with`."""

    def __init__(self, machine: Machine, prefix: str, via: str) -> None:
        self.machine, self.route = machine, f"{prefix} via {via}"

    def __enter__(self) -> None:
        self.machine.ip_batch(f"route add {self.route}")

    def __exit__(self, *_: object) -> None:
        self.machine.ip_batch(f"route del {self.route}")


def test_a_nat_node_dials_a_tunnel_and_roams(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha"], nat=["delta"], ipv6=False)
    alpha, delta = world["alpha"], world["delta"]
    join_by_hand(alpha, delta)
    wait_until(lambda: answers(delta, "10.40.0.1"), 10, "the tunnel is up")
    assert answers(alpha, "10.40.0.2")

    def endpoint() -> str:
        return alpha.run(["wg", "show", "wg0", "endpoints"]).stdout.split()[1]

    before = delta.public_ipv4
    assert endpoint().split(":")[0] == before
    after = world.move("delta")
    assert after != before
    wait_until(lambda: answers(delta, "10.40.0.1"), 10, "the tunnel is up again")
    assert endpoint().split(":")[0] == after


def test_a_line_is_cut_and_restored(world: World) -> None:
    alpha, bravo, charlie = world["alpha"], world["bravo"], world["charlie"]
    world.internet.cut("alpha")
    assert silent(alpha, bravo.ipv4)
    assert silent(bravo, alpha.ipv6)
    assert answers(bravo, charlie.ipv4)
    world.internet.restore("alpha")
    assert answers(alpha, bravo.ipv4)
    assert answers(bravo, alpha.ipv6)


def test_a_second_line_survives_the_first(world: World) -> None:
    alpha, charlie = world["alpha"], world["charlie"]
    assert answers(alpha, charlie.second_ipv4)
    with world.internet.cut("charlie", line=0):
        assert silent(alpha, charlie.ipv4)
        assert answers(alpha, charlie.second_ipv4)
        assert answers(alpha, "charlie-b.example.net")
    with world.internet.cut("charlie", line=1):
        assert answers(alpha, charlie.ipv4)
        assert silent(alpha, charlie.second_ipv4)


def test_two_machines_are_parted(world: World) -> None:
    alpha, bravo, charlie = world["alpha"], world["bravo"], world["charlie"]
    with world.internet.part(alpha, bravo):
        assert silent(alpha, bravo.ipv4)
        assert silent(bravo, alpha.ipv6)
        assert answers(alpha, charlie.ipv4)
        assert answers(bravo, charlie.ipv6)
    assert answers(bravo, alpha.ipv4)


def test_a_provider_filters_a_port_in_both_directions(world: World) -> None:
    alpha, bravo = world["alpha"], world["bravo"]
    with world.internet.block_udp_port("alpha", 9001):
        assert not udp_passes(bravo, alpha, 9001)
        assert udp_passes(bravo, alpha, 9002)
        assert udp_passes(alpha, bravo, 9001)  # from another source port
        assert answers(alpha, bravo.ipv4)
    assert udp_passes(bravo, alpha, 9001)


def test_a_blocked_listen_port_stops_the_tunnel_both_ways(
    world: World, tunnel: tuple[Machine, Machine]
) -> None:
    alpha, bravo = tunnel
    wait_until(lambda: answers(alpha, "10.40.0.2"), 10, "the tunnel is up")
    with world.internet.block_udp_port("alpha", PORT):
        assert silent(alpha, "10.40.0.2")
        assert silent(bravo, "10.40.0.1")
    wait_until(lambda: answers(alpha, "10.40.0.2"), 20, "the tunnel is up again")


def test_a_tunnel_loses_nothing_by_itself(tunnel: tuple[Machine, Machine]) -> None:
    alpha, _ = tunnel
    wait_until(lambda: answers(alpha, "10.40.0.2"), 10, "the tunnel is up")
    with Pings(alpha, "10.40.0.2") as pings, Pings(alpha, "fd40::2") as pings6:
        wait_until(lambda: pings6.count().sent >= 300, 30, "300 requests")
    assert pings.stop().lost == 0
    assert pings6.stop().lost == 0


def test_a_host_that_drops_icmp_inside_the_tunnel(tunnel: tuple[Machine, Machine]) -> None:
    alpha, bravo = tunnel
    wait_until(lambda: answers(alpha, "10.40.0.2"), 10, "the tunnel is up")
    with ignore_pings(bravo):
        assert silent(alpha, "10.40.0.2")
        assert silent(alpha, "fd40::2")
        assert answers(alpha, bravo.ipv4)
        assert answers(bravo, "10.40.0.1")
    assert answers(alpha, "10.40.0.2")


def test_a_fault_that_a_flush_took_away_can_still_be_removed(world: World) -> None:
    alpha = world["alpha"]
    with ignore_pings(alpha, "eth0") as fault:
        assert isinstance(fault, Fault)
        assert silent(world["bravo"], alpha.ipv4)
        alpha.run(["nft", "flush", "ruleset"])
        assert answers(world["bravo"], alpha.ipv4)
    assert alpha.run(["nft", "list", "ruleset"]).stdout == ""


def test_a_reboot_keeps_what_is_on_disk_and_nothing_else(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo"])
    alpha, bravo = world["alpha"], world["bravo"]
    join_by_hand(alpha, bravo)
    wait_until(lambda: answers(bravo, "10.40.0.1"), 10, "the tunnel is up")
    key = alpha.read("/etc/wireguard/wg0.key")
    alpha.write("/etc/wgmesh/node.toml", "x = 1\n")
    alpha.write("/var/lib/wgmesh/journal", "y\n")
    alpha.write("/run/wgmesh/lock", "z\n")
    alpha.run(["nft", "add", "table", "inet", "wgmesh"])
    alpha.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    boot_id = alpha.read("/proc/sys/kernel/random/boot_id")
    sleeper = alpha.popen(["sleep", "600"])
    assert alpha.pids("wireguard-go") != []

    alpha.reboot()

    assert sleeper.poll() == -signal.SIGKILL
    assert alpha.pids() == []
    assert alpha.run(["ip", "link", "show", "wg0"], check=False).returncode == 1
    assert alpha.run(["nft", "list", "ruleset"]).stdout == ""
    assert alpha.read("/proc/sys/net/ipv4/ip_forward") == "0\n"
    assert not alpha.exists("/run/wgmesh")
    assert not alpha.exists("/run/wireguard")
    assert alpha.read("/proc/sys/kernel/random/boot_id") != boot_id
    assert alpha.read("/etc/wireguard/wg0.key") == key
    assert alpha.read("/etc/wgmesh/node.toml") == "x = 1\n"
    assert alpha.read("/var/lib/wgmesh/journal") == "y\n"
    wait_until(lambda: answers(bravo, alpha.ipv4), 5, "alpha is there at its old address")
    assert answers(alpha, bravo.ipv6)
    with world.internet.cut("alpha"):
        assert silent(bravo, alpha.ipv4)
    assert bravo.pids("wireguard-go") != []


def test_the_gateway_keeps_its_hardware_address_whoever_reboots(
    world_factory: WorldFactory,
) -> None:
    """Else all others send to an address that nobody has, until they ask for it anew."""
    world = world_factory(["alpha", "bravo", "charlie"])
    argv = ["ip", "-brief", "link", "show", "internet"]
    before = world.internet.hub.run(argv).stdout
    for name in world.nodes:
        world[name].reboot()
        assert world.internet.hub.run(argv).stdout == before, name


def test_reboot_of_a_nat_node(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha"], nat=["delta"])
    world["delta"].reboot()
    assert answers(world["delta"], world["alpha"].ipv4)


def test_a_node_is_added_later(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha"])
    echo = world.add("echo")
    assert answers(world["alpha"], "echo.example.net")
    assert answers(echo, "alpha.example.net")


def test_the_code_under_test_runs_from_the_checkout(world: World) -> None:
    origin = world["alpha"].run([sys.executable, "-c", "import wgmesh; print(wgmesh.__file__)"])
    assert Path(origin.stdout.strip()) == CHECKOUT / "wgmesh" / "__init__.py"
    assert world["alpha"].wgmesh_argv == [sys.executable, "-m", "wgmesh"]


def test_wait_until_says_what_did_not_happen() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: never; last: 0"):
        wait_until(lambda: 0, 0.05, "never")
    assert wait_until(lambda: [1], 0, "at once") == [1]


def test_nothing_is_left_after_a_world_with_daemons() -> None:
    with World(["alpha", "bravo"], nat=["delta"]) as world:
        join_by_hand(world["alpha"], world["bravo"])
        child = world["alpha"].popen(["sleep", "600"])
        daemons = world["alpha"].pids() + world["bravo"].pids()
        assert len(daemons) == 3
        directory = world.directory
        assert any(str(directory) in left for left in leftovers())
    assert child.poll() == -signal.SIGKILL
    assert not any(Path(f"/proc/{pid}").exists() for pid in daemons)
    assert not any(str(directory) in left for left in leftovers())
    world.close()  # harmless twice


def test_nothing_is_left_when_making_a_world_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[World] = []
    with pytest.raises(AssertionError, match="alpha is there already"):
        made.append(World(["alpha", "alpha"]))
    assert made == []
    lines = [line for line in leftovers() if line.startswith("directory")]
    assert len(lines) <= 1  # the one of this file's shared world


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_machines_end_with_their_run(number: int) -> None:
    code = (
        "import signal, time\n"
        "from tests.lab.world import World\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "world = World(['alpha'])\n"
        "world['alpha'].run(['wireguard-go', 'wg0'])\n"
        "print(world.directory, *world['alpha'].pids(), world['alpha'].pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert run.stdout is not None
    directory, *pids = run.stdout.readline().split()
    try:
        assert len(pids) == 2
        os.kill(run.pid, number)
        assert run.wait(30) == -number
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10, "machines are gone"
        )
        # A run that is killed outright cannot delete its directory; its mounts are gone anyway.
        assert Path(directory).exists() is (number == signal.SIGKILL)
    finally:
        run.kill()
        run.wait(10)
        run.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)
