"""Two remotes: one that is late, one that is down, and two that tell different stories.

alpha asks by the user wgmesh, as the package does; bravo asks by itself.
"""

import sys
import tomllib
from collections.abc import Iterator

import pytest

from tests.lab.bytewise import RECORDS, whole
from tests.lab.conftest import WorldFactory
from tests.lab.forge import Author
from tests.lab.installed import add_user, as_user
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh

ENROLMENT = "/etc/wgmesh/node.toml"
POLICY = "/etc/wgmesh/wgmesh.toml"
LAST = "/var/lib/wgmesh/last-sync.toml"
MIRROR = "mirror"
NODES = ("alpha", "bravo")


@pytest.fixture(scope="module")
def shared(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes in sync with a second remote in node.toml; ada and grace may sign."""
    mesh = Mesh(module_world_factory(NODES))
    add_user(mesh.world["alpha"])
    mesh.world.forge.create(MIRROR)
    mesh.enrol(*NODES)
    signers = mesh.author.allowed_signers_line + grace(mesh).allowed_signers_line
    mesh.commit({"allowed_signers": signers}, "Grace may sign")
    copy(mesh)
    mirror = mesh.world.forge.url(MIRROR)
    for machine in mesh.machines(NODES):
        text = machine.read(ENROLMENT)
        machine.write(ENROLMENT, text.replace(f'"{mesh.url}",', f'"{mesh.url}", "{mirror}",'))
    mesh.sync()
    mesh.wait_for_tunnels()
    return mesh


@pytest.fixture
def mesh(shared: Mesh) -> Iterator[Mesh]:
    """Give back a mesh whose remotes agree."""
    shared.author.pull()
    yield shared
    copy(shared)
    shared.sync()
    for name in NODES:
        shown = shared.status(name)
        assert (shown["state"], shown["reasons"]) == ("in-sync", [])


def grace(mesh: Mesh) -> Author:
    """Return the second signer."""
    return mesh.world.author("grace")


def copy(mesh: Mesh, commit: str = "main") -> None:
    """Have the mirror at `commit`, whatever it has."""
    path = mesh.world.forge.path(MIRROR)
    mesh.author.git("push", "--quiet", "--force", str(path), f"{commit}:refs/heads/main")


def changed(mesh: Mesh, text: str) -> str:
    """Merge something new at the first remote alone; returns the commit."""
    return mesh.commit({"README": f"{text}\n"}, text)


def rest(machine: Machine) -> tuple[str, ...]:
    """Return what a machine is, without what a sync that changes nothing may write."""
    return whole(machine, but=RECORDS | {"fetch"})


def standings(machine: Machine) -> list[str]:
    return [one["standing"] for one in tomllib.loads(machine.read(LAST))["remotes"]]


@pytest.mark.parametrize("name", NODES)
def test_a_remote_that_is_late(mesh: Mesh, name: str) -> None:
    machine = mesh.world[name]
    old = mesh.author.head
    for _ in range(2):
        new = changed(mesh, f"late for {name}")
        machine.wgmesh("sync")
        machine.wgmesh("sync")  # now that one is at the trusted tip, the other below it
        shown = mesh.status(name)
        assert shown["state"] == "in-sync" and shown["commit"]["id"] == new
        (reason,) = shown["reasons"]
        assert mesh.world.forge.url(MIRROR) in reason and "behind" in reason
        assert old[:12] in reason
        assert standings(machine) == ["newest", "behind"]
        done = machine.run([sys.executable, "-X", "importtime", "-m", "wgmesh", "sync"])
        assert "wgmesh.agent.sync" in done.stderr and "cryptography" not in done.stderr
    copy(mesh)
    newest = mesh.author.commit({"README": f"ahead of {name}\n"}, "The mirror is ahead")
    copy(mesh)
    machine.wgmesh("sync")
    shown = mesh.status(name)
    assert shown["commit"]["id"] == newest and mesh.url in shown["reasons"][0]
    assert standings(machine) == ["behind", "newest"]
    mesh.author.push()


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("lost", ["mesh", MIRROR])
def test_a_remote_that_is_down(mesh: Mesh, name: str, lost: str) -> None:
    machine, forge = mesh.world[name], mesh.world.forge
    new = changed(mesh, f"{lost} is down for {name}")
    copy(mesh)
    forge.path(lost).rename(forge.path("away"))
    try:
        machine.wgmesh("sync")
        shown = mesh.status(name)
        assert shown["state"] == "in-sync" and shown["commit"]["id"] == new
        (reason,) = shown["reasons"]
        assert forge.url(lost) in reason and "others do" in reason
        assert "silent" in standings(machine)
    finally:
        forge.path("away").rename(forge.path(lost))


@pytest.mark.parametrize("down", [False, True])
def test_what_another_asked_meanwhile_is_no_poll_s_answer(mesh: Mesh, down: bool) -> None:
    """A doctor asks one remote after the other, while the turn of a poll waits for the lock."""
    machine, forge = mesh.world["alpha"], mesh.world.forge
    machine.run(as_user(*machine.wgmesh_argv, "fetch"))
    if down:
        forge.path(MIRROR).rename(forge.path("away"))
    try:
        machine.wgmesh("doctor", check=False)
        machine.wgmesh("sync", "--fetched")
        assert standings(machine) == ["newest", "silent" if down else "newest"]
        assert "was not asked" not in machine.read(LAST)
    finally:
        if down:
            forge.path("away").rename(forge.path(MIRROR))


def test_late_is_no_rewind_while_the_other_is_down(mesh: Mesh) -> None:
    """The one that has the trusted tip is away: what the other has is old, and is not fresh."""
    machine, forge = mesh.world["alpha"], mesh.world.forge
    old = mesh.author.head
    new = changed(mesh, "only there")
    machine.wgmesh("sync")
    before = rest(machine)
    forge.path().rename(forge.path("away"))
    try:
        machine.wgmesh("sync")
        shown = mesh.status("alpha")
        assert shown["state"] == "in-sync" and shown["commit"]["id"] == new
        assert "behind" in standings(machine) and "silent" in standings(machine)
        machine.write(POLICY, "stale_after_seconds = 1\n")
        fetched = tomllib.loads(machine.read(LAST))["fetched"]
        machine.wgmesh("sync")
        assert tomllib.loads(machine.read(LAST))["fetched"] == fetched
        stale = mesh.status("alpha")
        assert stale["state"] == "degraded"
        assert any("stale" in reason for reason in stale["reasons"])
    finally:
        machine.run(["rm", "-f", POLICY])
        forge.path("away").rename(forge.path())
    assert rest(machine) == before
    mesh.author.git("push", "--quiet", "--force", "origin", f"{old}:refs/heads/main")
    done = machine.wgmesh("sync", check=False)  # both answer, and neither has it
    assert done.returncode == 4 and "rewound" in done.stderr
    assert rest(machine) == before
    mesh.author.git("push", "--quiet", "origin", f"{new}:refs/heads/main")


def test_a_refusal_stands_while_only_one_that_is_late_answers(mesh: Mesh) -> None:
    machine, forge = mesh.world["alpha"], mesh.world.forge
    changed(mesh, "what the mirror lacks")
    machine.wgmesh("sync")
    bad = mesh.author.commit({"README": "unsigned\n"}, "Unsigned", sign=False)
    mesh.author.push()
    refused = machine.wgmesh("sync", check=False)
    assert refused.returncode == 4 and bad[:12] in refused.stderr
    before = mesh.status("alpha")
    forge.path().rename(forge.path("away"))
    try:
        for _ in range(2):
            again = machine.wgmesh("sync", check=False)
            assert (again.returncode, again.stderr) == (4, refused.stderr)
        shown = mesh.status("alpha")
        assert (shown["state"], shown["candidate"]["id"]) == ("refused", bad)
        assert shown["reasons"][0] == before["reasons"][0]
    finally:
        forge.path("away").rename(forge.path())
    mesh.author.git("reset", "--quiet", "--hard", f"{bad}~1")
    mesh.author.push(force=True)
    machine.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


def fork(mesh: Mesh, *, signed: bool) -> tuple[str, str]:
    """Let the remotes tell two stories, of ada and of grace; return the tips."""
    start = mesh.author.head
    one = changed(mesh, "As ada has it")
    other = grace(mesh)
    other.pull()
    other.git("checkout", "--quiet", "--detach", start)
    two = other.commit({"README": "otherwise\n"}, "As grace has it", sign=signed)
    path = mesh.world.forge.path(MIRROR)
    other.git("push", "--quiet", "--force", str(path), f"{two}:refs/heads/main")
    return one, two


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_two_stories_are_refused_until_one_commit_ends_them(mesh: Mesh, signed: bool) -> None:
    forge = mesh.world.forge
    good = {name: mesh.status(name) for name in NODES}
    before = {name: rest(mesh.world[name]) for name in NODES}
    one, two = fork(mesh, signed=signed)
    commands = set()
    for name in NODES:
        machine = mesh.world[name]
        for _ in range(2):
            done = machine.wgmesh("sync", check=False)
            assert done.returncode == 4 and done.stdout == ""
            said = done.stderr.splitlines()
            for part in (one[:12], two[:12], mesh.url, forge.url(MIRROR), "disagree"):
                assert part in said[0]
            assert "As ada has it" in said[0] and "As grace has it" in said[0]
            commands.add(said[-1].strip())
        assert standings(machine) == ["diverged", "diverged"]
        assert rest(machine) == before[name]
        shown = mesh.status(name)
        reason, *_, command = shown["reasons"][0].splitlines()
        assert shown["state"] == "refused" and reason in said[0] and command in commands
        assert shown["candidate"]["id"] == one
        for field in ("commit", "generation"):
            assert shown[field] == good[name][field]
        assert machine.wgmesh("status", check=False).returncode == 7
        if not signed:
            continue
        machine.wgmesh("hold")  # and the refusal goes although nothing may land
    (command,) = commands  # both trusted the same
    for name in ("mesh", MIRROR):  # ada has no address in this world, she uses paths
        command = command.replace(forge.url(name), str(forge.path(name)))
    mesh.author.paste(command)
    mesh.author.pull()
    for name in NODES:
        mesh.world[name].wgmesh("sync")
        shown = mesh.status(name)
        assert shown["state"] == ("held" if signed else "in-sync")
        if signed:
            mesh.world[name].wgmesh("resume")
            mesh.world[name].wgmesh("sync")
        assert mesh.status(name)["commit"]["id"] == mesh.author.head


def test_a_remote_that_lies_is_taken_out(mesh: Mesh) -> None:
    """The hint's first way: the liar goes out of node.toml, and the other's tip is good."""
    machine = mesh.world["alpha"]
    one, _ = fork(mesh, signed=False)
    assert machine.wgmesh("sync", check=False).returncode == 4
    enrolment = machine.read(ENROLMENT)
    machine.write(ENROLMENT, enrolment.replace(f', "{mesh.world.forge.url(MIRROR)}"', ""))
    machine.wgmesh("sync")
    shown = mesh.status("alpha")
    assert (shown["state"], shown["reasons"]) == ("in-sync", [])
    assert shown["commit"]["id"] == one
    machine.write(ENROLMENT, enrolment)
    copy(mesh)


def test_join_again_with_either_remote(mesh: Mesh) -> None:
    machine = mesh.world["alpha"]
    before = rest(machine)
    for url in (mesh.url, mesh.world.forge.url(MIRROR)):
        machine.wgmesh("join", url, "--introduction", mesh.introduction)
    elsewhere = mesh.world.forge.url("elsewhere")
    done = machine.wgmesh("join", elsewhere, "--introduction", mesh.introduction, check=False)
    assert done.returncode == 2 and ENROLMENT in done.stderr
    assert rest(machine) == before
