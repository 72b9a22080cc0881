"""What the ticks remember in /run/wgmesh: who is watched, and what was chosen. No secret.

JSON, since it is read and written every few seconds. What is damaged is lost: the next tick starts
anew from the device, as after a boot.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import Any

from wgmesh.files import write_atomic
from wgmesh.frozen import field_names, frozen
from wgmesh.select import Life, Standing, Watch

FAILOVER = "failover.json"
EXITS = "exits.json"

_JSON: dict[object, tuple[type, ...]] = {float: (float, int), int: (int,), str: (str,)}
_KINDS = {each.name: _JSON.get(each.type, (list,)) for each in fields(Watch)}
"""What JSON has for each field of a watch."""


@frozen
class Watched:
    """A peer with a choice of endpoints: more than one, or a name, which may have many addresses.

    `address` is its first in the mesh, `endpoints` as the inventory spells them, best first.
    """

    name: str
    address: str
    endpoints: tuple[str, ...]


@frozen
class Exit:
    """An exit, or a hub, to choose from; `address` is its first in the mesh.

    `versions` are those of which an exit may carry the default route. `next_public_key`, if it is
    about to change its key, may be the one that the device uses already.
    """

    name: str
    public_key: str
    address: str
    versions: tuple[int, ...]
    next_public_key: str = ""


def keys_of(exits: Iterable[Exit]) -> dict[str, str]:
    """Return each key that the device may use for one of `exits`, and the key it is named by."""
    return {
        key: each.public_key
        for each in exits
        for key in (each.public_key, each.next_public_key)
        if key
    }


def renamed(exits: Iterable[Exit], before: Iterable[Exit], holder: str) -> str:
    """Return the key that the holder, one of `before`, has among `exits`; "" when it is gone."""
    name = next((each.name for each in before if each.public_key == holder), None)
    return next((each.public_key for each in exits if each.name == name), "")


@frozen
class Hubs:
    """What a spoke remembers of its hubs; empty where there is no choice.

    `holder` is the key of the one in force, `through` the life of what comes back through it from
    `targets`; `muted` are those that did not forward, and since when.
    """

    hubs: tuple[Exit, ...] = ()
    by_latency: bool = False
    targets: tuple[str, ...] = ()
    lives: Mapping[str, Life] = field(default_factory=dict)
    through: Life = field(default_factory=Life)
    standing: Standing = field(default_factory=Standing)
    holder: str = ""
    muted: Mapping[str, float] = field(default_factory=dict)


@frozen
class Failover:
    """The failover's memory; mappings are by public key, but `resolved`: by endpoint.

    `generation` says which confirmed generation `watched` was read from. `seen` is handshake and
    bytes received at the last look, `resolved` the addresses of named endpoints, as last asked at
    `resolved_at`. The fetch was asked for the names `named` at `named_at`, and is not again for
    `named_wait`.
    """

    generation: str = ""
    interface: str = ""
    watched: Mapping[str, Watched] = field(default_factory=dict)
    watches: Mapping[str, Watch] = field(default_factory=dict)
    seen: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    resolved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resolved_at: float = 0.0
    named: tuple[str, ...] = ()
    named_at: float = 0.0
    named_wait: float = 0.0
    hubs: Hubs = field(default_factory=Hubs)

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
            named=tuple(map(str, table.get("named", ()))),  # not there before an upgrade
            named_at=float(table.get("named_at", 0)),
            named_wait=float(table.get("named_wait", 0)),
            hubs=_hubs(table["hubs"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Failover()


def _watch(values: Mapping[str, Any]) -> Watch:
    """Return a watch of plain values. Raises ValueError or KeyError for one of another kind."""
    plain = _typed(_KINDS, values)
    return Watch(**plain | {"tried": tuple(map(str, values.get("tried", ())))})


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
        "named": list(memory.named),
        "named_at": memory.named_at,
        "named_wait": memory.named_wait,
        "hubs": _hubs_table(memory.hubs),
    }
    write_atomic(directory / FAILOVER, json.dumps(table).encode(), 0o644, durable=False)


def _told(watch: Watch, usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not as in a new watch: most of most watches is."""
    values = {name: getattr(watch, name) for name in field_names(Watch)}
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


# ---------------------------------------------------------------- exits


@frozen
class Steering:
    """The exit selector's memory. A node that uses no exits has none.

    `targets` are what is probed through an exit; `lives` are those of tunnels by name, and of
    uplinks by `NAME/VERSION`. `holder` is the key of the peer that has the default routes of
    `families`, by choice; `direct`: none works, and traffic leaves without one. `lent`: a probe may
    have left a peer with a target. `kernel` is what the kernel said when all was in place,
    `override` the exit that the admin last named.
    """

    generation: str = ""
    interface: str = ""
    exits: tuple[Exit, ...] = ()
    primary: str = ""
    manual: bool = False
    block: bool = True
    interval: int = 20
    targets: tuple[str, ...] = ()
    lives: Mapping[str, Life] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    holder: str = ""
    families: tuple[int, ...] = (4, 6)
    direct: bool = False
    lent: bool = False
    measured_at: float = 0.0
    retested_at: float = 0.0
    kernel: str = ""
    override: str = ""


def read_exits(directory: Path) -> Steering:
    """Return the exit selector's memory; an empty one when there is none."""
    try:
        table = json.loads((directory / EXITS).read_bytes())
        values = _typed(_STEERING, table)
        values["exits"] = _exits(table["exits"])
        values["targets"] = tuple(map(str, table["targets"]))
        values["families"] = tuple(map(int, table["families"]))
        values["standing"] = Standing(**_typed(_STANDING, table["standing"]))
        values["lives"] = _lives(table["lives"])
        return Steering(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Steering()


def write_exits(directory: Path, memory: Steering | None) -> None:
    """Keep the exit selector's memory until the machine goes down; None takes it away."""
    if memory is None:
        (directory / EXITS).unlink(missing_ok=True)
        return
    table = {name: getattr(memory, name) for name in field_names(Steering)}
    table["exits"] = _exit_rows(memory.exits)
    table["standing"] = asdict(memory.standing)
    table["lives"] = {name: asdict(life) for name, life in memory.lives.items()}
    write_atomic(directory / EXITS, json.dumps(table).encode(), 0o644, durable=False)


def _exits(rows: list[Any]) -> tuple[Exit, ...]:
    return tuple(
        Exit(str(name), str(key), str(address), tuple(map(int, versions)), str(following))
        for name, key, address, versions, following in rows
    )


def _exit_rows(exits: tuple[Exit, ...]) -> list[tuple[object, ...]]:
    return [
        (each.name, each.public_key, each.address, each.versions, each.next_public_key)
        for each in exits
    ]


def _lives(table: Mapping[str, Any]) -> dict[str, Life]:
    return {str(name): Life(**_typed(_LIFE, each)) for name, each in table.items()}


def _hubs(table: Mapping[str, Any]) -> Hubs:
    """Return the hubs' memory of plain values. Raises ValueError, KeyError or TypeError."""
    values = _typed(_HUBS, table)
    values["hubs"] = _exits(table["hubs"])
    values["targets"] = tuple(map(str, table["targets"]))
    values["lives"] = _lives(table["lives"])
    values["through"] = Life(**_typed(_LIFE, table["through"]))
    values["standing"] = Standing(**_typed(_STANDING, table["standing"]))
    values["muted"] = {str(name): float(at) for name, at in table["muted"].items()}
    return Hubs(**values)


def _hubs_table(memory: Hubs) -> dict[str, Any]:
    return asdict(memory) | {"hubs": _exit_rows(memory.hubs)}


_KINDS_OF_JSON = _JSON | {bool: (bool,)}
_STEERING = {each.name: _KINDS_OF_JSON.get(each.type, (list, dict)) for each in fields(Steering)}
_HUBS = {each.name: _KINDS_OF_JSON.get(each.type, (list, dict)) for each in fields(Hubs)}
_STANDING = {each.name: _KINDS_OF_JSON[each.type] for each in fields(Standing)}
_LIFE = {each.name: _KINDS_OF_JSON[each.type] for each in fields(Life)}


def _typed(kinds: Mapping[str, tuple[type, ...]], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values by name. Raises ValueError or KeyError for one of another kind."""
    for name, value in values.items():
        if type(value) not in kinds[name]:
            raise ValueError(f"{name} is something else")
    return dict(values)
