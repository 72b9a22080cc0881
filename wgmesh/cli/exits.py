"""`wg-exit-selector`: which exits this node may use, and how they do."""

import sys
from collections.abc import Sequence

from wgmesh.cli import helper, report


def _status() -> int:
    from wgmesh.agent import node, views

    node.require_root()
    rows = views.exits()
    head = ("EXIT", "TUNNEL", "RTT", "PRIMARY")
    text = report.table([head, *rows]) if rows else "this node uses no exit\n"
    sys.stdout.write(text)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wg-exit-selector` and return its exit code."""
    return helper.run(
        "wg-exit-selector", "Show the exits that this node may use.", _status, _status, argv
    )
