"""What a change does to each node: the quick way and the long way say the same."""

import time
import tracemalloc
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mesh_inventories import NAMES, inventories, inventory, key, node, star
from tests.unit.test_mesh_plan import big
from wgmesh.mesh.impact import NodeImpact, bounded, impact
from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory
from wgmesh.model.plan import NodePlan
from wgmesh.model.terms import Endpoint


@given(inventories(), inventories(), st.integers(0, 2), st.booleans(), st.booleans())
def test_the_quick_way_says_the_same(
    old: Inventory, another: Inventory, changed: int, dropped: bool, grown: bool
) -> None:
    mixed = {own.name: own for own in another.nodes[:changed]}
    nodes = {own.name: mixed.get(own.name, own) for own in old.nodes}
    if grown:
        nodes |= {own.name: nodes.get(own.name, own) for own in another.nodes[-1:]}
    if dropped and len(nodes) > 1:
        nodes.pop(max(nodes))
    new = replace(old, nodes=tuple(nodes[name] for name in sorted(nodes)))
    assert [*impact(old, new)] == [*impact(old, new, narrow=False)]


def test_a_change_of_one_node_is_told_on_all_others() -> None:
    nodes = [node(name) for name in NAMES]
    moved = replace(node("bravo"), endpoint=Endpoint("192.0.2.99", 1))
    for make in (inventory, star):
        old, new = make(*nodes), make(*[moved if n.name == "bravo" else n for n in nodes])
        found = {each.node: each.lines for each in impact(old, new)}
        told = {name for name in NAMES if name != "bravo"} if make is inventory else {"alpha"}
        assert found.keys() == told
        assert all("bravo: endpoint" in lines[0] for lines in found.values())


def test_cost_of_a_small_change_of_a_large_mesh() -> None:
    old = big(1000)
    moved = [replace(own, public_key=key("zulu")) if own.name == "n5" else own for own in old.nodes]
    new = replace(old, nodes=tuple(moved))
    list(impact(old, replace(old, nodes=old.nodes[:2])))
    start = time.process_time()
    assert len([*impact(old, new)]) == 1000
    assert time.process_time() - start < 4


def test_many_nodes_with_many_peers_need_little_room() -> None:
    def each(number: int) -> NodeImpact:
        peers = [f"+ peer n{number}-{peer}, at {'x' * 80}" for peer in range(1000)]
        return NodeImpact(f"n{number}", "planned", ("port 1", *peers, "+ route r", "~ peer p: q"))

    tracemalloc.start()
    try:
        found = bounded(map(each, range(200)), 5000).nodes
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000, "all of it has 28,000,000"
    assert {node.lines for node in found} == {("port 1", "+ 1000 peers", "+ 1 route", "~ 1 peer")}
    assert len(found) == 200 and all(node.brief for node in found)
    [whole] = bounded(map(each, range(1)), 5000).nodes
    assert whole == each(0)


def kernel(of: NodePlan) -> NodePlan:
    """Return a plan without what only steers probes: which spokes a hub is asked about."""
    return of if of.hubs is None else replace(of, hubs=replace(of.hubs, targets=()))


@given(inventories(), inventories(), st.integers(0, 3), st.booleans())
def test_no_change_of_a_node_goes_untold(
    old: Inventory, another: Inventory, changed: int, reshaped: bool
) -> None:
    nodes = {own.name: own for own in old.nodes}
    nodes |= {own.name: own for own in another.nodes[:changed]}
    new = replace(another if reshaped else old, nodes=tuple(nodes[name] for name in sorted(nodes)))
    told = {each.node for each in impact(old, new)}
    for name in {own.name for own in old.nodes} & nodes.keys():
        was, will = (plan(mesh, name, allow_hooks=True) for mesh in (old, new))
        assert (name in told) == (kernel(was) != kernel(will)), (was, will)
