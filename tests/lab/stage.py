"""A node between two inventories that differ in everything, whose transaction is cut anywhere."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.state import KILLER, State, state, unfinished
from tests.lab.wait import wait_until
from tests.lab.world import World

WGMESH_NET = CHECKOUT / "systemd" / "wgmesh-net"
TWO_PORTS = """
table inet two_ports {
    chain prerouting {
        type nat hook prerouting priority dstnat
        udp dport 51999 redirect to :51820
    }
}
"""
OLD: dict[str, dict[str, Any] | None] = {
    "alpha": {},
    "gone": {},
    "charlie": {"allowed_ips": ["192.168.60.0/24", "192.168.61.0/24"]},
    "fresh": None,
}
NEW: dict[str, dict[str, Any] | None] = {
    "alpha": {
        "address": ["10.40.0.1/32", "10.40.0.101/32", "fd40::1/128"],
        "listen_port": 51821,
        "forwarding": True,
        "nat_iface": "eth0",
        "enable_nat": True,
    },
    "gone": None,
    "charlie": {
        "endpoint": "198.18.0.13:51999",
        "allowed_ips": ["192.168.61.0/24", "192.168.62.0/24"],
    },
    "fresh": {"allowed_ips": ["192.168.60.0/24"]},
}


@dataclass
class Stage:
    """alpha with its tunnels, and two inventories to change between."""

    mesh: Mesh
    keys: dict[str, str]
    log: Path
    states: dict[str, State] = field(default_factory=dict)
    operations: dict[str, list[str]] = field(default_factory=dict)

    @property
    def alpha(self) -> Machine:
        return self.mesh.world["alpha"]

    def offer(self, which: str) -> str:
        """Commit one of the two inventories."""
        files: dict[str, str | None] = {}
        for name, fields in (OLD if which == "old" else NEW).items():
            path = f"nodes/{name}.toml"
            if fields is not None:
                files[path] = self.mesh.entry(name, self.keys[name], fields)
            elif (self.mesh.author.tree / path).exists():
                files[path] = None
        return self.mesh.commit(files, which)

    def killed_sync(
        self, when: int | str, whom: str = "agent", *, retry: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a sync that is killed right before an operation: see tests/lab/killer."""
        done = self.struck_sync(when, whom, retry=retry)
        if when:
            assert done.returncode == -signal.SIGKILL, f"{when} was not reached: {done}"
        return done

    def struck_sync(
        self, when: int | str, whom: str, *, retry: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a sync that is killed, or loses its file system, right before an operation."""
        env = {"PYTHONPATH": f"{KILLER}:{CHECKOUT}", "WGLAB_KILL": f"{when}|{whom}|{self.log}"}
        arguments = ["--retry"] if retry else []
        return self.alpha.wgmesh("sync", *arguments, check=False, env=env)

    def logged(self) -> list[str]:
        """Return the operations of the last sync, in order."""
        return self.log.read_text().replace(sys.executable, "PYTHON").splitlines()

    def done(self, what: str) -> bool:
        """Return whether the last sync came past an operation: its last line was not done."""
        return any(what in said for said in self.logged()[:-1])

    def go(self, which: str) -> list[str]:
        """Let alpha arrive at one of the two, undisturbed; returns the operations that it took."""
        self.offer(which)
        done = self.killed_sync(0)
        assert done.returncode == 0, done.stderr
        return self.logged()

    def set_out(self, target: str) -> str:
        """Run the other one of the two, with `target` offered; returns which that is."""
        start = "old" if target == "new" else "new"
        if state(self.alpha).content != self.states[start].content:
            self.go(start)
        self.offer(target)
        return start

    def arrived(self, which: str) -> None:
        """Require that alpha is `which` of the two wholly, in kernel and on disk, at rest."""
        assert unfinished(self.alpha) == ""
        now, whole = state(self.alpha).content, self.states[which].content
        assert now == whole

    def tunnel_works(self, deadline_seconds: float = 3) -> None:
        """Require that bravo reaches alpha (first, for alpha may not have spoken), and back."""
        for one, other in (("bravo", "alpha"), ("alpha", "bravo")):
            wait_until(partial(self.ping, one, other), deadline_seconds, f"{one} reaches {other}")

    def ping(self, one: str, other: str) -> bool:
        return self.mesh.pings(one, other) and self.mesh.pings(one, other, 6)


def at(operations: Sequence[str], what: str) -> int:
    """Return the number of the last operation that contains `what`."""
    return max(number for number, said in enumerate(operations, 1) if what in said)


def stage(world: World) -> Stage:
    """Let alpha run OLD, having run NEW, and note both states and the operations in between."""
    mesh = Mesh(world)
    keys = {name: mesh.join(name) for name in world.nodes}
    made = Stage(mesh, keys, world.directory / "operations")
    mesh.numbers |= {name: number for number, name in enumerate(world.nodes, 1)}
    assert world["charlie"].ipv4 in str(NEW["charlie"])
    # charlie is found at two ports, and answers from the one that it was asked at
    world["charlie"].run(["nft", "-f", "-"], stdin=TWO_PORTS)
    mesh.commit({"nodes/bravo.toml": mesh.entry("bravo", keys["bravo"])}, "bravo")
    made.offer("old")
    mesh.sync("alpha", "bravo", "charlie", "gone")
    for name in ("bravo", "charlie", "gone"):
        mesh.wait_for_tunnels("alpha", name)
    made.states["old"] = state(made.alpha)
    made.operations["new"] = made.go("new")
    mesh.sync("fresh")
    mesh.wait_for_tunnels("alpha", "fresh")
    made.states["new"] = state(made.alpha)
    made.operations["old"] = made.go("old")
    made.arrived("old")
    return made


def boot(machine: Machine, prepare: str = "true") -> None:
    """Power-cycle a machine, run a shell script there, and do what its units do at boot."""
    machine.reboot()
    machine.run(["sh", "-ec", prepare])
    machine.wgmesh("recover")
    machine.run(["wg-quick", "up", "wg0"])
    machine.run(["sh", WGMESH_NET, "up", "wg0"])
