"""Problems and inventories as people, forges and programs read them: text, github, json."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from wgmesh.model.inventory import Inventory, Node, Problem, Severity
from wgmesh.model.terms import Topology

_HEADINGS = ("NODE", "ADDRESS", "ENDPOINT", "ALLOWED_IPS", "NOTES")


def as_text(problems: Iterable[Problem]) -> str:
    """Return one line a problem, `file:line: error: node NAME: field: message (hint)`."""
    return "".join(f"{_place(p)}: {p.severity.value}: {_sentence(p)}\n" for p in problems)


def as_github(problems: Iterable[Problem]) -> str:
    """Return one workflow command a problem, which GitHub shows at its line.

    Source of the format and its escapes: GitHub's "Workflow commands", and `command.ts` of its
    toolkit.
    """
    rows: list[str] = []
    for problem in problems:
        line = f",line={problem.line}" if problem.line else ""
        place = f"file={_property(problem.file)}{line}"
        rows.append(f"::{problem.severity.value} {place}::{_data(_sentence(problem))}\n")
    return "".join(rows)


def as_json(problems: Sequence[Problem], inventory: Inventory | None) -> str:
    """Return the JSON object `{ok, summary, problems}`; `summary` is null without an inventory."""
    rows = [
        {
            "severity": p.severity.value,
            "file": p.file,
            "line": p.line,
            "node": p.node,
            "field": p.field,
            "message": p.message,
            "hint": p.hint,
        }
        for p in problems
    ]
    result = {
        "ok": all(p.severity is not Severity.ERROR for p in problems),
        "summary": None if inventory is None else summary_values(inventory),
        "problems": rows,
    }
    return json.dumps(result, indent=2, ensure_ascii=False) + "\n"


def summary(inventory: Inventory) -> str:
    """Return the summary inventory for people: the mesh in a few lines, then a table of nodes."""
    mesh = inventory.mesh
    count = len(inventory.nodes)
    head = [
        f"mesh {mesh.interface}: {mesh.topology.value}, {count} node{'' if count == 1 else 's'}, "
        f"{', '.join(map(str, mesh.mesh_cidr))}, port {mesh.port}, MTU {mesh.mtu}"
    ]
    if mesh.topology is Topology.STAR:
        head.append(f"hubs: {', '.join(mesh.hubs)}; selection {mesh.hub_selection.value}")
    if mesh.exit_nodes:
        primary = f"; primary {mesh.exit_primary}" if mesh.exit_primary else ""
        users = len(mesh.enable_exit_for_nodes)
        head.append(
            f"exits: {', '.join(mesh.exit_nodes)}{primary}; policy {mesh.exit_policy.value}; "
            f"used by {users} node{'' if users == 1 else 's'}; "
            f"without an exit: {mesh.on_no_exit.value}"
        )
    if inventory.rollout:
        canary = ", ".join(inventory.rollout.canary) or "nobody"
        head.append(f"rollout: {canary} first; soak {inventory.rollout.soak_seconds} seconds")
    if not inventory.nodes:
        return "\n".join(head) + "\n"
    rows = [_HEADINGS, *(_row(inventory, node) for node in inventory.nodes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*head, "", *table]) + "\n"


def summary_values(inventory: Inventory) -> dict[str, Any]:
    """Return the summary inventory as plain values for JSON: `{mesh, rollout, nodes}`.

    Fields have the inventory's names. Hooks are given as they stand, there is no secret in it.
    """
    return {
        "mesh": _plain(inventory.mesh),
        "rollout": None if inventory.rollout is None else _plain(inventory.rollout),
        "nodes": [_plain(node) for node in inventory.nodes],
    }


def _place(problem: Problem) -> str:
    return f"{problem.file}:{problem.line}" if problem.line else problem.file


def _sentence(problem: Problem) -> str:
    node = f"node {problem.node}: " if problem.node is not None else ""
    field = f"{problem.field}: " if problem.field is not None else ""
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{node}{field}{problem.message}{hint}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _row(inventory: Inventory, node: Node) -> tuple[str, ...]:
    mesh = inventory.mesh
    notes = [
        name
        for name, holds in (
            ("hub", mesh.topology is Topology.STAR and node.name in mesh.hubs),
            ("exit", node.name in mesh.exit_nodes),
            ("forwards", node.forwarding),
            ("intermittent", node.intermittent),
            ("unmanaged", not node.managed),
            ("no key", node.public_key is None),
        )
        if holds
    ]
    return (
        node.name,
        ", ".join(map(str, node.address)),
        str(node.endpoint) if node.endpoint else "behind NAT",
        ", ".join(map(str, node.allowed_ips)) or "-",
        ", ".join(notes) or "-",
    )


def _plain(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the model's dataclasses
    return {field.name: _json(getattr(value, field.name)) for field in fields(value)}


def _json(value: object) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case Enum():
            return value.value
        case tuple():
            return [_json(element) for element in value]
        case _:  # addresses, networks, endpoints
            return str(value)
