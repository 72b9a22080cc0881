"""`python -m tests.soak.loss`: packets that tunnels lose while each kind of change is applied.

A ping every 5 ms crosses each tunnel of four nodes while these apply a change one after another.
The same changes are then made on the same machines run by wg-quick, with a conf that says the same:
once by `wg-quick down` and `up`, once by `wg syncconf`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

from tests.bench.cpu import table
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.pings import PingCount, Pings
from tests.lab.wait import wait_until
from tests.lab.world import World
from tests.soak import labs
from tests.soak.changes import CHANGES
from tests.soak.converge import GUEST, Fleet, fleet
from tests.soak.labs import Record
from tests.soak.streams import answers, passes

FOUR = ("alpha", "bravo", "charlie", "delta")
CONF = "/etc/wireguard/wg0.conf"
RESTART, SYNCCONF = "wg-quick down/up", "wg syncconf"
METHODS = ("wgmesh", RESTART, SYNCCONF)

Tunnel = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Conf:
    """A node's wg0.conf as wg-quick alone would have it: its own lines, and those of each peer."""

    own: tuple[str, ...]
    peers: Mapping[str, tuple[str, ...]]

    @property
    def text(self) -> str:
        """The file."""
        parts = [("[Interface]", *self.own), *(("[Peer]", *lines) for lines in self.peers.values())]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    @property
    def identity(self) -> tuple[str, ...]:
        """What of its own lines every tunnel has to do with."""
        return tuple(line for line in self.own if line.startswith(("PrivateKey", "ListenPort")))


Confs = Mapping[str, Conf]


def conf(machine: Machine) -> Conf:
    """Return what a node's generation comes to without wgmesh: routes by wg-quick, keys inside."""
    head, *sections = machine.read(CONF).split("[Peer]\n")
    ours = ("Table =", "PostUp =", "#", "[Interface]")
    own = [line for line in head.splitlines() if line and not line.startswith(ours)]
    own.append(f"PrivateKey = {machine.read('/etc/wireguard/wg0.key').strip()}")
    peers = {}
    for section in sections:
        lines = section.split("\n\n")[0].splitlines()
        said = dict(line.removeprefix("# ").split(" = ", 1) for line in lines)
        kept = ("PublicKey", "AllowedIPs", "Endpoint", "PersistentKeepalive")
        found = [f"{key} = {said[key]}" for key in kept if key in said]
        path = said.get("PresharedKeyPath", "")
        if path and machine.exists(path):
            found.append(f"PresharedKey = {machine.read(path).strip()}")
        peers[said["Name"]] = tuple(found)
    return Conf(tuple(own), peers)


def concerned(before: Confs, after: Confs) -> frozenset[Tunnel]:
    """Return the tunnels of which a change says something, at either end."""
    return frozenset(
        (one, other)
        for one, other in combinations(FOUR, 2)
        if any(
            before[me].identity != after[me].identity
            or before[me].peers.get(peer) != after[me].peers.get(peer)
            for me, peer in ((one, other), (other, one))
        )
    )


def counted(
    world: World, address: Callable[[str], str], apply: Callable[[], None]
) -> dict[Tunnel, PingCount]:
    """Count what every two nodes lose, from before `apply` until all reach one another again."""
    with ExitStack() as running:
        pings = {
            (one, other): running.enter_context(Pings(world[one], address(other)))
            for one, other in combinations(FOUR, 2)
        }
        passes(list(pings.values()))
        apply()
        passes(list(pings.values()))
        return {pair: each.stop() for pair, each in pings.items()}


def record(
    method: str, kind: str, of: frozenset[Tunnel], found: Mapping[Tunnel, PingCount]
) -> Record:
    """Return what is kept of a change: the tunnels that it concerns, and the others."""

    def part(pairs: Sequence[Tunnel]) -> dict[str, Any]:
        some = [found[pair] for pair in pairs]
        return {
            "tunnels": len(some),
            "sent": sum(each.sent for each in some),
            "lost": sum(each.lost for each in some),
            "gap_ms": round(1000 * max((e.longest_gap_seconds for e in some if e.lost), default=0)),
        }

    others = [pair for pair in found if pair not in of]
    return {"method": method, "kind": kind, "own": part([*of]), "others": part(others)}


def by_wgmesh(of: Fleet, kinds: Sequence[str]) -> Iterator[tuple[str, Confs, Confs, Record]]:
    """Make every change by commits and syncs; yields the confs before and after it too."""
    for kind in kinds:
        before = {name: conf(of[name]) for name in FOUR}
        of.reach(30)
        CHANGES[kind](of)
        commit = of.commit(kind)

        def sync(commit: str = commit) -> None:
            for name in of.members:
                done = of[name].wgmesh("sync")
                assert commit[:12] in done.stdout, done.stdout + done.stderr

        found = counted(of.mesh.world, of.mesh.address, sync)
        after = {name: conf(of[name]) for name in FOUR}
        yield kind, before, after, record("wgmesh", kind, concerned(before, after), found)


def by_hand(
    world: World, mesh: Mesh, method: str, kind: str, before: Confs, after: Confs
) -> Record:
    """Make the same change by a tool of wireguard-tools, on machines that run `before`."""
    for name in FOUR:
        world[name].run(["wg-quick", "down", "wg0"], check=False)
        start(world[name], before[name])
    for one, other in combinations(FOUR, 2):
        reaches = partial(answers, world[one], mesh.address(other))
        wait_until(reaches, 30, f"{one} reaches {other}")

    def apply() -> None:
        for name in FOUR:
            if before[name] != after[name]:
                change(world[name], method, after[name])

    found = counted(world, mesh.address, apply)
    return record(method, kind, concerned(before, after), found)


def start(machine: Machine, wanted: Conf) -> None:
    """Bring wg0 up as wg-quick does it."""
    machine.write(CONF, wanted.text, 0o600)
    machine.run(["wg-quick", "up", "wg0"])


def change(machine: Machine, method: str, wanted: Conf) -> None:
    """Go over to another conf."""
    if method == RESTART:
        machine.run(["wg-quick", "down", "wg0"])
        start(machine, wanted)
    else:
        machine.write(CONF, wanted.text, 0o600)
        machine.run(["bash", "-c", "wg syncconf wg0 <(wg-quick strip wg0)"])


def work(numbers: Sequence[int], kinds: Sequence[str]) -> Iterator[Record]:
    """Go once through all changes for each number: by wgmesh, then by hand in a world like it."""
    for _ in numbers:
        changes = []
        with fleet(FOUR) as of:
            for kind, before, after, found in by_wgmesh(of, kinds):
                changes.append((kind, before, after))
                yield found
            mesh = of.mesh
        with World((*FOUR, GUEST)) as world:
            for name in FOUR:
                world[name].run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
            for method in METHODS[1:]:
                for kind, before, after in changes:
                    yield by_hand(world, mesh, method, kind, before, after)


def rows(found: Sequence[Record]) -> Iterator[list[str]]:
    """Yield the rows of the table for docs/benchmarks.md."""
    for kind in CHANGES:
        cells = [kind]
        for method in METHODS:
            some = [each for each in found if (each["method"], each["kind"]) == (method, kind)]
            for part in ("others", "own"):
                lost = sum(each[part]["lost"] for each in some)
                gap = max((each[part]["gap_ms"] for each in some), default=0)
                there = any(each[part]["tunnels"] for each in some)
                cells.append("-" if not there else f"{lost} ({gap} ms)" if lost else "0")
        yield cells


def main() -> int:
    """Make the changes and print the table; exit 1 when a tunnel lost what it should not."""
    parser = labs.parser("tests.soak.loss", labs=1)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    found = labs.records(options, range(options.runs), lambda part: work(part, list(CHANGES)))
    parts = ("others", "own")
    head = ("change", *(f"{method}: {part}" for method in METHODS for part in parts))
    sys.stdout.write(table(head, list(rows(found))))
    for method in METHODS:
        some = [each["others"] for each in found if each["method"] == method]
        lost, sent = sum(each["lost"] for each in some), sum(each["sent"] for each in some)
        print(f"\n{method}: {lost:,} of {sent:,} lost on tunnels that a change does not concern")
    return 1 if any(e["others"]["lost"] for e in found if e["method"] == "wgmesh") else 0


if __name__ == "__main__":
    sys.exit(main())
