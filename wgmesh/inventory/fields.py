"""The fields of an inventory, one declarative table for every reader, and how a value is parsed."""

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from wgmesh.frozen import frozen
from wgmesh.inventory import values
from wgmesh.inventory.values import BadValue, show
from wgmesh.model.terms import ExitPolicy, HubSelection, OnNoExit, Topology


class Kind(Enum):
    """What a value looks like in TOML; the INI reader turns its strings into that."""

    TEXT = "a string"
    INTEGER = "an integer"
    BOOLEAN = "true or false"


@frozen
class Field:
    """One field: its kind, the parser of one value, and whether it takes several.

    `many` fields take one string or a list of strings; `choices` is what an enum allows, `span` the
    least and the most of an integer, `shape` a pattern that every good text matches.
    """

    kind: Kind
    parse: Callable[[Any], Any]
    many: bool = False
    required: bool = False
    choices: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    shape: str = ""


def _text(parse: Callable[[str], Any], *, many: bool = False, required: bool = False) -> Field:
    return Field(Kind.TEXT, parse, many, required, shape=values.SHAPES[parse])


def _integer(low: int, high: int) -> Field:
    def parse(value: int) -> int:
        if low <= value <= high:
            return value
        shown = str(value) if abs(value) < 10**20 else "a huge number"
        raise BadValue(f"{shown} is out of range", f"{low} to {high}")

    return Field(Kind.INTEGER, parse, span=(low, high))


def _enum(kind: type[Enum]) -> Field:
    by_value = {str(member.value): member for member in kind}
    names = tuple(by_value)

    def parse(value: str) -> Enum:
        if value in by_value:
            return by_value[value]
        raise BadValue(f"{show(value)} is not one of {', '.join(names)}")

    return Field(Kind.TEXT, parse, choices=names)


_BOOLEAN = Field(Kind.BOOLEAN, bool)
_PORT = _integer(*values.PORTS)
_DAY_SECONDS = 24 * 3600

MESH: Mapping[str, Field] = MappingProxyType(
    {
        "interface": _text(values.interface_name, required=True),
        "mesh_cidr": _text(values.mesh_prefix, many=True, required=True),
        "port": _PORT,
        "mtu": _integer(576, 65535),
        "dns": _text(values.address, many=True),
        "topology": _enum(Topology),
        "hubs": _text(values.node_name, many=True),
        "hub_selection": _enum(HubSelection),
        "exit_nodes": _text(values.node_name, many=True),
        "exit_primary": _text(values.node_name),
        "exit_policy": _enum(ExitPolicy),
        "exit_check_interval_seconds": _integer(1, _DAY_SECONDS),
        "exit_test_target": _text(values.address, many=True),
        "enable_exit_for_nodes": _text(values.node_name, many=True),
        "on_no_exit": _enum(OnNoExit),
        "local_node": _text(values.node_name),
    }
)

ROLLOUT: Mapping[str, Field] = MappingProxyType(
    {
        "canary": _text(values.node_name, many=True),
        "soak_seconds": _integer(0, 30 * _DAY_SECONDS),
    }
)

NODE: Mapping[str, Field] = MappingProxyType(
    {
        "address": _text(values.mesh_address, many=True, required=True),
        "public_key": _text(values.public_key),  # whether it is required depends on the caller
        "endpoint": _text(values.endpoint),
        "endpoint_alt": _text(values.endpoint, many=True),
        "allowed_ips": _text(values.prefix, many=True),
        "persistent_keepalive": _integer(0, 65535),
        "listen_port": _PORT,
        "next_public_key": _text(values.public_key),
        "intermittent": _BOOLEAN,
        "managed": _BOOLEAN,
        "forwarding": _BOOLEAN,
        "nat_iface": _text(values.interface_name),
        "exit_out_iface": _text(values.interface_name),
        "enable_nat": _BOOLEAN,
        "post_up": _text(values.hook),
        "post_down": _text(values.hook),
        "preshared_key_path": _text(values.preshared_key_path),
        "private_key_path": _text(values.private_key_path),
        "ssh_host": _text(values.ssh_host),
        "ssh_user": _text(values.ssh_user),
        "ssh_port": _PORT,
    }
)

SECTIONS: Mapping[str, Mapping[str, Field]] = MappingProxyType(
    {"mesh": MESH, "rollout": ROLLOUT, "node": NODE}
)

SECRETS: Mapping[str, str] = MappingProxyType(
    {
        "private_key": "keep it in a file on the node and name that in private_key_path",
        "preshared_key": "keep it in files on the nodes and name them in preshared_key_path",
    }
)
"""What never belongs into a text that git tracks, and what to write instead."""


def type_name(value: object) -> str:
    """Return what a person calls the type of a TOML value."""
    match value:
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a float"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def parse(field: Field, value: object) -> tuple[Any, list[BadValue]]:
    """Return the parsed value (a tuple for a `many` field) and what is wrong with it.

    The value means nothing when the list is not empty, except that a `many` field still has its
    good elements.
    """
    if not field.many:
        try:
            return _one(field, value), []
        except BadValue as bad:
            return None, [bad]
    good: list[Any] = []
    wrong: list[BadValue] = []
    if not isinstance(value, str | list):
        message = f"must be a string or a list of strings, not {type_name(value)}"
        return (), [BadValue(message)]
    for element in value if isinstance(value, list) else [value]:
        try:
            good.append(_one(field, element))
        except BadValue as bad:
            wrong.append(bad)
    return tuple(good), wrong


def _one(field: Field, value: object) -> object:
    match field.kind:
        case Kind.TEXT if isinstance(value, str):
            return field.parse(values.printable(value))
        case Kind.INTEGER if isinstance(value, int) and not isinstance(value, bool):
            return field.parse(value)
        case Kind.BOOLEAN if isinstance(value, bool):
            return value
    raise BadValue(f"must be {field.kind.value}, not {type_name(value)}")
