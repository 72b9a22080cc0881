"""The schema for editors against the reader: what the one refuses, the other refuses too."""

import json
import tomllib
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tests import reference
from tests.unit.inventory_texts import FORMATS, files, key
from wgmesh.cli.main import main
from wgmesh.inventory import read
from wgmesh.inventory.fields import MESH, NODE, ROLLOUT, SECTIONS, Kind
from wgmesh.inventory.schema import ABOUT, schema
from wgmesh.model.inventory import Mesh, Node, Rollout, Severity

SCHEMA: dict[str, Any] = json.loads(schema())
NODE_SCHEMA: dict[str, Any] = json.loads(schema(of_node=True))
WHOLE, OF_NODE = Draft7Validator(SCHEMA), Draft7Validator(NODE_SCHEMA)
GOOD_MESH = 'interface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n'
GOOD_NODE = f'address = "10.40.0.1/32"\npublic_key = "{key(1)}"\n'


def test_the_command_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    assert main(["schema", "--node"]) == 0
    assert json.loads(capsys.readouterr().out) == NODE_SCHEMA


@pytest.mark.parametrize("validator", [WHOLE, OF_NODE], ids=["inventory", "node"])
def test_they_are_schemas(validator: Draft7Validator) -> None:
    Draft7Validator.check_schema(validator.schema)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_explained(section: str) -> None:
    assert list(ABOUT[section]) == list(SECTIONS[section])
    assert all(text.endswith(".") for text in ABOUT[section].values())


@pytest.mark.parametrize(
    ("table", "model"), [("mesh", Mesh), ("rollout", Rollout)], ids=["mesh", "rollout"]
)
def test_defaults_are_the_readers(table: str, model: type[Mesh | Rollout]) -> None:
    properties = SCHEMA["properties"][table]["properties"]
    text = {"mesh": "", "rollout": "[rollout]\n"}[table]
    found = read({"mesh.toml": f"[mesh]\n{GOOD_MESH}{text}".encode()}).inventory
    assert found is not None
    made = getattr(found, table)
    stated = {name: value["default"] for name, value in properties.items() if "default" in value}
    assert stated
    for name, value in stated.items():
        actual = getattr(made, name)
        assert value == getattr(actual, "value", actual)
    assert {field.name for field in fields(model)} == set(properties)


def test_defaults_of_a_node_are_the_readers() -> None:
    found = read({"mesh.toml": f"[mesh]\n{GOOD_MESH}[node.a]\n{GOOD_NODE}".encode()}).inventory
    assert found is not None
    properties = NODE_SCHEMA["properties"]
    stated = {name: value["default"] for name, value in properties.items() if "default" in value}
    assert stated == {name: getattr(found.nodes[0], name) for name in stated}
    assert {field.name for field in fields(Node)} - {"name"} == set(properties)


# ---------------------------------------------------------------- valid


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "seed"])
def test_it_takes_the_inventories_of_the_tests(form: str) -> None:
    for name, data in files(form).items():
        validator = OF_NODE if name.startswith("nodes/") else WHOLE
        assert not list(validator.iter_errors(tomllib.loads(data.decode())))


# ---------------------------------------------------------------- invalid

BAD_MESH = (
    'interfac = "wg0"',
    "port = 70000",
    "port = 0",
    'port = "51820"',
    "mtu = 100",
    'topology = "ring"',
    "topology = true",
    'dns = "one.one"',
    'hubs = ["Alpha"]',
    "exit_nodes = [1]",
    'exit_primary = ["a"]',
)
BAD_NODE = (
    'private_key = "x"',
    "listen_port = 65536",
    'endpoint = "2001:db8::1"',
    'endpoint = "host:port"',
    'allowed_ips = ["10.0.0.0"]',
    'allowed_ips = "10.0.0.0/8, 10.1.0.0/16"',
    'next_public_key = "short"',
    'managed = "no"',
    "forwarding = 1",
    'nat_iface = "a name that is long"',
    'post_up = " "',
    'private_key_path = "keys/a.key"',
    'preshared_key_path = "/psk/$(id)"',
    'ssh_host = "-oProxyCommand"',
    'ssh_user = "a b"',
    "ssh_port = 0",
    "persistent_keepalive = -1",
)


def refuses(text: str) -> bool:
    """Return whether the reader finds an error in a mesh.toml."""
    problems = read({"mesh.toml": text.encode()}).problems
    return any(problem.severity is Severity.ERROR for problem in problems)


@pytest.mark.parametrize("line", BAD_MESH)
def test_it_refuses_what_the_reader_refuses(line: str) -> None:
    text = f"[mesh]\n{GOOD_MESH}{line}\n"
    assert refuses(text)
    assert list(WHOLE.iter_errors(tomllib.loads(text)))


@pytest.mark.parametrize("line", BAD_NODE)
def test_it_refuses_of_a_node_what_the_reader_refuses(line: str) -> None:
    text = f"[mesh]\n{GOOD_MESH}[node.a]\n{GOOD_NODE}{line}\n"
    assert refuses(text)
    assert list(WHOLE.iter_errors(tomllib.loads(text)))
    assert list(OF_NODE.iter_errors(tomllib.loads(GOOD_NODE + line)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[rollout]\n",
        '[mesh]\ninterface = "wg0"\n',
        '[mesh]\ninterface = "wg0"\nmesh_cidr = []\n',
        f'[mesh]\n{GOOD_MESH}[node.a]\naddress = "10.40.0.1/32"\n',
        f'[mesh]\n{GOOD_MESH}[node.a]\npublic_key = "{key(1)}"\n',
        f"[mesh]\n{GOOD_MESH}[node.A]\n{GOOD_NODE}",
        f"[mesh]\n{GOOD_MESH}[nodes.a]\n{GOOD_NODE}",
        f"[mesh]\n{GOOD_MESH}[rollout]\nsoak_seconds = -1\n",
    ],
)
def test_it_refuses_what_lacks_or_is_misnamed(text: str) -> None:
    assert refuses(text)
    assert list(WHOLE.iter_errors(tomllib.loads(text)))


# ---------------------------------------------------------------- any

SAMPLES = [
    "", "a", "A", "-", "wg0", "lo", "alpha", "all", "10.40.0.1/32", "10.40.0.0/24", "fd40::/64",
    "fd40::1/128", "10.0.0.0/33", "0.0.0.0/0", "1.1.1.1", "fe80::1%eth0", "::1", "a.example",
    "alpha:51820", "[2001:db8::1]:51820", "[::]:1", "a:0", "a:00001", "256.1.1.1:1", key(1), key(2),
    "A" * 43 + "=", "star", "latency", "manual", "block", "/etc/wireguard/a.key", "/psk/%p",
    "/a/../b", "/a b", "true; false", " ", "root", "ubuntu$", "a\u2028b", "\u00a0",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(SAMPLES),
    st.integers(-2, 70000),
    st.booleans(),
    st.text(max_size=8),
    st.lists(st.sampled_from(SAMPLES), max_size=2),
)


def as_toml(value: Any) -> str:  # noqa: ANN401
    """Return a value as TOML: that of JSON, where the text has no lone surrogate."""
    return json.dumps(value)


@given(st.sampled_from([*MESH, *ROLLOUT, *NODE]), VALUES)
def test_what_it_refuses_the_reader_refuses(name: str, value: Any) -> None:  # noqa: ANN401
    section = next(each for each, table in SECTIONS.items() if name in table)
    tables = {
        "mesh": {"interface": "wg0", "mesh_cidr": "10.40.0.0/24"},
        "rollout": {"canary": "a"},
        "node": {"address": "10.40.0.1/32", "public_key": key(1)},
    }
    tables[section][name] = value
    whole = {"mesh": tables["mesh"], "rollout": tables["rollout"], "node": {"a": tables["node"]}}
    heads = {"mesh": "[mesh]", "rollout": "[rollout]", "node": "[node.a]"}
    rows = [
        line
        for each, head in heads.items()
        for line in (head, *(f"{key} = {as_toml(value)}" for key, value in tables[each].items()))
    ]
    complaints = list(WHOLE.iter_errors(whole))
    assert not complaints or refuses("\n".join(rows)), complaints


def test_kinds_are_types() -> None:
    types = {Kind.TEXT: "string", Kind.INTEGER: "integer", Kind.BOOLEAN: "boolean"}
    for name, field in NODE.items():
        value = NODE_SCHEMA["properties"][name]
        one = value["anyOf"][0] if field.many else value
        assert one["type"] == types[field.kind]


# ---------------------------------------------------------------- the reference


def test_the_page_has_the_tables_of_the_schema() -> None:
    """`python -m tests.reference` writes them."""
    page = reference.PAGE.read_text(encoding="utf-8")
    assert reference.written(page) == page
