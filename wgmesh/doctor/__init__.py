"""What would break the mesh on this machine: pure checks over what was observed of it."""

from collections.abc import Callable, Iterator

from wgmesh.doctor import access, filters, machine, routing, standing, tunnel
from wgmesh.doctor.facts import Facts, Finding, Level

__all__ = ["CHECKS", "Facts", "Finding", "Level", "examine"]

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "enrolment": standing.enrolment,
    "wireguard": tunnel.wireguard,
    "interface": tunnel.interface,
    "port": tunnel.port,
    "mtu": tunnel.mtu,
    "ipv6": tunnel.ipv6,
    "names": tunnel.names,
    "rp_filter": routing.rp_filter,
    "ways": routing.ways,
    "marks": routing.marks,
    "tables": routing.tables,
    "networkd": routing.networkd,
    "nftables": tunnel.nftables,
    "forward": filters.forward,
    "incoming": filters.incoming,
    "clock": machine.clock,
    "disk": machine.disk,
    "versions": machine.versions,
    "apparmor": machine.apparmor,
    "keys": standing.keys,
    "credentials": access.credentials,
    "remotes": access.remotes,
    "units": standing.units,
    "boot": standing.boot,
    "files": standing.own_files,
}
"""By the name that a finding carries, in the order in which they are shown."""


def examine(facts: Facts) -> tuple[Finding, ...]:
    """Return what is wrong, worst first."""
    found = [each.of(name) for name, check in CHECKS.items() for each in check(facts)]
    order = list(Level)
    return tuple(sorted(found, key=lambda each: order.index(each.level)))
