"""The machine's side: versions, clock, disks, units, AppArmor, files."""

import ctypes
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from wgmesh import process
from wgmesh.doctor.facts import Disk, FileSeen, Networkd, Unit
from wgmesh.process import CommandError

LIBRARIES = ("GitPython", "Jinja2", "pyroute2", "tomli-w", "cryptography")
_PROGRAMS = {
    "wg": (["wg", "--version"], r"v([\d.]+)"),
    "ip": (["ip", "-V"], r"iproute2-([\d.]+)"),
    "nft": (["nft", "--version"], r"v([\d.]+)"),
    "git": (["git", "--version"], r"([\d.]+)"),
}
_SSH = (["ssh", "-V"], r"OpenSSH_([\w.]+)")

_STA_UNSYNC = 0x40  # <sys/timex.h>


def versions(*, ssh: bool) -> dict[str, str | None]:
    """Return the version of each program and library, "" when it does not say, None if missing."""
    found: dict[str, str | None] = {}
    wanted = _PROGRAMS | ({"ssh": _SSH} if ssh else {})
    for name, (argv, pattern) in wanted.items():
        try:
            done = process.run(argv, check=False)
        except CommandError:
            found[name] = None
            continue
        match = re.search(pattern, (done.stdout + done.stderr).decode(errors="replace"))
        found[name] = match[1].rstrip(".") if match else ""
    found["python"] = ".".join(map(str, sys.version_info[:3]))
    from importlib import metadata

    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


class _Timex(ctypes.Structure):
    """The beginning of `struct timex` (adjtimex(2)); the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 48),
    )


def clock_synchronised() -> bool | None:
    """Return whether some time service keeps the kernel's clock right; None: not to be seen."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    told = _Timex(modes=0)  # only asks
    if adjtimex(ctypes.byref(told)) < 0:
        return None
    return not told.status & _STA_UNSYNC


def disks(paths: Collection[Path]) -> tuple[Disk, ...]:
    """Return the file system under each path, or under its nearest parent that is there."""
    return tuple(_disk(path) for path in paths)


def _disk(path: Path) -> Disk:
    there = path
    while not there.exists():
        there = there.parent
    seen = os.statvfs(there)
    free = seen.f_bfree if os.geteuid() == 0 else seen.f_bavail
    return Disk(
        path=str(path),
        free_bytes=free * seen.f_frsize,
        free_inodes=seen.f_favail if seen.f_files else None,
        read_only=bool(seen.f_flag & os.ST_RDONLY),
    )


def units(names: Collection[str]) -> dict[str, Unit]:
    """Return how systemd sees each unit."""
    wanted = "Id,LoadState,UnitFileState,ActiveState,Result,FragmentPath"
    wanted += ",PrivateDevices,BindPaths,DevicePolicy,DeviceAllow"
    argv = ["systemctl", "show", f"--property={wanted}", "--", *names]
    try:
        printed = process.run(argv, check=False).stdout.decode(errors="replace")
    except CommandError:
        return {}
    return dict(shown(printed))


def shown(printed: str) -> Iterator[tuple[str, Unit]]:
    """Yield name and state of each unit in what `systemctl show` printed."""
    for block in printed.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in values:
            yield (
                values["Id"],
                Unit(
                    load=values.get("LoadState", ""),
                    enabled=values.get("UnitFileState", "") or "disabled",
                    active=values.get("ActiveState", ""),
                    result=values.get("Result", "") or "success",
                    tun=_has_tun(values, block),
                    path=values.get("FragmentPath", ""),
                ),
            )


def _has_tun(values: Mapping[str, str], block: str) -> bool:
    """Return whether a unit's sandbox leaves it /dev/net/tun (systemd.exec(5))."""
    private = values.get("PrivateDevices") == "yes"
    closed = private or values.get("DevicePolicy") in ("closed", "strict")
    shown = not private or "/dev/net/tun" in values.get("BindPaths", "")
    return shown and (not closed or "\nDeviceAllow=/dev/net/tun " in block)


def networkd(*, active: bool) -> Networkd:
    """Return what systemd-networkd does with foreign routes and rules, out of its configuration."""
    try:
        printed = process.text(["systemd-analyze", "cat-config", "systemd/networkd.conf"])
    except CommandError:
        printed = ""
    return Networkd(active, *keeps(printed))


def keeps(configuration: str) -> tuple[bool, bool]:
    """Return whether foreign routes, and rules, are kept (networkd.conf(5)); the last word counts.

    The default is that both are deleted.
    """
    section, values = "", dict[str, bool]()
    for line in map(str.strip, configuration.splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Network]" and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            values[key.strip()] = value.strip().lower() in ("0", "no", "n", "false", "f", "off")
    return values.get("ManageForeignRoutes", False), values.get(
        "ManageForeignRoutingPolicyRules", False
    )


def apparmor() -> dict[str, str] | None:
    """Return the mode of the profiles for wg and wg-quick; None when AppArmor is off.

    Without root the modes are not to be seen: "unknown" when the profile's file is there.
    """
    try:
        if Path("/sys/module/apparmor/parameters/enabled").read_text().strip() != "Y":
            return None
    except OSError:
        return None
    try:
        return profiles(Path("/sys/kernel/security/apparmor/profiles").read_text())
    except OSError:
        where = Path("/etc/apparmor.d")
        return {name: "unknown" for name in ("wg", "wg-quick") if (where / name).exists()}


def profiles(listing: str) -> dict[str, str]:
    """Return the modes of wg and wg-quick in the kernel's list of profiles."""
    found = re.findall(r"^(wg|wg-quick) \((\w+)\)$", listing, re.MULTILINE)
    return {str(name): str(mode) for name, mode in found}


def above(path: Path) -> tuple[FileSeen, ...]:
    """Return the directories that are passed on the way to `path`, links followed."""
    passed = sorted({*path.parents, *path.resolve().parents})
    return tuple(seen for each in passed if (seen := file("", each)).exists)


def file(purpose: str, path: Path) -> FileSeen:
    """Return what a file is, links followed; `exists` None when its directory may not be read."""
    try:
        seen = path.stat()
    except PermissionError:
        return FileSeen(purpose, str(path), None)
    except OSError:
        return FileSeen(purpose, str(path), False)
    regular = stat.S_ISREG(seen.st_mode)
    mode = stat.S_IMODE(seen.st_mode)
    return FileSeen(purpose, str(path), True, mode, seen.st_uid, seen.st_gid, regular)
