"""KernelState to JSON and back, keys included: the live snapshot of a transaction.

It lies in /run (0600) and dies with the state that it describes; generation 0 keeps one as well.
"""

import json
from dataclasses import astuple
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from wgmesh.errors import WgmeshError
from wgmesh.files import write_atomic
from wgmesh.frozen import field_names, frozen
from wgmesh.model.kernel import KernelState, LinkState, PeerState
from wgmesh.model.plan import Accept, Firewall, Route, RouteKind, Rule, RuleAction
from wgmesh.model.terms import Endpoint, Secret


@frozen
class Snapshot:
    """A state to come back to.

    `moved` are the peers whose endpoint the transaction changes, `undo_hooks` the commands that
    undo its hooks, in order.
    """

    state: KernelState
    moved: frozenset[str] = frozenset()
    undo_hooks: tuple[str, ...] = ()


def _endpoint(value: list[Any] | None) -> Endpoint | None:
    return None if value is None else Endpoint(str(value[0]), int(value[1]))


def _secret(value: str | None) -> Secret | None:
    return None if value is None else Secret(value)


def _link_json(link: LinkState) -> dict[str, Any]:
    return {
        "name": link.name,
        "up": link.up,
        "mtu": link.mtu,
        "private_key": link.private_key and link.private_key.reveal(),
        "listen_port": link.listen_port,
        "fwmark": link.fwmark,
        "addresses": sorted(str(address) for address in link.addresses),
        "peers": [
            {
                "public_key": peer.public_key,
                "allowed_ips": sorted(str(prefix) for prefix in peer.allowed_ips),
                "persistent_keepalive": peer.persistent_keepalive,
                "preshared_key": peer.preshared_key and peer.preshared_key.reveal(),
                "endpoint": peer.endpoint and [peer.endpoint.host, peer.endpoint.port],
            }
            for peer in link.peers.values()
        ],
    }


def _link(value: dict[str, Any]) -> LinkState:
    peers = (
        PeerState(
            public_key=peer["public_key"],
            allowed_ips=frozenset(ip_network(prefix) for prefix in peer["allowed_ips"]),
            persistent_keepalive=peer["persistent_keepalive"],
            preshared_key=_secret(peer["preshared_key"]),
            endpoint=_endpoint(peer["endpoint"]),
        )
        for peer in value["peers"]
    )
    return LinkState(
        name=value["name"],
        up=value["up"],
        mtu=value["mtu"],
        private_key=_secret(value["private_key"]),
        listen_port=value["listen_port"],
        fwmark=value["fwmark"],
        addresses=frozenset(ip_interface(address) for address in value["addresses"]),
        peers={peer.public_key: peer for peer in peers},
    )


def _route_json(route: Route) -> dict[str, Any]:
    return {
        "prefix": str(route.prefix),
        "device": route.device,
        "table": route.table,
        "metric": route.metric,
        "kind": route.kind.value,
        "protocol": route.protocol,
    }


def _route(value: dict[str, Any]) -> Route:
    return Route(
        **(value | {"prefix": ip_network(value["prefix"]), "kind": RouteKind(value["kind"])})
    )


def _rule_json(rule: Rule) -> dict[str, Any]:
    return {
        name: (
            value.value
            if isinstance(value := getattr(rule, name), RuleAction)
            else str(value)
            if name in ("source", "destination") and value is not None
            else value
        )
        for name in field_names(Rule)
    }


def _rule(value: dict[str, Any]) -> Rule:
    prefixes = {
        name: None if value[name] is None else ip_network(value[name])
        for name in ("source", "destination")
    }
    return Rule(**(value | prefixes | {"action": RuleAction(value["action"])}))


def to_bytes(snapshot: Snapshot) -> bytes:
    """Return `snapshot` as JSON. It has the private key: only a 0600 file may hold it."""
    state = snapshot.state
    return json.dumps(
        {
            "link": state.link and _link_json(state.link),
            "routes": [_route_json(route) for route in state.routes],
            "rules": [_rule_json(rule) for rule in state.rules],
            "firewall": state.firewall and [state.firewall.tags, state.firewall.text],
            "sysctls": dict(state.sysctls),
            "accepts": [[*astuple(accept)] for accept in state.accepts],
            "moved": sorted(snapshot.moved),
            "undo_hooks": snapshot.undo_hooks,
        }
    ).encode()


def from_bytes(data: bytes) -> Snapshot:
    """Return the snapshot in `data`. Raises WgmeshError when it is not one."""
    try:
        value = json.loads(data)
        firewall = value["firewall"] and Firewall(
            tags=tuple((chain, tuple(tags)) for chain, tags in value["firewall"][0]),
            text=value["firewall"][1],
        )
        state = KernelState(
            link=value["link"] and _link(value["link"]),
            routes=frozenset(_route(route) for route in value["routes"]),
            rules=frozenset(_rule(rule) for rule in value["rules"]),
            firewall=firewall,
            sysctls=value["sysctls"],
            accepts=frozenset(Accept(*accept) for accept in value["accepts"]),
        )
        return Snapshot(state, frozenset(value["moved"]), tuple(value["undo_hooks"]))
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        # the content is not shown: it holds keys
        raise WgmeshError("the snapshot of the live state is damaged") from None


def write(path: Path, snapshot: Snapshot) -> None:
    """Put `snapshot` at `path`, 0600."""
    write_atomic(path, to_bytes(snapshot), 0o600)


def read(path: Path) -> Snapshot | None:
    """Return the snapshot at `path`, or None when there is none."""
    try:
        return from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
