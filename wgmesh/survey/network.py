"""The kernel's side: WireGuard, ports, routes and rules, reverse-path filters, packet filters.

Tools that are missing or fail leave their part of the facts empty: what needs them says so.
"""

import json
import os
import re
import socket
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from wgmesh import process
from wgmesh.doctor import filters
from wgmesh.doctor.facts import BaseChain, Listener, Network, RouteSeen, RuleSeen, Way
from wgmesh.model.numbers import EXIT_TABLE, MAIN_TABLE, ROUTE_PROTOCOL
from wgmesh.process import CommandError

CONF = Path("/proc/sys/net/ipv4/conf")
CONF6 = Path("/proc/sys/net/ipv6/conf")
MODULES = Path("/lib/modules")
SYSCTL_DIRECTORIES = tuple(
    Path(top, "sysctl.d") for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
SYSCTL_FILES = (Path("/etc/sysctl.conf"), Path("/etc/ufw/sysctl.conf"))
_STRICT = re.compile(r"^\s*-?net[./]ipv4[./]conf[./]\S+[./]rp_filter\s*=\s*1\s*$", re.MULTILINE)

Entry = dict[str, Any]


def observe(
    interface: str, *, root: bool, inner: Collection[str], outer: Collection[str]
) -> Network:
    """Return what the kernel has. `inner` are addresses in the mesh, `outer` those of endpoints.

    `interface` may be "" on a machine that is in no mesh. Without root, what only root sees is
    None or absent.
    """
    here = bool(interface) and _exists(interface)
    port, trouble = _device(interface) if here and root else (None, "")
    chains, nft_error = _filters() if root else (None, None)
    release = os.uname().release
    modules = not MODULES.is_dir() or (MODULES / release).is_dir() or not any(MODULES.iterdir())
    entries = [(family, entry) for family in (4, 6) for entry in _ip(family, "rule", "show")]
    return Network(
        kernel_wireguard=_kernel_wireguard(root=root),
        kernel_modules=modules,
        wireguard_go=process.which("wireguard-go") is not None,
        tun=Path("/dev/net/tun").exists(),
        link=here and not trouble,
        link_error=trouble,
        link_port=port,
        listeners=tuple(_listeners(interface, root=root)),
        nft_error=nft_error,
        chains=chains,
        rules=tuple(rule(family, entry) for family, entry in entries),
        routes=tuple(_our_routes()),
        ways=tuple(_ways(inner)),
        outer=tuple(_ways(outer)),
        default_devices=tuple(dict.fromkeys(_default_devices())),
        rp_filter=dict(_rp_filter()),
        rp_filter_files=strict_files(SYSCTL_DIRECTORIES, SYSCTL_FILES),
        src_valid_mark=_number(CONF / "all/src_valid_mark") == 1,
        ipv6_off=frozenset(
            path.parent.name for path in CONF6.glob("*/disable_ipv6") if _number(path) == 1
        ),
        mtus={
            str(link["ifname"]): int(link["mtu"])
            for link in _ip(4, "link", "show")
            if "ifname" in link and "mtu" in link
        },
    )


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def said(*argv: str, stdin: bytes | None = None) -> str | None:
    """Return what `argv` printed; None when it is missing or failed."""
    try:
        return process.text(argv, stdin=stdin)
    except CommandError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


# ---------------------------------------------------------------- WireGuard


def _kernel_wireguard(*, root: bool) -> bool | None:
    """Return whether the kernel has WireGuard, None when that cannot be told.

    Root tries it in a network namespace that ends with the attempt.
    """
    if Path("/sys/module/wireguard").exists():
        return True
    if root:
        argv = ["unshare", "--net", "ip", "link", "add", "name", "wgmesh-try", "type", "wireguard"]
        try:
            process.run(argv)
        except CommandError as error:
            unknown = ("Unknown device type", "not supported")
            return False if any(words in error.stderr for words in unknown) else None
        return True
    directory = MODULES / os.uname().release
    for name in ("modules.builtin", "modules.dep"):
        try:
            if "/wireguard.ko" in (directory / name).read_text():
                return True
        except OSError:
            return None
    return False


def _device(interface: str) -> tuple[int | None, str]:
    """Return the port of our device, and what is wrong with it."""
    try:
        shown = process.text(["wg", "show", interface, "listen-port"]).strip()
    except CommandError as error:
        if error.returncode == 127:
            return None, ""
        return None, f"{interface} is there, and is no WireGuard interface that answers"
    return (int(shown) if shown.isdecimal() else None), ""


def _listeners(interface: str, *, root: bool) -> Iterator[Listener]:
    """Yield who has UDP ports; other WireGuard interfaces have theirs in the kernel, unnamed."""
    devices: dict[int, str] = {}
    if root:
        for line in (said("wg", "show", "all", "listen-port") or "").splitlines():
            name, _, port = line.partition("\t")
            if name != interface and port.isdecimal():
                devices[int(port)] = name
    for line in (said("ss", "-H", "-l", "-u", "-n", "-p") or "").splitlines():
        port_seen = listener(line)
        if port_seen is None:
            continue
        device = devices.get(port_seen.port)
        yield Listener(port_seen.port, device) if device else port_seen


def listener(line: str) -> Listener | None:
    """Return what one line of `ss -H -l -u -n -p` says, None when it is none."""
    fields = line.split()
    if len(fields) < 5:
        return None
    port = fields[3].rpartition(":")[2]
    if not port.isdecimal():
        return None
    _, _, users = line.partition('users:(("')
    return Listener(int(port), users.partition('"')[0])


# ---------------------------------------------------------------- routes and rules


def entries(printed: str) -> Iterator[Entry]:
    """Yield the objects of the arrays in `printed`, as far as they are whole.

    `ip` leaves an array open when it meets an error, such as a table that nobody has made yet.
    """
    decoder, position = json.JSONDecoder(), 0
    while position < len(printed):
        if printed[position].isspace():
            position += 1
            continue
        try:
            array, position = decoder.raw_decode(printed, position)
        except ValueError:
            return
        if not isinstance(array, list):
            return
        yield from (entry for entry in array if isinstance(entry, dict) and entry)


def _ip(family: int, *words: str) -> list[Entry]:
    argv = ["ip", "-N", "-details", "-json", f"-{family}", *words]
    try:
        done = process.run(argv, check=False)
    except CommandError:
        return []
    return list(entries(done.stdout.decode(errors="replace")))


def rule(family: int, entry: Entry) -> RuleSeen:
    """Return the policy rule that `ip -N -json rule show` printed as `entry`."""
    return RuleSeen(
        family=family,
        priority=int(entry.get("priority", 0)),
        protocol=int(entry.get("protocol", 0)),
        table=int(entry["table"]) if str(entry.get("table", "")).isdecimal() else None,
        fwmark=int(entry["fwmark"], 0) if "fwmark" in entry else None,
        fwmask=int(entry.get("fwmask", "0xffffffff"), 0),
        inverted="not" in entry,
    )


def _our_routes() -> Iterator[RouteSeen]:
    """Yield the routes of our table, and those of our protocol anywhere."""
    for family in (4, 6):
        for entry in _ip(family, "route", "show", "table", str(EXIT_TABLE)):
            yield _route(entry, table=EXIT_TABLE)
        for entry in _ip(family, "route", "show", "table", "all", "proto", str(ROUTE_PROTOCOL)):
            yield _route(entry, protocol=ROUTE_PROTOCOL)


def _route(entry: Entry, table: int = MAIN_TABLE, protocol: int = 0) -> RouteSeen:
    """Return a route; ip leaves out what it was asked to filter by."""
    return RouteSeen(
        destination=str(entry.get("dst", "")),
        table=int(entry.get("table", table)),
        protocol=int(entry.get("protocol", protocol)),
        device=entry.get("dev"),
    )


def _ways(addresses: Collection[str]) -> Iterator[Way]:
    for family in (4, 6):
        asked = [each for each in addresses if (":" in each) == (family == 6)]
        if not asked:
            continue
        argv = ["ip", "-N", "-json", f"-{family}", "-force", "-batch", "-"]
        lines = "".join(f"route get {each}\n" for each in asked)
        try:
            done = process.run(argv, stdin=lines.encode(), check=False)
        except CommandError:
            continue
        found = {
            str(entry.get("dst")): entry
            for entry in entries(done.stdout.decode(errors="replace"))
            if "dev" in entry
        }
        for each in asked:
            entry = found.get(each, {})
            table = str(entry.get("table", ""))
            yield Way(each, entry.get("dev"), int(table) if table.isdecimal() else None)


def _default_devices() -> Iterator[str]:
    for entry in _ip(4, "route", "show", "default"):
        if "dev" in entry:
            yield entry["dev"]
        yield from (hop["dev"] for hop in entry.get("nexthops", ()) if "dev" in hop)


def _rp_filter() -> Iterator[tuple[str, int]]:
    for path in CONF.glob("*/rp_filter"):
        value = _number(path)
        if value is not None:
            yield path.parent.name, value


def strict_files(directories: Sequence[Path], files: Sequence[Path]) -> tuple[str, ...]:
    """Return the files that set rp_filter to 1, of what sysctl.d(5) and `files` say.

    A file in one directory hides those of its name in later ones.
    """
    named: dict[str, Path] = {}
    for directory in directories:
        for path in sorted(directory.glob("*.conf")):
            named.setdefault(path.name, path)
    found = {path.resolve() for path in (*named.values(), *files) if _makes_strict(path)}
    return tuple(map(str, sorted(found)))


def _makes_strict(path: Path) -> bool:
    try:
        return bool(_STRICT.search(path.read_text(errors="replace")))
    except OSError:
        return False


def _filters() -> tuple[tuple[BaseChain, ...] | None, str | None]:
    try:
        return filters.parse(process.text(["nft", "list", "ruleset"])), None
    except CommandError as error:
        if error.returncode == 127:
            return None, None  # not installed: the check of versions says so
        lines = error.stderr.strip().splitlines()
        return None, lines[-1] if lines else error.message
