"""What a benchmark found, as data; a Markdown table and JSON are two views of it."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, log
from typing import Any

from tests.bench.cpu import table

Value = float | str | None

FEWEST_RUNS = 3


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers, and how many digits after the point a reader sees."""

    title: str
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, and a value for each column: None where there is none, or why."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One table of a benchmark.

    `name` is that of its place in docs/benchmarks.md, `how` the head of the line above the table.
    `ratios` do not depend on how fast the machine is; tests/bench/bounds.toml has bounds for some.
    """

    name: str
    how: str
    subject: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    ratios: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: `runs` of each, else as many as a benchmark takes by itself.

    `quick`: a third of them, and without what takes minutes.
    """

    runs: int | None = None
    quick: bool = False

    def of(self, runs: int) -> int:
        """Return how many runs there are where a whole benchmark takes `runs`."""
        return self.runs or (min(runs, max(FEWEST_RUNS, runs // 3)) if self.quick else runs)


Measure = Callable[[Effort], Iterable[Result]]


def median_of(runs: int) -> str:
    """Return the head of the line above a table of medians."""
    return f"Median of {runs} runs" if runs > 1 else "One run"


def markdown(result: Result, where: str = "") -> str:
    """Return the line that says how it was measured, the table, and the notes, as Markdown.

    `where` says on which machine.
    """
    how = f"{result.how}; {where}" if where else result.how
    head = (result.subject, *(column.title for column in result.columns))
    rows = [
        (row.name, *(_text(*cell) for cell in zip(result.columns, row.values, strict=True)))
        for row in result.rows
    ]
    notes = "".join(f"\n{note}\n" for note in result.notes)
    return f"{how}:\n\n{table(head, rows)}{notes}"


def as_json(result: Result) -> dict[str, Any]:
    """Return the same for json.dumps, nothing rounded."""
    titles = [column.title for column in result.columns]
    return {
        "name": result.name,
        "how": result.how,
        "rows": [
            {"name": row.name, "values": dict(zip(titles, row.values, strict=True))}
            for row in result.rows
        ],
        "ratios": dict(result.ratios),
        "notes": list(result.notes),
    }


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the p of y = c · x^p that fits `points` best: least squares, both axes logarithmic.

    1 is growth in proportion, 2 with the square.
    """
    xs, ys = ([log(value) for value in axis] for axis in zip(*points, strict=True))
    middle_x, middle_y = fsum(xs) / len(xs), fsum(ys) / len(ys)
    across = fsum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True))
    return across / fsum((x - middle_x) ** 2 for x in xs)


def options(module: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every benchmark has."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--runs", type=int, help="of each, in place of a benchmark's own number")
    parser.add_argument("--quick", action="store_true", help="fewer runs, without what is long")
    return parser


def show(module: str, measure: Measure) -> int:
    """Do what `python -m tests.bench.…` does: measure, and print the tables."""
    chosen = options(module).parse_args()
    for number, each in enumerate(measure(Effort(chosen.runs, chosen.quick))):
        sys.stdout.write(("\n" if number else "") + markdown(each))
    return 0


def _text(column: Column, value: Value) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,.{column.digits}f}"
