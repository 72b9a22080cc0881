"""A glance at the device: what a tick asks of every peer, for less than observing costs.

Nothing is parsed that a tick does not read, and no model is loaded: it runs every few seconds.
"""

import re
import time
from pathlib import Path

from wgmesh import process
from wgmesh.errors import WgmeshError
from wgmesh.frozen import frozen

_EXPIRES = re.compile(r" expires \d+sec")


@frozen
class Glance:
    """A peer at one moment: its endpoint as `wg` spells it ("" none), handshake, bytes received.

    `handshake` is wall-clock seconds, 0 never: it is compared for change only. `default` are the
    IP versions whose default route the peer carries.
    """

    endpoint: str
    handshake: int
    rx_bytes: int
    default: tuple[int, ...] = ()


def clock() -> float:
    """Return the seconds since boot, sleep included: a clock that does not jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def steering() -> str:
    """Return what the kernel says of routes, rules and our nft table, to be compared as it is.

    Raises WgmeshError when a tool fails.
    """
    asked = b"rule show\nroute show table all\n"
    said = [process.run(["ip", "-N", f"-{v}", "-batch", "-"], stdin=asked).stdout for v in (4, 6)]
    listed = process.run(["nft", "-s", "-t", "list", "table", "inet", "wgmesh"], check=False)
    text = b"\n".join([*said, listed.stdout]).decode(errors="replace")
    return _EXPIRES.sub("", text)


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
            key, _, endpoint, allowed, handshake, rx_bytes, _, _ = line.split("\t")
            where = "" if endpoint == "(none)" else endpoint
            default: tuple[int, ...] = ()
            if "/0" in allowed:
                prefixes = allowed.split(",")
                default = tuple(v for v, p in ((4, "0.0.0.0/0"), (6, "::/0")) if p in prefixes)
            found[key] = Glance(where, int(handshake), int(rx_bytes), default)
    except ValueError:
        # the line is not shown: it may be one with a key
        raise WgmeshError("`wg show … dump` printed something other than wg(8) says") from None
    return found
