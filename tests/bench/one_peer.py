"""`python -m tests.bench.one_peer`: what a change of one peer costs a node of a large mesh.

Two of the nodes are there, the others are entries of the inventory. Beside `wgmesh sync`, what
`wg syncconf` and a restart by wg-quick take for the same change of the same device. By itself 100
nodes: with 1,000, `--nodes 1000`, wg-quick takes so long that it is a soak.
"""

import json
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from statistics import median

from tests.bench import taken
from tests.bench.result import Column, Effort, Result, Row, markdown, median_of, options
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.wait import wait_until
from tests.lab.world import World

NODES = 100
RUNS = 3
LIMIT_SECONDS = 1800
HOME = "192.168.60.0/24"
PLAIN = "/etc/wireguard/plain"
TRACE = (
    "strace",
    "-f",
    "--seccomp-bpf",
    "-qq",
    "-s",
    "10000000",
    "-e",
    "trace=write,writev,sendto,sendmsg",
    "-o",
)
TRACED = "/run/traced"
_WRITE = re.compile(r'^(\d+) +write\((\d+), "(.*)", \d+', re.MULTILINE)
_PEER = re.compile(r"public_key=([0-9a-f]{64})")
_ROUTE = re.compile(r"nlmsg_type=(?:RTM_(?:NEW|DEL)ROUTE|0x1[89] )")
"""In Python's sockets strace does not know the type's name: <linux/rtnetlink.h> has the numbers."""
SYNCCONF, RESTART, SYNC = "`wg syncconf`", "`ip link del`, `wg-quick up`", "`wgmesh sync`"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a program took: seconds, its and its children's largest memory, and the pings lost."""

    seconds: float
    peak_mib: float
    lost: int


@dataclass
class Large:
    """A mesh of many, of which alpha and bravo are there."""

    mesh: Mesh
    keys: dict[str, str]
    nodes: int
    more: bool = False

    @property
    def alpha(self) -> Machine:
        return self.mesh.world["alpha"]

    def text(self) -> str:
        """Return mesh.toml; with `more` one of those that are not there has a network behind it."""
        lines = ["[mesh]", 'interface = "wg0"', 'mesh_cidr = ["10.40.0.0/16", "fd40::/64"]']
        for number in range(1, self.nodes + 1):
            name = {1: "alpha", 2: "bravo"}.get(number, f"node-{number:04}")
            address = [f"10.40.{number >> 8}.{number & 255}/32", f"fd40::{number:x}/128"]
            host = f"100.64.{number >> 8}.{number & 255}"  # beyond the router, where nobody is
            if name in self.keys:
                host = self.mesh.world[name].ipv4
            absent = b64encode(sha256(name.encode()).digest()).decode()
            lines += [f"[node.{name}]", f"address = {json.dumps(address)}"]
            lines += [f'public_key = "{self.keys.get(name, absent)}"', f'endpoint = "{host}:51820"']
            if self.more and number == self.nodes // 2:
                lines.append(f'allowed_ips = ["{HOME}"]')
        return "\n".join(lines) + "\n"

    def turn(self) -> None:
        """Commit the inventory with that network, or without it again."""
        self.more = not self.more
        self.mesh.commit({"mesh.toml": self.text()}, "One peer")


def large(world: World, nodes: int = NODES) -> Large:
    """Return a mesh of `nodes`, which alpha and bravo have joined and run."""
    mesh = Mesh(world)
    world.internet.hub.run(["ip", "route", "add", "blackhole", "100.64.0.0/10"])
    made = Large(mesh, {name: mesh.join(name) for name in ("alpha", "bravo")}, nodes)
    mesh.commit({"mesh.toml": made.text()}, "Many")
    for name in ("alpha", "bravo"):
        world[name].wgmesh("sync", timeout=300)
    return made


def cost(of: Large, *argv: str) -> Cost:
    """Return what `argv` takes on alpha, while bravo pings it each 20 ms."""
    with Pings(of.mesh.world["bravo"], "10.40.0.1", 0.02) as pings:
        took = taken.read(of.alpha.run(taken.timed(argv), timeout=LIMIT_SECONDS).stdout)
    return Cost(took.wall_seconds, took.peak_mib, pings.stop().lost)


def touched(of: Large, *argv: str) -> tuple[int, int]:
    """Return how many peers `argv` writes to the device, and how many routes."""
    daemons = of.alpha.pids("wireguard-go")
    tracer = of.alpha.popen([*TRACE, TRACED, *argv])
    if argv[0] == "sh":  # strace stays as long as the wireguard-go that wg-quick has started
        wait_until(lambda: of.alpha.pids("wireguard-go") not in ([], daemons), 1800, "it is up")
        wait_until(lambda: of.alpha.pids("wg-quick") == [], 1800, "wg-quick is done")
        of.alpha.run(["ip", "link", "del", "wg0"])
    tracer.communicate(timeout=300)
    traced = of.alpha.read(TRACED)
    said: dict[tuple[str, str], str] = {}  # by process and file: wg writes 4,096 bytes at a time
    for process, file, text in _WRITE.findall(traced):
        said[process, file] = said.get((process, file), "") + text
    peers = {peer for each in said.values() for peer in _PEER.findall(each)}
    return len(peers), len(_ROUTE.findall(traced))


def by_wgmesh(of: Large) -> list[str]:
    """Return the argv of a sync that has one peer to change."""
    of.turn()
    return [*of.alpha.wgmesh_argv, "sync"]


def plain(of: Large) -> None:
    """Write the same change as a file that wg-quick alone would use."""
    of.more = not of.more
    shown = of.alpha.run(["wg", "showconf", "wg0"]).stdout
    head, *peers = shown.split("[Peer]\n")
    middle = b64encode(sha256(f"node-{of.nodes // 2:04}".encode()).digest()).decode()
    turned = []
    for peer in peers:
        bare = peer.replace(f", {HOME}", "").replace(f"{HOME}, ", "")
        more = bare.replace("AllowedIPs = ", f"AllowedIPs = {HOME}, ")
        turned.append(peer if middle not in peer else more if of.more else bare)
    head = head.rstrip() + "\nAddress = 10.40.0.1/32, fd40::1/128\nMTU = 1420\n\n"
    of.alpha.write(f"{PLAIN}/wg0.conf", "[Peer]\n".join([head, *turned]), 0o600)


def by_syncconf(of: Large) -> list[str]:
    """Return the argv of a syncconf with one peer to change."""
    plain(of)
    return ["bash", "-c", f"wg syncconf wg0 <(wg-quick strip {PLAIN}/wg0.conf)"]


def by_restart(of: Large) -> list[str]:
    """Return the argv of a restart with one peer to change."""
    plain(of)
    gone = "ip link del wg0 && while [ -e /sys/class/net/wg0 ]; do :; done"
    return ["sh", "-c", f"{gone}; wg-quick up {PLAIN}/wg0.conf"]


def row(name: str, of: Large, make: Callable[[Large], list[str]], runs: int) -> Row:
    """Return what a way to make the change costs, as a row of the table."""
    costs = [cost(of, *make(of)) for _ in range(runs)]
    peers, routes = touched(of, *make(of))
    seconds = median(each.seconds for each in costs)
    peak = max(each.peak_mib for each in costs)
    return Row(name, (peers, routes, seconds, peak, median(each.lost for each in costs)))


WAYS: Mapping[str, Callable[[Large], list[str]]] = {
    SYNC: by_wgmesh,
    SYNCCONF: by_syncconf,
    RESTART: by_restart,
}


def measure(nodes: int, runs: int) -> list[Result]:
    """Make the change in each way, and show what is known while the others take their time."""
    rows = []
    with World(("alpha", "bravo")) as world:
        of = large(world, nodes)
        for name, make in WAYS.items():
            rows.append(row(name, of, make, runs))
            print(name, *rows[-1].values, file=sys.stderr, flush=True)
    seconds = {each.name: float(each.values[2] or 0) for each in rows}
    columns = (Column("peers written"), Column("routes written"), Column("seconds", 1))
    return [
        Result(
            "one_peer",
            f"{median_of(runs)}, {nodes:,} nodes",
            "program",
            (*columns, Column("peak MiB"), Column("pings lost")),
            tuple(rows),
            {
                "syncconf": seconds[SYNC] / seconds[SYNCCONF],
                "restart": seconds[SYNC] / seconds[RESTART],
            },
        )
    ]


def benchmark(effort: Effort) -> list[Result]:
    """Measure the mesh of a hundred."""
    return measure(NODES, effort.of(RUNS))


def main() -> int:
    """Measure a mesh of any size and print the table."""
    parser = options("tests.bench.one_peer")
    parser.add_argument("--nodes", type=int, default=NODES)
    chosen = parser.parse_args()
    runs = Effort(chosen.runs, chosen.quick).of(RUNS)
    for result in measure(chosen.nodes, runs):
        sys.stdout.write(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
