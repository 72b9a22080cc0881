"""A mesh in a world: an inventory on the forge, and nodes that join it as their operators would."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from tests.lab.forge import Author
from tests.lab.machine import Machine
from tests.lab.wait import wait_until
from tests.lab.world import World

CONFIRM = """\
# quicker than on a real node, so that the laboratory does not wait for minutes
confirm_most_seconds = {most}
confirm_silent_seconds = {silent}
confirm_minority_seconds = {minority}
"""


class Mesh:
    """The inventory of `world`: who may sign it, what it says, and the nodes that follow it."""

    def __init__(self, world: World, *, author: str = "ada", options: str = "") -> None:
        self.world = world
        self.author: Author = world.author(author)
        self.url = world.forge.url()
        self.numbers: dict[str, int] = {}
        self.text = (
            "[mesh]\n"
            'interface = "wg0"\n'
            'mesh_cidr = ["10.40.0.0/24", "fd40::/64"]\n'
            "port = 51820\n" + options
        )
        files = {"mesh.toml": self.text, "allowed_signers": self.author.allowed_signers_line}
        self.introduction = self.author.commit(files, "A new mesh")
        self.author.push()

    def address(self, name: str, family: int = 4) -> str:
        """Return a node's mesh address, which `entry` gave it."""
        number = self.numbers[name]
        return f"10.40.0.{number}" if family == 4 else f"fd40::{number:x}"

    def join(self, name: str, *options: str) -> str:
        """Let a machine join; returns its public key."""
        machine = self.world[name]
        arguments = ["join", self.url, "--introduction", self.introduction, *options]
        printed = machine.wgmesh(*arguments).stdout
        return printed.split('public_key = "')[1].split('"')[0]

    def entry(self, name: str, public_key: str, fields: Mapping[str, Any] | None = None) -> str:
        """Return the text of nodes/NAME.toml; `fields` go over the defaults, None leaves out."""
        number = self.numbers.setdefault(name, len(self.numbers) + 1)
        machine = self.world[name]
        values: dict[str, Any] = {
            "address": [f"10.40.0.{number}/32", f"fd40::{number:x}/128"],
            "public_key": public_key,
            "endpoint": f"{machine.ipv4}:51820" if self.is_public(machine) else None,
        }
        values |= dict(fields or {})
        return "".join(
            f"{key} = {json.dumps(value)}\n" for key, value in values.items() if value is not None
        )

    @staticmethod
    def is_public(machine: Machine) -> bool:
        """Return whether others can reach a machine at its own address."""
        return machine.ipv4 == machine.public_ipv4

    def enrol(self, *names: str, **fields: Mapping[str, Any]) -> str:
        """Let machines join and merge their entries in one commit; returns its id."""
        files: dict[str, str | None] = {
            f"nodes/{name}.toml": self.entry(name, self.join(name), fields.get(name))
            for name in names
        }
        return self.commit(files, f"Add {', '.join(names)}")

    def bring_up(self, *names: str, **fields: Mapping[str, Any]) -> str:
        """Enrol machines and let each sync; returns once every tunnel between them works."""
        commit = self.enrol(*names, **fields)
        self.sync(*names)
        self.wait_for_tunnels(*names)
        return commit

    def commit(self, files: Mapping[str, str | None], message: str = "change") -> str:
        """Commit signed and push; returns the commit's id."""
        self.author.pull()
        commit = self.author.commit(files, message)
        self.author.push()
        return commit

    def sync(self, *names: str) -> None:
        """Run one sync on each machine (all of the mesh without names); each must succeed."""
        for machine in self.machines(names):
            machine.wgmesh("sync")

    def machines(self, names: Iterable[str] = ()) -> list[Machine]:
        """Return the machines of that name, all that are in the inventory without names."""
        return [self.world[name] for name in (tuple(names) or self.numbers)]

    def status(self, name: str) -> dict[str, Any]:
        """Return `wgmesh status --json` of a machine."""
        shown: dict[str, Any] = json.loads(
            self.world[name].wgmesh("status", "--json", check=False).stdout
        )
        return shown

    def pings(self, name: str, other: str, family: int = 4) -> bool:
        """Return whether one node reaches another over the mesh."""
        argv = ["ping", "-n", "-c", "1", "-W", "1", self.address(other, family)]
        return self.world[name].run(argv, check=False).returncode == 0

    def wait_for_tunnels(self, *names: str, deadline_seconds: float = 30) -> None:
        """Return once every pair of these nodes (all without names) pings, over both families."""
        chosen = [machine.name for machine in self.machines(names)]
        families = (4, 6)
        for one in chosen:
            for other in chosen:
                for family in families if one != other else ():
                    wait_until(
                        partial(self.pings, one, other, family),
                        deadline_seconds,
                        f"{one} reaches {other} over IPv{family}",
                    )

    def policy(self, name: str, *, most: int = 16, silent: int = 26, minority: int = 45) -> None:
        """Write a machine's wgmesh.toml with these confirm windows."""
        text = CONFIRM.format(most=most, silent=silent, minority=minority)
        self.world[name].write("/etc/wgmesh/wgmesh.toml", text)
