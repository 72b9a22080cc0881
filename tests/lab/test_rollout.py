"""[rollout]: some nodes go first, the others wait, and nothing that comes can shorten its wait."""

from typing import Any

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh

SOAK_SECONDS = 600
SOAK = "/var/lib/wgmesh/soak.toml"
ROLLOUT = f'[rollout]\ncanary = ["alpha"]\nsoak_seconds = {SOAK_SECONDS}\n'
GHOST = """\
address = "10.40.0.{number}/32"
public_key = "R2hvc3RHaG9zdEdob3N0R2hvc3RHaG9zdEdob3N0R{letter}g="
endpoint = "198.18.9.9:51820"
intermittent = true
"""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    made = Mesh(module_world_factory(["alpha", "bravo"]))
    made.bring_up("alpha", "bravo")
    made.commit({"mesh.toml": made.text + ROLLOUT}, "Alpha goes first")
    assert "changes nothing here" in made.world["alpha"].wgmesh("sync").stdout
    assert "waits until" in made.world["bravo"].wgmesh("sync").stdout, "it counts for itself"
    made.world["bravo"].wgmesh("sync", "--now")
    return made


def ghost(letter: str, number: int) -> dict[str, str | None]:
    return {f"nodes/ghost-{letter}.toml": GHOST.format(letter=letter, number=number)}


def outcome(mesh: Mesh, name: str) -> tuple[Any, ...]:
    shown = mesh.status(name)
    return shown["state"], shown["last_sync"]["outcome"], shown["candidate"] is not None


def later(machine: Machine, seconds: float) -> None:
    """Let it be as if the machine had seen the tip that much longer."""
    text = machine.read(SOAK)
    for name in ("since_seconds", "until_seconds"):
        value = float(text.split(f"{name} = ")[1].split("\n")[0])
        text = text.replace(f"{name} = {value}", f"{name} = {value - seconds}")
    machine.write(SOAK, text)


def test_others_wait_and_a_newer_commit_begins_anew(mesh: Mesh) -> None:
    alpha, bravo = mesh.world["alpha"], mesh.world["bravo"]
    first = mesh.commit(ghost("a", 101), "Add a ghost")
    assert "runs as generation" in alpha.wgmesh("sync").stdout
    assert "waits until" in bravo.wgmesh("sync").stdout
    assert outcome(mesh, "bravo") == ("in-sync", "waiting", True)
    (reason,) = mesh.status("bravo")["reasons"]
    assert first[:12] in reason and "[rollout]" in reason
    assert bravo.wgmesh("status").returncode == 0
    assert "waits until" in bravo.read("/run/wgmesh/status.json"), "who is not root sees it too"

    assert "waits until" in bravo.wgmesh("sync", "--retry").stdout
    assert "waits until" in bravo.wgmesh("sync", "--dry-run", "--no-fetch").stdout
    later(bravo, SOAK_SECONDS - 60)
    assert "waits until" in bravo.wgmesh("sync").stdout
    second = mesh.commit(ghost("b", 102), "Add another ghost")
    assert second[:12] in bravo.wgmesh("sync").stdout
    later(bravo, SOAK_SECONDS - 60)
    assert "waits until" in bravo.wgmesh("sync").stdout, "the time of the first does not count"
    later(bravo, 60)
    assert "runs as generation" in bravo.wgmesh("sync").stdout
    assert mesh.status("bravo")["commit"]["id"] == second
    assert mesh.status("bravo")["reasons"] == []


def test_a_commit_cannot_skip_its_own_wait(mesh: Mesh) -> None:
    bravo = mesh.world["bravo"]
    before = mesh.status("bravo")["commit"]["id"]
    # neither at once, nor in two steps of which the first changes nothing here
    mesh.commit({"mesh.toml": mesh.text}, "No more waiting")
    assert "waits until" in bravo.wgmesh("sync").stdout
    mesh.commit(ghost("c", 103) | {"mesh.toml": mesh.text}, "and a ghost")
    assert "waits until" in bravo.wgmesh("sync").stdout
    assert mesh.status("bravo")["commit"]["id"] == before

    # the revert is what runs here already: nobody waits for that
    mesh.commit({"mesh.toml": mesh.text + ROLLOUT, "nodes/ghost-c.toml": None}, "Revert")
    assert "changes nothing here" in bravo.wgmesh("sync").stdout
    assert outcome(mesh, "bravo") == ("in-sync", "in-sync", False)


def test_one_node_can_be_told_not_to_wait_and_a_boot_begins_anew(mesh: Mesh) -> None:
    bravo = mesh.world["bravo"]
    commit = mesh.commit(ghost("d", 104), "A ghost once more")
    assert "waits until" in bravo.wgmesh("sync").stdout
    known = bravo.read(SOAK)
    bravo.reboot()
    bravo.run(["wg-quick", "up", "wg0"])
    assert "waits until" in bravo.wgmesh("sync").stdout
    assert bravo.read(SOAK) != known
    bravo.wgmesh("hold")
    assert "held" in bravo.wgmesh("sync", "--now").stdout
    bravo.wgmesh("resume")
    assert "runs as generation" in bravo.wgmesh("sync", "--now").stdout
    assert mesh.status("bravo")["commit"]["id"] == commit
