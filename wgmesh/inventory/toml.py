"""TOML to a draft: `mesh.toml`, alone or with one file per node in `nodes/`."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from wgmesh.inventory.draft import Draft, Report, Table, decode
from wgmesh.inventory.fields import NODE, SECTIONS, type_name
from wgmesh.inventory.lines import Lines
from wgmesh.model.inventory import Severity

_AT_LINE = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)$")
# tomllib's cost is quadratic in the parts of a dotted key; the deepest of ours has three.
_DEEP_KEY = re.compile(
    r"^[ \t\[]*+(?:(?:[A-Za-z0-9_-]++|\"(?:[^\"\\\n]|\\.)*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+){8}",
    re.MULTILINE,
)
_HINTS = (
    ("overwrite", "each key may stand once in a table"),
    ("twice", "each table may stand once"),
    ("Invalid value", 'strings are quoted, lists are ["a", "b"], booleans are true and false'),
    ("Unclosed array", "a list ends with ]"),
)


def read_toml(
    mesh_file: str | None,
    node_files: Iterable[str],
    files: Mapping[str, bytes],
    report: Report,
) -> Draft:
    """Return the tables of `mesh_file` and `node_files`; `report` gets what cannot be read."""
    mesh: Table | None = None
    rollout: Table | None = None
    nodes: dict[str, Table] = {}
    broken: set[str] = set()
    root = None if mesh_file is None else _load(mesh_file, files[mesh_file], report)
    if root is not None:
        _refuse_unknown(root, report)
        if "mesh" in root.values:
            mesh = _below(root, "mesh", report)
        else:
            report.add(
                Severity.ERROR,
                root.file,
                1,
                "there is no table [mesh]",
                field="mesh",
                hint="it has at least interface and mesh_cidr",
            )
        if "rollout" in root.values:
            rollout = _below(root, "rollout", report)
        if "node" in root.values and (tables := _below(root, "node", report)):
            for name in tables.values:
                node = _below(tables, name, report, node=name)
                if node is None:
                    broken.add(name)
                else:
                    nodes[name] = node
    for file in sorted(node_files):
        name = PurePosixPath(file).stem
        table = _load(file, files[file], report, node=name)
        if table is None:
            broken.add(name)
        elif name in nodes or name in broken:
            where = nodes[name].file if name in nodes else mesh_file
            report.error(table, None, f"the node stands in {where} too", "keep one of the two")
        else:
            nodes[name] = table
    return Draft(mesh, rollout, nodes, frozenset(broken))


def _load(file: str, data: bytes, report: Report, node: str | None = None) -> Table | None:
    text = decode(file, data, report, node)
    if text is None:
        return None
    if deep := _DEEP_KEY.search(text):
        line = text.count("\n", 0, deep.start()) + 1
        report.file_error(
            file, line, "a key has too many dots", "the deepest is node.NAME.field", node
        )
        return None
    try:
        values = tomllib.loads(text)
    except RecursionError:
        report.file_error(file, 0, "lists or tables are nested too deeply", node=node)
        return None
    except ValueError as error:  # TOMLDecodeError, and int() on thousands of digits
        _syntax(file, text, str(error), report, node)
        return None
    return Table(file, node, values, Lines(text).of)


def _syntax(file: str, text: str, message: str, report: Report, node: str | None) -> None:
    hint = next((hint for word, hint in _HINTS if word in message), "")
    line = 0
    if where := _AT_LINE.search(message):
        last = text.rstrip("\n").count("\n") + 1
        line = min(int(where[1]), last) if where[1] else last
        message = message[: where.start()]
    elif "digits" in message:
        message = "a number has too many digits"
    shown = "".join(c if c.isprintable() else "?" for c in message[:120])
    report.add(Severity.ERROR, file, line, f"TOML: {shown}", hint, node=node)


def _below(parent: Table, key: str, report: Report, node: str | None = None) -> Table | None:
    """Return the table at `key`, or None after noting that something else is there."""
    value = parent.values[key]
    if not isinstance(value, dict):
        what = type_name(value)
        report.add(
            Severity.ERROR,
            parent.file,
            parent.line(key),
            f"must be a table, not {what}",
            f"write [{'node.NAME' if node is not None or key == 'node' else key}]",
            node=node,
            field=key if node is None else None,
        )
        return None
    return Table(parent.file, node, value, parent.lines, (*parent.path, key))


def _refuse_unknown(root: Table, report: Report) -> None:
    for key in root.values:
        if key in SECTIONS:
            continue
        if key in NODE:
            hint = "fields of a node stand in [node.NAME] or in nodes/NAME.toml"
        elif key in SECTIONS["mesh"]:
            hint = "it belongs into [mesh]"
        else:
            hint = report.did_you_mean(key, SECTIONS, "known are [mesh], [rollout], [node.NAME]")
        report.error(root, key, "is no table of an inventory", hint)
