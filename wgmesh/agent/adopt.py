"""The first apply on a machine: keep what was there as generation 0, hand boot over afterwards."""

import logging
import time

from wgmesh import generation, linux, process, render, snapshot
from wgmesh.agent.node import PLACES
from wgmesh.agent.states import sysctl_keys
from wgmesh.errors import WgmeshError
from wgmesh.generation import Manifest
from wgmesh.model.plan import NodePlan
from wgmesh.process import CommandError
from wgmesh.snapshot import Snapshot

log = logging.getLogger(__name__)


def _synthesised(interface: str, addresses: list[str]) -> bytes:
    """Return a wg-quick file for an interface that somebody made by hand."""
    shown = process.text(["wg", "showconf", interface])
    head, _, rest = shown.partition("[Interface]\n")
    listed = f"Address = {', '.join(addresses)}\n" if addresses else ""
    return f"{head}[Interface]\n{listed}{rest}".encode()


def keep_what_was(plan: NodePlan) -> None:
    """Make generation 0 out of an interface or a configuration that was there before wgmesh.

    Nothing there: nothing is made.
    """
    seen = linux.observe(plan.interface, sysctl_keys(plan))
    path = PLACES.wireguard / f"{plan.interface}.conf"
    link = seen.state.link
    # With generations but no boot link the link was lost: what runs is ours, from no time before.
    if generation.numbers(PLACES.generations):
        return
    files: dict[str, bytes] = {}
    for name in (path.name, "wg-failover.conf", "wg-exit-selector.conf"):
        there = PLACES.wireguard / name
        if there.is_file() and not there.is_symlink():
            files[name] = there.read_bytes()
    if link is not None and path.name not in files:
        files[path.name] = _synthesised(plan.interface, sorted(map(str, link.addresses)))
    if files:
        manifest = Manifest(0, plan.interface, render.digest(files), int(time.time()))
        before = snapshot.to_bytes(Snapshot(seen.state))
        generation.stage(PLACES.generations, manifest, files, before=before)
        log.info("what was there before is kept as generation 0")


def hand_to_boot(interface: str) -> None:
    """Let `wg-quick@` bring the interface up at boot from now on.

    It is not started: it would find the interface there already, and fail.
    """
    unit = f"wg-quick@{interface}.service"
    if not linux.systemd.running():
        log.warning("no systemd here: %s was not enabled", unit)
        return
    try:
        linux.systemd.enable(unit)
    except CommandError as error:
        log.warning("%s: the mesh runs, but will not be there after a reboot", error.message)


def before_wgmesh() -> Snapshot:
    """Return the live state that generation 0 kept. Raises WgmeshError when there is none."""
    saved = snapshot.read(PLACES.generations / "gen-0" / generation.BEFORE)
    if saved is None:
        raise WgmeshError(
            "there is no generation 0: nothing was there before wgmesh", "wgmesh history"
        )
    return saved
