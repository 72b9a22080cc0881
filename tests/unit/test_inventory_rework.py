"""Edits in place: exactly the words that change, whatever way the inventory is written."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.inventory_texts import FORMATS, files, key, mesh, node
from wgmesh.errors import InventoryError, UsageError
from wgmesh.inventory import load, rework
from wgmesh.inventory.passage import Passage
from wgmesh.inventory.rework import readdress, remove, rename, set_keys

MESH = b"""\
# the mesh
[mesh]
interface = "wg0"
mesh_cidr = "10.40.0.0/24"  # all of it
topology = "star"
hubs = ["alpha", "bravo"]  # in this order
local_node = "bravo"

[rollout]
canary = [
    "bravo",  # first, since it is at home
    'charlie',
    # and nobody else
]

# at home
[node.alpha]
address = "10.40.0.1/32"
public_key = "%s"
endpoint = "alpha.example.com"
# endpoint_alt = "later"

# of bravo
# two lines
[node.bravo]
  address = "10.40.0.2/32" # by hand
  public_key = "%s"
  endpoint = "bravo.example.com"
# about charlie
[node.charlie]
address = [
  "10.40.0.3/32", # the only one
]
public_key = "%s"

# the end
""" % tuple(key(number).encode() for number in (1, 2, 3))


def after(before: bytes, changed: Mapping[str, bytes | None]) -> tuple[list[str], list[str]]:
    """Return the lines of mesh.toml that have gone, and those that have come."""
    assert list(changed) == ["mesh.toml"]
    data = changed["mesh.toml"]
    assert data is not None
    old, new = before.decode().split("\n"), data.decode().split("\n")
    gone = list(old)
    come = []
    for line in new:
        if line in gone:
            gone.remove(line)
        else:
            come.append(line)
    kept = [line for line in old if line in new]
    assert [line for line in new if line in kept] == kept or len(set(old)) < len(old)
    return gone, come


def keyless(data: bytes, *numbers: int) -> bytes:
    """Return an inventory without the keys of these numbers."""
    for number in numbers:
        for form in (f'  public_key = "{key(number)}"\n', f'public_key = "{key(number)}"\n'):
            data = data.replace(form.encode(), b"")
    return data


# ---------------------------------------------------------------- keys


def test_a_key_stands_beside_the_address() -> None:
    before = keyless(MESH, 2, 3)
    changed = set_keys({"mesh.toml": before}, {"bravo": key(7), "charlie": key(8)})
    gone, come = after(before, changed)
    assert (gone, come) == ([], [f'  public_key = "{key(7)}"', f'public_key = "{key(8)}"'])
    text = (changed["mesh.toml"] or b"").decode()
    assert f'# by hand\n  public_key = "{key(7)}"\n' in text
    assert f']\npublic_key = "{key(8)}"\n' in text


@pytest.mark.parametrize(
    ("before", "want"),
    [
        ('[node]\na = { address = "10.40.0.1/32" } # x\n', ', public_key = "KEY" } # x'),
        ('[node]\na.address = "10.40.0.1/32"\n', 'a.public_key = "KEY"\n'),
        ('[node.a]\n"address"="10.40.0.1/32"', '\npublic_key="KEY"'),
        ("[node.a]\r\naddress = '10.40.0.1/32'\r\nendpoint = 'b'\r\n", '"KEY"\r\nendpoint'),
        ('node.a.address = "10.40.0.1/32"\n', 'node.a.public_key = "KEY"\n'),
    ],
)
def test_a_key_is_written_as_the_address_is(before: str, want: str) -> None:
    head = '[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n'
    text = before + head if before.startswith("node.") else head + before
    data = set_keys({"mesh.toml": text.encode()}, {"a": key(7)})["mesh.toml"]
    assert data is not None and want.replace("KEY", key(7)) in data.decode()


@pytest.mark.parametrize("form", FORMATS)
def test_a_key_in_each_format(form: str) -> None:
    before = files(form)
    found = {n.name: n for n in load(before).nodes}
    bare = {
        name: b"\n".join(
            line
            for line in data.split(b"\n")
            if found["bravo"].public_key is None or found["bravo"].public_key.encode() not in line
        )
        for name, data in before.items()
    }
    changed = set_keys(bare, {"bravo": key(7)})
    assert len(changed) == 1
    new = {name: data for name, data in {**bare, **changed}.items() if data is not None}
    assert next(n for n in load(new).nodes if n.name == "bravo").public_key == key(7)


def test_a_text_that_is_too_unusual_is_refused() -> None:
    pairs = f'address = "10.40.0.1/32", public_key = "{key(1)}"'
    text = (
        f'node = {{ a = {{ {pairs} }} }}\n[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n'
    )
    with pytest.raises(InventoryError, match="cannot be edited in place"):
        remove({"mesh.toml": text.encode()}, ["a"])


# ---------------------------------------------------------------- addresses


def test_another_address() -> None:
    gone, come = after(MESH, readdress({"mesh.toml": MESH}, "bravo", ["10.40.0.9/32"]))
    assert gone == ['  address = "10.40.0.2/32" # by hand']
    assert come == ['  address = "10.40.0.9/32" # by hand']


@pytest.mark.parametrize(
    ("name", "address", "message"),
    [
        ("nobody", "10.40.0.9/32", "there is no node 'nobody'"),
        ("bravo", "10.40.0.1/32", "is an address of node"),
        ("bravo", "10.41.0.1/32", "lies outside of mesh_cidr"),
        ("bravo", "one", "is no CIDR"),
    ],
)
def test_addresses_that_cannot_be(name: str, address: str, message: str) -> None:
    with pytest.raises((InventoryError, UsageError), match=message):
        readdress({"mesh.toml": MESH}, name, [address])


@pytest.mark.parametrize("form", FORMATS)
def test_an_address_in_each_format(form: str) -> None:
    before = files(form)
    changed = readdress(before, "bravo", ["10.40.0.9/32", "fd40::9/128"])
    new = {name: data for name, data in {**before, **changed}.items() if data is not None}
    found = next(n for n in load(new).nodes if n.name == "bravo")
    assert list(map(str, found.address)) == ["10.40.0.9/32", "fd40::9/128"]


# ---------------------------------------------------------------- names


def test_another_name_wherever_it_stands() -> None:
    gone, come = after(MESH, rename({"mesh.toml": MESH}, "bravo", "delta"))
    assert gone == [
        'hubs = ["alpha", "bravo"]  # in this order',
        'local_node = "bravo"',
        '    "bravo",  # first, since it is at home',
        "[node.bravo]",
    ]
    assert come == [line.replace("bravo", "delta") for line in gone]


def test_another_name_of_a_file() -> None:
    before = files("split")
    changed = rename(before, "bravo", "delta")
    assert changed == {"nodes/bravo.toml": None, "nodes/delta.toml": before["nodes/bravo.toml"]}
    changed = rename(before, "alpha", "delta")
    assert set(changed) == {"mesh.toml", "nodes/alpha.toml", "nodes/delta.toml"}


@pytest.mark.parametrize(("old", "new"), [("bravo", "alpha"), ("nobody", "x"), ("bravo", "B")])
def test_names_that_cannot_be(old: str, new: str) -> None:
    with pytest.raises((InventoryError, UsageError)):
        rename({"mesh.toml": MESH}, old, new)


@pytest.mark.parametrize(
    "text", ['[node."a"]\nX', "[node]\na.X", "[node]\na = { X }", "[ node . a ]\nX"]
)
def test_another_name_however_it_is_written(text: str) -> None:
    head = '[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\nlocal_node = "a"\n'
    pairs = {"X": f'address = "10.40.0.1/32", public_key = "{key(1)}"'}
    if "{" not in text:
        lead = "a." if "a.X" in text else ""
        pairs["X"] = f'address = "10.40.0.1/32"\n{lead}public_key = "{key(1)}"'
    body = head + text.replace("X", pairs["X"]) + "\n"
    changed = rename({"mesh.toml": body.encode()}, "a", "b")["mesh.toml"]
    assert changed is not None
    found = load({"mesh.toml": changed})
    assert [n.name for n in found.nodes] == ["b"] and found.mesh.local_node == "b"


# ---------------------------------------------------------------- removal


def test_a_node_goes_with_what_is_its() -> None:
    gone, come = after(MESH, remove({"mesh.toml": MESH}, ["bravo"]))
    assert come == ['hubs = ["alpha"]  # in this order']
    assert gone == [
        'hubs = ["alpha", "bravo"]  # in this order',
        'local_node = "bravo"',
        '    "bravo",  # first, since it is at home',
        "# of bravo",
        "# two lines",
        "[node.bravo]",
        '  address = "10.40.0.2/32" # by hand',
        f'  public_key = "{key(2)}"',
        '  endpoint = "bravo.example.com"',
    ]


def test_the_first_and_the_last_node_go() -> None:
    data = remove({"mesh.toml": MESH}, ["charlie"])["mesh.toml"]
    assert data is not None
    assert data.endswith(b'  endpoint = "bravo.example.com"\n# the end\n')
    assert b"# about charlie" not in data and b"'charlie'" not in data
    data = remove({"mesh.toml": MESH}, ["alpha"])["mesh.toml"]
    assert data is not None
    assert b"# at home" not in data and b"# endpoint_alt" not in data
    assert b"]\n\n# of bravo\n" in data


def test_several_nodes_go_at_once() -> None:
    data = remove({"mesh.toml": MESH}, ["charlie", "bravo", "bravo"])["mesh.toml"]
    assert data is not None
    found = load({"mesh.toml": data})
    assert [n.name for n in found.nodes] == ["alpha"]
    assert found.rollout is not None and found.rollout.canary == ()
    assert b"# and nobody else" in data


def test_a_file_goes() -> None:
    assert remove(files("split"), ["bravo"]) == {"nodes/bravo.toml": None}


@pytest.mark.parametrize("form", FORMATS)
def test_removal_in_each_format(form: str) -> None:
    before = files(form)
    changed = remove(before, ["alpha"])
    new = {name: data for name, data in {**before, **changed}.items() if data is not None}
    found = load(new)
    assert [n.name for n in found.nodes] == ["bravo", "charlie"]
    assert found.mesh.local_node is None and found.mesh.hubs == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [(["nobody"], "there is no node 'nobody'"), (["alpha", "bravo"], "a star needs hubs")],
)
def test_removal_that_cannot_be(names: list[str], message: str) -> None:
    with pytest.raises((InventoryError, UsageError), match=message):
        remove({"mesh.toml": MESH}, names)


def test_all_stays_all() -> None:
    exits = 'exit_nodes = "alpha"\nenable_exit_for_nodes = "all"'
    extra = 'exit_out_iface = "eth0"\nenable_nat = true'
    before = mesh(exits, node("alpha", 1, extra), node("bravo", 2), node("charlie", 3))
    data = remove(before, ["charlie"])["mesh.toml"]
    assert data is not None and b'enable_exit_for_nodes = "all"' in data


# ---------------------------------------------------------------- any

COMMENTS = st.sampled_from(["", "# a remark\n", "\n# one\n\n# two\n", "\n"])
NAMES = ("alpha", "bravo", "charlie", "delta")


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """Draw a full mesh of four nodes, with remarks anywhere."""
    parts = ['[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n']
    listed = draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
    gap = draw(st.sampled_from([" ", "\n  ", " # x\n "]))
    comma = draw(st.sampled_from(["", ","])) if listed else ""
    items = f",{gap}".join(f'"{name}"' for name in listed)
    parts.append(f"hubs = [{gap}{items}{comma}{gap}]{draw(COMMENTS)}".rstrip("\n") + "\n")
    for number, name in enumerate(NAMES):
        parts.append(draw(COMMENTS))
        parts.append(node(name, number + 1).rstrip("\n") + "\n")
    parts.append(draw(COMMENTS))
    return "".join(parts).encode()


@given(written(), st.sets(st.sampled_from(NAMES), min_size=1, max_size=3))
def test_what_goes_is_gone_and_all_else_stays(data: bytes, names: set[str]) -> None:
    new = remove({"mesh.toml": data}, sorted(names))["mesh.toml"]
    assert new is not None
    found = load({"mesh.toml": new})
    assert {n.name for n in found.nodes} == set(NAMES) - names
    old_lines = data.decode().split("\n")
    assert all(line in old_lines or line.startswith("hubs") for line in new.decode().split("\n"))


@given(written(), st.sampled_from(NAMES))
def test_a_name_there_and_back(data: bytes, name: str) -> None:
    there = rename({"mesh.toml": data}, name, "other")["mesh.toml"]
    assert there is not None
    assert rename({"mesh.toml": there}, "other", name) == {"mesh.toml": data}


@pytest.mark.parametrize("names", [["bravo"], ["charlie"], ["alpha"], ["bravo", "charlie"]])
def test_the_line_ends_of_a_file_stay(names: list[str]) -> None:
    want = remove({"mesh.toml": MESH}, names)["mesh.toml"]
    found = remove({"mesh.toml": MESH.replace(b"\n", b"\r\n")}, names)["mesh.toml"]
    assert found is not None and want is not None
    assert found == want.replace(b"\n", b"\r\n")


def test_line_ends_of_the_seeds_format_stay() -> None:
    before = files("seed")["mesh.conf"].replace(b"\n", b"\r\n")
    for changed in (
        remove({"mesh.conf": before}, ["alpha"]),
        rename({"mesh.conf": before}, "charlie", "zulu"),
        readdress({"mesh.conf": before}, "bravo", ["10.40.0.9/32"]),
    ):
        data = changed["mesh.conf"]
        assert data is not None and data.count(b"\r\n") == data.count(b"\n")


def test_the_work_grows_with_the_nodes_and_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read once and written once, however many of its nodes change."""
    made = {"read": 0, "written": 0}

    class Counted(Passage):
        def __init__(self, name: str, data: bytes) -> None:
            made["read"] += 1
            super().__init__(name, data)

        def edited(self) -> bytes:
            made["written"] += 1
            return super().edited()

    monkeypatch.setattr(rework, "Passage", Counted)
    names = [f"n{number}" for number in range(1, 9)]
    nodes = [node(name, number) for number, name in enumerate(names, 1)]
    bare = mesh("", *(text.replace("public_key", "# public_key") for text in nodes))
    set_keys(bare, {name: key(number) for number, name in enumerate(names, 1)})
    assert made == {"read": 1, "written": 1}
    remove(mesh("", *nodes), names[:7])
    assert made["read"] == 2 and made["written"] <= 3
