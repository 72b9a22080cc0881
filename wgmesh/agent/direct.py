"""A machine that runs an inventory out of a file: direct.toml, and the inventory as it was applied.

`wgmesh apply` writes both. Such a machine follows no repository and has joined no mesh: nothing
polls, nothing is fetched or verified. What runs is kept, shown and taken back as anywhere else.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from wgmesh import settings
from wgmesh.errors import WgmeshError
from wgmesh.files import sync_directory, write_atomic
from wgmesh.model.inventory import Inventory
from wgmesh.settings import DIRECT_FILE, Anchor, Enrolment

_INVENTORY = settings.STATE_DIR / "direct.json"


def enrolment(path: Path = DIRECT_FILE) -> Enrolment | None:
    """Return who this machine is where an inventory was applied by hand; None where none was.

    It has no remote, and no anchor of trust. Raises WgmeshError when the file is damaged.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        node, interface = table["node"], table["interface"]
        if not isinstance(node, str) or not isinstance(interface, str):
            raise ValueError("node and interface are no strings")
    except FileNotFoundError:
        return None
    except (KeyError, ValueError) as error:
        hint = "remove it, and run wgmesh apply again"
        raise WgmeshError(f"{path} is damaged: {error}", hint) from None
    return Enrolment(node, (), "", "", interface, Anchor("", ""))


def begin(node: str, interface: str) -> None:
    """Write direct.toml, durably."""
    import tomli_w

    head = "# Written by `wgmesh apply`: this machine runs an inventory out of a file.\n"
    table = tomli_w.dumps({"node": node, "interface": interface})
    write_atomic(DIRECT_FILE, (head + table).encode())


def remember(digest: str, files: Mapping[str, bytes]) -> None:
    """Keep the inventory that came to the generation of `digest`: the others may still have it."""
    texts = {name: data.decode("utf-8") for name, data in files.items()}
    write_atomic(_INVENTORY, json.dumps({"digest": digest, "files": texts}).encode())


def applied(digest: str) -> Inventory | None:
    """Return the inventory that came to the generation of `digest`; None when it was not kept."""
    from wgmesh import inventory  # which `status` of such a machine does without

    try:
        kept = json.loads(_INVENTORY.read_bytes())
        if kept["digest"] != digest:
            return None
        return inventory.load({name: text.encode() for name, text in kept["files"].items()})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, WgmeshError):
        return None  # then every tunnel that the change alters waits for its other end


def forget() -> None:
    """Forget it: this machine runs no inventory out of a file any more."""
    for path in (DIRECT_FILE, _INVENTORY):
        if path.exists():
            path.unlink()
            sync_directory(path.parent)
