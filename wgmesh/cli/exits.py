"""`wg-exit-selector`: one tick of the exit selector; or which exits there are, and how they do."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wgmesh.cli import helper

if TYPE_CHECKING:
    from argparse import Namespace


def status() -> int:
    """Print how the exits of this node do, and return the exit code."""
    from wgmesh.agent import node, views
    from wgmesh.cli import report

    node.require_root()
    found = views.exits()
    if not found.rows:
        sys.stdout.write("this node uses no exit\n")
        return 0
    head = ("EXIT", "TUNNEL", "UPLINK", "RTT", "LOSS", "PRIMARY", "IN USE")
    sys.stdout.write(report.table([head, *found.rows]))
    for line in found.notes:
        print(line)
    return 0


def run_status(_: "Namespace") -> int:
    """Run `wgmesh exit-status`."""
    return status()


def _tick() -> int:
    from wgmesh.agent import exits

    exits.tick()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wg-exit-selector` and return its exit code."""
    summary = "Send internet traffic through the exit that works best."
    return helper.run("wg-exit-selector", summary, _tick, status, argv)
