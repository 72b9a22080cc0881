"""The files of `gen` on a machine that has nothing but wg-quick: read, set, brought up."""

import random
from ipaddress import ip_network

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.world import World
from wgmesh.inventory import load
from wgmesh.mesh.plan import plan

OUT = "/run/mesh/out"
SHAPES = range(8)


@pytest.fixture(scope="module")
def world(module_world_factory: WorldFactory) -> World:
    """Make two machines without wgmesh's state; names like n3.test lead to the second."""
    world = module_world_factory(["alpha", "bravo"])
    for machine in world.nodes.values():
        names = " ".join(f"n{number}.test" for number in range(12))
        machine.write("/etc/hosts", f"127.0.0.1 localhost\n{world['bravo'].ipv4} {names}\n")
    return world


def drawn(seed: int) -> str:
    """Return an inventory without keys: star or full mesh, hubs, exits, NAT, preshared keys."""
    dice = random.Random(seed)
    names = [f"n{number}" for number in range(dice.randint(2, 8))]
    star, exits, psk = seed % 2, seed % 3 == 0, seed % 4 < 2
    rows = ['[mesh]\ninterface = "wg0"\nmesh_cidr = ["10.40.0.0/24", "fd40::/64"]']
    if star:
        hubs = ", ".join(f'"{name}"' for name in names[: dice.randint(1, 2)])
        rows.append(f'topology = "star"\nhubs = [{hubs}]')
    if exits:
        rows.append('exit_nodes = ["n0"]\nenable_exit_for_nodes = "all"')
    for number, name in enumerate(names):
        rows.append(f"[node.{name}]")
        rows.append(f'address = ["10.40.0.{number + 1}/24", "fd40::{number + 1}/64"]')
        if number < 2 or dice.random() < 0.6:
            rows.append(f'endpoint = "{name}.test:{51820 + number}"')
        if number == 0:
            rows.append('forwarding = true\nexit_out_iface = "eth0"\nenable_nat = true')
        if dice.random() < 0.4:
            rows.append(f'allowed_ips = ["192.168.{number}.0/24", "fd99:{number}::/48"]')
        if dice.random() < 0.3:
            rows.append(f"persistent_keepalive = {dice.randint(1, 60)}")
        if number and dice.random() < 0.3:
            rows.append("managed = false")
        elif psk:
            rows.append('preshared_key_path = "/etc/wireguard/psk/%p"')
    return "\n".join(rows) + "\n"


def generate(machine: Machine, text: str) -> list[str]:
    """Write the inventory and its files; returns the names of its nodes."""
    machine.run(["rm", "-rf", "/run/mesh"])
    machine.write("/run/mesh/mesh.toml", text)
    machine.wgmesh("gen-keys", "-c", "/run/mesh", "-o", OUT)
    machine.wgmesh("gen", "-c", "/run/mesh", "-o", OUT)
    return [node.name for node in load({"mesh.toml": inventory(machine).encode()}).nodes]


def inventory(machine: Machine) -> str:
    return machine.read("/run/mesh/mesh.toml")


@pytest.mark.parametrize("seed", SHAPES)
def test_wg_quick_and_wg_take_the_file_of_every_node(world: World, seed: int) -> None:
    alpha = world["alpha"]
    names = generate(alpha, drawn(seed))
    mesh = load({"mesh.toml": inventory(alpha).encode()})
    alpha.write("/etc/wireguard/wg0.conf", "[Interface]\n", 0o600)
    alpha.run(["wg-quick", "up", "wg0"])
    try:
        for name in names:
            alpha.run(["install", "-m", "0600", f"{OUT}/{name}.conf", "/etc/wireguard/wg0.conf"])
            stripped = alpha.run(["wg-quick", "strip", "wg0"])
            assert stripped.stderr == ""
            alpha.run(["wg", "setconf", "wg0", "/dev/stdin"], stdin=stripped.stdout)
            planned = plan(mesh, name)
            found = kernel.dump(alpha)
            for peer in planned.peers:
                endpoint, allowed, _, keepalive, _ = found.pop(peer.public_key)
                where = f"{world['bravo'].ipv4}:{peer.endpoints[0].port}" if peer.endpoints else ""
                assert endpoint == (where or "(none)")
                assert {ip_network(each) for each in allowed.split()} == set(peer.allowed_ips)
                assert keepalive == str(peer.persistent_keepalive or "off")
            assert set(found) == {""}
            assert alpha.run(["wg", "show", "wg0", "public-key"]).stdout.strip() == (
                planned.public_key
            )
    finally:
        alpha.run(["wg-quick", "down", "wg0"])


MESH = """\
[mesh]
interface = "wg0"
mesh_cidr = ["10.40.0.0/24", "fd40::/64"]
exit_nodes = ["n0"]
[node.n0]
address = ["10.40.0.1/32", "fd40::1/128"]
endpoint = "n0.test:51820"
forwarding = true
nat_iface = "eth0"
exit_out_iface = "eth0"
enable_nat = true
preshared_key_path = "/etc/wireguard/%p.psk"
[node.n1]
address = ["10.40.0.2/32", "fd40::2/128"]
preshared_key_path = "/etc/wireguard/%p.psk"
"""


def state(machine: Machine) -> tuple[list[str], list[str]]:
    """Return routes and rules, without what the kernel adds for a node that forwards IPv6."""
    return [r for r in kernel.routes(machine) if "table 255" not in r], kernel.rules(machine)


def test_two_machines_talk_and_leave_nothing(world: World) -> None:
    """n0, on bravo, forwards and translates; both ends have a preshared key on the machine."""
    alpha, bravo = world["alpha"], world["bravo"]
    generate(alpha, MESH)
    psk = alpha.run(["wg", "genpsk"]).stdout
    # one end has its private key in the file, the other takes it from where it lies
    alpha.run(["mv", f"{OUT}/keys/n1.key", "/etc/wireguard/wg0.key"])
    alpha.wgmesh("gen", "-c", "/run/mesh", "-o", OUT)
    before = {}
    for machine, name, peer in ((alpha, "n1", "n0"), (bravo, "n0", "n1")):
        config = alpha.read(f"{OUT}/{name}.conf")
        assert ("PrivateKey" in config) == (name == "n0")
        machine.write("/etc/wireguard/wg0.conf", config, 0o600)
        machine.write(f"/etc/wireguard/{peer}.psk", psk, 0o600)
        before[name] = state(machine)
    bravo.run(["wg-quick", "up", "wg0"])
    alpha.run(["wg-quick", "up", "wg0"])
    for address in ("10.40.0.1", "fd40::1"):
        alpha.run(["ping", "-c", "1", "-W", "5", address])
    assert kernel.dump(alpha).popitem()[1][4] != "(none)"
    listed = bravo.run(["nft", "list", "table", "inet", "wgmesh"]).stdout
    assert 'iifname "wg0"' in listed and "masquerade" in listed
    assert bravo.run(["sysctl", "-n", "net.ipv4.ip_forward"]).stdout.strip() == "1"
    for machine, name in ((alpha, "n1"), (bravo, "n0")):
        machine.run(["wg-quick", "down", "wg0"])
        assert state(machine) == before[name]
        assert "wgmesh" not in machine.run(["nft", "list", "ruleset"]).stdout


def test_a_node_that_uses_an_exit(world: World) -> None:
    """wg-quick makes the way out of the default routes in AllowedIPs, and takes it back."""
    alpha = world["alpha"]
    generate(alpha, MESH.replace('["n0"]', '["n0"]\nenable_exit_for_nodes = "all"'))
    config = alpha.read(f"{OUT}/n1.conf")
    alpha.write("/etc/wireguard/n0.psk", alpha.run(["wg", "genpsk"]).stdout, 0o600)
    alpha.write("/etc/wireguard/wg0.conf", config, 0o600)
    before = state(alpha)
    alpha.run(["wg-quick", "up", "wg0"])
    for address in ("203.0.113.1", "2001:db8:ffff::1"):
        assert " dev wg0 " in alpha.run(["ip", "route", "get", address]).stdout
    assert "dev eth0" in alpha.run(["ip", "route", "get", world["bravo"].ipv4]).stdout
    alpha.run(["wg-quick", "down", "wg0"])
    assert state(alpha) == before
