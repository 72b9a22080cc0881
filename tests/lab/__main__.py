"""A world to look around in: `python -m tests.lab shell [NODE]` (as root)."""

import argparse
import subprocess

from tests.lab.world import World


def main() -> None:
    """Make three nodes and one behind NAT, and open a shell on one; its end is theirs."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("command", choices=["shell"])
    parser.add_argument("node", nargs="?", default="alpha")
    arguments = parser.parse_args()
    with World(["alpha", "bravo", "charlie"], nat=["delta"]) as world:
        if arguments.node not in world.nodes:
            parser.error(f"no node {arguments.node}: {', '.join(world.nodes)}")
        print(f"forge: {world.forge.url()}, served from {world.forge.path()}")
        for name, machine in world.nodes.items():
            # Another terminal gets in by this; -a is every namespace of the machine.
            print(f"{name}: {machine.ipv4} {machine.ipv6}: nsenter -a -t {machine.pid} bash")
        pid = str(world[arguments.node].pid)
        environment = {"TERM": "xterm"} | world[arguments.node].environment()
        subprocess.run(["nsenter", "-a", "-t", pid, "--", "bash"], env=environment, check=False)


if __name__ == "__main__":
    main()
