"""The nft table's text and the tags that two tables are compared by."""

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given

from tests.unit.mesh_inventories import CHAINS, MESH_CIDR, inventory, node, star
from wgmesh.mesh.firewall import Chain, firewall, firewall_tags, from_chains, tag
from wgmesh.mesh.plan import plan

LISTING = """table inet wgmesh { # handle 9
	set s {
		type ipv4_addr
		elements = { 10.0.0.1, 10.0.0.2 }
	}

	chain forward { # handle 1
		comment "a chain's own comment"
		type filter hook forward priority filter; policy accept;
		iifname "wg0" accept comment "wgmesh:0123456789" # handle 2
		ip saddr { 10.0.0.1, 10.0.0.2,
				10.0.0.3 } drop
		iifname "}{" counter packets 0 bytes 0 comment "chain x {" # handle 4
		ip saddr { 10.0.0.5,
				10.0.0.6 } drop comment "two lines" # handle 5
	}

	chain empty {
	}
}
"""


def rules(text: str) -> list[str]:
    """Return the rules of a text without their tags."""
    lines = (line.strip() for line in text.splitlines())
    return [line.rsplit(" comment ", 1)[0] for line in lines if " comment " in line]


def test_a_listing_is_read_as_chains_and_the_comments_of_their_rules() -> None:
    assert firewall_tags(LISTING) == (
        ("forward", ("wgmesh:0123456789", "", "chain x {", "two lines")),
        ("empty", ()),
    )
    assert firewall_tags("") == ()


@given(CHAINS)
def test_every_rule_has_the_tag_of_its_own_text(chains: list[Chain]) -> None:
    table = from_chains(chains)
    assert table.tags == tuple(
        (name, tuple(dict.fromkeys(map(tag, rules)))) for name, _, rules in chains
    )
    assert firewall_tags(table.text) == table.tags
    assert all(len(set(tags)) == len(tags) for _, tags in table.tags)


def test_a_tag_is_ten_digits_of_the_rules_sha256() -> None:
    assert tag('iifname "wg0" accept') == "wgmesh:31fc5d8da1"


def test_who_neither_forwards_nor_translates_has_no_table() -> None:
    assert firewall("wg0", MESH_CIDR, forwards=False, relays=False, nat_interfaces=()) is None
    assert plan(star(node("alpha"), node("bravo")), "bravo").firewall is None


def test_a_hub_forwards_from_peer_to_peer() -> None:
    table = plan(star(node("alpha"), node("bravo")), "alpha").firewall
    assert table is not None
    assert rules(table.text) == ['iifname "wg0" oifname "wg0" accept']
    assert [name for name, _ in table.tags] == ["forward"]


def test_a_forwarder_accepts_into_and_out_of_the_mesh_and_clamps_segments() -> None:
    table = plan(inventory(node("alpha", forwarding=True)), "alpha").firewall
    assert table is not None
    clamp = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
    assert rules(table.text) == [
        f'iifname "wg0" {clamp}',
        f'oifname "wg0" {clamp}',
        'iifname "wg0" accept',
        'oifname "wg0" accept',
    ]


def test_an_exit_translates_mesh_sources_on_its_way_out() -> None:
    exit_node = node("alpha", exit_out_iface="ens3", enable_nat=True)
    table = plan(inventory(exit_node, exit_nodes=("alpha",)), "alpha").firewall
    assert table is not None
    assert [name for name, _ in table.tags] == ["forward", "postrouting"]
    private = "10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16"
    assert rules(table.text)[2:] == [
        f'iifname "wg0" oifname "ens3" ip daddr {{ {private} }} counter drop',
        'iifname "wg0" oifname "ens3" ip6 daddr { fc00::/7, fe80::/10 } counter drop',
        'iifname "wg0" oifname "ens3" accept',
        'iifname "ens3" oifname "wg0" ct state established,related accept',
        'ip saddr 10.40.0.0/24 oifname "ens3" masquerade',
        'ip6 saddr fd40::/64 oifname "ens3" masquerade',
    ]
    assert plan(inventory(exit_node), "alpha").firewall is None


def test_an_exit_lets_the_mesh_into_the_private_networks_that_it_lists() -> None:
    lan = ip_network("192.168.9.0/24")
    listed = node("alpha", exit_out_iface="ens3", enable_nat=True, allowed_ips=(lan,))
    table = plan(inventory(listed, exit_nodes=("alpha",)), "alpha").firewall
    assert table is not None
    found = rules(table.text)
    accept = found.index('iifname "wg0" oifname "ens3" ip daddr 192.168.9.0/24 accept')
    assert "counter drop" in found[accept + 1]
    for more in ({"nat_iface": "ens3"}, {"forwarding": True}):
        table = plan(inventory(replace(listed, **more), exit_nodes=("alpha",)), "alpha").firewall
        assert table is not None and "drop" not in table.text


def test_one_interface_named_twice_is_translated_once() -> None:
    twice = node("alpha", nat_iface="eth0", exit_out_iface="eth0", enable_nat=True)
    table = plan(inventory(twice, exit_nodes=("alpha",)), "alpha").firewall
    assert table is not None
    masquerade = [rule for rule in rules(table.text) if rule.endswith("masquerade")]
    assert len(masquerade) == len(MESH_CIDR)
