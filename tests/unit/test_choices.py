"""A plan with run-time choices in force: AllowedIPs move as a whole, and nothing else does."""

from dataclasses import replace
from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given

from tests.unit.mesh_inventories import inventories, inventory, key, node, star
from wgmesh.choices import Choices, applied
from wgmesh.mesh import exits
from wgmesh.mesh.firewall import firewall_tags, ways
from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory
from wgmesh.model.plan import Exempt, NodePlan, RouteKind, RuleAction, Uplinks
from wgmesh.model.terms import HubSelection, Prefix

FOUR, SIX = ip_network("0.0.0.0/0"), ip_network("::/0")
NONE = Uplinks()
OUT = {"exit_out_iface": "eth0", "enable_nat": True}
WITH_EXITS = inventory(
    node("alpha"),
    node("bravo", **OUT),
    node("charlie", allowed_ips=(ip_network("192.168.9.0/24"),), **OUT),
    exit_nodes=("bravo", "charlie"),
    enable_exit_for_nodes=("alpha",),
)
LAN = ip_network("192.168.50.0/24")
STAR = star(
    node("alpha"),
    node("bravo", allowed_ips=(ip_network("192.168.7.0/24"),)),
    node("charlie"),
    node("delta", allowed_ips=(LAN,)),
    node("echo", intermittent=True),
    hubs=("alpha", "bravo"),
    hub_selection=HubSelection.LATENCY,
)


def allowed(of: NodePlan, name: str) -> tuple[Prefix, ...]:
    """Return the AllowedIPs of a peer."""
    return next(peer.allowed_ips for peer in of.peers if peer.name == name)


# ---------------------------------------------------------------- exits


def test_a_boot_begins_with_the_primary_exit_or_the_first() -> None:
    made = plan(WITH_EXITS, "alpha")
    assert allowed(made, "bravo") == (
        FOUR,
        *map(ip_network, ("10.40.0.2/32", "::/0", "fd40::2/128")),
    )
    assert FOUR not in allowed(made, "charlie")
    second = replace(WITH_EXITS, mesh=replace(WITH_EXITS.mesh, exit_primary="charlie"))
    assert FOUR in allowed(plan(second, "alpha"), "charlie")


def test_the_exit_in_use_has_the_default_routes_and_all_that_it_owns() -> None:
    made = plan(WITH_EXITS, "alpha")
    moved = applied(made, Choices(exit=key("charlie")), NONE)
    assert {FOUR, SIX, *allowed(made, "charlie")} == {*allowed(moved, "charlie")}
    assert not {FOUR, SIX} & {*allowed(moved, "bravo")}
    only4 = applied(made, Choices(exit=key("charlie"), families=(4,)), NONE)
    assert SIX not in allowed(only4, "charlie") and FOUR in allowed(only4, "charlie")


@pytest.mark.parametrize("choice", ["", key("alpha"), "gone"])
def test_an_exit_that_is_none_changes_nothing(choice: str) -> None:
    made = plan(WITH_EXITS, "alpha")
    assert applied(made, Choices(exit=choice, hub=choice), NONE) == made


def test_what_is_lent_is_given_back_by_not_lending_it() -> None:
    made = plan(WITH_EXITS, "alpha")
    target = ip_network("1.1.1.1/32")
    lent = applied(made, Choices(lent={target: key("charlie")}), NONE)
    assert target in allowed(lent, "charlie") and FOUR in allowed(lent, "bravo")
    assert applied(made, Choices(), NONE) == made


def test_uplinks_are_let_out_in_both_layers() -> None:
    made = plan(WITH_EXITS, "alpha")
    uplinks = Uplinks(
        (ip_network("203.0.113.0/24"), ip_network("2001:db8::/64")), (IPv4Address("203.0.113.9"),)
    )
    now = applied(made, Choices(), uplinks)
    assert made.firewall is not None and now.firewall is not None
    (chain,) = (tags for name, tags in now.firewall.tags if name == "killswitch")
    (before,) = (tags for name, tags in made.firewall.tags if name == "killswitch")
    assert [tag for tag in chain if tag in before] == list(before)
    assert len(chain) == len(before) + 2
    assert chain[-1] == before[-1], "the drop stays the last"
    assert firewall_tags(now.firewall.text) == now.firewall.tags
    added = set(now.rules) - set(made.rules)
    assert [(r.family, r.action, str(r.source)) for r in added] == [
        (4, RuleAction.GOTO, "203.0.113.9/32")
    ]


def test_direct_takes_the_way_out_away_and_keeps_the_mesh_in() -> None:
    made = plan(WITH_EXITS, "alpha")
    open_plan = applied(made, Choices(direct=True), NONE)
    assert not any(exits.is_way_out(rule) for rule in open_plan.rules)
    assert open_plan.firewall is not None
    assert exits.LAST_DROP + " comment" not in [
        line.strip().partition(' "')[0] for line in open_plan.firewall.text.splitlines()
    ]
    assert "ip daddr 10.40.0.0/24 counter drop" in open_plan.firewall.text


@pytest.mark.parametrize("family", [4, 6])
def test_the_floor_lies_under_every_way_out(family: int) -> None:
    made = plan(WITH_EXITS, "alpha", exempt=Exempt(985, (997,), (ip_network("168.63.129.16/32"),)))
    rules = [rule for rule in made.rules if rule.family == family]
    ways = [rule.priority for rule in rules if exits.is_way_out(rule)]
    assert sorted(ways)[-1] == max(rule.priority for rule in rules)
    assert rules[-2].action is RuleAction.UNREACHABLE and rules[-2].priority == max(ways)
    assert all(r.suppress_prefixlength in (None, 1) for r in rules)
    floors = [r for r in made.routes if r.kind is RouteKind.UNREACHABLE]
    assert {(r.prefix.version, r.table) for r in floors} == {(4, 101), (6, 101), (4, 254), (6, 254)}
    assert all(r.device is None and r.metric == 2**32 - 1 for r in floors)
    assert made.fwmark == 0x102
    uids = {rule.uid for rule in rules}
    assert uids == {None, 985, 997}
    assert (ip_network("168.63.129.16/32") in {r.destination for r in rules}) == (family == 4)


def test_a_network_behind_the_node_has_the_same_floor_and_drop() -> None:
    made = plan(WITH_EXITS, "alpha", exempt=Exempt(sources=("lan0",)))
    rules = [rule for rule in made.rules if rule.iif == "lan0"]
    assert {(r.family, r.action) for r in rules} == {
        (family, action)
        for family in (4, 6)
        for action in (RuleAction.LOOKUP, RuleAction.UNREACHABLE)
    }
    assert dict(made.sysctls)["net.ipv4.ip_forward"] == "1"
    assert made.firewall is not None
    assert 'meta iif != 0 iifname != { "lan0" } fib saddr type != local' in made.firewall.text
    assert set(ways(made.firewall)) == {("lan0", "wg0", False), ("wg0", "lan0", True)}
    direct = applied(made, Choices(direct=True), NONE)
    assert not [rule for rule in direct.rules if rule.iif == "lan0"]


def test_who_uses_no_exit_has_none_of_it() -> None:
    made = plan(WITH_EXITS, "bravo")
    assert (made.rules, made.fwmark, made.exits) == ((), 0, None)
    assert not any(route.table == 101 for route in made.routes)


# ---------------------------------------------------------------- hubs


def test_the_hub_in_force_carries_the_rest_and_others_what_they_own() -> None:
    made = plan(STAR, "charlie")
    assert made.hubs is not None and [each.name for each in made.hubs.candidates] == [
        "alpha",
        "bravo",
    ]
    assert LAN in allowed(made, "alpha") and LAN not in allowed(made, "bravo")
    moved = applied(made, Choices(hub=key("bravo")), NONE)
    assert {*allowed(moved, "bravo")} == {*allowed(made, "bravo"), *made.hubs.carried}
    assert {*allowed(moved, "alpha")} == {ip_network("10.40.0.1/32"), ip_network("fd40::1/128")}
    assert applied(moved, Choices(hub=key("alpha")), NONE) == made


def test_probes_go_through_a_hub_to_spokes_that_are_always_there() -> None:
    made = plan(STAR, "charlie")
    assert made.hubs is not None
    assert [str(each) for each in made.hubs.targets] == ["10.40.0.4"]
    one_hub = star(node("alpha"), node("bravo"), hubs=("alpha",))
    assert plan(one_hub, "bravo").hubs is None
    assert plan(STAR, "alpha").hubs is None


def test_a_hub_beside_others_sees_who_uses_it() -> None:
    table = plan(STAR, "alpha").firewall
    assert table is not None
    assert "update @users4" in table.text and "daddr != @users6 masquerade" in table.text
    alone = plan(star(node("alpha"), node("bravo")), "alpha").firewall
    assert alone is not None and "users" not in alone.text


@given(inventories())
def test_no_prefix_is_ever_at_two_peers(model: Inventory) -> None:
    for own in model.nodes:
        made = plan(model, own.name)
        ways = [each.public_key for each in (*(made.exits.candidates if made.exits else ()),)]
        ways += [each.public_key for each in (*(made.hubs.candidates if made.hubs else ()),)]
        for choice in ways:
            now = applied(made, Choices(exit=choice, hub=choice), NONE)
            every = [prefix for peer in now.peers for prefix in peer.allowed_ips]
            before = [prefix for peer in made.peers for prefix in peer.allowed_ips]
            if len(before) == len(set(before)):  # inventories that validate
                assert len(every) == len(set(every))
                assert {p for p in every if p.prefixlen} == {p for p in before if p.prefixlen}
