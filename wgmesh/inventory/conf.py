"""The shell tool's `mesh.conf` to a draft: INI with `[mesh]`, `[node "name"]` and comma lists.

Read line by line and never given to a shell. A comment stands on a line of its own (`#` or `;`)
or after a blank; in a hook only `#` does so there, since `;` separates its commands.
"""

import re
from dataclasses import dataclass, field

from wgmesh.inventory.draft import Draft, Report, Table, decode
from wgmesh.inventory.fields import SECRETS, SECTIONS, Field, Kind
from wgmesh.inventory.lines import Places, Span
from wgmesh.model.inventory import Severity

_HEADER = re.compile(r"\[\s*([A-Za-z_]+)(?:\s+\"([^\"]*)\")?\s*\]")
_COMMENT = re.compile(r"[ \t][#;].*")
_HOOK_COMMENT = re.compile(r"[ \t]#.*")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_BOOLEANS = {
    "true": True, "yes": True, "1": True, "false": False, "no": False, "0": False,
}  # fmt: skip
_PLACEHOLDER = re.compile(r"<[^<>]*>")
"""What the shell tool's example has where a key belongs: as good as nothing."""

_HOOKS = frozenset({"post_up", "post_down"})


@dataclass(slots=True)
class _Section:
    """A section while it is read; `kind` is "" for one that nobody knows."""

    kind: str
    line: int
    node: str | None = None
    values: dict[str, object] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


def read_conf(file: str, data: bytes, report: Report) -> Draft:
    """Return the tables of an INI inventory, and note in `report` what cannot be read."""
    text = decode(file, data, report)
    if text is None:
        return Draft(None, None, {})
    single: dict[str, _Section] = {}
    nodes: dict[str, _Section] = {}
    current: _Section | None = None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t")
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            current = _open(file, number, line, report)
            known, key = (
                (nodes, current.node or "") if current.kind == "node" else (single, current.kind)
            )
            if current.kind and key in known:
                first = known[key].line
                report.add(
                    Severity.ERROR,
                    file,
                    number,
                    f"the section stands twice, first in line {first}",
                    "merge the two",
                    node=current.node,
                    field=None if current.node else key,
                )
            elif current.kind:
                known[key] = current
        else:
            _pair(file, number, line, current, report)
    if "mesh" not in single:
        report.add(
            Severity.ERROR,
            file,
            1,
            "there is no section [mesh]",
            field="mesh",
            hint="it has at least interface and mesh_cidr",
        )
    return Draft(
        _table(file, single.get("mesh")),
        _table(file, single.get("rollout")),
        {name: _as_table(file, section) for name, section in nodes.items()},
    )


def places(text: str) -> Places:
    """Return where the pairs and headers of a valid INI inventory stand; paths are as in TOML."""
    pairs: dict[tuple[str, ...], Span] = {}
    headers: dict[tuple[str, ...], tuple[int, int]] = {}
    section: tuple[str, ...] = ()
    start = 0
    for raw in text.split("\n"):
        begin, start = start + len(raw) - len(raw.lstrip(" \t")), start + len(raw) + 1
        line = raw.strip(" \t\r")
        if match := _HEADER.match(line):
            section = tuple(part for part in match.groups() if part is not None)
            headers[section] = (begin, begin + match.end())
        elif line and line[0] not in "#;[":
            key, _, rest = line.partition("=")
            value = rest.lstrip(" \t")
            at = begin + len(line) - len(value)
            comment = _HOOK_COMMENT if key.strip(" \t") in _HOOKS else _COMMENT
            kept = comment.sub("", f" {value}").strip(" \t")
            pairs[*section, key.strip(" \t")] = Span(begin, at, at + len(kept))
    return Places(pairs, headers)


def _table(file: str, section: _Section | None) -> Table | None:
    return None if section is None else _as_table(file, section)


def _as_table(file: str, section: _Section) -> Table:
    def line(path: tuple[str, ...]) -> int:
        return section.lines[path[0]] if path else section.line

    return Table(file, section.node, section.values, line)


def _open(file: str, number: int, line: str, report: Report) -> _Section:
    """Return the section that a header opens; one of no kind after noting what is wrong."""
    match = _HEADER.fullmatch(_COMMENT.sub("", line).rstrip(" \t"))
    if not match:
        hint = 'write [mesh], [rollout] or [node "name"]'
        report.file_error(file, number, "is no section header", hint)
        return _Section("", number)
    kind, name = match.groups()
    if kind not in SECTIONS:
        hint = report.did_you_mean(kind, SECTIONS, 'known are [mesh], [rollout], [node "name"]')
        report.add(Severity.ERROR, file, number, "is no section of an inventory", hint, field=kind)
        return _Section("", number)
    if (kind == "node") != (name is not None):
        right = '[node "name"]' if kind == "node" else f"[{kind}]"
        report.file_error(
            file, number, f"[{kind}] takes {'a' if kind == 'node' else 'no'} name", f"write {right}"
        )
        return _Section("", number)
    return _Section(kind, number, name)


def _pair(file: str, number: int, line: str, section: _Section | None, report: Report) -> None:
    if section is None:
        report.file_error(file, number, "stands before the first section", "begin with [mesh]")
        return
    key, equals, value = (part.strip(" \t") for part in line.partition("="))
    if not equals or not key:
        # The line is not shown: it may be a key that lost its name.
        report.add(
            Severity.ERROR,
            file,
            number,
            "is neither a [section] nor key = value",
            "comments begin with #",
            node=section.node,
        )
        return
    if not section.kind:
        return
    if key in section.values:
        first = section.lines[key]
        report.add(
            Severity.ERROR,
            file,
            number,
            f"stands twice, first in line {first}",
            node=section.node,
            field=key,
            hint="keep one of the two",
        )
        return
    comment = _HOOK_COMMENT if key in _HOOKS else _COMMENT
    value = comment.sub("", f" {value}").strip(" \t")
    if key in ("public_key", *SECRETS) and _PLACEHOLDER.fullmatch(value):
        section.lines[key] = number
        if key in SECRETS:
            message = "is a placeholder of what does not belong into an inventory"
            report.add(
                Severity.WARNING, file, number, message, SECRETS[key], node=section.node, field=key
            )
        return
    known = SECTIONS[section.kind].get(key)
    if not value and known is not None and not known.many:
        report.add(
            Severity.ERROR,
            file,
            number,
            "is empty",
            "leave the line out",
            node=section.node,
            field=key,
        )
        return
    section.lines[key] = number
    section.values[key] = value if known is None else _as_toml(known, value)


def _as_toml(known: Field, text: str) -> object:
    """Return what TOML would have had here; a string that is no such thing stays a string."""
    if known.many:
        return [part.strip(" \t") for part in text.split(",")] if text else []
    if known.kind is Kind.INTEGER and _INTEGER.fullmatch(text):
        return int(text)
    if known.kind is Kind.BOOLEAN:
        return _BOOLEANS.get(text.lower(), text)
    return text
