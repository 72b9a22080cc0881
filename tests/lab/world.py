"""A world: an internet, a forge and machines, made in a second and gone without a trace."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.forge import Author, Forge
from tests.lab.machine import Machine
from tests.lab.net import Internet
from tests.lab.pings import Pings
from tests.lab.wait import wait_until

__all__ = ["Author", "Forge", "Machine", "Pings", "World", "leftovers", "wait_until"]

FORGE_NUMBER = 1
FIRST_NUMBER = 11
DOMAIN = "example.net"


class World:
    """Machines by name: `with World(["alpha", "bravo"], nat=["delta"]) as world: world["alpha"]…`.

    `nat` names nodes behind routers of their own (IPv4 only), `second_uplink` those with an eth1.
    Every node knows each public one as NAME.example.net (IPv4) and NAME6.example.net (IPv6).
    """

    def __init__(
        self,
        nodes: Sequence[str] = ("alpha", "bravo", "charlie"),
        *,
        nat: Collection[str] = (),
        second_uplink: Collection[str] = (),
        ipv6: bool = True,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"wgmlab-{os.getpid()}-"))
        self.internet = Internet(self.directory / "state", ipv6=ipv6)
        self.nodes: dict[str, Machine] = {}
        self._machines: list[Machine] = [self.internet.hub]
        self._routers: dict[str, Machine] = {}
        self._authors: dict[str, Author] = {}
        self._number = FIRST_NUMBER
        atexit.register(self.close)
        try:
            (self.directory / "state").mkdir()
            (self.directory / "repositories").mkdir()
            self.internet.start()
            machine = self._machine("forge")
            self.internet.attach(machine, FORGE_NUMBER)
            self.forge = Forge(machine, self.directory / "repositories")
            self.forge.create()
            self.forge.start()
            for name in nodes:
                self._add(name, nat=name in nat, second_uplink=name in second_uplink)
            for name in nat:
                if name not in nodes:
                    self._add(name, nat=True, second_uplink=False)
            self._write_hosts()
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Machine:
        return self.nodes[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, name: str, *, nat: bool = False, second_uplink: bool = False) -> Machine:
        """Add one more node to the running world."""
        machine = self._add(name, nat=nat, second_uplink=second_uplink)
        self._write_hosts()
        return machine

    def author(self, name: str, *, key_type: str = "ed25519") -> Author:
        """Return the person of that name, with a clone of the forge's repository `mesh`."""
        if name not in self._authors:
            self._authors[name] = Author(
                name, self.directory / "people" / name, self.forge.path(), key_type=key_type
            )
        return self._authors[name]

    def move(self, name: str) -> str:
        """Give a NAT node's router another public address; returns it."""
        self._number += 1
        self.internet.move(self._routers[name], self._number)
        self[name].public_ipv4 = self._routers[name].ipv4
        return self[name].public_ipv4

    def close(self) -> None:
        """End every process, namespace and mount, and delete the files. Harmless twice."""
        while self._machines:
            self._machines[-1].shut_down()
            self._machines.pop()
        if self.directory.exists():
            shutil.rmtree(self.directory)
        atexit.unregister(self.close)

    def _machine(self, name: str) -> Machine:
        machine = Machine(name, self.directory / "state" / name, hub=self.internet.hub)
        self._machines.append(machine)
        machine.boot()
        return machine

    def _add(self, name: str, *, nat: bool, second_uplink: bool) -> Machine:
        assert name not in self.nodes, f"{name} is there already"
        number, self._number = self._number, self._number + 1
        if nat:
            self._routers[name] = router = self._machine(f"{name}-nat")
            machine = self._machine(name)
            self.internet.attach_behind_nat(machine, router, number)
        else:
            machine = self._machine(name)
            self.internet.attach(machine, number)
        if second_uplink:
            self.internet.attach_second(machine, number)
        self.nodes[name] = machine
        return machine

    def _write_hosts(self) -> None:
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
        for name, machine in self.nodes.items():
            if name in self._routers:
                continue
            lines.append(f"{machine.ipv4} {name}.{DOMAIN}")
            lines += [f"{machine.ipv6} {name}6.{DOMAIN}"] if machine.ipv6 else []
            lines += [f"{machine.second_ipv4} {name}-b.{DOMAIN}"] if machine.second_ipv4 else []
        for name, machine in self.nodes.items():
            machine.write("/etc/hosts", "\n".join([*lines, f"127.0.1.1 {name}"]) + "\n")


def leftovers() -> list[str]:
    """Return what worlds of this process have left behind: processes, mounts, files.

    A process of a machine is known by its environment, whose HOME lies in the world's directory.
    """
    mark = f"wgmlab-{os.getpid()}-"
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(f"process {entry.name} {(entry / 'comm').read_text().strip()}")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended while we looked, or a process that shows itself to nobody
    mounts = Path("/proc/mounts").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if mark in line]
    found += [f"directory {path}" for path in Path(tempfile.gettempdir()).glob(f"{mark}*")]
    return found
