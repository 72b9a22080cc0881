"""What inventory, plan and device all speak of: addresses, keys, endpoints, and ways to choose."""

from dataclasses import dataclass
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

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network


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
