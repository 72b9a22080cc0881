"""The record of the transaction in flight: small, checksummed, replaced in one step."""

import hashlib
import os
import time
import tomllib
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path

from wgmesh import shape
from wgmesh.files import write_atomic
from wgmesh.frozen import frozen


class Phase(Enum):
    """How far a transaction has come."""

    IDLE = "idle"
    PREPARED = "prepared"  # generation and snapshot are on disk, the kernel is untouched
    APPLYING = "applying"  # the kernel may be anything between old and new
    UNDOING = "undoing"  # on the way back to the snapshot
    GARBLED = "garbled"  # the file is there and cannot be read: treated like APPLYING


@frozen
class Journal:
    """One transaction: generation number, digest, who runs it, and until when.

    `deadline_seconds` is on CLOCK_BOOTTIME; `pid_start` is field 22 of /proc/PID/stat (proc(5)),
    so that a recycled pid is never taken for the agent.
    """

    phase: Phase
    id: str = ""
    generation: int = 0
    digest: str = ""
    commit: str = ""
    interface: str = ""
    boot_id: str = ""
    pid: int = 0
    pid_start: int = 0
    deadline_seconds: float = 0.0
    staged: bool = False  # the generation was made by this transaction, and goes when it fails


IDLE = Journal(Phase.IDLE)


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def process_start(pid: int) -> int:
    """Return when `pid` started, in clock ticks since boot; 0 when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def begin(
    *,
    generation: int,
    digest: str,
    commit: str,
    interface: str,
    window_seconds: float,
    staged: bool,
) -> Journal:
    """Return a PREPARED journal of this process that is due `window_seconds` from now."""
    pid = os.getpid()
    return Journal(
        Phase.PREPARED,
        id=os.urandom(6).hex(),
        generation=generation,
        digest=digest,
        commit=commit,
        interface=interface,
        boot_id=boot_id(),
        pid=pid,
        pid_start=process_start(pid),
        deadline_seconds=time.clock_gettime(time.CLOCK_BOOTTIME) + window_seconds,
        staged=staged,
    )


def advance(journal: Journal, phase: Phase) -> Journal:
    """Return `journal` in another phase."""
    return replace(journal, phase=phase)


def write(path: Path, journal: Journal) -> None:
    """Put `journal` on disk, durably."""
    import tomli_w

    table = asdict(journal) | {"phase": journal.phase.value}
    body = tomli_w.dumps(table).encode()
    checksum = f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode()
    write_atomic(path, checksum + body, 0o600)


def read(path: Path) -> Journal:
    """Return the journal; IDLE when there is none, GARBLED when it cannot be trusted."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return IDLE
    head, _, body = data.partition(b"\n")
    if head != b"# sha256 " + hashlib.sha256(body).hexdigest().encode():
        return Journal(Phase.GARBLED)
    try:
        table = tomllib.loads(body.decode())
        return shape.from_table(Journal, table | {"phase": Phase(table.get("phase"))})
    except ValueError:  # a whole file, but of another wgmesh
        return Journal(Phase.GARBLED)
