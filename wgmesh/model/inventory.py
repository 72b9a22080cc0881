"""The inventory: a whole mesh as its authors wrote it, and what can be wrong with one."""

from enum import Enum

from wgmesh.frozen import frozen
from wgmesh.model.numbers import DEFAULT_MTU, DEFAULT_PORT
from wgmesh.model.terms import (
    Address,
    Endpoint,
    ExitPolicy,
    HubSelection,
    Interface,
    OnNoExit,
    Prefix,
    Topology,
)


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
