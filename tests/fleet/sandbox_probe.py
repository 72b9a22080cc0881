"""What a service can do, tried from inside it; prints one JSON object of {attempt: outcome}."""

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # <linux/sched.h>


def read(path: str) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()


def write(path: str) -> Callable[[], object]:
    return lambda: Path(path).write_text("probe\n")


def connect(path: str) -> Callable[[], object]:
    def attempt() -> None:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)

    return attempt


def reach(host: str, port: int) -> Callable[[], object]:
    return lambda: socket.create_connection((host, port), 5).close()


def opens(family: int, kind: int, protocol: int = 0) -> Callable[[], object]:
    return lambda: socket.socket(family, kind, protocol).close()


def unshare(flags: int) -> Callable[[], object]:
    def attempt() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
            raise OSError(ctypes.get_errno(), "unshare")

    return attempt


def writable_code() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    if libc.mmap(None, 4096, 7, 0x22, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")


ATTEMPTS: dict[str, Callable[[], object]] = {
    "read node.toml": read("/etc/wgmesh/node.toml"),
    "write its own directory": write("/var/lib/wgmesh/fetch/probe"),
    "reach the forge": reach(sys.argv[1], 9418),
    "read the private key": read("/etc/wireguard/wg0.key"),
    "list /etc/wireguard": lambda: os.listdir("/etc/wireguard"),  # noqa: PTH208 names are enough
    "read another service's environment": read("/proc/1/environ"),
    "write root's state": write("/var/lib/wgmesh/probe"),
    "write root's repository": write("/var/lib/wgmesh/repository.git/probe"),
    "write /etc": write("/etc/probe"),
    "write /run": write("/run/wgmesh/probe"),
    "open a netlink socket": opens(socket.AF_NETLINK, socket.SOCK_RAW),
    "open a packet socket": opens(socket.AF_PACKET, socket.SOCK_RAW),
    "open a raw socket": opens(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "talk to systemd": connect("/run/systemd/private"),
    "talk to D-Bus": connect("/run/dbus/system_bus_socket"),
    "make a user namespace": unshare(CLONE_NEWUSER),
    "make a network namespace": unshare(CLONE_NEWNET),
    "become root": lambda: os.setuid(0),
    "make code at run time": writable_code,
    "read kernel's log": read("/dev/kmsg"),
    "open the tunnel device": read("/dev/net/tun"),
    "raise a sysctl": write("/proc/sys/net/ipv4/ip_forward"),
}


def outcome(attempt: Callable[[], object]) -> str:
    """Return "done", or why it was not."""
    try:
        attempt()
    except OSError as error:
        return f"{error.strerror}"
    return "done"


if __name__ == "__main__":
    outcomes = {name: outcome(attempt) for name, attempt in ATTEMPTS.items()}
    outcomes["uid"] = str(os.getuid())
    status = Path("/proc/self/status").read_text()
    outcomes["capabilities"] = status.partition("CapBnd:")[2].split()[0]
    print(json.dumps(outcomes))
