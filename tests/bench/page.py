"""docs/benchmarks.md: prose by hand, and between two comments what a run has measured.

A place for a table is `<!-- bench: NAME -->` on a line of its own, and after it `<!-- end -->`.
"""

import re
from collections.abc import Iterator, Mapping

_BEGIN = re.compile(r"<!-- bench: ([a-z0-9_]+) -->")
_END = "<!-- end -->"


def names(page: str) -> list[str]:
    """Return the names of the places in a page, in their order. Raises ValueError as rewrite."""
    return [name for name, _ in _parts(page) if name]


def rewrite(page: str, blocks: Mapping[str, str]) -> str:
    """Return the page with `blocks`, Markdown by name, in their places; all else stays as it is.

    Raises ValueError when a block has no place, or a place has two, no end or no beginning.
    """
    places = names(page)
    if missing := sorted(set(blocks) - set(places)):
        raise ValueError(f"the page has no place for {', '.join(missing)}")
    if len(set(places)) < len(places):
        raise ValueError("the page has two places of one name")
    return "".join(
        f"<!-- bench: {name} -->\n\n{blocks[name].strip()}\n\n{_END}\n" if name in blocks else text
        for name, text in _parts(page)
    )


def _parts(page: str) -> Iterator[tuple[str, str]]:
    """Yield the page in parts: the name of a place, or "" between two, and its text."""
    name, text = "", ""
    for number, line in enumerate(page.splitlines(keepends=True), 1):
        begins, ends = _BEGIN.fullmatch(line.rstrip("\n")), line.rstrip("\n") == _END
        if (begins and name) or (ends and not name):
            raise ValueError(f"line {number}: {line.strip()} does not belong here")
        if begins:
            yield "", text
            name, text = begins[1], line
        elif ends:
            yield name, text + line
            name, text = "", ""
        else:
            text += line
    if name:
        raise ValueError(f"the place of {name} has no end")
    yield "", text
