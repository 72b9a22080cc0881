"""Edits of what is written already: keys, addresses and names of nodes, and nodes that go.

Each changes its own words only; every comment and the order of all else stay. What comes out is
read again and compared with what it should say, so a text too unusual to be edited is refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from wgmesh.errors import InventoryError, no_node
from wgmesh.inventory import layout, load, written
from wgmesh.inventory.build import ALL
from wgmesh.inventory.draft import Draft, Report, Table
from wgmesh.inventory.passage import Passage
from wgmesh.inventory.values import BadValue, mesh_address, node_name
from wgmesh.model.inventory import Inventory, Node
from wgmesh.model.terms import Interface

Changed = dict[str, bytes | None]
"""The files that change, by name; None for one that goes."""

_LISTS = (("mesh", "hubs"), ("mesh", "exit_nodes"), ("mesh", "enable_exit_for_nodes"))
_SINGLE = (("mesh", "exit_primary"), ("mesh", "local_node"))
_REFERENCES = (*_LISTS, *_SINGLE, ("rollout", "canary"))


def set_keys(files: Mapping[str, bytes], public_keys: Mapping[str, str]) -> Changed:
    """Return the files that change when the nodes get these public keys, which they lack so far.

    Raises InventoryError when a text cannot be edited.
    """
    before = load(files, require_keys=False)
    draft = _draft(files)
    texts: dict[str, Passage] = {}
    for name, key in public_keys.items():
        table = draft.nodes[name]
        text = texts.get(table.file)
        if text is None:
            text = texts[table.file] = Passage(table.file, files[table.file])
        path = _path(table)
        if text.has((*path, "public_key")):  # a placeholder
            text.set((*path, "public_key"), text.quoted(key))
        else:
            text.insert((*path, "address"), "public_key", text.quoted(key))
    nodes = [replace(n, public_key=public_keys.get(n.name, n.public_key)) for n in before.nodes]
    changed: Changed = {name: text.edited() for name, text in texts.items()}
    return _checked(files, changed, _with_nodes(before, nodes), require_keys=False)


def let_forward(files: Mapping[str, bytes], name: str) -> Changed:
    """Return the file that changes when the node `name` passes packets on; none if it does already.

    Raises UsageError when there is no such node, InventoryError when nobody can reach it.
    """
    before = load(files, require_keys=False)
    node = _node(before, name)
    if node.endpoint is None:
        raise InventoryError(
            f"{name} is behind NAT itself: the others cannot meet there",
            "name a node with an endpoint",
        )
    if node.forwarding:
        return {}
    table = _draft(files).nodes[name]
    text = Passage(table.file, files[table.file])
    path = _path(table)
    if text.has((*path, "forwarding")):
        text.set((*path, "forwarding"), "true")
    else:
        text.insert((*path, "address"), "forwarding", "true")
    nodes = [replace(n, forwarding=True) if n.name == name else n for n in before.nodes]
    return _checked(files, {table.file: text.edited()}, _with_nodes(before, nodes))


def readdress(files: Mapping[str, bytes], name: str, addresses: Sequence[str]) -> Changed:
    """Return the file that changes when the node `name` gets these addresses, with lengths.

    Raises UsageError when there is no such node, InventoryError when the addresses cannot be.
    """
    before = load(files, require_keys=False)
    _node(before, name)
    try:
        new: tuple[Interface, ...] = tuple(map(mesh_address, addresses))
    except BadValue as bad:
        raise InventoryError(bad.message, bad.hint) from None
    table = _draft(files).nodes[name]
    text = Passage(table.file, files[table.file])
    text.set((*_path(table), "address"), text.listed(addresses))
    nodes = [replace(n, address=new) if n.name == name else n for n in before.nodes]
    changed: Changed = {table.file: text.edited()}
    return _checked(files, changed, _with_nodes(before, nodes), require_keys=False)


def rename(files: Mapping[str, bytes], old: str, new: str) -> Changed:
    """Return the files that change when the node `old` is called `new` from now on.

    One that was cut short, so that a file of each name is there, goes on where it was. Raises
    UsageError when there is no such node, InventoryError when that cannot be.
    """
    one, other = f"nodes/{old}.toml", f"nodes/{new}.toml"
    if old != new and one in files and files[one] == files.get(other):
        done = {name: data for name, data in files.items() if name != one}
        if _loads(done):
            return {one: None}
        files = {name: data for name, data in files.items() if name != other}
    before = load(files, require_keys=False)
    _node(before, old)
    try:
        node_name(new)
    except BadValue as bad:
        raise InventoryError(bad.message, bad.hint) from None
    if any(node.name == new for node in before.nodes):
        raise InventoryError(f"the inventory has a node '{new}' already", "choose another name")
    draft = _draft(files)
    table = draft.nodes[old]
    changed, top = _references(files, draft, {old: new})
    if _is_own(files, table):
        own = str(PurePosixPath(table.file).with_name(f"{new}.toml"))
        changed |= {table.file: None, own: files[table.file]}
    else:
        top.rename(_path(table), new)
        changed[table.file] = top.edited()
    nodes = [replace(n, name=new) if n.name == old else n for n in before.nodes]
    return _checked(files, changed, _renamed(_with_nodes(before, nodes), {old: new}))


def remove(files: Mapping[str, bytes], names: Collection[str]) -> Changed:
    """Return the files that change when these nodes go, wherever [mesh] and [rollout] name them.

    Raises UsageError when one of them is not there, InventoryError when what is left would be none.
    """
    before = load(files, require_keys=False)
    for name in names:
        _node(before, name)
    draft = _draft(files)
    gone: dict[str, str | None] = dict.fromkeys(names)
    changed, top = _references(files, draft, gone)
    for name in gone:
        table = draft.nodes[name]
        if _is_own(files, table):
            changed[table.file] = None
        else:
            top.remove_table(_path(table))
    changed |= _edited(files, top)
    nodes = [node for node in before.nodes if node.name not in gone]
    return _checked(files, changed, _renamed(_with_nodes(before, nodes), gone))


def _loads(files: Mapping[str, bytes]) -> bool:
    try:
        load(files, require_keys=False)
    except InventoryError:
        return False
    return True


def _draft(files: Mapping[str, bytes]) -> Draft:
    draft = written(files, Report())
    assert draft is not None, "an inventory that loads was written"
    return draft


def _node(inventory: Inventory, name: str) -> Node:
    for node in inventory.nodes:
        if node.name == name:
            return node
    raise no_node(name)


def _is_own(files: Mapping[str, bytes], table: Table) -> bool:
    """Tell whether a node has a file of its own."""
    return table.file in layout(files).nodes


def _path(table: Table) -> tuple[str, ...]:
    """Return the path of a node's table in its file; the INI reader knows none."""
    assert table.node is not None
    return ("node", table.node) if table.file.endswith(".conf") else table.path


def _references(
    files: Mapping[str, bytes], draft: Draft, names: Mapping[str, str | None]
) -> tuple[Changed, Passage]:
    """Return the top file with each name that [mesh] or [rollout] has replaced, or taken out."""
    assert draft.mesh is not None
    file = draft.mesh.file
    top = Passage(file, files[file])
    for section, field in _REFERENCES:
        table = draft.mesh if section == "mesh" else draft.rollout
        value = None if table is None else table.values.get(field)
        if field == "enable_exit_for_nodes" and value in (ALL[0], list(ALL)):
            continue
        present = value if isinstance(value, list) else [value]
        hit = {old: new for old, new in names.items() if old in present}
        if hit:
            top.replace_names((section, field), hit)
    return _edited(files, top), top


def _edited(files: Mapping[str, bytes], text: Passage) -> Changed:
    """Return the file of `text`, if it changes."""
    edited = text.edited()
    return {} if edited == files[text.name] else {text.name: edited}


def _with_nodes(inventory: Inventory, nodes: Sequence[Node]) -> Inventory:
    return replace(inventory, nodes=tuple(sorted(nodes, key=lambda node: node.name)))


def _renamed(inventory: Inventory, names: Mapping[str, str | None]) -> Inventory:
    """Return the inventory with other names, or none, wherever [mesh] and [rollout] have them."""

    def each(listed: tuple[str, ...]) -> tuple[str, ...]:
        found = (names.get(name, name) for name in listed)
        return tuple(name for name in found if name is not None)

    def one(name: str | None) -> str | None:
        return None if name is None else names.get(name, name)

    mesh, rollout = inventory.mesh, inventory.rollout
    mesh = replace(
        mesh,
        hubs=each(mesh.hubs),
        exit_nodes=each(mesh.exit_nodes),
        enable_exit_for_nodes=each(mesh.enable_exit_for_nodes),
        exit_primary=one(mesh.exit_primary),
        local_node=one(mesh.local_node),
    )
    if rollout is not None:
        rollout = replace(rollout, canary=each(rollout.canary))
    return replace(inventory, mesh=mesh, rollout=rollout)


def _checked(
    files: Mapping[str, bytes], changed: Changed, wanted: Inventory, *, require_keys: bool = False
) -> Changed:
    """Return `changed` when it says what is `wanted`."""
    after = {name: data for name, data in {**files, **changed}.items() if data is not None}
    found = load(after, require_keys=require_keys)
    if _comparable(found) != _comparable(wanted):
        names = ", ".join(changed)
        raise InventoryError(
            f"{names}: written so that it cannot be edited in place", "edit it by hand"
        )
    return changed


def _comparable(inventory: Inventory) -> Inventory:
    """Return the inventory with the users of exits in one order: "all" has that of the names."""
    mesh = inventory.mesh
    users = tuple(sorted(mesh.enable_exit_for_nodes))
    return replace(inventory, mesh=replace(mesh, enable_exit_for_nodes=users))
