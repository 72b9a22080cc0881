"""wgmesh.linux against the real wg, ip, nft and kernel, in namespaces that a test makes for itself.

A test runs in a forked child that has left the machine's network and mount namespaces; /run is its
own. When it ends, so do the wireguard-go processes that live in its network namespace, and nothing
else. The namespaces have no name and vanish with them.
"""

import functools
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from tests.lab import own_root
from wgmesh import process
from wgmesh.after import after
from wgmesh.diff import diff
from wgmesh.errors import WgmeshError
from wgmesh.linux import apply, nftables, observe, sysctl, wireguard
from wgmesh.model.change import Change, EndpointSet, RouteRemove, RouteReplace
from wgmesh.model.kernel import KernelState, LinkState, PeerState
from wgmesh.model.plan import Firewall, Route, RouteKind, Rule, RuleAction
from wgmesh.model.terms import Endpoint, Secret

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces: needs root")

CHILD_SECONDS = 120
PIPE_BYTES = 60000  # a pipe takes 65,536 without a reader

HERE, THERE = Endpoint("192.0.2.1", 51820), Endpoint("2001:db8::1", 51821)
FORWARDING = "net.ipv4.ip_forward"
FLOOR = 4294967295


# ---------------------------------------------------------------- a machine of its own


def alone(test: Callable[[], None]) -> Callable[[], None]:
    """Run `test` in network and mount namespaces of its own, and end what it left running."""

    @functools.wraps(test)
    def wrapped() -> None:
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(readable)
            _child(test, writable)
        os.close(writable)
        try:
            status = _wait(child)
        finally:
            said = os.read(readable, PIPE_BYTES).decode(errors="replace")
            os.close(readable)
        if status:
            pytest.fail(said or f"the test's process ended with {status}", pytrace=False)

    return wrapped


def _child(test: Callable[[], None], writable: int) -> None:
    status = 1
    try:
        _leave_the_machine()
        try:
            test()
            status = 0
        finally:
            _end_wireguard_go()
    except BaseException:  # whatever it is, the parent shall show it, and pytest not run on here
        os.write(writable, traceback.format_exc().encode()[-PIPE_BYTES:])
    finally:
        sys.stdout.flush()
        os._exit(status)


def _leave_the_machine() -> None:
    own_root.leave(own_root.CLONE_NEWNS | own_root.CLONE_NEWNET)
    own_root.mount_tmpfs("/run")
    sh("ip link set lo up")


def _wait(child: int) -> int:
    deadline = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError(f"the test did not end in {CHILD_SECONDS} s")


def _end_wireguard_go() -> None:
    """End the wireguard-go processes of this network namespace, and wait until they are gone."""
    for pid in _wireguard_go():
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while (left := _wireguard_go()) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def _wireguard_go() -> list[int]:
    own = Path("/proc/self/ns/net").readlink()
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if (each / "ns/net").readlink() == own and (each / "comm").read_text() == (
                "wireguard-go\n"
            ):
                found.append(int(each.name))
        except OSError:  # it ended while we looked
            continue
    return found


def sh(command: str) -> str:
    """Return what `command` (split at blanks) prints; it must succeed."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


# ---------------------------------------------------------------- states


def key(number: int) -> str:
    """Return a public key; any 32 bytes are one."""
    return _base64(number.to_bytes(32, "big"))


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def psk(number: int) -> Secret:
    return Secret(_base64(number.to_bytes(32, "little")))


PRIVATE = Secret(_base64(bytes([0x40, *[7] * 30, 0x41])))


def peer(number: int, *allowed_ips: str, **rest: object) -> PeerState:
    prefixes = frozenset(map(ip_network, allowed_ips))
    return PeerState(key(number), prefixes, **rest)  # type: ignore[arg-type]


def machine(*peers: PeerState, **rest: object) -> KernelState:
    addresses = frozenset({ip_interface("10.40.0.1/32"), ip_interface("fd40::1/128")})
    link_state = LinkState(
        "wg0", True, 1400, PRIVATE, 51820, 0x102, addresses, {p.public_key: p for p in peers}
    )
    return KernelState(link_state, **rest)  # type: ignore[arg-type]


ROUTES = frozenset(
    {
        Route(ip_network("10.40.0.0/24"), "wg0"),
        Route(ip_network("fd40::/64"), "wg0"),
        Route(ip_network("0.0.0.0/0"), "wg0", 101),
        Route(ip_network("::/0"), "wg0", 101),
        Route(ip_network("10.50.0.0/16"), "wg0", 1000, 7),
        Route(ip_network("10.40.0.0/24"), None, 254, FLOOR, RouteKind.UNREACHABLE),
        Route(ip_network("fd40::/64"), None, 254, FLOOR, RouteKind.UNREACHABLE),
        Route(ip_network("0.0.0.0/0"), None, 101, FLOOR, RouteKind.UNREACHABLE),
        Route(ip_network("::/0"), None, 101, FLOOR, RouteKind.UNREACHABLE),
    }
)
RULES = frozenset(
    {
        Rule(4, 31000, RuleAction.LOOKUP, 254, suppress_prefixlength=1),
        Rule(6, 31000, RuleAction.LOOKUP, 254, suppress_prefixlength=1),
        Rule(4, 31010, RuleAction.GOTO, 32766, fwmark=0x101, fwmask=0xFFF),
        Rule(4, 31011, RuleAction.GOTO, 32766, fwmark=0x102),
        Rule(4, 31030, RuleAction.GOTO, 32766, destination=ip_network("10.0.0.0/8")),
        Rule(6, 31030, RuleAction.GOTO, 32766, destination=ip_network("fc00::/7")),
        Rule(4, 31031, RuleAction.LOOKUP, 1000, source=ip_network("192.0.2.7/32")),
        Rule(4, 31050, RuleAction.LOOKUP, 101, iif="lo"),
        Rule(4, 31051, RuleAction.UNREACHABLE, iif="lo"),
        Rule(6, 31051, RuleAction.UNREACHABLE, iif="lo"),
    }
)
FIREWALL = Firewall(
    (("forward", ("one", "two")), ("post", ("three",))),
    """table inet wgmesh {
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname "wg0" oifname "wg0" accept comment "one"
        ct state established,related counter accept comment "two"
    }
    chain post {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "eth7" ip saddr 10.40.0.0/24 masquerade comment "three"
    }
}
""",
)
FULL = machine(
    peer(1, "10.40.0.2/32", "fd40::2/128", endpoint=HERE, preshared_key=psk(1)),
    peer(2, "10.40.0.3/32", "10.9.0.0/16", endpoint=THERE, persistent_keepalive=25),
    peer(3),
    routes=ROUTES,
    rules=RULES,
    firewall=FIREWALL,
    sysctls={FORWARDING: "1"},
)


def seen() -> KernelState:
    return observe("wg0", [FORWARDING]).state


def reach(desired: KernelState) -> tuple[Change, ...]:
    """Go to `desired`; the kernel must be as the model says, after each change and at the end."""
    observed = seen()
    changes = diff(desired, observed)
    apply(changes)
    now = seen()
    assert now == after(observed, changes)
    assert diff(desired, now) == ()
    return changes


# ---------------------------------------------------------------- tests


@alone
def test_observe_after_apply_is_what_the_model_says() -> None:
    nothing = seen()
    assert nothing == KernelState(None, sysctls={FORWARDING: nothing.sysctls[FORWARDING]})
    reach(FULL)
    assert seen() == FULL
    apply(diff(KernelState(None), FULL))
    assert seen() == KernelState(None, sysctls={FORWARDING: "1"})
    assert not wireguard.present("wg0")


@alone
def test_each_single_change_does_what_the_model_says() -> None:
    other = machine(
        peer(1, "10.40.0.2/32", "10.9.0.0/16", endpoint=THERE, preshared_key=psk(2)),
        peer(4, "10.40.0.3/32"),
        peer(3, "fd40::2/128", persistent_keepalive=5),
        routes=frozenset(sorted(ROUTES, key=repr)[:4])
        | {Route(ip_network("10.50.0.0/16"), None, 1000, 7, RouteKind.UNREACHABLE)},
        rules=frozenset(sorted(RULES, key=repr)[:5]),
        sysctls={FORWARDING: "0"},
    )
    assert other.link is not None
    address = ip_interface("10.40.0.9/24")
    changed = replace(other.link, mtu=1300, fwmark=0, listen_port=51900)
    other = replace(other, link=replace(changed, addresses=frozenset({address})))
    state = seen()
    for desired in (FULL, other, FULL, replace(KernelState(None), sysctls={})):
        for change in diff(desired, state):
            apply([change])
            state = after(state, [change])
            if state.link is not None and state.link.mtu == 0:
                continue  # the kernel's own choice of MTU and port, until we set ours
            assert seen() == state, change


@alone
def test_an_allowed_ip_moves_from_peer_to_peer() -> None:
    reach(machine(peer(1, "0.0.0.0/0", "10.40.0.2/32"), peer(2, "10.40.0.3/32")))
    changes = reach(machine(peer(1, "10.40.0.2/32"), peer(2, "0.0.0.0/0", "10.40.0.3/32")))
    assert len(changes) == 1
    changes = reach(machine(peer(1, "10.40.0.3/32"), peer(2, "10.40.0.2/32")))
    assert len(changes) == 2


@alone
def test_a_section_without_endpoint_leaves_a_roamed_one() -> None:
    reach(machine(peer(1, "10.40.0.2/32", endpoint=HERE)))
    sh(f"wg set wg0 peer {key(1)} endpoint 198.51.100.7:1234")
    reach(machine(peer(1, "10.40.0.2/32", "10.9.0.0/16", persistent_keepalive=9)))
    now = seen().link
    assert now is not None
    assert now.peers[key(1)].endpoint == Endpoint("198.51.100.7", 1234)
    changes = reach(machine(peer(1, "10.40.0.2/32", "10.9.0.0/16", endpoint=THERE)))
    assert len(changes) == 1  # keepalive and endpoint
    apply([EndpointSet("wg0", key(1), HERE)])
    now = seen().link
    assert now is not None
    assert now.peers[key(1)].endpoint == HERE


@alone
def test_a_psk_comes_changes_and_goes_and_the_endpoint_stays() -> None:
    reach(machine(peer(1, "10.40.0.2/32", endpoint=THERE)))
    for secret in (psk(1), psk(2), None):
        wanted = peer(1, "10.40.0.2/32", preshared_key=secret, persistent_keepalive=25)
        changes = reach(machine(wanted))
        assert len(changes) == 1
        now = seen().link
        assert now is not None
        assert now.peers == {key(1): replace(wanted, endpoint=THERE)}


@alone
def test_the_key_travels_by_no_argument_and_a_none_leaves_it() -> None:
    reach(machine())
    link_state = machine().link
    assert link_state is not None
    reach(KernelState(replace(link_state, private_key=None, listen_port=51999)))
    now = seen().link
    assert now is not None
    assert (now.private_key, now.listen_port) == (PRIVATE, 51999)


@alone
def test_a_thousand_peers_are_one_call_each_way() -> None:
    peers = [
        peer(n + 1, f"10.{n // 250}.{n % 250}.1/32", endpoint=HERE, preshared_key=psk(n + 1))
        for n in range(1000)
    ]
    reach(machine())
    begin = time.monotonic()
    assert len(reach(machine(*peers))) == 1000
    moved = [replace(each, endpoint=THERE) for each in peers]
    assert len(reach(machine(*moved))) == 1000
    assert len(reach(machine())) == 1000
    assert time.monotonic() - begin < 30


@alone
def test_addresses_and_routes_are_exactly_those_of_wg_quick() -> None:
    config = Path("/run/wg0.conf")
    config.touch(0o600)
    config.write_text(
        f"[Interface]\nPrivateKey = {PRIVATE.reveal()}\nListenPort = 51820\nFwMark = 0x102\n"
        "Address = 10.40.0.1/32, fd40::1/128, 10.41.0.1/24\nMTU = 1400\nTable = off\n"
        "PostUp = ip -4 route replace 10.40.0.0/24 dev %i proto 101\n"
        "PostUp = ip -6 route replace fd40::/64 dev %i proto 101\n"
        "PostUp = ip -4 route replace default dev %i proto 101 table 101\n"
        "PostUp = ip -6 route replace default dev %i proto 101 table 101\n"
        f"PostUp = ip -4 route replace unreachable 10.0.0.0/8 proto 101 metric {FLOOR}\n"
        f"PostUp = ip -6 route replace unreachable fd40::/64 proto 101 metric {FLOOR}\n"
        "PostUp = ip -4 rule add pref 31010 fwmark 0x101/0xfff goto 32766 proto 101\n"
        "PostUp = ip -6 rule add pref 31051 iif lo unreachable proto 101\n"
        "PostUp = ip -4 rule add pref 31050 from 192.0.2.0/24 lookup 101 proto 101\n"
        "PostDown = ip -4 route flush table all proto 101\n"
        "PostDown = ip -6 route flush table all proto 101\n"
        "PostDown = ip -4 rule flush proto 101\nPostDown = ip -6 rule flush proto 101\n"
    )
    sh(f"wg-quick up {config}")
    by_wg_quick, state = _everything(), seen()
    sh(f"wg-quick down {config}")
    assert seen() == KernelState(None, sysctls=state.sysctls)
    _until_wireguard_go_is_gone()
    reach(state)
    assert _everything() == by_wg_quick
    assert "10.41.0.1/24" in by_wg_quick


def _until_wireguard_go_is_gone() -> None:
    deadline = time.monotonic() + 10
    while _wireguard_go():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _everything() -> str:
    """Return all that ip tells of wg0, routes and rules, without index and link-local address."""
    said = "".join(
        sh(f"ip -d {command}")
        for command in (
            "-4 addr show dev wg0 scope global",
            "-6 addr show dev wg0 scope global",
            "-4 route show table all",
            "-6 route show table all",
            "-4 rule show",
            "-6 rule show",
        )
    )
    lines = (line for line in said.splitlines() if "fe80::" not in line)
    return "\n".join(line.split(": ", 1)[-1] if ": wg0: " in line else line for line in lines)


@alone
def test_what_belongs_to_others_stays_as_it_is() -> None:
    reach(machine())
    sh("ip route add 198.51.100.0/24 dev lo proto static")
    sh("ip route add 10.77.0.0/16 dev wg0 proto static")
    sh("ip route add 10.78.0.0/16 dev wg0 proto bird src 10.40.0.1")
    sh("ip rule add pref 100 fwmark 0x7 lookup 77")
    sh("ip rule add pref 31000 fwmark 0x7 lookup 77")
    sh("nft add table inet other")
    sh("nft add chain inet other input { type filter hook input priority 0 ; }")
    sh("nft add rule inet other input tcp dport 22 accept")
    before = _everything(), sh("nft list ruleset")
    reach(FULL)
    assert sh("nft list table inet other") in sh("nft list ruleset")
    reach(machine())
    assert (_everything(), sh("nft list ruleset")) == before


@alone
def test_a_route_of_somebody_else_is_not_taken_over() -> None:
    reach(machine())
    sh("ip route add 10.60.0.0/24 dev lo proto static")
    sh("ip -6 route add fd60::/64 dev lo proto static")
    for prefix in ("10.60.0.0/24", "fd60::/64"):
        with pytest.raises(WgmeshError, match="already there, by another way"):
            apply([RouteReplace(Route(ip_network(prefix), "wg0"))])
    assert "10.60.0.0/24 dev lo proto static" in sh("ip route")
    assert "fd60::/64 dev lo proto static" in sh("ip -6 route")


@alone
def test_a_route_over_the_device_changes_hands_and_back() -> None:
    reach(machine())
    sh("ip -4 route add 10.40.0.0/24 dev wg0")
    sh("ip -6 route add fd40::/64 dev wg0")
    sh("ip -4 address add 10.41.0.1/24 dev wg0")
    before = seen()
    assert {route.protocol for route in before.routes} == {3}
    ours = {Route(ip_network(p), "wg0") for p in ("10.40.0.0/24", "fd40::/64", "10.41.0.0/24")}
    reach(machine(routes=frozenset(ours)))
    assert seen().routes == ours
    reach(before)
    assert seen() == before


@alone
def test_removing_what_is_gone_and_adding_what_is_there_is_fine() -> None:
    reach(FULL)
    additions = diff(FULL, KernelState(None))
    apply(additions[1:])
    assert seen() == FULL
    removals = diff(machine(), FULL)
    apply(removals)
    apply(removals)
    apply([RouteRemove(Route(ip_network("10.0.0.0/24"), "wg9"))])
    assert diff(machine(), seen()) == ()


@alone
def test_an_address_that_goes_takes_no_other_with_it() -> None:
    reach(machine())
    for last in (1, 2, 3):
        sh(f"ip address add 10.41.0.{last}/24 dev wg0")
    now = seen()
    assert now.link is not None
    first = ip_interface("10.41.0.1/24")
    reach(replace(now, link=replace(now.link, addresses=now.link.addresses - {first})))
    assert "10.41.0.2/24" in sh("ip address show dev wg0")


@alone
def test_an_interface_goes_down_and_up_as_the_model_says() -> None:
    reach(FULL)
    assert FULL.link is not None
    rest = frozenset(route for route in ROUTES if route.device is None)
    reach(replace(FULL, link=replace(FULL.link, up=False), routes=rest))
    assert "fd40::1" in sh("ip address show dev wg0")
    reach(FULL)
    assert seen() == FULL


@alone
def test_a_table_is_read_back_replaced_and_restored_from_its_listing() -> None:
    reach(replace(KernelState(None), firewall=FIREWALL))
    sh("nft insert rule inet wgmesh forward tcp dport 22 drop")
    by_hand = nftables.observe()
    assert by_hand is not None
    assert by_hand.tags == (("forward", ("", "one", "two")), ("post", ("three",)))
    listed = sh("nft -s list ruleset")
    reach(replace(KernelState(None), firewall=FIREWALL))
    nftables.replace(by_hand)
    assert sh("nft -s list ruleset") == listed
    bad = replace(FIREWALL, text=FIREWALL.text.replace("masquerade", "masquerad"))
    for refuse in (nftables.check, nftables.replace):
        with pytest.raises(WgmeshError):
            refuse(bad)
    assert sh("nft -s list ruleset") == listed
    nftables.delete()
    nftables.delete()
    assert nftables.observe() is None


@alone
def test_a_sysctl_remembers_what_it_was_before_the_first_write() -> None:
    was = seen().sysctls[FORWARDING]
    other = "1" if was == "0" else "0"
    for value in (other, was, other):
        reach(KernelState(None, sysctls={FORWARDING: value}))
    assert sysctl.former() == {FORWARDING: was}
    assert sysctl.FORMER.read_text() == f"{FORWARDING}={was}\n"
    with pytest.raises(WgmeshError, match="no sysctl"):
        sysctl.apply("net.ipv4.conf.nowhere.rp_filter", "1")


@alone
def test_an_interface_that_is_no_wireguard_device_is_an_error() -> None:
    sh("ip link add wg0 type veth peer name wg1")
    with pytest.raises(WgmeshError, match="wg0 exists but is no WireGuard device"):
        seen()


@alone
def test_a_deleted_interface_comes_back_at_once_and_again() -> None:
    for _ in range(3):
        reach(FULL)
        reach(replace(KernelState(None), sysctls={}))
    reach(FULL)
    sh("ip link del wg0")
    reach(FULL)


@alone
def test_a_killed_wireguard_go_is_seen_and_replaced() -> None:
    reach(machine(peer(1, "10.40.0.2/32")))
    running = _wireguard_go()
    if not running:
        pytest.skip("this kernel has WireGuard: there is no process to kill")
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    _until_wireguard_go_is_gone()
    assert seen().link is None
    reach(machine(peer(1, "10.40.0.2/32")))


@alone
def test_no_secret_is_logged_or_told_in_an_error() -> None:
    import logging

    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logging.getLogger("wgmesh").setLevel(logging.DEBUG)
    logging.getLogger("wgmesh").addHandler(Listener())
    reach(FULL)
    broken = replace(FULL, link=replace(machine().link, peers={}))  # type: ignore[type-var]
    reach(broken)
    with pytest.raises(WgmeshError) as caught:
        apply(diff(machine(peer(0, preshared_key=Secret("nonsense"))), machine()))
    told.append(str(caught.value) + repr(caught.value) + str(caught.value.__dict__))
    assert any("addconf" in line for line in told)
    secrets = (PRIVATE.reveal(), psk(1).reveal(), "nonsense")
    assert not any(secret in line for line in told for secret in secrets)


@alone
def test_observing_imports_nothing_heavy_and_is_quick() -> None:
    reach(FULL)
    code = (
        "import sys, wgmesh.linux as l; l.observe('wg0', []);"
        "print(*sorted({'pyroute2', 'git', 'jinja2', 'cryptography'} & set(sys.modules)))"
    )
    assert process.text([sys.executable, "-c", code]).strip() == ""
