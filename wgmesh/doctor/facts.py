"""What `wgmesh doctor` knows of a machine, as it was observed; None is: could not be seen.

Without root some of it cannot be; before joining there is no plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from wgmesh.model.plan import NodePlan


class Level(Enum):
    """How bad a finding is: an error breaks the mesh, a warning may, a note only tells."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and how to mend it; `check` is the name of what found it."""

    level: Level
    message: str
    fix: str = ""
    check: str = ""

    def of(self, check: str) -> "Finding":
        """Return the finding with the name of the check that made it."""
        return replace(self, check=check)


def error(message: str, fix: str) -> Finding:
    """Return a finding that breaks the mesh."""
    return Finding(Level.ERROR, message, fix)


def warning(message: str, fix: str) -> Finding:
    """Return a finding that may break the mesh."""
    return Finding(Level.WARNING, message, fix)


def note(message: str, fix: str = "") -> Finding:
    """Return a finding that only tells."""
    return Finding(Level.NOTE, message, fix)


# ---------------------------------------------------------------- network


@dataclass(frozen=True, slots=True)
class RuleSeen:
    """A policy rule, whoever made it. `inverted` is the rule's `not`."""

    family: int
    priority: int
    protocol: int
    table: int | None = None
    fwmark: int | None = None
    fwmask: int = 0xFFFFFFFF
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class RouteSeen:
    """A route in our table or with our protocol."""

    destination: str
    table: int
    protocol: int
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """Where packets to `address` leave; `device` None: there is no route."""

    address: str
    device: str | None
    table: int | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who has a UDP port: a program, or another WireGuard interface; "" is not known."""

    port: int
    holder: str


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A chain on a hook of the packet filter, with the rules that packets on it can meet.

    `drops`: what no rule accepts is dropped; `chains` are the names of all chains of its table.
    """

    family: str
    table: str
    name: str
    hook: str
    drops: bool
    rules: tuple[str, ...]
    chains: frozenset[str]


@dataclass(frozen=True, slots=True)
class Network:
    """The kernel's side. Ports and ways are those that the plan needs."""

    kernel_wireguard: bool | None = None
    kernel_modules: bool = True  # /lib/modules has the running kernel's
    wireguard_go: bool = False
    tun: bool = False  # /dev/net/tun
    link: bool = False  # the mesh's interface is there
    link_error: str = ""  # it is there and is no WireGuard device that answers
    link_port: int | None = None  # where our device listens
    listeners: tuple[Listener, ...] = ()
    nft_error: str | None = None
    chains: tuple[BaseChain, ...] | None = None
    rules: tuple[RuleSeen, ...] | None = None
    routes: tuple[RouteSeen, ...] | None = None
    ways: tuple[Way, ...] = ()  # to mesh addresses and what lies behind peers
    outer: tuple[Way, ...] = ()  # to endpoints
    default_devices: tuple[str, ...] = ()  # that a default route of IPv4 leads to
    rp_filter: Mapping[str, int] = field(default_factory=dict)  # by interface, "all", "default"
    rp_filter_files: tuple[str, ...] = ()  # that set it to 1
    src_valid_mark: bool = False
    ipv6_off: frozenset[str] = frozenset()  # interfaces, "all", "default" with disable_ipv6
    mtus: Mapping[str, int] = field(default_factory=dict)
    unresolved: tuple[str, ...] = ()  # endpoints whose names no resolver knows


# ---------------------------------------------------------------- host


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system under `path`; `free_inodes` None where it does not count them."""

    path: str
    free_bytes: int
    free_inodes: int | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit in the words of `systemctl show`: "loaded", "enabled", "active", "success".

    `tun`: what it runs may open /dev/net/tun. `path` is the file that it was read from.
    """

    load: str
    enabled: str
    active: str
    result: str = "success"
    tun: bool = field(default=True, kw_only=True)
    path: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Networkd:
    """What systemd-networkd does with routes and rules that it did not make."""

    active: bool
    keeps_routes: bool
    keeps_rules: bool


@dataclass(frozen=True, slots=True)
class FileSeen:
    """A file's owner, group and permission bits; `exists` None: could not be looked at.

    `above` are the directories that lead to it, as far as somebody else than root has to pass them.
    """

    purpose: str
    path: str
    exists: bool | None
    mode: int = 0
    uid: int = 0
    gid: int = 0
    regular: bool = True
    above: "tuple[FileSeen, ...]" = ()


@dataclass(frozen=True, slots=True)
class Host:
    """The machine's side. Times are seconds since the epoch."""

    now: float = 0.0
    clock_synchronised: bool | None = None
    newest_known: float = 0.0  # no clock may be before this
    newest_what: str = ""
    disks: tuple[Disk, ...] = ()
    versions: Mapping[str, str | None] = field(default_factory=dict)  # None: not installed
    systemd: bool = False
    units: Mapping[str, Unit] = field(default_factory=dict)
    networkd: Networkd | None = None
    apparmor: Mapping[str, str] | None = None  # profile to mode (enforce, complain …)
    files: tuple[FileSeen, ...] = ()


# ---------------------------------------------------------------- mesh


@dataclass(frozen=True, slots=True)
class Remote:
    """A git remote; `error` "" when it answered, None when it was not asked (`hint`: why not)."""

    url: str
    error: str | None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Mesh:
    """What this machine's enrolment and policy say, and what of it cannot be read."""

    joined: bool = False
    direct: bool = False  # an inventory was applied by hand, no repository is followed
    left: str | None = ""  # the interface of a mesh that was left as it is; None: not to be seen
    interface: str = ""
    plan: NodePlan | None = None
    generation: int | None = None
    applied: bool = False  # a generation was confirmed here once
    boot_complaints: tuple[str, ...] = ()
    altered: bool = False
    key_fits: bool | None = None  # the key file is that of the plan
    damage: tuple[tuple[str, str], ...] = ()  # (message, hint) of files that cannot be read
    fetch_uid: int | None = None  # the user that fetches; None: root does
    fetch_gids: tuple[int, ...] = ()
    remotes: tuple[Remote, ...] = ()
    notify: str = ""  # the program to run, "" when none is set
    notify_found: bool = True
    metrics: str = ""  # the file to write, "" when off
    metrics_directory: bool = False
    metrics_chosen: bool = False  # the admin named the file


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the checks look at."""

    root: bool
    network: Network
    host: Host
    mesh: Mesh
