"""An inventory as written: decoded text, tables with their lines, and the list of problems."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches

from wgmesh.frozen import frozen
from wgmesh.inventory.values import escaped, show
from wgmesh.model.inventory import Problem, Severity

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_LINE_CHARS = 16 * 1024
"""tomllib's cost is quadratic in the length of one key, so a line has a limit."""

_MAX_NAMED = 3
_MAX_SUGGESTIONS = 20
"""Looking for a similar word costs up to a millisecond, and hostile text may ask for many."""

# What may hide or split lines: C0 and C1 controls, a lone CR, line separators, bidi overrides
# (a comment that reads differently in a review), byte order marks.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\r(?!\n)"
)


@frozen
class Table:
    """One table as written; `lines` maps the path of a key in its file to its line."""

    file: str
    node: str | None
    values: Mapping[str, object]
    lines: Callable[[tuple[str, ...]], int]
    path: tuple[str, ...] = ()

    def line(self, key: str | None) -> int:
        """Return the line of `key`, or of the table when it lacks that key."""
        if key is None or key not in self.values:
            return self.lines(self.path)
        return self.lines((*self.path, key))


@frozen
class Draft:
    """All tables of an inventory.

    `mesh` is None when the file could not be read; `broken` names nodes whose file could not.
    """

    mesh: Table | None
    rollout: Table | None
    nodes: Mapping[str, Table]
    broken: Collection[str] = ()


class Report:
    """Gathers problems, so that a user sees all of them at once."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._suggestions = 0

    def add(
        self,
        severity: Severity,
        file: str,
        line: int,
        message: str,
        hint: str = "",
        *,
        node: str | None = None,
        field: str | None = None,
    ) -> None:
        """Note one problem; names come out escaped, so that no text can draw a line of its own."""
        name = None if node is None else show(node)[1:-1]
        key = None if field is None else show(field)[1:-1]
        self._problems.append(
            Problem(
                severity, show(file, 255)[1:-1], line, name, key, escaped(message), escaped(hint)
            )
        )

    def error(self, table: Table, field: str | None, message: str, hint: str = "") -> None:
        """Note an error at `field` of `table`, or at the table when it lacks the field."""
        self._at(Severity.ERROR, table, field, message, hint)

    def warning(self, table: Table, field: str | None, message: str, hint: str = "") -> None:
        """Note a warning at `field` of `table`, or at the table when it lacks the field."""
        self._at(Severity.WARNING, table, field, message, hint)

    def _at(
        self, severity: Severity, table: Table, field: str | None, message: str, hint: str
    ) -> None:
        line = table.line(field)
        self.add(severity, table.file, line, message, hint, node=table.node, field=field)

    def file_error(
        self, file: str, line: int, message: str, hint: str = "", node: str | None = None
    ) -> None:
        """Note an error of a file as a whole; line 0 when there is none to point at."""
        self.add(Severity.ERROR, file, line, message, hint, node=node)

    def did_you_mean(self, word: str, known: Iterable[str], otherwise: str = "") -> str:
        """Return a hint that names the most similar word, else `otherwise`."""
        self._suggestions += 1
        if self._suggestions <= _MAX_SUGGESTIONS and len(word) <= 64:
            close = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
            if close:
                return f"did you mean '{close[0]}'?"
        return otherwise

    def failed(self) -> bool:
        """Return whether a problem is an error."""
        return any(problem.severity is Severity.ERROR for problem in self._problems)

    def problems(self) -> tuple[Problem, ...]:
        """Return the problems by file and line, each once."""
        unique = dict.fromkeys(self._problems)
        return tuple(sorted(unique, key=lambda p: (p.file, p.line, p.node or "", p.field or "")))


def decode(file: str, data: bytes, report: Report, node: str | None = None) -> str | None:
    """Return a file's text with plain line ends, or None after noting why it is refused."""
    if len(data) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // (1024 * 1024)
        hint = "give each node a file of its own, nodes/NAME.toml"
        report.file_error(file, 0, f"the file is larger than {limit} MiB", hint, node)
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.file_error(file, line, "is not valid UTF-8", "save the file as UTF-8", node)
        return None
    if found := _FORBIDDEN.search(text):
        code = f"U+{ord(found[0]):04X}"
        line = text.count("\n", 0, found.start()) + 1
        what = "byte order mark" if found[0] == "\ufeff" else "control character"
        report.file_error(file, line, f"holds the {what} {code}", "remove it", node)
        return None
    text = text.replace("\r\n", "\n")
    if len(text) > MAX_LINE_CHARS:
        for number, row in enumerate(text.split("\n"), 1):
            if len(row) > MAX_LINE_CHARS:
                message = f"the line is longer than {MAX_LINE_CHARS} characters"
                report.file_error(file, number, message, "a list may span several lines", node)
                return None
    return text


def some(names: Iterable[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    listed = sorted(names)
    more = len(listed) - _MAX_NAMED
    return ", ".join(listed[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
