"""`wg-failover`: which endpoint each peer has, and which others it could have."""

import sys
from collections.abc import Sequence

from wgmesh.cli import helper, report


def _status() -> int:
    from wgmesh.agent import node, views

    node.require_root()
    rows = views.endpoints()
    head = ("PEER", "IN FORCE", "FROM", "CANDIDATES")
    sys.stdout.write(report.table([head, *rows]) if rows else "no peer has an endpoint\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wg-failover` and return its exit code."""
    return helper.run("wg-failover", "Show the endpoints of this node's peers.", _status, argv)
