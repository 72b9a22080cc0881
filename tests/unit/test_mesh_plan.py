"""One node's share: keepalives, keys, routes, sysctls, hooks, exits."""

import random
import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given

from tests.unit.mesh_inventories import inventories, inventory, key, node, star
from wgmesh.errors import WgmeshError
from wgmesh.mesh.compat import compat
from wgmesh.mesh.plan import find_node, plan
from wgmesh.mesh.topology import layout
from wgmesh.model.inventory import Inventory
from wgmesh.model.plan import ExitCandidate, ExitPlan, NodePlan, Peer
from wgmesh.model.terms import Endpoint, ExitPolicy, OnNoExit, Prefix
from wgmesh.render import files


def peer(of: NodePlan, name: str) -> Peer:
    return next(peer for peer in of.peers if peer.name == name)


def routes(of: NodePlan) -> list[str]:
    assert {route.device for route in of.routes} == {of.interface}
    return [str(route.prefix) for route in of.routes]


def keepalives(mesh: Inventory, name: str) -> dict[str, int]:
    return {peer.name: peer.persistent_keepalive for peer in plan(mesh, name).peers}


def test_the_interface_has_addresses_of_host_length_whatever_the_inventory_says() -> None:
    share = plan(inventory(node("alpha"), port=1, mtu=1380), "alpha")
    assert share.addresses == (ip_interface("10.40.0.1/32"), ip_interface("fd40::1/128"))
    assert (share.mtu, share.listen_port, share.fwmark, share.rules) == (1380, 51820, 0, ())
    assert share.private_key_path == "/etc/wireguard/wg0.key"
    elsewhere = plan(inventory(node("alpha")), "alpha", private_key_path="/etc/wireguard/x.key")
    assert elsewhere.private_key_path == "/etc/wireguard/x.key"


def test_keepalive_is_the_nodes_own_need_on_its_own_side() -> None:
    mesh = inventory(node("alpha", endpoint=None), node("bravo"), node("charlie"))
    assert keepalives(mesh, "alpha") == {"bravo": 25, "charlie": 25}
    assert keepalives(mesh, "bravo") == {"alpha": 0, "charlie": 0}
    mesh = inventory(
        node("alpha", endpoint=None, persistent_keepalive=7), node("bravo", persistent_keepalive=9)
    )
    assert keepalives(mesh, "alpha") == {"bravo": 7}
    assert keepalives(mesh, "bravo") == {"alpha": 9}


def test_a_spoke_behind_nat_cannot_keep_a_hub_awake_that_it_cannot_dial() -> None:
    mesh = star(node("alpha", endpoint=None), node("bravo", endpoint=None))
    assert keepalives(mesh, "bravo") == {"alpha": 0}


def test_endpoints_are_the_first_and_its_alternatives_and_none_behind_nat() -> None:
    spare = (Endpoint("alpha-b.example.com", 1), Endpoint("2001:db8::1", 2))
    mesh = inventory(node("alpha", endpoint_alt=spare), node("bravo", endpoint=None))
    assert peer(plan(mesh, "bravo"), "alpha").endpoints == (Endpoint("192.0.2.1", 51820), *spare)
    assert peer(plan(mesh, "alpha"), "bravo").endpoints == ()


def test_a_tunnel_has_a_preshared_key_when_both_ends_name_one() -> None:
    mesh = inventory(
        node("alpha", preshared_key_path="/etc/wireguard/psk/%p"),
        node("bravo", preshared_key_path="/psk/of-%p-%p"),
        node("charlie"),
    )
    share = plan(mesh, "alpha")
    assert peer(share, "bravo").preshared_key_path == "/etc/wireguard/psk/bravo"
    assert peer(share, "charlie").preshared_key_path is None
    assert peer(plan(mesh, "bravo"), "alpha").preshared_key_path == "/psk/of-alpha-alpha"
    assert peer(plan(mesh, "charlie"), "alpha").preshared_key_path is None


def test_routes_are_the_mesh_and_what_lies_behind_others() -> None:
    def lans(*texts: str) -> tuple[Prefix, ...]:
        return tuple(map(ip_network, texts))

    mesh = inventory(
        node("alpha", allowed_ips=lans("192.168.9.0/24", "172.16.0.0/12")),
        node("bravo", allowed_ips=lans("192.168.1.0/24", "10.40.0.128/25", "fd99::/48")),
        node("charlie", allowed_ips=lans("0.0.0.0/0", "::/0", "10.0.0.0/8")),
    )
    share = plan(mesh, "alpha")
    assert routes(share) == [
        "10.0.0.0/8",
        "10.40.0.0/24",
        "192.168.1.0/24",
        "fd40::/64",
        "fd99::/48",
    ]
    assert ip_network("0.0.0.0/0") in peer(share, "charlie").allowed_ips
    assert ip_network("::/0") in peer(share, "charlie").allowed_ips
    assert "172.16.0.0/12" in routes(plan(mesh, "bravo"))


def test_no_route_leads_to_what_no_peer_carries() -> None:
    hidden = node("bravo", endpoint=None, allowed_ips=(ip_network("192.168.1.0/24"),))
    mesh = inventory(node("alpha", endpoint=None), hidden)
    assert routes(plan(mesh, "alpha")) == ["10.40.0.0/24", "fd40::/64"]


def test_who_forwards_sets_the_families_that_it_carries() -> None:
    both = (("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1"))
    assert plan(star(node("alpha"), node("bravo")), "alpha").sysctls == both
    assert plan(star(node("alpha"), node("bravo")), "bravo").sysctls == ()
    forwarder = node("alpha", forwarding=True)
    only_v6 = inventory(forwarder, mesh_cidr=(ip_network("fd40::/64"),))
    assert plan(only_v6, "alpha").sysctls == both[1:]
    only_v4 = inventory(forwarder, mesh_cidr=(ip_network("10.40.0.0/24"),))
    assert plan(only_v4, "alpha").sysctls == both[:1]
    lan = replace(forwarder, allowed_ips=(ip_network("fd99::/48"),))
    assert plan(replace(only_v4, nodes=(lan,)), "alpha").sysctls == both


def test_an_outward_interface_keeps_its_advertised_default_route() -> None:
    outward = node("alpha", forwarding=True, nat_iface="eth0.100", exit_out_iface="ens3")
    assert plan(inventory(outward), "alpha").sysctls == (
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.eth0/100.accept_ra", "2"),
        ("net.ipv6.conf.all.forwarding", "1"),
    )
    exit_node = node("alpha", exit_out_iface="ens3", enable_nat=True)
    assert plan(inventory(exit_node, exit_nodes=("alpha",)), "alpha").sysctls == (
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.ens3.accept_ra", "2"),
        ("net.ipv6.conf.all.forwarding", "1"),
    )
    assert plan(inventory(exit_node), "alpha").sysctls == ()


@pytest.mark.parametrize("name", ["", "..", 'a" accept', "eth*", "a/b", "a b", "sixteen-letters-"])
def test_an_interface_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(WgmeshError, match="cannot be the name"):
        plan(inventory(node("alpha", nat_iface=name)), "alpha")


def test_hooks_are_obeyed_only_where_they_are_allowed() -> None:
    mesh = inventory(node("alpha", post_up="ip link show %i", post_down="true"))
    assert (plan(mesh, "alpha").post_up, plan(mesh, "alpha").post_down) == (None, None)
    share = plan(mesh, "alpha", allow_hooks=True)
    assert (share.post_up, share.post_down) == ("ip link show wg0", "true")


def test_exits_are_offered_to_who_uses_them_in_the_inventorys_order() -> None:
    mesh = inventory(
        node("alpha"),
        node("bravo", endpoint=None),
        node("charlie"),
        node("delta", endpoint=None),
        exit_nodes=("delta", "charlie", "alpha"),
        exit_primary="alpha",
        exit_policy=ExitPolicy.MANUAL,
        exit_check_interval_seconds=30,
        exit_test_target=(ip_address("1.1.1.1"),),
        enable_exit_for_nodes=("bravo", "charlie"),
        on_no_exit=OnNoExit.DIRECT,
    )
    offered = plan(mesh, "bravo").exits
    addresses = {n.name: tuple(a.ip for a in n.address) for n in mesh.nodes}
    assert offered == ExitPlan(
        candidates=(  # delta is behind NAT like bravo: no tunnel leads there
            ExitCandidate("charlie", key("charlie"), addresses["charlie"]),
            ExitCandidate("alpha", key("alpha"), addresses["alpha"]),
        ),
        primary="alpha",
        policy=ExitPolicy.MANUAL,
        check_interval_seconds=30,
        test_target=(ip_address("1.1.1.1"),),
        on_no_exit=OnNoExit.DIRECT,
    )
    assert plan(mesh, "alpha").exits is None
    assert plan(mesh, "charlie").exits is None


def test_a_node_is_found_by_its_key() -> None:
    mesh = inventory(node("alpha"), node("bravo"))
    assert find_node(mesh, key("bravo")) == node("bravo")
    assert find_node(mesh, key("charlie")) is None


def test_a_node_that_is_unknown_or_has_no_key_has_no_plan() -> None:
    mesh = inventory(node("alpha", public_key=None), node("bravo"))
    with pytest.raises(WgmeshError, match="node alpha has no public_key"):
        plan(mesh, "alpha")
    with pytest.raises(WgmeshError, match="no node zulu"):
        plan(mesh, "zulu")


@given(inventories())
def test_the_order_of_nodes_does_not_matter(mesh: Inventory) -> None:
    shuffled = replace(mesh, nodes=tuple(random.Random(1).sample(mesh.nodes, len(mesh.nodes))))
    for own in mesh.nodes:
        assert plan(shuffled, own.name) == plan(mesh, own.name)


@given(inventories())
def test_no_two_peers_have_the_same_prefix_and_all_is_sorted(mesh: Inventory) -> None:
    for own in mesh.nodes:
        share = plan(mesh, own.name)
        carried = [prefix for peer in share.peers for prefix in peer.allowed_ips]
        assert len(carried) == len(set(carried))
        assert [peer.name for peer in share.peers] == sorted(peer.name for peer in share.peers)


def big(count: int) -> Inventory:
    """Return a full mesh in which every third node is behind NAT and every node has a LAN."""
    usual = node("alpha")
    nodes = (
        replace(
            usual,
            name=f"n{number}",
            public_key=key(f"n{number}"),
            address=(ip_interface(167772160 + number), ip_interface((0xFD << 120) + number)),
            endpoint=Endpoint(f"n{number}.example.com", 51820) if number % 3 else None,
            forwarding=number == 1,
            allowed_ips=(ip_network((3221225472 + 256 * number, 24)),),
        )
        for number in range(1, count + 1)
    )
    cidrs = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    return replace(inventory(*nodes), mesh=replace(inventory().mesh, mesh_cidr=cidrs))


@pytest.mark.parametrize(("count", "seconds"), [(1000, 0.5), (10000, 4)])
def test_cost_of_one_nodes_share(count: int, seconds: float) -> None:
    mesh, moved = big(count), big(count)
    moved = replace(moved, nodes=tuple(replace(n, address=n.address[::-1]) for n in moved.nodes))
    files(plan(inventory(node("alpha")), "alpha"))  # load jinja2 and the templates
    start = time.process_time()
    for name in ("n3", "n1"):
        share = plan(mesh, name)
        files(share)
        mine, theirs = layout(mesh), layout(moved)
        for peer in share.peers:
            assert compat(mine, share.public_key, theirs, peer.public_key) == 0
    assert (time.process_time() - start) / 2 < seconds
