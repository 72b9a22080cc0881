"""What the benchmarks do with what they have measured: ratios, bounds, the tables of a page."""

import json
import sys
import time
from math import inf, nan
from pathlib import Path

import pytest

from tests.bench import bounds, gen, growth, page, share, shell, taken
from tests.bench.__main__ import PAGE
from tests.bench.bounds import Bound
from tests.bench.result import Column, Effort, Result, Row, as_json, exponent, markdown
from tests.bench.suite import SUITE, Measured, blocks, ratios
from tests.bench.validate import write_inventory
from wgmesh import inventory

RESULT = Result(
    "sample",
    "Median of 3 runs",
    "program",
    (Column("CPU ms"), Column("÷ floor", 1)),
    (Row("`true`", (1234.5678, None)), Row("`false`", ("stays", 2.25))),
    {"floor": 2.25},
    ("A note.",),
)
TABLE = """\
| program | CPU ms | ÷ floor |
| --- | ---: | ---: |
| `true` | 1,235 |  |
| `false` | stays | 2.2 |
"""


def test_a_result_as_markdown() -> None:
    assert markdown(RESULT, "2 cores") == f"Median of 3 runs; 2 cores:\n\n{TABLE}\nA note.\n"
    assert markdown(RESULT).startswith("Median of 3 runs:\n\n| program")


def test_a_result_as_json_has_all_digits() -> None:
    found = json.loads(json.dumps(as_json(RESULT)))
    assert found["rows"][0] == {"name": "`true`", "values": {"CPU ms": 1234.5678, "÷ floor": None}}
    assert found["ratios"] == {"floor": 2.25}


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_growth(power: float) -> None:
    points = [(nodes, 3 * nodes**power) for nodes in (10, 100, 1000, 10000)]
    assert exponent(points) == pytest.approx(power)


def test_the_exponent_is_the_best_fit() -> None:
    # by hand: logarithms to the base of ten (0, 0), (1, 2), (2, 1): (1·1 + …) / 2 = 1/2
    assert exponent([(1, 1), (10, 100), (100, 10)]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("effort", "whole", "runs"),
    [
        (Effort(), 21, 21),
        (Effort(quick=True), 21, 7),
        (Effort(quick=True), 5, 3),
        (Effort(quick=True), 1, 1),
        (Effort(runs=2), 21, 2),
        (Effort(runs=30, quick=True), 21, 30),
    ],
)
def test_how_many_runs(effort: Effort, whole: int, runs: int) -> None:
    assert effort.of(whole) == runs


# ---------------------------------------------------------------- bounds

HELD = (Bound("a.most", 2, at_most=3), Bound("a.least", 60, at_least=20))


@pytest.mark.parametrize(
    ("most", "least", "said"),
    [
        (2.0, 60.0, []),
        (3.0, 20.0, []),
        (0.1, 900.0, []),  # better than ever
        (4.5, 60.0, ["a.most: 4.5 is 1.50 times the bound of 3 (2 when it was set)"]),
        (2.0, 10.0, ["a.least: 10 is 0.50 times the bound of 20 (60 when it was set)"]),
    ],
)
def test_what_is_beyond_a_bound(most: float, least: float, said: list[str]) -> None:
    assert bounds.beyond(HELD, {"a.most": most, "a.least": least, "b.other": 99}) == said


@pytest.mark.parametrize("ratio", [nan, inf])
def test_a_ratio_that_is_no_number_is_beyond(ratio: float) -> None:
    assert len(bounds.beyond(HELD[:1], {"a.most": ratio})) == 1


def test_a_ratio_that_is_missing_is_beyond() -> None:
    assert bounds.beyond(HELD, {"a.most": 1}) == ["a.least: not measured"]


def test_the_bounds_of_a_file() -> None:
    text = "[a]\nmost = {measured = 2, at_most = 3}\nleast = {measured = 60, at_least = 20}\n"
    assert bounds.read(text) == HELD


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{measured = 2}", "at_most or at_least is missing"),
        ("{measured = 2, at_most = 1}", "was measured"),
        ("{measured = 2, at_least = 3}", "was measured"),
        ("{at_most = 3}", "measured"),
        ("{measured = 2, at_mots = 3}", "at_mots"),
    ],
)
def test_a_bound_that_holds_nothing_is_refused(values: str, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        bounds.read(f"[a]\nb = {values}\n")


def test_every_bound_in_the_tree_is_of_a_benchmark() -> None:
    held = bounds.read(bounds.PATH.read_text())
    assert held and {bound.result for bound in held} <= set(SUITE)


# ---------------------------------------------------------------- the page

TEXT = """\
# A title

<!-- bench: one -->

old

<!-- end -->

Prose | with a bar.
<!-- bench: two -->
<!-- end -->
"""


def test_only_what_is_between_the_comments_is_replaced() -> None:
    written = page.rewrite(TEXT, {"one": "new\n"})
    assert written == TEXT.replace("\nold\n", "\nnew\n")
    assert page.rewrite(written, {"one": "new\n"}) == written


def test_a_place_that_is_empty_is_filled() -> None:
    written = page.rewrite(TEXT, {"two": r"a \1 b"})
    assert written.endswith("bar.\n<!-- bench: two -->\n\na \\1 b\n\n<!-- end -->\n")
    assert page.names(written) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT, "no place for three"),
        (TEXT + TEXT, "two places"),
        ("<!-- bench: three -->\n", "the place of three has no end"),
        ("<!-- end -->\n", "line 1"),
        ("<!-- bench: three -->\n<!-- bench: two -->\n<!-- end -->\n", "line 2"),
    ],
)
def test_a_page_that_is_not_as_it_should_be(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        page.rewrite(text, {"three": "new"} if "two places" not in said else {"one": "new"})


def test_every_benchmark_has_its_place_in_the_page() -> None:
    assert sorted(page.names(PAGE.read_text())) == sorted(SUITE)


def test_every_other_table_of_the_page_is_of_a_soak() -> None:
    """What is between the comments goes, and then a table stands below the command that made it."""
    text = page.rewrite(PAGE.read_text(), dict.fromkeys(SUITE, "gone"))
    above = ""
    for part in text.split("\n\n"):
        if part.startswith("|"):
            command = " ".join(above.split())
            assert "python -m tests.soak." in command or "--nodes 1000" in command, part
        above = part


def test_what_was_measured_where() -> None:
    found = [
        Measured("sample", (RESULT,), 1.5, 0.25, 1.75),
        Measured("broken", (), 0.5, 1, 1, "AssertionError: no"),
    ]
    assert ratios(found) == {"sample.floor": 2.25}
    assert list(blocks(found)) == ["sample"]
    assert "load 0.2 before and 1.8 after:\n\n| program" in blocks(found)["sample"]


# ---------------------------------------------------------------- runs


def test_a_run_has_the_memory_and_the_time_of_the_program_alone() -> None:
    ours = bytearray(80 << 20)  # what starts a program is no part of it
    small = taken.run([sys.executable, "-c", "pass"])
    large = taken.run([sys.executable, "-c", "bytearray(50 << 20)"])
    slow = taken.run(["sh", "-c", "sleep 0.3"])
    assert small.peak_mib < 40 < 50 < large.peak_mib < 100 and len(ours)
    assert slow.wall_seconds >= 0.3 > slow.cpu_seconds


def test_a_run_that_fails_is_none() -> None:
    with pytest.raises(AssertionError, match="exit code 3"):
        taken.run(["sh", "-c", "exit 3"])


def test_a_run_that_does_not_end_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(AssertionError, match=r"not ended after 0\.5 s"):
        taken.run(["sh", "-c", "sleep 20; :"], 0.5)
    assert time.monotonic() - begun < 10


# ---------------------------------------------------------------- what they are given


def test_the_inventory_for_the_shell_tool_says_what_it_should(tmp_path: Path) -> None:
    file = shell.prepare(tmp_path, 3)
    found = inventory.load({"mesh.conf": file.read_bytes()})
    assert [node.name for node in found.nodes] == ["node-001", "node-002", "node-003"]
    assert all(Path(str(node.private_key_path)).is_file() for node in found.nodes)


def test_a_node_s_share_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    for name, nodes in (("warm", 2), ("mesh", 5)):
        write_inventory(tmp_path / name, nodes, split=True)
    *parts, peak_kib = growth.once(tmp_path / "warm", tmp_path / "mesh")
    assert len(parts) == len(share.PARTS) and all(0 < ms < 5000 for ms in parts)
    assert 10 << 10 < peak_kib < 100 << 10


def test_gen_and_its_floor_write_the_same(tmp_path: Path) -> None:
    found = gen.measure(tmp_path, 3, 1)
    assert list(found) == [gen.OURS, gen.COPY, gen.CAT]
    ours = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.conf")}
    assert {"node-00000.conf", "node-00001.conf", "node-00002.conf"} <= set(ours)
    assert ours == {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()}
    assert (tmp_path / "all").stat().st_size == sum(map(len, ours.values()))
