"""Good inventories: three formats, one model; defaults; what counts as an inventory; its cost."""

import time
from dataclasses import fields
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from tests.unit.inventory_texts import FORMATS, files, key, mesh, node
from wgmesh.errors import InventoryError
from wgmesh.inventory import load, read
from wgmesh.inventory.fields import MESH, NODE, ROLLOUT
from wgmesh.model.inventory import Mesh, Node, Rollout, Severity
from wgmesh.model.terms import Endpoint, ExitPolicy, HubSelection, OnNoExit, Topology


def test_tables_have_the_fields_of_the_model() -> None:
    assert set(MESH) == {field.name for field in fields(Mesh)}
    assert set(ROLLOUT) == {field.name for field in fields(Rollout)}
    assert set(NODE) == {field.name for field in fields(Node)} - {"name"}


@pytest.mark.parametrize("form", FORMATS)
def test_formats_are_without_problem_and_equal(form: str) -> None:
    result = read(files(form))
    assert result.problems == ()
    assert result.inventory == load(files("single"))


def test_every_field_is_read() -> None:
    inventory = load(files("single"))
    assert inventory.mesh == Mesh(
        interface="wg0",
        mesh_cidr=(ip_network("10.40.0.0/24"), ip_network("fd40::/64")),
        port=51820,
        mtu=1400,
        dns=(ip_address("1.1.1.1"), ip_address("9.9.9.9")),
        topology=Topology.FULLMESH,
        hubs=("alpha",),
        hub_selection=HubSelection.LATENCY,
        exit_nodes=("charlie",),
        exit_primary="charlie",
        exit_policy=ExitPolicy.MANUAL,
        exit_check_interval_seconds=30,
        exit_test_target=(ip_address("1.1.1.1"), ip_address("2606:4700::1111")),
        enable_exit_for_nodes=("alpha", "bravo"),
        on_no_exit=OnNoExit.DIRECT,
        local_node="alpha",
    )
    assert inventory.rollout == Rollout(canary=("alpha",), soak_seconds=900)
    alpha, bravo, charlie = inventory.nodes
    assert alpha.address == (ip_interface("10.40.0.1/32"), ip_interface("fd40::1/128"))
    assert alpha.endpoint == Endpoint("alpha.example.com", 51820)
    assert alpha.endpoint_alt == (
        Endpoint("alpha-b.example.com", 51820),
        Endpoint("203.0.113.9", 443),
    )
    assert alpha.allowed_ips == (ip_network("192.168.50.0/24"), ip_network("10.40.0.1/32"))
    assert (alpha.forwarding, alpha.nat_iface, alpha.managed) == (True, "eth0", True)
    assert alpha.post_up == "echo up; ip rule add table 100 ; true"
    assert alpha.post_down == 'echo "down"'
    assert alpha.private_key_path == "/etc/wireguard/alpha.key"
    assert (alpha.ssh_host, alpha.ssh_user, alpha.ssh_port) == ("alpha", "ubuntu", 2222)
    assert alpha.next_public_key and alpha.next_public_key != alpha.public_key
    assert (bravo.endpoint, bravo.persistent_keepalive) == (None, 25)
    assert (bravo.intermittent, bravo.managed) == (True, False)
    # The port of an endpoint is by default where the node listens.
    assert charlie.endpoint == Endpoint("2001:db8::3", 51821)
    assert (charlie.listen_port, charlie.exit_out_iface, charlie.enable_nat) == (
        51821,
        "ens3",
        True,
    )


def test_defaults() -> None:
    inventory = load(mesh("port = 1234", node("alpha", 1)))
    assert inventory.mesh == Mesh("wg0", (ip_network("10.40.0.0/24"),), port=1234)
    assert inventory.rollout is None
    (alpha,) = inventory.nodes
    assert (alpha.listen_port, alpha.endpoint) == (1234, Endpoint("alpha.example.com", 1234))


def test_a_new_mesh_has_no_nodes() -> None:
    assert load(mesh()).nodes == ()


def test_nodes_are_sorted_and_lists_keep_their_order() -> None:
    exit_node = 'exit_out_iface = "eth0"\nenable_nat = true'
    inventory = load(
        mesh('exit_nodes = ["b", "a"]', node("b", 2, exit_node), node("a", 1, exit_node))
    )
    assert [found.name for found in inventory.nodes] == ["a", "b"]
    assert inventory.mesh.exit_nodes == ("b", "a")


def test_nodes_may_stand_in_both_places_but_not_twice() -> None:
    own = node("bravo", 2).partition("\n")[2].encode()
    both = mesh("", node("alpha", 1)) | {"nodes/bravo.toml": own}
    assert [found.name for found in load(both).nodes] == ["alpha", "bravo"]
    twice = read(mesh("", node("bravo", 1)) | {"nodes/bravo.toml": own})
    assert [(p.file, p.line, p.node) for p in twice.problems] == [("nodes/bravo.toml", 1, "bravo")]


def test_toml_has_several_ways_to_write_a_table() -> None:
    dotted = (
        f'node.alpha.address = "10.40.0.1/32"\nnode.alpha.public_key = "{key(1)}"\n'
        f'node.bravo = {{ address = "10.40.0.2/32", public_key = "{key(2)}" }}\n'
        'node.alpha.endpoint = "a.example.com"\n'
        'mesh = { interface = "wg0", mesh_cidr = "10.40.0.0/24" }\n'
    )
    assert [found.name for found in load({"mesh.toml": dotted.encode()}).nodes] == [
        "alpha",
        "bravo",
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_line_ends_of_windows(form: str) -> None:
    windows = {name: data.replace(b"\n", b"\r\n") for name, data in files(form).items()}
    assert load(windows) == load(files(form))


def test_keys_may_be_missing_when_they_are_yet_to_be_made() -> None:
    text = mesh("", '[node.alpha]\naddress = "10.40.0.1/32"')
    assert [p.field for p in read(text).problems] == ["public_key"]
    assert load(text, require_keys=False).nodes[0].public_key is None


def test_one_file_may_have_any_name_and_others_are_not_looked_at() -> None:
    data = files("single")["mesh.toml"]
    assert load({"fleet.toml": data}) == load({"mesh.toml": data})
    assert load({"local.conf": files("seed")["mesh.conf"]}) == load({"mesh.toml": data})
    strangers = {"trust.toml": b"\xff", "README.md": b"\0", "old/nodes/x.toml": b"?"}
    assert load({"mesh.toml": data} | strangers) == load({"mesh.toml": data})
    prefixed = {f"fleet/{name}": content for name, content in files("split").items()}
    assert load(prefixed) == load({"mesh.toml": data})


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({}, [("mesh.toml", 0, "there is no inventory")]),
        ({"README.md": b""}, [("mesh.toml", 0, "there is no inventory")]),
        ({"trust.toml": b"", "x": b""}, [("mesh.toml", 0, "there is no inventory")]),
        (
            {name: data for name, data in files("split").items() if name != "mesh.toml"},
            [("mesh.toml", 0, "nodes/alpha.toml")],
        ),
        (files("single") | files("seed"), [("mesh.conf", 0, "mesh.toml is there too")]),
        (files("seed") | {"nodes/x.toml": b""}, [("nodes/x.toml", 0, "beside mesh.conf")]),
    ],
)
def test_files_that_make_no_inventory(
    given: dict[str, bytes], places: list[tuple[str, int, str]]
) -> None:
    result = read(given)
    assert result.inventory is None
    assert [(p.file, p.line) for p in result.problems] == [place[:2] for place in places]
    for problem, (_, _, fragment) in zip(result.problems, places, strict=True):
        assert fragment in problem.message


def test_load_raises_with_every_problem() -> None:
    with pytest.raises(InventoryError) as caught:
        load({"mesh.toml": b'[mesh]\ninterface = "wg0"\nmtu = 1\n'})
    assert caught.value.exit_code == 3
    assert [p.field for p in caught.value.problems] == ["mesh_cidr", "mtu"]
    assert "mesh.toml:1: mesh_cidr" in caught.value.message


def test_warnings_leave_the_inventory_valid() -> None:
    psk = 'preshared_key_path = "/etc/wireguard/psk/%p"'
    result = read(mesh("", node("alpha", 1, psk), node("bravo", 2)))
    assert result.inventory is not None
    assert result.inventory.nodes[0].preshared_key_path == "/etc/wireguard/psk/%p"
    assert [(p.severity, p.node) for p in result.problems] == [(Severity.WARNING, "alpha")]


def fleet(size: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return a mesh of `size` nodes, as one file and as one file per node."""
    entries = {
        f"n{i}": (
            f'address = ["10.40.{i >> 8}.{i & 255}/32", "fd40::{i:x}/128"]\n'
            f'public_key = "{key(i)}"\nendpoint = "n{i}.example.com:51820"\n'
            f'allowed_ips = ["172.16.{i >> 8}.{i & 255}/32"]\npersistent_keepalive = 25\n'
        )
        for i in range(1, size + 1)
    }
    head = mesh(cidr='["10.40.0.0/16", "fd40::/64"]')
    split = {f"nodes/{name}.toml": text.encode() for name, text in entries.items()}
    single = "".join(f"\n[node.{name}]\n{text}" for name, text in entries.items())
    return {"mesh.toml": head["mesh.toml"] + single.encode()}, head | split


@pytest.mark.parametrize("split", [False, True], ids=["one file", "a file per node"])
def test_a_thousand_nodes_take_less_than_a_second(split: bool) -> None:
    given = fleet(1000)[split]

    def cpu_seconds() -> float:
        start = time.process_time()
        assert len(load(given).nodes) == 1000
        return time.process_time() - start

    assert min(cpu_seconds() for _ in range(3)) < 1.0


def test_a_thousand_nodes_full_of_problems_take_seconds_at_most() -> None:
    single = fleet(1000)[0]["mesh.toml"].replace(b"persistent_keepalive", b"persistent_keepalife")
    single = single.replace(b"172.16.", b'172.17.0.0/16", "172.16.').replace(b"n7", b"N7")
    start = time.process_time()
    result = read({"mesh.toml": single})
    assert time.process_time() - start < 5.0
    assert len(result.problems) > 2000
