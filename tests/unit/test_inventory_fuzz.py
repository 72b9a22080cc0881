"""Whatever the bytes are, both readers answer with problems and raise nothing else."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.inventory_texts import FORMATS, files, mesh
from wgmesh.errors import InventoryError
from wgmesh.inventory import load, problems, read
from wgmesh.model.inventory import Severity

PRINTED = re.compile(r"[\n\x20-\x7e\x80-\U0010ffff]*")
NAMES = st.sampled_from(["mesh.toml", "mesh.conf", "nodes/alpha.toml"])


def check(given: Mapping[str, bytes]) -> None:
    """Read, and hold the result against what is promised of every result."""
    result = read(given)
    errors = [p for p in result.problems if p.severity is Severity.ERROR]
    assert (result.inventory is None) == bool(errors)
    assert (result.inventory is None) == (not is_loaded(given))
    for problem in result.problems:
        assert problem.message and problem.line >= 0
        lines = given.get(problem.file, b"").count(b"\n") + 1
        assert problem.line <= lines
    text = problems.as_text(result.problems)
    assert (
        text.count("\n") == len(result.problems) == problems.as_github(result.problems).count("\n")
    )
    assert PRINTED.fullmatch(text)
    problems.as_json(result.problems, result.inventory)
    if result.inventory is not None:
        problems.summary(result.inventory)


def is_loaded(given: Mapping[str, bytes]) -> bool:
    try:
        load(given)
    except InventoryError:
        return False
    return True


@settings(max_examples=150)
@given(NAMES, st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    check({"mesh.toml": mesh()["mesh.toml"], name: data})
    check({name: data})


@settings(max_examples=150)
@given(NAMES, st.text("[]{}=.,#;'\"\\\n nodemesh_cidrwg0129:/-\x7f\u202e", max_size=120))
def test_text_that_looks_like_an_inventory(name: str, text: str) -> None:
    check({name: text.encode()})


@settings(max_examples=250)
@given(st.data(), st.sampled_from(FORMATS))
def test_mutated_inventories(data: st.DataObject, form: str) -> None:
    given = files(form)
    name = data.draw(st.sampled_from(sorted(given)))
    content = given[name]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 40)))
        new = data.draw(
            st.binary(max_size=4)
            | st.sampled_from([b"[", b'"', b"\n", b"=", b"{}", b"1.5", b"true", b"[[]]", b"a.b"])
            | st.just(content[end : end + 30])
        )
        content = content[:start] + new + content[end:]
    check(given | {name: content})


NUMBERS = ["1", "-1", "0x7f", "1.5", "nan", "true", "99999999999999999999999", "1979-05-27"]
STRINGS = ["all", r"\u0000", r"\n[x]", "10.40.0.0/24", "a,b", "%p", "::/0", "10.40.0.9/32", ""]
VALUES = st.recursive(
    st.sampled_from(NUMBERS + [f'"{text}"' for text in STRINGS]),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda v: f"[{', '.join(v)}]")
        | inner.map(lambda v: f"{{ k = {v} }}")
    ),
    max_leaves=4,
)


@settings(max_examples=250)
@given(st.data(), VALUES)
def test_any_type_in_any_field(data: st.DataObject, value: str) -> None:
    rows = files("single")["mesh.toml"].decode().split("\n")
    index = data.draw(st.sampled_from([i for i, row in enumerate(rows) if " = " in row]))
    rows[index] = f"{rows[index].split(' = ')[0]} = {value}"
    check({"mesh.toml": "\n".join(rows).encode()})


HOSTILE = {
    "deep list": b"a = " + b"[" * 100_000,
    "deep table": b"a = " + b"{a = " * 100_000,
    "deep list over many lines": b"a = " + b"[\n" * 100_000,
    "closed deep list": b"a = " + b"[" * 400 + b"]" * 400,
    "long dotted key": b".".join([b"a"] * 500_000) + b" = 1",
    "many dotted keys": b"\n".join(b".".join([b"a"] * 200) + b".b%d = 1" % i for i in range(2000)),
    "dotted header": b"[" + b".".join([b"a"] * 5000) + b"]",
    "quoted dotted key": rb'"\"".' * 2000 + b"a = 1",
    "long integer": b"[mesh]\nport = " + b"9" * 10_000,
    "long hex": b"[mesh]\nport = 0x" + b"f" * 10_000,
    "many unknown keys": b"[mesh]\n" + b"".join(b"interfac%d = 1\n" % i for i in range(20_000)),
    "long word": b"[mesh]\n" + b"a" * 10_000 + b" = 1\n",
    "empty": b"",
    "only NUL": b"\0" * 1000,
    "too large": b"#" * 20 + b"\n" * (9 * 1024 * 1024),
    "byte order mark": b"\xef\xbb\xbf[mesh]\n",
    "UTF-16": "[mesh]\n".encode("utf-16"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["mesh.toml", "mesh.conf", "nodes/alpha.toml"])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_are_refused_in_time(data: bytes, name: str) -> None:
    result = read(mesh() | {name: data} if name.startswith("nodes") else {name: data})
    assert result.inventory is None
    assert result.problems


@settings(max_examples=100)
@given(st.text(max_size=20))
@example("\n")
@example("a\nPostUp = x")
@example("\u2028")
def test_no_line_of_its_own_gets_into_the_model(text: str) -> None:
    """What the model holds prints on one line: a hook is the freest string of all."""
    escaped = "".join(f"\\U{ord(c):08x}" for c in text if not 0xD800 <= ord(c) <= 0xDFFF)
    hook = f'post_up = "echo {escaped}"\npost_down = "true"\nendpoint = "a.example.com"'
    head = files("single")["mesh.toml"].replace(b"[node.bravo]", f"[node.bravo]\n{hook}".encode())
    result = read({"mesh.toml": head})
    if result.inventory is not None:
        bravo = next(node for node in result.inventory.nodes if node.name == "bravo")
        assert bravo.post_up is not None
        assert bravo.post_up.isprintable()
    else:
        assert [(p.node, p.field) for p in result.problems] == [("bravo", "post_up")]
