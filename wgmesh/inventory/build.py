"""A draft to the model: each field parsed by its table, each wrong one noted and left out."""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from wgmesh.frozen import frozen
from wgmesh.inventory.draft import Draft, Report, Table
from wgmesh.inventory.fields import MESH, NODE, ROLLOUT, SECRETS, SECTIONS, Field, parse
from wgmesh.inventory.values import BadValue, node_name
from wgmesh.model.inventory import Inventory, Mesh, Node, Rollout
from wgmesh.model.numbers import DEFAULT_PORT
from wgmesh.model.terms import Endpoint

ALL = ("all",)


@frozen
class Parsed:
    """What could be read; a wrong or missing field has its default here and its name in `bad`.

    `nodes` are in the order of the files; `bad` has (node, field), the node None for [mesh].
    """

    draft: Draft
    mesh: Mesh | None
    rollout: Rollout | None
    nodes: tuple[Node, ...]
    bad: Set[tuple[str | None, str]]

    def table(self, node: Node) -> Table:
        """Return the table of a node."""
        return self.draft.nodes[node.name]

    def is_bad(self, node: Node, *fields: str) -> bool:
        """Return whether one of the node's fields has a problem already."""
        return any((node.name, field) in self.bad for field in fields)

    def names(self) -> Set[str]:
        """Return the name of every node, those that could not be read included."""
        return self.draft.nodes.keys() | set(self.draft.broken)


def build(draft: Draft, report: Report, *, require_keys: bool) -> Parsed:
    """Return the typed tables, after noting every field that is unknown, wrong or missing."""
    bad: set[tuple[str | None, str]] = set()
    mesh: Mesh | None = None
    if draft.mesh is not None:
        found = _fields(draft.mesh, MESH, report, bad)
        mesh = Mesh(**({"interface": "", "mesh_cidr": ()} | found))
    rollout = None
    if draft.rollout is not None:
        # A wrong field of [rollout] hides no other problem, so nobody asks for its name.
        rollout = Rollout(**_fields(draft.rollout, ROLLOUT, report, set()))
    default_port = DEFAULT_PORT if mesh is None else mesh.port
    nodes = tuple(
        _node(name, table, default_port, report, bad, require_keys=require_keys)
        for name, table in draft.nodes.items()
    )
    return Parsed(draft, mesh, rollout, nodes, frozenset(bad))


def inventory(parsed: Parsed) -> Inventory:
    """Return the finished model of an inventory without errors; `mesh` must be there."""
    assert parsed.mesh is not None
    mesh = parsed.mesh
    nodes = tuple(sorted(parsed.nodes, key=lambda node: node.name))
    if mesh.enable_exit_for_nodes == ALL:
        exits = frozenset(mesh.exit_nodes)
        users = tuple(node.name for node in nodes if node.name not in exits)
        mesh = replace(mesh, enable_exit_for_nodes=users)
    return Inventory(mesh, nodes, parsed.rollout)


def _node(
    name: str,
    table: Table,
    default_port: int,
    report: Report,
    bad: set[tuple[str | None, str]],
    *,
    require_keys: bool,
) -> Node:
    try:
        node_name(name)
    except BadValue as wrong:
        report.error(table, None, wrong.message, wrong.hint)
    found = _fields(table, NODE, report, bad)
    listen_port = found.setdefault("listen_port", default_port)
    if "endpoint" in found:
        found["endpoint"] = _with_port(found["endpoint"], listen_port)
    else:
        found["endpoint"] = None
    if "endpoint_alt" in found:
        found["endpoint_alt"] = tuple(
            _with_port(endpoint, listen_port) for endpoint in found["endpoint_alt"]
        )
    if "public_key" not in found:
        found["public_key"] = None
        if require_keys and "public_key" not in table.values:
            report.error(table, "public_key", "is missing", _KEY)
    return Node(**({"address": ()} | found), name=name)


def _with_port(endpoint: Endpoint, port: int) -> Endpoint:
    return endpoint if endpoint.port else Endpoint(endpoint.host, port)


def _fields(
    table: Table,
    fields: Mapping[str, Field],
    report: Report,
    bad: set[tuple[str | None, str]],
) -> dict[str, Any]:
    """Return the good fields of a table by name."""
    found: dict[str, Any] = {}
    for key, value in table.values.items():
        field = fields.get(key)
        if field is None:
            _unknown(table, key, fields, report)
            continue
        parsed, problems = parse(field, value)
        for wrong in problems:
            hint = wrong.hint
            if field.choices and isinstance(value, str):
                valid = f"valid are {', '.join(field.choices)}"
                hint = report.did_you_mean(value, field.choices, valid)
            report.error(table, key, wrong.message, hint)
            bad.add((table.node, key))
        if problems and not field.many:
            continue
        if field.many and key != "address":  # an address that stands twice is an error of its own
            unique = tuple(dict.fromkeys(parsed))
            if len(unique) < len(parsed):
                report.warning(table, key, "names something twice", "once is enough")
            parsed = unique
        found[key] = parsed
        if field.required and parsed == () and not problems:
            report.error(table, key, "is empty", "it needs at least one value")
            bad.add((table.node, key))
    for key, field in fields.items():
        if field.required and key not in table.values:
            bad.add((table.node, key))
            report.error(table, key, "is missing", _EXAMPLES[key])
    return found


_KEY = "`wgmesh join` prints it on the node; without git `wgmesh gen-keys` makes one"
_EXAMPLES = {
    "interface": 'such as interface = "wg0"',
    "mesh_cidr": 'such as mesh_cidr = "10.40.0.0/24"',
    "address": "`wgmesh node add` gives a node the next free one",
}


def _unknown(table: Table, key: str, fields: Mapping[str, Field], report: Report) -> None:
    if key in SECRETS:
        report.error(table, key, "a secret does not belong into an inventory", SECRETS[key])
        return
    homes = [section for section, others in SECTIONS.items() if key in others]
    if table.node is not None and key in SECTIONS:
        hint = "a node's file has its fields at top level"
    elif homes:
        hint = f"it belongs into {'the table of a node' if homes == ['node'] else f'[{homes[0]}]'}"
    else:
        hint = report.did_you_mean(key, fields)
    report.error(table, key, "is no field of an inventory", hint)
