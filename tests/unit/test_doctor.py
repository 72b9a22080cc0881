"""The checks of `wgmesh doctor`: facts in, findings out."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from wgmesh import doctor
from wgmesh.cli.doctor import text
from wgmesh.doctor import CHECKS, access, facts, filters, machine, standing
from wgmesh.doctor.facts import (
    Disk,
    Facts,
    FileSeen,
    Finding,
    Host,
    Level,
    Listener,
    Mesh,
    Network,
    Networkd,
    Remote,
    RouteSeen,
    RuleSeen,
    Unit,
    Way,
)
from wgmesh.model.plan import ExitPlan, Firewall, NodePlan, Peer, Route
from wgmesh.model.terms import Endpoint, ExitPolicy, OnNoExit

NOW = 1_790_000_000.0
BRAVO = Peer(
    "bravo",
    "bravo-key",
    (ip_address("10.40.0.2"),),
    (ip_network("10.40.0.2/32"), ip_network("192.168.50.0/24")),
    (Endpoint("192.0.2.2", 51820),),
)
PLAN = NodePlan(
    node="alpha",
    interface="wg0",
    public_key="alpha-key",
    private_key_path="/etc/wireguard/wg0.key",
    addresses=(ip_interface("10.40.0.1/32"), ip_interface("fd40::1/128")),
    listen_port=51820,
    mtu=1420,
    peers=(BRAVO,),
    routes=(Route(ip_network("10.40.0.0/24"), "wg0"), Route(ip_network("192.168.50.0/24"), "wg0")),
)
EXITS = replace(PLAN, exits=ExitPlan((), None, ExitPolicy.LATENCY, 20, (), OnNoExit.BLOCK))
FORWARDS = replace(PLAN, firewall=Firewall((), "table inet wgmesh {\n}\n"))

GOOD_UNIT = Unit("loaded", "enabled", "active")
UNITS = dict.fromkeys((*standing.UNITS, "wg-quick@wg0.service"), GOOD_UNIT)
WELL = Facts(
    root=True,
    network=Network(
        kernel_wireguard=True,
        link=True,
        link_port=51820,
        listeners=(Listener(51820, ""),),
        chains=(),
        rules=(RuleSeen(4, 32766, 2, 254), RuleSeen(4, 5210, 0, 254, 0x80000, 0xFF0000)),
        routes=(RouteSeen("10.40.0.0/24", 254, 101, "wg0"),),
        ways=(Way("10.40.0.2", "wg0"), Way("192.168.50.1", "wg0")),
        outer=(Way("192.0.2.2", "eth0"),),
        default_devices=("eth0",),
        rp_filter={"all": 0, "default": 2, "eth0": 2, "wg0": 2},
        mtus={"eth0": 1500, "wg0": 1420},
    ),
    host=Host(
        now=NOW,
        clock_synchronised=True,
        newest_known=NOW - 60,
        newest_what="the commit aaaaaaaaaaaa",
        disks=(Disk("/var/lib/wgmesh", 10 << 30, 100_000, False),),
        versions=dict(machine.OLDEST),
        systemd=True,
        units=UNITS,
        networkd=Networkd(True, True, True),
        apparmor={"wg": "enforce", "wg-quick": "enforce"},
        files=(FileSeen(standing.PRIVATE_KEY, PLAN.private_key_path, True, 0o600),),
    ),
    mesh=Mesh(
        joined=True,
        interface="wg0",
        plan=PLAN,
        generation=3,
        applied=True,
        key_fits=True,
        remotes=(Remote("https://git.example.com/mesh.git", ""),),
        metrics="/var/lib/prometheus/node-exporter/wgmesh.prom",
    ),
)
FRESH = replace(WELL, mesh=Mesh(), network=replace(WELL.network, routes=()))


def network(base: Facts = WELL, /, **changes: object) -> Facts:
    return replace(base, network=replace(base.network, **changes))  # type: ignore[arg-type]


def host(base: Facts = WELL, /, **changes: object) -> Facts:
    return replace(base, host=replace(base.host, **changes))  # type: ignore[arg-type]


def mesh(base: Facts = WELL, /, **changes: object) -> Facts:
    return replace(base, mesh=replace(base.mesh, **changes))  # type: ignore[arg-type]


def only(seen: Facts, check: str, level: str, *said: str) -> Finding:
    """Return the one finding, of this check and level, which says all this; its fix is there."""
    (found,) = doctor.examine(seen)
    assert (found.check, found.level.value) == (check, level)
    for words in said:
        assert words in f"{found.message}\n{found.fix}"
    assert found.fix or found.level is Level.NOTE
    return found


def test_nothing_is_wrong() -> None:
    assert doctor.examine(WELL) == ()


# ---------------------------------------------------------------- enrolment


def test_not_joined_is_told_and_no_error() -> None:
    only(FRESH, "enrolment", "note", "has not joined", "wgmesh join")


def test_without_root_says_so() -> None:
    only(replace(WELL, root=False), "enrolment", "note", "not run as root")


def test_files_that_cannot_be_read() -> None:
    only(mesh(damage=(("wgmesh.toml: no", "mend"),)), "enrolment", "error", "wgmesh.toml", "mend")


# ---------------------------------------------------------------- tunnel

NO_LINK = {"link": False, "link_port": None, "listeners": (), "ways": ()}


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"kernel_wireguard": False}, "error", "boot a kernel that has WireGuard"),
        ({"kernel_wireguard": False, "kernel_modules": False}, "error", "reboot"),
        ({"kernel_wireguard": False, "wireguard_go": True, "tun": False}, "error", "/dev/net/tun"),
        ({"kernel_wireguard": False, "wireguard_go": True, "tun": True}, "note", "slower"),
        ({"kernel_wireguard": None}, "note", "run as root"),
    ],
)
def test_wireguard(changes: dict[str, object], level: str, said: str) -> None:
    found = [each for each in doctor.examine(network(FRESH, **NO_LINK, **changes))]
    (one,) = (each for each in found if each.check == "wireguard")
    assert one.level.value == level
    assert said in one.message + one.fix


GO = {"kernel_wireguard": False, "wireguard_go": True, "tun": True}
CLOSED_UNIT = replace(GOOD_UNIT, tun=False)


def test_wireguard_go_that_the_units_may_not_start() -> None:
    closed = host(FRESH, units=UNITS | {standing.SYNC: CLOSED_UNIT, standing.RECOVER: CLOSED_UNIT})
    first, *_ = doctor.examine(network(closed, **NO_LINK, **GO))
    assert (first.check, first.level) == ("wireguard", Level.ERROR)
    assert f"{standing.SYNC} and {standing.RECOVER} cannot start" in first.message
    assert r"'[Service]\nBindPaths=/dev/net/tun\nDeviceAllow=/dev/net/tun rw\n'" in first.fix
    half = host(units=UNITS | {standing.RECOVER: CLOSED_UNIT})
    only(network(half, **GO), "wireguard", "warning", standing.RECOVER)
    assert doctor.examine(network(half, **GO | {"kernel_wireguard": True})) == ()


def test_a_device_that_runs_proves_wireguard() -> None:
    assert doctor.examine(network(kernel_wireguard=False, wireguard_go=True)) == ()
    assert doctor.examine(network(kernel_wireguard=None)) == ()


def test_an_interface_of_another_kind_is_in_the_way() -> None:
    seen = network(FRESH, **NO_LINK, link_error="wg0 is there, and is no WireGuard interface")
    found = {each.check: each for each in doctor.examine(seen)}
    assert found["wireguard"].level is Level.ERROR


def test_the_interface_is_gone() -> None:
    only(network(**NO_LINK), "interface", "error", "wg0 is not there", "wgmesh reconcile")


def test_port() -> None:
    taken = {"link_port": 40000, "listeners": (Listener(51820, "dnsmasq"), Listener(53, "named"))}
    only(network(**taken), "port", "error", "51820", "dnsmasq", "listen_port")
    assert doctor.examine(network(link_port=None)) == (), "who has it was not to be seen"
    other = mesh(plan=replace(PLAN, listen_port=40000))
    assert [each.check for each in doctor.examine(other)] == [], "nobody has 40000"
    unnamed = network(link=False, listeners=(Listener(51820, ""),), ways=())
    said = {each.check: each.message for each in doctor.examine(unnamed)}
    assert "only root can see" in said["port"]


def test_port_before_joining() -> None:
    seen = network(FRESH, link=False, link_port=None, listeners=(Listener(51820, "wg9"),))
    said = {each.check: each for each in doctor.examine(seen)}
    assert said["port"].level is Level.WARNING
    assert "wg9" in said["port"].message


@pytest.mark.parametrize(
    ("address", "below", "fits"),
    [
        ("192.0.2.2", 1480, True),
        ("192.0.2.2", 1479, False),
        ("2001:db8::2", 1500, True),
        ("2001:db8::2", 1499, False),
    ],
)
def test_mtu(address: str, below: int, fits: bool) -> None:
    seen = network(mtus={"eth0": below}, outer=(Way(address, "eth0"),))
    if fits:
        assert doctor.examine(seen) == ()
    else:
        only(seen, "mtu", "warning", "eth0", "room for 1419", "mtu = 1419")


def test_mtu_that_ipv6_cannot_use() -> None:
    only(mesh(plan=replace(PLAN, mtu=1200)), "mtu", "error", "1280")
    four = replace(PLAN, mtu=1200, addresses=PLAN.addresses[:1])
    assert doctor.examine(mesh(plan=four)) == ()


def test_mtu_before_joining() -> None:
    said = {each.check: each for each in doctor.examine(network(FRESH, mtus={"eth0": 1400}))}
    assert "room for 1340" in said["mtu"].message


@pytest.mark.parametrize(("off", "wrong"), [({"all"}, True), ({"wg0"}, True), ({"eth0"}, False)])
def test_ipv6(off: set[str], wrong: bool) -> None:
    seen = network(ipv6_off=frozenset(off))
    if wrong:
        only(seen, "ipv6", "error", "disable_ipv6")
    else:
        assert doctor.examine(seen) == ()


def test_names() -> None:
    only(network(unresolved=("bravo.example.com",)), "names", "warning", "bravo.example.com")


def test_nft_that_does_not_work() -> None:
    seen = network(nft_error="Operation not permitted", chains=None)
    only(seen, "nftables", "warning", "Operation not permitted")
    only(mesh(seen, plan=FORWARDS), "nftables", "error")


# ---------------------------------------------------------------- routing


def strict(*names: str, **more: object) -> Facts:
    return network(rp_filter={"all": 0, "default": 0} | dict.fromkeys(names, 1), **more)


def test_rp_filter() -> None:
    only(strict("wg0"), "rp_filter", "warning", "wg0", "rp_filter=2")
    assert doctor.examine(strict("eth0")) == (), "one uplink: what comes in goes out there"
    loose = network(rp_filter={"all": 2, "wg0": 1, "eth0": 1})
    assert doctor.examine(loose) == (), "the higher value is in force"
    both = {"default_devices": ("eth0", "eth1")}
    only(strict("eth1", **both), "rp_filter", "warning", "eth1", "several uplinks")
    only(mesh(strict("eth0"), plan=EXITS), "rp_filter", "error", "exit", "eth0")
    marked = strict("eth0", src_valid_mark=True)
    assert doctor.examine(mesh(marked, plan=EXITS)) == ()


def test_rp_filter_says_which_files_set_it() -> None:
    seen = strict("wg0", rp_filter_files=("/etc/sysctl.conf", "/etc/ufw/sysctl.conf"))
    only(seen, "rp_filter", "warning", "sysctl -p", "/etc/sysctl.conf and /etc/ufw/sysctl.conf set")


def test_rp_filter_drops_what_comes_back_another_way() -> None:
    seen = strict("wg0", ways=(Way("10.40.0.2", "wg0"), Way("192.168.50.1", "eth1")))
    first, second = doctor.examine(seen)
    assert (first.check, first.level) == ("rp_filter", Level.ERROR)
    assert "eth1" in first.message
    assert (second.check, second.level) == ("ways", Level.WARNING)


def test_rp_filter_before_joining() -> None:
    seen = network(FRESH, rp_filter={"all": 1})
    said = {each.check: each for each in doctor.examine(seen)}
    assert "new interfaces" in said["rp_filter"].message


def test_ways() -> None:
    seen = network(ways=(Way("10.40.0.2", "tailscale0", 52),))
    only(seen, "ways", "error", "bravo (10.40.0.2)", "tailscale0, table 52", "accept-routes=false")
    only(network(ways=(Way("192.168.50.1", "docker0"),)), "ways", "warning", "docker0")
    only(network(ways=(Way("10.40.0.2", None),)), "ways", "error", "no route")


@pytest.mark.parametrize(
    ("mark", "mask", "hit"),
    [
        (0x101, 0xFFFFFFFF, "0x101"),
        (0x102, 0xFFFFFFFF, "0x102"),
        (0x1, 0xFF, "0x101"),
        (0x100, 0xF00, "0x101, 0x102"),
        (0x80000, 0xFF0000, ""),  # Tailscale
        (0x8000, 0x8000, ""),  # kube-proxy
        (0xCA6C, 0xFFFFFFFF, ""),
    ],
)
def test_marks(mark: int, mask: int, hit: str) -> None:
    seen = network(rules=(RuleSeen(4, 100, 0, 52, mark, mask),))
    if not hit:
        assert doctor.examine(seen) == ()
        return
    found = only(seen, "marks", "warning", "IPv4 100", "lookup 52")
    assert found.message.endswith(f"mark {hit}")
    only(mesh(seen, plan=EXITS), "marks", "error")


def test_marks_of_our_own_rules_are_fine() -> None:
    assert doctor.examine(network(rules=(RuleSeen(4, 100, 101, 101, 0x102),))) == ()


def test_another_vpn_takes_everything() -> None:
    seen = network(rules=(RuleSeen(4, 32764, 0, 51820, 0xCA6C, 0xFFFFFFFF, True),))
    only(seen, "marks", "warning", "not fwmark 0xca6c/0xffffffff lookup 51820")


def test_tables() -> None:
    route = RouteSeen("default", 101, 3, "ppp0")
    seen = network(routes=(route,))
    only(seen, "tables", "warning", "table 101", "default dev ppp0")
    only(mesh(seen, plan=EXITS), "tables", "error")
    rule = network(rules=(RuleSeen(6, 77, 0, 101),))
    only(rule, "tables", "warning", "ip -6 rule del priority 77")
    assert doctor.examine(network(routes=(replace(route, protocol=101),))) == ()


def test_our_protocol_is_used_before_joining() -> None:
    seen = network(FRESH, routes=(RouteSeen("10.9.0.0/24", 254, 101, "eth0"),))
    warned, told = doctor.examine(seen)
    assert (warned.check, warned.level) == ("tables", Level.WARNING)
    assert told.check == "enrolment"


def test_what_a_mesh_that_was_left_keeps_is_not_somebody_elses() -> None:
    listeners = (Listener(51820, "wg0"), Listener(51820, ""))
    routes = (RouteSeen("10.9.0.0/24", 254, 101, "wg0"),)
    gone = network(FRESH, **NO_LINK | {"routes": routes, "listeners": listeners[:1]})
    left = mesh(gone, left="wg0")
    only(left, "enrolment", "note", "has left its mesh and keeps wg0")
    named = [each.check for each in doctor.examine(mesh(left, left="wg1"))]
    assert named == ["port", "enrolment"], "another interface has the port"
    unseen = network(mesh(gone, left=None), listeners=listeners[1:])
    only(unseen, "enrolment", "note", "has not joined")


def test_networkd() -> None:
    deletes = host(networkd=Networkd(True, False, False))
    only(deletes, "networkd", "warning", "routes and rules", "ManageForeignRoutes=no")
    ruled = replace(PLAN, fwmark=0x102, rules=(object(),))  # type: ignore[arg-type]
    found = {each.check: each.level for each in doctor.examine(mesh(deletes, plan=ruled))}
    assert found["networkd"] is Level.ERROR
    assert doctor.examine(host(networkd=Networkd(False, False, False))) == ()
    assert doctor.examine(host(networkd=None)) == ()


# ---------------------------------------------------------------- packet filters

UFW = """\
table ip filter {
	chain ufw-before-forward {
		counter packets 0 bytes 0 jump ufw-user-forward
	}
	chain ufw-user-forward {
%s	}
	chain INPUT {
		type filter hook input priority filter; policy drop;
		counter packets 9 bytes 900 jump ufw-before-input
	}
	chain ufw-before-input {
		iifname "lo" counter packets 4 bytes 240 accept
		udp dport { 53, 51800-51900 } counter packets 1 bytes 29 accept
		iifname "wg0" counter packets 0 bytes 0 accept
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter packets 0 bytes 0 jump ufw-before-forward
	}
}
table inet wgmesh {
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
"""
DOCKER = """\
table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
	}
}
# Warning: table ip filter is managed by iptables-nft, do not touch!
table ip filter {
	chain DOCKER-USER {
		counter packets 0 bytes 0 return
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter packets 0 bytes 0 jump DOCKER-USER
	}
}
"""
FIREWALLD = """\
table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		reject with icmpx admin-prohibited
	}
}
"""
PLAIN = """\
table inet filter {
	set allowed {
		type inet_service
		elements = { 22, 80,
			443 }
	}

	chain input {
		type filter hook input priority filter
		policy drop
		tcp dport { 22, 51820 } accept
		counter packets 3 bytes 120 comment "a { brace"
		drop
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
	}
}
"""


def filtered(ruleset: str, plan: NodePlan = FORWARDS) -> Facts:
    return network(mesh(plan=plan), chains=filters.parse(ruleset))


def test_parse_leaves_out_our_own_table() -> None:
    parsed = filters.parse(UFW % "")
    assert [(each.table, each.name, each.hook, each.drops) for each in parsed] == [
        ("filter", "INPUT", "input", True),
        ("filter", "FORWARD", "forward", True),
    ]
    assert filters.parse("") == ()


def test_forward() -> None:
    only(filtered(UFW % ""), "forward", "error", "ufw, nft chain ip filter FORWARD", "ufw route")
    accepting = '\t\tiifname "wg0" counter packets 0 bytes 0 accept\n'
    assert doctor.examine(filtered(UFW % accepting)) == ()
    assert doctor.examine(filtered(UFW % "", PLAN)) == (), "this node forwards nothing"


def test_forward_behind_docker() -> None:
    only(
        filtered(DOCKER),
        "forward",
        "error",
        "Docker",
        "iptables -I DOCKER-USER -i wg0 -j ACCEPT && iptables -I DOCKER-USER -o wg0 -j ACCEPT",
    )


def test_incoming() -> None:
    port, inside = doctor.examine(filtered(PLAIN))
    assert (port.check, port.level) == ("incoming", Level.WARNING)
    assert port.fix.startswith("nft insert rule inet filter input udp dport 51820 accept")
    assert "iifname wg0 accept" in inside.fix


def test_incoming_behind_firewalld() -> None:
    port, inside = doctor.examine(filtered(FIREWALLD))
    assert "firewall-cmd --permanent --add-port=51820/udp" in port.fix
    assert "--zone=trusted --add-interface=wg0" in inside.fix


def test_incoming_is_about_the_port_in_the_plan() -> None:
    other = replace(FORWARDS, listen_port=40000)
    accepting = '\t\tiifname "wg0" accept\n'
    seen = network(mesh(plan=other), link_port=40000, chains=filters.parse(UFW % accepting))
    only(seen, "incoming", "warning", "40000", "ufw allow 40000/udp")


INPUT = """table inet filter {
	set allowed {
		type inet_service
		elements = { 51820 }
	}
	chain input {
		type filter hook input priority filter; policy drop;
		%s
	}
	chain inside {
		accept
	}
}"""
CALLED = 'iifname "wg0" accept\n\t\t'


@pytest.mark.parametrize(
    ("rule", "level"),
    [
        ("udp dport 51820 accept", ""),
        ("udp dport 51820 counter packets 0 bytes 0 accept", ""),
        ("udp dport { 53, 51000-52000 } accept", ""),
        ("meta l4proto { tcp, udp } th dport 51820 accept", ""),
        ("th dport { 22, 51820 } accept", ""),
        ('udp dport 51820 accept comment "not tcp"', ""),
        ('udp dport 51820 log prefix "tcp drop " level info accept', ""),
        ("udp dport != 53 accept", ""),
        ("meta l4proto udp accept", ""),
        ("ip protocol udp accept", ""),
        ("ct state established,new udp dport 51820 accept", ""),
        ('iifname "eth0" udp dport 51820 accept', ""),
        ('iif != "lo" accept', ""),
        ("udp dport vmap { 53 : drop, 51820 : accept }", ""),
        ("udp dport vmap { 53 : drop, 51820 : jump inside }", ""),
        ("meta l4proto udp jump inside", ""),
        ("udp dport @allowed accept", "note"),
        ("udp dport vmap @allowed", "note"),
        ('iifname . udp dport { "eth0" . 51820 } accept', "note"),
        ("ip saddr 192.0.2.0/24 accept", "note"),
        ("udp dport 51820 limit rate 10/second accept", "note"),
        ('iifname "lan7" accept', "note"),
        ("queue num 3", "note"),
        ("udp dport 51821 accept", "warning"),
        ("udp dport 51820 drop", "warning"),
        ("tcp dport 51820 accept", "warning"),
        ('tcp dport 51820 accept comment "udp dport 51820"', "warning"),
        ("meta l4proto tcp jump inside", "warning"),
        ("ct state established,related accept", "warning"),
        ("ct state vmap { invalid : drop, established : accept, related : accept }", "warning"),
        ('iif "lo" accept', "warning"),
        ('iifname "wg*" jump inside', "warning"),
        ("ct status dnat accept", "warning"),
        ("icmp type echo-request accept", "warning"),
        ("ip saddr 192.0.2.0/24 tcp dport 22 accept", "warning"),
        ("tcp flags syn / fin,syn,rst,ack accept", "warning"),
    ],
)
def test_rules_for_the_port(rule: str, level: str) -> None:
    found = doctor.examine(filtered(INPUT % (CALLED + rule)))
    assert [each.level.value for each in found] == [level][: bool(level)], found
    assert all("51820" in each.message for each in found)
    if level == "note":
        assert "cannot be told" in found[0].message and "nft list chain inet" in found[0].fix


@pytest.mark.parametrize(
    ("rule", "level", "said"),
    [
        ('iifname "wg0" accept', "", ""),
        ('iifname "wg*" accept', "", ""),
        ('iifname { "lo", "wg0" } counter packets 0 bytes 0 accept', "", ""),
        ('iifname != "eth0" accept', "", ""),
        ('iif != "lo" meta l4proto { tcp, udp } accept', "", ""),
        ("ct state established,related,new accept", "", ""),
        ('iifname vmap { "lo" : accept, "wg0" : jump inside }', "", ""),
        ("ip saddr 10.40.0.0/24 accept", "note", "cannot be told"),
        ("iifname @inner accept", "note", "cannot be told"),
        ("icmp type echo-request accept", "note", "only what its rules name"),
        ("icmp type echo-request limit rate 5/second accept", "note", "only what its rules name"),
        ("meta l4proto { icmp, ipv6-icmp } accept", "note", "only what its rules name"),
        ("tcp dport 22 accept", "warning", "pings"),
        ("icmp type destination-unreachable accept", "warning", "pings"),
        ('iifname "lo" accept', "warning", "pings"),
        ('iifname "wg1" accept', "warning", "pings"),
        ('iifname "eth0" accept', "warning", "pings"),
    ],
)
def test_rules_for_what_comes_by_the_interface(rule: str, level: str, said: str) -> None:
    port = 'iifname != "wg0" udp dport 51820 accept\n\t\t'
    found = doctor.examine(filtered(INPUT % (port + rule)))
    assert [each.level.value for each in found] == [level][: bool(level)], found
    assert all(said in each.message for each in found)


FORWARD = """table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		%s
	}
}"""


@pytest.mark.parametrize(
    ("rule", "level"),
    [
        ('iifname "wg*" accept', ""),
        ('iifname { "eth1", "wg0" } accept', ""),
        ('oifname "wg*" accept', ""),
        ('iifname "eth1" oifname "wg0" accept', ""),
        ("accept", ""),
        ('oifname "eth1" accept', "note"),
        ("ip saddr 10.40.0.0/24 accept", "note"),
        ("ct state established,related accept", "error"),
        ('oifname "wg0" ct state established accept', "error"),
        ('iifname "docker0" oifname != "docker0" accept', "error"),
        ('iifname "eth0" accept comment "wg0 \\"wg0\\""', "error"),
        ('iifname "wg0" drop', "error"),
    ],
)
def test_rules_for_what_is_forwarded(rule: str, level: str) -> None:
    found = doctor.examine(filtered(FORWARD % rule))
    assert [each.level.value for each in found] == [level][: bool(level)], found


def test_a_ruleset_with_many_ways_is_read_in_time() -> None:
    """Each chain leads on by two rules: 2 to the 14th ways."""
    chains = "".join(
        f"\tchain c{n} {{\n\t\tudp dport {n} jump c{n + 1}\n\t\ttcp dport {n} jump c{n + 1}\n\t}}\n"
        for n in range(14)
    )
    text = INPUT.replace("\tchain inside", f"{chains}\tchain c14") % (CALLED + "jump c0")
    (found,) = doctor.examine(filtered(text))
    assert "cannot be told" in found.message


# ---------------------------------------------------------------- machine


def test_clock() -> None:
    behind = host(newest_known=NOW + 3 * 86_400)
    only(behind, "clock", "error", "3 days behind the commit aaaaaaaaaaaa", "timedatectl")
    assert doctor.examine(host(newest_known=NOW + 299)) == ()
    only(host(clock_synchronised=False), "clock", "warning", "nothing keeps the clock right")
    assert doctor.examine(host(clock_synchronised=None)) == ()


@pytest.mark.parametrize(
    ("disk", "level", "said"),
    [
        (Disk("/var/lib/wgmesh", 1000, 5000, False), "error", "full"),
        (Disk("/var/lib/wgmesh", 1 << 30, 0, False), "error", "full"),
        (Disk("/var/lib/wgmesh", 20 << 20, 5000, False), "warning", "20 MiB"),
        (Disk("/var/lib/wgmesh", 1 << 30, 500, False), "warning", "500 inodes"),
        (Disk("/etc/wireguard", 1 << 30, 5000, True), "error", "read-only"),
    ],
)
def test_disk(disk: Disk, level: str, said: str) -> None:
    only(host(disks=(disk,)), "disk", level, disk.path, said)


def test_disk_without_a_count_of_inodes() -> None:
    assert doctor.examine(host(disks=(Disk("/run", 1 << 30, None, False),))) == ()


def test_versions() -> None:
    old = host(versions=dict(machine.OLDEST) | {"wg": "1.0.20200827"})
    only(old, "versions", "error", "1.0.20200827", "1.0.20210914", "apt install wireguard-tools")
    new = host(versions=dict(machine.OLDEST) | {"pyroute2": "0.10.1"})
    only(new, "versions", "warning", "pyroute2 is 0.10.1")
    none = host(versions={"GitPython": None})
    only(none, "versions", "error", "not installed", "apt install python3-git")
    assert doctor.examine(host(versions={"nft": "", "ssh": "9.2p1"})) == ()


def test_apparmor() -> None:
    peer = replace(BRAVO, preshared_key_path="/srv/psk/bravo")
    seen = mesh(plan=replace(PLAN, peers=(peer,)))
    only(seen, "apparmor", "error", "/srv/psk/bravo", "/etc/apparmor.d/local/wg")
    only(host(seen, apparmor={"wg": "unknown"}), "apparmor", "warning")
    assert doctor.examine(host(seen, apparmor={"wg": "complain"})) == ()
    assert doctor.examine(host(seen, apparmor=None)) == ()
    inside = replace(BRAVO, preshared_key_path="/etc/wireguard/psk/bravo")
    assert doctor.examine(mesh(plan=replace(PLAN, peers=(inside,)))) == ()


# ---------------------------------------------------------------- standing


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (FileSeen(standing.PRIVATE_KEY, "/k", False), "missing"),
        (FileSeen(standing.PRIVATE_KEY, "/k", True, 0o640), "others may read"),
        (FileSeen(standing.PRIVATE_KEY, "/k", True, 0o600, uid=1000), "others may read"),
        (FileSeen(standing.PRIVATE_KEY, "/k", True, 0o600, regular=False), "no regular file"),
        (FileSeen(standing.PRESHARED_KEY, "/k", True, 0o604), "others may read the preshared key"),
    ],
)
def test_keys(seen: FileSeen, said: str) -> None:
    only(host(files=(seen,)), "keys", "error", said, "/k")


def test_keys_that_could_not_be_looked_at() -> None:
    assert doctor.examine(host(files=(FileSeen(standing.PRIVATE_KEY, "/k", None),))) == ()


def test_the_key_of_another_node() -> None:
    only(mesh(key_fits=False), "keys", "error", "not the one of the running generation")


def unit(name: str, *fields: str) -> Facts:
    return host(units=UNITS | {name: Unit(*fields)})


@pytest.mark.parametrize(
    ("name", "fields", "level", "said"),
    [
        ("wg-quick@wg0.service", ("loaded", "disabled", "active"), "error", "after a reboot"),
        ("wg-quick@wg0.service", ("not-found", "disabled", ""), "error", "wireguard-tools"),
        ("wg-quick@wg0.service", ("masked", "masked", ""), "error", "systemctl unmask"),
        (standing.SYNC_TIMER, ("loaded", "disabled", "inactive"), "warning", "enable --now"),
        (standing.SYNC_TIMER, ("loaded", "enabled", "inactive"), "warning", "inactive"),
        (standing.SYNC_TIMER, ("not-found", "disabled", ""), "warning", "install the wgmesh"),
        (standing.SYNC, ("loaded", "static", "failed", "exit-code"), "warning", "exit-code"),
        (standing.GUARD, ("loaded", "disabled", "inactive"), "warning", "enable --now"),
        ("wg-failover.timer", ("loaded", "disabled", "inactive"), "warning", "enable --now"),
    ],
)
def test_units(name: str, fields: tuple[str, ...], level: str, said: str) -> None:
    only(unit(name, *fields), "units", level, name, said)


def test_a_unit_of_another_tool() -> None:
    path = "/etc/systemd/system/wg-failover.service"
    old = replace(GOOD_UNIT, path=path)
    said = f"{path} takes the place of the unit in the package"
    only(host(units=UNITS | {"wg-failover.service": old}), "units", "warning", said, f"rm {path}")
    others = replace(GOOD_UNIT, path="/etc/systemd/system/wg-quick@wg0.service")
    assert doctor.examine(host(units=UNITS | {"wg-quick@wg0.service": others})) == ()


def test_the_guard_of_a_node_with_exits_must_be_on() -> None:
    seen = unit(standing.GUARD, "loaded", "disabled", "inactive")
    only(mesh(seen, plan=EXITS), "units", "error", standing.GUARD)


def test_no_systemd() -> None:
    only(host(systemd=False, units={}), "units", "warning", "nothing polls")


def test_boot() -> None:
    gone = mesh(generation=None, plan=None)
    assert {each.check for each in doctor.examine(gone)} == {"boot"}
    complaint = "/etc/wireguard/wg0.conf is missing"
    only(mesh(boot_complaints=(complaint,)), "boot", "error", complaint, "wgmesh reconcile")
    only(mesh(altered=True), "boot", "warning", "generation 3 were edited")


def test_own_files() -> None:
    only(mesh(notify="/x", notify_found=False), "files", "warning", "notify command /x")
    only(mesh(metrics_chosen=True), "files", "warning", "wgmesh.prom")
    assert doctor.examine(mesh(metrics_chosen=True, metrics_directory=True)) == ()


# ---------------------------------------------------------------- access

HTTPS = "https://git.example.com/mesh.git"
SSH = "ssh://git@git.example.com/mesh.git"


def remote(said: str | None, url: str = HTTPS, hint: str = "") -> Remote:
    return Remote(url, said, hint)


@pytest.mark.parametrize(
    ("said", "hint", "fix"),
    [
        ("Could not resolve host: git.example.com", "", "/etc/resolv.conf"),
        ("connect: Connection refused", "", "firewall"),
        ("fatal: '/mesh.git' does not appear to be a git repository", "", "node.toml"),
        ("Permission denied (publickey).", "add the key", "add the key"),
        ("something new", "", "--verbose"),
    ],
)
def test_remotes(said: str, hint: str, fix: str) -> None:
    only(mesh(remotes=(remote(said, hint=hint),)), "remotes", "error", said, fix)


def test_one_remote_that_answers_will_do() -> None:
    seen = mesh(remotes=(remote("no"), remote("", "https://mirror.example.com/mesh.git")))
    only(seen, "remotes", "warning", "no")
    assert doctor.examine(mesh(remotes=(remote(None),))) == (), "it was not asked"
    busy = mesh(remotes=(remote(None, hint="another wgmesh is at work"),))
    only(busy, "remotes", "note", "not asked: another wgmesh")


@pytest.mark.parametrize(
    ("url", "ssh"),
    [
        (SSH, True),
        ("git@git.example.com:mesh.git", True),
        (HTTPS, False),
        ("git://git.example.com/mesh", False),
        ("file:///srv/mesh.git", False),
        ("/srv/mesh.git", False),
    ],
)
def test_which_remotes_go_by_ssh(url: str, ssh: bool) -> None:
    assert access.is_ssh(url) is ssh


def with_files(*seen: FileSeen, url: str = SSH, uid: int | None = 990) -> Facts:
    files = (*WELL.host.files, *seen)
    return mesh(host(files=files), remotes=(remote("", url),), fetch_uid=uid, fetch_gids=(990,))


KEY = FileSeen(access.SSH_KEY, "/etc/wgmesh/ssh/id_ed25519", True, 0o600, 990, 990)
HOSTS = FileSeen(access.KNOWN_HOSTS, "/etc/wgmesh/ssh/known_hosts", True, 0o644)
TOKEN = FileSeen(access.CREDENTIALS, "/etc/wgmesh/git-credentials", True, 0o640, 0, 990)


def test_credentials_that_are_right() -> None:
    assert doctor.examine(with_files(KEY, HOSTS, TOKEN)) == ()
    shared = replace(KEY, mode=0o640, uid=0)
    assert doctor.examine(with_files(shared, HOSTS)) == (), "root's, and wgmesh's group may read"
    assert doctor.examine(with_files(replace(KEY, uid=0), HOSTS, uid=None)) == ()
    assert doctor.examine(with_files(url=HTTPS)) == ()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((replace(KEY, exists=False), HOSTS), "there is no key"),
        ((replace(KEY, mode=0o640), HOSTS), "ssh refuses the key"),
        ((replace(KEY, mode=0o604), HOSTS), "ssh refuses the key"),
        ((replace(KEY, uid=0), HOSTS), "may not read /etc/wgmesh/ssh/id_ed25519"),
        ((KEY, replace(HOSTS, exists=False)), "ssh trusts no host"),
        ((KEY, replace(HOSTS, mode=0o600)), "may not read /etc/wgmesh/ssh/known_hosts"),
        ((KEY, HOSTS, replace(TOKEN, mode=0o644)), "everybody may read"),
        ((KEY, HOSTS, replace(TOKEN, mode=0o600)), "may not read /etc/wgmesh/git-credentials"),
    ],
)
def test_credentials_that_are_wrong(files: tuple[FileSeen, ...], said: str) -> None:
    only(with_files(*files), "credentials", "error", said)


ETC = FileSeen("", "/etc", True, 0o755, regular=False)
CLOSED = FileSeen("", "/etc/wgmesh", True, 0o700, regular=False)


def test_a_directory_that_is_closed_to_the_fetch() -> None:
    seen = with_files(*(replace(each, above=(ETC, CLOSED)) for each in (KEY, HOSTS, TOKEN)))
    only(seen, "credentials", "error", "may not pass /etc/wgmesh (mode 0700)", "chmod 0755 /etc/w")
    node = FileSeen(access.READ_BY_FETCH, "/etc/wgmesh/node.toml", True, 0o644, above=(CLOSED,))
    only(with_files(node, url=HTTPS), "credentials", "error", "may not pass /etc/wgmesh")
    only(
        with_files(replace(node, mode=0o600, above=(ETC,)), url=HTTPS),
        "credentials",
        "error",
        "may not read /etc/wgmesh/node.toml",
        "chmod 0644 /etc/wgmesh/node.toml",
    )


def test_a_directory_that_is_open_to_the_fetch() -> None:
    for mode, gid in ((0o755, 0), (0o750, 990), (0o711, 0)):
        above = (ETC, replace(CLOSED, mode=mode, gid=gid))
        assert doctor.examine(with_files(replace(KEY, above=above), HOSTS)) == ()
    assert doctor.examine(with_files(replace(KEY, above=(CLOSED,), uid=0), HOSTS, uid=None)) == ()


# ---------------------------------------------------------------- how it is told


def test_worst_first() -> None:
    seen = mesh(host(clock_synchronised=False), altered=True, key_fits=False)
    levels = [each.level for each in doctor.examine(replace(seen, root=False))]
    assert levels == [Level.ERROR, Level.WARNING, Level.WARNING, Level.NOTE]


def test_text() -> None:
    shown = text([facts.error("the \x1b[31mport is taken", "end it").of("port"), facts.note("so")])
    assert (
        shown
        == "error [port] the ?[31mport is taken\n    end it\nnote [] so\n1 error, 0 warnings\n"
    )
    assert text(()) == "nothing wrong was found\n"


def test_names_of_checks_are_words_for_programs() -> None:
    assert json.dumps(list(CHECKS)).isascii()
