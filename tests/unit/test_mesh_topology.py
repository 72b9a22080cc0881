"""Who peers with whom, and whether packets find their way: full mesh, NAT, star."""

from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise

import pytest
from hypothesis import given

from tests.unit.mesh_inventories import NAMES, inventories, inventory, node, star
from tests.unit.mesh_packets import all_plans, path
from wgmesh.mesh.plan import plan
from wgmesh.mesh.topology import outside, sort
from wgmesh.model.inventory import Inventory

LAN = {name: (ip_network(f"192.168.{n}.0/24"),) for n, name in enumerate(NAMES)}


def peers(inventory: Inventory, name: str) -> list[str]:
    return [peer.name for peer in plan(inventory, name).peers]


def allowed(inventory: Inventory, name: str, peer: str) -> list[str]:
    found = next(p for p in plan(inventory, name).peers if p.name == peer)
    return [str(prefix) for prefix in found.allowed_ips]


def paths(inventory: Inventory) -> dict[tuple[str, str], list[str]]:
    """Return the way of packets between each pair, which must be the same for all addresses."""
    plans = all_plans(inventory)
    found = {}
    for one in inventory.nodes:
        for other in inventory.nodes:
            if one.name == other.name:
                continue
            sources = [a.ip for a in one.address] + [p[1] for p in one.allowed_ips]
            targets = [a.ip for a in other.address] + [p[1] for p in other.allowed_ips]
            ways = {
                tuple(path(plans, source, one.name, target, other.name))
                for source in sources
                for target in targets
                if source.version == target.version
            }
            assert len(ways) == 1, (one.name, other.name, ways)
            found[one.name, other.name] = list(ways.pop())
    return found


def test_a_full_mesh_peers_everyone_with_everyone() -> None:
    mesh = inventory(node("alpha", allowed_ips=LAN["alpha"]), node("bravo"), node("charlie"))
    assert peers(mesh, "bravo") == ["alpha", "charlie"]
    assert allowed(mesh, "bravo", "alpha") == ["10.40.0.1/32", "192.168.0.0/24", "fd40::1/128"]
    assert all(way == [a, b] for (a, b), way in paths(mesh).items())


def test_a_node_alone_has_no_peer() -> None:
    assert peers(inventory(node("alpha")), "alpha") == []
    assert peers(star(node("alpha")), "alpha") == []


def test_nodes_behind_nat_reach_one_another_through_the_first_that_forwards() -> None:
    mesh = inventory(
        node("alpha", endpoint=None, allowed_ips=LAN["alpha"]),
        node("bravo"),
        node("charlie", forwarding=True),
        node("delta", forwarding=True),
        node("echo", endpoint=None, allowed_ips=LAN["echo"]),
        node("foxtrot", endpoint=None, forwarding=True),
    )
    assert peers(mesh, "alpha") == ["bravo", "charlie", "delta"]
    assert peers(mesh, "charlie") == ["alpha", "bravo", "delta", "echo", "foxtrot"]
    assert allowed(mesh, "alpha", "charlie") == [
        "10.40.0.3/32",
        "10.40.0.5/32",
        "10.40.0.6/32",
        "192.168.4.0/24",
        "fd40::3/128",
        "fd40::5/128",
        "fd40::6/128",
    ]
    assert allowed(mesh, "alpha", "delta") == ["10.40.0.4/32", "fd40::4/128"]
    assert allowed(mesh, "charlie", "alpha") == ["10.40.0.1/32", "192.168.0.0/24", "fd40::1/128"]
    ways = paths(mesh)
    hidden = {"alpha", "echo", "foxtrot"}
    for (one, other), way in ways.items():
        relayed = {one, other} <= hidden
        assert way == ([one, "charlie", other] if relayed else [one, other])


def test_without_a_forwarder_nodes_behind_nat_are_apart_and_others_are_not() -> None:
    mesh = inventory(node("alpha", endpoint=None), node("bravo"), node("charlie", endpoint=None))
    ways = paths(mesh)
    assert ways["alpha", "charlie"] == []
    assert ways["alpha", "bravo"] == ["alpha", "bravo"]


@pytest.mark.parametrize("hubs", [("alpha",), ("charlie", "alpha"), ("delta", "bravo", "alpha")])
def test_in_a_star_all_reach_all_and_spokes_by_the_hub_in_force(hubs: tuple[str, ...]) -> None:
    nodes = [
        node(name, allowed_ips=LAN[name], endpoint=None)
        if name not in hubs
        else node(name, allowed_ips=LAN[name])
        for name in NAMES
    ]
    mesh = star(*nodes, hubs=hubs)
    for name in NAMES:
        wanted = set(NAMES) if name in hubs else set(hubs)
        assert set(peers(mesh, name)) == wanted - {name}
    for (one, other), way in paths(mesh).items():
        spokes = not {one, other} & set(hubs)
        assert way == ([one, hubs[0], other] if spokes else [one, other])


def test_a_spoke_gives_the_hub_in_force_the_mesh_and_the_other_hub_what_it_owns() -> None:
    mesh = star(
        node("alpha", allowed_ips=LAN["alpha"]),
        node("bravo", allowed_ips=LAN["bravo"]),
        node("charlie", allowed_ips=LAN["charlie"]),
        node("delta", allowed_ips=LAN["delta"]),
        hubs=("bravo", "alpha"),
    )
    assert allowed(mesh, "charlie", "bravo") == [
        "10.40.0.0/24",
        "10.40.0.2/32",
        "192.168.1.0/24",
        "192.168.3.0/24",
        "fd40::/64",
        "fd40::2/128",
    ]
    assert allowed(mesh, "charlie", "alpha") == ["10.40.0.1/32", "192.168.0.0/24", "fd40::1/128"]
    assert allowed(mesh, "alpha", "bravo") == ["10.40.0.2/32", "192.168.1.0/24", "fd40::2/128"]


@given(inventories())
def test_packets_arrive_where_each_hop_can_find_the_next(mesh: Inventory) -> None:
    """Nobody uses an exit here, whose default route would be one more way."""
    mesh = replace(mesh, mesh=replace(mesh.mesh, enable_exit_for_nodes=()))
    dialled = {own.name for own in mesh.nodes if own.endpoint is not None}
    relay = next((own.name for own in mesh.nodes if own.endpoint and own.forwarding), None)
    hubs = mesh.mesh.hubs
    for (one, other), way in paths(mesh).items():
        wanted = [one, other]
        if hubs and not {one, other} & set(hubs):
            wanted = [one, hubs[0], other]
        elif not hubs and not {one, other} & dialled:
            wanted = [one, relay, other] if relay else wanted
        found = all({here, there} & dialled for here, there in pairwise(wanted))
        assert way == (wanted if found else [])


def test_a_node_without_a_key_is_nobodys_peer() -> None:
    mesh = inventory(node("alpha"), node("bravo", public_key=None), node("charlie"))
    assert peers(mesh, "alpha") == ["charlie"]


def test_prefixes_sort_by_family_then_address_and_appear_once() -> None:
    texts = ["fd40::/64", "10.9.0.0/16", "10.40.0.0/24", "10.9.0.0/24", "10.9.0.0/16"]
    assert [str(prefix) for prefix in sort(map(ip_network, texts))] == [
        "10.9.0.0/16",
        "10.9.0.0/24",
        "10.40.0.0/24",
        "fd40::/64",
    ]


def test_outside_drops_what_a_network_contains_and_nothing_else() -> None:
    networks = list(map(ip_network, ["10.40.0.0/24", "fd40::/64"]))
    inside = ["10.40.0.0/24", "10.40.0.128/25", "10.40.0.255/32", "fd40::/64", "fd40::ffff/128"]
    beyond = ["10.40.0.0/23", "10.40.1.0/24", "0.0.0.0/0", "::/0", "fd40:0:0:1::/64", "::/32"]
    assert outside(map(ip_network, inside), networks) == []
    assert outside(map(ip_network, beyond), networks) == sort(map(ip_network, beyond))
