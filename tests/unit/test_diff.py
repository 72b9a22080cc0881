"""diff, split and after: data in, data out."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgmesh.after import after
from wgmesh.diff import diff, split
from wgmesh.errors import WgmeshError
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
from wgmesh.model.plan import Accept, Firewall, Route, RouteKind, Rule, RuleAction
from wgmesh.model.terms import Endpoint, Prefix, Secret

KEYS = [f"peer{number}" for number in range(6)]
PREFIXES = [ip_network(f"10.0.0.{number}/32") for number in range(8)] + [
    ip_network("0.0.0.0/0"),
    ip_network("fd00::/64"),
]
SYSCTLS = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]
HERE, THERE = Endpoint("192.0.2.1", 51820), Endpoint("2001:db8::1", 51821)


def peer(key: str, *allowed_ips: str, **rest: object) -> PeerState:
    return PeerState(key, frozenset(map(ip_network, allowed_ips)), **rest)  # type: ignore[arg-type]


def machine(*peers: PeerState, **rest: object) -> KernelState:
    link = LinkState(
        "wg0", True, 1420, Secret("key"), 51820, 0, frozenset(), {p.public_key: p for p in peers}
    )
    return KernelState(link, **rest)  # type: ignore[arg-type]


# ---------------------------------------------------------------- properties

route_places = st.tuples(
    st.sampled_from([ip_network("10.0.0.0/24"), ip_network("0.0.0.0/0"), ip_network("fd00::/64")]),
    st.sampled_from([254, 101]),
    st.sampled_from([0, 4294967295]),
)
accepts = st.builds(
    Accept,
    family=st.sampled_from([4, 6]),
    chain=st.sampled_from(["FORWARD", "DOCKER-USER"]),
    iif=st.sampled_from(["wg0", None]),
    oif=st.just("eth0"),
)
rules = st.builds(
    Rule,
    family=st.sampled_from([4, 6]),
    priority=st.integers(31000, 31003),
    action=st.just(RuleAction.LOOKUP),
    target=st.sampled_from([101, 254]),
    iif=st.sampled_from([None, "lo"]),
)
firewalls = st.none() | st.builds(
    Firewall, tags=st.sampled_from([(), (("input", ("a", "b")),)]), text=st.just("")
)


@st.composite
def links(draw: st.DrawFn, name: str) -> LinkState:
    owners: Mapping[Prefix, str] = draw(
        st.dictionaries(st.sampled_from(PREFIXES), st.sampled_from(KEYS))
    )
    peers = {
        key: PeerState(
            key,
            frozenset(prefix for prefix, owner in owners.items() if owner == key),
            draw(st.sampled_from([0, 25])),
            draw(st.sampled_from([None, Secret("psk1"), Secret("psk2")])),
            draw(st.sampled_from([HERE, THERE])),
        )
        for key in sorted(set(owners.values()) | draw(st.sets(st.sampled_from(KEYS))))
    }
    addresses = st.sampled_from(["10.0.0.1/32", "10.0.0.1/24", "fd00::1/128", "fd00::1/64"])
    return LinkState(
        name=name,
        up=draw(st.booleans()),
        mtu=draw(st.sampled_from([1280, 1420])),
        private_key=draw(st.sampled_from([Secret("k1"), Secret("k2")])),
        listen_port=draw(st.sampled_from([51820, 51821])),
        fwmark=draw(st.sampled_from([0, 0x102])),
        addresses=frozenset(draw(st.sets(addresses.map(ip_interface)))),
        peers=peers,
    )


@st.composite
def states(draw: st.DrawFn, names: tuple[str, ...] = ("wg0", "wg1")) -> KernelState:
    """Draw a state that a kernel can be in: no route over a device that is down or not there."""
    link = draw(st.none() | st.sampled_from(names).flatmap(links))
    over = [None] if link is None or not link.up else [None, link.name]
    routes = set()
    for prefix, table, metric in draw(st.sets(route_places)):
        device = draw(st.sampled_from(over))
        kind = RouteKind.UNREACHABLE if device is None else RouteKind.UNICAST
        routes.add(Route(prefix, device, table, metric, kind))
    return KernelState(
        link=link,
        routes=frozenset(routes),
        rules=frozenset(draw(st.sets(rules))),
        firewall=draw(firewalls),
        sysctls={key: draw(st.sampled_from(["0", "1"])) for key in SYSCTLS},
        accepts=frozenset(draw(st.sets(accepts))),
    )


@given(states(), states())
def test_changes_lead_from_observed_to_desired(desired: KernelState, observed: KernelState) -> None:
    assert after(observed, diff(desired, observed)) == desired


@given(states())
def test_nothing_to_do_is_no_change(state: KernelState) -> None:
    assert diff(state, state) == ()


@given(states(), states())
def test_the_same_input_gives_the_same_order(desired: KernelState, observed: KernelState) -> None:
    shuffled = replace(desired, rules=frozenset(sorted(desired.rules, key=repr, reverse=True)))
    assert diff(shuffled, observed) == diff(desired, observed)


@given(states(), states())
def test_split_cuts_before_the_first_removal(desired: KernelState, observed: KernelState) -> None:
    changes = diff(desired, observed)
    additive, removals = split(changes)
    assert additive + removals == changes
    grown = after(observed, additive)
    if observed.link and desired.link and observed.link.name == desired.link.name:
        kept = {route for route in observed.routes & desired.routes}
        assert kept <= grown.routes
        assert observed.link.addresses <= (grown.link or observed.link).addresses
        assert observed.link.peers.keys() <= (grown.link or observed.link).peers.keys()
        assert observed.rules | desired.rules <= grown.rules


def ownership(state: KernelState) -> dict[Prefix, str]:
    peers = state.link.peers.values() if state.link else ()
    return {prefix: each.public_key for each in peers for prefix in each.allowed_ips}


@given(states(("wg0",)), states(("wg0",)))
def test_what_both_states_give_a_peer_never_leaves_it(
    desired: KernelState, observed: KernelState
) -> None:
    kept = ownership(desired).items() & ownership(observed).items()
    addresses: frozenset[object] = frozenset()
    if desired.link and observed.link and desired.link.up:
        addresses = desired.link.addresses & observed.link.addresses
    rules = desired.rules & observed.rules
    state = observed
    for change in diff(desired, observed):
        state = after(state, [change])
        if desired.link and observed.link:
            assert kept <= ownership(state).items()
            assert state.link is not None
            assert addresses <= state.link.addresses
        assert rules <= state.rules


@given(states(("wg0",)), states(("wg0",)))
@settings(max_examples=50)
def test_endpoint_and_key_that_are_left_open_stay(
    desired: KernelState, observed: KernelState
) -> None:
    if desired.link is None:
        return
    peers = {key: replace(each, endpoint=None) for key, each in desired.link.peers.items()}
    link = replace(desired.link, private_key=None, peers=peers)
    wanted = replace(desired, link=link)
    reached = after(observed, diff(wanted, observed))
    assert reached.link is not None
    had = observed.link.peers if observed.link else {}
    for key, each in reached.link.peers.items():
        assert each.endpoint == (had[key].endpoint if key in had else None)
    assert reached.link.private_key == (observed.link.private_key if observed.link else None)
    assert diff(wanted, reached) == ()


# ---------------------------------------------------------------- examples


def peer_sets(changes: tuple[Change, ...]) -> list[str]:
    return [change.peer.public_key for change in changes if isinstance(change, PeerSet)]


def test_from_nothing_the_order_is_the_documented_one() -> None:
    route = Route(ip_network("10.0.0.0/24"), "wg0")
    rule = Rule(4, 31000, RuleAction.LOOKUP, 101)
    address = ip_interface("10.0.0.1/32")
    wanted = machine(
        peer("a", "10.0.0.2/32", endpoint=HERE),
        routes=frozenset({route}),
        rules=frozenset({rule}),
        firewall=Firewall((), "text"),
        sysctls={"net.ipv4.ip_forward": "1"},
    )
    assert wanted.link is not None
    wanted = replace(wanted, link=replace(wanted.link, addresses=frozenset({address})))
    changes = diff(wanted, KernelState(None))
    assert changes == (
        LinkCreate("wg0"),
        DeviceSet("wg0", Secret("key"), 51820, None),
        SysctlSet("net.ipv4.ip_forward", "1"),
        FirewallSet(Firewall((), "text")),
        LinkSet("wg0", mtu=1420),
        PeerSet("wg0", peer("a", "10.0.0.2/32", endpoint=HERE)),
        AddressAdd("wg0", address),
        LinkSet("wg0", up=True),
        RouteReplace(route),
        RuleAdd(rule),
    )
    assert diff(KernelState(None), wanted) == (
        RuleRemove(rule),
        FirewallSet(None),
        LinkDelete("wg0"),
    )


def test_a_pure_loser_is_left_out() -> None:
    before = machine(peer("a", "0.0.0.0/0", "10.0.0.1/32"), peer("b", "10.0.0.2/32"))
    wanted = machine(peer("a", "10.0.0.1/32"), peer("b", "0.0.0.0/0", "10.0.0.2/32"))
    assert peer_sets(diff(wanted, before)) == ["b"]


def test_a_loser_of_a_prefix_that_nobody_gains_is_set() -> None:
    before = machine(peer("a", "0.0.0.0/0", "10.0.0.1/32"), peer("b", "10.0.0.2/32"))
    wanted = machine(peer("a", "10.0.0.1/32"), peer("b", "10.0.0.2/32"))
    assert diff(wanted, before) == (PeerSet("wg0", peer("a", "10.0.0.1/32")),)


def test_the_gainer_comes_before_the_one_that_lets_go() -> None:
    before = machine(peer("a", "10.1.0.0/16"), peer("b", "10.2.0.0/16"))
    wanted = machine(peer("a", "10.3.0.0/16"), peer("b", "10.1.0.0/16", "10.2.0.0/16"))
    assert peer_sets(diff(wanted, before)) == ["b", "a"]


def test_a_new_peer_takes_the_prefix_of_one_that_goes() -> None:
    changes = diff(machine(peer("b", "10.0.0.1/32")), machine(peer("a", "10.0.0.1/32")))
    assert changes == (
        PeerSet("wg0", peer("b", "10.0.0.1/32")),
        PeerRemove("wg0", "a"),
    )


def test_an_endpoint_alone_moves_without_a_section() -> None:
    before, wanted = machine(peer("a", endpoint=HERE)), machine(peer("a", endpoint=THERE))
    assert diff(wanted, before) == (EndpointSet("wg0", "a", THERE),)


def test_a_section_names_the_endpoint_only_when_it_changes() -> None:
    before = machine(peer("a", endpoint=HERE), peer("b", endpoint=HERE))
    wanted = machine(
        peer("a", endpoint=HERE, persistent_keepalive=25),
        peer("b", endpoint=THERE, persistent_keepalive=25),
    )
    assert diff(wanted, before) == (
        PeerSet("wg0", peer("a", persistent_keepalive=25)),
        PeerSet("wg0", peer("b", persistent_keepalive=25, endpoint=THERE)),
    )


@pytest.mark.parametrize("psk", [None, Secret("other")])
def test_another_psk_renews_the_peer_where_it_is(psk: Secret | None) -> None:
    before = machine(peer("a", "10.0.0.1/32", preshared_key=Secret("psk"), endpoint=THERE))
    wanted = machine(peer("a", "10.0.0.1/32", preshared_key=psk))
    section = peer("a", "10.0.0.1/32", preshared_key=psk, endpoint=THERE)
    assert diff(wanted, before) == (PeerSet("wg0", section, renew=True),)


def test_one_new_peer_of_a_thousand_is_one_change() -> None:
    peers = [peer(f"p{n}", f"10.{n // 250}.{n % 250}.1/32", endpoint=HERE) for n in range(1000)]
    changes = diff(machine(*peers), machine(*peers[1:]))
    assert changes == (PeerSet("wg0", peers[0]),)


def test_routes_of_others_over_the_interface_stay() -> None:
    static = Route(ip_network("10.9.0.0/16"), "wg0", protocol=4)
    ours = Route(ip_network("10.8.0.0/16"), "wg0")
    before = machine(routes=frozenset({static, ours}))
    assert diff(machine(), before) == (RouteRemove(ours),)


def test_a_route_takes_the_place_of_another_with_its_key() -> None:
    boot = Route(ip_network("10.9.0.0/16"), "wg0", protocol=3)
    ours = replace(boot, protocol=101)
    before, wanted = machine(routes=frozenset({boot})), machine(routes=frozenset({ours}))
    assert diff(wanted, before) == (RouteReplace(ours),)
    assert diff(before, wanted) == (RouteReplace(boot),)


def test_the_floor_is_first_in_and_last_out() -> None:
    way = Route(ip_network("0.0.0.0/0"), "wg0", 101)
    floor = Route(ip_network("0.0.0.0/0"), None, 101, 4294967295, RouteKind.UNREACHABLE)
    exempt = Rule(4, 31020, RuleAction.GOTO, 32766, fwmark=0x101)
    main = Rule(4, 31000, RuleAction.LOOKUP, 254, suppress_prefixlength=1)
    out = Rule(4, 31050, RuleAction.LOOKUP, 101, iif="lo")
    stop = Rule(4, 31051, RuleAction.UNREACHABLE, iif="lo")
    full = machine(routes=frozenset({way, floor}), rules=frozenset({out, stop, exempt, main}))
    assert diff(full, machine()) == (
        RouteReplace(floor),
        RouteReplace(way),
        *map(RuleAdd, (main, exempt, stop, out)),
    )
    assert diff(machine(), full) == (
        *map(RuleRemove, (out, stop, exempt, main)),
        RouteRemove(way),
        RouteRemove(floor),
    )


def test_sysctls_are_set_in_the_order_given_and_others_left() -> None:
    keys = ["net.b", "net.a"]
    wanted = KernelState(None, sysctls=dict.fromkeys(keys, "1"))
    observed = KernelState(None, sysctls={"net.c": "7", "net.a": "0"})
    changes = diff(wanted, observed)
    assert changes == (SysctlSet("net.b", "1"), SysctlSet("net.a", "1"))
    assert after(observed, changes).sysctls["net.c"] == "7"


def test_a_renamed_interface_goes_before_the_new_one_takes_its_port() -> None:
    before = machine(peer("a", "10.0.0.1/32"))
    assert before.link is not None
    changes = diff(replace(before, link=replace(before.link, name="wg1")), before)
    assert changes[:3] == (
        LinkDelete("wg0"),
        LinkCreate("wg1"),
        DeviceSet("wg1", Secret("key"), 51820, None),
    )


def test_an_interface_taken_down_keeps_its_ipv6_address() -> None:
    state = machine()
    assert state.link is not None
    address = ip_interface("fd00::1/128")
    up = replace(state, link=replace(state.link, addresses=frozenset({address})))
    assert up.link is not None
    down = replace(up, link=replace(up.link, up=False))
    assert diff(down, up) == (LinkSet("wg0", up=False), AddressAdd("wg0", address))


def test_a_change_for_no_interface_is_an_error() -> None:
    change = AddressRemove("wg0", ip_interface("10.0.0.1/32"))
    with pytest.raises(WgmeshError, match="no interface wg0"):
        after(KernelState(None), [change])


def test_no_change_shows_a_secret() -> None:
    secret = Secret("c2VjcmV0")
    wanted = machine(peer("a", preshared_key=secret))
    assert wanted.link is not None
    wanted = replace(wanted, link=replace(wanted.link, private_key=secret))
    said = list(
        itertools.chain(map(repr, diff(wanted, machine())), map(str, diff(wanted, machine())))
    )
    assert len(said) == 4
    assert not any("c2VjcmV0" in line for line in said)
