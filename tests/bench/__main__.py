"""`python -m tests.bench`: runs the suite, writes JSON and the tables of docs/benchmarks.md.

With `--check` a quick part of it, whose ratios must stay within tests/bench/bounds.toml.
"""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tests.bench import bounds, page, suite
from tests.bench.bounds import Bound
from tests.bench.peers import BUILD
from tests.bench.result import Effort, markdown, options
from tests.bench.suite import SUITE, Measured
from tests.bench.taken import CHECKOUT

PAGE = CHECKOUT / "docs" / "benchmarks.md"
JSON = BUILD / "benchmarks.json"


def arguments() -> Namespace:
    """Return what the command line says; `page` is None when no page is to be written."""
    parser = options("tests.bench")
    parser.add_argument(
        "--check", action="store_true", help="quick; exit 1 when a ratio is beyond its bound"
    )
    parser.add_argument("--only", choices=SUITE, action="append", help="this one (may be repeated)")
    parser.add_argument("--json", type=Path, default=JSON, help="default: %(default)s")
    parser.add_argument(
        "--page", type=Path, help=f"whose tables are written; {PAGE.name} unless it is quick"
    )
    chosen = parser.parse_args()
    chosen.quick |= chosen.check
    if chosen.page is None and not chosen.quick:
        chosen.page = PAGE
    return chosen


def measured(names: Sequence[str], effort: Effort) -> list[Measured]:
    """Run the benchmarks, and print what each has found."""
    found = []
    for each in suite.run(names, effort):
        found.append(each)
        loads = f"load {each.load_before:.1f} to {each.load_after:.1f}"
        print(f"## {each.name}: {each.seconds:.0f} s, {loads}\n")
        for result in each.results:
            print(markdown(result))
        if each.failed:
            print(f"Not measured: {each.failed}\n")
        sys.stdout.flush()
    return found


def check(held: Sequence[Bound], found: Sequence[Measured]) -> list[str]:
    """Print each ratio that has a bound, beside it; return what is beyond."""
    ratios = suite.ratios(found)
    for bound in held:
        if bound.name in ratios:
            print(f"{bound.name}: {ratios[bound.name]:.3g} ({bound.limits})")
    return bounds.beyond(held, ratios)


def main() -> int:
    """Run what was asked for; exit 1 when something was not measured, or is beyond a bound."""
    chosen, begun = arguments(), time.monotonic()
    if chosen.page is not None:
        page.names(chosen.page.read_text())  # rather now than after a quarter of an hour
    held = bounds.read(bounds.PATH.read_text()) if chosen.check else ()
    names = chosen.only or list(SUITE)
    if chosen.check:
        held = tuple(bound for bound in held if bound.result in names)
        names = [name for name in names if name in {bound.result for bound in held}]
    effort = Effort(chosen.runs, chosen.quick)
    found = measured(names, effort)
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(suite.report(found, effort), indent=1) + "\n")
    if chosen.page is not None:
        chosen.page.write_text(page.rewrite(chosen.page.read_text(), suite.blocks(found)))
    wrong = [f"{each.name}: {each.failed}" for each in found if each.failed]
    wrong += check(held, found)
    print(f"{time.monotonic() - begun:.0f} s in all; {chosen.json}")
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
