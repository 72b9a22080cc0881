"""Health: what one round of probing saw of the tunnels."""

from collections.abc import Mapping
from enum import Enum

from wgmesh.frozen import frozen
from wgmesh.model.terms import Address


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
