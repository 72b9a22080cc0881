"""`python -m tests.soak.rotate`: every key of a mesh changes, one after the other, under pings.

Each node polls by itself. All that the harness does, as an operator would, is to merge what
`wgmesh rotate-key` prints. Meanwhile every other node pings the one whose key changes each 5 ms,
and two others ping one another: what these lose is the laboratory's, as is what is lost at first,
while nothing changes. `--at-once` changes the key in one commit instead, for comparison.
"""

import argparse
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.lab.machine import CommandError
from tests.lab.mesh import Mesh
from tests.lab.pings import PingCount, Pings
from tests.lab.rotation import merge, public_key
from tests.lab.wait import wait_until
from tests.lab.world import World

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
PATIENCE_SECONDS = 600
QUIET_SECONDS = 30
ASK_SECONDS = 5
"""How often the operator looks whether there is something to merge."""


@dataclass(frozen=True, slots=True)
class Row:
    """One node's change: how long it took, and what the pings say.

    Those over each of its tunnels, and last those over one that the change does not concern.
    """

    name: str
    seconds: float
    pings: tuple[PingCount, ...]

    def cells(self) -> list[str]:
        """Return the row of the table."""
        *own, other = self.pings
        return [
            self.name,
            f"{self.seconds:.0f}",
            str(sum(each.sent for each in own)),
            str(sum(each.lost for each in own)),
            str(max(each.lost for each in own)),
            f"{max(each.longest_gap_seconds for each in own) * 1000:.0f}",
            f"{other.lost} of {other.sent}",
            f"{other.longest_gap_seconds * 1000:.0f}",
        ]


@contextmanager
def polling(mesh: Mesh, names: Sequence[str], poll_seconds: float) -> Iterator[list[str]]:
    """Let each node sync again and again, at moments of its own; yield what went wrong."""
    over = threading.Event()
    wrong: list[str] = []

    def poll(name: str, dice: random.Random) -> None:
        over.wait(dice.uniform(0, poll_seconds))
        while not over.is_set():
            done = mesh.world[name].wgmesh("sync", check=False)
            if done.returncode not in (0, 9):  # 9: rotate-key has the lock
                wrong.append(f"{name}: {done.stderr.strip().splitlines()[-1]}")
            over.wait(dice.uniform(0.5, 1.5) * poll_seconds)

    threads = [
        threading.Thread(target=poll, args=(name, random.Random(number)))
        for number, name in enumerate(names)
    ]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        over.set()
        for thread in threads:
            thread.join()


def pinged(mesh: Mesh, name: str, names: Sequence[str], stack: ExitStack) -> list[Pings]:
    """Start the pings over each tunnel of `name`, and over one of two others."""
    others = [other for other in names if other != name]
    pairs = [(other, name) for other in others] + [(others[0], others[1])]
    return [stack.enter_context(Pings(mesh.world[one], mesh.address(two))) for one, two in pairs]


def counted(running: Sequence[Pings]) -> tuple[PingCount, ...]:
    """Stop the pings and return what came of them."""
    return tuple(each.stop() for each in running)


def asked(mesh: Mesh, name: str) -> bool:
    """Merge what the node prints, if it has something to merge."""
    try:
        merge(mesh, name)
    except (AssertionError, CommandError):
        time.sleep(ASK_SECONDS)  # not yet, or a poll has the lock
        return False
    return True


def knows_only(mesh: Mesh, names: Sequence[str], name: str, old: str) -> bool:
    """Return whether no node has the key `old` any more, and all have the present one."""
    new = public_key(mesh, name)
    for other in names:
        peers = mesh.world[other].run(["wg", "show", "wg0", "peers"]).stdout.split()
        if other != name and (old in peers or new not in peers):
            return False
    return new != old


def rotate(mesh: Mesh, name: str, names: Sequence[str], *, at_once: bool) -> Row:
    """Change the key of `name` and return what that did to its tunnels."""
    old, begun = public_key(mesh, name), time.monotonic()
    with ExitStack() as stack:
        running = pinged(mesh, name, names, stack)
        if at_once:
            machine = mesh.world[name]
            private = machine.run(["wg", "genkey"]).stdout
            public = machine.run(["wg", "pubkey"], stdin=private).stdout.strip()
            machine.write("/etc/wireguard/wg0.key", private, 0o600)
            mesh.commit({f"nodes/{name}.toml": mesh.entry(name, public)}, f"{name}: another key")
        else:
            for step in ("stage", "complete"):
                wait_until(lambda: asked(mesh, name), PATIENCE_SECONDS, f"{name} can {step}")
        wait_until(
            lambda: knows_only(mesh, names, name, old), PATIENCE_SECONDS, f"{old} is forgotten"
        )
        seconds = time.monotonic() - begun
        time.sleep(2)
        return Row(name, seconds, counted(running))


def main() -> None:
    """Rotate every key and print the table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.rotate")
    parser.add_argument("--nodes", type=int, default=len(NAMES))
    parser.add_argument("--poll", type=float, default=15, metavar="SECONDS")
    parser.add_argument("--at-once", action="store_true", help="in one commit, for comparison")
    arguments = parser.parse_args()
    names = NAMES[: arguments.nodes]
    with World(names) as world:
        mesh = Mesh(world)
        mesh.enrol(*names)
        for _ in range(2):
            mesh.sync()
        mesh.wait_for_tunnels()
        with polling(mesh, names, arguments.poll) as wrong:
            with ExitStack() as stack:
                running = pinged(mesh, names[0], names, stack)
                time.sleep(QUIET_SECONDS)
                rows = [Row("nothing changes", QUIET_SECONDS, counted(running))]
            for name in names:
                print(" ".join(rows[-1].cells()), *wrong, flush=True)
                rows.append(rotate(mesh, name, names, at_once=arguments.at_once))
                for each in rows[-1].pings:
                    print("lost at", [round(at, 2) for at in each.lost_at], flush=True)
    head = "node", "seconds", "pings", "lost", "lost in the worst tunnel", "longest gap ms"
    print(f"| {' | '.join((*head, 'lost in another tunnel', 'longest gap there ms'))} |")
    print(f"| --- |{' ---: |' * 7}")
    for row in rows:
        print(f"| {' | '.join(row.cells())} |")
    for line in wrong:
        print(line)


if __name__ == "__main__":
    main()
