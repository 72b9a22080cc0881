"""What a machine is, on disk and in the kernel, as lines that can be compared byte for byte."""

from collections.abc import Collection

from tests.lab.machine import Machine

RECORDS = frozenset({"last-sync.toml", "verdict.toml"})
"""What a sync that changes nothing may write in /var/lib/wgmesh."""

REPOSITORY = "/var/lib/wgmesh/repository.git"

_FILES = f"""
set -e
places="/etc/wireguard /etc/wgmesh /var/lib/wgmesh"
find $places -path {REPOSITORY} -prune -o -printf '%p %y %m %l\\n'
find $places -path {REPOSITORY} -prune -o -type f -print0 |
    xargs -0r sha256sum
"""

_KERNEL = """
set -e
wg showconf wg0 | sed 's/^\\(P[a-z]*Key\\) = .*/echo "\\1 = &" | sha256sum/e'
ip -o address show dev wg0
ip -o link show dev wg0
ip route show table all dev wg0
ip -6 route show table all dev wg0 | sed 's/ expires [0-9]*sec//'
ip rule show
ip -6 rule show
nft list ruleset
sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding
"""


def files(machine: Machine, *, but: Collection[str] = RECORDS) -> tuple[str, ...]:
    """Return path, kind, mode, link target and digest of every file of wgmesh, save names in `but`.

    The repository's cache of git objects is left out.
    """
    lines = machine.run(["bash", "-c", _FILES]).stdout.splitlines()
    return tuple(sorted(line for line in lines if not any(f"/{name}" in line for name in but)))


def kernel(machine: Machine) -> tuple[str, ...]:
    """Return the device (keys as digests), addresses, routes, all rules, nft tables, forwarding."""
    return tuple(machine.run(["bash", "-c", _KERNEL]).stdout.splitlines())


def whole(machine: Machine, *, but: Collection[str] = RECORDS) -> tuple[str, ...]:
    """Return both."""
    return files(machine, but=but) + kernel(machine)
