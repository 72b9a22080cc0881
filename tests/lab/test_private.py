"""Private repositories: over ssh with a deploy key and pinned hosts, over https with a password."""

import re
import subprocess

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.installed import ID, add_user, as_user
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.private import HOST, HttpsForge, SshForge, name_host, trust_ca

KEY = "/etc/wgmesh/ssh/id_ed25519"
KNOWN = "/etc/wgmesh/ssh/known_hosts"
CREDENTIALS = "/etc/wgmesh/git-credentials"
NODE = "/etc/wgmesh/node.toml"
PASSWORD = "hunter2-and-more"


def mode(machine: Machine, path: str) -> str:
    """Return owner, group and mode of a file."""
    return machine.run(["stat", "-c", "%u %g %a", path]).stdout.strip()


def new_world(factory: WorldFactory, *names: str, user: bool) -> Mesh:
    mesh = Mesh(factory([*names]))
    for machine in mesh.world.nodes.values():
        name_host(machine, mesh.world.forge)
        if user:
            add_user(machine)
    return mesh


def add(mesh: Mesh, name: str, printed: str) -> str:
    """Merge the entry that `join` has printed."""
    key = printed.split('public_key = "')[1].split('"')[0]
    return mesh.commit({f"nodes/{name}.toml": mesh.entry(name, key)}, f"Add {name}")


# ---------------------------------------------------------------- ssh


def test_a_umask_does_not_keep_the_fetch_from_its_key(world_factory: WorldFactory) -> None:
    mesh = new_world(world_factory, "alpha", user=True)
    alpha, ssh = mesh.world["alpha"], SshForge(mesh.world.forge)
    words = ["join", ssh.url, "--introduction", mesh.introduction, "--deploy-key"]

    first = closed_join(alpha, *words)
    assert first.returncode == 5 and "Permission denied" in first.stderr, first.stderr
    ssh.admit(alpha.read(f"{KEY}.pub"))
    assert closed_join(alpha, *words).returncode == 0
    assert alpha.wgmesh("sync").returncode == 0

    # and one that was closed before: the doctor says so, and joining again opens it
    for directory in ("/etc/wgmesh", "/etc/wgmesh/ssh"):
        alpha.run(["chmod", "0700", directory])
        said = alpha.wgmesh("doctor", check=False).stdout
        assert f"may not pass {directory} (mode 0700)" in said, said
        assert closed_join(alpha, *words).returncode == 0
        assert "may not pass" not in alpha.wgmesh("doctor", check=False).stdout
        assert mode(alpha, directory) == "0 0 755"
        assert alpha.wgmesh("sync").returncode == 0


def closed_join(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    """Type `wgmesh join` as root with a umask of 077 does."""
    argv = ["sh", "-c", 'umask 077; exec "$@"', "sh", *machine.wgmesh_argv, *words]
    return machine.run(argv, check=False)


@pytest.mark.parametrize("user", [True, False], ids=["user wgmesh", "root alone"])
def test_ssh_with_a_deploy_key(world_factory: WorldFactory, user: bool) -> None:
    mesh = new_world(world_factory, "alpha", user=user)
    alpha, ssh = mesh.world["alpha"], SshForge(mesh.world.forge)
    words = ["join", ssh.url, "--introduction", mesh.introduction, "--deploy-key"]

    first = alpha.wgmesh(*words, check=False)
    assert first.returncode == 5 and first.stdout == ""
    public = next(line for line in first.stderr.splitlines() if line.startswith("ssh-ed25519 "))
    assert public.split()[2] == "wgmesh@alpha"
    assert "deploy key that may only read" in first.stderr
    assert f"{HOST} was unknown here" in first.stderr and ssh.fingerprint in first.stderr
    assert "Permission denied" in first.stderr and "then run join again" in first.stderr
    assert not alpha.exists(NODE) and not alpha.exists("/etc/wireguard/wg0.key")
    assert mode(alpha, KEY) == (f"0 {ID} 640" if user else "0 0 600")
    assert "PRIVATE" not in first.stderr and alpha.read(f"{KEY}.pub").strip() == public

    again = alpha.wgmesh(*words, check=False)
    assert again.returncode == 5 and public in again.stderr
    assert "was unknown" not in again.stderr
    assert len(alpha.read(KNOWN).splitlines()) == 1

    ssh.admit(public)
    entry = alpha.wgmesh(*words).stdout
    assert entry.startswith("public_key = ") and "ssh-" not in entry
    assert alpha.wgmesh(*words).stdout == entry
    commit = add(mesh, "alpha", entry)
    assert "runs as generation 1" in alpha.wgmesh("sync").stdout
    assert mesh.status("alpha")["commit"]["id"] == commit

    # Somebody else answers: he is not believed, and nothing is pinned by the way.
    before = alpha.read(KNOWN)
    ssh.new_host_key()
    done = alpha.wgmesh("sync", check=False)
    assert done.returncode == 5 and "IDENTIFICATION HAS CHANGED" in done.stderr
    assert KNOWN in done.stderr and alpha.read(KNOWN) == before
    assert alpha.wgmesh(*words, check=False).returncode == 0, "it has joined already"
    assert alpha.read(KNOWN) == before
    alpha.run(["ssh-keygen", "-q", "-R", HOST, "-f", KNOWN])
    assert ssh.fingerprint in alpha.wgmesh(*words).stderr
    assert "already runs here" in alpha.wgmesh("sync").stdout


def test_the_deploy_key_may_not_write(world_factory: WorldFactory) -> None:
    """What the laboratory's server promises: else the test above would show less than it says."""
    mesh = new_world(world_factory, "alpha", user=True)
    alpha, ssh = mesh.world["alpha"], SshForge(mesh.world.forge)
    done = alpha.wgmesh("join", "--deploy-key", check=False)
    assert done.returncode == 8
    ssh.admit(alpha.read(f"{KEY}.pub").strip())
    options = f"ssh -i {KEY} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
    git = ["env", f"GIT_SSH_COMMAND={options}", "HOME=/run", "git"]
    alpha.run(["chmod", "600", KEY])
    assert "refs/heads/main" in alpha.run([*git, "ls-remote", ssh.url]).stdout
    alpha.run([*git, "clone", "--quiet", ssh.url, "/run/clone"])
    pushed = alpha.run([*git, "-C", "/run/clone", "push", ssh.url, "main:other"], check=False)
    assert pushed.returncode != 0 and "may only read" in pushed.stderr


def test_an_ssh_host_that_is_not_there(world_factory: WorldFactory) -> None:
    mesh = new_world(world_factory, "alpha", user=True)
    url = f"ssh://git@{HOST}:2222/mesh.git"
    done = mesh.world["alpha"].wgmesh("join", url, "--introduction", mesh.introduction, check=False)
    assert done.returncode == 5 and f"[{HOST}]:2222 shows no ssh host key" in done.stderr
    assert not mesh.world["alpha"].exists(KNOWN)


def test_a_key_that_the_user_cannot_read_is_told(world_factory: WorldFactory) -> None:
    mesh = new_world(world_factory, "alpha", user=True)
    alpha, ssh = mesh.world["alpha"], SshForge(mesh.world.forge)
    alpha.run(["mkdir", "-p", "/etc/wgmesh/ssh"])
    alpha.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY])
    words = ["join", ssh.url, "--introduction", mesh.introduction]
    ssh.admit(alpha.read(f"{KEY}.pub").strip())
    done = alpha.wgmesh(*words, check=False)
    assert done.returncode == 1 and "run join with --deploy-key" in done.stderr
    assert alpha.wgmesh(*words, "--deploy-key").stdout.startswith("public_key = ")
    assert mode(alpha, KEY) == f"0 {ID} 640"


# ---------------------------------------------------------------- https


@pytest.mark.parametrize("user", [True, False], ids=["user wgmesh", "root alone"])
def test_https_with_a_password(world_factory: WorldFactory, user: bool) -> None:
    mesh = new_world(world_factory, "alpha", user=user)
    alpha = mesh.world["alpha"]
    web = HttpsForge(mesh.world.forge, mesh.world.directory / "web", "reader", PASSWORD)
    words = ["join", web.url, "--introduction", mesh.introduction]
    # With a terminal, where git would ask if it were let.
    on_a_terminal = ["script", "-qec", " ".join([*alpha.wgmesh_argv, *words]), "/dev/null"]

    done = alpha.run(on_a_terminal, check=False, timeout=30)
    assert done.returncode == 5 and "update-ca-certificates" in done.stdout
    assert web.requests() == []
    trust_ca(alpha, web.ca)

    done = alpha.run(on_a_terminal, check=False, timeout=30)
    assert done.returncode == 5 and f"into {CREDENTIALS}, 0640 root:wgmesh" in done.stdout
    assert "terminal prompts disabled" in done.stdout

    alpha.write(CREDENTIALS, f"https://other:{PASSWORD}@other.example.net\n", 0o640)
    if user:
        alpha.run(["chgrp", str(ID), CREDENTIALS])
    assert alpha.wgmesh(*words, check=False).returncode == 5
    assert {line.split()[0] for line in web.requests()} == {"-"}

    wrong = f"https://reader:wrong@{HOST}\n"
    alpha.run(["tee", CREDENTIALS], stdin=wrong)
    done = alpha.wgmesh(*words, check=False)
    assert done.returncode == 5 and "Authentication failed" in done.stderr
    assert alpha.read(CREDENTIALS) == wrong, "git forgets a password that did not work: not here"

    alpha.run(["tee", CREDENTIALS], stdin=f"https://reader:{PASSWORD}@{HOST}\n")
    done = alpha.wgmesh(*words)
    assert CREDENTIALS not in done.stderr
    commit = add(mesh, "alpha", done.stdout)
    turn = alpha.wgmesh("--verbose", "sync")
    assert mesh.status("alpha")["commit"]["id"] == commit
    assert "reader /mesh.git/git-upload-pack" in web.requests()
    for said in (done.stdout, done.stderr, turn.stdout, turn.stderr):
        assert PASSWORD not in said
    found = alpha.run(
        ["grep", "-rlF", PASSWORD, "/etc/wgmesh", "/var/lib/wgmesh", "/run/wgmesh"], check=False
    )
    assert found.stdout == f"{CREDENTIALS}\n"


def test_passwords_that_others_can_read_are_told(world_factory: WorldFactory) -> None:
    mesh = new_world(world_factory, "alpha", user=True)
    alpha = mesh.world["alpha"]
    alpha.write(CREDENTIALS, f"https://reader:{PASSWORD}@{HOST}\n", 0o644)
    words = ["join", mesh.url, "--introduction", mesh.introduction]
    said = alpha.wgmesh(*words).stderr
    assert re.search(r"git-credentials: it should be mode 0640: chown root:wgmesh", said)
    assert PASSWORD not in said
    alpha.run(["chown", f"0:{ID}", CREDENTIALS])
    alpha.run(["chmod", "640", CREDENTIALS])
    assert "git-credentials" not in alpha.wgmesh(*words).stderr
    assert alpha.run(as_user("cat", CREDENTIALS)).stdout
