"""Reading the kernel's links, addresses, routes and rules: one `ip -batch` for each IP version."""

import json
from collections.abc import Iterator
from typing import Any

from wgmesh import process
from wgmesh.errors import WgmeshError
from wgmesh.model.numbers import ROUTE_PROTOCOL
from wgmesh.model.terms import Prefix

Entry = dict[str, Any]
"""One object of `ip -json`: a rule has `priority`, a route `dst`, a link `ifname`."""


def show(family: int, interface: str | None) -> tuple[Entry, ...]:
    """Return the rules, our routes and, unless None, `interface` with the routes over it.

    `family` is 4 or 6. Numbers are not translated to names (`-N`), for rt_tables and rt_protos
    are everybody's to edit. A route over `interface` has `protocol` and lacks `dev`; one of ours
    has it the other way round (ip leaves out what it filtered by). Raises WgmeshError.
    """
    asked = ["rule show", f"route show table all proto {ROUTE_PROTOCOL}"]
    if interface is not None:
        asked += [
            f"route show table all dev {interface}",
            f"addr show dev {interface}",
            f"link show dev {interface}",  # the last: after it, ip 6.1 shows no more addresses
        ]
    return _ask(family, asked)


def surroundings(family: int) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Return the routes of table main, whoever put them, and all interfaces with their addresses.

    Raises WgmeshError.
    """
    found = _ask(family, ["route show table main", "addr show"])
    return (
        tuple(entry for entry in found if "dst" in entry),
        tuple(entry for entry in found if "addr_info" in entry),
    )


def exact(prefix: Prefix, table: int) -> tuple[Entry, ...]:
    """Return all routes to exactly `prefix` in `table`, whoever put them. Raises WgmeshError."""
    return _ask(prefix.version, [f"route show table {table} exact {prefix}"])


def _ask(family: int, commands: list[str]) -> tuple[Entry, ...]:
    argv = ["ip", "-N", "-details", "-json", f"-{family}", "-batch", "-"]
    said = process.run(argv, stdin="\n".join([*commands, ""]).encode()).stdout.decode()
    try:
        return tuple(_entries(said))
    except ValueError as error:
        raise WgmeshError(
            "ip printed something that is no JSON", "wgmesh needs iproute2 6 or newer"
        ) from error


def _entries(said: str) -> Iterator[Entry]:
    """Yield the objects of the arrays that a batch prints one after another."""
    decoder = json.JSONDecoder()
    position = 0
    while position < len(said):
        if said[position].isspace():
            position += 1
            continue
        array, position = decoder.raw_decode(said, position)
        yield from (entry for entry in array if entry)
