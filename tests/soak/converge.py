"""`python -m tests.soak.converge`: whether a fleet converges, each node syncing at its own moment.

Every kind of change that concerns both ends of tunnels, in a laboratory of real nodes, one random
order of syncs for each seed. `--naive` judges by the rule that every tunnel must be up, or the
change is taken back: for comparison.
"""

import argparse
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until
from tests.lab.world import World

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
GUEST = "india"
NAIVE = Path(__file__).with_name("naive")
ROLLED_BACK = 6


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
    """What came of one change: how often a node took it back, who runs it, and after how long."""

    rollbacks: Mapping[str, int]
    converged: frozenset[str]
    seconds: float


@dataclass
class Fleet:
    """A mesh whose inventory the harness changes; `fields` are what a node's entry says."""

    mesh: Mesh
    names: list[str]
    keys: dict[str, str] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    topology: str = ""
    mesh_cidr: str = '["10.40.0.0/24", "fd40::/64"]'
    guest: bool = False

    def __getitem__(self, name: str) -> Machine:
        return self.mesh.world[name]

    @property
    def members(self) -> list[str]:
        """The nodes in the inventory."""
        return [*self.names, GUEST] if self.guest else list(self.names)

    def commit(self, message: str) -> str:
        """Commit the inventory as it is now."""
        text = f'[mesh]\ninterface = "wg0"\nmesh_cidr = {self.mesh_cidr}\nport = 51820\n'
        files: dict[str, str | None] = {"mesh.toml": text + self.topology}
        for name in self.members:
            files[f"nodes/{name}.toml"] = self.mesh.entry(
                name, self.keys[name], self.fields.get(name)
            )
        if not self.guest and (self.mesh.author.tree / f"nodes/{GUEST}.toml").exists():
            files[f"nodes/{GUEST}.toml"] = None
        return self.mesh.commit(files, message)

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
    private = of[name].run(["wg", "genkey"]).stdout
    of.keys[name] = of[name].run(["wg", "pubkey"], stdin=private).stdout.strip()
    of[name].write("/etc/wireguard/wg0.key", private, 0o600)
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
    of.topology = f'topology = "star"\nhubs = ["{of.names[0]}"]\n'
    return of.commit("A star")


def to_full_mesh(of: Fleet, _: random.Random) -> str:
    """Make a full mesh of the star."""
    of.topology = ""
    return of.commit("A full mesh")


def grown(of: Fleet, _: random.Random) -> str:
    """Let the mesh have more addresses."""
    of.mesh_cidr = '["10.40.0.0/16", "fd40::/48"]'
    return of.commit("More room")


def shrunk(of: Fleet, _: random.Random) -> str:
    """Let it have fewer again."""
    of.mesh_cidr = '["10.40.0.0/24", "fd40::/64"]'
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
    arrived: dict[str, float] = {}

    def poll(name: str, delay: float) -> None:
        time.sleep(delay)
        while time.monotonic() - begun < pace.patience_seconds:
            done = of[name].wgmesh("sync", check=False, timeout=300, env=env)
            rollbacks[name] = rollbacks.get(name, 0) + (done.returncode == ROLLED_BACK)
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
    return Run(rollbacks, frozenset(arrived), max(arrived.values(), default=0.0))


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
    others = {other: count for other, count in found.rollbacks.items() if other != name and count}
    of.fields[name] = before or {}
    of.commit(f"{name} stays")
    of.settle()
    held = {name} if own and name not in found.converged else set()
    return Run(others, found.converged | held, found.seconds)


# ---------------------------------------------------------------- the table


@dataclass
class Row:
    """The runs of one kind of change."""

    runs: list[Run] = field(default_factory=list)

    def cells(self, members: Callable[[Run], int]) -> list[str]:
        """Return the row of the table."""
        times = [each.seconds for each in self.runs if each.seconds]
        whole = sum(len(each.converged) >= members(each) for each in self.runs)
        return [
            str(len(self.runs)),
            str(sum(sum(each.rollbacks.values()) for each in self.runs)),
            f"{whole} of {len(self.runs)}",
            f"{statistics.median(times):.0f}" if times else "-",
            f"{max(times):.0f}" if times else "-",
        ]


def main() -> None:
    """Run the seeds and print the table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.converge")
    parser.add_argument("--nodes", type=int, default=len(NAMES))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--naive", action="store_true", help="every tunnel must be up")
    parser.add_argument("--spread", type=float, default=60, metavar="SECONDS")
    arguments = parser.parse_args()
    pace = Pace(spread_seconds=arguments.spread)
    rows = {kind: Row() for kind in (*CHANGES, "one node broken")}
    sizes: dict[int, int] = {}
    with fleet(NAMES[: arguments.nodes]) as of:
        for seed in range(arguments.seeds):
            dice = random.Random(seed)
            for kind, change in CHANGES.items():
                commit = change(of, dice)
                found = run(of, commit, dice, pace, naive=arguments.naive)
                sizes[id(found)] = len(of.members)
                rows[kind].runs.append(found)
                print(seed, kind, dict(found.rollbacks), sorted(found.converged), flush=True)
                of.settle()
            found = broken_node(of, dice, pace, naive=arguments.naive)
            sizes[id(found)] = len(of.members)
            rows["one node broken"].runs.append(found)
            print(seed, "one node broken", dict(found.rollbacks), flush=True)
    print("| change | runs | false rollbacks | all on the new commit | median s | worst s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind, row in rows.items():
        print(f"| {' | '.join([kind, *row.cells(lambda each: sizes[id(each)])])} |")


if __name__ == "__main__":
    main()
