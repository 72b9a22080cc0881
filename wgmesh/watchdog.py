"""The way back when the agent cannot take it: `wgmesh recover --wait` in a process of its own."""

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wgmesh import journal, process
from wgmesh.journal import Journal, Phase
from wgmesh.linux import systemd

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "wgmesh", "recover", "--wait")
"""-P: no code out of the directory that the agent happens to run in."""
_LOOK_SECONDS = 1.0


def arm(record: Journal) -> Callable[[], None]:
    """Start the watchdog of the transaction `record` and return what disarms it.

    Under systemd it is a transient service, one unit per transaction; without, a child in a
    session of its own. Raises CommandError when it cannot be started.
    """
    if systemd.running():
        unit = f"wgmesh-watchdog-{record.id}.service"
        systemd.systemd_run(COMMAND, unit)
        return lambda: systemd.stop(unit)
    child = process.start(COMMAND, detached=True)

    def disarm() -> None:
        child.kill()  # it holds nothing while it waits
        child.wait()

    return disarm


def wait(path: Path) -> None:
    """Return when the transaction in the journal at `path` needs somebody else, or has ended.

    That is: at once when its process is dead, at its deadline after killing that process, and
    when the journal is idle. A pidfd and the process's start time make sure of whom is meant.
    """
    record = journal.read(path)
    if record.phase in (Phase.IDLE, Phase.GARBLED) or record.boot_id != journal.boot_id():
        return
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if journal.process_start(record.pid) != record.pid_start:
            return
        while not select.select([pidfd], [], [], _LOOK_SECONDS)[0]:
            now = journal.read(path)
            if now.id != record.id or now.phase is Phase.IDLE:
                return
            if time.clock_gettime(time.CLOCK_BOOTTIME) > record.deadline_seconds:
                log.warning("the transaction is past its deadline: ending process %d", record.pid)
                with suppress(ProcessLookupError):  # gone by itself: the next look sees it
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
