"""The two edits of an inventory that change a node's key, as patches that `git apply` takes."""

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import unified_diff

from wgmesh.errors import InventoryError
from wgmesh.inventory import load, written
from wgmesh.inventory.draft import Report
from wgmesh.model.inventory import Inventory

_FIELD = re.compile(r"(?P<indent>[ \t]*)(?P<name>[A-Za-z_.]*\bpublic_key)(?P<rest>[ \t]*=.*)")


def stage(files: Mapping[str, bytes], name: str, public_key: str) -> dict[str, bytes]:
    """Return the file that changes when the node `name` gets a next key.

    Every comment and the order stay. Raises InventoryError when the text is too unusual for that.
    """
    return _edited(files, name, {"next_public_key": public_key})


def complete(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    """Return the file that changes when the next key of the node `name` becomes its key."""
    node = next(each for each in load(files).nodes if each.name == name)
    return _edited(files, name, {"public_key": node.next_public_key, "next_public_key": None})


def _edited(
    files: Mapping[str, bytes], name: str, fields: Mapping[str, str | None]
) -> dict[str, bytes]:
    before = load(files)
    draft = written(files, Report())
    if draft is None:
        raise AssertionError("an inventory that loads was written")
    table = draft.nodes[name]
    lines = files[table.file].decode().split("\n")
    number = table.line("public_key")
    found = _FIELD.fullmatch(lines[number - 1].rstrip("\r"))
    old = next(each for each in before.nodes if each.name == name)
    if found is not None and old.public_key is not None:
        end = "\r" if lines[number - 1].endswith("\r") else ""
        if "public_key" in fields:
            key = fields["public_key"] or ""
            lines[number - 1] = lines[number - 1].replace(old.public_key, key, 1)
        if old.next_public_key is not None and "next_public_key" in fields:
            del lines[table.line("next_public_key") - 1]
        elif fields.get("next_public_key"):
            quote = '"' if table.file.endswith(".toml") else ""
            field = found["name"].replace("public_key", "next_public_key")
            value = f"{quote}{fields['next_public_key']}{quote}"
            lines.insert(number, f"{found['indent']}{field} = {value}{end}")
    changed = {table.file: "\n".join(lines).encode()}
    if _loaded({**files, **changed}) != _with(before, name, fields):
        raise InventoryError(
            f"{table.file}:{number} is written so that no line can be changed by itself",
            f"edit {name} by hand: " + ", ".join(f"{k} = {v}" for k, v in fields.items() if v),
        )
    return changed


def _loaded(files: Mapping[str, bytes]) -> Inventory | None:
    try:
        return load(files)
    except InventoryError:
        return None


def _with(before: Inventory, name: str, fields: Mapping[str, str | None]) -> Inventory:
    nodes = tuple(
        replace(node, **dict(fields)) if node.name == name else node  # type: ignore[arg-type]
        for node in before.nodes
    )
    return replace(before, nodes=nodes)


def patch(files: Mapping[str, bytes], changed: Mapping[str, bytes], root: str) -> str:
    """Return the way from `files` to `changed` as a patch for a repository.

    `root` is where in the repository the inventory lies, "" or "DIRECTORY/"; or a file's own path.
    """
    text = ""
    for name, data in changed.items():
        path = root if root.endswith((".toml", ".conf")) else f"{root}{name}"
        old, new = files[name].decode(), data.decode()
        for line in unified_diff(_lines(old), _lines(new), f"a/{path}", f"b/{path}"):
            text += line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
    return text


def _lines(text: str) -> list[str]:
    """Return lines that end at a newline, and nowhere else."""
    return [f"{line}\n" for line in text.split("\n")[:-1]] + [
        line for line in text.split("\n")[-1:] if line
    ]
