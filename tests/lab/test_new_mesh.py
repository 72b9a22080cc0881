"""A mesh from nothing, as a new user makes it; joining in all its ways, and leaving."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.forge import git_environment
from tests.lab.installed import by_nobody
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

KEY = "/etc/wireguard/wg0.key"
NODE = "/etc/wgmesh/node.toml"
HANGING = """\
#!/bin/sh
[ "$1" = pubkey ] && exec sleep 60
exec /run/real "$@"
"""


class User:
    """Somebody at a machine of her own: an empty home, an ssh key, git, and wgmesh."""

    def __init__(self, home: Path, comment: str = "ada@example.org") -> None:
        self.home = home
        self.mesh = home / "mesh"
        self.key = home / ".ssh" / "id_ed25519.pub"
        self.key.parent.mkdir(parents=True)
        private = str(self.key.with_suffix(""))
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", private)

    def run(self, *argv: str, stdin: str | None = None, code: int = 0) -> str:
        """Run a command in her home and return its standard output; `code` is what it shall be."""
        done = subprocess.run(
            argv,
            cwd=self.home,
            env=git_environment(self.home) | {"PYTHONPATH": str(CHECKOUT)},
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{argv} exited {done.returncode}: {done.stderr}"
        return done.stdout

    def wgmesh(self, *arguments: str, stdin: str | None = None, code: int = 0) -> str:
        """Run wgmesh as an author does."""
        return self.run(sys.executable, "-m", "wgmesh", *arguments, stdin=stdin, code=code)

    def git(self, *arguments: str) -> str:
        """Run git in the inventory."""
        return self.run("git", "-C", str(self.mesh), *arguments)


def status(machine: Machine, code: int = 0) -> dict[str, Any]:
    """Return `status --json` of a machine, whose exit code shall be `code`."""
    done = machine.wgmesh("status", "--json", check=False)
    assert done.returncode == code, done.stdout
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def ping(machine: Machine, address: str) -> bool:
    """Return whether a machine reaches an address."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0


def mode(machine: Machine, path: str) -> str:
    """Return a file's mode, as in 600."""
    return machine.run(["stat", "-c", "%a", path]).stdout.strip()


def test_a_new_mesh_from_nothing(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo"])
    alpha, bravo = world["alpha"], world["bravo"]
    user = User(world.directory / "newcomer")
    remote = world.forge.create("fresh")

    printed = user.wgmesh("init", "mesh", "--signer", str(user.key))
    line = printed.splitlines()[-1]
    assert line.startswith("wgmesh join REMOTE --introduction ")
    assert "G" in user.git("log", "-1", "--format=%G?")
    assert user.wgmesh("validate", "-c", "mesh")
    user.git("push", "--quiet", str(remote), "main")

    words = line.replace("REMOTE", world.forge.url("fresh")).split()[1:]
    entry = alpha.wgmesh(*words).stdout
    assert mode(alpha, KEY) == "600"
    assert alpha.read(KEY).strip() not in entry
    assert status(alpha)["state"] == "pending"
    alpha.wgmesh("sync")
    assert status(alpha)["state"] == "pending"

    user.wgmesh("node", "add", "alpha", "--from", "-", "-c", "mesh", stdin=entry)
    file = user.mesh / "nodes" / "alpha.toml"
    assert 'address = ["10.40.0.1/32", "fd40::1/128"]' in file.read_text()
    file.write_text(file.read_text() + f'endpoint = "{alpha.ipv4}"\n')
    user.wgmesh("validate", "-c", "mesh")
    user.git("add", "--all")
    user.git("commit", "--quiet", "-m", "Add alpha")
    assert "G" in user.git("log", "-1", "--format=%G?")
    user.git("push", "--quiet", str(remote), "main")
    assert "runs as generation 1" in alpha.wgmesh("sync").stdout
    alone = status(alpha)
    assert (alone["state"], alone["reasons"], alone["peers"]) == ("in-sync", [], [])
    assert alone["commit"]["signer"] == "ada@example.org"
    alpha.wgmesh("sync")
    assert status(alpha)["state"] == "in-sync"

    entry = bravo.wgmesh(*words).stdout
    assert status(bravo)["state"] == "pending"
    bravo.wgmesh("sync")
    assert status(bravo)["state"] == "pending"
    assert not bravo.exists("/sys/class/net/wg0")
    user.git("checkout", "--quiet", "-b", "bravo")
    user.wgmesh("node", "add", "bravo", "--from", "-", "-c", "mesh", stdin=entry)
    assert "bravo" in user.wgmesh("plan", "-c", "mesh", "--base", "main")
    user.git("add", "--all")
    user.git("commit", "--quiet", "-m", "Add bravo")
    user.git("push", "--quiet", str(remote), "bravo")
    user.git("checkout", "--quiet", "main")
    user.git("merge", "--no-ff", "-S", "-m", "Merge bravo", "bravo")
    user.git("push", "--quiet", str(remote), "main")
    for machine in (alpha, bravo):
        machine.wgmesh("sync")
    for address in ("10.40.0.1", "fd40::1"):
        wait_until(partial(ping, bravo, address), 20, f"bravo reaches {address}")
    for machine in (alpha, bravo):
        machine.wgmesh("sync")
        assert (status(machine)["state"], status(machine)["reasons"]) == ("in-sync", [])


def test_init_refuses_what_is_no_use(tmp_path: Path) -> None:
    user = User(tmp_path / "home")
    user.wgmesh("init", "mesh", "--signer", str(user.key))
    user.wgmesh("init", "mesh", "--signer", str(user.key), code=2)
    user.wgmesh("init", "other", "--signer", str(user.key.with_suffix("")), code=2)
    user.wgmesh("init", "other", "--signer", "nowhere.pub", code=2)
    assert not (user.home / "other").exists()


def test_init_where_nothing_can_be_signed_says_so(tmp_path: Path) -> None:
    """The private half lies elsewhere: the user commits by hand, and the line waits for the id."""
    user = User(tmp_path / "home", "Ada on her laptop")
    user.key.with_suffix("").unlink()
    printed = user.wgmesh("init", "mesh", "--signer", str(user.key))
    assert "git commit -S" in printed
    assert "--introduction COMMIT --signer SHA256:" in printed
    assert (user.mesh / "allowed_signers").read_text().startswith("admin@mesh ")


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Make a mesh of alpha and bravo, converged; the other machines have joined nothing."""
    world = module_world_factory(["alpha", "bravo", "charlie", "delta"])
    mesh = Mesh(world)
    mesh.bring_up("alpha", "bravo")
    mesh.sync()
    return mesh


def test_joining_again_is_harmless(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    arguments = ["join", mesh.url, "--introduction", mesh.introduction]
    before = (alpha.read(NODE), alpha.read(KEY), kernel.whole(alpha), status(alpha)["commit"])
    again = alpha.wgmesh(*arguments, "--signer", mesh.author.fingerprint).stdout
    assert again == alpha.wgmesh(*arguments).stdout
    assert again == alpha.wgmesh("join").stdout
    key = alpha.run(["wg", "pubkey"], stdin=alpha.read(KEY)).stdout.strip()
    assert f'public_key = "{key}"' in again
    after = (alpha.read(NODE), alpha.read(KEY), kernel.whole(alpha), status(alpha)["commit"])
    assert after == before
    alpha.wgmesh("sync")
    assert status(alpha)["state"] == "in-sync"


def test_joining_again_moves_no_trust(mesh: Mesh) -> None:
    """Neither back to a commit that main was rewound to, nor to another anchor."""
    alpha = mesh.world["alpha"]
    arguments = ["join", mesh.url, "--introduction"]
    tip = mesh.author.pull()
    revoked = f'revoked = ["SHA256:{"A" * 43}"]\n'
    alpha.write(NODE, alpha.read(NODE).replace("[anchor]", f"{revoked}\n[anchor]"))
    mesh.author.push(f"{mesh.introduction}:refs/heads/main", force=True)
    try:
        alpha.wgmesh(*arguments, mesh.introduction, check=False)
        assert alpha.wgmesh("sync", check=False).returncode == 4
        shown = status(alpha, 7)
        assert (shown["state"], shown["commit"]["id"]) == ("refused", tip)
    finally:
        mesh.author.push(f"{tip}:refs/heads/main", force=True)
    alpha.wgmesh("sync")
    assert status(alpha)["state"] == "in-sync"
    assert alpha.wgmesh(*arguments, tip, check=False).returncode == 2
    assert revoked in alpha.read(NODE)
    assert mesh.introduction in alpha.read(NODE)


def test_join_refuses(mesh: Mesh) -> None:
    alpha, charlie = mesh.world["alpha"], mesh.world["charlie"]
    good = ["--introduction", mesh.introduction]
    known = alpha.read(NODE)
    mesh.world.forge.create("another")
    done = alpha.wgmesh("join", mesh.world.forge.url("another"), *good, check=False)
    assert (done.returncode, alpha.read(NODE)) == (2, known)
    for other in (["--node", "omega"], ["--branch", "other"], ["--path", "other"]):
        done = alpha.wgmesh("join", mesh.url, *good, *other, check=False)
        assert (done.returncode, alpha.read(NODE)) == (2, known)
        assert "has joined" in done.stderr and "as alpha" in done.stderr

    somebody = "SHA256:" + "A" * 43
    secret = "hunter2hunter2"
    refusals: list[tuple[int, list[str], str]] = [
        (2, [f"https://ada:{secret}@git.example.org/mesh.git", *good], "password"),
        (2, [mesh.url, "--introduction", mesh.introduction[:12]], "full commit id"),
        (2, [mesh.url], "--introduction"),
        (2, [mesh.url, *good, "--signers", "/etc/hosts"], "not allowed with"),
        (2, [mesh.url, *good, "--node", "No Name"], "--node"),
        (2, ["--upload-pack=touch /run/owned", *good], ""),
        (2, ["ext::sh -c touch% /run/owned", *good], ""),
        (4, [mesh.url, *good, "--signer", somebody], somebody),
        (4, [mesh.url, "--introduction", "1" * 40], "introduction"),
        (5, [mesh.url.replace("mesh.git", "nothing.git"), *good], ""),
        (3, [mesh.url, *good, "--path", "elsewhere"], ""),
        (8, [], "has not joined"),
    ]
    for code, arguments, word in refusals:
        done = charlie.wgmesh("join", *arguments, check=False)
        said = done.stderr
        assert (done.returncode, done.stdout) == (code, ""), (arguments, said)
        assert word in said, (arguments, said)
        assert secret not in said and "Traceback" not in said
        assert not charlie.exists(NODE), arguments
        assert status(charlie, 8)["state"] == "not-joined"
    assert not charlie.exists("/run/owned")


def test_join_by_a_signers_file(mesh: Mesh) -> None:
    charlie, mallory = mesh.world["charlie"], mesh.world.author("mallory")
    charlie.write("/root/mallory", mallory.allowed_signers_line)
    done = charlie.wgmesh("join", mesh.url, "--signers", "/root/mallory", check=False)
    assert done.returncode == 4
    assert not charlie.exists(NODE)
    charlie.write("/root/signers", mesh.author.allowed_signers_line)
    charlie.wgmesh("join", mesh.url, "--signers", "/root/signers", "--node", "carol")
    shown = status(charlie)
    assert (shown["state"], shown["node"]) == ("pending", "carol")
    assert mesh.author.pull() in charlie.read(NODE)  # the tip is the anchor
    again = charlie.wgmesh("join", mesh.url, "--signers", "/root/signers", "--node", "carol")
    assert again.stdout == charlie.wgmesh("join").stdout
    known = charlie.read(NODE)
    for code, other in (
        (2, ["--signers", "/root/mallory", "--node", "carol"]),
        (2, ["--signers", "/root/signers", "--node", "charlie"]),
        (2, ["--signers", "/root/nothing"]),
        (4, ["--signers", "/etc/hosts"]),
    ):
        done = charlie.wgmesh("join", mesh.url, *other, check=False)
        assert (done.returncode, done.stdout) == (code, "") and "Traceback" not in done.stderr
        assert charlie.read(NODE) == known
    charlie.wgmesh("leave")
    assert status(charlie, 8)["state"] == "not-joined"


def test_a_join_that_is_killed_has_not_happened(mesh: Mesh) -> None:
    charlie = mesh.world["charlie"]
    argv = [*charlie.wgmesh_argv, "join", mesh.url, "--introduction", mesh.introduction]
    mesh.world.forge.freeze()
    try:
        child = charlie.popen(argv)
        wait_until(lambda: charlie.pids("git"), 20, "join asks the forge")
        child.kill()
        child.communicate(timeout=20)
    finally:
        mesh.world.forge.thaw()
    assert not charlie.exists(NODE)
    assert status(charlie, 8)["state"] == "not-joined"

    # and once more, after the key was made: `wg pubkey` hangs
    charlie.run(["rm", "-f", KEY])
    charlie.write("/run/wg", HANGING, 0o755)
    real = charlie.run(["sh", "-c", "readlink -f $(command -v wg)"]).stdout.strip()
    charlie.run(["cp", real, "/run/real"])
    charlie.run(["mount", "--bind", "/run/wg", real])
    try:
        child = charlie.popen(argv)
        wait_until(lambda: charlie.pids("sleep"), 20, "join asks for the public key")
        child.kill()
        child.communicate(timeout=20)
        assert charlie.exists(KEY)
        assert not charlie.exists(NODE)
    finally:
        for pid in charlie.pids("sleep"):
            charlie.kill(pid)
        charlie.run(["umount", real])
    assert mode(charlie, KEY) == "600"
    key = charlie.read(KEY)
    assert status(charlie, 8)["state"] == "not-joined"
    charlie.wgmesh("join", mesh.url, "--introduction", mesh.introduction)
    assert charlie.read(KEY) == key
    assert status(charlie)["state"] == "pending"
    charlie.wgmesh("leave")


def test_leave_lets_the_tunnel_be_and_restore_takes_it_away(mesh: Mesh) -> None:
    delta = mesh.world["delta"]
    etc = delta.run(["ls", "-A", "/etc/wireguard"]).stdout
    before = (kernel.routes(delta), kernel.rules(delta), kernel.addresses(delta))
    sysctls = (kernel.sysctls(delta), kernel.firewall(delta))
    key = mesh.join("delta")
    entry = mesh.entry("delta", key, {"forwarding": True, "nat_iface": "eth0"})
    mesh.commit({"nodes/delta.toml": entry}, "Add delta")
    mesh.sync("alpha", "bravo", "delta")
    mesh.wait_for_tunnels("alpha", "delta")
    running = kernel.whole(delta)
    assert running["nft"]

    delta.wgmesh("leave")
    assert status(delta, 8)["state"] == "not-joined"
    assert delta.wgmesh("sync", check=False).returncode == 8
    assert kernel.whole(delta) == running
    assert mesh.pings("alpha", "delta")
    assert delta.exists("/etc/wireguard/wg0.conf")

    assert mesh.join("delta") == key
    delta.wgmesh("sync")
    assert status(delta)["state"] == "in-sync"
    assert kernel.whole(delta) == running
    delta.wgmesh("leave", "--restore")
    assert (kernel.routes(delta), kernel.rules(delta), kernel.addresses(delta)) == before
    assert (kernel.sysctls(delta), kernel.firewall(delta)) == sysctls
    assert not delta.exists("/sys/class/net/wg0")
    left = delta.run(["ls", "-A", "/etc/wireguard"]).stdout.split()
    assert left == [*etc.split(), "wg0.key"]
    assert status(delta, 8)["state"] == "not-joined"
    mesh.commit({"nodes/delta.toml": None}, "Remove delta")
    mesh.sync("alpha", "bravo")


def test_nobody_but_root(mesh: Mesh) -> None:
    """Another user gets a sentence; `status` she may read."""
    alpha = mesh.world["alpha"]
    for command in ("sync", "join", "leave", "reconcile", "rollback", "hold"):
        done = by_nobody(alpha, command)
        assert (done.returncode, "needs root" in done.stderr) == (2, True), (command, done.stderr)
    done = by_nobody(alpha, "status", "--json")
    assert json.loads(done.stdout)["state"] == "in-sync"
    assert alpha.read(KEY).strip() not in done.stdout
