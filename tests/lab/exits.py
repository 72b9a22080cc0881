"""A mesh whose node alpha uses exits, and what of its packets leaves in plaintext.

The far host lies behind the provider's gateway, where what it sees of the node is counted.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from subprocess import Popen
from typing import Any

from tests.lab.installed import add_user
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.net import Counter
from tests.lab.pings import Pings
from tests.lab.wait import wait_until
from tests.lab.world import World

FAR4, FAR6 = "203.0.113.1", "2001:db8:1::1"
NODES = ("alpha", "bravo", "charlie", "delta")
MEMORY = "/run/wgmesh/exits.json"
OVERRIDE = "/etc/wireguard/exit.override"
EXIT = {"exit_out_iface": "eth0", "enable_nat": True}
OPTIONS = f"""\
exit_nodes = ["bravo", "charlie"]
exit_primary = "bravo"
exit_test_target = ["{FAR4}", "{FAR6}"]
enable_exit_for_nodes = ["alpha"]
"""
TICK = [sys.executable, "-c", "from wgmesh.cli.exits import main; raise SystemExit(main())"]
TIMER = """
import subprocess, sys, time
while True:
    print(time.time(), flush=True)
    subprocess.run(sys.argv[1:], check=False)
    print(time.time(), "end", flush=True)
    time.sleep(9)
"""
SINK = """
import socket
listener = socket.create_server(("0.0.0.0", 9))
print("ready", flush=True)
client, _ = listener.accept()
while client.recv(1 << 16):
    pass
"""
SOURCE = """
import socket, sys, time
out = socket.create_connection((sys.argv[1], 9), 10)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    out.sendall(bytes(1 << 16))
"""
NET = CHECKOUT / "systemd" / "wgmesh-net"
SEEN = {
    "IPv4": f"ip daddr {FAR4}",
    "IPv6": f"ip6 daddr {FAR6}",
    "mesh": "ip daddr 10.40.0.0/24",
    "mesh IPv6": "ip6 daddr fd40::/64",
}


def tick(machine: Machine, *words: str) -> str:
    """Run one tick; returns what it said."""
    done = machine.run([*TICK, *words], timeout=90)
    return done.stdout + done.stderr


def memory(machine: Machine) -> dict[str, Any]:
    """Return what the ticks remember."""
    found: dict[str, Any] = json.loads(machine.read(MEMORY))
    return found


def in_use(machine: Machine) -> str:
    """Return the exit in use."""
    return str(memory(machine)["standing"]["chosen"])


def reaches(machine: Machine, address: str = FAR4) -> bool:
    """Return whether a machine reaches the far host."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0


def timer(machine: Machine) -> Popen[str]:
    """Start what the timer does: a tick, nine seconds after the end of the one before."""
    return machine.popen([sys.executable, "-c", TIMER, *TICK])


def enter(mesh: Mesh, options: str = OPTIONS) -> None:
    """Put these options into force."""
    mesh.commit({"mesh.toml": mesh.text + options}, "Exits")
    mesh.sync()


def user_of_exits(world: World) -> Mesh:
    """Make the mesh in a world of these: alpha uses the exits bravo and charlie, delta does not."""
    world.internet.beyond(f"{FAR4}/32", f"{FAR6}/128")
    mesh = Mesh(world)
    add_user(world["alpha"])
    mesh.enrol(*NODES, bravo=EXIT, charlie=EXIT)
    mesh.sync()
    enter(mesh)
    mesh.wait_for_tunnels()
    return mesh


@contextmanager
def put_right(mesh: Mesh) -> Iterator[Machine]:
    """Yield the node that uses exits; afterwards everything works again, by the primary exit."""
    alpha = mesh.world["alpha"]
    tick(alpha)
    yield alpha
    for name in ("bravo", "charlie"):
        mesh.world.internet.restore(name)
    alpha.wgmesh("reconcile", check=False)
    for name in ("bravo", "charlie"):  # else the selector finds one first, and stays with it
        wait_until(partial(mesh.pings, "alpha", name), 60, f"the tunnel to {name} works again")
    alpha.run(["rm", "-f", MEMORY, OVERRIDE])
    alpha.wgmesh("sync", check=False)
    alpha.wgmesh("reconcile", check=False)
    wait_until(
        lambda: not tick(alpha) and reaches(alpha) and reaches(alpha, FAR6), 60, "all is well"
    )
    assert in_use(alpha) == "bravo"


@dataclass(frozen=True, slots=True)
class Carried:
    """What a stream of bytes through an exit came to, in both directions of both interfaces."""

    mbit_per_second: float
    uplink_bytes: int
    tunnel_bytes: int

    @property
    def ratio(self) -> float:
        """Return the uplink's bytes by the tunnel's: much over 1 where packets go round."""
        return self.uplink_bytes / self.tunnel_bytes


def carry(mesh: Mesh, seconds: float) -> Carried:
    """Send as much as goes to the far host for so long, through the exit in use."""
    alpha, hub = mesh.world["alpha"], mesh.world.internet.hub
    sink = hub.popen([sys.executable, "-c", SINK])
    try:
        assert sink.stdout is not None and sink.stdout.readline() == "ready\n"
        before = {name: _bytes(alpha, name) for name in ("eth0", "wg0")}
        alpha.run([sys.executable, "-c", SOURCE, FAR4, str(seconds)], timeout=seconds + 60)
        through = {name: _bytes(alpha, name) - before[name] for name in before}
    finally:
        sink.kill()
        sink.communicate()
    return Carried(through["wg0"] * 8 / seconds / 1e6, through["eth0"], through["wg0"])


def _bytes(machine: Machine, interface: str) -> int:
    every = [f"/sys/class/net/{interface}/statistics/{way}_bytes" for way in ("tx", "rx")]
    return sum(map(int, machine.run(["cat", *every]).stdout.split()))


@contextmanager
def watched(mesh: Mesh) -> Iterator[dict[str, Counter]]:
    """Keep traffic of every kind going; yields what the provider sees of it in plaintext."""
    alpha = mesh.world["alpha"]
    counters = {name: mesh.world.internet.count("alpha", match) for name, match in SEEN.items()}
    with ExitStack() as stack:
        for target in (FAR4, FAR6, mesh.address("delta"), mesh.address("delta", 6)):
            stack.enter_context(Pings(alpha, target, 0.01))
        yield counters


def leaked(counters: dict[str, Counter]) -> dict[str, int]:
    """Return what was seen that must not be."""
    return {name: count for name, each in counters.items() if (count := each.packets())}
