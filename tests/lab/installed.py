"""A machine as the package leaves it, where no systemd runs: the user wgmesh, and its directory."""

import subprocess
import sys
from pathlib import Path

from tests.lab.machine import CHECKOUT, Machine

USER = "wgmesh"
ID, NOBODY = 985, 65534
FETCH = "/var/lib/wgmesh/fetch"


def add_user(machine: Machine) -> None:
    """Add the user who fetches; from then on wgmesh fetches as that user."""
    for file, line in (
        ("passwd", f"{USER}:x:{ID}:{ID}:fetches:{FETCH}:/usr/sbin/nologin"),
        ("group", f"{USER}:x:{ID}:"),
    ):
        text = machine.read(f"/etc/{file}")
        machine.write(f"/etc/{file}", f"{text.rstrip()}\n{line}\n")
    open_checkout(machine)
    machine.run(as_user("test", "-x", sys.executable, "-a", "-r", str(CHECKOUT / "wgmesh")))


def as_user(*argv: str, number: int = ID) -> list[str]:
    """Return the command that runs `argv` as that user, with no more rights than it has."""
    return ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups", "--", *argv]


def by_nobody(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    """Run wgmesh as the user nobody, who may do nothing; no traceback is shown."""
    if machine.run(
        as_user("test", "-r", str(CHECKOUT / "wgmesh"), number=NOBODY), check=False
    ).returncode:
        open_checkout(machine)
    argv = as_user(*machine.wgmesh_argv, *words, number=NOBODY)
    done = machine.run(argv, check=False, env={"HOME": "/"})
    assert "Traceback" not in done.stderr + done.stdout
    return done


def open_checkout(machine: Machine) -> None:
    """Let every user of the machine read the checkout, which may lie in somebody's closed home.

    Only this machine's own mounts change; after a reboot it has to be done again.
    """
    closed = [path for path in reversed(CHECKOUT.parents) if not path.stat().st_mode & 0o001]
    if closed:
        _cover(machine, closed[0])


def _cover(machine: Machine, top: Path) -> None:
    script = (
        'mkdir -p /run/checkout && mount --bind "$2" /run/checkout'
        ' && mount -t tmpfs -o mode=0755 wgmlab "$1" && mkdir -p "$2"'
        ' && mount --move /run/checkout "$2"'
    )
    machine.run(["sh", "-c", script, "sh", str(top), str(CHECKOUT)])
