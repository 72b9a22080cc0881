"""The kernel: what is ours in it, as it shall be and as it is seen."""

from collections.abc import Mapping
from dataclasses import field

from wgmesh.frozen import frozen
from wgmesh.model.plan import Accept, Firewall, Route, Rule
from wgmesh.model.terms import Endpoint, Interface, Prefix, Secret


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
