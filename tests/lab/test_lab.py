"""The laboratory proves itself: links, faults, forge, people, pings, reboots, and no trace left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
    """A tunnel by hand between alpha (10.40.0.1) and bravo (10.40.0.2)."""
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
    for number, (machine, peer) in enumerate(((other, one), (one, other)), start=1):
        argv = ["wg", "set", "wg0", "peer", keys[peer.name], "persistent-keepalive", "25"]
        argv += ["allowed-ips", f"10.40.0.{number}/32,fd40::{number}/128"]
        if peer.public_ipv4 == peer.ipv4:
            argv += ["endpoint", f"{peer.ipv4}:{PORT}"]
        machine.run(argv)


def answers(machine: Machine, address: str, *, count: int = 1) -> bool:
    """Say whether an echo request comes back within a second."""
    argv = ["ping", "-n", "-c", str(count), "-i", "0.01", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0


def udp_passes(source: Machine, target: Machine, port: int, payload: str = "hello") -> bool:
    """Say whether a datagram to `port` arrives within a second."""
    listener = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.bind(('0.0.0.0', {port})); s.settimeout(1); print('ready', flush=True);"
        "print(s.recv(99).decode(), flush=True)"
    )
    sender = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.sendto({payload.encode()!r}, ({target.ipv4!r}, {port}))"
    )
    waiting = target.popen([sys.executable, "-c", listener])
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "ready\n"
    source.run([sys.executable, "-c", sender])
    out, _ = waiting.communicate(timeout=10)
    return out == f"{payload}\n"


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
        wait_until(lambda address=address: answers(alpha, address), 10, "the tunnel is up")
    assert answers(bravo, "fd40::1")
    assert bravo.run(["wg", "show", "wg0", "endpoints"]).stdout.split()[1] == f"{alpha.ipv4}:{PORT}"


def test_a_nat_node_reaches_out_and_is_not_reached(world: World) -> None:
    alpha, delta = world["alpha"], world["delta"]
    assert answers(delta, alpha.ipv4)
    assert udp_passes(delta, alpha, 9000)
    # Even somebody who knows what lies behind the router gets nowhere.
    with Route(alpha, f"192.168.{delta.ipv4.split('.')[2]}.0/24", delta.public_ipv4):
        assert not answers(alpha, delta.ipv4)
        assert not udp_passes(alpha, delta, 9000)
    assert not udp_passes_by_address(alpha, delta, 9000)


class Route:
    """A route by hand, for the length of a `with`."""

    def __init__(self, machine: Machine, prefix: str, via: str) -> None:
        self.machine, self.route = machine, f"{prefix} via {via}"

    def __enter__(self) -> None:
        self.machine.ip_batch(f"route add {self.route}")

    def __exit__(self, *_: object) -> None:
        self.machine.ip_batch(f"route del {self.route}")


def udp_passes_by_address(source: Machine, target: Machine, port: int) -> bool:
    """As `udp_passes`, to the public address of the target's router."""
    private, target.ipv4 = target.ipv4, target.public_ipv4
    try:
        return udp_passes(source, target, port)
    finally:
        target.ipv4 = private


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
    assert not answers(alpha, bravo.ipv4)
    assert not answers(bravo, alpha.ipv6)
    assert answers(bravo, charlie.ipv4)
    world.internet.restore("alpha")
    assert answers(alpha, bravo.ipv4)
    assert answers(bravo, alpha.ipv6)


def test_a_second_line_survives_the_first(world: World) -> None:
    alpha, charlie = world["alpha"], world["charlie"]
    assert answers(alpha, charlie.second_ipv4)
    with world.internet.cut("charlie", line=0):
        assert not answers(alpha, charlie.ipv4)
        assert answers(alpha, charlie.second_ipv4)
        assert answers(alpha, "charlie-b.example.net")
    with world.internet.cut("charlie", line=1):
        assert answers(alpha, charlie.ipv4)
        assert not answers(alpha, charlie.second_ipv4)


def test_two_machines_are_parted(world: World) -> None:
    alpha, bravo, charlie = world["alpha"], world["bravo"], world["charlie"]
    with world.internet.part(alpha, bravo):
        assert not answers(alpha, bravo.ipv4)
        assert not answers(bravo, alpha.ipv6)
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
        assert not answers(alpha, "10.40.0.2")
        assert not answers(bravo, "10.40.0.1")
    wait_until(lambda: answers(alpha, "10.40.0.2"), 20, "the tunnel is up again")


def test_loss_is_about_what_was_asked(world: World) -> None:
    alpha, bravo = world["alpha"], world["bravo"]
    with world.internet.lose("alpha", 30), Pings(alpha, bravo.ipv4, 0.002) as pings:
        wait_until(lambda: pings.count().sent >= 600, 30, "600 requests")
    count = pings.stop()
    # Twice 30 % of the packets: 51 % of the echoes; six standard deviations of room.
    assert 0.38 < count.lost / count.sent < 0.64


def test_pings_are_counted_exactly(world: World) -> None:
    alpha, bravo = world["alpha"], world["bravo"]
    for address, match in ((bravo.ipv4, "icmp type"), (bravo.ipv6, "icmpv6 type")):
        with (
            Pings(alpha, address) as pings,
            Pings(alpha, address) as others,  # two at once are not mixed up
        ):
            wait_until(lambda pings=pings: pings.count().received >= 50, 10, "50 answers")
        count = pings.stop()
        assert (count.lost, count.lost_at) == (0, ())
        assert count.sent == count.received >= 50
        assert others.stop().lost == 0
        with (
            Pings(alpha, address) as pings,
            world.internet.lose_next("alpha", 7, f"{match} echo-request"),
        ):
            wait_until(lambda pings=pings: pings.count().received >= 50, 10, "50 answers")
        count = pings.stop()
        assert count.lost == len(count.lost_at) == 7
        assert count.sent == count.received + 7
        assert 7 * 0.005 <= count.longest_gap_seconds < 2


def test_pings_without_a_route_are_lost_not_fatal(world: World) -> None:
    alpha = world["alpha"]
    alpha.ip_batch("route add unreachable 203.0.113.0/24")
    with Pings(alpha, "203.0.113.1", 0.01) as pings:
        wait_until(lambda: pings.count().sent >= 10, 10, "10 requests")
    count = pings.stop()
    assert count.received == 0
    assert count.lost == count.sent >= 10
    assert count.longest_gap_seconds >= 0.09


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
        assert not answers(alpha, "10.40.0.2")
        assert not answers(alpha, "fd40::2")
        assert answers(alpha, bravo.ipv4)
        assert answers(bravo, "10.40.0.1")
    assert answers(alpha, "10.40.0.2")


def test_a_fault_that_a_flush_took_away_can_still_be_removed(world: World) -> None:
    alpha = world["alpha"]
    with ignore_pings(alpha, "eth0") as fault:
        assert isinstance(fault, Fault)
        assert not answers(world["bravo"], alpha.ipv4)
        alpha.run(["nft", "flush", "ruleset"])
        assert answers(world["bravo"], alpha.ipv4)
    assert alpha.run(["nft", "list", "ruleset"]).stdout == ""


def test_a_node_clones_from_the_forge_and_pushes_of_people_arrive(world: World) -> None:
    alpha, ann = world["alpha"], world.author("ann")
    first = ann.commit({"mesh.toml": "[mesh]\n", "allowed_signers": ann.allowed_signers_line})
    ann.push()
    clone = ["git", "clone", "--quiet", world.forge.url(), "/var/lib/wgmesh/clone"]
    alpha.run(clone)
    assert alpha.run(["git", "-C", "/var/lib/wgmesh/clone", "rev-parse", "HEAD"]).stdout == (
        f"{first}\n"
    )
    alpha.run(["rm", "-r", "/var/lib/wgmesh/clone"])

    ls = ["git", "ls-remote", world.forge.url(), "main"]
    world.forge.stop()
    refused = alpha.run(ls, check=False)
    assert refused.returncode == 128
    assert "refused" in refused.stderr
    world.forge.start()
    assert alpha.run(ls).stdout.split() == [first, "refs/heads/main"]
    world.forge.freeze()
    with pytest.raises(CommandError, match="outlived"):
        alpha.run(ls, timeout=0.5)
    world.forge.thaw()
    assert alpha.run(ls).stdout.startswith(first)


def test_signatures_of_people_verify(world_factory: WorldFactory) -> None:
    world = world_factory([])
    ann, bob = world.author("ann"), world.author("bob", key_type="ecdsa")
    signers = ann.allowed_signers_line + bob.allowed_signers_line
    first = ann.commit({"allowed_signers": signers, "nodes/a.toml": "a\n"}, "first")
    ann.push()
    ann.git("verify-commit", first)

    proposal = bob.propose("add-b", {"nodes/b.toml": "b\n", "nodes/a.toml": None}, sign=False)
    with pytest.raises(CommandError):
        bob.git("verify-commit", proposal)
    merge = ann.merge("add-b")
    assert ann.git("rev-list", "--parents", "-1", merge).split() == [merge, first, proposal]
    assert ann.git("ls-tree", "-r", "--name-only", merge).split() == [
        "allowed_signers",
        "nodes/b.toml",
    ]
    assert bob.pull() == merge
    verdict = bob.git("log", "-1", "--format=%G? %GS %GF", merge)
    assert verdict.split() == ["G", ann.email, ann.fingerprint]

    signed = bob.commit({}, "by an ecdsa key")
    assert bob.git("log", "-1", "--format=%G?", signed) == "G\n"
    bob.push()
    ann.commit({"x": "y"}, "on an old main")
    with pytest.raises(CommandError, match="rejected"):
        ann.push()
    ann.push(force=True)
    assert bob.pull() == ann.head

    old = ann.fingerprint
    ann.new_key()
    assert ann.fingerprint != old
    forged = ann.commit({}, "by an unknown key")
    assert ann.git("log", "-1", "--format=%G?", forged) != "G\n"


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
        assert not answers(bravo, alpha.ipv4)
    assert bravo.pids("wireguard-go") != []


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


def test_machines_end_when_their_run_is_killed() -> None:
    code = (
        "import time\n"
        "from tests.lab.world import World\n"
        "world = World(['alpha'])\n"
        "world['alpha'].run(['wireguard-go', 'wg0'])\n"
        "print(world.directory, *world['alpha'].pids(), world['alpha'].pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    directory, *pids = run.stdout.readline().split()
    assert len(pids) == 2
    os.kill(run.pid, signal.SIGKILL)
    run.wait(10)
    run.stdout.close()
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10, "machines are gone"
    )
    for path in ("state", "repositories", ""):
        target = Path(directory) / path
        subprocess.run(["rm", "-r", target], check=True) if target.exists() else None
