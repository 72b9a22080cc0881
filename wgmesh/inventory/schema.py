"""The JSON Schema of an inventory, for editors: made of the tables that the reader goes by.

It takes everything that the reader takes. What holds between fields only the reader knows.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import Enum
from types import MappingProxyType
from typing import Any

from wgmesh.inventory.fields import MESH, NODE, ROLLOUT, Field, Kind
from wgmesh.inventory.values import SHAPES, node_name
from wgmesh.model.inventory import Mesh, Node, Rollout
from wgmesh.model.numbers import DEFAULT_PORT

DIALECT = "http://json-schema.org/draft-07/schema#"
"""What the editors' TOML plugins understand."""

_TYPES = {Kind.TEXT: "string", Kind.INTEGER: "integer", Kind.BOOLEAN: "boolean"}

ABOUT: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "mesh": {
            "interface": "Name of the WireGuard interface on every node.",
            "mesh_cidr": "Prefixes that all mesh addresses come from; RFC 1918 or ULA only.",
            "port": "Port that nodes listen on, unless they say otherwise.",
            "mtu": "MTU of the interface.",
            "dns": "Name servers for machines without wgmesh; on a node wgmesh leaves DNS alone.",
            "topology": "fullmesh, or star: spokes have tunnels to hubs only.",
            "hubs": "Nodes in the middle of a star, which needs at least one.",
            "hub_selection": "How a spoke chooses its hub.",
            "exit_nodes": "Nodes through which others may reach the internet.",
            "exit_primary": "The exit of choice.",
            "exit_policy": "How a node chooses its exit.",
            "exit_check_interval_seconds": "How often exits are looked at.",
            "exit_test_target": "Addresses to try through an exit.",
            "enable_exit_for_nodes": "Nodes that use an exit, or all: each node that is no exit.",
            "on_no_exit": "What internet traffic of such nodes does when no exit works.",
            "local_node": "The node of wgmesh apply without --node; nodes that joined ignore it.",
        },
        "rollout": {
            "canary": "Nodes that apply a commit at once.",
            "soak_seconds": "The others apply a commit once it has been the tip for that long.",
        },
        "node": {
            "address": "Mesh addresses, /32 and /128, inside mesh_cidr.",
            "public_key": "The node's WireGuard key.",
            "endpoint": "HOST:PORT where others reach it. Absent: the node is behind NAT.",
            "endpoint_alt": "Further endpoints.",
            "allowed_ips": "Prefixes behind the node; its own addresses always count.",
            "persistent_keepalive": "Seconds, the node's own need: set on its side of each tunnel.",
            "listen_port": "Port that it listens on; by default that of the mesh.",
            "next_public_key": "Key that is to follow: peers know it beside the current one.",
            "intermittent": "A laptop: being down is no alarm and never counts in proofs.",
            "managed": "False for a phone or appliance without wgmesh: never counts in proofs.",
            "forwarding": "Passes packets on between peers: a hub, a node between two NATs.",
            "nat_iface": "Interface behind which forwarded traffic is masqueraded.",
            "exit_out_iface": "Interface to the internet of an exit; required there.",
            "enable_nat": "Masquerade on exit_out_iface; required on an exit.",
            "post_up": "Command for after the start; obeyed only where the node's admin allows it.",
            "post_down": "Command that undoes post_up.",
            "preshared_key_path": "File on the node with a peer's preshared key; %p is its name.",
            "private_key_path": "File of the private key; nodes that have joined ignore it.",
            "ssh_host": "Name, alias or address for ssh; by default the node's name.",
            "ssh_user": "Login for ssh.",
            "ssh_port": "Port for ssh.",
        },
    }
)
"""What each field means, in a sentence."""

_DEFAULTS = {"public_key": None, "endpoint": None, "listen_port": None, "port": DEFAULT_PORT}


def schema(*, of_node: bool = False) -> str:
    """Return the schema of mesh.toml, or of a node's own file in nodes/."""
    node = _table("node", NODE, Node, also_required=("public_key",))
    made: dict[str, Any] = {"$schema": DIALECT}
    if of_node:
        made |= {"title": "A node of a wgmesh inventory"} | node
    else:
        names = {"pattern": _whole(SHAPES[node_name])}
        made |= {
            "title": "A wgmesh inventory",
            "type": "object",
            "properties": {
                "mesh": _table("mesh", MESH, Mesh),
                "rollout": _table("rollout", ROLLOUT, Rollout),
                "node": {
                    "type": "object",
                    "description": "Nodes by name, unless each has a file in nodes/.",
                    "propertyNames": names,
                    "additionalProperties": node,
                },
            },
            "required": ["mesh"],
            "additionalProperties": False,
        }
    return json.dumps(made, indent=2) + "\n"


def _table(
    section: str,
    table: Mapping[str, Field],
    model: type[Mesh | Rollout | Node],
    also_required: tuple[str, ...] = (),
) -> dict[str, Any]:
    defaults = {
        each.name: _plain(each.default) for each in fields(model) if each.default is not MISSING
    } | _DEFAULTS
    properties = {}
    for name, field in table.items():
        about = {"description": ABOUT[section][name]}
        default = defaults.get(name)
        properties[name] = about | _value(field) | ({} if default is None else {"default": default})
    required = [name for name, field in table.items() if field.required or name in also_required]
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _value(field: Field) -> dict[str, Any]:
    one: dict[str, Any] = {"type": _TYPES[field.kind]}
    if field.choices:
        one["enum"] = list(field.choices)
    if field.shape:
        one["pattern"] = _whole(field.shape)
    if field.span:
        one["minimum"], one["maximum"] = field.span
    if not field.many:
        return one
    several = {"type": "array", "items": one} | ({"minItems": 1} if field.required else {})
    return {"anyOf": [one, several]}


def _whole(shape: str) -> str:
    return f"^(?:{shape})$"


def _plain(default: object) -> object:
    """Return a default as JSON has it, None for what an absent field means by itself."""
    match default:
        case Enum():
            return default.value
        case bool() | int():
            return default
        case _:
            return None
