"""The lines of TOML keys: whatever tomllib accepts, each key is found where it stands."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.inventory.lines import Lines, key_lines

TRICKY = (
    r'''# [mesh] = 1
title = "a # no comment [mesh] = { "   # but this = is
[mesh] # [node.x]
list = [ # a = 1
  "]", '[', "#", # ]
  { inner = 1, "k]" = "}" }, [1, [2,
  3]],
] # done
text = """
[node.alpha]
quote = "" \" \\""""
raw = '''
    + """'''
x = 'y' \\
[fake]'''
"""
    + r'''after = 1

  [ node . "alpha" ]
port = 1
  'quoted key' = 2
"esc\u0061pe\"]" = 3
node.deep.er = 4
at = 1979-05-27T07:32:00Z
[node."b.c"]
inline = { a = 1, b.c = [ "}" , 2 ], d = { e = 3 } }
[[array]]
x = 1
[[array]]
y = 2
[node.alpha.sub]
z = -1.5e3
last = "x"'''
)


def line_with(text: str, fragment: str) -> int:
    return text[: text.index(fragment)].count("\n") + 1


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        (("title",), "title ="),
        (("mesh",), "[mesh] # [node"),
        (("mesh", "list"), "list ="),
        (("mesh", "text"), "text ="),
        (("mesh", "raw"), "raw ="),
        (("mesh", "after"), "after ="),
        (("node",), "[ node ."),
        (("node", "alpha"), "[ node ."),
        (("node", "alpha", "port"), "port = 1"),
        (("node", "alpha", "quoted key"), "'quoted key'"),
        (("node", "alpha", 'escape"]'), '"esc'),
        (("node", "alpha", "node", "deep", "er"), "node.deep"),
        (("node", "alpha", "at"), "at ="),
        (("node", "b.c"), '[node."b.c"]'),
        (("node", "b.c", "inline", "b", "c"), "inline ="),
        (("node", "b.c", "inline", "d", "e"), "inline ="),
        (("array",), "[[array]]"),
        (("array", "y"), "y = 2"),
        (("node", "alpha", "sub", "last"), "last ="),
        (("node", "alpha", "unknown"), "[ node ."),
        (("unknown",), "# [mesh]"),
    ],
)
def test_lines(path: tuple[str, ...], fragment: str) -> None:
    tomllib.loads(TRICKY)
    assert Lines(TRICKY).of(path) == line_with(TRICKY, fragment)


def test_a_later_header_is_the_line_of_its_table() -> None:
    found = key_lines("[a.b]\nx = 1\n[a]\ny = 2\n")
    assert (found["a",], found["a", "b"]) == (3, 1)


STRINGS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8)
BARE = st.text("abc-_1", min_size=1, max_size=3)
NOISE = st.sampled_from(["", "  # x = [", "\t", ' # ]}\'"""'])


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def values(depth: int = 2) -> st.SearchStrategy[str]:
    flat = st.one_of(
        st.integers().map(str),
        STRINGS.map(quoted),
        STRINGS.filter(lambda s: "'" not in s).map(lambda s: f"'{s}'"),
        STRINGS.map(lambda s: '"""\n' + quoted(s)[1:-1] + '\n[x]\ny = 1"""'),
    )
    if not depth:
        return flat
    inner = values(depth - 1)
    return st.one_of(
        flat,
        st.lists(inner, max_size=3).map(lambda v: "[ # [\n" + ",\n".join(v) + "]"),
        st.dictionaries(STRINGS.map(quoted), flat, max_size=3).map(
            lambda d: "{" + ", ".join(f"{k} = {v}" for k, v in d.items() if "\n" not in v) + "}"
        ),
    )


@given(
    st.dictionaries(
        STRINGS | BARE,
        st.dictionaries(STRINGS | BARE, st.tuples(values(), NOISE), max_size=4),
        max_size=4,
    )
)
def test_every_key_of_a_generated_text_is_found(
    tables: dict[str, dict[str, tuple[str, str]]],
) -> None:
    rows = ["# head"]
    expected: dict[tuple[str, ...], int] = {}
    for name, table in tables.items():
        rows.append(f"[ {quoted(name)} ]")
        expected[name,] = "\n".join(rows).count("\n") + 1
        for key, (value, noise) in table.items():
            rows.append(f"{quoted(key)} = {value}{noise}")
            expected[name, key] = "\n".join(rows[:-1]).count("\n") + 2
    text = "\n".join(rows)
    tomllib.loads(text)
    found = key_lines(text)
    assert {path: found.get(path) for path in expected} == expected
