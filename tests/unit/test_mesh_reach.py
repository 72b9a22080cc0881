"""Who reaches whom: held against packets followed through whole plans, then case by case."""

import time
from dataclasses import replace
from ipaddress import ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mesh_inventories import NAMES, inventories, inventory, node, star
from tests.unit.mesh_packets import all_plans, path
from tests.unit.test_mesh_plan import big
from wgmesh.mesh import ways
from wgmesh.mesh.reach import ADDRESSES, NETWORKS, Findings, Since, findings
from wgmesh.model.inventory import Inventory, Node
from wgmesh.model.terms import Topology

NESTED = st.sampled_from(["10.40.0.0/29", "10.40.0.0/25", "fd40::/125", "fd40::4/126", "0.0.0.0/0"])


def nested(mesh: Inventory, owner: str, prefix: str) -> Inventory:
    """Give one node a prefix in which others live."""
    network = ip_network(prefix)
    if network.version not in {cidr.version for cidr in mesh.mesh.mesh_cidr}:
        return mesh
    return replace(
        mesh,
        nodes=tuple(
            replace(own, allowed_ips=(*own.allowed_ips, network)) if own.name == owner else own
            for own in mesh.nodes
        ),
    )


@st.composite
def odd_inventories(draw: st.DrawFn) -> Inventory:
    """Draw a mesh in which prefixes nest and nodes lack a family."""
    mesh = draw(inventories())
    for prefix in draw(st.lists(NESTED, max_size=2, unique=True)):
        mesh = nested(mesh, draw(st.sampled_from(NAMES)), prefix)
    nodes = []
    for own in mesh.nodes:
        kept = draw(st.sampled_from([own.address, own.address[:1], own.address[-1:]]))
        nodes.append(replace(own, address=kept))
    return replace(mesh, nodes=tuple(nodes))


@given(odd_inventories())
def test_a_packet_fares_as_the_whole_plans_say(mesh: Inventory) -> None:
    of = ways.atlas(mesh)
    plans = all_plans(mesh)
    shared = len(of.of.hubs) > 1
    for one in mesh.nodes:
        for other in mesh.nodes:
            for place in ways.places(of, other) if one is not other else ():
                source = ways.speaks(one, place.address.version)
                if source is None:
                    continue
                found = ways.way(of, one, other, place)
                expected = path(plans, source, one.name, place.address, other.name)
                if expected:
                    back = path(plans, place.address, other.name, source, one.name)
                    assert found.path == tuple(expected)
                    assert (found.cause is None) == bool(back), (found, back)
                elif not shared:  # with several hubs there is translation, see below
                    assert found.cause is not None, found
                if found.cause is None:
                    assert found.path[0] == one.name and found.path[-1] == other.name
                else:
                    assert found.why


def expand(found: Findings) -> set[tuple[str, str, str]]:
    """Return each pair by itself."""
    pairs = set()
    for each in found.apart:
        for one in each.one:
            for other in each.other:
                if one != other:
                    pairs.add((one, other, each.over))
                    if each.mutual:
                        pairs.add((other, one, each.over))
    return pairs


def one_by_one(mesh: Inventory) -> set[tuple[str, str, str]]:
    """Return the same, each pair looked at by itself."""
    of = ways.atlas(mesh)
    pairs = set()
    for one in mesh.nodes:
        for other in mesh.nodes:
            if one is other:
                continue
            bad, families, behind, network = set(), set(), False, False
            for place in ways.places(of, other):
                version = place.address.version
                if ways.speaks(one, version) is None:
                    continue
                failed = ways.way(of, one, other, place).cause is not None
                if place.network is not None:
                    behind, network = behind or failed, True
                else:
                    families.add(f"IPv{version}")
                    bad |= {f"IPv{version}"} if failed else set()
            if bad == families and (families or not network):
                pairs.add((one.name, other.name, ""))
            elif not families:
                pairs.add((one.name, other.name, ADDRESSES))
                pairs |= {(one.name, other.name, NETWORKS)} if behind else set()
            else:
                pairs |= {(one.name, other.name, each) for each in bad}
                pairs |= {(one.name, other.name, NETWORKS)} if behind else set()
    return pairs


@given(odd_inventories())
def test_one_pair_speaks_for_its_groups(mesh: Inventory) -> None:
    found = findings(None, mesh)
    assert expand(found) == one_by_one(mesh)
    assert {each.since for each in found.apart} <= {Since.NEW}
    nodes = len(mesh.nodes)
    assert found.pairs == nodes * (nodes - 1) // 2
    for each in found.askew:
        assert each.there != each.back[::-1]
        assert each.there[0] == each.back[-1] and each.there[-1] == each.back[0]


@given(odd_inventories(), odd_inventories(), st.integers(0, 3), st.booleans())
def test_what_is_lost_worked_before(
    old: Inventory, another: Inventory, changed: int, reshaped: bool
) -> None:
    mixed = {own.name: own for own in another.nodes[:changed]}
    nodes = {own.name: own for own in old.nodes} | mixed
    new = replace(another if reshaped else old, nodes=tuple(nodes[name] for name in sorted(nodes)))
    found = findings(old, new)
    before, after = one_by_one(old), one_by_one(new)
    assert expand(found) == after
    known = {own.name for own in old.nodes}
    of = {own.name: own for own in old.nodes}
    for each in found.apart:
        for one in each.one:
            for other in each.other:
                if one == other:
                    continue
                new_pair = not {one, other} <= known
                assert not (new_pair and each.since is not Since.NEW)
                if each.over in ("IPv4", "IPv6") and not new_pair:
                    family = int(each.over[-1])
                    had = all(ways.speaks(of[name], family) for name in (one, other))
                    worked = had and not before & {(one, other, ""), (one, other, each.over)}
                    expected = Since.LOST if worked else Since.BEFORE if had else Since.NEW
                    assert each.since is expected
                if each.over in ("", ADDRESSES) and not new_pair:
                    lost = not before & {(one, other, ""), (one, other, ADDRESSES)}
                    assert each.since is (Since.LOST if lost else Since.BEFORE)
    assert {each.since for each in findings(new, new).apart} <= {Since.BEFORE}


# ---------------------------------------------------------------- case by case


def said(found: Findings) -> list[tuple[str, str, str]]:
    """Return who is apart from whom, and why, where it is news."""
    return [
        (", ".join(each.one), ", ".join(each.other), each.why)
        for each in found.apart
        if each.since is not Since.BEFORE
    ]


def test_a_valid_mesh_has_nothing_to_tell() -> None:
    behind = [node(name, endpoint=None) for name in NAMES[1:]]
    for mesh in (
        inventory(*map(node, NAMES)),
        inventory(node("alpha", forwarding=True), *behind),
        star(node("alpha"), *behind),
        star(node("alpha"), node("bravo"), *behind[1:], hubs=("alpha", "bravo")),
    ):
        assert findings(None, mesh) == Findings(15)


def test_two_nodes_behind_nat_lose_their_relay() -> None:
    behind = [node(name, endpoint=None) for name in ("delta", "echo")]
    old = inventory(node("alpha", forwarding=True), *behind)
    found = findings(old, inventory(node("alpha"), *behind))
    assert said(found) == [("delta, echo", "delta, echo", "no peer of delta carries it")]
    assert [(each.since, each.mutual, each.pairs) for each in found.apart] == [
        (Since.LOST, True, 1)
    ]
    assert said(findings(None, inventory(node("alpha"), *behind))) == said(found)


def test_a_hub_behind_nat() -> None:
    mesh = star(node("alpha", endpoint=None), node("bravo"), node("charlie", endpoint=None))
    assert said(findings(None, mesh)) == [
        ("alpha", "charlie", "alpha and charlie cannot find each other: both are behind NAT"),
        ("bravo", "charlie", "alpha and charlie cannot find each other: both are behind NAT"),
    ]


def test_no_family_in_common_and_one_that_goes() -> None:
    four, six = (ip_interface("10.40.0.3/32"),), (ip_interface("fd40::3/128"),)
    other = (ip_interface("fd40::2/128"),)
    old = inventory(node("alpha"), node("bravo", address=other), node("charlie"))
    new = inventory(node("alpha"), node("bravo", address=other), node("charlie", address=four))
    assert said(findings(old, new)) == [("bravo", "charlie", "they have no address of one family")]
    kept = inventory(node("alpha"), node("bravo", address=other), node("charlie", address=six))
    assert said(findings(old, kept)) == []


def test_a_hubs_prefix_that_takes_the_answers_of_a_spoke() -> None:
    """Delta lies in a prefix of bravo, a hub that is not in force: others look for it there."""
    spokes = [node("charlie"), node("delta")]
    old = star(node("alpha"), node("bravo"), *spokes, hubs=("alpha", "bravo"))
    new = nested(old, "bravo", "10.40.0.4/31")
    found = findings(old, new)
    assert said(found) == [
        (
            "delta",
            "charlie",
            "it comes to charlie through alpha, and charlie takes it from bravo only",
        )
    ]
    (lost,) = found.lost
    assert (lost.over, lost.mutual) == ("IPv4", False)
    (askew,) = found.askew
    assert (askew.there, askew.back, askew.since) == (
        ("charlie", "bravo", "delta"),
        ("delta", "alpha", "charlie"),
        Since.NEW,
    )


def test_a_network_that_several_hubs_do_not_share() -> None:
    """It is not told as lost when it goes by intent, but when nobody can answer any more."""
    lan = ip_network("192.168.9.0/24")
    spokes = [node("charlie", allowed_ips=(lan,)), node("delta")]
    old = star(node("alpha"), node("bravo"), *spokes, hubs=("alpha", "bravo"))
    gone = star(
        node("alpha"), node("bravo"), node("charlie"), node("delta"), hubs=("alpha", "bravo")
    )
    assert findings(old, old) == findings(old, gone) == Findings(6)
    found = findings(old, nested(old, "bravo", "10.40.0.4/31"))
    assert [(each.one, each.other, each.over) for each in found.lost] == [
        (("delta",), ("charlie",), "IPv4"),
        (("delta",), ("charlie",), NETWORKS),
    ]
    assert found.lost[1].why.startswith("192.168.9.0/24: ")


def test_a_loop_is_named() -> None:
    """No plan of today has one: here two nodes each take the other for the way to a third."""
    mesh = inventory(
        node("alpha", endpoint=None, forwarding=True),
        node("bravo", forwarding=True),
        node("charlie", endpoint=None),
    )
    of = ways.atlas(mesh)
    wrong = {
        key: replace(claim, owner=of.of.nodes["bravo"])
        for key, claim in of.claims.items()
        if claim.owner is of.of.nodes["charlie"]
    }
    looping = replace(of, claims=of.claims | wrong, default={("bravo", 4): of.of.nodes["alpha"]})
    alpha, charlie = mesh.nodes[0], mesh.nodes[2]
    found = ways.way(looping, alpha, charlie, ways.Place(charlie.address[0].ip))
    assert (found.cause, found.why) == (
        ways.Cause.LOOP,
        "it goes round: alpha -> bravo -> alpha",
    )


def test_a_node_that_is_renamed_is_the_same() -> None:
    four = (ip_interface("10.40.0.3/32"),)
    six = (ip_interface("fd40::2/128"),)
    old = inventory(node("alpha"), node("bravo", address=six), node("charlie"))
    new = inventory(
        node("alpha"), node("bravo", address=six), replace(node("charlie", address=four), name="x")
    )
    assert [each.since for each in findings(old, new).apart] == [Since.LOST]
    fresh = inventory(node("alpha"), node("bravo", address=six), node("delta", address=four))
    assert [each.since for each in findings(old, fresh).apart] == [Since.NEW]


def test_cost_of_large_meshes() -> None:
    full = big(1000)
    names = [own.name for own in full.nodes]
    hubs = ("n1", "n2", "n4")
    spread = replace(full, mesh=replace(full.mesh, topology=Topology.STAR, hubs=hubs))
    for mesh in (full, spread):
        moved = [replace(own, forwarding=False) for own in mesh.nodes]
        start = time.process_time()
        found = findings(mesh, replace(mesh, nodes=tuple(moved)))
        assert time.process_time() - start < 3
        lost = sum(each.pairs for each in found.lost)
        assert lost == (0 if mesh is spread else 333 * 332 // 2)
        assert found.pairs == len(names) * (len(names) - 1) // 2


def of_families(version: int, behind: str = "", *, name: str = "bravo") -> Node:
    """Return a node with an address of one family only, and perhaps a network behind it."""
    own = node(name)
    networks = (ip_network(behind),) if behind else ()
    return replace(
        own,
        address=tuple(each for each in own.address if each.version == version),
        allowed_ips=networks,
        forwarding=True,
    )


def apart(found: Findings) -> list[tuple[str, str, str, bool, Since]]:
    return [(e.one[0], e.other[0], e.over, e.mutual, e.since) for e in found.apart]


def test_a_network_of_a_family_that_its_node_does_not_have_is_reached() -> None:
    alpha, lan = of_families(4, name="alpha"), "192.168.9.0/24"
    found = findings(None, inventory(alpha, of_families(6, lan)))
    assert apart(found) == [
        ("alpha", "bravo", ADDRESSES, False, Since.NEW),
        ("bravo", "alpha", "", False, Since.NEW),
    ]
    assert found.apart[0].why == "they have no address of one family"
    assert found.apart[1].why.endswith(f"family, unless bravo speaks from one in {lan}")
    found = findings(None, inventory(alpha, of_families(6, "fd99::/64")))
    assert apart(found) == [("alpha", "bravo", "", True, Since.NEW)]


def test_an_address_that_goes_takes_no_network_along() -> None:
    alpha = of_families(4, name="alpha")
    both = replace(node("bravo"), allowed_ips=(ip_network("192.168.9.0/24"),), forwarding=True)
    old, new = inventory(alpha, both), inventory(alpha, of_families(6, "192.168.9.0/24"))
    assert findings(None, old).apart == ()
    assert apart(findings(old, new)) == [
        ("alpha", "bravo", ADDRESSES, False, Since.LOST),
        ("bravo", "alpha", "", False, Since.LOST),
    ]
    assert {each[-1] for each in apart(findings(new, new))} == {Since.BEFORE}
    gone = inventory(alpha, of_families(6))
    assert apart(findings(new, gone)) == [("alpha", "bravo", "", True, Since.BEFORE)]
