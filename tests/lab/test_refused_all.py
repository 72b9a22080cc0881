"""Every push of tests/unit/test_trust_refused.py, on a node that runs: nothing changes on it.

There the rule and its repair are looked at; here the files and the kernel of a machine, which a
refused commit leaves as they were, byte for byte, and the way on once it was repaired.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.bytewise import kernel, whole
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.world import World
from tests.unit.signing import Keys
from tests.unit.team import Node, Team
from tests.unit.test_trust_refused import SCENARIOS, Scenario
from wgmesh.model.commit import VerifiedCommit

RULES = sorted({each.rules for each in SCENARIOS})
INVENTORY = '[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\nport = 51820\n'
SAVED = "/var/lib/joined.tar"
SAVE = f"tar -cf {SAVED} /etc/wireguard /etc/wgmesh /var/lib/wgmesh"
RESTORE = f"cd / && rm -r /etc/wireguard/* /etc/wgmesh/* /var/lib/wgmesh/* && tar -xf {SAVED}"


@dataclass(kw_only=True)
class Running(Node):
    """A node of the team that is a machine as well."""

    machine: Machine

    def look(self) -> VerifiedCommit:
        found = super().look()
        self.machine.wgmesh("sync")
        return found


@dataclass(frozen=True)
class Member:
    """A machine that runs the first commit of a team, which has the same id each time."""

    machine: Machine
    directory: Path
    files: dict[str, str]
    first: str


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys")).make()


@pytest.fixture(scope="module")
def members(module_world_factory: WorldFactory, keys: Keys) -> dict[str, Member]:
    """Return a machine for each set of rules."""
    world = module_world_factory([f"node{number}" for number in range(len(RULES))])
    machines = zip(RULES, world.nodes.values(), strict=True)
    return {rules: joined(world, machine, rules, keys) for rules, machine in machines}


def joined(world: World, machine: Machine, rules: str, keys: Keys) -> Member:
    """Let a machine join a team, and keep what it has on its disk from then on."""
    directory = world.forge.directory / machine.name
    url = world.forge.url(f"{machine.name}/server")
    team = begun(directory, keys, rules, {"mesh.toml": INVENTORY})
    said = machine.wgmesh("join", url, "--introduction", team.head).stdout
    key = said.split('public_key = "')[1].split('"')[0]
    anchor = team.head
    team.close()
    entry = f'address = "10.40.0.1/32"\npublic_key = "{key}"\n'
    files = {"mesh.toml": INVENTORY, f"nodes/{machine.name}.toml": entry}
    team = begun(directory, keys, rules, files)
    team.close()
    text = machine.read("/etc/wgmesh/node.toml")
    machine.write("/etc/wgmesh/node.toml", text.replace(anchor, team.head))
    machine.wgmesh("sync")
    machine.run(["bash", "-c", SAVE])
    return Member(machine, directory, files, team.head)


def begun(directory: Path, keys: Keys, rules: str, files: dict[str, str]) -> Team:
    """Return a team that begins anew."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return Team.meet(directory, keys, rules, files)


@pytest.fixture
def team(members: dict[str, Member], keys: Keys, request: pytest.FixtureRequest) -> Iterator[Team]:
    member = members[request.param]
    made = begun(member.directory, keys, request.param, member.files)
    assert made.head == member.first
    member.machine.run(["bash", "-c", RESTORE])
    node = made.node()
    made.nodes[:] = [
        Running(
            repository=node.repository,
            server=node.server,
            trusted=node.trusted,
            machine=member.machine,
        )
    ]
    yield made
    made.close()


@pytest.mark.parametrize(
    ("each", "team"),
    [pytest.param(each, each.rules, id=each.make.__name__) for each in SCENARIOS],
    indirect=["team"],
)
def test_what_is_refused_changes_nothing(each: Scenario, team: Team) -> None:
    node = team.nodes[0]
    assert isinstance(node, Running)
    machine, first = node.machine, team.head
    culprit = each.make(team)
    before, running = whole(machine), kernel(machine)
    tip = team.publish()

    done = machine.wgmesh("sync", check=False)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    said = done.stderr.splitlines()
    names = {"first": first[:12], "trusted": node.trusted[:12], "tip": tip[:12], "now": ""}
    assert said[0].startswith("wgmesh: ") and "Traceback" not in done.stderr
    assert culprit[:12] in said[0] and each.rule.format(**names) in said[0]
    assert whole(machine) == before  # tips.toml among it

    healed = team.run(said[-1].strip(), each.repaired_by)
    machine.wgmesh("sync")
    assert f'id = "{healed}"' in machine.read("/var/lib/wgmesh/tips.toml")
    assert kernel(machine) == running
