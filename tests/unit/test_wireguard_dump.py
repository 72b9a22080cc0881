"""What the tools print, read: wg, ip, nft; and what they are given."""

from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.errors import WgmeshError
from wgmesh.linux import link, nftables, route, sysctl, wireguard
from wgmesh.linux.iproute import Entry
from wgmesh.model.kernel import PeerCounters, PeerState
from wgmesh.model.plan import Firewall, Route, RouteKind, Rule, RuleAction
from wgmesh.model.terms import Endpoint, Secret

PRIVATE = "6" * 43 + "="
PSK = "p" * 43 + "="

DUMP = "\n".join(
    "\t".join(fields)
    for fields in (
        (PRIVATE, "own", "51820", "0x102"),
        ("a", PSK, "[2001:db8::1]:555", "10.0.0.2/32,fd00::2/128", "1700000000", "12", "34", "25"),
        ("b", "(none)", "192.0.2.1:51820", "0.0.0.0/0", "0", "0", "0", "off"),
        ("c", "(none)", "(none)", "(none)", "0", "0", "148", "off"),
    )
)


def test_a_dump_is_read_whole() -> None:
    device = wireguard.parse(DUMP + "\n")
    assert device.private_key == Secret(PRIVATE)
    assert (device.listen_port, device.fwmark) == (51820, 0x102)
    allowed_ips = frozenset({ip_network("10.0.0.2/32"), ip_network("fd00::2/128")})
    assert device.peers == {
        "a": PeerState("a", allowed_ips, 25, Secret(PSK), Endpoint("2001:db8::1", 555)),
        "b": PeerState(
            "b", frozenset({ip_network("0.0.0.0/0")}), endpoint=Endpoint("192.0.2.1", 51820)
        ),
        "c": PeerState("c", frozenset()),
    }
    assert device.counters["a"] == PeerCounters(1700000000, 12, 34)


def test_a_fresh_device_has_no_key_and_no_mark() -> None:
    device = wireguard.parse("(none)\t(none)\t0\toff\n")
    assert (device.private_key, device.fwmark, device.peers) == (None, 0, {})


@pytest.mark.parametrize("dump", ["", "x", DUMP.replace("\t25", "\ty"), DUMP.replace("/32", "/99")])
def test_a_strange_dump_is_refused_without_showing_it(dump: str) -> None:
    with pytest.raises(WgmeshError) as caught:
        wireguard.parse(dump)
    assert PRIVATE not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@given(st.text(alphabet="ab:/.,[]()\t\n01=", max_size=80))
def test_any_dump_gives_a_device_or_our_error(dump: str) -> None:
    try:
        device = wireguard.parse(dump)
    except WgmeshError:
        return
    assert device.peers.keys() == device.counters.keys()


def test_a_section_leaves_nothing_to_chance() -> None:
    assert wireguard.section(PeerState("a", frozenset())) == (
        "[Peer]\n"
        "PublicKey = a\n"
        "PresharedKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        "PersistentKeepalive = off\n"
    )
    allowed_ips = frozenset({ip_network("fd00::/64"), ip_network("10.0.0.2/32")})
    full = PeerState("a", allowed_ips, 25, Secret(PSK), Endpoint("2001:db8::1", 555))
    assert wireguard.section(full) == (
        "[Peer]\n"
        "PublicKey = a\n"
        f"PresharedKey = {PSK}\n"
        "PersistentKeepalive = 25\n"
        "Endpoint = [2001:db8::1]:555\n"
        "AllowedIPs = 10.0.0.2/32,fd00::/64\n"
    )


def test_a_section_takes_no_name_that_wg_would_look_up() -> None:
    peer = PeerState("a", frozenset(), endpoint=Endpoint("hub.example.org", 1))
    with pytest.raises(WgmeshError, match=r"hub\.example\.org:1 is a name"):
        wireguard.section(peer)


# ---------------------------------------------------------------- ip

ROUTES: list[Entry] = [
    {"type": "7", "dst": "default", "dev": "lo", "table": "101", "scope": "0", "metric": 1024},
    {"type": "1", "dst": "fd00::/64", "dev": "wg0", "table": "254", "scope": "0", "metric": 5},
    {"type": "1", "dst": "fd01::1", "protocol": "3", "scope": "0", "metric": 1024, "flags": []},
    {"type": "1", "dst": "fd02::/64", "protocol": "2", "scope": "0", "metric": 256},
    {"type": "1", "dst": "fd03::/64", "protocol": "4", "scope": "0", "gateway": "fe80::1"},
    {"type": "6", "dst": "fd04::/64", "dev": "lo", "table": "254"},
]


def test_routes_are_read_with_the_kernels_defaults_taken_out() -> None:
    assert route.routes(6, ROUTES, "wg0") == {
        Route(ip_network("::/0"), None, 101, 0, RouteKind.UNREACHABLE),
        Route(ip_network("fd00::/64"), "wg0", metric=5),
        Route(ip_network("fd01::1/128"), "wg0", protocol=3),
    }


def test_rules_are_read_and_those_of_others_left_out() -> None:
    ours = {"protocol": "101", "src": "all"}
    entries = [
        {"priority": 0, "src": "all", "table": "255", "protocol": "2"},
        ours | {"priority": 1, "table": "254", "suppress_prefixlen": 1},
        ours | {"priority": 2, "fwmark": "0x101", "fwmask": "0xfff", "goto": 32766},
        ours
        | {"priority": 3, "src": "10.1.0.0", "srclen": 16, "dst": "10.2.3.4", "iif": "lo"}
        | {"action": "7"},
        ours | {"priority": 4, "uid_start": 5, "uid_end": 6, "table": "101"},
        ours | {"priority": 5, "action": "nop"},
    ]
    assert route.rules(4, entries) == {
        Rule(4, 1, RuleAction.LOOKUP, 254, suppress_prefixlength=1),
        Rule(4, 2, RuleAction.GOTO, 32766, fwmark=0x101, fwmask=0xFFF),
        Rule(
            4,
            3,
            RuleAction.UNREACHABLE,
            iif="lo",
            source=ip_network("10.1.0.0/16"),
            destination=ip_network("10.2.3.4/32"),
        ),
    }


def test_an_interface_is_read_without_link_local_addresses() -> None:
    four = {"family": "inet", "local": "10.0.0.1", "prefixlen": 32, "scope": "0"}
    six = {"family": "inet6", "local": "fd00::1", "prefixlen": 64, "scope": "0"}
    local = {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "253"}
    head = {"ifname": "wg0", "flags": ["NOARP", "UP"], "mtu": 1420}
    entries = [head, head | {"addr_info": [four]}, head | {"addr_info": [six, local]}]
    assert link.attributes(entries, "wg0") == link.Attributes(
        True, 1420, frozenset({ip_interface("10.0.0.1/32"), ip_interface("fd00::1/64")})
    )
    with pytest.raises(WgmeshError, match="vanished"):
        link.attributes([], "wg0")


# ---------------------------------------------------------------- nft

LISTING = """table inet wgmesh {
\tset mesh4 {
\t\ttype ipv4_addr
\t\tflags interval
\t\tcomment "the mesh"
\t\telements = { 10.0.0.0/24,
\t\t\t     10.1.0.0/24 }
\t}

\tchain forward {
\t\tcomment "what passes"
\t\ttype filter hook forward priority filter; policy accept;
\t\tiifname "wg0" oifname { "eth0", "eth1" } accept comment "a1"
\t\tip daddr 10.0.0.1 drop
\t\tmeta mark { 0x00000001, 0x00000002 } accept comment "odd } one {"
\t}

\tchain empty {
\t}
}
"""


def test_the_tags_of_a_table_are_its_rules_comments() -> None:
    firewall = nftables.parse(LISTING)
    assert firewall.tags == (("forward", ("a1", "", "odd } one {")), ("empty", ()))
    assert firewall.text == LISTING


def test_a_script_replaces_the_table_whatever_comes_before_its_block() -> None:
    script = nftables.script(Firewall((), "# made by wgmesh\n\n" + LISTING))
    assert script == "table inet wgmesh\ndelete table inet wgmesh\n" + LISTING
    assert nftables.script(Firewall((), script)) == script
    with pytest.raises(WgmeshError, match="no table inet wgmesh"):
        nftables.script(Firewall((), "# nothing\n"))


# ---------------------------------------------------------------- sysctl


def test_a_sysctls_name_leads_to_its_file() -> None:
    assert sysctl.path("net.ipv4.ip_forward") == Path("/proc/sys/net/ipv4/ip_forward")
    vlan = Path("/proc/sys/net/ipv4/conf/eth0.100/rp_filter")
    assert sysctl.path("net.ipv4.conf.eth0/100.rp_filter") == vlan


@pytest.mark.parametrize("key", ["", ".", "net..x", "//.//.//.etc.passwd", "net./.x"])
def test_a_sysctls_name_leads_nowhere_else(key: str) -> None:
    with pytest.raises(WgmeshError):
        sysctl.path(key)


def test_reading_skips_what_the_kernel_lacks_and_normalises_blanks() -> None:
    keys = ["net.ipv4.ip_local_port_range", "net.ipv4.no_such_thing"]
    found = sysctl.observe(keys)
    assert list(found) == keys[:1]
    assert len(found[keys[0]].split(" ")) == 2
