"""Peers whose endpoint dies are moved to another one; those that live are left where they are."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from subprocess import Popen
from typing import Any

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.wait import wait_until

TICK = [sys.executable, "-c", "from wgmesh.cli.failover import main; raise SystemExit(main())"]
MEMORY = "/run/wgmesh/failover.json"
TIMER = """
import subprocess, sys, time
while True:
    subprocess.run(sys.argv[1:], check=False)
    time.sleep(9)
"""
QUIET = """
table inet quiet {
    chain output { type filter hook output priority 0; udp length 156 @th,64,8 1 drop; }
}
"""
LIMIT_SECONDS = 30


def key(machine: Machine) -> str:
    """Return a machine's public key."""
    return machine.run(["wg", "show", "wg0", "public-key"]).stdout.strip()


def endpoint(machine: Machine, peer: Machine) -> str:
    """Return where a device has a peer."""
    return kernel.dump(machine)[key(peer)][0]


def memory(machine: Machine) -> dict[str, Any]:
    """Return what the ticks remember."""
    found: dict[str, Any] = json.loads(machine.read(MEMORY))
    return found


def tick(machine: Machine, *words: str) -> str:
    """Run one tick; returns what it said."""
    done = machine.run([*TICK, *words], timeout=90)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Four nodes; bravo and charlie have a second line, which is their alternative."""
    nodes = ["alpha", "bravo", "charlie", "delta"]
    world = module_world_factory(nodes, second_uplink=["bravo", "charlie"])
    mesh = Mesh(world)
    mesh.bring_up(
        *nodes,
        **{
            name: {
                "endpoint": f"{name}.example.net:51820",
                "endpoint_alt": [f"{world[name].second_ipv4}:51820"],
            }
            for name in ("bravo", "charlie")
        },
    )
    return mesh


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return the node that watches; afterwards all lines work and nothing is chosen."""
    alpha = mesh.world["alpha"]
    yield alpha
    for name in ("bravo", "charlie"):
        mesh.world.internet.restore(name)
        argv = ["wg", "set", "wg0", "peer", key(mesh.world[name])]
        alpha.run([*argv, "endpoint", f"{mesh.world[name].ipv4}:51820"])
    alpha.run(["rm", "-f", MEMORY])
    mesh.wait_for_tunnels("alpha", "bravo", "charlie")


def timer(machine: Machine) -> Popen[str]:
    """Start what the timer does: a tick, nine seconds after the end of the one before."""
    return machine.popen([sys.executable, "-c", TIMER, *TICK])


def test_a_tick_that_finds_all_well_sends_a_probe_and_changes_nothing(
    mesh: Mesh, alpha: Machine
) -> None:
    before = kernel.dump(alpha)
    assert tick(alpha) == ""
    assert tick(alpha) == ""
    assert kernel.settled(kernel.dump(alpha)) == kernel.settled(before)
    watched = {each[0] for each in memory(alpha)["watched"].values()}
    assert watched == {"bravo", "charlie"}
    assert alpha.run(["stat", "-c", "%a", MEMORY]).stdout == "644\n"
    assert alpha.read("/etc/wireguard/wg0.key").strip() not in alpha.read(MEMORY)


@pytest.mark.parametrize("fault", ["line cut", "port filtered"])
def test_all_dead_endpoints_are_left_in_one_tick_within_thirty_seconds(
    mesh: Mesh, alpha: Machine, fault: str
) -> None:
    world = mesh.world
    bravo, charlie, delta = (world[name] for name in ("bravo", "charlie", "delta"))
    alpha.run(["wg", "set", "wg0", "peer", key(delta), "endpoint", f"[{delta.ipv6}]:51820"])
    wait_until(partial(mesh.pings, "alpha", "delta"), 20, "delta, which has roamed, answers")
    tick(alpha)
    ticks = timer(alpha)
    faults = []
    try:
        cut = time.monotonic()
        for name in ("bravo", "charlie"):
            if fault == "line cut":
                world.internet.cut(name)
            else:
                faults.append(world.internet.block_udp_port(name, 51820))
        with Pings(alpha, mesh.address("delta")) as healthy:
            for machine in (bravo, charlie):
                left = LIMIT_SECONDS - (time.monotonic() - cut)
                wait_until(
                    partial(mesh.pings, "alpha", machine.name), left, f"{machine.name} is found"
                )
            assert time.monotonic() - cut < LIMIT_SECONDS
        assert healthy.stop().lost == 0
    finally:
        ticks.kill()
        ticks.communicate()
        for each in faults:
            each.remove()
    for machine in (bravo, charlie):
        assert endpoint(alpha, machine) == f"{machine.second_ipv4}:51820"
    assert endpoint(alpha, delta) == f"[{delta.ipv6}]:51820"
    since = {
        key: values["since"]
        for key, values in memory(alpha)["watches"].items()
        if "since" in values
    }
    assert len(set(since.values())) == 1, "both in the same tick"
    alpha.run(["wg", "set", "wg0", "peer", key(delta), "endpoint", f"{delta.ipv4}:51820"])


def test_a_choice_survives_what_does_not_concern_it_and_is_no_drift(
    mesh: Mesh, alpha: Machine
) -> None:
    bravo = mesh.world["bravo"]
    tick(alpha)
    mesh.world.internet.cut("bravo")
    wait_until(lambda: tick(alpha) and mesh.pings("alpha", "bravo"), 60, "bravo is found")
    chosen = f"{bravo.second_ipv4}:51820"
    status = mesh.status("alpha")
    shown = next(peer for peer in status["peers"] if peer["name"] == "bravo")
    assert (shown["endpoint"], shown["endpoint_source"]) == (chosen, "alternative")
    assert shown["endpoint_since"] is not None
    assert status["drift"] == []
    said = tick(alpha, "status")
    assert chosen in said and "alternative" in said

    mesh.commit({"mesh.toml": mesh.text + "mtu = 1400\n"}, "Something else")
    alpha.wgmesh("sync")
    assert endpoint(alpha, bravo) == chosen
    alpha.wgmesh("reconcile")
    assert endpoint(alpha, bravo) == chosen
    alpha.run(["ip", "link", "del", "wg0"])
    alpha.wgmesh("reconcile")
    assert endpoint(alpha, bravo) == chosen
    wait_until(partial(mesh.pings, "alpha", "bravo"), 20, "bravo answers there")
    assert tick(alpha) == ""
    mesh.world.internet.restore("bravo")
    mesh.commit({"mesh.toml": mesh.text}, "As before")
    mesh.sync()


def test_the_primary_is_returned_to_and_a_dead_one_is_left_again(
    mesh: Mesh, alpha: Machine
) -> None:
    """Ten minutes are made by setting back what the ticks remember."""
    bravo = mesh.world["bravo"]
    chosen, primary = f"{bravo.second_ipv4}:51820", f"{bravo.ipv4}:51820"
    tick(alpha)
    mesh.world.internet.cut("bravo")
    wait_until(lambda: tick(alpha) and mesh.pings("alpha", "bravo"), 60, "bravo is found")
    tick(alpha)
    older(alpha, key(bravo))
    with Pings(alpha, mesh.address("bravo"), 0.05) as pings:
        tick(alpha)  # the primary is still dead
    assert endpoint(alpha, bravo) == chosen
    assert pings.stop().longest_gap_seconds < 13
    assert memory(alpha)["watches"][key(bravo)]["failures"] == 1
    with calling_nobody(bravo):  # a call of its own would lead alpha back to the primary
        mesh.world.internet.restore("bravo")
        tick(alpha)
        older(alpha, key(bravo))
        assert "tried again" not in tick(alpha), "the second trial waits for twice as long"
        assert endpoint(alpha, bravo) == chosen
        older(alpha, key(bravo), by=1300)
        assert "tried again" in tick(alpha)
        assert endpoint(alpha, bravo) == primary
    assert "endpoint" not in memory(alpha)["watches"][key(bravo)]
    assert mesh.pings("alpha", "bravo")


@contextmanager
def calling_nobody(machine: Machine) -> Iterator[None]:
    """Let a machine begin no handshake: its packets of 148 bytes of type 1 do not leave it."""
    machine.run(["nft", "-f", "-"], stdin=QUIET)
    try:
        yield
    finally:
        machine.run(["nft", "delete", "table", "inet", "quiet"])


def older(machine: Machine, public_key: str, by: float = 700) -> None:
    """Let a choice be older than it is."""
    table = memory(machine)
    for name in ("since", "well"):
        table["watches"][public_key][name] -= by
    machine.write(MEMORY, json.dumps(table))


def answer_of_the_fetch(machine: Machine, name: str, address: str) -> None:
    """Leave a question for a name, and the answer."""
    machine.write("/run/wgmesh/names.toml", f'id = "aa"\nnames = ["{name}"]\n')
    machine.write("/var/lib/wgmesh/fetch/names", f"aa\n{name} {address}\n")


@pytest.mark.parametrize("by", ["resolver", "fetch"])
def test_a_name_that_leads_elsewhere_now_is_asked_for_again(
    mesh: Mesh, alpha: Machine, by: str
) -> None:
    """The alternative is dead as well; what is left is the new address of the primary's name.

    By the fetch: the resolver does not find it, but an answer has come to a question of before.
    """
    world = mesh.world
    charlie = world["charlie"]
    hosts = alpha.read("/etc/hosts")
    moved = "198.18.0.77"
    charlie.run(["ip", "addr", "add", f"{moved}/15", "dev", "eth0"])
    tick(alpha)
    cut = [
        world.internet._fault(
            world.internet._ports["charlie"][line],
            [f"ip saddr {address} udp sport 51820 drop"],
            [f"ip daddr {address} udp dport 51820 drop"],
        )
        for line, address in ((0, charlie.ipv4), (1, charlie.second_ipv4))
    ]
    try:
        if by == "resolver":
            alpha.write("/etc/hosts", hosts.replace(f"{charlie.ipv4} charlie", f"{moved} charlie"))
        else:
            alpha.write("/etc/hosts", hosts.replace(f"{charlie.ipv4} charlie", f"{moved} nobody"))
            answer_of_the_fetch(alpha, "charlie.example.net", moved)
        end = time.monotonic() + 60
        while not mesh.pings("alpha", "charlie") and time.monotonic() < end:
            tick(alpha)
        assert endpoint(alpha, charlie) == f"{moved}:51820"
        assert not alpha.exists("/run/wgmesh/names.toml"), "a question that is answered is over"
    finally:
        for fault in cut:
            fault.remove()
        alpha.write("/etc/hosts", hosts)
        charlie.run(["ip", "addr", "del", f"{moved}/15", "dev", "eth0"])


def test_a_change_in_flight_is_left_alone(mesh: Mesh, alpha: Machine) -> None:
    lock = alpha.popen(["flock", "/run/wgmesh/lock", "sh", "-c", "echo held; sleep 30"])
    try:
        assert lock.stdout is not None and lock.stdout.readline() == "held\n"
        started = time.monotonic()
        done = alpha.run(TICK, check=False)
        assert done.returncode == 9
        assert time.monotonic() - started < 5
    finally:
        for pid in alpha.pids("sleep"):
            alpha.kill(pid)
        lock.communicate()


def test_a_memory_that_is_damaged_is_begun_anew(mesh: Mesh, alpha: Machine) -> None:
    for text in (
        "",
        "{",
        "[]",
        '{"watched": 1}',
        '{"generation": "x", "watches": {"k": {"a": 1}}}',
    ):
        alpha.write(MEMORY, text)
        assert tick(alpha) == ""
        assert len(memory(alpha)["watched"]) == 2
