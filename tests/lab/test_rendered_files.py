"""wg0.conf as rendered, in the hands of the real wg-quick, wg and ip."""

import json
from dataclasses import replace
from ipaddress import ip_network

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.unit.mesh_inventories import inventory, key, node
from wgmesh.mesh.plan import plan
from wgmesh.model.plan import NodePlan, Rule, RuleAction
from wgmesh.model.terms import Endpoint
from wgmesh.render import files
from wgmesh.render.words import rule_words

PSK = "/etc/wireguard/psk/%p"
CONF = "/etc/wireguard/wg0.conf"
RULES = (
    Rule(4, 31000, RuleAction.LOOKUP, 254, suppress_prefixlength=1),
    Rule(4, 31001, RuleAction.LOOKUP, 101, fwmark=0x102, source=ip_network("192.168.0.0/16")),
    Rule(6, 31002, RuleAction.GOTO, 31003, fwmark=0x1, fwmask=0xFF, iif="lo"),
    Rule(6, 31003, RuleAction.UNREACHABLE, destination=ip_network("fd99::/48")),
)


@pytest.fixture(scope="module")
def machine(module_world_factory: WorldFactory) -> Machine:
    """Make a machine with a key and two preshared keys."""
    machine = module_world_factory(["alpha"])["alpha"]
    machine.write("/etc/wireguard/wg0.key", machine.run(["wg", "genkey"]).stdout, 0o600)
    for peer in ("bravo", "charlie"):
        machine.write(PSK.replace("%p", peer), machine.run(["wg", "genpsk"]).stdout, 0o600)
    return machine


def example() -> NodePlan:
    """Return alpha's plan, with whatever wg-quick might stumble over."""
    mesh = inventory(
        node("alpha", preshared_key_path=PSK, persistent_keepalive=21, post_up="echo [Peer] #"),
        node("bravo", preshared_key_path=PSK, endpoint=Endpoint("2001:db8::2", 7)),
        node("charlie", preshared_key_path=PSK, endpoint=Endpoint("charlie.invalid", 51820)),
        node("delta", endpoint=None, allowed_ips=(ip_network("192.168.4.0/24"),)),
    )
    made = plan(mesh, "alpha", allow_hooks=True)
    return replace(made, rules=RULES, fwmark=0x102)


def test_wg_quick_strips_it_to_what_wg_takes(machine: Machine) -> None:
    machine.write(CONF, files(example())["wg0.conf"].decode(), 0o600)
    stripped = machine.run(["wg-quick", "strip", "wg0"]).stdout
    bare = [line for line in stripped.splitlines() if line and not line.startswith("#")]
    assert bare == [
        "[Interface]",
        "ListenPort = 51820",
        "FwMark = 0x102",
        "[Peer]",
        f"PublicKey = {key('bravo')}",
        "AllowedIPs = 10.40.0.2/32, fd40::2/128",
        "Endpoint = [2001:db8::2]:7",
        "PersistentKeepalive = 21",
        "[Peer]",
        f"PublicKey = {key('charlie')}",
        "AllowedIPs = 10.40.0.3/32, fd40::3/128",
        "PersistentKeepalive = 21",
        "[Peer]",
        f"PublicKey = {key('delta')}",
        "AllowedIPs = 10.40.0.4/32, 192.168.4.0/24, fd40::4/128",
        "PersistentKeepalive = 21",
    ]


def test_wg_quick_brings_the_device_up_with_its_keys(machine: Machine) -> None:
    machine.write(CONF, files(example())["wg0.conf"].decode(), 0o600)
    machine.run(["wg-quick", "up", "wg0"])
    try:
        own, *peers = (
            line.split("\t")
            for line in machine.run(["wg", "show", "wg0", "dump"]).stdout.split("\n")
        )
        assert own[0] == machine.read("/etc/wireguard/wg0.key").strip()
        assert own[2:] == ["51820", "0x102"]
        seen = {peer[0]: peer[1:4] for peer in peers if len(peer) > 1}
        for peer in example().peers:
            psk, endpoint, allowed = seen[peer.public_key]
            path = peer.preshared_key_path
            assert psk == ("(none)" if path is None else machine.read(path).strip())
            assert set(allowed.split(",")) == set(map(str, peer.allowed_ips))
            known = peer.endpoints and peer.endpoints[0].literal
            assert endpoint == (str(peer.endpoints[0]) if known else "(none)")
        assert machine.run(["ip", "route", "show", "dev", "wg0"]).stdout == ""
    finally:
        machine.run(["wg-quick", "down", "wg0"])


@pytest.mark.parametrize("rule", RULES, ids=rule_words)
def test_ip_takes_a_rule_as_it_is_written(machine: Machine, rule: Rule) -> None:
    family, *words = rule_words(rule).split(" ")
    machine.run(["ip", family, "rule", "add", *words, "protocol", "101"])
    shown = json.loads(
        machine.run(
            ["ip", "-N", "-j", family, "rule", "show", "priority", str(rule.priority)]
        ).stdout
    )
    assert len(shown) == 1
    said = shown[0]
    assert str(said["protocol"]) == "101"
    prefix = rule.source or rule.destination
    if prefix is not None:
        which = "src" if rule.source else "dst"
        assert f"{said[which]}/{said[which + 'len']}" == str(prefix)
    match rule.action:
        case RuleAction.LOOKUP:
            assert said["table"] == str(rule.target)
        case RuleAction.GOTO:
            assert str(said["goto"]) == str(rule.target)
        case RuleAction.UNREACHABLE:
            assert "table" not in said
    if rule.fwmark is not None:
        assert int(str(said["fwmark"]), 0) == rule.fwmark
    if rule.suppress_prefixlength is not None:
        assert int(said["suppress_prefixlen"]) == rule.suppress_prefixlength
