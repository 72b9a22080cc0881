"""Where each key and value of a TOML text stands: tomllib gives values, not places.

Reads only what tomllib has accepted (https://toml.io/en/v1.0.0), so it checks nothing; on text
that it does not understand it stops, and lines it has not found are those of the table around.
"""

import re
import tomllib
from bisect import bisect_right

from wgmesh.frozen import frozen

Path = tuple[str, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_BLANK = re.compile(r"[ \t]*+")
STRING = (
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'[^'\n]*+'"
)
KEY = re.compile(r'"(?:[^"\\\n]|\\.)*+"|' + r"'[^'\n]*+'|[A-Za-z0-9_-]++")
_TOKEN = re.compile(STRING + r"|#[^\n]*+|[\[\]{},\n]|[^\[\]{},\n#\"']++", re.DOTALL)

_MAX_INLINE_DEPTH = 8
"""Inline tables deeper than this are skipped: no field lies there."""


@frozen
class Span:
    """Where a pair stands in a text: its key from `start`, its value from `value` to `end`."""

    start: int
    value: int
    end: int
    inline: bool = False


@frozen
class Places:
    """Where each pair stands, by its path, and each table's header: from, to."""

    pairs: dict[Path, Span]
    headers: dict[Path, tuple[int, int]]


def places(text: str) -> Places:
    """Return where the pairs and headers of a valid TOML text stand."""
    scan = _Scan(text)
    scan.document()
    return Places(scan.pairs, scan.headers)


class Lines:
    """The lines of one TOML text, worked out when first asked: a valid inventory never asks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[Path, int] | None = None

    def of(self, path: Path) -> int:
        """Return the line of a key or table, counted from 1, else of the nearest table around."""
        if self._found is None:
            self._found = key_lines(self._text)
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, 1)


def key_lines(text: str) -> dict[Path, int]:
    """Return the line, counted from 1, of each table header and key of a valid TOML text."""
    scan = _Scan(text)
    scan.document()
    return scan.found


class _Scan:
    """One pass over a text; guards the position."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.found: dict[Path, int] = {}
        self.pairs: dict[Path, Span] = {}
        self.headers: dict[Path, tuple[int, int]] = {}
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: Path = ()
        while self._skip(_SPACE):
            line, start = self._line(), self.pos
            if self.text[self.pos] == "[":
                self.pos += 2 if self.text.startswith("[[", self.pos) else 1
                table = self._path()
                if not table:
                    return
                if table not in self.headers:
                    self.found[table] = line
                self._note(table, line)
                self.pos = self.text.find("]", self.pos)
                if self.pos < 0:
                    return
                self.pos += 2 if self.text.startswith("]]", self.pos) else 1
                self.headers.setdefault(table, (start, self.pos))
            elif not self._pair(table, 0):
                return

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Move over what matches, and return whether text is left."""
        if match := pattern.match(self.text, self.pos):
            self.pos = match.end()
        return self.pos < len(self.text)

    def _line(self) -> int:
        return bisect_right(self._breaks, self.pos - 1) + 1

    def _note(self, path: Path, line: int) -> None:
        for length in range(len(path), 0, -1):
            if path[:length] in self.found:
                continue
            self.found[path[:length]] = line

    def _path(self) -> Path:
        """Read a dotted key; empty when there is none."""
        parts: list[str] = []
        while self._skip(_BLANK) and (match := KEY.match(self.text, self.pos)):
            parts.append(_plain(match[0]))
            self.pos = match.end()
            if not self._skip(_BLANK) or self.text[self.pos] != ".":
                break
            self.pos += 1
        return tuple(parts)

    def _pair(self, table: Path, depth: int) -> bool:
        """Read `key = value`; return False when that is not what stands here."""
        line, start = self._line(), self.pos
        path = self._path()
        if not path or not self.text.startswith("=", self.pos):
            return False
        self._note(table + path, line)
        self.pos += 1
        self._skip(_BLANK)
        value = self.pos
        known = True
        if self.text.startswith("{", self.pos) and depth < _MAX_INLINE_DEPTH:
            known = self._inline(table + path, depth + 1)
        else:
            self._value()
        end = value + len(self.text[value : self.pos].rstrip(" \t\r"))
        self.pairs.setdefault(table + path, Span(start, value, end, depth > 0))
        return known

    def _inline(self, table: Path, depth: int) -> bool:
        self.pos += 1
        while self._skip(_SPACE):
            if self.text[self.pos] == "}":
                self.pos += 1
                return True
            if self.text[self.pos] == ",":
                self.pos += 1
            elif not self._pair(table, depth):
                return False
        return False

    def _value(self) -> None:
        """Move behind a value: to the comma, bracket, comment or line end that closes it."""
        depth = 0
        while match := _TOKEN.match(self.text, self.pos):
            first = match[0][0]
            if depth == 0 and first in "]},\n#":
                return
            self.pos = match.end()
            if first in "[{":
                depth += 1
            elif first in "]}":
                depth -= 1


def _plain(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] != '"':
        return key
    return str(tomllib.loads(f"key = {key}")["key"]) if "\\" in key else key[1:-1]
