"""`make demo`: the main job on the screen, on machines made of namespaces, in under two minutes."""

import sys
import time

from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.world import World

BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def tell(sentence: str) -> None:
    """Print one step of the story."""
    print(f"\n{BOLD}▸ {sentence}{PLAIN}", flush=True)


def typed(machine: Machine, *words: str, expect: int = 0) -> str:
    """Run a wgmesh command as an operator would, show it, and return its output."""
    print(f"{DIM}{machine.name}#{PLAIN} wgmesh {' '.join(words)}", flush=True)
    begun = time.monotonic()
    done = machine.wgmesh(*words, check=False)
    for line in (done.stderr + done.stdout).splitlines():
        print(f"    {line}")
    took = time.monotonic() - begun
    if took > 1 or done.returncode:
        print(f"    {DIM}exit {done.returncode}, {took:.1f} s{PLAIN}")
    if done.returncode != expect:
        raise SystemExit(f"the demo went wrong: exit {done.returncode} instead of {expect}")
    return done.stdout


def ping(mesh: Mesh, name: str, other: str, *, works: bool = True) -> None:
    """Ping over the mesh, both families, and show what came of it."""
    for family in (4, 6):
        answered = mesh.pings(name, other, family)
        words = "answers" if answered else "does not answer"
        print(f"    {name} → {other} ({mesh.address(other, family)}): {words}", flush=True)
        if answered is not works:
            raise SystemExit("the demo went wrong")


def story(world: World) -> None:
    """Tell it: join, tunnels, a pull request, harm taken back, a forgery refused, rollback."""
    mesh = Mesh(world)
    alpha, bravo, charlie = world["alpha"], world["bravo"], world["charlie"]
    tell("An inventory repository lies on a git server. Its first commit is signed by ada.")
    print(f"    {mesh.url}  {mesh.introduction[:12]}")

    tell("Three machines join. Each makes its key, and prints its entry for the inventory.")
    keys = {}
    for machine in (alpha, bravo, charlie):
        printed = typed(machine, "join", mesh.url, "--introduction", mesh.introduction)
        keys[machine.name] = printed.split('"')[1]
    files = {f"nodes/{name}.toml": mesh.entry(name, key) for name, key in keys.items()}
    mesh.commit(dict(files), "Add alpha, bravo and charlie")

    tell("ada commits the three entries, signed. Each node's timer fires: here by hand.")
    for machine in (alpha, bravo, charlie):
        typed(machine, "sync")
    mesh.wait_for_tunnels()
    ping(mesh, "alpha", "bravo")
    ping(mesh, "bravo", "charlie")

    tell("A fourth machine joins; a pull request adds it; ada merges it with a signature.")
    delta = world.add("delta")
    key = typed(delta, "join", mesh.url, "--introduction", mesh.introduction).split('"')[1]
    mesh.author.propose("delta", {"nodes/delta.toml": mesh.entry("delta", key)}, "Add delta")
    mesh.author.merge("delta")
    for machine in (alpha, bravo, charlie, delta):
        typed(machine, "sync")
    mesh.wait_for_tunnels()
    ping(mesh, "delta", "alpha")

    tell("A harmful commit: alpha shall listen on port 4500, which its provider filters.")
    entry = mesh.entry("alpha", keys["alpha"])
    with world.internet.block_udp_port("alpha", 4500):
        mesh.commit({"nodes/alpha.toml": entry + "listen_port = 4500\n"}, "Move alpha's port")
        typed(alpha, "sync", expect=6)
        ping(mesh, "alpha", "bravo")
        tell("It is in quarantine: the next turn leaves it alone.")
        typed(alpha, "sync")
        typed(alpha, "status", expect=7)

    tell("ada reverts it. alpha is at peace again.")
    mesh.commit({"nodes/alpha.toml": entry}, "Revert: move alpha's port")
    typed(alpha, "sync")

    tell("Somebody who may push, but whom nobody authorised, forges a commit.")
    mallory = world.author("mallory")
    mallory.pull()
    mallory.commit({"nodes/bravo.toml": entry}, "Nothing to see here")
    mallory.push()
    typed(bravo, "sync", expect=4)
    ping(mesh, "bravo", "alpha")

    tell("At three in the morning there are two commands.")
    typed(delta, "status")
    typed(alpha, "history")
    typed(alpha, "rollback")
    ping(mesh, "alpha", "bravo")
    typed(alpha, "resume")


def main() -> int:
    """Run the demo and say how long it took."""
    begun = time.monotonic()
    with World(["alpha", "bravo", "charlie"]) as world:
        story(world)
    print(f"\n{BOLD}done in {time.monotonic() - begun:.0f} s{PLAIN}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
