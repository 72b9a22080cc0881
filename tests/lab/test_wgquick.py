"""The stock wg-quick brings up a generated kind of wg0.conf: `Table = off`, key by PostUp.

This kernel may lack WireGuard: wg-quick then falls back to wireguard-go by itself.
"""

import json

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.pings import Pings
from tests.lab.wait import wait_until
from tests.lab.world import World

PORT = 51820


@pytest.fixture(scope="module")
def world(module_world_factory: WorldFactory) -> World:
    """Make two nodes, each with a key and a wg0.conf that names the other."""
    world = module_world_factory(["alpha", "bravo"])
    keys = {}
    for name, machine in world.nodes.items():
        private = machine.run(["wg", "genkey"]).stdout
        machine.write("/etc/wireguard/wg0.key", private, 0o600)
        keys[name] = machine.run(["wg", "pubkey"], stdin=private).stdout.strip()
    for own, other, number, peer in (("alpha", "bravo", 1, 2), ("bravo", "alpha", 2, 1)):
        world[own].write(
            "/etc/wireguard/wgmesh.d/gen-1/wg0.conf",
            "[Interface]\n"
            f"Address = 10.40.0.{number}/32, fd40::{number}/128\n"
            f"ListenPort = {PORT}\n"
            "MTU = 1420\n"
            "FwMark = 0x77\n"
            "Table = off\n"
            "PostUp = wg set %i private-key /etc/wireguard/wg0.key\n"
            "\n[Peer]\n"
            f"PublicKey = {keys[other]}\n"
            f"AllowedIPs = 10.40.0.{peer}/32, fd40::{peer}/128\n"
            f"Endpoint = {world[other].ipv4}:{PORT}\n",
            0o600,  # else wg-quick warns that the file is world accessible
        )
        world[own].run(["ln", "-s", "wgmesh.d/gen-1/wg0.conf", "/etc/wireguard/wg0.conf"])
    return world


def up(machine: Machine, peer: int) -> None:
    """Bring wg0 up, and add by hand the routes that `Table = off` leaves to others."""
    machine.run(["wg-quick", "up", "wg0"])
    machine.ip_batch(
        f"route add 10.40.0.{peer}/32 dev wg0 proto 101",
        f"route add fd40::{peer}/128 dev wg0 proto 101",
    )


def device(machine: Machine) -> dict[str, str]:
    """Return what `wg` says of wg0: its key pair, port and mark."""
    own = machine.run(["wg", "show", "wg0", "dump"]).stdout.splitlines()[0].split("\t")
    return dict(zip(("private", "public", "port", "mark"), own, strict=True))


def test_wg_quick_makes_the_device_and_touches_nothing_else(world: World) -> None:
    alpha = world["alpha"]
    observe = ["ip route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule"]
    observe += ["nft list ruleset", "cat /etc/resolv.conf", "sysctl net.ipv4.conf.all"]
    before = {command: alpha.run(["sh", "-c", command]).stdout for command in observe}
    alpha.run(["wg-quick", "up", "wg0"])

    assert device(alpha)["private"] == alpha.read("/etc/wireguard/wg0.key").strip()
    assert (device(alpha)["port"], device(alpha)["mark"]) == (str(PORT), "0x77")
    link = json.loads(alpha.run(["ip", "-j", "addr", "show", "wg0"]).stdout)[0]
    assert link["mtu"] == 1420
    assert {a["local"] for a in link["addr_info"] if a["scope"] == "global"} == {
        "10.40.0.1",
        "fd40::1",
    }
    # Only what the kernel adds for an address; no route to a peer, no rule, no firewall.
    for command in observe:
        after = alpha.run(["sh", "-c", command]).stdout.splitlines()
        assert [line for line in after if "wg0" not in line] == before[command].splitlines()
    assert alpha.run(["ip", "route", "show", "dev", "wg0"]).stdout == ""

    again = alpha.run(["wg-quick", "up", "wg0"], check=False)
    assert (again.returncode, again.stderr) == (1, "wg-quick: `wg0' already exists\n")

    alpha.run(["wg-quick", "down", "wg0"])
    wait_until(lambda: alpha.pids("wireguard-go") == [], 5, "wireguard-go ends with its device")
    for command in observe:
        assert alpha.run(["sh", "-c", command]).stdout == before[command]


def test_the_tunnel_of_wg_quick_survives_a_reboot_of_one_end(world: World) -> None:
    alpha, bravo = world["alpha"], world["bravo"]
    up(alpha, 2)
    up(bravo, 1)
    with Pings(alpha, "10.40.0.2") as pings:
        wait_until(lambda: pings.count().received >= 10, 15, "the tunnel is up")
    with Pings(alpha, "fd40::2") as pings:
        wait_until(lambda: pings.count().received >= 100, 15, "pings pass")
    assert pings.stop().lost == 0

    alpha.reboot()
    assert alpha.run(["wg", "show"]).stdout == ""
    up(alpha, 2)
    with Pings(alpha, "10.40.0.2") as pings:
        wait_until(lambda: pings.count().received >= 10, 15, "the tunnel is up again")
