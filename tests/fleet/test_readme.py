"""README's quick start, typed by a new user on machines with Debian and the package, no more."""

import re
from collections.abc import Iterator
from functools import partial

import pytest

from tests.fleet import mesh as meshes
from tests.fleet.booted import BootedMachine
from tests.fleet.fleet import Fleet
from tests.fleet.roots import SUITES
from tests.fleet.software import Repository
from tests.lab import documents
from tests.lab.documents import Shell, blocks
from tests.lab.wait import wait_until

NODES = ("read1", "read2", "read3")
LAPTOP = "reader"
EDITOR = """\
for file; do
    echo "endpoint = \\"$(basename "$file" .toml).example.net\\"" >> "$file"
done
"""


@pytest.fixture
def machines(fleet: Fleet, repository: Repository) -> Iterator[dict[str, BootedMachine]]:
    """Boot three nodes and the author's machine; all get the package from the repository."""
    suites = dict(zip(NODES, SUITES, strict=True)) | {LAPTOP: "bookworm"}
    added = fleet.add_booted(suites)
    meshes.install(added, repository)
    yield {machine.name: machine for machine in added}
    for name in suites:
        fleet.remove(name)


def test_three_nodes_from_nothing(fleet: Fleet, machines: dict[str, BootedMachine]) -> None:
    fleet.forge.create("readme")
    laptop = machines[LAPTOP]
    laptop.run(["useradd", "--create-home", "ada"])
    as_ada = ["setpriv", "--reuid=ada", "--regid=ada", "--init-groups", "--"]
    laptop.run([*as_ada, "mkdir", "-m", "700", "/home/ada/.ssh"])
    key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@example.org"]
    laptop.run([*as_ada, *key, "-f", "/home/ada/.ssh/id_ed25519"])
    editor = documents.write_editor(laptop, "/usr/local/bin/edit", EDITOR)
    ada = Shell(laptop, "/home/ada", as_ada, editor=editor)
    start, join, add, follow, *_ = blocks("README.md")
    values = {"REMOTE": fleet.forge.url("readme"), "sudo ": ""}  # who types is root on the nodes
    names = dict(zip(("alpha", "bravo", "charlie"), NODES, strict=True))

    said = ada.type(start, values).stdout
    found = re.search(r"--introduction (\w{40}) --signer (SHA256:\S+)$", said, re.MULTILINE)
    assert found is not None, said
    values |= {"COMMIT": found[1], "SHA256:…": found[2]}
    for name in NODES:
        root = Shell(machines[name], "/root")
        root.type(join.replace("alpha", name), values)
        text = machines[name].read(f"/root/{name}.toml")
        laptop.run([*as_ada, "tee", f"/home/ada/fleet/{name}.toml"], stdin=text)
    for old, new in names.items():
        add = add.replace(old, new)
    said = ada.type(add, values).stdout
    assert all(f"{name}: added" in said for name in NODES), said

    first = NODES[0]
    commands = [line for line in follow.splitlines() if not line.startswith("ping")]
    for name in NODES:
        wait_until(partial(is_idle, machines[name]), 60, f"{name} is at rest")
        Shell(machines[name], "/root").type("\n".join(commands), values)
    for name in NODES[1:]:
        wait_until(partial(is_reached, machines[name]), 30, f"{name} reaches {first}")
        wait_until(partial(is_idle, machines[name]), 60, f"{name} is at rest")
        said = Shell(machines[name], "/root").type(follow, values).stdout
        assert "in-sync" in said and " 0% packet loss" in said


def is_idle(machine: BootedMachine) -> bool:
    """Return whether no turn of the timer is under way."""
    units = ("wgmesh-fetch.service", "wgmesh-sync.service")
    return "activating" not in [machine.unit(unit, "ActiveState") for unit in units]


def is_reached(machine: BootedMachine) -> bool:
    """Return whether the first node is reached over the mesh."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", "10.40.0.1"]
    return machine.run(argv, check=False).returncode == 0
