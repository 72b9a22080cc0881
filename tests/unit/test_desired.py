"""What a plan asks for on this machine, the way back, and one line about each change."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from wgmesh.describe import describe
from wgmesh.desired import another_psk, desired, literal, moved, names, restored, touched
from wgmesh.model.change import (
    AddressAdd,
    AddressRemove,
    Change,
    DeviceSet,
    EndpointSet,
    FirewallSet,
    LinkCreate,
    LinkDelete,
    LinkSet,
    PeerRemove,
    PeerSet,
    RouteRemove,
    RouteReplace,
    RuleAdd,
    RuleRemove,
    SysctlSet,
)
from wgmesh.model.kernel import KernelState, LinkState, PeerState
from wgmesh.model.plan import Firewall, NodePlan, Peer, Route, RouteKind, Rule, RuleAction
from wgmesh.model.terms import Endpoint, Secret

KEY = Secret("6" * 43 + "=")
PSK = Secret("p" * 43 + "=")
PRIMARY = Endpoint("192.0.2.1", 51820)
ALTERNATIVE = Endpoint("192.0.2.2", 51820)
ROAMED = Endpoint("198.51.100.7", 40000)
NAMED = Endpoint("bravo.example.com", 51820)
FOUND = Endpoint("203.0.113.5", 51820)
BRAVO = "b" * 43 + "="


def plan(*endpoints: Endpoint, others: tuple[Peer, ...] = ()) -> NodePlan:
    """Return a plan whose peer bravo has `endpoints`."""
    bravo = Peer("bravo", BRAVO, (), (ip_network("10.40.0.2/32"),), endpoints, 25)
    return NodePlan(
        node="alpha",
        interface="wg0",
        public_key="me",
        private_key_path="/etc/wireguard/wg0.key",
        addresses=(ip_interface("10.40.0.1/32"),),
        listen_port=51820,
        mtu=1420,
        peers=(bravo, *others),
        routes=(Route(ip_network("10.40.0.0/24"), "wg0"),),
        rules=(Rule(4, 100, RuleAction.LOOKUP, 200),),
        fwmark=0x100,
        firewall=Firewall((("forward", ("a",)),), "table inet wgmesh {}"),
        sysctls=(("net.ipv4.ip_forward", "1"),),
    )


def device(endpoint: Endpoint | None, *, key: str = BRAVO) -> KernelState:
    """Return a machine whose device has one peer at `endpoint`."""
    peer = PeerState(key, frozenset({ip_network("10.40.0.2/32")}), 25, None, endpoint)
    return KernelState(LinkState("wg0", True, 1420, KEY, 51820, 0, frozenset(), {key: peer}))


NOTHING = KernelState(None)


def want(
    new: NodePlan,
    observed: KernelState,
    previous: NodePlan | None,
    *,
    resolved: Mapping[Endpoint, Endpoint] | None = None,
    reset: tuple[str, ...] = (),
    former: Mapping[str, str] | None = None,
) -> KernelState:
    """Return desired() with what most tests do not care about filled in."""
    return desired(
        new,
        private_key=KEY,
        preshared_keys={},
        observed=observed,
        previous=previous,
        resolved=resolved or {},
        reset=reset,
        former_sysctls=former or {},
    )


def endpoint(state: KernelState, key: str = BRAVO) -> Endpoint | None:
    assert state.link is not None
    return state.link.peers[key].endpoint


OLD = plan(PRIMARY)
RENAMED = replace(plan(PRIMARY), mtu=1380)


@pytest.mark.parametrize(
    ("new", "current", "previous", "reset", "expected"),
    [
        # a roamed or failed-over endpoint survives a change that does not concern it
        (RENAMED, ROAMED, OLD, (), ROAMED),
        (plan(PRIMARY, ALTERNATIVE), ALTERNATIVE, plan(PRIMARY, ALTERNATIVE), (), ALTERNATIVE),
        (plan(PRIMARY, ALTERNATIVE), ROAMED, plan(PRIMARY), (), ROAMED),
        (OLD, PRIMARY, OLD, (), PRIMARY),
        # the inventory's change moves it
        (plan(FOUND), ROAMED, OLD, (), FOUND),
        (plan(FOUND), PRIMARY, OLD, (), FOUND),
        (plan(replace(PRIMARY, port=443)), PRIMARY, OLD, (), replace(PRIMARY, port=443)),
        (plan(PRIMARY), ROAMED, plan(), (), PRIMARY),
        # a peer behind NAT has the endpoint that it was heard from, and keeps it
        (plan(), ROAMED, plan(), (), ROAMED),
        (plan(), PRIMARY, OLD, (), PRIMARY),
        (plan(), None, plan(), (), None),
        (plan(), ROAMED, plan(), (BRAVO,), ROAMED),
        # a peer that we did not make, and one that lost its endpoint
        (OLD, ROAMED, None, (), PRIMARY),
        (OLD, None, OLD, (), PRIMARY),
        # no session: back to the inventory's, unless it is at a candidate
        (OLD, ROAMED, OLD, (BRAVO,), PRIMARY),
        (plan(PRIMARY, ALTERNATIVE), ALTERNATIVE, OLD, (BRAVO,), ALTERNATIVE),
        (plan(PRIMARY, ALTERNATIVE), ROAMED, OLD, (BRAVO,), PRIMARY),
        (OLD, ROAMED, OLD, ("someone else",), ROAMED),
    ],
)
def test_endpoint(
    new: NodePlan,
    current: Endpoint | None,
    previous: NodePlan | None,
    reset: tuple[str, ...],
    expected: Endpoint | None,
) -> None:
    assert endpoint(want(new, device(current), previous, reset=reset)) == expected


@pytest.mark.parametrize(
    "observed", [NOTHING, device(ROAMED, key="other")], ids=["no link", "new peer"]
)
def test_a_new_peer_gets_its_endpoint(observed: KernelState) -> None:
    assert endpoint(want(OLD, observed, None)) == PRIMARY
    assert endpoint(want(OLD, observed, OLD)) == PRIMARY


def test_names_wait_until_they_resolve() -> None:
    new = plan(NAMED)
    assert endpoint(want(new, NOTHING, None)) is None
    assert endpoint(want(new, NOTHING, None, resolved={NAMED: FOUND})) == FOUND
    assert endpoint(want(new, device(ROAMED), OLD)) == ROAMED, "until then it stays"
    assert endpoint(want(new, device(ROAMED), OLD, resolved={NAMED: FOUND})) == FOUND
    assert endpoint(want(new, device(ROAMED), new, reset=(BRAVO,))) == ROAMED
    resolved = {NAMED: FOUND}
    assert endpoint(want(new, device(ROAMED), new, resolved=resolved, reset=(BRAVO,))) == FOUND


def test_a_name_with_another_answer_moves_only_a_dead_peer() -> None:
    new = plan(NAMED)
    answer = {NAMED: FOUND}
    assert endpoint(want(new, device(PRIMARY), new, resolved=answer)) == PRIMARY
    assert endpoint(want(new, device(PRIMARY), new, resolved=answer, reset=(BRAVO,))) == FOUND


def test_a_named_alternative_is_a_candidate_too() -> None:
    new = plan(PRIMARY, NAMED)
    answer = {NAMED: FOUND}
    assert endpoint(want(new, device(FOUND), new, resolved=answer, reset=(BRAVO,))) == FOUND
    assert endpoint(want(new, device(FOUND), new, reset=(BRAVO,))) == PRIMARY


def test_one_unresolved_name_delays_only_its_peer() -> None:
    other = Peer("charlie", "c", (), (), (Endpoint("nowhere.example.com", 1),))
    state = want(plan(NAMED, others=(other,)), NOTHING, None, resolved={NAMED: FOUND})
    assert endpoint(state) == FOUND
    assert endpoint(state, "c") is None


def test_names_and_literals() -> None:
    assert names(plan(PRIMARY, NAMED, Endpoint("::1", 1))) == {NAMED}
    assert literal(PRIMARY, {}) == PRIMARY
    assert literal(NAMED, {}) is None
    assert literal(NAMED, {NAMED: FOUND}) == FOUND
    # never a name in what goes to the kernel, nor an answer for what is a literal already
    assert literal(PRIMARY, {PRIMARY: FOUND}) == PRIMARY


def test_all_of_the_plan_is_in_the_state() -> None:
    new = plan(PRIMARY)
    state = desired(
        new,
        private_key=KEY,
        preshared_keys={BRAVO: PSK, "stranger": PSK},
        observed=device(ROAMED, key="stranger"),
        previous=None,
        resolved={},
        former_sysctls={},
    )
    assert state == KernelState(
        link=LinkState(
            name="wg0",
            up=True,
            mtu=1420,
            private_key=KEY,
            listen_port=51820,
            fwmark=0x100,
            addresses=frozenset(new.addresses),
            peers={
                BRAVO: PeerState(BRAVO, frozenset({ip_network("10.40.0.2/32")}), 25, PSK, PRIMARY)
            },
        ),
        routes=frozenset(new.routes),
        rules=frozenset(new.rules),
        firewall=new.firewall,
        sysctls={"net.ipv4.ip_forward": "1"},
    )


def test_sysctls_go_back_to_what_they_were() -> None:
    former = {"net.ipv4.ip_forward": "0", "net.ipv4.conf.all.rp_filter": "2"}
    state = want(plan(PRIMARY), NOTHING, None, former=former)
    assert state.sysctls == {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "2"}
    state = want(replace(plan(PRIMARY), sysctls=()), NOTHING, None, former=former)
    assert state.sysctls == former


# ---------------------------------------------------------------- the way back


def test_the_transaction_knows_what_it_moved() -> None:
    assert moved(device(FOUND), device(PRIMARY)) == {BRAVO}
    assert moved(device(PRIMARY), device(PRIMARY)) == frozenset()
    assert moved(device(None), device(PRIMARY)) == frozenset(), "None leaves what is there"
    assert moved(device(FOUND, key="new"), device(PRIMARY)) == frozenset(), "a new peer"
    assert moved(NOTHING, device(PRIMARY)) == frozenset()
    assert moved(device(PRIMARY), NOTHING) == frozenset()


def test_the_way_back_keeps_where_peers_roamed_to() -> None:
    snapshot, now = device(PRIMARY), device(ROAMED)
    assert endpoint(restored(snapshot, now, ())) == ROAMED
    assert endpoint(restored(snapshot, now, (BRAVO,))) == PRIMARY


def test_the_way_back_restores_a_peer_that_is_gone() -> None:
    assert endpoint(restored(device(PRIMARY), device(ROAMED, key="other"), ())) == PRIMARY
    assert endpoint(restored(device(PRIMARY), device(None), ())) == PRIMARY
    assert restored(device(PRIMARY), NOTHING, ()) == device(PRIMARY)
    assert restored(NOTHING, device(PRIMARY), ()) == NOTHING


def test_the_way_back_touches_nothing_but_endpoints() -> None:
    snapshot = replace(device(PRIMARY), routes=frozenset({Route(ip_network("10.9.0.0/16"), "wg0")}))
    found = restored(snapshot, device(ROAMED), ())
    assert restored(found, device(PRIMARY), ()) == snapshot
    assert set(found.link.peers if found.link else ()) == {BRAVO}


def test_back_and_forth_is_the_snapshot_again() -> None:
    before = device(ROAMED)
    target = want(plan(FOUND), before, OLD)
    assert endpoint(target) == FOUND
    back = restored(before, target, moved(target, before))
    assert endpoint(back) == ROAMED


# ---------------------------------------------------------------- whose tunnel changes


def with_link(state: KernelState, **fields: Any) -> KernelState:  # noqa: ANN401
    """Return `state` with another device."""
    assert state.link is not None
    return replace(state, link=replace(state.link, **fields))


def with_peer(**fields: Any) -> KernelState:  # noqa: ANN401
    """Return the device with two peers, of which bravo is another."""
    state = device(PRIMARY)
    assert state.link is not None
    bravo = state.link.peers[BRAVO]
    other = replace(bravo, public_key="other")
    return with_link(state, peers={BRAVO: replace(bravo, **fields), "other": other})


TWO = with_peer()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (TWO, set()),
        (with_link(TWO, mtu=1280, fwmark=5), set()),
        (replace(TWO, routes=frozenset({Route(ip_network("10.0.0.0/8"), "wg0")})), set()),
        (with_peer(endpoint=ROAMED), {BRAVO}),
        (with_peer(allowed_ips=frozenset()), {BRAVO}),
        (with_peer(persistent_keepalive=0), {BRAVO}),
        (with_peer(preshared_key=PSK), {BRAVO}),
        (with_link(TWO, listen_port=1), {BRAVO, "other"}),
        (with_link(TWO, private_key=PSK), {BRAVO, "other"}),
        (with_link(TWO, addresses=frozenset({ip_interface("10.40.0.7/32")})), {BRAVO, "other"}),
        (NOTHING, set()),
    ],
)
def test_whose_tunnel_a_change_alters(target: KernelState, expected: set[str]) -> None:
    assert touched(target, TWO) == expected
    changes_psk = target == with_peer(preshared_key=PSK)
    assert another_psk(target, TWO) == ({BRAVO} if changes_psk else set())


def test_a_new_peer_and_a_new_device_alter_all_that_is_new() -> None:
    assert touched(TWO, device(PRIMARY)) == {"other"}
    assert touched(TWO, NOTHING) == {BRAVO, "other"}
    assert touched(device(PRIMARY), TWO) == set()
    assert another_psk(with_peer(preshared_key=PSK), NOTHING) == set()
    assert another_psk(with_peer(preshared_key=PSK), device(PRIMARY)) == {BRAVO}


def test_another_prefix_length_is_the_same_address() -> None:
    one = with_link(TWO, addresses=frozenset({ip_interface("10.40.0.7/24")}))
    other = with_link(TWO, addresses=frozenset({ip_interface("10.40.0.7/32")}))
    assert touched(one, other) == set()


# ---------------------------------------------------------------- one line about a change

ROUTE = Route(ip_network("10.40.0.0/24"), "wg0")
RULE = Rule(4, 5000, RuleAction.LOOKUP, 51820)
PEER = PeerState("bravo" * 8, frozenset({ip_network("10.40.0.2/32")}), 25, KEY, Endpoint("::1", 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (LinkCreate("wg0"), "create wg0"),
        (LinkDelete("wg0"), "delete wg0"),
        (LinkSet("wg0", mtu=1420, up=True), "wg0 1420 up"),
        (LinkSet("wg0", up=False), "wg0 down"),
        (DeviceSet("wg0", KEY, 51820, 0x1000), "wg0 private key 51820 0x1000"),
        (DeviceSet("wg0", fwmark=0), "wg0 fwmark"),
        (PeerSet("wg0", PEER, renew=True), "bravo 10.40.0.2/32"),
        (PeerSet("wg0", PeerState("bravo", frozenset())), "bravo none"),
        (EndpointSet("wg0", "bravo", Endpoint("2001:db8::1", 5)), "bravo [2001:db8::1]:5"),
        (PeerRemove("wg0", "bravo"), "bravo remove"),
        (AddressAdd("wg0", ip_interface("10.40.0.1/32")), "10.40.0.1/32 add"),
        (AddressRemove("wg0", ip_interface("10.40.0.1/32")), "10.40.0.1/32 remove"),
        (RouteReplace(ROUTE), "10.40.0.0/24 wg0 add"),
        (RouteRemove(ROUTE), "10.40.0.0/24 wg0 remove"),
        (RouteReplace(Route(ip_network("::/0"), None, kind=RouteKind.UNREACHABLE)), "unreachable"),
        (RuleAdd(RULE), "5000 add"),
        (RuleRemove(RULE), "5000 remove"),
        (FirewallSet(Firewall((), "table")), "inet wgmesh load"),
        (FirewallSet(None), "inet wgmesh remove"),
        (SysctlSet("net.ipv4.ip_forward", "1"), "net.ipv4.ip_forward 1"),
    ],
)
def test_a_change_is_one_line_without_secrets(change: Change, words: str) -> None:
    line = describe(change)
    assert KEY.reveal() not in line
    assert "\n" not in line
    for word in words.split():
        assert word in line


@pytest.mark.parametrize(
    ("current", "previous", "reset", "expected"),
    [
        (None, OLD, (), ALTERNATIVE),  # the interface was made anew
        (ROAMED, OLD, (BRAVO,), ALTERNATIVE),  # no session, at neither
        (ROAMED, OLD, (), ROAMED),  # it has moved on by itself
        (ALTERNATIVE, plan(FOUND), (), PRIMARY),  # the inventory's change concerns it
    ],
)
def test_an_endpoint_that_the_failover_chose(
    current: Endpoint | None, previous: NodePlan, reset: tuple[str, ...], expected: Endpoint
) -> None:
    state = desired(
        OLD,
        private_key=KEY,
        preshared_keys={},
        observed=device(current),
        previous=previous,
        resolved={},
        reset=reset,
        former_sysctls={},
        chosen={BRAVO: ALTERNATIVE},
    )
    assert endpoint(state) == expected
