"""Tunnels whose ends run different versions: held against the two plans, then case by case."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mesh_inventories import inventories, inventory, key, node, star
from tests.unit.mesh_packets import all_plans, cryptokey
from wgmesh.mesh.compat import Obstacle, compat, outlook
from wgmesh.mesh.topology import layout
from wgmesh.model.inventory import Inventory
from wgmesh.model.plan import NodePlan, Peer
from wgmesh.model.terms import Endpoint

ALPHA, BRAVO = key("alpha"), key("bravo")


def fit(mine: Inventory, theirs: Inventory, me: str = "alpha", peer: str = "bravo") -> object:
    """Return what compat says of `me` with its new version, and its peer with the old one."""
    return compat(layout(mine), key(me), layout(theirs), key(peer))


# ---------------------------------------------------------------- against the plans


def section(of: NodePlan | None, public_key: str) -> Peer | None:
    return next((p for p in of.peers if p.public_key == public_key), None) if of else None


def by_key(mesh: Inventory) -> dict[str, NodePlan]:
    return {plan.public_key: plan for plan in all_plans(mesh).values()}


def expected(new: Inventory, old: Inventory, me: str, peer: str) -> object:
    """Return the same out of what the two ends would write into their kernels."""
    plans, others = by_key(new), by_key(old)
    here, there = plans.get(me), others.get(peer)
    if here is None or there is None or me not in others or peer not in plans:
        return Obstacle.KEY
    mine, theirs = section(here, peer), section(there, me)
    if mine is None or theirs is None:
        return Obstacle.PEERING
    paths = (mine.preshared_key_path, theirs.preshared_key_path)
    known = [
        (one.preshared_key_path if one else None, two.preshared_key_path if two else None)
        for version in (plans, others)
        for one, two in [(section(version[me], peer), section(version[peer], me))]
    ]
    if paths not in known:
        return Obstacle.PSK
    speaks = {a.version: a.ip for a in reversed(here.addresses)}
    answers = {a.version: a.ip for a in reversed(there.addresses)}
    own = {address.ip for address in there.addresses}
    tried = {a.version for a in mine.addresses if a in own and a.version in speaks}
    ways = [
        (owner := cryptokey(of, address)) is not None and owner.public_key == wanted
        for family in tried
        for of, address, wanted in (
            (there, speaks[family], me),
            (here, answers[family], peer),
        )
    ]
    if not tried or not all(ways):
        return Obstacle.ADDRESS
    mine_at_v = section(others[me], peer)
    theirs_at_n = section(plans[peer], me)
    found_at = mine_at_v.endpoints if mine_at_v else ()
    i_answer_at = theirs_at_n.endpoints if theirs_at_n else ()
    if mine.endpoints and mine.endpoints[0] in found_at:
        return 0
    if not theirs.endpoints or theirs.endpoints[0] not in i_answer_at:
        return Obstacle.ENDPOINT
    if not mine.endpoints:
        return 0
    return theirs.persistent_keepalive or Obstacle.ENDPOINT


@given(inventories(), inventories(), st.integers(0, 6), st.booleans(), st.booleans())
def test_it_says_what_the_two_plans_do(
    old: Inventory, another: Inventory, changed: int, shape: bool, rotated: bool
) -> None:
    mixed = {own.name: own for own in another.nodes[:changed]}
    nodes = tuple(mixed.get(own.name, own) for own in old.nodes)
    if rotated:
        homes = [own.address for own in (*nodes[1:], nodes[0])]
        nodes = tuple(replace(own, address=home) for own, home in zip(nodes, homes, strict=True))
    new = replace(another if shape else old, nodes=nodes)
    keys = [str(own.public_key) for own in new.nodes]
    for me in keys:
        for peer in keys:
            if section(by_key(new)[me], peer) is not None:
                found = compat(layout(new), me, layout(old), peer)
                assert found == expected(new, old, me, peer)


@given(inventories())
def test_a_version_gets_on_with_itself(mesh: Inventory) -> None:
    hidden = {own.name for own in mesh.nodes if own.endpoint is None}
    for name, plan in all_plans(mesh).items():
        for peer in plan.peers:
            meet = not {name, peer.name} <= hidden  # `validate` refuses a hub that hides so
            assert fit(mesh, mesh, name, peer.name) == (0 if meet else Obstacle.ENDPOINT)


# ---------------------------------------------------------------- case by case

NEW_HOME = Endpoint("192.0.2.99", 51820)
MOVED = tuple(map(ip_interface, ["10.40.0.9/32", "fd40::9/128"]))
OLD_HOSTS = tuple(map(ip_network, ["10.40.0.2/32", "fd40::2/128"]))
BOTH = (*node("bravo").address, *MOVED)

# of bravo: what changes; what alpha sees of the old bravo; what the new bravo sees of the old alpha
CASES: list[tuple[str, dict[str, Any], object, object]] = [
    ("key", {"public_key": key("zulu")}, Obstacle.KEY, Obstacle.KEY),
    ("address", {"address": MOVED}, Obstacle.ADDRESS, Obstacle.ADDRESS),
    ("another address, second", {"address": BOTH}, 0, 0),
    ("another address, first", {"address": BOTH[::-1]}, 0, Obstacle.ADDRESS),
    ("prefix length", {"address": tuple(map(ip_interface, ["10.40.0.2/32", "fd40::2/64"]))}, 0, 0),
    ("one family less", {"address": (ip_interface("10.40.0.2/32"),)}, 0, 0),
    ("allowed_ips", {"allowed_ips": (ip_network("192.168.9.0/24"),)}, 0, 0),
    ("endpoint", {"endpoint": NEW_HOME}, Obstacle.ENDPOINT, 0),
    ("another endpoint, second", {"endpoint_alt": (NEW_HOME,)}, 0, 0),
    ("behind NAT", {"endpoint": None}, 0, 0),
    ("keepalive", {"persistent_keepalive": 5}, 0, 0),
    ("no psk", {"preshared_key_path": None}, Obstacle.PSK, Obstacle.PSK),
    ("path of the psk", {"preshared_key_path": "/elsewhere/%p"}, 0, 0),
    ("listen_port", {"listen_port": 1}, 0, 0),
    ("hooks", {"post_up": "true", "post_down": "true"}, 0, 0),
    ("forwarding", {"forwarding": True}, 0, 0),
    ("ssh", {"ssh_host": "bravo"}, 0, 0),
]


@pytest.mark.parametrize(("what", "fields", "alpha", "bravo"), CASES, ids=[c[0] for c in CASES])
def test_what_a_change_of_one_end_does(
    what: str, fields: dict[str, Any], alpha: object, bravo: object
) -> None:
    psk = {"preshared_key_path": "/psk/%p"}
    one, other, third = node("alpha", **psk), node("bravo", **psk), node("charlie")
    old = inventory(one, other, third)
    changed = replace(other, **fields)
    new = inventory(one, changed, third)
    assert compat(layout(new), ALPHA, layout(old), str(changed.public_key)) == alpha
    assert compat(layout(new), str(changed.public_key), layout(old), ALPHA) == bravo
    assert fit(new, old, "alpha", "charlie") == fit(new, old, "charlie", "alpha") == 0


def test_a_name_is_only_a_label() -> None:
    old = inventory(node("alpha"), node("bravo"))
    new = inventory(node("alpha"), node("foxtrot", **fields_of("bravo")))
    assert compat(layout(new), ALPHA, layout(old), BRAVO) == 0


def fields_of(name: str) -> dict[str, Any]:
    """Return what makes a node of another name this one."""
    own = node(name)
    return {"address": own.address, "public_key": own.public_key, "endpoint": own.endpoint}


def test_a_peer_that_moves_and_keeps_alive_is_heard_again() -> None:
    """Alpha looks for bravo in its new place; the old bravo speaks from the old one, and heals."""
    old = inventory(node("alpha"), node("bravo", persistent_keepalive=7))
    new = inventory(node("alpha"), node("bravo", persistent_keepalive=7, endpoint=NEW_HOME))
    assert fit(new, old) == 7
    # but not when alpha has moved as well
    both = inventory(node("alpha", endpoint=NEW_HOME), new.nodes[1])
    assert fit(both, old) is Obstacle.ENDPOINT


def test_the_safe_way_to_another_address() -> None:
    old = inventory(node("alpha"), node("bravo"))
    first = inventory(node("alpha"), node("bravo", address=BOTH))
    second = inventory(node("alpha"), node("bravo", address=MOVED, allowed_ips=OLD_HOSTS))
    last = inventory(node("alpha"), node("bravo", address=MOVED))
    for new, before in ((first, old), (second, first), (last, second)):
        assert fit(new, before) == fit(new, before, "bravo", "alpha") == 0
    careless = inventory(node("alpha"), node("bravo", address=MOVED))
    assert fit(careless, first) is Obstacle.ADDRESS, "the old bravo still speaks from the old one"


def test_the_safe_way_to_another_endpoint() -> None:
    home = node("bravo").endpoint
    assert home is not None
    old = inventory(node("alpha"), node("bravo"))
    first = inventory(node("alpha"), node("bravo", endpoint_alt=(NEW_HOME,)))
    second = inventory(node("alpha"), node("bravo", endpoint=NEW_HOME, endpoint_alt=(home,)))
    for new, before in ((first, old), (second, first)):
        assert fit(new, before) == fit(new, before, "bravo", "alpha") == 0


def test_a_node_that_moves_leaves_those_behind_nat_alone_until_they_know() -> None:
    old = inventory(node("alpha"), node("bravo", endpoint=None), node("charlie"))
    new = inventory(node("alpha", endpoint=NEW_HOME), node("bravo", endpoint=None), node("charlie"))
    assert fit(new, old, "alpha", "bravo") is Obstacle.ENDPOINT
    assert fit(new, old, "bravo", "alpha") is Obstacle.ENDPOINT
    assert fit(new, old, "alpha", "charlie") == 0, "alpha finds charlie"
    # a second address of the same node is no other place
    home = node("alpha").endpoint
    assert home is not None
    kept = replace(new.nodes[0], endpoint_alt=(home,))
    assert fit(inventory(kept, *new.nodes[1:]), old, "alpha", "bravo") == 0


def test_two_paths_of_a_psk_at_once() -> None:
    def mesh(one: str | None, other: str | None) -> Inventory:
        return inventory(
            node("alpha", preshared_key_path=one), node("bravo", preshared_key_path=other)
        )

    old = mesh("/psk/%p", "/psk/%p")
    assert fit(mesh("/new/%p", "/psk/%p"), old) == 0, "a move of the file"
    assert fit(mesh("/new/%p", "/new/%p"), old) is Obstacle.PSK, "perhaps another key"
    assert fit(mesh("/psk/%p", "/psk/%p"), mesh(None, "/psk/%p")) is Obstacle.PSK
    assert fit(mesh("/psk/%p", None), mesh(None, "/psk/%p")) == 0, "neither version has one"


def test_full_mesh_to_star() -> None:
    nodes = [node("alpha"), node("bravo"), node("charlie")]
    mesh, wheel = inventory(*nodes), star(*nodes)
    for new, old in ((wheel, mesh), (mesh, wheel)):
        assert fit(new, old, "alpha", "bravo") == fit(new, old, "bravo", "alpha") == 0
    assert fit(mesh, wheel, "bravo", "charlie") is Obstacle.PEERING


def test_a_hub_may_move_inside_the_mesh() -> None:
    """Its spokes take everything of the mesh from it, so they take its new address as well."""
    spokes = [node("bravo"), node("charlie")]
    old = star(node("alpha"), *spokes)
    new = star(node("alpha", address=(*MOVED, *node("alpha").address)), *spokes)
    assert fit(new, old, "alpha", "bravo") == 0
    two = star(node("alpha"), *spokes, hubs=("bravo", "alpha"))
    moved = star(new.nodes[0], *spokes, hubs=("bravo", "alpha"))
    assert fit(moved, two, "alpha", "charlie") is Obstacle.ADDRESS, "not the hub in force"


@pytest.mark.parametrize("make", [star, inventory])
def test_a_new_node_changes_no_tunnel_between_others(make: Callable[..., Inventory]) -> None:
    nodes = [node("alpha", forwarding=True), node("bravo"), node("charlie")]
    old, new = make(*nodes), make(*nodes, node("delta"))
    for peer in ("bravo", "charlie"):
        for mine, theirs in ((new, old), (old, new)):
            assert fit(mine, theirs, "alpha", peer) == fit(mine, theirs, peer, "alpha") == 0
    assert fit(new, old, "alpha", "delta") is Obstacle.KEY


def test_a_grown_mesh_cidr() -> None:
    nodes = [node("alpha"), node("bravo"), node("charlie")]
    for make in (star, inventory):
        old = make(*nodes)
        new = make(*nodes, mesh_cidr=(ip_network("10.40.0.0/16"), ip_network("fd40::/48")))
        assert fit(new, old) == fit(old, new) == fit(new, old, "bravo", "alpha") == 0


# ---------------------------------------------------------------- a tunnel that is up


def home(port: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"endpoint": Endpoint("192.0.2.2", port)} | fields


ALIVE = {"persistent_keepalive": 9}

# of bravo: what it still runs, what alpha has of it now, what alpha will have; alpha's own change
UP: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any], object]] = [
    ("nothing", home(1), home(1), home(1), {}, 0),
    ("moves", home(1), home(1), home(2), {}, Obstacle.ENDPOINT),
    ("moves, and keeps alive", home(1, **ALIVE), home(1), home(2), {}, 9),
    ("had moved before", home(1), home(2), home(2), {"listen_port": 5}, 0),
    ("had moved before, keeps alive", home(1, **ALIVE), home(2), home(2), {"listen_port": 5}, 0),
    ("moves once more", home(1), home(2), home(3), {}, Obstacle.ENDPOINT),
    ("moves back", home(1), home(2), home(1), {}, 0),
    ("had another key", home(1, public_key=key("zulu")), home(1), home(2), {}, 0),
    ("another key here", home(1), home(1), home(1), {"public_key": key("zulu")}, Obstacle.KEY),
    ("key after a move", home(1), home(2), home(2), {"public_key": key("zulu")}, Obstacle.KEY),
    ("behind NAT", home(1, endpoint=None), home(1, endpoint=None), home(1, endpoint=None), {}, 0),
    (
        "behind NAT, and alpha moves",
        home(1, endpoint=None),
        home(1, endpoint=None),
        home(1, endpoint=None),
        {"endpoint": NEW_HOME},
        Obstacle.ENDPOINT,
    ),
]


@pytest.mark.parametrize(
    ("what", "runs", "now", "then", "alpha", "expected"), UP, ids=[case[0] for case in UP]
)
def test_a_tunnel_that_is_up(
    what: str,
    runs: dict[str, Any],
    now: dict[str, Any],
    then: dict[str, Any],
    alpha: dict[str, Any],
    expected: object,
) -> None:
    theirs = inventory(node("alpha"), node("bravo", **runs))
    before = inventory(node("alpha"), node("bravo", **now))
    after = inventory(node("alpha", **alpha), node("bravo", **then))
    me = (ALPHA, str(after.nodes[0].public_key))
    assert outlook(layout(before), layout(after), me, layout(theirs), BRAVO) == expected
