"""Meshes of every shape come up by join and sync, and carry packets between every two nodes."""

from functools import partial
from ipaddress import ip_address

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

FOUR = ("alpha", "bravo", "charlie", "delta")
FORMER = "/run/wgmesh/sysctl.former"
ENDPOINTS = "/etc/wireguard/wgmesh.d/endpoints"


def endpoint(machine: Machine, public_key: str) -> str:
    """Return the endpoint that a device has for a peer."""
    return kernel.dump(machine)[public_key][0]


def keepalive(machine: Machine, public_key: str) -> str:
    """Return the keepalive that a device has for a peer."""
    return kernel.dump(machine)[public_key][3]


def key(machine: Machine) -> str:
    """Return a machine's public key."""
    return machine.run(["wg", "show", "wg0", "public-key"]).stdout.strip()


def single_family(mesh: Mesh, cidr: str) -> None:
    """Give the mesh one prefix only."""
    mesh.commit({"mesh.toml": f'[mesh]\ninterface = "wg0"\nmesh_cidr = "{cidr}"\n'}, "One family")


def test_every_pair_of_a_full_mesh_of_four(world_factory: WorldFactory) -> None:
    mesh = Mesh(world_factory(FOUR))
    mesh.bring_up(*FOUR)
    mesh.sync()
    keys = {name: key(mesh.world[name]) for name in FOUR}
    for name in FOUR:
        peers = kernel.dump(mesh.world[name])
        assert peers.keys() - {""} == set(keys.values()) - {keys[name]}
        for other in set(FOUR) - {name}:
            own = f"{mesh.address(other)}/32 {mesh.address(other, 6)}/128"
            where = f"{mesh.world[other].ipv4}:51820"
            assert peers[keys[other]][:2] == (where, own)
            assert keepalive(mesh.world[name], keys[other]) == "off"
        status = mesh.status(name)
        assert (status["state"], status["reasons"], status["drift"]) == ("in-sync", [], [])
        assert {peer["state"] for peer in status["peers"]} == {"up"}
        assert status["hub"] is None
        # nobody forwards, so nothing was set
        assert not mesh.world[name].exists(FORMER)
        assert kernel.firewall(mesh.world[name]) == ""


def test_spokes_of_a_star_reach_each_other_through_the_hub(world_factory: WorldFactory) -> None:
    mesh = Mesh(world_factory(FOUR))
    mesh.enrol(*FOUR)
    mesh.commit({"mesh.toml": f'{mesh.text}topology = "star"\nhubs = ["alpha"]\n'}, "A star")
    hub, spokes = mesh.world["alpha"], FOUR[1:]
    before = kernel.sysctls(hub)
    mesh.sync()
    mesh.wait_for_tunnels()
    mesh.sync()
    assert len(kernel.dump(hub)) == 4  # the device and three peers
    for name in spokes:
        device = kernel.dump(mesh.world[name])
        assert device.keys() - {""} == {key(hub)}
        assert "10.40.0.0/24" in device[key(hub)][1]
        assert mesh.status(name)["hub"] == "alpha"
        assert not mesh.world[name].exists(FORMER)
    assert mesh.status("alpha")["state"] == "in-sync"

    forwarding = {"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"}
    values = dict(line.split(" = ") for line in kernel.sysctls(hub))
    assert {values[name] for name in forwarding} == {"1"}
    assert set(hub.read(FORMER).splitlines()) == {f"{name}=0" for name in forwarding}
    assert "net.ipv4.ip_forward = 0" in before

    # the hub is the way, indeed: without its forwarding the spokes part
    hub.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"])
    assert not mesh.pings("bravo", "charlie")
    assert any("ip_forward" in entry for entry in mesh.status("alpha")["drift"])
    hub.wgmesh("reconcile")
    wait_until(partial(mesh.pings, "bravo", "charlie"), 20, "the hub forwards again")


def test_nodes_behind_nat(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo"], nat=["charlie", "delta"])
    mesh = Mesh(world)
    mesh.enrol(*FOUR, alpha={"forwarding": True})
    mesh.sync()
    alpha, bravo, charlie, delta = (world[name] for name in FOUR)
    mesh.wait_for_tunnels()  # every pair: charlie and delta by way of alpha
    mesh.sync()
    keys = {name: key(world[name]) for name in FOUR}

    for behind in (charlie, delta):
        assert kernel.dump(behind).keys() - {""} == {keys["alpha"], keys["bravo"]}
        for public in (alpha, bravo):
            # the keepalive is on the side that needs it, and there only
            assert keepalive(behind, keys[public.name]) == "25"
            assert keepalive(public, keys[behind.name]) == "off"
            assert endpoint(behind, keys[public.name]) == f"{public.ipv4}:51820"
            host, _, port = endpoint(public, keys[behind.name]).rpartition(":")
            assert host == behind.public_ipv4
            assert port != "51820", "the router is one that changes ports"
    assert keepalive(alpha, keys["bravo"]) == keepalive(bravo, keys["alpha"]) == "off"
    assert alpha.run(["sysctl", "-n", "net.ipv4.ip_forward"]).stdout == "1\n"
    for name in FOUR:
        status = mesh.status(name)
        assert (status["state"], status["drift"]) == ("in-sync", []), status
    assert not {peer["endpoint_source"] for peer in mesh.status("alpha")["peers"]} - {
        "inventory",
        "roamed",
    }


def test_a_mesh_of_ipv4_alone(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo"], ipv6=False)
    for machine in world.nodes.values():  # as on many a server
        machine.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])
        machine.run(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])
    mesh = Mesh(world)
    single_family(mesh, "10.40.0.0/24")
    mesh.enrol(
        "alpha",
        "bravo",
        alpha={"address": "10.40.0.1/32", "forwarding": True},
        bravo={"address": "10.40.0.2/32"},
    )
    mesh.sync()
    for one, other in (("alpha", "bravo"), ("bravo", "alpha")):
        wait_until(partial(mesh.pings, one, other), 20, f"{one} reaches {other}")
    assert mesh.status("alpha")["state"] == "in-sync"
    assert [entry for entry in kernel.addresses(world["alpha"]) if entry[0] == "wg0"] == [
        ("wg0", "10.40.0.1", 32, "global", [])
    ]
    assert world["alpha"].read(FORMER) == "net.ipv4.ip_forward=0\n"


def test_a_mesh_of_ipv6_alone_over_ipv6(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo"])
    mesh = Mesh(world)
    single_family(mesh, "fd40::/64")
    mesh.enrol(
        "alpha",
        "bravo",
        alpha={
            "address": "fd40::1/128",
            "endpoint": f"[{world['alpha'].ipv6}]",
            "forwarding": True,
        },
        bravo={"address": "fd40::2/128", "endpoint": "bravo6.example.net:51820"},
    )
    mesh.sync()
    for one, other in (("alpha", "bravo"), ("bravo", "alpha")):
        wait_until(partial(mesh.pings, one, other, 6), 20, f"{one} reaches {other}")
    assert mesh.status("alpha")["state"] == "in-sync"
    assert {address for link, address, *_ in kernel.addresses(world["alpha"]) if link == "wg0"} == {
        "fd40::1"
    }
    found = endpoint(world["alpha"], key(world["bravo"]))
    assert found == f"[{world['bravo'].ipv6}]:51820"
    assert ip_address(found.partition("]")[0].strip("[")).version == 6
    assert world["alpha"].read(FORMER) == "net.ipv6.conf.all.forwarding=0\n"
    assert mesh.pings("alpha", "bravo", 6)
    world["alpha"].wgmesh("sync")
    assert f"[{world['bravo'].ipv6}]:51820" in world["alpha"].read(ENDPOINTS)


def test_named_endpoints(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo", "charlie"])
    mesh = Mesh(world)
    alpha, bravo, charlie = world["alpha"], world["bravo"], world["charlie"]
    mesh.enrol(
        "alpha",
        "bravo",
        "charlie",
        bravo={"endpoint": "bravo.example.net:51820"},
        charlie={"endpoint": "charlie.example.org"},  # nobody knows that name
    )
    for machine in (bravo, charlie):  # alpha's resolver is dead, theirs refuses at once
        machine.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    bravo.wgmesh("sync")
    done = alpha.wgmesh("sync")
    assert "charlie.example.org does not resolve" in done.stderr
    configuration = alpha.read("/etc/wireguard/wg0.conf").splitlines()
    assert "# Endpoint = bravo.example.net:51820" in configuration
    assert "# Endpoint = charlie.example.org:51820" in configuration
    assert not [line for line in configuration if line.startswith("Endpoint")]
    bravo_key = key(bravo)
    charlie_key = charlie.run(["wg", "pubkey"], stdin=charlie.read("/etc/wireguard/wg0.key")).stdout
    assert endpoint(alpha, bravo_key) == f"{bravo.ipv4}:51820"
    assert endpoint(alpha, charlie_key.strip()) == "(none)"
    wait_until(partial(mesh.pings, "alpha", "bravo"), 20, "a name delays only its own peer")

    alpha.write("/etc/resolv.conf", bravo.read("/etc/resolv.conf"))
    alpha.wgmesh("sync")
    known = f"{bravo_key} {bravo.ipv4}:51820 bravo.example.net:51820\n"
    assert alpha.read(ENDPOINTS) == known
    assert mesh.status("alpha")["drift"] == []

    hosts = alpha.read("/etc/hosts")
    alpha.write("/etc/hosts", f"{hosts}{charlie.ipv4} charlie.example.org\n")
    alpha.wgmesh("sync")
    assert endpoint(alpha, charlie_key.strip()) == f"{charlie.ipv4}:51820"
    charlie.wgmesh("sync")
    wait_until(partial(mesh.pings, "alpha", "charlie"), 20, "the late one is reached as well")


@pytest.mark.parametrize("family", [4, 6])
def test_an_endpoint_whose_name_has_both_families(world_factory: WorldFactory, family: int) -> None:
    """The resolver's order rules, and an address of a family that is not there is of no use."""
    world = world_factory(["alpha", "bravo"], ipv6=family == 6)
    alpha, bravo = world["alpha"], world["bravo"]
    mesh = Mesh(world)
    mesh.enrol("alpha", "bravo", bravo={"endpoint": "both.example.org"})
    both = f"2001:db8::12 both.example.org\n{bravo.ipv4} both.example.org\n"
    for machine in (alpha, bravo):
        machine.write("/etc/hosts", machine.read("/etc/hosts") + both)
    alpha.wgmesh("sync")
    bravo.wgmesh("sync")
    wait_until(partial(mesh.pings, "alpha", "bravo"), 20, "alpha reaches bravo")
