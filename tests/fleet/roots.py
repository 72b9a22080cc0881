"""Debian roots for the machines: made by mmdebstrap once, kept in a cache, never written again.

`python -m tests.fleet.roots SUITE…` makes those that are missing (all without arguments). A root's
name says the suite and a digest of what is in it, so that another list of packages is another root.
Whoever uses one holds a shared lock on its directory, so that a checkout with another list, which
removes those of older lists, leaves it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.machine import CHECKOUT, SAFE_PATH

# The oldest that is supported, the stable release, and what has the newest Python.
SUITES = ("bookworm", "trixie", "testing")
MIRROR = "http://deb.debian.org/debian"
# What a machine of the fleet has besides what wgmesh depends on: the device, servers for the forge,
# a person's tools.
COMPANY = ["ca-certificates", "dbus", "iptables", "iputils-ping", "lighttpd"]
COMPANY += ["lighttpd-mod-openssl", "openssh-server", "procps", "systemd", "systemd-sysv"]
COMPANY += ["wireguard-go"]
# Servers are started where a test wants them; apt's own timers would hold its lock at any time;
# the two mounts are for a kernel of one's own.
DISABLED = ["lighttpd.service", "ssh.service", "ssh.socket"]
MASKED = ["apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service"]
MASKED += ["dev-hugepages.mount", "lighttpd-maint.timer", "sys-fs-fuse-connections.mount"]
CUSTOMIZE = (
    f'chroot "$1" systemctl --quiet disable {" ".join(DISABLED)}',
    f'chroot "$1" systemctl --quiet mask {" ".join(MASKED)}',
    'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/var/lib/apt/lists/*',
    'rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/resolv.conf "$1"/etc/hostname',
    ': > "$1"/etc/machine-id',
)

_held: dict[Path, int] = {}
"""The roots that this process uses: their directories, open and locked until it ends."""


class RootError(Exception):
    """A root could not be made; the message carries what mmdebstrap said."""


def cache() -> Path:
    """Return the directory that keeps the roots, outside of any checkout."""
    if "XDG_CACHE_HOME" in os.environ:
        return Path(os.environ["XDG_CACHE_HOME"]) / "wgmesh-fleet"
    return Path("/var/cache/wgmesh-fleet")


def packages() -> list[str]:
    """Return what is in a root: with wgmesh's dependencies, no machine needs another repository."""
    control = (CHECKOUT / "debian/control").read_text()
    fields = re.findall(r"^(?:Depends|Recommends):\n((?: .*\n)+)", control, re.MULTILINE)
    names = re.findall(r"^ ([a-z0-9.+-]+)", "".join(fields), re.MULTILINE)
    return sorted({*names, *COMPANY})


def path(suite: str) -> Path:
    """Return where the root of `suite` is, or will be."""
    recipe = "\n".join([suite, MIRROR, *packages(), *CUSTOMIZE])
    return cache() / f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def make(suite: str) -> Path:
    """Return the root of `suite`, made now if need be, and hold it while this process lives.

    Of one suite, others that nobody holds are removed when one is made. Raises RootError.
    """
    root = path(suite)
    if hold(root):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not hold(root):
            remove_unused(root.parent.glob(f"{suite}-*"))
            unfinished = root.with_name(f"{root.name}.new")
            _mmdebstrap(suite, unfinished)
            unfinished.rename(root)
            hold(root)
    return root


def hold(root: Path) -> bool:
    """Keep everybody from removing `root` while this process lives; return whether it is there."""
    if root in _held:
        return True
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    fcntl.flock(fd, fcntl.LOCK_SH)  # waits for a removal that has begun
    there = root.stat().st_ino if root.exists() else None
    if there != os.fstat(fd).st_ino:
        os.close(fd)
        return False
    _held[root] = fd
    return True


def make_all(suites: Iterable[str] = SUITES) -> None:
    """Make the roots that are missing, side by side. Raises RootError."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(make, sorted(set(suites))))


def remove_unused(directories: Iterable[Path]) -> None:
    """Remove the roots that no process holds."""
    for directory in directories:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            going = directory.with_name(f"{directory.name}.old")  # so that nobody takes half a root
            directory.rename(going)
            shutil.rmtree(going)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)


def _mmdebstrap(suite: str, target: Path) -> None:
    argv = ["mmdebstrap", "--quiet", "--variant=apt", "--mode=root", "--format=directory"]
    argv += [f"--include={','.join(packages())}"]
    # A mirror may lag behind: a root that is a month old is as good for a test.
    argv += ['--aptopt=Acquire::Check-Valid-Until "false"', "--aptopt=Acquire::Languages none"]
    argv += [f"--customize-hook={command}" for command in CUSTOMIZE]
    done = subprocess.run(
        # a mount namespace of its own: mounts of a run that was killed die with it
        ["unshare", "--mount", "--propagation", "private", "--", *argv, suite, target, MIRROR],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": SAFE_PATH, "LC_ALL": "C.UTF-8", "TMPDIR": "/var/tmp"}
        | {key: value for key, value in os.environ.items() if key.endswith("_proxy")},
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(target, ignore_errors=True)
        raise RootError(f"mmdebstrap {suite} exited {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    wanted = sys.argv[1:] or SUITES
    make_all(wanted)
    print(*map(path, wanted), sep="\n")
