"""The changes: each is one thing that the executor does to the kernel."""

from wgmesh.frozen import frozen
from wgmesh.model.kernel import PeerState
from wgmesh.model.plan import Accept, Firewall, Route, Rule
from wgmesh.model.terms import Endpoint, Interface, Secret


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
