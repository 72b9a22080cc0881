"""Checks of what the WireGuard interface itself needs: a driver, its port, its MTU, IPv6, names."""

from collections.abc import Iterator

from wgmesh.doctor.facts import Facts, Finding, error, note, warning
from wgmesh.doctor.standing import RECOVER, SYNC
from wgmesh.model.numbers import DEFAULT_MTU, DEFAULT_PORT, IPV6_LEAST_MTU

OVERHEAD_BYTES = {4: 60, 6: 80}
"""IP header, UDP header (8) and WireGuard's own 32 bytes, by the version of the outer packet."""


_A_KERNEL = "boot a kernel that has WireGuard, as the distribution's has"
_DROP_INS = (
    "for unit in wgmesh-sync wgmesh-recover; do"
    " mkdir -p /etc/systemd/system/$unit.service.d;"
    r" printf '[Service]\nBindPaths=/dev/net/tun\nDeviceAllow=/dev/net/tun rw\n'"
    " >/etc/systemd/system/$unit.service.d/tun.conf; done; systemctl daemon-reload"
)
"""What lets the packaged units start wireguard-go."""


def wireguard(facts: Facts) -> Iterator[Finding]:
    """Yield what keeps this machine from having a WireGuard interface."""
    network = facts.network
    if network.link_error:
        yield error(network.link_error, f"remove it: ip link del {facts.mesh.interface}")
    if network.kernel_wireguard or (network.link and network.kernel_wireguard is None):
        return
    if network.wireguard_go:
        yield from _wireguard_go(facts)
    elif not network.kernel_modules:
        yield error(
            "the running kernel's modules are gone from /lib/modules: it cannot load WireGuard",
            "reboot into the installed kernel",
        )
    elif network.kernel_wireguard is False:
        yield error(
            "this kernel has no WireGuard and wireguard-go is not installed",
            f"{_A_KERNEL}; or: apt install wireguard-go && wgmesh doctor",
        )
    else:
        yield note("whether the kernel has WireGuard was not seen", "run as root")


def _wireguard_go(facts: Facts) -> Iterator[Finding]:
    """Yield what keeps wireguard-go from doing what the kernel perhaps cannot."""
    network, units = facts.network, facts.host.units
    closed = [name for name in (SYNC, RECOVER) if name in units and not units[name].tun]
    if not network.tun and not network.link:
        yield error(
            "wireguard-go is installed, but there is no /dev/net/tun",
            "modprobe tun; in a container: pass the device /dev/net/tun in",
        )
    elif network.kernel_wireguard is False and closed:
        level = warning if network.link else error
        yield level(
            f"this kernel has no WireGuard, and {' and '.join(closed)} cannot start wireguard-go:"
            " /dev/net/tun is closed to them",
            f"{_A_KERNEL}; or let them start it, which is slower: {_DROP_INS}",
        )
    elif network.kernel_wireguard is False and not network.link:
        yield note("the kernel has no WireGuard: wireguard-go serves instead, and is slower")


def interface(facts: Facts) -> Iterator[Finding]:
    """Yield it when the interface of a confirmed generation is not there."""
    mesh = facts.mesh
    if mesh.plan is not None and not facts.network.link and not facts.network.link_error:
        yield error(
            f"{mesh.interface} is not there, though generation {mesh.generation} says so",
            "wgmesh reconcile brings it back",
        )


def nftables(facts: Facts) -> Iterator[Finding]:
    """Yield it when nft does not work: nodes that forward need it."""
    said = facts.network.nft_error
    if said:
        plan = facts.mesh.plan
        level = warning if plan is not None and plan.firewall is None else error
        yield level(
            f"nft does not work here: {said}",
            "apt install nftables; in a container: ask the host for the module nf_tables",
        )


def port(facts: Facts) -> Iterator[Finding]:
    """Yield who has the UDP port that the interface is to listen on."""
    plan, network = facts.mesh.plan, facts.network
    wanted = plan.listen_port if plan is not None else DEFAULT_PORT
    ours = network.link and network.link_port in (None, wanted)
    own = {facts.mesh.left or ""} if plan is None and facts.mesh.left != "" else set()
    takers = sorted({seen.holder for seen in network.listeners if seen.port == wanted} - own)
    if ours or not takers:
        return
    who = ", ".join(taker or "a program that only root can see" for taker in takers)
    look = f"ss -lunp 'sport = :{wanted}' shows it"
    if plan is None:
        yield warning(
            f"UDP port {wanted}, the default of a mesh, is taken by {who}",
            f"end it, or give this node another listen_port ({look})",
        )
    else:
        yield error(
            f"UDP port {wanted} of {plan.interface} is taken by {who}",
            f"end it, or change this node's listen_port in the inventory ({look})",
        )


def mtu(facts: Facts) -> Iterator[Finding]:
    """Yield it when a full packet of the tunnel does not fit the links below it."""
    plan, network = facts.mesh.plan, facts.network
    inner = plan.mtu if plan is not None else DEFAULT_MTU
    narrow: dict[str, int] = {}
    for way in network.outer:
        if way.device is None or way.device not in network.mtus:
            continue
        room = network.mtus[way.device] - OVERHEAD_BYTES[6 if ":" in way.address else 4]
        if room < inner:
            narrow[way.device] = min(room, narrow.get(way.device, room))
    if plan is None:
        for device in network.default_devices:
            room = network.mtus.get(device, 65535) - OVERHEAD_BYTES[4]
            if room < inner:
                narrow[device] = room
    for device, room in sorted(narrow.items()):
        yield warning(
            f"an MTU of {inner} does not fit {device}, which has room for {room}:"
            " large packets are cut in pieces or lost",
            f"write mtu = {room} into [mesh] of the inventory, for all nodes",
        )
    if plan is not None and plan.mtu < IPV6_LEAST_MTU and _has_ipv6(facts):
        yield error(
            f"an MTU of {plan.mtu} is below the {IPV6_LEAST_MTU} that IPv6 needs",
            "raise mtu in the inventory, or give the nodes IPv4 addresses only",
        )


def ipv6(facts: Facts) -> Iterator[Finding]:
    """Yield it when the mesh has IPv6 addresses and the kernel was told not to."""
    name = facts.mesh.interface
    scopes = {name} if facts.network.link else {"default"}
    if _has_ipv6(facts) and facts.network.ipv6_off & (scopes | {"all"}):
        yield error(
            "the mesh has IPv6 addresses, but net.ipv6.conf.*.disable_ipv6 is 1 here",
            f"sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.{name}.disable_ipv6=0,"
            " and find the file in /etc/sysctl.d/ that sets it",
        )


def _has_ipv6(facts: Facts) -> bool:
    plan = facts.mesh.plan
    return plan is not None and any(address.version == 6 for address in plan.addresses)


def names(facts: Facts) -> Iterator[Finding]:
    """Yield the endpoints that no resolver knows."""
    if facts.network.unresolved:
        yield warning(
            f"no address is known for: {', '.join(facts.network.unresolved)}",
            "check /etc/resolv.conf and the names in the inventory (getent ahosts NAME)",
        )
