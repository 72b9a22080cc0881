"""OpenSSH's sshd and sudo on machines of the laboratory, and a laptop whose user may log in."""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.lab import installed
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.wait import wait_until

PROGRAM = Path("/usr/sbin/sshd")
if not PROGRAM.exists():
    PROGRAM = CHECKOUT / ".venv/openssh/usr/sbin/sshd"
needed = pytest.mark.skipif(not PROGRAM.exists(), reason="no sshd: run `make venv`")
LIBRARY = CHECKOUT / ".venv/openssh/usr/lib/openssh"
ID = 6100
USER = "ops"
PASSWORD = "correct horse"
WGMESH = "/etc/lab/bin/wgmesh"
SUDOERS = """\
Defaults secure_path=/etc/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin
{user} ALL=(root) {tag}{program}
"""


def install(machine: Machine, user: str, *, password: bool = False) -> None:
    """Have `wgmesh` be a program there, which `user` may run as root; or with a password only."""
    machine.write(
        WGMESH,
        f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m wgmesh "$@"\n',
        0o755,
    )
    tag = "" if password else "NOPASSWD: "
    text = SUDOERS.format(user=user, tag=tag, program=WGMESH)
    machine.write("/etc/sudoers.d/lab", text, 0o440)


def serve(machine: Machine, public_key: str, *, password: bool = False) -> None:
    """Let who has this key log in as `ops`, who may run wgmesh as root; or with a password only."""
    _user(machine, USER)
    _user(machine, "sshd", 6101)
    machine.run(["chpasswd"], stdin=f"{USER}:{PASSWORD}\n")
    install(machine, USER, password=password)
    machine.write("/etc/ssh/lab_keys", f"{public_key}\n")
    machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/lab_host_key"])
    settings = ["HostKey /etc/ssh/lab_host_key", "AuthorizedKeysFile /etc/ssh/lab_keys"]
    settings += ["StrictModes no", "UsePAM no", "PasswordAuthentication no", "PidFile none"]
    newer = (("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth"))
    settings += [f"{key} {LIBRARY / name}" for key, name in newer if (LIBRARY / name).exists()]
    machine.write("/etc/ssh/lab_config", "\n".join(settings) + "\n")
    machine.run(["mkdir", "-p", "/run/sshd"])
    machine.popen(
        [PROGRAM, "-D", "-f", "/etc/ssh/lab_config"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(
        lambda: ":22 " in machine.run(["ss", "-Hltn", "sport = 22"]).stdout, 10, "sshd listens"
    )


class Laptop:
    """A machine where an author works, without rights, with an ssh configuration of her own."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.home = "/var/lib/ada"
        _user(machine, "ada")
        installed.open_checkout(machine)
        self.run("mkdir", "-m", "700", f"{self.home}/.ssh")
        key = f"{self.home}/.ssh/id_ed25519"
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@example.org", "-f", key)
        self.public_key = machine.read(f"{key}.pub").strip()

    def know(self, hosts: Iterable[Machine], more: str = "") -> None:
        """Write the ssh configuration in which each host has an alias, which is its name."""
        text = f"Host *\n  User {USER}\n  StrictHostKeyChecking accept-new\n  {more}\n"
        text += "  LocalForward 9 [::1]:9\n"
        text += "".join(f"Host {host.name}\n  HostName {host.ipv4}\n" for host in hosts)
        self.write(f"{self.home}/.ssh/config", text)

    def write(self, path: str, text: str) -> None:
        """Write a file of the author's."""
        self.machine.write(path, text)
        self.machine.run(["chown", f"{ID}:{ID}", path])

    def argv(self, *words: str) -> list[str]:
        """Return the command line that runs `words` as the author."""
        return ["setpriv", f"--reuid={ID}", f"--regid={ID}", "--clear-groups", "--", *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as the author."""
        return self.machine.run(self.argv(*words), check=check, env={"HOME": self.home})

    def wgmesh(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run wgmesh as the author; it may fail."""
        argv: Sequence[str] = self.argv(*self.machine.wgmesh_argv, *words)
        return self.machine.run(argv, check=False, env={"HOME": self.home}, timeout=200)


def _user(machine: Machine, name: str, number: int = ID) -> None:
    home = f"/var/lib/{name}"
    users = machine.read("/etc/passwd").rstrip()
    machine.write("/etc/passwd", f"{users}\n{name}:x:{number}:{number}::{home}:/bin/sh\n")
    shadow = machine.read("/etc/shadow").rstrip()
    machine.write("/etc/shadow", f"{shadow}\n{name}:*:20000:0:99999:7:::\n", 0o600)
    groups = machine.read("/etc/group").rstrip()
    machine.write("/etc/group", f"{groups}\n{name}:x:{number}:\n")
    machine.run(["install", "-d", "-o", str(number), "-g", str(number), home])
