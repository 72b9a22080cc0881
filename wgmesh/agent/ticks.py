"""What the ticks of the failover and of the exit selector have in common."""

import os

from wgmesh import settings
from wgmesh.errors import NotJoinedError, UsageError

FIRST_LOOK_SECONDS = 2.0
LOOK_SECONDS = 1.0
MOST_SECONDS = 45.0
"""A tick that is still deciding ends by now; the next one goes on where it was."""
PATIENCE_SECONDS = 1.0
"""How long the other tick, or a turn without news, is waited for."""


def require_a_mesh() -> None:
    """Raise UsageError or NotJoinedError where there is nothing that a tick could look at."""
    if os.geteuid() != 0:
        raise UsageError("this command needs root", "run it with sudo")
    if not settings.runs_a_mesh():
        raise NotJoinedError("this machine has not joined a mesh", "run: wgmesh join")


def confirmed_generation() -> str:
    """Return what tells the confirmed generation from any other; "" when there is none."""
    boot = settings.GENERATIONS_DIR / "boot"
    try:
        return f"{boot.readlink()} {(boot / 'manifest.toml').stat().st_mtime_ns}"
    except OSError:
        return ""


def tell_status() -> None:
    """Have `status.json` say what a tick has just changed."""
    from wgmesh.agent import look, node

    look.refresh(node.load_any())


def prepare() -> None:
    """Load what a switch takes while there is time: before it is due, not once it is."""
    from wgmesh.agent import node, steer  # noqa: F401
