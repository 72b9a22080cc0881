"""What the ticks remember in /run/wgmesh: who is watched, and what was chosen. No secret.

JSON, since it is read and written every few seconds. What is damaged is lost: the next tick starts
anew from the device, as after a boot.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from wgmesh.files import write_atomic
from wgmesh.select import Watch

FAILOVER = "failover.json"

_JSON: dict[object, tuple[type, ...]] = {float: (float, int), int: (int,), str: (str,)}
_KINDS = {each.name: _JSON.get(each.type, (list,)) for each in fields(Watch)}
"""What JSON has for each field of a watch."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A peer with a choice of endpoints: more than one, or a name, which may have many addresses.

    `address` is its first in the mesh, `endpoints` as the inventory spells them, best first.
    """

    name: str
    address: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failover:
    """The failover's memory; mappings are by public key, but `resolved`: by endpoint.

    `generation` says which confirmed generation `watched` was read from. `seen` is handshake and
    bytes received at the last look, `resolved` the addresses of named endpoints, as last asked at
    `resolved_at`.
    """

    generation: str = ""
    interface: str = ""
    watched: Mapping[str, Watched] = field(default_factory=dict)
    watches: Mapping[str, Watch] = field(default_factory=dict)
    seen: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    resolved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resolved_at: float = 0.0

    def chosen(self) -> dict[str, str]:
        """Return the endpoints in force by our choice, by public key."""
        return {key: watch.endpoint for key, watch in self.watches.items() if watch.endpoint}


def read_failover(directory: Path) -> Failover:
    """Return the failover's memory; an empty one when there is none."""
    try:
        table = json.loads((directory / FAILOVER).read_bytes())
        watched = {
            key: Watched(str(name), str(address), tuple(map(str, endpoints)))
            for key, (name, address, endpoints) in table["watched"].items()
        }
        return Failover(
            generation=str(table["generation"]),
            interface=str(table["interface"]),
            watched=watched,
            watches={key: _watch(values) for key, values in table["watches"].items()},
            seen={key: (int(one), int(two)) for key, (one, two) in table["seen"].items()},
            resolved={name: tuple(map(str, every)) for name, every in table["resolved"].items()},
            resolved_at=float(table["resolved_at"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Failover()


def _watch(values: Mapping[str, Any]) -> Watch:
    """Return a watch of plain values. Raises ValueError for one of another kind."""
    for name, value in values.items():
        if type(value) not in _KINDS[name]:
            raise ValueError(f"{name} is something else")
    return Watch(**{**values, "tried": tuple(map(str, values.get("tried", ())))})


def write_failover(directory: Path, memory: Failover) -> None:
    """Keep the failover's memory until the machine goes down; anybody may read it."""
    plain = Watch(0.0)
    usual = asdict(plain)
    table = {
        "generation": memory.generation,
        "interface": memory.interface,
        "watched": {
            key: (each.name, each.address, each.endpoints) for key, each in memory.watched.items()
        },
        "watches": {key: _told(watch, usual) for key, watch in memory.watches.items()},
        "seen": dict(memory.seen),
        "resolved": dict(memory.resolved),
        "resolved_at": memory.resolved_at,
    }
    write_atomic(directory / FAILOVER, json.dumps(table).encode(), 0o644, durable=False)


def _told(watch: Watch, usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not as in a new watch: most of most watches is."""
    values = {name: getattr(watch, name) for name in Watch.__slots__}
    return {name: each for name, each in values.items() if name == "alive" or each != usual[name]}


def followed(
    memory: Failover, generation: str, interface: str, watched: Mapping[str, Watched]
) -> Failover:
    """Return the memory for another generation: all of it of peers with the same endpoints."""
    kept = {
        key: watch
        for key, watch in memory.watches.items()
        if key in watched
        and key in memory.watched
        and watched[key].endpoints == memory.watched[key].endpoints
    }
    return replace(
        memory, generation=generation, interface=interface, watched=watched, watches=kept
    )
