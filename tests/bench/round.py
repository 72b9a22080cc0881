"""`python -m tests.bench.round`: whether packets to an exit go round.

Bytes that cross the node's uplink by bytes that its tunnel carries, both ways, while as much is
sent through the exit as goes. WireGuard adds 60 bytes or 80 to each packet; a loop adds many times
the whole.
"""

import sys

from tests.bench.result import Column, Effort, Result, Row, show
from tests.lab.exits import NODES, carry, user_of_exits
from tests.lab.world import World

SECONDS = 30.0
QUICK_SECONDS = 10.0


def benchmark(effort: Effort) -> list[Result]:
    """Send for half a minute."""
    seconds = QUICK_SECONDS if effort.quick else SECONDS
    with World(NODES) as world:
        carried = carry(user_of_exits(world), seconds)
    values = (
        carried.mbit_per_second,
        carried.tunnel_bytes / 1e6,
        carried.uplink_bytes / 1e6,
        carried.ratio,
    )
    columns = (Column("Mbit/s"), Column("MB, tunnel"), Column("MB, uplink"))
    return [
        Result(
            "round",
            "One run, bytes of both directions",
            "time",
            (*columns, Column("uplink ÷ tunnel", 3)),
            (Row(f"{seconds:.0f} s", values),),
            {"uplink": carried.ratio},
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.round", benchmark))
