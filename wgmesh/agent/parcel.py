"""What `apply-remote` sends and `apply --received` takes, over standard input: files, and a key."""

import json
import sys
from collections.abc import Mapping

from wgmesh.agent.sources import Source
from wgmesh.errors import UsageError

MOST_BYTES = 64 << 20


def pack(files: Mapping[str, bytes], key: str | None) -> bytes:
    """Return an inventory, and the private key of the node that gets it, as bytes to send.

    Raises UsageError for files that are no text.
    """
    try:
        texts = {name: data.decode("utf-8") for name, data in files.items()}
    except UnicodeDecodeError:
        raise UsageError("the inventory is not UTF-8", "wgmesh validate says where") from None
    return json.dumps({"files": texts, "key": key}).encode() + b"\n"


def receive() -> tuple[Source, str | None]:
    """Return what standard input brings. Raises UsageError when that is no parcel."""
    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    try:
        value = json.loads(data)
        files = {str(name): text.encode() for name, text in value["files"].items()}
        key = value["key"]
        if len(data) > MOST_BYTES or not (key is None or isinstance(key, str)):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hint = "--received is for wgmesh apply-remote, of the same version"
        raise UsageError("what came over standard input is no inventory", hint) from None
    return Source(None, files), key
