"""Which of two keys of a peer carries its traffic: by what the device has, and what it counted."""

from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise

import pytest

from tests.unit.mesh_inventories import inventory, key, node
from wgmesh.desired import desired
from wgmesh.diff import diff
from wgmesh.mesh.compat import Obstacle, compat, outlook
from wgmesh.mesh.order import breaks
from wgmesh.mesh.plan import find_node, plan
from wgmesh.mesh.topology import layout
from wgmesh.model.change import PeerRemove, PeerSet
from wgmesh.model.inventory import Inventory
from wgmesh.model.kernel import KernelState, LinkState, Observed, PeerCounters, PeerState
from wgmesh.model.plan import NodePlan
from wgmesh.model.terms import Endpoint, Secret
from wgmesh.rotation import handed_over, in_force, uses_next

NOW = 1_800_000_000.0
OLD, NEW = key("alpha"), key("alpha, later")
HOME = Endpoint("192.0.2.1", 51820)
TRIED = Endpoint("192.0.2.1", 40000)
PREFIXES = frozenset(map(ip_network, ("10.40.0.1/32", "fd40::1/128")))

BEFORE = inventory(node("alpha"), node("bravo"))
STAGED = inventory(node("alpha", next_public_key=NEW), node("bravo"))
AFTER = inventory(node("alpha", public_key=NEW), node("bravo"))


def bravo(mesh: Inventory = STAGED) -> NodePlan:
    return plan(mesh, "bravo")


def seen(
    old: int,
    new: int,
    *,
    at: Endpoint | None = HOME,
    old_at: Endpoint | None = HOME,
    uses: str = OLD,
) -> Observed:
    """Return bravo's device; `old` and `new` are the ages of the handshakes, -1 for none."""
    peers = {
        public: PeerState(public, PREFIXES if public == uses else frozenset(), endpoint=where)
        for public, where in ((OLD, old_at), (NEW, at))
    }
    link = LinkState("wg0", True, 1420, Secret("k"), 51820, 0, frozenset(), peers)
    counters = {
        public: PeerCounters(int(NOW) - age if age >= 0 else 0, 0, 0)
        for public, age in ((OLD, old), (NEW, new))
    }
    return Observed(KernelState(link), counters)


@pytest.mark.parametrize(
    ("device", "moves"),
    [
        (seen(30, -1), False),  # never heard of
        (seen(30, 10, at=TRIED), False),  # only tried: it comes from another port
        (seen(30, 10), True),
        (seen(30, 30), True),  # both begun in one second
        (seen(10, 30), False),  # gone back since
        (seen(30, 200), False),  # no session any more
        (seen(-1, 10, at=TRIED), True),  # the old one is dead: from wherever it comes
        (seen(200, 10, old_at=None, at=TRIED), True),
        (seen(30, 10, old_at=None), False),
        (seen(-5, -5), False),
    ],
)
def test_the_next_key_takes_over(device: Observed, moves: bool) -> None:
    wanted = {NEW: PeerState(NEW, PREFIXES, endpoint=None)} if moves else {}
    found = handed_over(bravo(), device, (), NOW)
    assert {k: replace(peer, endpoint=None) for k, peer in found.items()} == wanted


@pytest.mark.parametrize(
    ("device", "silent", "moves"),
    [
        (seen(10, 30, uses=NEW), (), False),  # it answers by the next key: both are in use there
        (seen(10, 30, uses=NEW), (NEW,), True),
        (seen(10, 200, uses=NEW), (), True),
        (seen(30, 10, uses=NEW), (NEW,), False),  # the old one is no newer
        (seen(200, 190, uses=NEW), (NEW,), False),  # neither is alive
    ],
)
def test_the_old_key_comes_back(device: Observed, silent: tuple[str, ...], moves: bool) -> None:
    assert (handed_over(bravo(), device, silent, NOW).keys() == {OLD}) is moves


def test_a_plan_is_read_as_the_device_has_it() -> None:
    made = bravo()
    for uses, wanted in ((OLD, (OLD, NEW)), (NEW, (NEW, OLD))):
        link = seen(1, 1, uses=uses).state.link
        assert link is not None
        (alpha,) = in_force(made, link).peers
        assert (alpha.public_key, alpha.next_public_key) == wanted
        assert uses_next(made.peers[0], link) is (uses == NEW)
    assert in_force(made, None) is made
    assert in_force(bravo(BEFORE), link).peers == bravo(BEFORE).peers


def target(made: NodePlan, device: KernelState, previous: NodePlan | None) -> KernelState:
    return desired(
        made,
        private_key=Secret("k"),
        preshared_keys={},
        observed=device,
        previous=previous,
        resolved={},
        former_sysctls={},
    )


@pytest.mark.parametrize("uses", [OLD, NEW])
def test_what_the_device_uses_is_no_drift_and_survives_another_change(uses: str) -> None:
    device = target(bravo(), seen(1, 1, uses=uses).state, bravo())
    link = device.link
    assert link is not None
    own = {public: bool(peer.allowed_ips) for public, peer in link.peers.items()}
    assert own == {OLD: uses == OLD, NEW: uses == NEW}
    assert diff(target(bravo(), device, bravo()), device) == ()


def test_the_last_commit_takes_the_old_key_away_and_nothing_else() -> None:
    device = target(bravo(), seen(1, 1, uses=NEW).state, bravo())
    changes = diff(target(bravo(AFTER), device, bravo()), device)
    assert changes == (PeerRemove("wg0", OLD),)


def test_a_peer_that_had_not_gone_over_does_so_with_the_last_commit() -> None:
    device = target(bravo(), seen(1, 1, uses=OLD).state, bravo())
    first, second = diff(target(bravo(AFTER), device, bravo()), device)
    assert isinstance(first, PeerSet) and first.peer.public_key == NEW
    assert first.peer.allowed_ips == PREFIXES and second == PeerRemove("wg0", OLD)


def test_where_a_key_was_tried_from_is_never_set_back() -> None:
    device = target(bravo(), seen(1, 1, at=TRIED).state, bravo())
    assert device.link is not None and device.link.peers[NEW].endpoint == TRIED


def test_a_node_that_others_cannot_find_looks_for_both_keys() -> None:
    hidden = inventory(node("alpha", next_public_key=NEW), node("bravo", endpoint=None))
    none = seen(1, 1, at=None).state
    link = target(bravo(hidden), none, None).link
    assert link is not None
    assert (link.peers[NEW].endpoint, link.peers[NEW].persistent_keepalive) == (HOME, 25)
    assert link.peers[NEW].allowed_ips == frozenset()
    link = target(bravo(), none, None).link
    assert link is not None and link.peers[NEW].endpoint is None


def test_each_step_is_safe_in_every_order_and_the_hard_way_is_not() -> None:
    steps = (BEFORE, STAGED, AFTER)
    assert [breaks(one, other) for one, other in pairwise(steps)] == [(), ()]
    (found,) = breaks(BEFORE, AFTER)
    assert found.why == Obstacle.KEY.value and "next_public_key" in found.safe


def test_going_over_waits_for_nobody_who_knows_the_next_key() -> None:
    staged, before = layout(STAGED), layout(BEFORE)
    me = (OLD, NEW)
    assert outlook(staged, staged, me, staged, key("bravo")) == 0
    assert outlook(staged, staged, me, before, key("bravo")) is Obstacle.KEY
    assert compat(staged, key("bravo"), staged, NEW) == 0


def test_a_node_is_known_by_its_next_key_and_runs_it_when_told_to() -> None:
    alpha = find_node(STAGED, NEW)
    assert alpha is not None and alpha.name == "alpha" and find_node(BEFORE, NEW) is None
    assert plan(STAGED, "alpha").public_key == OLD
    assert plan(STAGED, "alpha", public_key=NEW).public_key == NEW
    assert replace(plan(STAGED, "alpha", public_key=NEW), public_key=OLD) == plan(STAGED, "alpha")
