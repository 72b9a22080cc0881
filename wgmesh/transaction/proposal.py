"""What a transaction is given, and how it says that it ended."""

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum

from wgmesh.errors import DeviceError
from wgmesh.frozen import frozen
from wgmesh.generation import Manifest
from wgmesh.judge import Roles
from wgmesh.model.health import Health
from wgmesh.model.kernel import KernelState
from wgmesh.proof import Trial


class Bridge(Enum):
    """Whether the old key goes on beside a new one of this node, until its peers have gone over."""

    NONE = "none"
    WANTED = "wanted"  # where this machine can
    NEEDED = "needed"


@frozen
class Proposal:
    """A change to make: `target` turns what is observed into what shall be.

    `files` are written as a new generation (None: the generation exists already), `trial` None
    confirms without proof, `hooks` are (leaving, entering) and `undo_hooks` their way back.
    `condemn` is told why a change is taken back, before it is: a node that dies on the way back
    must not try it again.
    """

    manifest: Manifest
    target: Callable[[KernelState], KernelState]
    sysctl_keys: frozenset[str]
    files: Mapping[str, bytes] | None = None
    trial: Trial | None = None
    hooks: tuple[str, ...] = ()
    undo_hooks: tuple[str, ...] = ()
    adopt: bool = False
    bridge: Bridge = Bridge.NONE
    condemn: Callable[[str], None] | None = None


@frozen
class Outcome:
    """How it ended; `reason` is empty when the change was confirmed.

    `device` is why no interface could be made: all is as it was, and the change not to blame.
    `innocent`: what was lost did not come back either when the change was undone, so it was lost
    for another reason: the peers `lost` by public key, or with `remote_lost` the git remote.
    `handshakes` are the latest ones from before the change.
    """

    confirmed: bool
    reason: str = ""
    health: Health = field(default_factory=lambda: Health({}))
    roles: Roles = field(default_factory=Roles)
    device: DeviceError | None = None
    innocent: bool = False
    lost: frozenset[str] = frozenset()
    remote_lost: bool = False
    handshakes: Mapping[str, int] = field(default_factory=dict)
