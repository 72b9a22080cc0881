"""A link's digest: alike at both ends, and changed exactly when its definition is."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mesh_inventories import inventories, inventory, key, node, star
from tests.unit.mesh_packets import all_plans
from wgmesh.errors import WgmeshError
from wgmesh.mesh.compat import link_digests
from wgmesh.model import Endpoint, Inventory, NodePlan


def definition(plans: dict[str, NodePlan], one: str, other: str) -> object:
    """Return what the two plans say about their link, in an order that both ends share."""
    ends = []
    for here, there in sorted([(one, other), (other, one)]):
        peer = next(peer for peer in plans[here].peers if peer.name == there)
        psk = peer.preshared_key_path is not None
        ends.append(
            (peer.public_key, peer.allowed_ips, peer.endpoints, peer.persistent_keepalive, psk)
        )
    return ends


@given(inventories())
def test_both_ends_compute_the_same(mesh: Inventory) -> None:
    keys = {own.public_key: own.name for own in mesh.nodes}
    for own in mesh.nodes:
        for peer, digest in link_digests(mesh, own.name).items():
            assert link_digests(mesh, keys[peer])[str(own.public_key)] == digest


@given(inventories(), inventories())
def test_it_differs_exactly_when_a_plan_of_either_end_says_something_else(
    one: Inventory, another: Inventory
) -> None:
    changed = {own.name: own for own in another.nodes[:2]}
    other = replace(one, nodes=tuple(changed.get(own.name, own) for own in one.nodes))
    first, second = all_plans(one), all_plans(other)
    for name in first.keys() & second.keys():
        before, after = link_digests(one, name), link_digests(other, name)
        for peer in first[name].peers:
            if peer.public_key in before and peer.public_key in after:
                unchanged = definition(first, name, peer.name) == definition(
                    second, name, peer.name
                )
                assert (before[peer.public_key] == after[peer.public_key]) is unchanged


CHANGES: list[tuple[str, dict[str, Any], bool]] = [
    ("key", {"public_key": key("zulu")}, True),
    ("address", {"address": (ip_interface("10.40.0.9/32"),)}, True),
    ("allowed_ips", {"allowed_ips": (ip_network("192.168.9.0/24"),)}, True),
    ("endpoint", {"endpoint": Endpoint("192.0.2.99", 51820)}, True),
    ("endpoint_alt", {"endpoint_alt": (Endpoint("192.0.2.99", 51820),)}, True),
    ("keepalive", {"persistent_keepalive": 5}, True),
    ("psk", {"preshared_key_path": None}, True),
    ("path of the psk", {"preshared_key_path": "/elsewhere/%p"}, False),
    ("listen_port", {"listen_port": 1}, False),
    ("hooks", {"post_up": "true", "post_down": "true"}, False),
    ("prefix length", {"address": tuple(map(ip_interface, ["10.40.0.2/32", "fd40::2/64"]))}, False),
    ("forwarding", {"forwarding": True}, False),
    ("ssh", {"ssh_host": "bravo"}, False),
]


@pytest.mark.parametrize(("what", "fields", "changes"), CHANGES, ids=[c[0] for c in CHANGES])
def test_what_a_link_is_made_of(what: str, fields: dict[str, Any], changes: bool) -> None:
    psk = {"preshared_key_path": "/psk/%p"}
    alpha, bravo, charlie = node("alpha", **psk), node("bravo", **psk), node("charlie")
    before = link_digests(inventory(alpha, bravo, charlie), "alpha")
    changed = replace(bravo, **fields)
    after = link_digests(inventory(alpha, changed, charlie), "alpha")
    assert (before[key("bravo")] != after.get(str(changed.public_key))) is changes
    assert before[key("charlie")] == after[key("charlie")]


def test_the_mtu_is_no_part_of_a_link() -> None:
    nodes = (node("alpha"), node("bravo"))
    assert link_digests(inventory(*nodes), "alpha") == link_digests(
        inventory(*nodes, mtu=1280), "alpha"
    )


@pytest.mark.parametrize("make", [star, inventory])
def test_a_new_node_changes_no_link_between_others(make: Callable[..., Inventory]) -> None:
    nodes = [node("alpha", forwarding=True), node("bravo"), node("charlie")]
    before, after = make(*nodes), make(*nodes, node("delta"))
    for name in ("alpha", "bravo", "charlie"):
        old, new = link_digests(before, name), link_digests(after, name)
        assert new.items() >= old.items()


def test_an_unknown_node_has_no_links() -> None:
    with pytest.raises(WgmeshError, match="no node zulu"):
        link_digests(inventory(node("alpha")), "zulu")


@given(st.permutations(["alpha", "bravo", "charlie"]))
def test_which_hub_is_in_force_is_part_of_it(hubs: list[str]) -> None:
    nodes = [node(name) for name in ("alpha", "bravo", "charlie", "delta")]
    first = link_digests(star(*nodes, hubs=("alpha", "bravo", "charlie")), "delta")
    other = link_digests(star(*nodes, hubs=tuple(hubs)), "delta")
    moved = {peer for peer in first if first[peer] != other[peer]}
    assert moved == (set() if hubs[0] == "alpha" else {key("alpha"), key(hubs[0])})
