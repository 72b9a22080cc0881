"""A mesh of booted machines: wgmesh from the signed repository, joined, driven by its timers."""

import json
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from tests.fleet.booted import BootedMachine
from tests.fleet.fleet import Fleet
from tests.fleet.software import Repository
from tests.lab.machine import CommandError
from tests.lab.mesh import Mesh
from tests.lab.state import state
from tests.lab.wait import wait_until

POLL_SECONDS = 5
DELAY_SECONDS = 2
# Noticing, the baseline of unanswered probes, the proof, and a machine that does three times that.
WORK_SECONDS = 25
TURN_SECONDS = POLL_SECONDS + DELAY_SECONDS + WORK_SECONDS
POLICY = f"""\
poll_interval_seconds = {POLL_SECONDS}
random_delay_seconds = {DELAY_SECONDS}
"""
# These kernels have no WireGuard: the device is a process, which the real thing would not need.
USERSPACE = """\
[Service]
BindPaths=/dev/net/tun
DeviceAllow=/dev/net/tun rw
"""
TURN = ("fetch", "sync")
TIMERS = ("wgmesh-sync.timer", "wg-failover.timer")
USERSPACE_UNITS = ("wgmesh-sync.service", "wgmesh-recover.service")


def install(machines: Collection[BootedMachine], repository: Repository) -> None:
    """Install wgmesh on these machines from the signed repository, all at a time."""
    for machine in machines:
        repository.add_to(machine)
    everywhere(machines, ["apt-get", "install", "-y", "wgmesh"])
    for machine in machines:
        for unit in USERSPACE_UNITS:
            machine.write(f"/etc/systemd/system/{unit}.d/userspace.conf", USERSPACE)
        machine.run(["systemctl", "daemon-reload"])


def everywhere(
    machines: Collection[BootedMachine], argv: Sequence[str], *, timeout: float = 240
) -> list[str]:
    """Run a command on each machine at the same time; returns what each printed."""
    children = [(machine, machine.popen(argv, stderr=subprocess.STDOUT)) for machine in machines]
    printed = []
    for machine, child in children:
        out, _ = child.communicate(timeout=timeout)
        if child.returncode != 0:
            raise CommandError(f"{machine.name}: {' '.join(argv)} exited {child.returncode}\n{out}")
        printed.append(out)
    return printed


def ours(machine: BootedMachine) -> dict[str, str]:
    """Return what the kernel of a machine holds for the mesh; others' firewall tables left out."""
    kernel = dict(state(machine).kernel)
    listed = machine.run(["nft", "-s", "list", "table", "inet", "wgmesh"], check=False)
    return kernel | {"nft": listed.stdout}


def comes_back(machine: BootedMachine, before: dict[str, str], seconds: float) -> None:
    """Require that within so many seconds a machine has again what `ours` said of it before."""
    wait_until(lambda: ours(machine) == before, seconds, f"{machine.name} has again {before}")


class TimedMesh(Mesh):
    """A mesh whose nodes run `wgmesh` only by their timers, unless a test types it."""

    def __init__(self, fleet: Fleet, *, author: str = "ada") -> None:
        super().__init__(fleet, author=author)
        self.fleet = fleet
        self.keys: dict[str, str] = {}
        self.fields: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> BootedMachine:
        return self.fleet.booted[name]

    def join_all(self, names: Iterable[str]) -> str:
        """Let machines join and merge their entries; returns the commit once all run it."""
        for name in names:
            self.policy(name)
            self.keys[name] = self.join(name)
        commit = self.change(f"Add {', '.join(self.keys)}")
        self.converge(commit)
        return commit

    def change(self, message: str, **fields: Mapping[str, Any]) -> str:
        """Commit the entries of all nodes, these ones with these fields over their own."""
        files: dict[str, str | None] = {}
        for name, key in self.keys.items():
            own = self.fields.get(name, {}) | dict(fields.get(name, {}))
            files[f"nodes/{name}.toml"] = self.entry(name, key, own)
        return self.commit(files, message)

    def converge(self, commit: str, *names: str, seconds: float = TURN_SECONDS) -> float:
        """Wait until these nodes (all without names) run `commit`; returns how long it took."""
        begun = time.monotonic()
        for name in names or tuple(self.keys):
            wait_until(
                partial(self.is_at, name, commit),
                max(0.1, begun + seconds - time.monotonic()),
                f"{name} runs {commit[:12]}",
            )
        return time.monotonic() - begun

    def hurry(self, commit: str) -> None:
        """Type `wgmesh sync` on all nodes at once, and wait until all run `commit`."""
        children = [self[name].popen(["wgmesh", "sync"]) for name in self.keys]
        for child in children:
            child.communicate(timeout=180)  # 9, another one at work, is as good: `converge` tells
        self.converge(commit)

    def is_at(self, name: str, commit: str) -> bool:
        """Return whether a node runs `commit`."""
        return self.runs(name) == commit

    def follows(self, name: str, commit: str) -> bool:
        """Return whether a node runs `commit`, and will run what comes after it."""
        machine = self[name]
        return (
            machine.running
            and self.is_at(name, commit)
            and machine.unit(TIMERS[0], "ActiveState") == "active"
        )

    def runs(self, name: str) -> str | None:
        """Return the id of the commit that a node runs, as the file for everybody has it."""
        shown = self.shown(name)
        return shown["commit"]["id"] if shown and shown["commit"] else None

    def shown(self, name: str) -> dict[str, Any] | None:
        """Return /run/wgmesh/status.json of a node: what its last turn left, asking nothing."""
        text = self[name].peek("/run/wgmesh/status.json")
        shown: dict[str, Any] | None = json.loads(text) if text else None
        return shown

    def policy(self, name: str, *, most: int = 16, silent: int = 26, minority: int = 45) -> None:
        """Write a machine's wgmesh.toml: the fleet's polls, these confirm windows."""
        super().policy(name, most=most, silent=silent, minority=minority)
        path = "/etc/wgmesh/wgmesh.toml"
        self[name].write(path, POLICY + self[name].read(path))

    def has(self, name: str) -> bool:
        """Return whether the inventory has a file for that node."""
        return bool(self.author.git("ls-files", f"nodes/{name}.toml"))

    def turning(self, name: str) -> bool:
        """Return whether a turn of the loop is under way on a node, its fetch included."""
        states = [self[name].unit(f"wgmesh-{what}.service", "ActiveState") for what in TURN]
        return "activating" in states

    def settle(self) -> None:
        """Bring all nodes to the plain entries, by hand, with no hold or quarantine left.

        Also one that has left the mesh, was shut down, or whose timers somebody stopped.
        """
        for name in self.keys:
            if not self[name].running:
                self[name].boot()
            self.policy(name)
            if self[name].exists("/etc/wgmesh/node.toml"):
                self[name].run(["systemctl", "start", *TIMERS])
            else:
                self.join(name)
            self[name].wgmesh("resume")
        self.hurry(self.change("All plain"))
        self.wait_for_tunnels()
