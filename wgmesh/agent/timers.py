"""The timers of a node: on or off, and how often it polls.

What wgmesh.toml says of that reaches systemd as a drop-in of the timer.
"""

import logging
from pathlib import Path

from wgmesh import linux
from wgmesh.agent import node
from wgmesh.errors import WgmeshError
from wgmesh.files import write_atomic
from wgmesh.settings import Settings

log = logging.getLogger(__name__)

FAILOVER = "wg-failover.timer"
EXITS = "wg-exit-selector.timer"
UNITS = ("wgmesh-sync.timer", FAILOVER, EXITS)
FETCH_DROP_IN = Path("/run/systemd/system/wgmesh-fetch.service.d/wgmesh-exits.conf")
PAST_THE_STUB = """\
# Written by wgmesh: this node uses exits. A stub resolver's questions go through the exit, those of
# the fetch itself leave by the uplink: so it asks the uplink's own servers.
[Service]
BindReadOnlyPaths=-/run/systemd/resolve/resolv.conf:/etc/resolv.conf
InaccessiblePaths=-/run/systemd/resolve/io.systemd.Resolve
"""
DROP_IN = Path("/run/systemd/system/wgmesh-sync.timer.d/wgmesh.conf")


def enable(settings: Settings) -> None:
    """Start the timers, now and at each boot. Raises WgmeshError."""
    if not linux.systemd.running():
        log.warning("no systemd here: nothing was enabled; `wgmesh sync` is one turn of the loop")
        return
    settle(settings)
    for unit in UNITS:
        if linux.systemd.exists(unit):
            linux.systemd.enable(unit)
            linux.systemd.start(unit)
        else:
            log.warning("%s is not installed: not enabled", unit)


def enable_helpers() -> None:
    """Start the timers of the failover and the exit selector, which need no repository."""
    if not linux.systemd.running():
        return
    for unit in (FAILOVER, EXITS):
        if linux.systemd.exists(unit):
            linux.systemd.enable(unit)
            linux.systemd.start(unit)


def disable() -> None:
    """Stop the timers that are there, and have them started at no boot. Raises WgmeshError."""
    if not linux.systemd.running():
        return
    for unit in UNITS:
        if linux.systemd.exists(unit):
            linux.systemd.disable(unit)


def enable_one(unit: str) -> None:
    """Start one timer, now and at each boot. Raises WgmeshError where there is none."""
    node.require_root()
    if not (linux.systemd.running() and linux.systemd.exists(unit)):
        raise WgmeshError(f"{unit} is not installed here", "the package wgmesh brings it")
    linux.systemd.enable(unit)
    linux.systemd.start(unit)


def disable_one(unit: str) -> None:
    """Stop one timer, and have it started at no boot; none there is fine. Raises WgmeshError."""
    node.require_root()
    if linux.systemd.running() and linux.systemd.exists(unit):
        linux.systemd.disable(unit)


def drop_in(settings: Settings) -> str:
    """Return the text of the drop-in; "" when the timer says already what `settings` do."""
    usual = Settings()
    interval, delay = settings.poll_interval_seconds, settings.random_delay_seconds
    if (interval, delay) == (usual.poll_interval_seconds, usual.random_delay_seconds):
        return ""
    return (
        "# Written by wgmesh, from /etc/wgmesh/wgmesh.toml.\n"
        "[Timer]\n"
        "OnUnitInactiveSec=\n"  # which resets OnBootSec= too: systemd.timer(5)
        "OnBootSec=15\n"
        f"OnUnitInactiveSec={interval}\n"
        f"RandomizedDelaySec={delay}\n"
    )


def settle(settings: Settings) -> None:
    """Have the timer fire as often as `settings` say; mostly it does so already.

    That it cannot be changed is no reason not to do a turn's work: it is a warning.
    """
    if linux.systemd.running():
        _write(DROP_IN, drop_in(settings), "the poll interval of wgmesh.toml")


def fetch_past_exits(*, used: bool) -> None:
    """Have the fetch find names without an exit, where exits are used."""
    if linux.systemd.running():
        _write(FETCH_DROP_IN, PAST_THE_STUB if used else "", "the way of the fetch's names")


def forget() -> None:
    """Leave the units as the package has them."""
    if linux.systemd.running():
        _write(DROP_IN, "", "the package's timer")
        _write(FETCH_DROP_IN, "", "the package's fetch")


def _write(path: Path, wanted: str, what: str) -> None:
    try:
        now = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        now = ""
    if now == wanted:
        return
    try:
        if wanted:
            write_atomic(path, wanted.encode(), durable=False)
        else:
            path.unlink(missing_ok=True)
        linux.systemd.reload_units()
    except (OSError, WgmeshError) as error:
        log.warning("%s is not in force: %s", what, error)
