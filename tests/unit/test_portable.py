"""The files of `gen`: they say what a node's plan says, in words that wg-quick has."""

import base64
import re
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given

from tests.unit import mesh_inventories as made
from tests.unit.mesh_inventories import NAMES, inventory, key, node, star
from wgmesh.errors import InventoryError
from wgmesh.mesh import topology
from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory
from wgmesh.model.terms import Endpoint, Prefix, Secret
from wgmesh.render.portable import Writer

PRIVATE = base64.b64encode(bytes(range(32))).decode()
KEY_FILE = "/etc/wireguard/wg0.key"


@dataclass
class Config:
    """A wg-quick file as wg-quick reads it: without comments, keys with all their values."""

    interface: dict[str, list[str]] = field(default_factory=dict)
    peers: list[dict[str, list[str]]] = field(default_factory=list)

    def prefixes(self, peer: int) -> set[Prefix]:
        listed = ", ".join(self.peers[peer].get("AllowedIPs", []))
        return {ip_network(text) for text in listed.split(", ") if text}


def read(text: str) -> Config:
    found = Config()
    section: dict[str, list[str]] = {}
    for line in text.split("\n"):
        stripped = line.partition("#")[0].strip()
        if stripped == "[Interface]":
            section = found.interface
        elif stripped == "[Peer]":
            section = {}
            found.peers.append(section)
        elif stripped:
            name, equals, value = stripped.partition("=")
            assert equals
            section.setdefault(name.strip(), []).append(value.strip())
    return found


def config(mesh: Inventory, name: str, *, private: str | None = PRIVATE) -> str:
    """Return the file of a node, by default with its private key."""
    of = next(each for each in mesh.nodes if each.name == name)
    secret = None if private is None else Secret(private)
    return Writer(mesh).config(of, secret, KEY_FILE).decode()


def without_comments_in_hooks(mesh: Inventory) -> Inventory:
    return replace(
        mesh,
        nodes=tuple(
            replace(
                each,
                post_up=each.post_up and each.post_up.replace("#", "x"),
                post_down=each.post_down and each.post_down.replace("#", "x"),
            )
            for each in mesh.nodes
        ),
    )


@given(made.inventories())
def test_the_tunnels_are_those_of_the_plan(drawn: Inventory) -> None:
    mesh = without_comments_in_hooks(drawn)
    writer = Writer(mesh)  # one for all: what it keeps must fit each of them
    for each in mesh.nodes:
        planned = plan(mesh, each.name)
        found = read(writer.config(each, Secret(PRIVATE), None).decode())
        assert found.interface["PrivateKey"] == [PRIVATE]
        assert found.interface["ListenPort"] == [str(planned.listen_port)]
        assert found.interface["MTU"] == [str(planned.mtu)]
        listed = ", ".join(found.interface.get("Address", []))
        assert listed == ", ".join(map(str, planned.addresses))
        assert len(found.peers) == len(planned.peers)
        for number, peer in enumerate(planned.peers):
            section = found.peers[number]
            assert section["PublicKey"] == [peer.public_key]
            assert section.get("Endpoint", []) == list(map(str, peer.endpoints[:1]))
            alive = [str(peer.persistent_keepalive)] if peer.persistent_keepalive else []
            assert section.get("PersistentKeepalive", []) == alive
            assert found.prefixes(number) == set(peer.allowed_ips)


@given(made.inventories())
def test_all_that_a_node_needs_is_there(drawn: Inventory) -> None:
    mesh = without_comments_in_hooks(drawn)
    for each in mesh.nodes:
        planned = plan(mesh, each.name, allow_hooks=True)
        ups = read(config(mesh, each.name, private=None)).interface.get("PostUp", [])
        text = "\n".join(ups)
        assert (f"private-key {KEY_FILE}" in text) == each.managed
        for peer in planned.peers if each.managed else ():
            words = f"peer {peer.public_key} preshared-key {peer.preshared_key_path}"
            assert (words in text) == (peer.preshared_key_path is not None)
        passes = each.forwarding or topology.layout(mesh).hubs.get(each.name) is not None
        assert ("table inet wgmesh" in text) or not passes
        for name, value in planned.sysctls if planned.exits is None else ():
            assert f"sysctl -q -w {name}={value}" in text


# ---------------------------------------------------------------- by hand


def test_names_stay_names_and_a_file_for_a_phone_has_no_command() -> None:
    phone = node("bravo", endpoint=None, managed=False)
    mesh = inventory(node("alpha", endpoint=Endpoint("alpha.example.com", 443)), phone)
    text = config(mesh, "bravo")
    assert "Endpoint = alpha.example.com:443\n" in text
    known = {"PrivateKey", "Address", "ListenPort", "MTU"}
    assert set(read(text).interface) == known
    assert set(read(config(mesh, "bravo", private=None)).interface) == known - {"PrivateKey"}


def test_dns_is_there_for_those_whom_nobody_else_tells() -> None:
    mesh = inventory(node("alpha"), dns=(ip_address("1.1.1.1"), ip_address("fd00::53")))
    assert "\nDNS = 1.1.1.1, fd00::53\n" in config(mesh, "alpha")


@pytest.mark.parametrize(("primary", "way_out"), [("bravo", "bravo"), (None, "alpha")])
def test_the_way_out_is_the_primary_exit_or_the_first(primary: str | None, way_out: str) -> None:
    out = {"exit_out_iface": "eth0", "enable_nat": True}
    mesh = inventory(
        node("alpha", **out),
        node("bravo", **out),
        node("charlie"),
        node("delta"),
        exit_nodes=("alpha", "bravo"),
        exit_primary=primary,
        enable_exit_for_nodes=("charlie",),
    )
    found = read(config(mesh, "charlie"))
    open_ended = {ip_network("0.0.0.0/0"), ip_network("::/0")}
    carries = [name for i, name in enumerate(NAMES[:2]) if open_ended <= found.prefixes(i)]
    assert carries == [way_out]
    assert not open_ended & read(config(mesh, "delta")).prefixes(0)
    assert "masquerade" in config(mesh, "alpha") and "wgmesh.nft" not in config(mesh, "charlie")


def test_a_default_route_is_there_but_not_taken() -> None:
    wide = node("alpha", allowed_ips=(ip_network("0.0.0.0/0"), ip_network("10.9.0.0/16")))
    mesh = star(wide, node("bravo", endpoint=None), node("charlie", endpoint=None, managed=False))
    found = read(config(mesh, "bravo"))
    assert ip_network("0.0.0.0/0") in found.prefixes(0)
    assert found.interface["Table"] == ["off"]
    assert [line for line in found.interface["PostUp"] if line.startswith("ip ")] == [
        "ip -4 route add 10.9.0.0/16 dev %i",
        "ip -4 route add 10.40.0.0/24 dev %i",
        "ip -6 route add fd40::/64 dev %i",
    ]
    phone = read(config(mesh, "charlie"))
    assert "Table" not in phone.interface and "PostUp" not in phone.interface


def test_a_firewall_is_named_by_what_wg_quick_calls_the_interface() -> None:
    text = config(inventory(node("alpha", forwarding=True, nat_iface="eth0")), "alpha")
    rules = next(line for line in text.split("\n") if "table inet wgmesh {" in line)
    assert '"%i"' in rules and '"wg0"' not in rules and "#" not in rules


def test_hooks_come_last_and_go_first() -> None:
    hooks = {"post_up": "echo %i up", "post_down": "echo %i down"}
    found = read(config(inventory(node("alpha", forwarding=True, **hooks)), "alpha"))
    assert found.interface["PostUp"][-1] == "echo %i up"
    assert found.interface["PostDown"] == ["echo %i down", "nft 'delete table inet wgmesh'"]


@pytest.mark.parametrize("hook", ["post_up", "post_down"])
def test_a_hook_that_wg_quick_would_cut_is_refused(hook: str) -> None:
    hooks = {"post_up": "true", "post_down": "true"} | {hook: 'echo "#1"'}
    with pytest.raises(InventoryError, match=f"node alpha: {hook} holds a #"):
        config(inventory(node("alpha", **hooks)), "alpha")


def test_a_phone_is_told_of_its_preshared_keys() -> None:
    path = {"preshared_key_path": "/psk/%p"}
    mesh = inventory(node("alpha", **path), node("bravo", **path, managed=False), node("charlie"))
    text = config(mesh, "bravo")
    assert "# It needs a PresharedKey in the [Peer] of: alpha.\n" in text
    assert "/psk" not in text
    assert f"peer {key('bravo')} preshared-key /psk/bravo" in config(mesh, "alpha")


def test_what_all_nodes_share() -> None:
    far = (Endpoint("b.example.com", 51820),)
    out = {"exit_out_iface": "eth0", "enable_nat": True}
    mesh = inventory(
        node("alpha", endpoint_alt=far, **out),
        node("bravo", endpoint=None),
        exit_nodes=("alpha",),
        enable_exit_for_nodes=("bravo",),
    )
    shared = {name: data.decode() for name, data in Writer(mesh).shared().items()}
    assert "Endpoint = 192.0.2.1:51820, b.example.com:51820\n" in shared["wg-failover.conf"]
    assert "bravo" not in shared["wg-failover.conf"]
    assert re.findall(r"^Name = (.*)$", shared["wg-exit-selector.conf"], re.M) == ["alpha"]
    assert set(Writer(inventory(node("alpha"))).shared()) == {"wg-failover.conf"}
