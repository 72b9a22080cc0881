"""`wg-failover`: one tick of the failover; or which endpoint each peer has, and could have."""

import sys
from collections.abc import Sequence

from wgmesh.cli import helper


def _status() -> int:
    from wgmesh.agent import node, views
    from wgmesh.cli import report

    node.require_root()
    rows = views.endpoints()
    head = ("PEER", "IN FORCE", "FROM", "CHOSEN", "MOVED", "CANDIDATES")
    sys.stdout.write(report.table([head, *rows]) if rows else "no peer has an endpoint\n")
    return 0


def _tick() -> int:
    from wgmesh.agent import failover

    failover.tick()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wg-failover` and return its exit code."""
    summary = "Move peers that do not answer to another of their endpoints."
    return helper.run("wg-failover", summary, _tick, _status, argv)
