"""A mesh to look around in, and a way into every machine of a running laboratory (as root).

`python -m tests.lab shell [NODE]` makes one and opens a shell on a node; with its end all is gone.
`python -m tests.lab enter NODE` opens another shell there, or on a machine of a test that waits.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.world import World

NODES = ("alpha", "bravo", "charlie")
HIDDEN = "delta"
PROGRAMS = {
    "wgmesh": '-m wgmesh "$@"',
    "wg-failover": "-c 'from wgmesh.cli.failover import main; raise SystemExit(main())' \"$@\"",
    "wg-exit-selector": "-c 'from wgmesh.cli.exits import main; raise SystemExit(main())' \"$@\"",
}
BIN = "/etc/lab/bin"
RC = "/etc/lab/bashrc"
PROMPT = f"PS1='\\h:\\W# '\nPATH={BIN}:$PATH\n"
_LABEL = re.compile(r"wgmlab-(\d+)-(.+)")


@dataclass(frozen=True, slots=True)
class Running:
    """A machine that the process `owner` runs: its PID 1, and the environment that it has."""

    name: str
    pid: int
    owner: int
    environment: Mapping[str, str]

    def shell(self, more: Mapping[str, str] | None = None) -> int:
        """Open a shell in all its namespaces, on this terminal; return how it ended."""
        argv = ["nsenter", "-a", "-r", "-w", "-t", str(self.pid), "--", "bash"]
        if (Path(f"/proc/{self.pid}/root") / RC.removeprefix("/")).exists():
            argv += ["--rcfile", RC]
        environment = {"TERM": "xterm"} | dict(self.environment) | dict(more or {})
        return subprocess.run([*argv, "-i"], env=environment, check=False).returncode


def running() -> list[Running]:
    """Return the machines of all laboratories of this computer, by name."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            label = (entry / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended while we looked, or a process that shows itself to nobody
        if named := _LABEL.fullmatch(label):
            pairs = (each.partition("=") for each in environment.split("\0") if each)
            own = {key: text for key, _, text in pairs}
            found.append(Running(named[2], int(entry.name), int(named[1]), own))
    return sorted(found, key=lambda one: (one.name, one.pid))


def install(machine: Machine) -> None:
    """Have the checkout's programs on a machine, by the names that the package gives them."""
    for name, how in PROGRAMS.items():
        text = f"#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} {how}\n"
        machine.write(f"{BIN}/{name}", text, 0o755)
    machine.write(RC, PROMPT)


def converged(world: World) -> Mesh:
    """Let every node of a world join, and all of them apply the inventory."""
    mesh = Mesh(world)
    mesh.enrol(*world.nodes, **{HIDDEN: {"persistent_keepalive": 15}})
    for _ in range(2):
        mesh.sync()
    mesh.wait_for_tunnels()
    author = mesh.author
    for key, text in (
        ("user.name", author.name),
        ("user.email", author.email),
        ("commit.gpgsign", "true"),
        ("push.default", "current"),
    ):
        author.git("config", key, text)
    author.pull()
    return mesh


def shell(name: str, *, empty: bool) -> int:
    """Make a laboratory and open a shell on one of its nodes; all ends with that."""
    print("making four machines" + ("" if empty else " and a mesh of them") + " …", flush=True)
    with World(NODES, nat=[HIDDEN]) as world:
        for machine in world.nodes.values():
            install(machine)
        more = {"FORGE": world.forge.url()}
        if not empty:
            mesh = converged(world)
            more["INVENTORY"] = str(mesh.author.tree)
        for machine in world.nodes.values():
            behind = f", behind NAT at {machine.public_ipv4}" if machine.name == HIDDEN else ""
            ours = "" if empty else f", in the mesh {mesh.address(machine.name)}"
            print(f"  {machine.name}: {machine.ipv4}{behind}{ours}")
        print(f"  git server: {world.forge.url()}, in {world.forge.path()}")
        if empty:
            print("Nobody has joined. docs/quick-start.md says how; $FORGE is the remote.")
        else:
            print("  $INVENTORY: a clone of ada's, who may sign: edit, git commit -am …, git push")
            print("No timer runs: a turn is `wgmesh sync`. Another shell, from another terminal:")
            print("  python -m tests.lab enter bravo")
        one = world[name]
        return Running(name, one.pid, os.getpid(), one.environment()).shell(more)


def enter(wanted: str) -> int:
    """Open a shell on a running machine of that name or PID."""
    every = running()
    chosen = [one for one in every if wanted in (one.name, str(one.pid))]
    if len(chosen) != 1:
        print(f"{len(chosen)} machines are called {wanted}; those that run:", file=sys.stderr)
        for one in every:
            print(f"  {one.name}, PID {one.pid}, of process {one.owner}", file=sys.stderr)
        return 1
    return chosen[0].shell()


def _stop(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def main() -> int:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")
    made = actions.add_parser("shell", help="make a mesh of four nodes, and a shell on one")
    made.add_argument("node", nargs="?", default=NODES[0], choices=(*NODES, HIDDEN))
    made.add_argument("--empty", action="store_true", help="only the machines: nobody has joined")
    other = actions.add_parser("enter", help="a shell on a machine of a running laboratory")
    other.add_argument("machine", help="its name, or its PID 1 where several have that name")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)  # the end of a terminal leaves nothing behind either
    if arguments.action == "enter":
        return enter(arguments.machine)
    return shell(arguments.node, empty=arguments.empty)


if __name__ == "__main__":
    sys.exit(main())
