"""What `status` says of a refused push, and of one that was repaired; revocations; a lost state.

test_refused_all.py has every push that must be refused.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.lab.bytewise import kernel, whole
from tests.lab.conftest import WorldFactory
from tests.lab.forge import Author
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh

ALPHA = "nodes/alpha.toml"
ENROLMENT = "/etc/wgmesh/node.toml"


@dataclass(frozen=True)
class Bad:
    """A commit that must be refused: `culprit` on the way to `tip`, and a part of the rule."""

    tip: str
    culprit: str
    author: str
    subject: str
    rule: str


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes that have nothing left to do; ada and grace may sign."""
    made = Mesh(module_world_factory(["alpha", "bravo"]))
    made.bring_up("alpha", "bravo")
    people = [made.author, grace(made)]
    made.commit({"allowed_signers": signers(*people)}, "Grace may sign")
    made.sync()
    return made


@pytest.fixture
def alpha(mesh: Mesh) -> Machine:
    """Return the node that refuses."""
    return mesh.world["alpha"]


def grace(mesh: Mesh) -> Author:
    """Return the second signer."""
    return mesh.world.author("grace")


def signers(*people: Author) -> str:
    """Return a signers file with these people."""
    return "".join(author.allowed_signers_line for author in people)


def change(mesh: Mesh) -> dict[str, str | None]:
    """Return a change that would do something on alpha."""
    return {ALPHA: (mesh.author.tree / ALPHA).read_text() + "persistent_keepalive = 7\n"}


def take(author: Author, tip: str, subject: str, rule: str, culprit: str = "") -> Bad:
    """Push what `author` has checked out as main, over whatever is there."""
    author.push("HEAD:main", force=True)
    shown = author.git("show", "-s", "--format=%an", culprit or tip).strip()
    return Bad(tip, culprit or tip, shown, subject, rule)


# ---------------------------------------------------------------- what is refused


def unsigned(mesh: Mesh) -> Bad:
    tip = mesh.author.commit(change(mesh), "Forgot to sign", sign=False)
    return take(mesh.author, tip, "Forgot to sign", "sign")


def unknown_signer(mesh: Mesh) -> Bad:
    mallory = mesh.world.author("mallory")
    mallory.pull()
    tip = mallory.commit(change(mesh), "Nothing to see here")
    return take(mallory, tip, "Nothing to see here", "does not name")


def several_in_a_row(mesh: Mesh) -> Bad:
    mallory = mesh.world.author("mallory")
    mallory.pull()
    culprit = mallory.commit(change(mesh), "One")
    mallory.commit({"README": "two\n"}, "Two")
    mallory.push()
    assert mesh.world["alpha"].wgmesh("sync", check=False).returncode == 4
    mesh.author.pull()
    mesh.author.commit({"README": "three\n"}, "Three, signed")
    mesh.author.push()
    assert mesh.world["alpha"].wgmesh("sync", check=False).returncode == 4
    tip = mesh.author.commit({"README": "four\n"}, "Four, unsigned", sign=False)
    return take(mesh.author, tip, "One", "does not name", culprit)


def rewound(mesh: Mesh) -> Bad:
    mesh.author.git("checkout", "--quiet", "--detach", "HEAD~1")
    tip = mesh.author.head
    subject = mesh.author.git("show", "-s", "--format=%s").strip()
    return take(mesh.author, tip, subject, "rewound")


def forced_sibling(mesh: Mesh) -> Bad:
    mesh.author.git("checkout", "--quiet", "--detach", "HEAD~1")
    tip = mesh.author.commit({"README": "a sibling\n"}, "Another way")
    return take(mesh.author, tip, "Another way", "forced")


REFUSED: list[Callable[[Mesh], Bad]] = [
    unsigned,
    unknown_signer,
    several_in_a_row,
    rewound,
    forced_sibling,
]


# ---------------------------------------------------------------- how


def refuses(machine: Machine, bad: Bad) -> str:
    """Let a machine sync, which must refuse; return the command that it prints for the repair."""
    done = machine.wgmesh("sync", check=False)
    assert done.returncode == 4, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("wgmesh: ") and "Traceback" not in done.stderr
    for part in (bad.culprit[:12], bad.author, bad.subject, bad.rule):
        assert part in lines[0], (part, lines[0])
    return lines[-1].strip()


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__.replace("_", " "))
def test_a_commit_is_refused_until_it_is_repaired(
    mesh: Mesh, alpha: Machine, make: Callable[[Mesh], Bad]
) -> None:
    mesh.author.pull()
    good = mesh.status("alpha")
    assert good["state"] == "in-sync"
    before, running = whole(alpha), kernel(alpha)
    bad = make(mesh)
    command = refuses(alpha, bad)
    assert refuses(alpha, bad) == command  # each time
    assert whole(alpha) == before  # tips.toml among it
    assert alpha.wgmesh("sync", "--no-fetch", check=False).returncode == 0
    shown = mesh.status("alpha")
    assert alpha.wgmesh("status", check=False).returncode == 7
    assert shown["state"] == "refused"
    assert bad.culprit[:12] in shown["reasons"][0] and bad.rule in shown["reasons"][0]
    assert shown["reasons"][0].splitlines()[-1] == command
    assert command in alpha.wgmesh("status", check=False).stdout.splitlines()
    assert shown["candidate"]["id"] == bad.tip
    assert (shown["commit"], shown["generation"]) == (good["commit"], good["generation"])
    assert mesh.pings("alpha", "bravo")

    mesh.author.paste(command)
    mesh.author.pull()
    done = alpha.wgmesh("sync")
    assert mesh.author.head[:12] in done.stdout
    healed = mesh.status("alpha")
    assert (healed["state"], healed["reasons"]) == ("in-sync", [])
    assert healed["commit"]["id"] == mesh.author.head
    assert healed["generation"] == good["generation"]
    assert kernel(alpha) == running


def test_files_that_are_none_are_refused(mesh: Mesh, alpha: Machine) -> None:
    """The signature is good, what it brings is not: a link that leads out of the repository."""
    mesh.author.pull()
    before = kernel(alpha)
    (mesh.author.tree / "nodes" / "eve.toml").symlink_to("/etc/shadow")
    mesh.author.git("add", "--all")
    bad = mesh.author.commit({}, "A link")
    mesh.author.push()
    for _ in range(2):
        done = alpha.wgmesh("sync", check=False)
        assert done.returncode == 4
        assert "eve.toml" in done.stderr and bad[:12] in done.stderr
    shown = mesh.status("alpha")
    assert shown["state"] == "refused" and shown["candidate"]["id"] == bad
    assert kernel(alpha) == before
    mesh.commit({"nodes/eve.toml": None}, "No link")
    alpha.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


def test_a_removed_signer_is_refused(mesh: Mesh, alpha: Machine) -> None:
    both = (mesh.author.tree / "allowed_signers").read_text()
    second = grace(mesh)
    second.pull()
    second.commit({"README": "by grace\n"}, "Grace may")
    second.push()
    alpha.wgmesh("sync")
    assert mesh.status("alpha")["commit"]["signer"] == second.email
    mesh.commit({"allowed_signers": signers(mesh.author)}, "Grace may no more")
    alpha.wgmesh("sync")
    second.pull()
    tip = second.commit({"allowed_signers": both}, "Back again")
    second.push()
    bad = Bad(tip, tip, second.name, "Back again", "does not name")
    mesh.author.paste(refuses(alpha, bad))
    mesh.author.pull()
    alpha.wgmesh("sync")
    mesh.commit({"allowed_signers": both}, "Grace may again")
    alpha.wgmesh("sync")


# ---------------------------------------------------------------- revoked here


def revoke(machine: Machine, *fingerprints: str) -> None:
    """Set the revocations in node.toml."""
    kept = [x for x in machine.read(ENROLMENT).splitlines(True) if not x.startswith("revoked")]
    listed = ", ".join(f'"{fingerprint}"' for fingerprint in fingerprints)
    machine.write(ENROLMENT, f"revoked = [{listed}]\n" + "".join(kept))


def test_a_local_revocation_wins_over_everything(mesh: Mesh, alpha: Machine) -> None:
    mesh.author.pull()
    tip = mesh.commit({"README": "trusted, then not\n"}, "The last of ada")
    alpha.wgmesh("sync")
    running = kernel(alpha)
    enrolment = alpha.read(ENROLMENT)
    revoke(alpha, mesh.author.fingerprint)
    before = whole(alpha)
    bad = Bad(tip, tip, mesh.author.name, "The last of ada", "revoked on this node")
    command = refuses(alpha, bad)  # although it is the trusted tip, and runs
    assert alpha.wgmesh("sync", "--no-fetch", check=False).returncode == 4
    assert mesh.status("alpha")["state"] == "refused"
    assert whole(alpha) == before
    later = mesh.commit(change(mesh), "Ada goes on")
    refuses(alpha, Bad(later, later, mesh.author.name, "Ada goes on", "revoked on this node"))
    mesh.author.git("reset", "--quiet", "--hard", tip)
    mesh.author.push(force=True)
    grace(mesh).paste(command)
    grace(mesh).pull()
    alpha.wgmesh("sync")
    shown = mesh.status("alpha")
    assert shown["state"] == "in-sync" and shown["commit"]["signer"] == grace(mesh).email
    assert kernel(alpha) == running
    alpha.write(ENROLMENT, enrolment)
    mesh.author.pull()
    alpha.wgmesh("sync")


def test_a_held_commit_of_a_revoked_signer_does_not_land(mesh: Mesh, alpha: Machine) -> None:
    mesh.author.pull()
    good = (mesh.author.tree / ALPHA).read_text()
    alpha.wgmesh("hold")
    tip = mesh.commit(change(mesh), "Held")
    alpha.wgmesh("sync")
    alpha.wgmesh("resume")
    running, enrolment = kernel(alpha), alpha.read(ENROLMENT)
    revoke(alpha, mesh.author.fingerprint)
    for words in (["sync", "--no-fetch"], ["sync"]):
        done = alpha.wgmesh(*words, check=False)
        assert done.returncode == 4 and tip[:12] in done.stderr
    assert kernel(alpha) == running
    alpha.write(ENROLMENT, enrolment)
    mesh.commit({ALPHA: good}, "Back")
    alpha.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


# ---------------------------------------------------------------- a lost state directory


def booted(machine: Machine) -> str:
    """Return the commit that the boot manifest names."""
    manifest = machine.read("/etc/wireguard/wgmesh.d/boot/manifest.toml")
    return manifest.split('\nid = "')[1].split('"')[0]


def lose_state(machine: Machine) -> None:
    """Lose /var/lib/wgmesh."""
    machine.run(["bash", "-c", "rm -r /var/lib/wgmesh && mkdir /var/lib/wgmesh"])


def test_a_lost_state_restarts_from_the_boot_manifest(mesh: Mesh, alpha: Machine) -> None:
    mesh.author.pull()
    top, running = mesh.author.head, kernel(alpha)
    manifest = booted(alpha)
    below = mesh.author.git("rev-parse", f"{manifest}~1").strip()
    subject = mesh.author.git("show", "-s", "--format=%s", below).strip()
    lose_state(alpha)
    mesh.author.git("push", "--quiet", "--force", "origin", f"{below}:refs/heads/main")
    for _ in range(2):
        bad = Bad(below, below, mesh.author.name, subject, "no longer contains")
        command = refuses(alpha, bad)
    assert mesh.status("alpha")["state"] == "refused"
    assert kernel(alpha) == running and booted(alpha) == manifest
    assert manifest[:12] in command
    mesh.author.git("push", "--quiet", "--force", "origin", f"{top}:refs/heads/main")
    alpha.wgmesh("sync")
    shown = mesh.status("alpha")
    assert shown["state"] == "in-sync" and shown["commit"]["id"] == top
    assert kernel(alpha) == running and booted(alpha) == manifest


def test_a_lost_state_is_not_older_than_the_anchor(mesh: Mesh, alpha: Machine) -> None:
    """A machine that joined again at a later commit, and kept its generations."""
    mesh.author.pull()
    top, manifest, enrolment = mesh.author.head, booted(alpha), alpha.read(ENROLMENT)
    assert top != manifest
    alpha.write(ENROLMENT, enrolment.replace(mesh.introduction, top))
    subject = mesh.author.git("show", "-s", "--format=%s", manifest).strip()
    for commit in (manifest, mesh.author.git("rev-parse", f"{manifest}~1").strip()):
        lose_state(alpha)
        mesh.author.git("push", "--quiet", "--force", "origin", f"{commit}:refs/heads/main")
        assert alpha.wgmesh("sync", check=False).returncode == 4, subject
    lose_state(alpha)
    mesh.author.git("push", "--quiet", "--force", "origin", f"{top}:refs/heads/main")
    alpha.wgmesh("sync")
    alpha.write(ENROLMENT, enrolment)
    assert mesh.status("alpha")["state"] == "in-sync"
