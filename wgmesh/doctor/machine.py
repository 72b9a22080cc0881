"""Checks of the machine around the mesh: clock, disk, versions, AppArmor."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from wgmesh.doctor.facts import Facts, Finding, error, note, warning

CLOCK_SECONDS = 300
FULL_BYTES, SCARCE_BYTES = 1 << 20, 50 << 20
FULL_INODES, SCARCE_INODES = 16, 1000

OLDEST = {
    "wg": "1.0.20210914",
    "ip": "6.0",
    "nft": "1.0.6",
    "git": "2.39",
    "python": "3.11",
    "GitPython": "3.1.30",
    "Jinja2": "3.1.2",
    "pyroute2": "0.7.2",
    "tomli-w": "1.0",
    "cryptography": "38",
}
"""What wgmesh is tested from on; others miss something that it needs."""

UNTRIED = {"pyroute2": "0.10"}
"""From here on nobody has tried."""

PACKAGES = {
    "wg": "wireguard-tools",
    "ip": "iproute2",
    "nft": "nftables",
    "git": "git",
    "ssh": "openssh-client",
    "python": "python3",
    "GitPython": "python3-git",
    "Jinja2": "python3-jinja2",
    "pyroute2": "python3-pyroute2",
    "tomli-w": "python3-tomli-w",
    "cryptography": "python3-cryptography",
}


def number(version: str) -> tuple[int, ...]:
    """Return a version's leading numbers, fit to compare."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def versions(facts: Facts) -> Iterator[Finding]:
    """Yield the programs and libraries that are missing or of an age that nobody has tried."""
    for name, version in facts.host.versions.items():
        package = PACKAGES.get(name, name)
        if version is None:
            yield error(f"{name} is not installed", f"apt install {package}")
            continue
        found = number(version)
        if name in OLDEST and found and found < number(OLDEST[name]):
            yield error(
                f"{name} is {version}; wgmesh needs {OLDEST[name]} or newer",
                f"apt install {package} from Debian 12, Ubuntu 24.04 or newer",
            )
        elif name in UNTRIED and found >= number(UNTRIED[name]):
            yield warning(
                f"{name} is {version}, with which wgmesh was not tried",
                f"use the distribution's {package}",
            )


def clock(facts: Facts) -> Iterator[Finding]:
    """Yield it when the clock is behind what is known, or nobody keeps it right.

    A peer refuses handshakes with a timestamp older than the last one it saw (WireGuard paper,
    section 5.4.2), and signatures have a time from which they hold.
    """
    host = facts.host
    behind = host.newest_known - host.now
    if behind > CLOCK_SECONDS:
        yield error(
            f"the clock is {_span(behind)} behind {host.newest_what}:"
            " peers may refuse this node's handshakes",
            "timedatectl set-ntp true, and wait until timedatectl says synchronized",
        )
    if host.clock_synchronised is False:
        yield warning(
            "nothing keeps the clock right",
            "apt install systemd-timesyncd (or chrony); timedatectl set-ntp true",
        )


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def disk(facts: Facts) -> Iterator[Finding]:
    """Yield the directories that a generation or a record may not fit into."""
    for seen in facts.host.disks:
        fix = f"make room (df -h {seen.path}; df -i {seen.path})"
        if seen.read_only:
            yield error(
                f"{seen.path} is on a file system mounted read-only",
                f"findmnt -T {seen.path} shows it; see dmesg for why",
            )
            continue
        inodes = seen.free_inodes
        none = inodes is not None and inodes < FULL_INODES
        few = inodes is not None and inodes < SCARCE_INODES
        if seen.free_bytes < FULL_BYTES or none:
            yield error(f"{seen.path} is full: no change can be written down", fix)
        elif seen.free_bytes < SCARCE_BYTES or few:
            what = f"{inodes} inodes" if few else f"{seen.free_bytes >> 20} MiB"
            yield warning(f"{seen.path} has only {what} left", fix)


def apparmor(facts: Facts) -> Iterator[Finding]:
    """Yield the key files that a confined `wg` may not read (Ubuntu 25.04 and later)."""
    plan, modes = facts.mesh.plan, facts.host.apparmor or {}
    if plan is None or modes.get("wg") not in ("enforce", "unknown"):
        return
    keys = [plan.private_key_path]
    keys += [peer.preshared_key_path for peer in plan.peers if peer.preshared_key_path]
    outside = sorted(
        {key for key in keys if not PurePosixPath(key).is_relative_to("/etc/wireguard")}
    )
    if outside:
        level = error if modes["wg"] == "enforce" else warning
        yield level(
            f"AppArmor lets wg read /etc/wireguard only, and {outside[0]} lies elsewhere",
            "move the keys to /etc/wireguard, and preshared_key_path with them; or allow the"
            " directory in /etc/apparmor.d/local/wg and run: systemctl reload apparmor",
        )
    if modes.get("wg-quick") == "enforce" and (plan.post_up or plan.post_down):
        yield note("AppArmor confines wg-quick; wgmesh-net runs the inventory's hooks outside it")
