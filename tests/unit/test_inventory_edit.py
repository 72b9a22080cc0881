"""Adding a node: where its text goes, which address it gets, what is refused, what stays."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.inventory_texts import FORMATS, files, key, mesh, node
from wgmesh.errors import InventoryError, WgmeshError
from wgmesh.inventory import load, read
from wgmesh.inventory.edit import add_node, next_addresses

ENTRY = f'# from join\npublic_key = "{key(9)}"\nendpoint = "delta.example.com"\n'


def test_the_node_of_a_split_inventory_is_a_new_file() -> None:
    assert add_node(files("split"), "delta", ENTRY) == {
        "nodes/delta.toml": ('address = ["10.40.0.4/32", "fd40::4/128"]\n' + ENTRY).encode()
    }


def test_the_first_node_of_a_mesh_is_a_new_file() -> None:
    assert list(add_node(mesh(), "delta", ENTRY)) == ["nodes/delta.toml"]
    alone = add_node({"fleet.toml": mesh()["mesh.toml"]}, "delta", ENTRY)
    assert [found.name for found in load(alone).nodes] == ["delta"]
    prefixed = {"fleet/mesh.toml": mesh()["mesh.toml"]}
    assert list(add_node(prefixed, "delta", ENTRY)) == ["fleet/nodes/delta.toml"]


def test_the_node_of_a_single_file_is_appended() -> None:
    before = files("single")
    changed = add_node(before, "delta", ENTRY)
    added = '\n[node.delta]\naddress = ["10.40.0.4/32", "fd40::4/128"]\n' + ENTRY
    assert changed == {"mesh.toml": before["mesh.toml"] + added.encode()}


def test_the_node_of_a_seed_inventory_is_a_section() -> None:
    before = files("seed")
    entry = ENTRY + 'endpoint_alt = ["a.example.com", "b.example.com"]\nmanaged = false\n'
    changed = add_node(before, "delta", entry + "persistent_keepalive = 25\n")
    assert list(changed) == ["mesh.conf"]
    assert changed["mesh.conf"].startswith(before["mesh.conf"])
    assert (
        changed["mesh.conf"]
        .decode()
        .endswith(
            f'\n[node "delta"]\naddress = 10.40.0.4/32, fd40::4/128\npublic_key = {key(9)}\n'
            "endpoint = delta.example.com\nendpoint_alt = a.example.com, b.example.com\n"
            "managed = false\npersistent_keepalive = 25\n"
        )
    )


@pytest.mark.parametrize("form", FORMATS)
def test_formats_agree_and_others_stay(form: str) -> None:
    after = load({**files(form), **add_node(files(form), "delta", ENTRY)})
    assert after == load({**files("split"), **add_node(files("split"), "delta", ENTRY)})
    assert [n for n in after.nodes if n.name != "delta"] == list(load(files(form)).nodes)


@pytest.mark.parametrize("form", ["single", "seed"])
def test_line_ends_and_a_missing_last_one(form: str) -> None:
    ((name, data),) = files(form).items()
    windows = {name: data.replace(b"\n", b"\r\n").rstrip(b"\r\n")}
    changed = add_node(windows, "delta", ENTRY)[name]
    assert changed.startswith(windows[name] + b"\r\n\r\n[node")
    assert changed.count(b"\n") == changed.count(b"\r\n")
    assert load({name: changed}) == load(add_node(files(form), "delta", ENTRY))


def test_an_address_of_its_own_is_kept() -> None:
    entry = 'address = "10.40.0.77/24"\n' + ENTRY
    assert add_node(files("split"), "delta", entry) == {"nodes/delta.toml": entry.encode()}


def free(cidr: str, *nodes: str) -> list[str]:
    return [str(ip) for ip in next_addresses(load(mesh("", *nodes, cidr=cidr)))]


def at(number: int, address: str, extra: str = "") -> str:
    return node(f"n{number}", number, extra).replace(f'"10.40.0.{number}/32"', address)


@pytest.mark.parametrize(
    ("cidr", "nodes", "expected"),
    [
        ('"10.40.0.0/24"', [], ["10.40.0.1"]),
        ('"fd40::/64"', [], ["fd40::1"]),
        ('"10.40.0.0/24"', [node("a", 1), node("b", 2), node("c", 4)], ["10.40.0.3"]),
        ('"10.40.0.0/24"', [node("b", 2)], ["10.40.0.1"]),
        ('["10.40.0.0/24", "fd40::/64"]', [node("a", 1)], ["10.40.0.2", "fd40::2"]),
        (
            '["10.40.0.0/24", "fd40::/64"]',
            [at(1, '"fd40::1/128"'), at(2, '["10.40.0.1/32", "fd40::2/128"]')],
            ["10.40.0.2", "fd40::3"],
        ),
        ('"10.40.0.0/31"', [at(1, '"10.40.0.0/31"')], ["10.40.0.1"]),
        ('"10.40.0.0/24"', [node("a", 1, 'allowed_ips = "10.40.0.0/28"')], ["10.40.0.16"]),
        ('"10.40.0.0/24"', [node("a", 1, 'allowed_ips = "10.40.0.0/24"')], ["10.40.0.2"]),
        ('"10.40.0.0/24"', [node("a", 1, 'allowed_ips = "10.0.0.0/8"')], ["10.40.0.2"]),
        ('["fd40::/120", "10.0.0.0/8"]', [at(1, '"fd40::1/128"')], ["fd40::2", "10.0.0.2"]),
    ],
)
def test_the_next_free_address(cidr: str, nodes: list[str], expected: list[str]) -> None:
    assert free(cidr, *nodes) == expected


def test_a_full_network() -> None:
    nodes = [at(i, f'"10.40.0.{i}/32"') for i in (1, 2)]
    with pytest.raises(InventoryError, match=r"no address of 10\.40\.0\.0/30 is free"):
        free('"10.40.0.0/30"', *nodes)


@settings(max_examples=60)
@given(st.sets(st.integers(1, 14)), st.sets(st.integers(1, 15)))
def test_a_free_address_is_the_lowest_and_nobody_has_it(four: set[int], six: set[int]) -> None:
    nodes = [at(i, f'"10.40.0.{i}/32"') for i in four]
    nodes += [at(100 + i, f'"fd40::{i:x}/128"') for i in six]
    files = mesh("", *nodes, cidr='["10.40.0.0/28", "fd40::/64"]')
    if len(four) == 14:
        with pytest.raises(InventoryError):
            next_addresses(load(files))
        return
    lowest = min(set(range(1, 15)) - four)
    second = lowest if lowest not in six else min(set(range(1, 17)) - six)
    assert next_addresses(load(files)) == (
        ip_address(f"10.40.0.{lowest}"),
        ip_address(f"fd40::{second:x}"),
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("alpha", ENTRY, "has a node 'alpha' already"),
        ("Delta", ENTRY, "is no node name"),
        ("../x", ENTRY, "is no node name"),
        ("delta", ENTRY.replace(key(9), "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="), "alpha"),
        ("delta", 'endpoint = "d.example.com"', "is missing"),
        ("delta", ENTRY + 'address = "10.40.0.1/32"', "an address of node alpha already"),
        ("delta", ENTRY + 'address = "10.41.0.1/32"', "outside of mesh_cidr"),
        ("delta", ENTRY + "listen_port = 0", "out of range"),
        ("delta", ENTRY + "x = 1", "is no field"),
        ("delta", ENTRY + "[node.echo]\nx = 1", "is no field"),
        ("delta", ENTRY + "[mesh]\nmtu = 1300", "is no field"),
        ("delta", ENTRY + "x", "entry is invalid"),
        ("delta", ENTRY + '"a\\n[x]" = 1', "is no field"),
        ("delta", ENTRY + 'post_up = "a\\npost_down = b"', "control character"),
        ("delta", ENTRY + 'ssh_user = "\udc80"', "UTF-8"),
        ("delta", ENTRY + f'private_key = "{key(5)}"', "a secret"),
    ],
)
def test_refusals(form: str, name: str, entry: str, message: str) -> None:
    with pytest.raises(InventoryError) as caught:
        add_node(files(form), name, entry)
    told = caught.value.message + "".join(p.message for p in caught.value.problems)
    assert message in told
    assert key(5) not in told


def test_what_ini_cannot_hold() -> None:
    entry = ENTRY + 'post_up = "a # b"\npost_down = "c"\n'
    with pytest.raises(InventoryError, match="begin a comment"):
        add_node(files("seed"), "delta", entry)
    assert list(add_node(files("split"), "delta", entry)) == ["nodes/delta.toml"]


def test_an_invalid_inventory_is_not_edited() -> None:
    with pytest.raises(InventoryError) as caught:
        add_node(mesh("mtuu = 1"), "delta", ENTRY)
    assert [p.field for p in caught.value.problems] == ["mtuu"]


def test_keys_may_be_yet_to_be_made() -> None:
    entry = 'endpoint = "d.example.com"'
    changed = add_node(files("split"), "delta", entry, require_keys=False)
    after = load({**files("split"), **changed}, require_keys=False)
    assert [n.name for n in after.nodes if n.public_key is None] == ["delta"]


@settings(max_examples=60)
@given(st.sampled_from(FORMATS), st.text(max_size=60), st.booleans())
def test_any_entry_gives_a_valid_inventory_or_is_refused(
    form: str, text: str, key_first: bool
) -> None:
    entry = ENTRY + text if key_first else text
    try:
        changed = add_node(files(form), "delta", entry)
    except WgmeshError:
        return
    after = read({**files(form), **changed}).inventory
    assert after is not None
    assert [n.name for n in after.nodes] == ["alpha", "bravo", "charlie", "delta"]
