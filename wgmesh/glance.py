"""A glance at the device: what a tick asks of every peer, at a third of the cost of observing.

Nothing is parsed that a tick does not read, and no model is loaded: it runs every few seconds.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from wgmesh import process
from wgmesh.errors import WgmeshError


@dataclass(frozen=True, slots=True)
class Glance:
    """A peer at one moment: its endpoint as `wg` spells it ("" none), handshake, bytes received.

    `handshake` is wall-clock seconds, 0 never: it is compared for change only.
    """

    endpoint: str
    handshake: int
    rx_bytes: int


def clock() -> float:
    """Return the seconds since boot, sleep included: a clock that does not jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def peers(interface: str) -> dict[str, Glance]:
    """Return the peers of `interface` by public key; none when there is no such interface.

    Raises WgmeshError when `wg` fails or prints something else than wg(8) says.
    """
    if not Path("/sys/class/net", interface).exists():
        return {}
    dump = process.text(["wg", "show", interface, "dump"])
    found = {}
    try:
        for line in dump.splitlines()[1:]:
            key, _, endpoint, _, handshake, rx_bytes, _, _ = line.split("\t")
            where = "" if endpoint == "(none)" else endpoint
            found[key] = Glance(where, int(handshake), int(rx_bytes))
    except ValueError:
        # the line is not shown: it may be one with a key
        raise WgmeshError("`wg show … dump` printed something other than wg(8) says") from None
    return found
