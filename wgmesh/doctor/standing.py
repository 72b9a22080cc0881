"""Checks of what must be so that this machine keeps its mesh: units, boot, keys, own files."""

from collections.abc import Iterator

from wgmesh.doctor.facts import Facts, Finding, error, note, warning

SYNC_TIMER = "wgmesh-sync.timer"
SYNC = "wgmesh-sync.service"
RECOVER = "wgmesh-recover.service"
GUARD = "wgmesh-guard.service"
HELPERS = (RECOVER, "wg-failover.timer", "wg-exit-selector.timer")
TICKS = ("wg-failover.service", "wg-exit-selector.service")
UNITS = (SYNC_TIMER, SYNC, GUARD, *HELPERS, *TICKS)
"""What `systemctl` is asked about, beside wg-quick@ of the interface."""

PRIVATE_KEY, PRESHARED_KEY = "private key", "preshared key"

_BY_HAND = "/etc/systemd/system/"
_MASKED = ("masked", "masked-runtime")
_ENABLED = ("enabled", "enabled-runtime", "static", "alias", "generated", "indirect")


def enrolment(facts: Facts) -> Iterator[Finding]:
    """Yield it when this machine is in no mesh, or its own files cannot be read."""
    for message, hint in facts.mesh.damage:
        yield error(message, hint)
    if facts.mesh.direct:
        yield note(
            "an inventory was applied by hand: no repository is followed, nothing mends by itself",
            "wgmesh status shows drift, wgmesh reconcile mends it; or wgmesh join REMOTE",
        )
    elif facts.mesh.left:
        yield note(
            f"this machine has left its mesh and keeps {facts.mesh.left} as it was",
            "wgmesh join REMOTE --introduction COMMIT takes it over again",
        )
    elif not facts.mesh.joined:
        yield note(
            "this machine has not joined a mesh: only the machine itself was looked at",
            "wgmesh join REMOTE --introduction COMMIT",
        )
    if not facts.root:
        yield note("not run as root: keys, firewall and boot files were not looked at")


def units(facts: Facts) -> Iterator[Finding]:
    """Yield the units that would not do their work at the next minute or the next boot."""
    mesh, host = facts.mesh, facts.host
    if not mesh.joined:
        return
    if not host.systemd:
        yield warning(
            "systemd does not run here: nothing polls the inventory, nothing boots the mesh",
            "run wgmesh sync yourself, each minute",
        )
        return
    for name, unit in host.units.items():
        if unit.load in _MASKED or unit.enabled in _MASKED:
            yield error(f"{name} is masked", f"systemctl unmask {name}")
        elif name in UNITS and unit.path.startswith(_BY_HAND):
            yield warning(
                f"{unit.path} takes the place of the unit in the package",
                f"unless that is wanted: rm {unit.path}; systemctl daemon-reload",
            )
    yield from _boots(facts)
    timer = host.units.get(SYNC_TIMER)
    if timer is None or timer.load == "not-found":
        yield warning(
            f"{SYNC_TIMER} is not installed: nothing polls the inventory",
            "install the wgmesh package",
        )
        return
    if timer.load == "loaded" and (timer.enabled not in _ENABLED or timer.active != "active"):
        yield warning(
            f"{SYNC_TIMER} is {timer.enabled} and {timer.active}: nothing polls the inventory",
            f"systemctl enable --now {SYNC_TIMER}",
        )
    service = host.units.get(SYNC)
    if service is not None and service.load == "loaded" and service.result != "success":
        yield warning(
            f"the last run of {SYNC} failed ({service.result})",
            f"wgmesh status; journalctl -u {SYNC} -n 50",
        )
    for name in (GUARD, *HELPERS):
        seen = host.units.get(name)
        if seen is not None and seen.load == "loaded" and seen.enabled not in _ENABLED:
            exits = mesh.plan is not None and mesh.plan.exits is not None
            level = error if name == GUARD and exits else warning
            yield level(f"{name} is {seen.enabled}", f"systemctl enable --now {name}")


def _boots(facts: Facts) -> Iterator[Finding]:
    mesh = facts.mesh
    name = f"wg-quick@{mesh.interface}.service"
    unit = facts.host.units.get(name)
    if not mesh.applied or unit is None or unit.load in _MASKED:
        return
    if unit.load == "not-found":
        yield error(f"{name} is not installed", "apt install wireguard-tools")
    elif unit.enabled not in _ENABLED:
        yield error(
            f"{name} is {unit.enabled}: after a reboot this machine has no mesh",
            f"systemctl enable {name}",
        )


def boot(facts: Facts) -> Iterator[Finding]:
    """Yield what a reboot would bring up in the place of the confirmed generation."""
    mesh = facts.mesh
    if mesh.applied and mesh.generation is None and facts.root:
        yield error(
            "/etc/wireguard/wgmesh.d/boot leads to no generation: a reboot brings up no mesh",
            "wgmesh history, then wgmesh rollback N; or wgmesh sync",
        )
    for complaint in mesh.boot_complaints:
        yield error(
            f"{complaint}: a reboot brings up something else",
            "move that file away, then wgmesh reconcile",
        )
    if mesh.altered:
        yield warning(
            f"files of generation {mesh.generation} were edited: a reboot brings those up",
            "wgmesh reconcile writes what was rendered",
        )


def keys(facts: Facts) -> Iterator[Finding]:
    """Yield private keys that are missing, or that others may read."""
    for seen in facts.host.files:
        what = seen.purpose
        if what not in (PRIVATE_KEY, PRESHARED_KEY) or seen.exists is None:
            continue
        if not seen.exists:
            yield error(f"the {what} {seen.path} is missing", "put it back, mode 0600, owner root")
        elif not seen.regular:
            yield error(f"the {what} {seen.path} is no regular file", "put the key there itself")
        elif seen.uid != 0 or seen.mode & 0o077:
            yield error(
                f"others may read the {what} {seen.path} (mode {seen.mode:04o})",
                f"chown root:root {seen.path}; chmod 0600 {seen.path}; and if somebody did, a new"
                " key",
            )
    if facts.mesh.key_fits is False:
        yield error(
            "the private key is not the one of the running generation: peers do not know it",
            "put the old key file back, or change public_key in this node's entry",
        )


def own_files(facts: Facts) -> Iterator[Finding]:
    """Yield what the notify command and the metrics file need and lack."""
    mesh = facts.mesh
    if mesh.notify and not mesh.notify_found:
        yield warning(
            f"the notify command {mesh.notify} is not there or may not be run",
            "put its full path into /etc/wgmesh/wgmesh.toml, and chmod 0755",
        )
    if mesh.metrics_chosen and mesh.metrics and not mesh.metrics_directory:
        yield warning(
            f"the directory of {mesh.metrics} is not there: no metrics are written",
            "apt install prometheus-node-exporter, or change metrics in /etc/wgmesh/wgmesh.toml",
        )
