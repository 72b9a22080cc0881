"""`python -m tests.reference`: the tables of docs/inventory.md, out of the schema for editors."""

import json
from collections.abc import Mapping
from typing import Any

from tests.bench import page
from tests.lab.machine import CHECKOUT
from wgmesh.inventory.schema import schema

PAGE = CHECKOUT / "docs" / "inventory.md"
HEAD = "| key | value | default | meaning |\n|---|---|---|---|\n"
LINKS = {
    "soak_seconds": "[stages](operations.md#a-change-in-stages)",
    "next_public_key": "[another key](operations.md#another-key-for-a-node)",
    "preshared_key_path": "[preshared keys](operations.md#preshared-keys)",
    "private_key_path": "[keys](portable.md#keys)",
}
"""Where more is to be read."""


def written(text: str) -> str:
    """Return the page with each table of keys as the schema has it now."""
    whole = json.loads(schema())["properties"]
    tables = {
        "mesh": whole["mesh"],
        "rollout": whole["rollout"],
        "node": json.loads(schema(of_node=True)),
    }
    return page.rewrite(text, {name: HEAD + rows(table) for name, table in tables.items()})


def rows(table: Mapping[str, Any]) -> str:
    """Return a Markdown row for each key of an object of the schema."""
    found = ""
    for key, about in table["properties"].items():
        default = "required" if key in table.get("required", ()) else _default(about.get("default"))
        more = f" See {LINKS[key]}." if key in LINKS else ""
        found += f"| `{key}` | {_value(about)} | {default} | {about['description']}{more} |\n"
    return found


def _default(value: object) -> str:
    return "none" if value in (None, [], "") else f"`{json.dumps(value)}`"


def _value(about: Mapping[str, Any]) -> str:
    if "anyOf" in about:
        return f"list of {_value(about['anyOf'][0])}"
    if "enum" in about:
        return " or ".join(f"`{json.dumps(each)}`" for each in about["enum"])
    if "minimum" in about:
        return f"{about['minimum']:,} to {about['maximum']:,}"
    return {"string": "text", "integer": "number", "boolean": "true or false"}[about["type"]]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
