"""The text of one file of an inventory, edited in place; TOML and INI alike."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence

from wgmesh.inventory import conf, lines
from wgmesh.inventory.lines import KEY, Path, Span

_ITEM = re.compile(r"(?P<string>\"(?:[^\"\\\n]|\\.)*+\"|'[^'\n]*+')|#[^\n]*+|[^\"'#]")
_COMMA = re.compile(r"[ \t]*,")


class Passage:
    """A text, and what is to change in it; `edited` returns it with all changes made."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self._text = data.decode()
        self._toml = not name.endswith(".conf")
        self._places = lines.places(self._text) if self._toml else conf.places(self._text)
        self._edits: list[tuple[int, int, str]] = []

    def edited(self) -> bytes:
        """Return the text with its changes."""
        parts: list[str] = []
        at = len(self._text)
        for start, end, new in sorted(self._edits, reverse=True):
            parts += [self._text[end:at], new]
            at = start
        parts.append(self._text[:at])
        return "".join(reversed(parts)).encode()

    def quoted(self, value: str) -> str:
        """Return a string as a value of this file."""
        return f'"{value}"' if self._toml else value

    def listed(self, values: Sequence[str]) -> str:
        """Return strings as the value of a field that takes several."""
        if not self._toml:
            return ", ".join(values)
        shown = ", ".join(f'"{value}"' for value in values)
        return shown if len(values) == 1 else f"[{shown}]"

    def has(self, path: Path) -> bool:
        """Tell whether there is a pair at `path`, whatever its value."""
        return path in self._places.pairs

    def set(self, path: Path, value: str) -> None:
        """Give the pair at `path` another value."""
        if span := self._places.pairs.get(path):
            self._edits.append((span.value, span.end, value))

    def insert(self, beside: Path, name: str, value: str) -> None:
        """Put the pair `name` after the one at `beside`, written as that is."""
        span = self._places.pairs.get(beside)
        if span is None:
            return
        head = self._text[span.start : span.value]
        last = list(KEY.finditer(head.partition("=")[0]))[-1]
        pair = f"{head[: last.start()]}{name}{head[last.end() :]}{value}"
        if span.inline:
            self._edits.append((span.end, span.end, f", {pair}"))
            return
        indent = self._text[self._line_start(span.start) : span.start]
        at = self._line_end(span.end)
        if self._text[at - 1 : at] == "\n":
            cr = "\r" if self._text[at - 2 : at - 1] == "\r" else ""
            self._edits.append((at, at, f"{indent}{pair}{cr}\n"))
        else:
            self._edits.append((at, at, f"\n{indent}{pair}"))

    def rename(self, table: Path, new: str) -> None:
        """Call the table at `table` by another last name."""
        if header := self._places.headers.get(table):
            start, end = header
            if self._toml:
                self._rename_key(start, end, len(table) - 1, new)
            else:
                quote = self._text.index('"', start)
                self._edits.append((quote + 1, self._text.index('"', quote + 1), new))
        for path, span in self._below(table):
            keys = len(KEY.findall(self._text[span.start : span.value].partition("=")[0]))
            self._rename_key(span.start, span.value, len(table) - 1 - (len(path) - keys), new)

    def _rename_key(self, start: int, end: int, index: int, new: str) -> None:
        if index >= 0:
            key = list(KEY.finditer(self._text[start:end].partition("=")[0]))[index]
            self._edits.append((start + key.start(), start + key.end(), new))

    def replace_names(self, path: Path, names: Mapping[str, str | None]) -> None:
        """Replace strings in the value at `path`, or take them out where that is None."""
        span = self._places.pairs.get(path)
        if span is None:
            return
        value = self._text[span.value : span.end]
        if not self._toml:
            parts = value.split(",")
            kept = [(part, names.get(part.strip(), part.strip())) for part in parts]
            text = ",".join(p.replace(p.strip(), n) for p, n in kept if n is not None).strip()
            if text or len(parts) > 1:
                self._edits.append((span.value, span.end, text))
            else:
                self._remove_lines(span)
        elif value.startswith("["):
            self._replace_items(span, names)
        else:
            new = next(iter(names.values()))
            if new is None:
                self._remove_lines(span)
            else:
                self._edits.append((span.value, span.end, self.quoted(new)))

    def _replace_items(self, span: Span, names: Mapping[str, str | None]) -> None:
        text = self._text
        items = [
            (item, tomllib.loads(f"name = {item['string']}")["name"])
            for item in _ITEM.finditer(text, span.value + 1, span.end)
            if item["string"] is not None
        ]
        value = text[span.value : span.end]
        if None in names.values() and "\n" not in value:
            kept = [item[0] for item, name in items if names.get(name, name) is not None]
            self._edits.append((span.value, span.end, f"[{', '.join(kept)}]"))
            return
        for item, name in items:
            if name in names:
                new = names[name]
                if new is None:
                    self._edits.append((*self._item_extent(*item.span()), ""))
                else:
                    self._edits.append((*item.span(), f'"{new}"'))

    def _item_extent(self, start: int, end: int) -> tuple[int, int]:
        """Return from where to where an item goes: its comma, and its line when that is its own."""
        text = self._text
        if comma := _COMMA.match(text, end):
            end = comma.end()
        first, last = self._line_start(start), self._line_end(end)
        rest = text[end:last].strip()
        alone = not text[first:start].strip() and (not rest or rest.startswith("#"))
        return (first, last) if alone else (start, end)

    def remove_table(self, table: Path) -> None:
        """Take the table at `table` out: its header, its pairs, and the comments that are its."""
        cut = (-1, -1)
        if header := self._places.headers.get(table):
            cut = self._extent(*header)
            self._edits.append((*cut, ""))
        done = -1
        for span in sorted((s for _, s in self._below(table)), key=lambda s: (s.start, -s.end)):
            if not cut[0] <= span.start < cut[1] and span.start >= done and not span.inline:
                self._remove_lines(span)
                done = span.end

    def _extent(self, start: int, end: int) -> tuple[int, int]:
        """Return from where to where a section goes, with the blank lines after it.

        Comments right above its header are its own, and so are those right below its last pair,
        unless another header follows at once.
        """
        text = self._text
        following = min((s for s, _ in self._places.headers.values() if s > start), default=None)
        stop = len(text) if following is None else self._line_start(following)
        for span in self._places.pairs.values():
            if start < span.start < stop:
                end = max(end, span.end)
        first = self._line_start(start)
        while first and (above := self._line_start(first - 1)) < first:
            if not self._is_comment(above):
                break
            first = above
        last = self._line_end(end)
        own = last
        while own < stop and self._is_comment(own):
            own = self._line_end(own)
        if own == stop == len(text) or (own < stop and not text[own : self._line_end(own)].strip()):
            last = own
        while last < stop and not text[last : self._line_end(last)].strip():
            last = self._line_end(last)
        if last == len(text):
            first = len(text[:first].rstrip()) + 1 if text[:first].strip() else 0
            if text[first - 1 : first + 1] == "\r\n":
                first += 1
        return first, last

    def _is_comment(self, at: int) -> bool:
        return self._text[at : self._line_end(at)].lstrip(" \t")[:1] in ("#", ";")

    def _remove_lines(self, span: Span) -> None:
        if not span.inline:
            self._edits.append((self._line_start(span.start), self._line_end(span.end), ""))

    def _below(self, table: Path) -> Iterator[tuple[Path, Span]]:
        size = len(table)
        return ((p, s) for p, s in self._places.pairs.items() if p[:size] == table)

    def _line_start(self, at: int) -> int:
        return self._text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        """Return where the next line begins, or the text's end."""
        found = self._text.find("\n", at)
        return len(self._text) if found < 0 else found + 1
