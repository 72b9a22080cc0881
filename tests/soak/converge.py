"""`python -m tests.soak.converge`: whether a fleet converges, each node syncing at its own moment.

Every kind of change that concerns both ends of tunnels, in a laboratory of real nodes, one random
order of syncs for each seed. Beside it, for some seeds, the rule of others: every tunnel must be
up, or the change is taken back.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.cpu import table
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until
from tests.lab.world import World
from tests.soak import labs
from tests.soak.labs import Record, throughout

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
GUEST = "india"
NAIVE = Path(__file__).with_name("naive")
SMALL, LARGE = ["10.40.0.0/24", "fd40::/64"], ["10.40.0.0/16", "fd40::/48"]
ROLLED_BACK = 6
TRIED_AGAIN = "so the change is not to blame"


@dataclass(frozen=True, slots=True)
class Pace:
    """How the nodes poll: a first sync within `spread_seconds`, then one each `poll_seconds`.

    After `patience_seconds` a run is over, converged or not.
    """

    spread_seconds: float = 60
    poll_seconds: float = 20
    patience_seconds: float = 240


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one change: how often a node took it back, who runs it, and after how long.

    `again` counts nodes that took it back, found that it was not to blame, and applied it again.
    """

    rollbacks: Mapping[str, int]
    converged: frozenset[str]
    seconds: float
    again: int = 0


@dataclass
class Fleet:
    """A mesh whose inventory the harness changes; `fields` are what a node's entry says.

    `options` are what mesh.toml says over the defaults.
    """

    mesh: Mesh
    names: list[str]
    keys: dict[str, str] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    guest: bool = False

    def __getitem__(self, name: str) -> Machine:
        return self.mesh.world[name]

    @property
    def members(self) -> list[str]:
        """The nodes in the inventory."""
        return [*self.names, GUEST] if self.guest else list(self.names)

    def files(self) -> dict[str, str]:
        """Return the inventory as it is now, by the names of its files."""
        values = {"interface": "wg0", "mesh_cidr": SMALL, "port": 51820} | self.options
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
        files = {"mesh.toml": "".join(["[mesh]\n", *lines])}
        for name in self.members:
            files[f"nodes/{name}.toml"] = self.mesh.entry(
                name, self.keys[name], self.fields.get(name)
            )
        return files

    def commit(self, message: str) -> str:
        """Commit the inventory as it is now."""
        files: dict[str, str | None] = {**self.files()}
        if not self.guest and (self.mesh.author.tree / f"nodes/{GUEST}.toml").exists():
            files[f"nodes/{GUEST}.toml"] = None
        return self.mesh.commit(files, message)

    def renew_key(self, name: str) -> None:
        """Give a node another key, as after the loss of its disk; its device has the old one."""
        private = self[name].run(["wg", "genkey"]).stdout
        self.keys[name] = self[name].run(["wg", "pubkey"], stdin=private).stdout.strip()
        self[name].write("/etc/wireguard/wg0.key", private, 0o600)

    def settle(self) -> None:
        """Bring every member to the tip by the real rule, whatever was tried before."""
        for _ in range(2):
            for name in self.members:
                self[name].wgmesh("sync", "--retry", check=False)
        self.reach(60)

    def reach(self, seconds: float) -> None:
        """Wait until every two members reach one another. Raises AssertionError."""
        end = time.monotonic() + seconds
        for one in self.members:
            for other in self.members:
                if one != other:
                    left = max(1.0, end - time.monotonic())
                    wait_until(partial(self.mesh.pings, one, other), left, f"{one} pings {other}")


@contextmanager
def fleet(names: Iterable[str], windows: Mapping[str, int] | None = None) -> Iterator[Fleet]:
    """Make a converged full mesh of `names`, with a guest that has joined and is no member yet.

    `windows` are those of Mesh.policy; the default ones without it.
    """
    with World([*names, GUEST]) as world:
        made = Fleet(Mesh(world), list(names))
        for name in (*made.names, GUEST):
            made.keys[name] = made.mesh.join(name)
            made.mesh.entry(name, made.keys[name])  # numbers them in order
            if windows is not None:
                made.mesh.policy(name, **windows)
        made.commit("Everybody")
        made.settle()
        yield made


# ---------------------------------------------------------------- what changes

Change = Callable[[Fleet, random.Random], str]


def another_key(of: Fleet, dice: random.Random) -> str:
    """Give a node another key at once, as after the loss of its disk; returns the commit."""
    name = dice.choice(of.names)
    of.renew_key(name)
    return of.commit(f"{name} has another key\n\nWgmesh-Allow-Break: {name}")


def another_port(of: Fleet, dice: random.Random) -> str:
    """Move a node to another port, endpoint and all."""
    name = dice.choice(of.names)
    port = dice.randrange(50000, 51000)
    of.fields[name] = {"listen_port": port, "endpoint": f"{of[name].ipv4}:{port}"}
    return of.commit(f"{name} moves to port {port}")


def node_added(of: Fleet, _: random.Random) -> str:
    """Let the guest in."""
    of.guest = True
    return of.commit(f"Add {GUEST}")


def node_removed(of: Fleet, _: random.Random) -> str:
    """Show the guest out."""
    of.guest = False
    return of.commit(f"Remove {GUEST}")


def to_star(of: Fleet, _: random.Random) -> str:
    """Make a star of the full mesh."""
    of.options |= {"topology": "star", "hubs": of.names[:1]}
    return of.commit("A star")


def to_full_mesh(of: Fleet, _: random.Random) -> str:
    """Make a full mesh of the star."""
    for key in ("topology", "hubs"):
        del of.options[key]
    return of.commit("A full mesh")


def grown(of: Fleet, _: random.Random) -> str:
    """Let the mesh have more addresses."""
    of.options["mesh_cidr"] = LARGE
    return of.commit("More room")


def shrunk(of: Fleet, _: random.Random) -> str:
    """Let it have fewer again."""
    of.options["mesh_cidr"] = SMALL
    return of.commit("Less room")


CHANGES: Mapping[str, Change] = {
    "another key": another_key,
    "another endpoint and port": another_port,
    "node added": node_added,
    "mesh_cidr grown": grown,
    "full mesh to star": to_star,
    "star to full mesh": to_full_mesh,
    "mesh_cidr shrunk": shrunk,
    "node removed": node_removed,
}


# ---------------------------------------------------------------- a run


def run(of: Fleet, commit: str, dice: random.Random, pace: Pace, *, naive: bool = False) -> Run:
    """Let every member poll from a moment of its own on, until all run `commit`."""
    begun = time.monotonic()
    env = {"PYTHONPATH": f"{NAIVE}:{CHECKOUT}"} if naive else {}
    rollbacks: dict[str, int] = {}
    again: dict[str, bool] = {}
    arrived: dict[str, float] = {}

    def poll(name: str, delay: float) -> None:
        time.sleep(delay)
        while time.monotonic() - begun < pace.patience_seconds:
            done = of[name].wgmesh("sync", check=False, timeout=300, env=env)
            rollbacks[name] = rollbacks.get(name, 0) + (done.returncode == ROLLED_BACK)
            again[name] = again.get(name, False) or TRIED_AGAIN in done.stderr
            if rollbacks[name] or again[name]:
                print(f"{name}: {done.stdout}{done.stderr}", file=sys.stderr, flush=True)
            if f"{commit[:12]} runs as" in done.stdout or (
                f"{commit[:12]} changes nothing here" in done.stdout
            ):
                arrived[name] = time.monotonic() - begun
                return
            if "stays in quarantine" in done.stdout:
                return  # for an hour: longer than anybody waits here
            time.sleep(pace.poll_seconds)

    delays = {name: dice.uniform(0, pace.spread_seconds) for name in of.members}
    threads = [threading.Thread(target=poll, args=each) for each in delays.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = max(arrived.values(), default=0.0)
    return Run(rollbacks, frozenset(arrived), seconds, sum(again.values()))


def broken_node(of: Fleet, dice: random.Random, pace: Pace, *, naive: bool = False) -> Run:
    """Move a node to a port that its provider filters: that node must go back, and no other."""
    name = dice.choice(of.names)
    before = of.fields.get(name)
    port = dice.randrange(4000, 4999)
    with of.mesh.world.internet.block_udp_port(name, port):
        of.fields[name] = {"listen_port": port, "endpoint": f"{of[name].ipv4}:{port}"}
        commit = of.commit(f"{name} moves to a filtered port")
        found = run(of, commit, dice, pace, naive=naive)
    own = found.rollbacks.get(name, 0)
    others = {other: count for other, count in found.rollbacks.items() if other != name}
    of.fields[name] = before or {}
    of.commit(f"{name} stays")
    of.settle()
    held = {name} if own and name not in found.converged else set()
    return Run(others, found.converged | held, found.seconds, found.again)


# ---------------------------------------------------------------- many runs

BROKEN = "one node truly broken"
RULES = ("wgmesh", "naive")


def record(rule: str, seed: int, kind: str, of: Fleet, found: Run) -> Record:
    """Return what is kept of a run."""
    return {
        "rule": rule,
        "seed": seed,
        "kind": kind,
        "rollbacks": sum(found.rollbacks.values()),
        "again": found.again,
        "arrived": found.converged == set(of.members),
        "seconds": round(found.seconds, 1),
    }


def runs(of: Fleet, item: tuple[str, int], pace: Pace) -> Iterator[Record]:
    """Make every kind of change once, by one rule and seed; yields what came of each."""
    rule, seed = item
    dice = random.Random(seed)
    naive = rule == "naive"
    for kind, change in CHANGES.items():
        found = run(of, change(of, dice), dice, pace, naive=naive)
        yield record(rule, seed, kind, of, found)
        if found.converged == set(of.members):
            of.reach(60)
        else:
            of.settle()
    yield record(rule, seed, BROKEN, of, broken_node(of, dice, pace, naive=naive))


def rows(kinds: Iterable[str], found: Sequence[Record]) -> Iterator[list[str]]:
    """Yield the rows of the table for docs/benchmarks.md."""
    for kind in kinds:
        cells = [kind]
        for rule in RULES:
            some = [each for each in found if (each["rule"], each["kind"]) == (rule, kind)]
            times = [each["seconds"] for each in some if each["arrived"]]
            cells += [str(len(some)), str(sum(each["rollbacks"] for each in some))]
            cells += [str(sum(each["arrived"] for each in some))]
            cells += [f"{median(times):.0f} / {max(times):.0f}" if times else "-"]
        yield cells


def main() -> int:
    """Run the seeds and print the table; exit 1 when a promise was broken."""
    parser = labs.parser("tests.soak.converge")
    parser.add_argument("--nodes", type=int, default=len(NAMES))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--naive-seeds", type=int, default=5)
    parser.add_argument("--spread", type=float, default=60, metavar="SECONDS")
    options = parser.parse_args()
    pace = Pace(spread_seconds=options.spread)
    items = [("wgmesh", seed) for seed in range(options.seeds)]
    items += [("naive", seed) for seed in range(options.naive_seeds)]
    laboratory = partial(fleet, NAMES[: options.nodes])
    one = partial(runs, pace=pace)
    found = labs.records(options, items, lambda part: throughout(part, laboratory, one))
    ours = ("runs", "rolled back falsely", "arrived", "s, median / worst")
    head = ("change", *ours, *(f"naive: {title}" for title in ours))
    sys.stdout.write(table(head, list(rows((*CHANGES, BROKEN), found))))
    again = sum(each["again"] for each in found if each["rule"] == "wgmesh")
    print(f"\nTaken back, found not to be to blame, and applied again: {again}")
    wrong = [e for e in found if e["rule"] == "wgmesh" and (e["rollbacks"] or not e["arrived"])]
    return 1 if wrong or options.broken else 0


if __name__ == "__main__":
    sys.exit(main())
