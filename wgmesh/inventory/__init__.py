"""Bytes to an Inventory, with every problem at once: the one way in is `read`, or `load`."""

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from wgmesh.errors import InventoryError
from wgmesh.frozen import frozen
from wgmesh.inventory.build import build, inventory
from wgmesh.inventory.check import check
from wgmesh.inventory.conf import read_conf
from wgmesh.inventory.draft import Draft, Report
from wgmesh.inventory.toml import read_toml
from wgmesh.model.inventory import Inventory, Problem, Severity

__all__ = ["Layout", "ReadResult", "layout", "load", "read"]


@frozen
class ReadResult:
    """What came of reading; `inventory` is None if and only if a problem is an error."""

    inventory: Inventory | None
    problems: tuple[Problem, ...]


@frozen
class Layout:
    """Which files make the inventory, by their names; anything else is not looked at."""

    mesh: tuple[str, ...]
    conf: tuple[str, ...]
    nodes: tuple[str, ...]


def layout(names: Collection[str]) -> Layout:
    """Return which of the files, by their names, make up an inventory.

    They are mesh.toml or mesh.conf, and nodes/NAME.toml beside it; one file alone may have any
    name that ends in .toml or .conf, so that `-c fleet.toml` works.
    """
    tops: list[str] = []
    nodes: list[str] = []
    for name in names:
        path = PurePosixPath(name)
        if path.suffix == ".toml" and path.parent.name == "nodes":
            nodes.append(name)
        elif path.suffix in {".toml", ".conf"} and (path.stem == "mesh" or len(names) == 1):
            tops.append(name)
    if tops:
        folder = PurePosixPath(tops[0]).parent / "nodes"
        nodes = [name for name in nodes if PurePosixPath(name).parent == folder]
    return Layout(
        tuple(name for name in tops if name.endswith(".toml")),
        tuple(name for name in tops if name.endswith(".conf")),
        tuple(nodes),
    )


def read(files: Mapping[str, bytes], *, require_keys: bool = True) -> ReadResult:
    """Return the inventory that `files` (name to content) hold, and every problem in them.

    With `require_keys` False a node may lack its public key (`gen --gen-keys`). Raises nothing,
    whatever the bytes are.
    """
    report = Report()
    draft = written(files, report)
    result: Inventory | None = None
    if draft is not None:
        parsed = build(draft, report, require_keys=require_keys)
        check(parsed, report)
        if not report.failed():
            result = inventory(parsed)
    return ReadResult(result, report.problems())


def load(files: Mapping[str, bytes], *, require_keys: bool = True) -> Inventory:
    """Return the inventory that `files` hold; raises InventoryError with every problem."""
    result = read(files, require_keys=require_keys)
    if result.inventory is not None:
        return result.inventory
    errors = [p for p in result.problems if p.severity is Severity.ERROR]
    first = errors[0]
    place = f"{first.file}:{first.line}" if first.line else first.file
    field = f"{first.field}: " if first.field else ""
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    raise InventoryError(
        f"the inventory is invalid: {place}: {field}{first.message}{more}",
        first.hint or "`wgmesh validate` shows every problem",
        problems=result.problems,
    )


def written(files: Mapping[str, bytes], report: Report) -> Draft | None:
    """Return the tables that `files` hold, with their lines; None when there is no inventory."""
    found = layout(files)
    tops = found.mesh + found.conf
    if len(tops) > 1:
        for name in tops[1:]:
            report.file_error(name, 0, f"{tops[0]} is there too", "keep one of the two")
        return None
    if not tops:
        if found.nodes:
            message = f"is missing, though there are files such as {min(found.nodes)}"
        else:
            message = "there is no inventory"
        report.file_error("mesh.toml", 0, message, "`wgmesh init` makes a mesh.toml")
        return None if not found.nodes else read_toml(None, found.nodes, files, report)
    if found.conf:
        for name in sorted(found.nodes):
            message = f"stands beside {found.conf[0]}"
            hint = "a file per node needs mesh.toml; `wgmesh convert` makes one"
            report.file_error(name, 0, message, hint)
        return read_conf(found.conf[0], files[found.conf[0]], report)
    return read_toml(found.mesh[0], found.nodes, files, report)
