"""Who reaches whom, as `wgmesh plan` says it, held against who pings whom in real meshes.

Twenty generated inventories, one after another on the same machines: the files of a generation as
rendered, brought up by wg-quick and wgmesh-net as at a boot. Some are worse than `validate` lets
through, so that there is something to predict: no relay, a hub behind NAT.
"""

import subprocess
from collections.abc import Callable, Iterable
from ipaddress import ip_interface, ip_network
from random import Random

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh as LabMesh
from tests.lab.wait import wait_until
from tests.lab.world import World
from wgmesh.mesh import ways
from wgmesh.mesh.plan import plan
from wgmesh.mesh.reach import ADDRESSES, findings
from wgmesh.model.inventory import Inventory, Mesh, Node
from wgmesh.model.terms import Endpoint, HubSelection, Topology
from wgmesh.render import files

PUBLIC, HIDDEN = ("alpha", "bravo", "charlie"), ("delta", "echo", "foxtrot")
NAMES = (*PUBLIC, *HIDDEN)
SEEDS = range(20)
SHAPES = ("full mesh", "star", "hubs", "nested")

Ping = tuple[str, str]
"""From which node to which address."""

DOWN = """
[ ! -e /sys/class/net/wg0 ] || wg-quick down wg0 2>/dev/null
nft delete table inet wgmesh 2>/dev/null || :
ip -4 addr flush dev lo scope global
ip -6 addr flush dev lo scope global
echo 0 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv6/conf/all/forwarding
rm -f /run/wgmesh/sysctl.former
"""
UP = f"""
wg-quick up wg0 2>/dev/null
sh {CHECKOUT}/systemd/wgmesh-net up wg0
"""
TRY = """
for address in {addresses}; do
    (
        left={times}
        while [ $left -gt 0 ]; do
            if ping -n -q -c 1 -W 0.5 "$address" >/dev/null 2>&1; then echo "$address"; break; fi
            left=$((left - 1))
            sleep 0.1
        done
    ) &
done
wait
"""


@pytest.fixture(scope="module")
def world(module_world_factory: WorldFactory) -> World:
    """Make the machines, three of them behind NAT, and give each a key."""
    world = module_world_factory(PUBLIC, nat=HIDDEN)
    for machine in world.nodes.values():
        machine.write("/etc/wireguard/wg0.key", machine.run(["wg", "genkey"]).stdout, 0o600)
        machine.run(["mkdir", "-p", "/etc/wireguard/wgmesh.d/boot"])
        machine.run(["ln", "-s", "wgmesh.d/boot/wg0.conf", "/etc/wireguard/wg0.conf"])
    return world


def drawn(seed: int, world: World, keys: dict[str, str]) -> Inventory:
    """Return the inventory of that number: each shape in turn, the rest by chance."""
    random = Random(seed)
    shape = SHAPES[seed % len(SHAPES)]
    nested = shape == "nested"
    names = sorted(NAMES if nested else random.sample(NAMES, random.randint(4, 6)))
    hubs: list[str] = []
    if nested:
        hubs = random.sample(PUBLIC, 2)
    elif shape != "full mesh":
        hubs = random.sample(names, 1 if shape == "star" else random.randint(2, 3))
    inside = random.choice([name for name in names if name not in hubs])
    nodes = []
    for name in names:
        number = 10 * (1 + NAMES.index(name))
        families = (4, 6) if nested else random.choice([(4, 6), (4, 6), (4, 6), (4,), (6,)])
        # Of its own families: else it would speak from its address in the network.
        networks = {4: f"192.168.{number}.0/24", 6: f"fd99:{number}::/64"}
        behind = [networks[family] for family in families if random.random() < 0.3]
        if nested and name == hubs[1]:  # a hub not in force has a prefix in which a spoke lives
            other = 10 * (1 + NAMES.index(inside))
            behind = [random.choice([f"10.40.0.{other}/31", f"fd40::{other:x}/127"])]
        public = LabMesh.is_public(world[name]) and (nested or random.random() < 0.85)
        addresses = {4: f"10.40.0.{number}/32", 6: f"fd40::{number:x}/128"}
        nodes.append(
            Node(
                name=name,
                address=tuple(ip_interface(addresses[family]) for family in families),
                public_key=keys[name],
                endpoint=Endpoint(world[name].ipv4, 51820) if public else None,
                listen_port=51820,
                allowed_ips=tuple(map(ip_network, behind)),
                forwarding=random.random() < 0.3,
            )
        )
    mesh = Mesh(
        interface="wg0",
        mesh_cidr=(ip_network("10.40.0.0/24"), ip_network("fd40::/64")),
        topology=Topology.STAR if hubs else Topology.FULLMESH,
        hubs=tuple(hubs),
        hub_selection=HubSelection.STATIC,
    )
    return Inventory(mesh, tuple(nodes))


def predicted(mesh: Inventory) -> dict[Ping, bool]:
    """Return which packets pass, to every address and one in every network, by the plans."""
    of = ways.atlas(mesh)
    return {
        (one.name, str(place.address)): ways.way(of, one, other, place).cause is None
        for one in mesh.nodes
        for other in mesh.nodes
        if one is not other
        for place in ways.places(of, other)
    }


def scripts(machines: Iterable[tuple[Machine, str]]) -> list[str]:
    """Run a script on each machine, all at once; each must succeed. Returns what they said."""
    running = [
        (machine, text, machine.popen(["sh", "-e"], stdin=subprocess.PIPE))
        for machine, text in machines
    ]
    for _, text, child in running:
        assert child.stdin is not None
        child.stdin.write(text)
        child.stdin.close()
        child.stdin = None
    said = []
    for machine, text, child in running:
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, f"{machine.name}: {err}\n{text}"
        said.append(out)
    return said


def set_up(world: World, mesh: Inventory) -> None:
    """Let the machines run `mesh`: those that others look for first."""
    of = ways.atlas(mesh)
    texts = {}
    for node in mesh.nodes:
        made = files(plan(mesh, node.name))
        write = "".join(
            f"cat > /etc/wireguard/wgmesh.d/boot/{name} <<'END OF FILE'\n{made[name].decode()}"
            "END OF FILE\n"
            for name in ("wg0.conf", "wgmesh.nft")
        )
        lan = "".join(
            f"ip addr add {place.address}/{place.address.max_prefixlen} dev lo\n"
            for place in ways.places(of, node)
            if place.network is not None
        )
        texts[node.name] = f"umask 077\n{write}{lan}{UP}"
    scripts((machine, DOWN) for machine in world.nodes.values())
    for names in (PUBLIC, HIDDEN):
        scripts((world[name], texts[name]) for name in names if name in texts)


def answered(world: World, pings: Iterable[Ping], times: int) -> set[Ping]:
    """Return which of the pings are answered, all sent at once, each up to so many times."""
    targets: dict[str, list[str]] = {}
    for name, address in pings:
        targets.setdefault(name, []).append(address)
    said = scripts(
        (world[name], TRY.format(addresses=" ".join(each), times=times))
        for name, each in targets.items()
    )
    return {
        (name, address)
        for name, text in zip(targets, said, strict=True)
        for address in text.split()
    }


def missing(world: World, wanted: set[Ping]) -> Callable[[], bool]:
    """Return a question that tries what has not been answered yet."""
    left = set(wanted)

    def done() -> bool:
        nonlocal left
        left -= answered(world, left, 1)
        return not left

    return done


def test_the_generated_meshes_are_of_all_kinds(world: World) -> None:
    keys = {name: name for name in NAMES}
    every = [drawn(seed, world, keys) for seed in SEEDS]
    apart = [{each.why.split(" ", 1)[0] for each in findings(None, mesh).apart} for mesh in every]
    assert sum(bool(each) for each in apart) >= 8
    assert sum(not each for each in apart) >= 4
    passes = [passed for mesh in every for passed in predicted(mesh).values()]
    assert passes.count(True) > 200 < passes.count(False)
    assert any(each.endpoint is None for mesh in every for each in mesh.nodes)
    assert any(findings(None, mesh).askew for mesh in every)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_predicted_is_what_pings(world: World, seed: int) -> None:
    keys = {
        name: machine.run(["sh", "-c", "wg pubkey < /etc/wireguard/wg0.key"]).stdout.strip()
        for name, machine in world.nodes.items()
    }
    mesh = drawn(seed, world, keys)
    expected = predicted(mesh)
    set_up(world, mesh)
    reached = {ping for ping, passes in expected.items() if passes}
    wait_until(missing(world, reached), 20, f"{SHAPES[seed % 4]}: what is predicted pings")
    assert answered(world, expected.keys() - reached, 3) == set()
    assert answered(world, reached, 3) == reached


def test_a_network_of_a_family_that_its_node_does_not_have(world: World) -> None:
    """It is reached; whether the node itself speaks that family, its own addresses decide."""
    addresses = {"alpha": "10.40.0.10/32", "bravo": "fd40::20/128"}
    nodes = tuple(
        Node(
            name=name,
            address=(ip_interface(address),),
            public_key=world[name]
            .run(["sh", "-c", "wg pubkey < /etc/wireguard/wg0.key"])
            .stdout.strip(),
            endpoint=Endpoint(world[name].ipv4, 51820),
            listen_port=51820,
            allowed_ips=(ip_network("192.168.20.0/24"),) if name == "bravo" else (),
        )
        for name, address in addresses.items()
    )
    cidrs = (ip_network("10.40.0.0/24"), ip_network("fd40::/64"))
    mesh = Inventory(Mesh(interface="wg0", mesh_cidr=cidrs), nodes)
    there, back = findings(None, mesh).apart
    assert (there.one, there.over) == (("alpha",), ADDRESSES)
    assert back.why.endswith("unless bravo speaks from one in 192.168.20.0/24")
    set_up(world, mesh)
    network, home = ("alpha", "192.168.20.0"), ("bravo", "10.40.0.10")
    wait_until(missing(world, {network}), 20, "the network behind bravo is reached")
    assert answered(world, {network, ("alpha", "fd40::20")}, 3) == {network}
    assert answered(world, {home}, 3) == {home}, "from the address that bravo has there"
    world["bravo"].run(["ip", "addr", "flush", "dev", "lo", "scope", "global"])
    assert answered(world, {home}, 3) == set()
