"""Where each key of a TOML text stands: tomllib gives values, not lines.

Reads only what tomllib has accepted (https://toml.io/en/v1.0.0), so it checks nothing; on text
that it does not understand it stops, and lines it has not found are those of the table around.
"""

import re
import tomllib
from bisect import bisect_right

Path = tuple[str, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_BLANK = re.compile(r"[ \t]*+")
_STRING = (
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'[^'\n]*+'"
)
_KEY = re.compile(r'"(?:[^"\\\n]|\\.)*+"|' + r"'[^'\n]*+'|[A-Za-z0-9_-]++")
_TOKEN = re.compile(_STRING + r"|#[^\n]*+|[\[\]{},\n]|[^\[\]{},\n#\"']++", re.DOTALL)

_MAX_INLINE_DEPTH = 8
"""Inline tables deeper than this are skipped: no field lies there."""


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
        self._headers: set[Path] = set()
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: Path = ()
        while self._skip(_SPACE):
            line = self._line()
            if self.text[self.pos] == "[":
                self.pos += 2 if self.text.startswith("[[", self.pos) else 1
                table = self._path()
                if not table:
                    return
                self._note(table, line, header=True)
                self.pos = self.text.find("]", self.pos)
                if self.pos < 0:
                    return
                self.pos += 2 if self.text.startswith("]]", self.pos) else 1
            elif not self._pair(table, 0):
                return

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Move over what matches, and return whether text is left."""
        if match := pattern.match(self.text, self.pos):
            self.pos = match.end()
        return self.pos < len(self.text)

    def _line(self) -> int:
        return bisect_right(self._breaks, self.pos - 1) + 1

    def _note(self, path: Path, line: int, *, header: bool = False) -> None:
        if header and path not in self._headers:
            self._headers.add(path)
            self.found[path] = line
        for length in range(len(path), 0, -1):
            if path[:length] in self.found:
                continue
            self.found[path[:length]] = line

    def _path(self) -> Path:
        """Read a dotted key; empty when there is none."""
        parts: list[str] = []
        while self._skip(_BLANK) and (match := _KEY.match(self.text, self.pos)):
            parts.append(_plain(match[0]))
            self.pos = match.end()
            if not self._skip(_BLANK) or self.text[self.pos] != ".":
                break
            self.pos += 1
        return tuple(parts)

    def _pair(self, table: Path, depth: int) -> bool:
        """Read `key = value`; return False when that is not what stands here."""
        line = self._line()
        path = self._path()
        if not path or not self.text.startswith("=", self.pos):
            return False
        self._note(table + path, line)
        self.pos += 1
        self._skip(_BLANK)
        if self.text.startswith("{", self.pos) and depth < _MAX_INLINE_DEPTH:
            return self._inline(table + path, depth + 1)
        self._value()
        return True

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
