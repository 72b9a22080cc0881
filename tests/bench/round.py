"""`python -m tests.bench.round [SECONDS]`: whether packets to an exit go round.

Bytes that cross the node's uplink by bytes that its tunnel carries, both ways, while as much is
sent through the exit as goes. WireGuard adds 60 bytes or 80 to each packet; a loop adds many times
the whole.
"""

import sys

from tests.bench.cpu import table
from tests.lab.exits import NODES, carry, user_of_exits
from tests.lab.world import World


def main() -> int:
    """Measure and print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with World(NODES) as world:
        carried = carry(user_of_exits(world), seconds)
    row = (
        f"{seconds:.0f}",
        f"{carried.mbit_per_second:.0f}",
        f"{carried.tunnel_bytes / 1e6:,.0f}",
        f"{carried.uplink_bytes / 1e6:,.0f}",
        f"{carried.ratio:.3f}",
    )
    sys.stdout.write(table(("s", "Mbit/s", "MB, tunnel", "MB, uplink", "uplink ÷ tunnel"), (row,)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
