"""The plan: one node's share of the mesh, as it shall be on any machine that is this node."""

from dataclasses import field
from enum import Enum
from ipaddress import IPv4Address

from wgmesh.frozen import frozen
from wgmesh.model.numbers import MAIN_TABLE, ROUTE_PROTOCOL
from wgmesh.model.terms import (
    Address,
    Endpoint,
    ExitPolicy,
    HubSelection,
    Interface,
    OnNoExit,
    Prefix,
)


class RouteKind(Enum):
    """Route types that we use; ip-route(8)."""

    UNICAST = "unicast"
    UNREACHABLE = "unreachable"


@frozen
class Route:
    """One route. `metric` 0 is the kernel's default for the family.

    `protocol` is ours but for routes over an interface that was there before wgmesh.
    """

    prefix: Prefix
    device: str | None
    table: int = MAIN_TABLE
    metric: int = 0
    kind: RouteKind = RouteKind.UNICAST
    protocol: int = ROUTE_PROTOCOL


class RuleAction(Enum):
    """What a policy rule does with a match; ip-rule(8)."""

    LOOKUP = "lookup"
    GOTO = "goto"
    UNREACHABLE = "unreachable"


@frozen
class Rule:
    """One policy rule of ours (proto 101). `family` is 4 or 6; `target` a table or a priority."""

    family: int
    priority: int
    action: RuleAction
    target: int | None = None
    fwmark: int | None = None
    fwmask: int | None = None
    iif: str | None = None
    source: Prefix | None = None
    destination: Prefix | None = None
    suppress_prefixlength: int | None = None
    uid: int | None = None  # whose sockets; of packets made here
    udp_source: int | None = None
    udp_destination: int | None = None  # either port, or both, means UDP only


@frozen
class Uplinks:
    """What of this machine's own networks does not go through an exit, as it is at this moment.

    `prefixes` are directly connected or routed by something narrower than a default; `addresses`
    are those of the interfaces that lead to the internet.
    """

    prefixes: tuple[Prefix, ...] = ()
    addresses: tuple[IPv4Address, ...] = ()


@frozen
class Exempt:
    """What of this machine leaves by the uplink although an exit is in use, and what goes with it.

    `fetch_uid` asks the git remote, `time_uids` keep the clock, `prefixes` are the admin's.
    `sources` are interfaces: what comes by them from elsewhere uses the exit too.
    """

    fetch_uid: int | None = None
    time_uids: tuple[int, ...] = ()
    prefixes: tuple[Prefix, ...] = ()
    sources: tuple[str, ...] = ()


@frozen
class Firewall:
    """The table `inet wgmesh`: `text` feeds `nft -f`, `tags` is what two tables are compared by.

    Each rule carries a comment derived from its own text; `tags` holds, per chain, these comments
    in order. nft rewrites expressions, so texts do not compare.
    """

    tags: tuple[tuple[str, tuple[str, ...]], ...]
    text: str = field(compare=False)


@frozen
class Accept:
    """An accept of ours in a chain of iptables that drops forwarded packets; None is any."""

    family: int
    chain: str
    iif: str | None
    oif: str | None
    established: bool = False  # only what answers


@frozen
class Peer:
    """One peer as the plan wants it.

    `addresses` are its own mesh addresses (probe targets); `endpoints` its endpoint and then its
    alternatives, empty for a node behind NAT; `allowed_ips` sorted, own addresses included.
    `next_public_key` is a second peer on the device, without AllowedIPs until this one changes its
    key.
    """

    name: str
    public_key: str
    addresses: tuple[Address, ...]
    allowed_ips: tuple[Prefix, ...]
    endpoints: tuple[Endpoint, ...] = ()
    persistent_keepalive: int = 0
    preshared_key_path: str | None = None
    intermittent: bool = False
    managed: bool = True
    next_public_key: str | None = None


@frozen
class ExitCandidate:
    """A node through which others may reach the internet, or as a hub one another."""

    name: str
    public_key: str
    addresses: tuple[Address, ...]


@frozen
class ExitPlan:
    """What the exit selector of one node needs to know; `candidates` in the inventory's order."""

    candidates: tuple[ExitCandidate, ...]
    primary: str | None
    policy: ExitPolicy
    check_interval_seconds: int
    test_target: tuple[Address, ...]
    on_no_exit: OnNoExit


@frozen
class HubPlan:
    """What a spoke of several hubs needs to choose one; `candidates` in the inventory's order.

    `carried` is what the one in force carries beside what it owns; `targets` are other spokes: what
    comes back from them has come through it.
    """

    candidates: tuple[ExitCandidate, ...]
    selection: HubSelection
    carried: tuple[Prefix, ...]
    targets: tuple[Address, ...] = ()


@frozen
class NodePlan:
    """One node's share of the mesh; peers sorted by name, routes by prefix."""

    node: str
    interface: str
    public_key: str
    private_key_path: str
    addresses: tuple[Interface, ...]  # host-length: the mesh prefix is a route of ours
    listen_port: int
    mtu: int
    peers: tuple[Peer, ...]
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...] = ()
    fwmark: int = 0
    firewall: Firewall | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    post_up: str | None = None
    post_down: str | None = None
    exits: ExitPlan | None = None
    hubs: HubPlan | None = None
