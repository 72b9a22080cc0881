"""What a commit does not concern stays as it is; what a hand has changed is seen and mended."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.wait import wait_until

NODES = ("alpha", "bravo", "charlie", "delta")

FOREIGN_TABLE = """
table ip someone {
    chain guard {
        type filter hook input priority 5; policy accept;
        ip saddr 203.0.113.0/24 counter drop comment "of somebody else"
    }
}
table inet wgmeshlike {
    set trusted { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.7 } }
}
"""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Make four nodes, one of them behind NAT; alpha forwards, so it has a firewall of ours."""
    world = module_world_factory(["alpha", "bravo", "charlie"], nat=["delta"])
    mesh = Mesh(world)
    mesh.bring_up(*NODES, alpha={"forwarding": True})
    mesh.sync(*NODES)
    return mesh


@pytest.fixture(autouse=True)
def _converged(mesh: Mesh) -> Iterator[None]:
    """Find the nodes at peace, and leave them so."""
    yield
    for name in NODES:
        status = mesh.status(name)
        assert (status["state"], status["drift"]) == ("in-sync", []), status["reasons"]


def key(machine: Machine) -> str:
    """Return a machine's public key."""
    private = machine.read("/etc/wireguard/wg0.key")
    return machine.run(["wg", "pubkey"], stdin=private).stdout.strip()


def touch_bravo(mesh: Mesh, name: str) -> None:
    """Merge a change of what bravo owns, which no other tunnel needs, and apply it on a node."""
    path, more = "nodes/bravo.toml", 'allowed_ips = ["192.168.77.0/24"]\n'
    now = mesh.author.git("show", f"HEAD:{path}")
    commit = mesh.commit({path: now.replace(more, "") if more in now else now + more}, "Bravo")
    mesh.world[name].wgmesh("sync")
    status = mesh.status(name)
    assert (status["commit"]["id"], status["state"]) == (commit, "in-sync"), status


def handshakes_are_over(mesh: Mesh) -> bool:
    """Return whether the last handshakes are so old that no end tries one a second time.

    When both ends begin at once, one of them does so 5 s later: REKEY_TIMEOUT, in section 6.1 of
    the WireGuard paper.
    """
    newest = max(
        int(peer[2]) for name in NODES for one, peer in kernel.dump(mesh.world[name]).items() if one
    )
    return time.time() - newest > 7


def reaches(mesh: Mesh, name: str, other: str) -> None:
    """Wait until a node reaches another."""
    wait_until(partial(mesh.pings, name, other), 15, f"{name} reaches {other}")


def test_a_commit_that_adds_a_node_changes_one_peer_and_loses_no_packet(mesh: Mesh) -> None:
    world = mesh.world
    world.add("echo")
    new = mesh.join("echo")
    tunnels = [("alpha", "bravo", 4), ("charlie", "alpha", 6), ("delta", "bravo", 4)]
    pings = [Pings(world[one], mesh.address(other, family)) for one, other, family in tunnels]
    # Traffic on the other three keeps WireGuard from handshakes of its own: none lacks an answer.
    quiet = [("alpha", "delta", 6), ("bravo", "charlie", 4), ("charlie", "delta", 4)]
    slow = [Pings(world[one], mesh.address(other, family), 0.05) for one, other, family in quiet]
    with ExitStack() as running:
        for each in (*pings, *slow):
            running.enter_context(each)
        wait_until(lambda: all(each.count().received > 50 for each in pings), 15, "pings pass")
        wait_until(partial(handshakes_are_over, mesh), 60, "no handshake is tried again")
        before = {name: kernel.dump(world[name]) for name in NODES}
        around = {name: kernel.whole(world[name]) for name in NODES}
        sent = [each.count().sent for each in pings]
        mesh.author.propose("echo", {"nodes/echo.toml": mesh.entry("echo", new)}, "Add echo")
        mesh.author.merge("echo")
        mesh.sync(*NODES)
        enough = [number + 1200 for number in sent]
        wait_until(
            lambda: all(
                each.count().sent >= most for each, most in zip(pings, enough, strict=True)
            ),
            30,
            "1,200 pings",
        )
    for each in pings:
        assert each.stop().sent >= 1200
    for each in (*pings, *slow):
        assert each.stop().lost == 0, each.stop()

    mesh.sync("echo")
    mesh.wait_for_tunnels(*NODES, "echo")
    for name in NODES:
        after = kernel.dump(world[name])
        assert after.keys() - before[name].keys() == {new}
        assert {one: after[one] for one in before[name]} == before[name]  # handshakes included
        whole = kernel.whole(world[name])
        assert {part: whole[part] for part in around[name] if part != "device"} == {
            part: around[name][part] for part in around[name] if part != "device"
        }


def test_a_roamed_endpoint_survives_an_unrelated_commit(mesh: Mesh) -> None:
    world = mesh.world
    alpha, charlie, delta = world["alpha"], world["charlie"], world["delta"]
    moved_to = world.move("delta")
    reaches(mesh, "delta", "alpha")
    wait_until(
        lambda: kernel.dump(alpha)[key(delta)][0].startswith(f"{moved_to}:"), 20, "delta roams"
    )
    # A router in front of a public node may change its port; the listening port stands in for it.
    charlie.run(["wg", "set", "wg0", "listen-port", "41999"])
    reaches(mesh, "charlie", "alpha")
    roamed = f"{charlie.ipv4}:41999"
    wait_until(lambda: kernel.dump(alpha)[key(charlie)][0] == roamed, 20, "charlie roams")

    before = kernel.dump(alpha)
    with Pings(alpha, mesh.address("charlie")) as pings:
        touch_bravo(mesh, "alpha")
    assert pings.stop().lost == 0
    after = kernel.dump(alpha)
    changed = key(world["bravo"])
    assert after[changed] != before[changed]
    others = before.keys() - {changed}
    assert {one: after[one] for one in others} == {one: before[one] for one in others}
    status = mesh.status("alpha")
    assert status["drift"] == []
    sources = {peer["name"]: peer["endpoint_source"] for peer in status["peers"]}
    assert (sources["charlie"], sources["delta"]) == ("roamed", "roamed")
    assert sources["bravo"] == "inventory"

    # it survives `reconcile` as well; on charlie the port is drift
    assert "no drift" in alpha.wgmesh("reconcile").stdout
    assert kernel.dump(alpha)[key(charlie)][0] == roamed
    assert [entry for entry in mesh.status("charlie")["drift"] if "51820" in entry]
    charlie.wgmesh("reconcile")
    reaches(mesh, "charlie", "alpha")
    home = f"{charlie.ipv4}:51820"
    wait_until(lambda: kernel.dump(alpha)[key(charlie)][0] == home, 20, "charlie is back")
    mesh.sync("charlie", "bravo", "delta")


@contextmanager
def drift(mesh: Mesh, name: str, *expected: str, kept: bool = False) -> Iterator[None]:
    """Expect that the body's choices show as drift, and that `reconcile` mends them.

    `kept`: it is of what a sync restores by itself; else that only reports it, by default.
    """
    machine = mesh.world[name]
    before = kernel.whole(machine)
    yield
    done = machine.wgmesh("status", "--json", check=False)
    status = json.loads(done.stdout)
    assert (done.returncode, status["state"]) == (7, "degraded"), status
    assert status["drift"], status
    for word in expected:
        assert any(word in entry for entry in status["drift"]), (word, status["drift"])
        assert any(word in reason for reason in status["reasons"])
    private = machine.read("/etc/wireguard/wg0.key").strip()
    assert private not in done.stdout
    machine.wgmesh("sync")
    assert bool(mesh.status(name)["drift"]) is not kept
    if not kept:
        machine.wgmesh("reconcile")
    assert kernel.whole(machine) == before
    assert mesh.status(name)["drift"] == []
    assert "no drift" in machine.wgmesh("reconcile").stdout


def test_choices_made_with_wg_set_are_drift(mesh: Mesh) -> None:
    alpha, bravo = mesh.world["alpha"], key(mesh.world["bravo"])
    own = f"{mesh.address('bravo')}/32"
    with drift(mesh, "alpha", bravo[:8]):
        alpha.run(["wg", "set", "wg0", "peer", bravo, "allowed-ips", f"{own},192.0.2.0/24"])
    with drift(mesh, "alpha", bravo[:8]):
        alpha.run(["wg", "set", "wg0", "peer", bravo, "persistent-keepalive", "7"])
    assert mesh.pings("alpha", "bravo", 6)


def test_an_endpoint_set_by_hand_is_drift_when_nobody_is_there(world_factory: WorldFactory) -> None:
    mesh = Mesh(world_factory(["alpha", "bravo"]))
    mesh.enrol("alpha", "bravo", bravo={"intermittent": True})
    mesh.sync("alpha")  # and bravo sleeps, which is no alarm
    alpha, bravo = mesh.world["alpha"], key(mesh.world["bravo"])
    assert mesh.status("alpha")["state"] == "in-sync"
    with drift(mesh, "alpha", bravo[:8]):
        alpha.run(["wg", "set", "wg0", "peer", bravo, "endpoint", "198.18.0.99:1"])


def test_a_peer_too_many_or_too_few_is_drift(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    stranger = alpha.run(["wg", "pubkey"], stdin=alpha.run(["wg", "genkey"]).stdout).stdout.strip()
    with drift(mesh, "alpha", stranger[:8], key(mesh.world["bravo"])[:8]):
        alpha.run(["wg", "set", "wg0", "peer", stranger, "allowed-ips", "192.0.2.9/32"])
        alpha.run(["wg", "set", "wg0", "peer", key(mesh.world["bravo"]), "remove"])
    reaches(mesh, "alpha", "bravo")


@pytest.mark.parametrize(
    ("command", "word", "kept"),
    [
        ("ip route del 10.40.0.0/24 dev wg0", "10.40.0.0/24", True),
        ("ip -6 addr del fd40::1/128 dev wg0", "fd40::1", False),
        ("ip link set wg0 mtu 1280", "1420", False),
        ("nft delete table inet wgmesh", "inet wgmesh", True),
        ("ip rule add pref 4242 lookup 99 proto 101", "4242", False),
        ("sysctl -qw net.ipv4.ip_forward=0", "ip_forward", False),
    ],
)
def test_what_a_hand_changed_elsewhere_is_drift(
    mesh: Mesh, command: str, word: str, kept: bool
) -> None:
    with drift(mesh, "alpha", word, kept=kept):
        mesh.world["alpha"].run(command.split())
    wait_until(partial(mesh.pings, "alpha", "bravo"), 10, "the tunnel carries")


def test_reconcile_mends_a_route(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    before = kernel.whole(alpha)
    for prefix in ("10.40.0.0/24", "fd40::/64"):
        alpha.run(["ip", "route", "del", prefix, "dev", "wg0"])
    assert len([entry for entry in mesh.status("alpha")["drift"] if "route" in entry]) == 2
    alpha.wgmesh("reconcile")
    assert kernel.whole(alpha) == before


def test_a_device_that_is_gone_is_drift(mesh: Mesh) -> None:
    delta = mesh.world["delta"]
    before = kernel.whole(delta)
    delta.run(["ip", "link", "del", "wg0"])
    done = delta.wgmesh("status", "--json", check=False)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (7, "degraded")
    assert json.loads(done.stdout)["drift"]
    delta.wgmesh("reconcile")
    assert kernel.whole(delta) == before
    mesh.wait_for_tunnels(*NODES)


def test_what_is_somebody_elses_stays_byte_for_byte(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    alpha.run(["nft", "-f", "-"], stdin=FOREIGN_TABLE)
    alpha.ip_batch(
        "route add 203.0.113.0/24 via 198.18.0.254 dev eth0 proto static",
        "route add 192.0.2.0/24 dev wg0 proto static",
        "route add 198.51.100.0/24 via 198.18.0.254 table 77",
        "route add unreachable 2001:db8:7::/48 metric 50",
        "rule add pref 3000 fwmark 0x51 lookup 77",
        "rule add pref 3001 from 203.0.113.9 lookup 77 proto 16",
    )
    alpha.run(["ip", "-6", "rule", "add", "pref", "3002", "to", "2001:db8:9::/48", "unreachable"])
    before = kernel.foreign(alpha)
    assert any("192.0.2.0/24 dev wg0" in route for route in before["routes"])
    assert any("of somebody else" in line for line in before["nft"])
    assert mesh.status("alpha")["drift"] == []

    touch_bravo(mesh, "alpha")
    assert kernel.foreign(alpha) == before
    with drift(mesh, "alpha", "1420"):
        alpha.run(["ip", "link", "set", "wg0", "mtu", "1300"])
    with drift(mesh, "alpha", "10.40.0.0/24", kept=True):
        alpha.run(["ip", "route", "del", "10.40.0.0/24", "dev", "wg0"])
    assert kernel.foreign(alpha) == before
    alpha.wgmesh("rollback")
    assert kernel.foreign(alpha) == before
    alpha.wgmesh("resume")
    touch_bravo(mesh, "alpha")
    assert kernel.foreign(alpha) == before

    alpha.ip_batch(
        "route del 203.0.113.0/24 via 198.18.0.254",
        "route del 192.0.2.0/24 dev wg0",
        "route flush table 77",
        "route del unreachable 2001:db8:7::/48 metric 50",
        "rule del pref 3000",
        "rule del pref 3001",
    )
    alpha.run(["ip", "-6", "rule", "del", "pref", "3002"])
    alpha.run(["nft", "delete", "table", "ip", "someone"])
    alpha.run(["nft", "delete", "table", "inet", "wgmeshlike"])
