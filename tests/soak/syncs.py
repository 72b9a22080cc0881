"""`python -m tests.soak.syncs`: hundreds of syncs, one commit after another, and what they leave.

Random valid commits, each of which every node of a laboratory takes as its timer would have it: a
sync, then a tick of the failover and of the exit selector. After each sync nothing of wgmesh may
run; at the end no node may hold more than at the start, save the generations and the history that
it is to keep, and each must be what the inventory says.
"""

import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from math import inf
from typing import Any

from tests.bench.cpu import table
from tests.lab import kernel
from tests.lab.exits import FAR4, FAR6
from tests.lab.exits import TICK as EXITS
from tests.lab.installed import add_user
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until
from tests.lab.world import World
from tests.soak import labs
from tests.soak.converge import GUEST, NAMES, Fleet
from tests.soak.labs import Record
from tests.soak.leaks import holdings, more, strangers
from tests.soak.random_changes import draw, share_secrets, undo
from tests.soak.syncs_table import headline, rows, verdicts

KEEP = 5
POLICY = f"keep_generations = {KEEP}\n"
"""At the start and at the end: drift is told, and not put back."""

AT_ONCE = 4
FAILOVER = [*EXITS[:2], EXITS[2].replace("exits", "failover")]
LAUNCHER = """
import json, os, subprocess, sys, time
begun = time.monotonic()
child = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(child.pid, 0)
child.returncode = os.waitstatus_to_exitcode(status)
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps([child.returncode, usage.ru_maxrss, time.monotonic() - begun, cpu]), flush=True)
"""
"""A process inherits the peak of the one that starts it: so that is a small one."""


@contextmanager
def laboratory(names: Sequence[str]) -> Iterator[Fleet]:
    """Make a converged full mesh as the package would have it, and a guest that was in it once."""
    with World([*names, GUEST]) as world:
        world.internet.beyond(f"{FAR4}/32", f"{FAR6}/128")
        made = Fleet(Mesh(world), list(names))
        for name in (*made.names, GUEST):
            add_user(made[name])
            made[name].run(["mkdir", "-p", "/var/lib/prometheus/node-exporter"])
            made.keys[name] = made.mesh.join(name)
            made.mesh.entry(name, made.keys[name])  # numbers them in order
            made[name].write("/etc/wgmesh/wgmesh.toml", POLICY)
        share_secrets(made)
        for made.guest in (True, False):
            made.commit("The guest comes" if made.guest else "and goes")
            for _ in range(2):
                turns(made, random.Random(0))
            made.reach(60)
        yield made


def measured(machine: Machine) -> Record:
    """Run one sync; return how it ended, the most KiB that it held at once, and its seconds."""
    done = machine.run([sys.executable, "-c", LAUNCHER, *machine.wgmesh_argv, "sync"], timeout=600)
    code, kib, seconds, cpu = json.loads(done.stdout.splitlines()[-1])
    found: Record = {"node": machine.name, "exit": code, "kib": kib}
    found |= {"seconds": round(seconds, 2), "cpu": round(cpu, 2)}
    found["applied"] = "runs as generation" in done.stdout
    if code:
        found["said"] = done.stderr + done.stdout
    return found


def turn(machine: Machine) -> Record:
    """Run what a node's timers do once; return what is kept of its sync."""
    found = measured(machine)
    found["left"] = left_behind(machine)
    for tick in (FAILOVER, EXITS):
        done = machine.run(tick, timeout=120, check=False)
        if done.returncode:
            found["tick"] = done.stderr + done.stdout
    return found


def left_behind(machine: Machine) -> list[str]:
    """Return the programs that outlive a sync, which get a moment to end."""
    try:
        wait_until(lambda: not strangers(machine), 5, "all of it ends")
    except AssertionError:
        return strangers(machine)
    return []


def turns(of: Fleet, dice: random.Random) -> list[Record]:
    """Let every machine have a turn, the guest too, in random order and some at once."""
    names = [*of.names, GUEST]
    dice.shuffle(names)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda name: turn(of[name]), names))


def picture(of: Fleet, name: str) -> Mapping[str, Any]:
    """Return all of a node's kernel, in terms that outlive a change of keys and who spoke last."""
    owners = {key: owner for owner, key in of.keys.items()}
    seen = kernel.whole(of[name])
    device = seen["device"]
    # without its own public key, and the endpoints, which follow who spoke last
    return seen | {"device": {owners.get(key, key): peer[1:] for key, peer in device.items()}}


def different(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what two pictures of a node differ in."""
    return [f"{k}: {before[k]} became {after[k]}" for k in before if before[k] != after[k]]


def unequal(of: Fleet, name: str, commit: str) -> list[str]:
    """Return in what a node is not what the inventory at `commit` says; the tool says so itself."""
    machine, found = of[name], []
    said = machine.wgmesh("sync", check=False)
    if f"{commit[:12]} already runs here" not in said.stdout:
        found.append(f"sync: {said.stdout}{said.stderr}")
    shown = of.mesh.status(name)
    if shown["state"] != "in-sync" or shown["drift"]:
        found.append(f"status: {shown['state']}: {shown['reasons']}")
    said = machine.wgmesh("reconcile", check=False)
    if "there was no drift" not in said.stdout:
        found.append(f"reconcile: {said.stdout}{said.stderr}")
    return found


def runs(of: Fleet, seed: int, commits: int, seconds: float = inf) -> Iterator[Record]:
    """Make so many random commits, each taken by every node; yield each sync, and the end.

    After `seconds` there are no more.
    """
    dice, begun = random.Random(seed), time.monotonic()
    every = [*of.names, GUEST]
    turns(of, dice)
    before = {name: holdings(of[name]) for name in every}
    pictures = {name: picture(of, name) for name in of.names}
    for number in range(1, commits + 1):
        if time.monotonic() - begun > seconds:
            break
        kinds = draw(of, dice)
        of.commit(f"{number}: {', '.join(kinds)}")
        for found in turns(of, dice):
            yield {"commit": number, "kinds": kinds} | found
    undo(of)
    for name in every:
        of[name].write("/etc/wgmesh/wgmesh.toml", POLICY)
    commit = of.commit("As it was at first")
    for _ in range(2):
        for found in turns(of, dice):
            yield {"commit": number + 1, "kinds": ["as at first"]} | found
    of.reach(60)
    yield {"took": round(time.monotonic() - begun)}
    for name in every:
        after = holdings(of[name])
        end: Record = {"end": name, "more": more(before[name], after, KEEP)}
        end["new"] = sorted(after.files - before[name].files)
        end["bytes"] = [before[name].disk_bytes, after.disk_bytes]
        end["held"] = asdict(after) | {"files": len(after.files)}
        if name != GUEST:
            end["changed"] = different(pictures[name], picture(of, name))
            end["unequal"] = unequal(of, name, commit)
        yield end


def main() -> int:
    """Run the soak and print the table; exit 1 when a promise was broken."""
    parser = labs.parser("tests.soak.syncs", labs=1)
    parser.add_argument("--nodes", type=int, default=len(NAMES))
    parser.add_argument("--commits", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=inf, help="then no more commits are made")
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args()

    def work(seeds: Sequence[int]) -> Iterator[Record]:
        for seed in seeds:
            with laboratory(NAMES[: options.nodes]) as of:
                yield from runs(of, seed, options.commits, options.minutes * 60)

    found = labs.records(options, [options.seed], work)
    print(f"{headline(found)}\n")
    head = ("a sync with", "how many", "first quarter", "last quarter", "line, start to end")
    sys.stdout.write(table(head, list(rows(found))))
    wrong = verdicts(found)
    counts = [(what, str(len(seen))) for what, seen in wrong.items()]
    sys.stdout.write("\n" + table(("what must not be", "found"), counts))
    for what, seen in wrong.items():
        for each in seen:
            print(f"{what}: {each}", file=sys.stderr)
    return 1 if options.broken or any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
