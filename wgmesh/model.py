"""The values that travel along the arrows: frozen, plain, without behaviour that touches the world.

Units: `_seconds` and `_bytes` in names; keepalives are seconds, 0 is off; ports are 1 to 65535.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)

from wgmesh.frozen import frozen

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network

ROUTE_PROTOCOL = 101
"""The `proto` that marks routes and rules as ours (unassigned in iproute2's rt_protos)."""

NFT_TABLE = "wgmesh"
"""Our one nftables table: `inet wgmesh`."""

MOST_REMOTES = 8
"""As many remotes of one inventory are asked and compared."""

EXIT_TABLE = 101
"""The routing table that leads to the exit."""

DIRECT_MARK = 0x101
TUNNEL_MARK = 0x102
MARK_MASK = 0xFFF
"""What leaves by the uplink, WireGuard's own packets; Tailscale's bits, 0xff0000, stay clear."""

DEFAULT_PORT = 51820
DEFAULT_MTU = 1420
MAIN_TABLE = 254


class Secret(str):
    """A key that no log, diff or exception shows: only `reveal()` gives it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        """Return the plain text, for the one place that hands it to the kernel."""
        return "".join(self)


# ---------------------------------------------------------------- inventory


class Severity(Enum):
    """How bad a problem is: an error makes the inventory invalid, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@frozen
class Problem:
    """One thing wrong with an inventory; `line` counts from 1, 0 is the file as a whole."""

    severity: Severity
    file: str
    line: int
    node: str | None
    field: str | None
    message: str
    hint: str = ""


class Topology(Enum):
    """Who peers with whom."""

    FULLMESH = "fullmesh"
    STAR = "star"


class HubSelection(Enum):
    """How a spoke chooses its hub."""

    STATIC = "static"
    LATENCY = "latency"


class ExitPolicy(Enum):
    """How a node chooses its exit."""

    LATENCY = "latency"
    MANUAL = "manual"


class OnNoExit(Enum):
    """What exit-bound traffic does when no exit is eligible."""

    BLOCK = "block"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where a peer listens: `host` is an address literal (no brackets) or a DNS name."""

    host: str
    port: int

    @property
    def literal(self) -> bool:
        """True when `host` is an address, so that no resolver is needed."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class Mesh:
    """The table `[mesh]`."""

    interface: str
    mesh_cidr: tuple[Prefix, ...]
    port: int = DEFAULT_PORT
    mtu: int = DEFAULT_MTU
    dns: tuple[Address, ...] = ()
    topology: Topology = Topology.FULLMESH
    hubs: tuple[str, ...] = ()
    hub_selection: HubSelection = HubSelection.STATIC
    exit_nodes: tuple[str, ...] = ()
    exit_primary: str | None = None
    exit_policy: ExitPolicy = ExitPolicy.LATENCY
    exit_check_interval_seconds: int = 20
    exit_test_target: tuple[Address, ...] = ()
    enable_exit_for_nodes: tuple[str, ...] = ()  # "all" is resolved to every node that is no exit
    on_no_exit: OnNoExit = OnNoExit.BLOCK
    local_node: str | None = None


@frozen
class Rollout:
    """The table `[rollout]`: who goes first, and for how long."""

    canary: tuple[str, ...] = ()
    soak_seconds: int = 600


@frozen
class Node:
    """One `[node.NAME]`; `endpoint` None is a node behind NAT."""

    name: str
    address: tuple[Interface, ...]
    public_key: str | None
    endpoint: Endpoint | None
    listen_port: int
    endpoint_alt: tuple[Endpoint, ...] = ()
    allowed_ips: tuple[Prefix, ...] = ()
    persistent_keepalive: int = 0
    next_public_key: str | None = None
    intermittent: bool = False
    managed: bool = True
    forwarding: bool = False
    nat_iface: str | None = None
    exit_out_iface: str | None = None
    enable_nat: bool = False
    post_up: str | None = None
    post_down: str | None = None
    preshared_key_path: str | None = None
    private_key_path: str | None = None
    ssh_host: str | None = None
    ssh_user: str | None = None
    ssh_port: int | None = None


@frozen
class Inventory:
    """A whole mesh, valid by construction; nodes are sorted by name."""

    mesh: Mesh
    nodes: tuple[Node, ...]
    rollout: Rollout | None = None


# ---------------------------------------------------------------- plan


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


# ---------------------------------------------------------------- kernel


@frozen
class PeerState:
    """A peer as the device has it. As a desire, `endpoint` None means: leave what is there."""

    public_key: str
    allowed_ips: frozenset[Prefix]
    persistent_keepalive: int = 0
    preshared_key: Secret | None = None
    endpoint: Endpoint | None = None


@frozen
class LinkState:
    """The WireGuard interface; `peers` by public key, `addresses` without link-local ones."""

    name: str
    up: bool
    mtu: int
    private_key: Secret | None
    listen_port: int
    fwmark: int
    addresses: frozenset[Interface]
    peers: Mapping[str, PeerState]


@frozen
class KernelState:
    """All that is ours in the kernel; both what we want and what we see, so that the two compare.

    `link` None: no such interface. `sysctls` only has keys that wgmesh sets or has set.
    """

    link: LinkState | None
    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()
    firewall: Firewall | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    accepts: frozenset[Accept] = frozenset()


@frozen
class PeerCounters:
    """What the device counts for a peer; `latest_handshake` is wall-clock seconds, 0 is never."""

    latest_handshake: int
    rx_bytes: int
    tx_bytes: int


@frozen
class Observed:
    """One look at the machine: the state, and the counters by public key."""

    state: KernelState
    counters: Mapping[str, PeerCounters] = field(default_factory=dict)


@frozen
class LinkCreate:
    """Make the interface (kernel, else wireguard-go)."""

    name: str


@frozen
class LinkDelete:
    """Remove the interface, and with it peers, addresses and routes over it."""

    name: str


@frozen
class LinkSet:
    """Set MTU and administrative state; None leaves a value alone."""

    name: str
    mtu: int | None = None
    up: bool | None = None


@frozen
class DeviceSet:
    """Set key, port, mark of the device; None leaves a value alone, fwmark 0 is off."""

    name: str
    private_key: Secret | None = None
    listen_port: int | None = None
    fwmark: int | None = None


@frozen
class PeerSet:
    """Write one whole peer section (`wg addconf`); `peer.endpoint` None keeps the endpoint.

    `renew` removes the peer in the same call first, so that a new PSK shows at once.
    """

    name: str
    peer: PeerState
    renew: bool = False


@frozen
class EndpointSet:
    """Move a peer that stays to another endpoint (`wg set`)."""

    name: str
    public_key: str
    endpoint: Endpoint


@frozen
class PeerRemove:
    """Forget a peer."""

    name: str
    public_key: str


@frozen
class AddressAdd:
    """Give the interface an address."""

    name: str
    address: Interface


@frozen
class AddressRemove:
    """Take an address from the interface."""

    name: str
    address: Interface


@frozen
class RouteReplace:
    """Add a route, or put it in the place of one with the same prefix, table and metric."""

    route: Route


@frozen
class RouteRemove:
    """Remove exactly this route of ours."""

    route: Route


@frozen
class RuleAdd:
    """Add a policy rule."""

    rule: Rule


@frozen
class RuleRemove:
    """Remove a policy rule of ours."""

    rule: Rule


@frozen
class FirewallSet:
    """Put our table in place in one transaction; None removes it."""

    firewall: Firewall | None


@frozen
class AcceptAdd:
    """Put an accept into a chain of iptables."""

    accept: Accept


@frozen
class AcceptRemove:
    """Take an accept of ours out of a chain of iptables."""

    accept: Accept


@frozen
class SysctlSet:
    """Set one sysctl, dotted name."""

    key: str
    value: str


Change = (
    LinkCreate
    | LinkDelete
    | LinkSet
    | DeviceSet
    | PeerSet
    | EndpointSet
    | PeerRemove
    | AddressAdd
    | AddressRemove
    | RouteReplace
    | RouteRemove
    | RuleAdd
    | RuleRemove
    | FirewallSet
    | AcceptAdd
    | AcceptRemove
    | SysctlSet
)


# ---------------------------------------------------------------- trust and health


@frozen
class VerifiedCommit:
    """A commit that the chain rule accepted; only `wgmesh.trust.chain` makes one."""

    id: str
    tree: str
    signer: str  # principal of allowed_signers
    fingerprint: str  # SHA256:… of the signing key
    author: str
    subject: str
    time: int  # committer's clock, seconds since the epoch: for people only
    relies_on: tuple[str, ...] = ()  # keys of others without whom it might not have been accepted


class Proof(Enum):
    """How a peer shows that its tunnel works."""

    ECHO = "echo"  # it answered an ICMP echo inside the tunnel
    SILENT = "silent"  # it drops ICMP, but received bytes or handshakes show life
    NONE = "none"  # nothing came


@frozen
class PeerHealth:
    """What one round of probing saw of a peer; `rtt_ms` None without an echo."""

    proof: Proof
    rtt_ms: float | None = None
    echoed: frozenset[Address] = frozenset()


@frozen
class Health:
    """One round of probing: peers by public key, and the git remote (None: not asked)."""

    peers: Mapping[str, PeerHealth]
    remote: bool | None = None
