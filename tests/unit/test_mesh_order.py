"""Whether a change is safe in every order: held against packets that cross two versions."""

import itertools
import time
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mesh_inventories import NAMES, inventories, inventory, key, node, star
from tests.unit.mesh_packets import all_plans, path
from tests.unit.test_mesh_plan import big
from wgmesh.mesh.compat import Obstacle
from wgmesh.mesh.order import EVERY_NODE, Break, breaks, names_to_allow
from wgmesh.model.inventory import Inventory
from wgmesh.model.terms import Endpoint

NEW_HOME = Endpoint("192.0.2.99", 51820)


def broken(old: Inventory, new: Inventory) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the pairs that break, with who must not be first."""
    return {each.nodes: each.first for each in breaks(old, new)}


@given(inventories())
def test_no_change_is_safe(mesh: Inventory) -> None:
    assert breaks(mesh, mesh) == ()


@given(inventories(), inventories(), st.booleans(), st.booleans())
def test_what_is_called_safe_carries_packets_in_every_order(
    old: Inventory, another: Inventory, shape: bool, hidden: bool
) -> None:
    """Between addresses that stay, whoever has applied of the nodes on the way before and after."""
    known = {own.name: own for own in another.nodes}
    nodes = tuple(
        replace(
            own,
            allowed_ips=known[own.name].allowed_ips,
            endpoint=known[own.name].endpoint if hidden else own.endpoint,
        )
        if own.name in known
        else own
        for own in old.nodes
    )
    mesh = replace(another.mesh if shape else old.mesh, mesh_cidr=old.mesh.mesh_cidr)
    new = replace(old, mesh=mesh, nodes=nodes)
    before, after = all_plans(old), all_plans(new)
    found = {each.nodes for each in breaks(old, new)}
    for one, other in itertools.permutations(sorted(before), 2):
        ends = (own.address for name in (one, other) for own in old.nodes if own.name == name)
        for mine, theirs in itertools.product(*ends):
            if mine.version != theirs.version:
                continue
            way = (mine.ip, one, theirs.ip, other)
            was, will = path(before, *way), path(after, *way)
            met = {*itertools.pairwise(was), *itertools.pairwise(will), (one, other)}
            if not was or not will or any(tuple(sorted(pair)) in found for pair in met):
                continue
            passed = sorted({*was, *will})
            for count in range(len(passed)):
                for applied in itertools.combinations(passed, count + 1):
                    mixed = before | {name: after[name] for name in applied}
                    assert path(mixed, *way) != [], (was, will, applied)


# of bravo: what changes, and who must not be the first to apply it
CHANGES: list[tuple[str, dict[str, Any], dict[tuple[str, str], tuple[str, ...]]]] = [
    ("nothing", {}, {}),
    ("ssh", {"ssh_host": "b"}, {}),
    ("a network behind it", {"allowed_ips": (ip_network("192.168.9.0/24"),)}, {}),
    (
        "key",
        {"public_key": key("zulu")},
        {
            ("alpha", "bravo"): ("alpha", "bravo"),
            ("bravo", "charlie"): ("bravo", "charlie"),
            ("bravo", "delta"): ("bravo", "delta"),
        },
    ),
    (
        "endpoint",
        {"endpoint": NEW_HOME},
        {
            ("alpha", "bravo"): ("alpha",),
            ("bravo", "charlie"): ("charlie",),
            ("bravo", "delta"): ("bravo", "delta"),
        },
    ),
    (
        "address",
        {"address": (ip_interface("10.40.0.9/32"), ip_interface("fd40::9/128"))},
        {
            ("alpha", "bravo"): ("alpha", "bravo"),
            ("bravo", "charlie"): ("bravo", "charlie"),
            ("bravo", "delta"): ("bravo", "delta"),
        },
    ),
]


@pytest.mark.parametrize(("what", "fields", "expected"), CHANGES, ids=[c[0] for c in CHANGES])
def test_what_one_node_does_to_its_tunnels(
    what: str, fields: dict[str, Any], expected: dict[tuple[str, str], tuple[str, ...]]
) -> None:
    others = [node("alpha"), node("charlie"), node("delta", endpoint=None)]
    old = inventory(node("bravo"), *others)
    assert broken(old, inventory(replace(node("bravo"), **fields), *others)) == expected


def test_nodes_that_come_and_go_break_nothing() -> None:
    three = [node(name) for name in NAMES[:3]]
    for make in (inventory, star):
        assert breaks(make(*three), make(*three, node("delta"))) == ()
        assert breaks(make(*three, node("delta")), make(*three)) == ()


def test_a_rename_breaks_nothing_and_a_swap_of_names_neither() -> None:
    old = inventory(node("alpha"), node("bravo"), node("charlie"))
    one, two, three = old.nodes
    assert breaks(old, replace(old, nodes=(one, two, replace(three, name="zulu")))) == ()
    swapped = (one, replace(three, name="bravo"), replace(two, name="charlie"))
    assert breaks(old, replace(old, nodes=swapped)) == ()


def test_full_mesh_to_star_parts_those_that_will_meet_at_the_hub() -> None:
    nodes = [node(name) for name in NAMES[:4]]
    found = breaks(inventory(*nodes), star(*nodes))
    assert [each.nodes for each in found] == [
        ("bravo", "charlie"),
        ("bravo", "delta"),
        ("charlie", "delta"),
    ]
    assert {each.why for each in found} == {"they meet directly before, and through alpha after"}
    back = breaks(star(*nodes), inventory(*nodes))
    assert {each.why for each in back} == {"they meet through alpha before, and directly after"}
    assert names_to_allow(found) == ("bravo", "charlie")


def test_another_hub_in_force() -> None:
    nodes = [node(name) for name in NAMES[:4]]
    old, new = (star(*nodes, hubs=hubs) for hubs in (("alpha", "bravo"), ("bravo", "alpha")))
    (found,) = breaks(old, new)
    assert found.nodes == ("charlie", "delta")
    assert found.why == "they meet through alpha before, and through bravo after"
    assert breaks(old, star(*nodes, hubs=("alpha", "bravo", "charlie"))) != ()


def test_a_relay_that_comes_first_in_the_alphabet() -> None:
    hidden = [node("charlie", endpoint=None), node("delta", endpoint=None)]
    old = inventory(node("bravo", forwarding=True), *hidden)
    new = inventory(node("alpha", forwarding=True), node("bravo", forwarding=True), *hidden)
    (found,) = breaks(old, new)
    assert found.nodes == ("charlie", "delta") and "through alpha after" in found.why


def test_a_grown_mesh_is_safe() -> None:
    nodes = [node(name) for name in NAMES[:4]]
    wider = (ip_network("10.40.0.0/16"), ip_network("fd40::/48"))
    for make in (inventory, star):
        assert breaks(make(*nodes), make(*nodes, mesh_cidr=wider)) == ()


def test_the_steps_name_who_moves() -> None:
    old = inventory(node("alpha"), node("bravo"))
    (found,) = breaks(old, inventory(node("alpha"), node("bravo", endpoint=NEW_HOME)))
    assert found.why == Obstacle.ENDPOINT.value and "new endpoint of bravo" in found.safe
    both = inventory(
        node("alpha", endpoint=NEW_HOME), node("bravo", endpoint=replace(NEW_HOME, port=1))
    )
    (found,) = breaks(old, both)
    assert "new endpoint of alpha and bravo" in found.safe
    (found,) = breaks(old, inventory(node("alpha"), node("bravo", public_key=key("zulu"))))
    assert "give bravo the new key as next_public_key" in found.safe


def test_names_to_allow_are_few() -> None:
    def pairs(*texts: str) -> list[Break]:
        return [Break((text[0], text[1]), (), "") for text in texts]

    assert names_to_allow(pairs()) == ()
    assert names_to_allow(pairs("ab", "bc", "bd")) == ("b",)
    assert names_to_allow(pairs("ab", "cd")) == ("a", "c")
    everybody = list(itertools.combinations([f"n{number}" for number in range(20)], 2))
    assert names_to_allow([Break(pair, (), "") for pair in everybody]) == (EVERY_NODE,)
    assert all(each.is_allowed((EVERY_NODE,)) for each in pairs("ab"))


@pytest.mark.parametrize("changed", [1, 20])
def test_cost_of_a_small_change_of_a_large_mesh(changed: int) -> None:
    old = big(1000)
    moved = tuple(
        replace(own, endpoint=NEW_HOME) if own.endpoint and number < 3 * changed else own
        for number, own in enumerate(old.nodes)
    )
    start = time.process_time()
    found = breaks(old, replace(old, nodes=moved))
    assert len(found) > 900 * changed
    assert time.process_time() - start < 1 + 0.1 * changed
