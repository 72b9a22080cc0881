"""What a machine holds that a sync might leave behind: processes, descriptors, mounts, files."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.lab.machine import Machine

DAEMON = "wireguard-go"
"""What lives on where the kernel has no WireGuard: a part of the interface."""

PLACES = ("/run", "/var/lib/wgmesh", "/var/lib/prometheus", "/etc/wireguard", "/etc/wgmesh")
_LIST = """
for place; do [ ! -d "$place" ] || find "$place" -xdev -printf '%y %p\\n'; done
"""
RECORDS = frozenset(
    (
        *("awaited.toml", "quarantine.toml", "second-look.toml", "seen.toml", "soak.toml"),
        *("told.toml", "verdict.toml", "failover.json", "exits.json", "sysctl.former"),
    )
)
"""What a node remembers by design, each in one file, and not from the first sync on."""

_VARYING = (
    (re.compile(r"/gen-\d+"), "/gen-N"),
    (re.compile(r"/pack-[0-9a-f]{40}"), "/pack-ID"),
    (re.compile(r"/[0-9a-f]{40}$"), "/ID"),
    (re.compile(r"/objects/[0-9a-f]{2}(?:/[0-9a-f]{38})?$"), "/objects/ID"),
    (re.compile(r"/wireguard/keys/.*"), "/wireguard/keys/ID"),
)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a machine held at one moment, while nothing of wgmesh ran."""

    processes: tuple[str, ...]
    descriptors: int
    namespaces: int
    mounts: int
    generations: int
    rejected: int
    files: frozenset[str]
    disk_bytes: int


def more(before: Holdings, after: Holdings, keep: int) -> list[str]:
    """Return what a machine holds at the end that it did not at the start, and shall not."""
    found = []
    if before.processes != after.processes:
        found.append(f"processes: {before.processes} became {after.processes}")
    for what in ("descriptors", "namespaces", "mounts"):
        was, now = getattr(before, what), getattr(after, what)
        found += [f"{what}: {was} became {now}"] if now > was else []
    new = sorted(path for path in after.files - before.files if Path(path).name not in RECORDS)
    found += [f"files: {path}" for path in new]
    for what in ("generations", "rejected"):
        count = getattr(after, what)
        found += [f"{what}: {count}, and {keep} are to be kept"] if count > keep else []
    return found


def strangers(machine: Machine) -> list[str]:
    """Return the programs that run on a machine, save the daemon of its interface."""
    return [name for name in programs(machine) if name != DAEMON]


def programs(machine: Machine) -> list[str]:
    """Return the name of each process on a machine."""
    found = []
    for pid in machine.pids():
        try:
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked
    return sorted(found)


def holdings(machine: Machine) -> Holdings:
    """Return what a machine holds now. Nothing else may be run on it meanwhile."""
    listed = machine.run(["sh", "-c", _LIST, "sh", *PLACES]).stdout.splitlines()
    own = Path(f"/proc/{machine.pid}")
    names = {line[2:] for line in listed}
    below = "/etc/wireguard/wgmesh.d"
    return Holdings(
        processes=tuple(programs(machine)),
        descriptors=sum(_descriptors(pid) for pid in machine.pids(DAEMON)),
        namespaces=len({_namespaces(pid) for pid in [machine.pid, *machine.pids()]})
        + sum(path.startswith("/run/netns/") for path in names),
        mounts=len((own / "mountinfo").read_text().splitlines()),
        generations=sum(bool(re.fullmatch(rf"{below}/gen-[1-9]\d*", name)) for name in names),
        rejected=sum(bool(re.fullmatch(rf"{below}/rejected/gen-\d+", name)) for name in names),
        files=frozenset(_same(name) for name in names),
        disk_bytes=int(machine.run(["du", "-sb", "/var/lib/wgmesh"]).stdout.split()[0]),
    )


def _descriptors(pid: int) -> int:
    """Return how many descriptors a process has, the least of several looks.

    Each question of `wg` takes one for a moment.
    """
    return min(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for _ in range(5))


def _namespaces(pid: int) -> tuple[str, ...]:
    links = (Path(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt", "pid", "uts", "ipc", "user"))
    return tuple(str(link.readlink()) for link in links)


def _same(name: str) -> str:
    """Return a path without what is another one at each sync by design."""
    for pattern, instead in _VARYING:
        name = pattern.sub(instead, name)
    return name
