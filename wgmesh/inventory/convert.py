"""One form of an inventory to another: the same fields in the same order, with their comments."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from wgmesh.errors import InventoryError
from wgmesh.inventory import conf, lines, load, written
from wgmesh.inventory.draft import Draft, Report, Table
from wgmesh.inventory.edit import conf_value
from wgmesh.inventory.lines import Path, Places

_PART = re.compile(r"\"(?:[^\"\\\n]|\\.)*+\"|'[^'\n]*+'|(?P<comment>#[^\n]*+)|[^\"'#]++")


@dataclass(slots=True)
class _Row:
    """A field: what stands above it, its key and value, the comment behind it.

    `instead` is written in its place, where it has no value.
    """

    above: list[str]
    key: str
    value: object
    behind: str
    instead: str = ""


@dataclass(slots=True)
class _Section:
    """A table: what stands above and behind its header, its fields, what follows them."""

    path: Path
    above: list[str] = field(default_factory=list)
    behind: str = ""
    rows: list[_Row] = field(default_factory=list)
    below: list[str] = field(default_factory=list)


def to_toml(files: Mapping[str, bytes]) -> bytes:
    """Return an inventory as one mesh.toml. Raises InventoryError when it is invalid."""
    rows: list[str] = []
    for section in _sections(files):
        head = ".".join(section.path)
        rows += _gap(rows, section.above)
        rows.append(_with(f"[{head}]", section.behind))
        rows += _rows(section, _toml_value)
    return _same(files, {"mesh.toml": _text(rows)})["mesh.toml"]


def to_conf(files: Mapping[str, bytes]) -> bytes:
    """Return an inventory as one mesh.conf.

    Raises InventoryError when it is invalid, or has what the INI form cannot say.
    """
    rows: list[str] = []
    for section in _sections(files):
        name = f' "{section.path[1]}"' if len(section.path) > 1 else ""
        rows += _gap(rows, section.above)
        rows.append(_with(f"[{section.path[0]}{name}]", section.behind))
        rows += _rows(section, conf_value)
    return _same(files, {"mesh.conf": _text(rows)})["mesh.conf"]


def to_directory(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return an inventory as mesh.toml and a file for each node, by their names."""
    top: list[str] = []
    made: dict[str, bytes] = {}
    for section in _sections(files):
        if section.path[0] == "node":
            above = [*section.above, section.behind] if section.behind else section.above
            rows = [*_stripped(above), *_rows(section, _toml_value)]
            made[f"nodes/{section.path[1]}.toml"] = _text(rows)
        else:
            top += _gap(top, section.above)
            top.append(_with(f"[{section.path[0]}]", section.behind))
            top += _rows(section, _toml_value)
    return _same(files, {"mesh.toml": _text(top), **made})


def _same(before: Mapping[str, bytes], after: dict[str, bytes]) -> dict[str, bytes]:
    """Return `after` when it says what `before` does."""
    if load(after, require_keys=False) != load(before, require_keys=False):
        raise InventoryError(
            "the other form cannot say the same", "it strips blanks at the ends of a hook"
        )
    return after


def _sections(files: Mapping[str, bytes]) -> list[_Section]:
    """Return the tables of a valid inventory as they follow one another."""
    load(files, require_keys=False)
    draft = written(files, Report())
    assert draft is not None and draft.mesh is not None, "an inventory that loads was written"
    found: dict[Path, _Section] = {}
    top = draft.mesh.file
    own = sorted({table.file for table in draft.nodes.values()} - {top})
    for file in (top, *own):
        text = files[file].decode().replace("\r\n", "\n")
        of_conf = file.endswith(".conf")
        places = conf.places(text) if of_conf else lines.places(text)
        base = () if file == top else ("node", PurePosixPath(file).stem)
        _read(text, places, base, draft, found, of_conf=of_conf)
    return list(found.values())


def _read(
    text: str,
    places: Places,
    base: Path,
    draft: Draft,
    found: dict[Path, _Section],
    *,
    of_conf: bool,
) -> None:
    """Add the tables of one file to `found`, each comment where it stood."""
    items = [(start, end, (*base, *path), True) for path, (start, end) in places.headers.items()]
    items += [(span.start, span.end, (*base, *path), False) for path, span in places.pairs.items()]
    ends = {(*base, *path): span for path, span in places.pairs.items()}
    section = found.setdefault(base, _Section(base)) if base else None
    at = 0
    last: _Row | _Section | None = None
    above: list[str] = []
    for start, end, path, is_header in sorted(items, key=lambda item: (item[0], -item[1])):
        if start >= at:  # else it stands in an inline table, around which comments were read
            above += _comments(text[at:start], last)
            at = end
        table = _table(draft, path)
        if table is None:  # the header [node], or a key with all nodes
            last = None
            continue
        home = _home(path)
        section = found.setdefault(home, _Section(home))
        if is_header or path == home:
            section.above += above
            last = section
        elif path[-1] not in table.values:  # a placeholder
            last = _Row(above, path[-1], None, "", f"# {text[start:end]}")
            section.rows.append(last)
        else:
            if not of_conf:
                above += _inner(text[ends[path].value : ends[path].end])
            last = _Row(above, path[-1], table.values[path[-1]], "")
            section.rows.append(last)
        above = []
    above += _comments(text[at:] + ("" if text.endswith("\n") else "\n"), last)
    if section is not None:
        section.below += _stripped(above)


def _home(path: Path) -> Path:
    """Return the path of the table that a field at `path` belongs to."""
    return path[:2] if path[0] == "node" else path[:1]


def _table(draft: Draft, path: Path) -> Table | None:
    match path:
        case ("mesh", *_):
            return draft.mesh
        case ("rollout", *_):
            return draft.rollout
        case ("node", name, *_):
            return draft.nodes[name]
    return None


def _comments(gap: str, last: _Row | _Section | None) -> list[str]:
    """Return the lines between two items; the comment behind the first goes to `last`."""
    rows = gap.split("\n")
    if last is not None:
        last.behind = last.behind or _comment(rows[0])
        rows = rows[1:]
    return [_comment(row) for row in rows[:-1]]


def _comment(row: str) -> str:
    """Return a comment as both forms write it, "" for a line that has none."""
    bare = row.strip(" \t,}")
    return f"#{bare[1:]}" if bare[:1] in ("#", ";") else ""


def _inner(value: str) -> Iterator[str]:
    """Yield the comments inside a list."""
    for part in _PART.finditer(value):
        if part["comment"]:
            yield part["comment"]


def _rows(section: _Section, shown: Callable[[str, object], str]) -> Iterator[str]:
    for row in section.rows:
        yield from row.above
        yield _with(row.instead or f"{row.key} = {shown(row.key, row.value)}", row.behind)
    yield from section.below


def _gap(before: Sequence[str], above: Sequence[str]) -> Iterator[str]:
    """Yield what stands above a header, an empty line first where something is before it."""
    if before and before[-1] and not (above and not above[0]):
        yield ""
    yield from above if before else _stripped(above)


def _stripped(rows: Sequence[str]) -> list[str]:
    kept = list(rows)
    while kept and not kept[-1]:
        kept.pop()
    while kept and not kept[0]:
        kept.pop(0)
    return kept


def _with(text: str, comment: str) -> str:
    return f"{text}  {comment}" if comment else text


def _text(rows: Sequence[str]) -> bytes:
    return "".join(f"{row}\n" for row in _stripped(rows)).encode()


def _toml_value(_: str, value: object) -> str:
    match value:
        case [one]:
            return _toml_value("", one)
        case list():
            return f"[{', '.join(_toml_value('', each) for each in value)}]"
        case bool() | int():
            return json.dumps(value)
        case _:
            return json.dumps(str(value), ensure_ascii=False)
