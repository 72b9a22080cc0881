"""`python -m tests.bench.polls`: what a node's polls cost the git server, by git://, ssh and https.

A real sync of a real node: nothing is new; a commit is new that changes nothing on the node; one
that does, with all that the proof asks; and one of a star of a thousand nodes. At the server its
card and its CPU time are looked at. ssh is dropbear; https a small server in Python before git's
own http-backend, with a connection for each request. Bytes and turns are about those of any server,
CPU time is not.
"""

import argparse
import base64
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from os import sysconf
from pathlib import Path

from tests.bench.cpu import table
from tests.bench.wire import Connection, watched
from tests.lab.installed import ID, add_user
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.private import HttpsForge, SshForge, name_host, trust_ca
from tests.lab.world import World

NODES = ("alpha", "bravo", "charlie")
PORTS = {"git": 9418, "ssh": 22, "https": 443}
POLL, NEWS, CHANGE = "nothing new", "a commit for others", "a commit for this node"
LARGE = "a commit for others, inventory of 1,000"
MORE = 997
PASSWORD = "hunter2-and-more"
RUNS = 20
TICKS = sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one sync costs the server. `open_seconds` and `turns` are sums over its connections.

    `turns` is how often the way there and back is waited for; in the laboratory it takes no time.
    """

    connections: float
    to_server_bytes: float
    to_client_bytes: float
    open_seconds: float
    turns: float
    server_cpu_seconds: float
    sync_seconds: float


def joined(mesh: Mesh, way: str) -> None:
    """Let alpha follow the inventory by that way, and the others by git://; all converge."""
    world = mesh.world
    for name in NODES:
        add_user(world[name])
    alpha = world["alpha"]
    name_host(alpha, world.forge)
    if way == "ssh":
        ssh = SshForge(world.forge)
        words = ["join", ssh.url, "--introduction", mesh.introduction, "--deploy-key"]
        alpha.wgmesh(*words, check=False)  # makes the key, and is not let in yet
        ssh.admit(alpha.read("/etc/wgmesh/ssh/id_ed25519.pub").strip())
        printed = alpha.wgmesh(*words).stdout
    elif way == "https":
        web = HttpsForge(world.forge, world.directory / "web", "reader", PASSWORD)
        trust_ca(alpha, web.ca)
        credentials = "/etc/wgmesh/git-credentials"
        host = web.url.removeprefix("https://").partition("/")[0]
        alpha.write(credentials, f"https://reader:{PASSWORD}@{host}\n", 0o640)
        alpha.run(["chgrp", str(ID), credentials])
        printed = alpha.wgmesh("join", web.url, "--introduction", mesh.introduction).stdout
    else:
        printed = alpha.wgmesh("join", mesh.url, "--introduction", mesh.introduction).stdout
    key = printed.split('public_key = "')[1].split('"')[0]
    files = {"nodes/alpha.toml": mesh.entry("alpha", key)}
    for name in NODES[1:]:
        files[f"nodes/{name}.toml"] = mesh.entry(name, mesh.join(name))
    mesh.commit(dict(files), "Everybody")
    for _ in range(2):
        mesh.sync()
    mesh.wait_for_tunnels()


def cpu_seconds(machine: Machine) -> float:
    """Return the CPU time of a machine's processes, those included that they have waited for."""
    taken = 0
    for pid in machine.pids():
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            taken += sum(map(int, fields[11:15]))  # utime to cstime, proc(5)
    return taken / TICKS


def cost(mesh: Mesh, way: str, prepare: Callable[[int], object], runs: int = RUNS) -> Cost:
    """Return what one sync of alpha costs the server, each after what `prepare` does: the mean."""
    forge, taken = mesh.world.forge.machine, 0.0
    before = cpu_seconds(forge)
    with watched(forge, PORTS[way]) as seen:
        for number in range(runs):
            prepare(number)
            begun = time.monotonic()
            mesh.world["alpha"].wgmesh("sync")
            taken += time.monotonic() - begun
    return mean(seen, cpu_seconds(forge) - before, taken, runs)


def mean(seen: Sequence[Connection], cpu: float, taken: float, runs: int) -> Cost:
    """Return the cost of one of `runs` syncs that made these connections."""
    return Cost(
        connections=len(seen) / runs,
        to_server_bytes=sum(each.to_server_bytes for each in seen) / runs,
        to_client_bytes=sum(each.to_client_bytes for each in seen) / runs,
        open_seconds=sum(each.seconds for each in seen) / runs,
        turns=sum(each.turns for each in seen) / runs,
        server_cpu_seconds=cpu / runs,
        sync_seconds=taken / runs,
    )


def measure(way: str, runs: int = RUNS) -> dict[str, Cost]:
    """Return the costs of the three cases by that way, in a laboratory of its own."""
    with World(NODES) as world:
        mesh = Mesh(world)
        joined(mesh, way)
        entry = world["bravo"].run(["wg", "show", "wg0", "public-key"]).stdout.strip()

        def for_others(number: int) -> None:
            mesh.commit({"README": f"{number}\n"}, "Words")

        def for_this(number: int) -> None:
            behind = {"allowed_ips": [f"192.168.{number}.0/24"]}
            mesh.commit({"nodes/bravo.toml": mesh.entry("bravo", entry, behind)}, "A network")

        def for_one_of_many(number: int) -> None:
            mesh.commit({"nodes/peer-7.toml": peer(7, number)}, "A keepalive")

        mesh.sync()
        found = {
            POLL: cost(mesh, way, lambda _: None, runs),
            NEWS: cost(mesh, way, for_others, runs),
            CHANGE: cost(mesh, way, for_this, runs),
        }
        large(mesh)
        return found | {LARGE: cost(mesh, way, for_one_of_many, runs)}


def large(mesh: Mesh) -> None:
    """Let the inventory be a star of a thousand, each in a file of its own; alpha is a spoke."""
    text = mesh.text.replace("10.40.0.0/24", "10.40.0.0/16")
    text += 'topology = "star"\nhubs = ["bravo"]\n'
    author = mesh.author
    author.pull()
    for number in range(MORE):
        (author.tree / f"nodes/peer-{number}.toml").write_text(peer(number, 0))
    author.git("add", "--all")
    author.commit({"mesh.toml": text}, "Many")
    author.push()
    mesh.world["alpha"].wgmesh("sync")


def peer(number: int, keepalive: int) -> str:
    """Return the file of a node that is an entry of the inventory only."""
    key = base64.b64encode(random.Random(number).randbytes(32)).decode()
    high, low = divmod(number, 250)
    return (
        f'address = "10.40.{high + 1}.{low + 1}/32"\npublic_key = "{key}"\n'
        f"persistent_keepalive = {keepalive}\n"
    )


def read(path: Path) -> dict[str, dict[str, Cost]]:
    """Return what a run with `--json` has printed."""
    every = json.loads(path.read_text())
    return {way: {k: Cost(**v) for k, v in cases.items()} for way, cases in every.items()}


def rows(found: Mapping[str, Mapping[str, Cost]]) -> list[list[str]]:
    """Return the rows of the table for docs/scale.md."""
    return [
        [
            f"{way}: {case}",
            f"{each.connections:.1f}",
            f"{each.to_server_bytes / 1000:.1f}",
            f"{each.to_client_bytes / 1000:.1f}",
            f"{each.turns:.1f}",
            f"{1000 * each.open_seconds:.0f}",
            f"{1000 * each.server_cpu_seconds:.0f}",
            f"{each.sync_seconds:.1f}",
        ]
        for way, cases in found.items()
        for case, each in cases.items()
    ]


HEAD = (
    *("one sync", "connections", "kB to the server", "kB to the node", "turns", "open ms"),
    *("server CPU ms", "the node's s"),
)


def main() -> int:
    """Measure by each way and print the table; `--json`: what tests/bench/polls.json has."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.polls")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {way: measure(way, options.runs) for way in PORTS}
    if options.json:
        every = {way: {k: asdict(v) for k, v in cases.items()} for way, cases in found.items()}
        print(json.dumps(every, indent=1))
    else:
        sys.stdout.write(table(HEAD, rows(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
