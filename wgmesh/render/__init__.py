"""NodePlan to files, and files back to the plan."""

import hashlib
from collections.abc import Mapping

from wgmesh.render.make import files
from wgmesh.render.parse import parse

__all__ = ["digest", "files", "parse"]


def digest(rendered: Mapping[str, bytes]) -> str:
    """Return the SHA-256, in hex, over the sorted names and bytes of rendered files.

    Names and contents are preceded by their lengths, so that no two sets of files collide.
    """
    summed = hashlib.sha256()
    for name, data in sorted(rendered.items()):
        for part in (name.encode(), data):
            summed.update(len(part).to_bytes(8))
            summed.update(part)
    return summed.hexdigest()
