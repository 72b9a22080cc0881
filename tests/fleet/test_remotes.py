"""Private inventories: a deploy key against a real sshd, a password against a real web server."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.fleet import mesh as meshes
from tests.fleet.mesh import TURN_SECONDS, TimedMesh
from tests.fleet.server import HOST, PASSWORD, USER, GitServer
from tests.fleet.software import Repository
from tests.lab.machine import Machine

BY_SSH, BY_HTTPS = "delta", "echo"
NAMES = (BY_SSH, BY_HTTPS)
KEY = "/etc/wgmesh/ssh/id_ed25519"
CREDENTIALS = "/etc/wgmesh/git-credentials"


@pytest.fixture(scope="module")
def server(joined: TimedMesh, repository: Repository) -> Iterator[GitServer]:
    """Boot a server and two more machines with wgmesh; afterwards the mesh is as it was."""
    fleet = joined.fleet
    server = GitServer(fleet)
    added = fleet.add_booted({BY_SSH: "bookworm", BY_HTTPS: "testing"})
    meshes.install(added, repository)
    for machine in added:
        joined.policy(machine.name)
    yield server
    for name in NAMES:
        joined.keys.pop(name, None)
        joined.numbers.pop(name, None)
        fleet.remove(name)
    fleet.remove(server.machine.name)
    gone = {f"nodes/{name}.toml": None for name in NAMES if joined.has(name)}
    joined.hurry(joined.commit(gone, "The guests leave"))


@pytest.fixture
def by_ssh(server: GitServer, mesh: TimedMesh) -> list[str]:
    return ["join", server.ssh_url, "--introduction", mesh.introduction, "--deploy-key"]


@pytest.fixture
def by_https(server: GitServer, mesh: TimedMesh) -> list[str]:
    return ["join", server.https_url, "--introduction", mesh.introduction]


def test_ssh_with_a_deploy_key(mesh: TimedMesh, server: GitServer, by_ssh: list[str]) -> None:
    delta = mesh[BY_SSH]
    first = delta.wgmesh(*by_ssh, check=False)
    assert first.returncode == 5, first.stderr
    assert not delta.exists("/etc/wgmesh/node.toml")
    assert server.fingerprint in first.stderr
    public = delta.read(f"{KEY}.pub").strip()
    assert public in first.stderr

    server.admit(public)
    enrol(mesh, BY_SSH, delta.wgmesh(*by_ssh).stdout)
    assert mode(delta, KEY) == "640 root:wgmesh"


def test_the_deploy_key_may_only_read(mesh: TimedMesh, server: GitServer) -> None:
    delta = mesh[BY_SSH]
    delta.run(["install", "-m", "0600", KEY, "/root/key"])  # ssh as root wants it to itself
    options = ("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=accept-new")
    ssh = " ".join(["ssh", "-i", "/root/key", *(f"-o{option}" for option in options)])
    git = ["env", f"GIT_SSH_COMMAND={ssh}", "git"]
    delta.run([*git, "clone", "--quiet", server.ssh_url, "/root/clone"])
    argv = [*git, "-C", "/root/clone", "push", "origin", "HEAD:refs/heads/other"]
    assert delta.run(argv, check=False).returncode != 0
    assert mesh.author.git("ls-remote", "origin", "refs/heads/other") == ""


def test_https_with_a_password_and_a_ca_of_its_own(
    mesh: TimedMesh, server: GitServer, by_https: list[str]
) -> None:
    echo = mesh[BY_HTTPS]
    first = echo.wgmesh(*by_https, check=False)
    assert first.returncode == 5 and "ca-certificates" in first.stderr, first.stderr
    echo.write("/usr/local/share/ca-certificates/fleet.crt", server.ca)
    echo.run(["update-ca-certificates"])

    second = echo.wgmesh(*by_https, check=False)
    assert second.returncode == 5 and CREDENTIALS in second.stderr, second.stderr
    assert not echo.exists("/etc/wgmesh/node.toml")
    for password, code in (("wrong", 5), (PASSWORD, 0)):
        line = f"https://{USER}:{quote(password, safe='')}@{HOST}\n"
        echo.run(["install", "-m", "0640", "-g", "wgmesh", "/dev/stdin", CREDENTIALS], stdin=line)
        done = echo.wgmesh(*by_https, check=False)
        assert done.returncode == code, done.stderr
        assert password not in done.stdout + done.stderr
    enrol(mesh, BY_HTTPS, done.stdout)
    assert PASSWORD not in echo.journal("-n", "all")


def test_commits_reach_both_by_their_timers(mesh: TimedMesh, server: GitServer) -> None:
    assert set(NAMES) <= set(mesh.keys)
    took = mesh.converge(mesh.change("Seen over ssh, https and git"))
    assert took < TURN_SECONDS
    mesh.wait_for_tunnels(*NAMES, "alpha")


def test_a_host_key_that_changed_is_refused(mesh: TimedMesh, server: GitServer) -> None:
    delta = mesh[BY_SSH]
    server.machine.run(["sh", "-c", "rm /etc/ssh/ssh_host_*; ssh-keygen -A"])
    server.machine.run(["systemctl", "restart", "ssh.service"])
    done = delta.wgmesh("sync", check=False)
    assert done.returncode == 5 and "known_hosts" in done.stderr, done.stderr
    mesh.wait_for_tunnels(BY_SSH, "alpha")


def enrol(mesh: TimedMesh, name: str, printed: str) -> None:
    """Merge the entry that `join` printed, and wait until the node runs it."""
    mesh.keys[name] = printed.split('public_key = "')[1].split('"')[0]
    mesh.converge(mesh.change(f"Add {name}"))
    mesh.wait_for_tunnels(name, "alpha")


def mode(machine: Machine, path: str) -> str:
    return machine.run(["stat", "-c", "%a %U:%G", path]).stdout.strip()
