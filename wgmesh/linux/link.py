"""The interface: made and removed, MTU, up and down, addresses."""

import errno
import time
from collections.abc import Iterable
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

from wgmesh import process
from wgmesh.errors import DeviceError, WgmeshError
from wgmesh.frozen import frozen
from wgmesh.linux import rtnetlink, systemd, wireguard
from wgmesh.linux.iproute import Entry
from wgmesh.model.change import LinkSet
from wgmesh.model.terms import Interface

USERSPACE_DEADLINE_SECONDS = 10.0
POLL_SECONDS = 0.02
SCOPE_LINK = "253"


@frozen
class Attributes:
    """What `ip` knows of an interface; link-local addresses are the kernel's own and left out."""

    up: bool
    mtu: int
    addresses: frozenset[Interface]


def attributes(entries: Iterable[Entry], interface: str) -> Attributes:
    """Return what `entries` of `ip -json` say of `interface`. Raises WgmeshError if nothing."""
    links = [entry for entry in entries if entry.get("ifname") == interface]
    if not links:
        raise WgmeshError(f"interface {interface} vanished while wgmesh looked at it")
    return Attributes(
        up="UP" in links[0]["flags"],
        mtu=int(links[0]["mtu"]),
        addresses=frozenset(
            ip_interface(f"{address['local']}/{address['prefixlen']}")
            for link in links
            for address in link.get("addr_info", ())
            if address.get("scope") != SCOPE_LINK and "local" in address
        ),
    )


def create(interface: str, rtnl: rtnetlink.Socket) -> None:
    """Make a WireGuard interface: in the kernel, or by wireguard-go where the kernel has none.

    Raises DeviceError when neither can, or when wireguard-go does not answer in time.
    """
    try:
        refusal = rtnl.request(
            f"create interface {interface}",
            "link",
            "add",
            fine=(errno.EOPNOTSUPP,),
            ifname=interface,
            kind="wireguard",
        )
        if refusal:
            _start_userspace(interface)
    except WgmeshError as error:
        raise DeviceError(error.message, error.hint or "see: wgmesh doctor") from error


def _start_userspace(interface: str) -> None:
    argv = ["wireguard-go", interface]
    if process.which(argv[0]) is None:
        raise WgmeshError(
            "this kernel has no WireGuard and wireguard-go is not installed",
            "boot a kernel of the distribution; wgmesh doctor says more",
        )
    if systemd.running():  # else it would die with the service that started it
        argv = systemd.scope(argv, f"wireguard-go-{interface}")
    # It goes to the background by itself; the session keeps our terminal's signals away from it.
    starter = process.start(argv, detached=True)
    deadline = time.monotonic() + USERSPACE_DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if starter.poll():
            raise WgmeshError(
                f"wireguard-go {interface} failed ({starter.returncode})",
                "this kernel has no WireGuard; wgmesh doctor says what wireguard-go lacks here",
            )
        if starter.returncode == 0 and wireguard.socket_path(interface).is_socket():
            answer = process.run(["wg", "show", interface, "listen-port"], check=False)
            if answer.returncode == 0:
                return
        time.sleep(POLL_SECONDS)
    raise WgmeshError(
        f"wireguard-go did not serve {interface} within {USERSPACE_DEADLINE_SECONDS:.0f} s"
    )


def delete(interface: str, rtnl: rtnetlink.Socket) -> None:
    """Remove `interface` with all that hangs on it; none there is fine.

    Returns when a wireguard-go that served it has put its socket away, so that a new one may take
    the name. Raises WgmeshError.
    """
    if not wireguard.present(interface):
        return
    path = wireguard.socket_path(interface)
    served = wireguard.userspace(interface)
    rtnl.request(
        f"remove interface {interface}",
        "link",
        "del",
        fine=(errno.ENODEV,),
        index=rtnetlink.index(interface),
    )
    if served and not _gone(path):
        raise WgmeshError(
            f"wireguard-go still serves {path} after its interface was removed",
            "end that wireguard-go process",
        )


def _gone(path: Path) -> bool:
    deadline = time.monotonic() + USERSPACE_DEADLINE_SECONDS
    while path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def change(wanted: LinkSet, rtnl: rtnetlink.Socket) -> None:
    """Set MTU and administrative state, as far as `wanted` gives them. Raises WgmeshError."""
    index = rtnetlink.index(wanted.name)
    if wanted.mtu is not None:
        purpose = f"set the MTU of {wanted.name} to {wanted.mtu}"
        rtnl.request(purpose, "link", "set", index=index, mtu=wanted.mtu)
    if wanted.up is not None:
        state = "up" if wanted.up else "down"
        rtnl.request(f"set {wanted.name} {state}", "link", "set", index=index, state=state)


def add_address(interface: str, address: Interface, rtnl: rtnetlink.Socket) -> None:
    """Give `interface` an address, made just as `ip address add` makes it; one there is fine.

    An IPv6 address is there once, whatever its prefix length: another length is replaced.
    """
    if _add(interface, address, rtnl) != errno.EEXIST or address.version == 4:
        return
    for ip, length in rtnl.addresses(6, rtnetlink.index(interface)):
        if ip_address(ip) == address.ip and length != address.network.prefixlen:
            _replace(interface, ip_interface(f"{ip}/{length}"), address)


def _replace(interface: str, old: Interface, new: Interface) -> None:
    """Exchange two addresses in one process that does nothing else: packets come meanwhile."""
    steps = f"address del {old} dev {interface}\naddress add {new} dev {interface}\n"
    process.run(["ip", "-batch", "-"], stdin=steps.encode())


def _add(interface: str, address: Interface, rtnl: rtnetlink.Socket) -> int:
    return rtnl.request(
        f"add address {address} to {interface}",
        "addr",
        "add",
        fine=(errno.EEXIST,),
        **_address(interface, address),
    )


def remove_address(interface: str, address: Interface, rtnl: rtnetlink.Socket) -> None:
    """Take an address from `interface`; none there is fine.

    With an IPv4 address the kernel drops the secondary ones of its subnet: those are put back.
    """
    index = rtnetlink.index(interface)
    before = rtnl.addresses(4, index) if address.version == 4 else set()
    rtnl.request(
        f"remove address {address} from {interface}",
        "addr",
        "del",
        fine=(errno.EADDRNOTAVAIL,),
        **_address(interface, address),
    )
    if len(before) > 1:
        lost = before - rtnl.addresses(4, index) - {(str(address.ip), address.network.prefixlen)}
        for ip, length in sorted(lost):
            add_address(interface, ip_interface(f"{ip}/{length}"), rtnl)


def _address(interface: str, address: Interface) -> dict[str, Any]:
    return {
        "index": rtnetlink.index(interface),
        "family": rtnetlink.FAMILY[address.version],
        "address": str(address.ip),
        "prefixlen": address.network.prefixlen,
    }
