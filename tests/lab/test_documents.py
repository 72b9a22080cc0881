"""Every command of README's and the quick start's blocks, typed in their order by a new user."""

import re
from functools import partial

from tests.lab import documents, installed, sshd
from tests.lab.conftest import WorldFactory
from tests.lab.documents import Shell, blocks
from tests.lab.machine import Machine
from tests.lab.private import SshForge, name_host
from tests.lab.sshd import Laptop
from tests.lab.wait import wait_until
from tests.lab.world import World

ENDPOINTS = """\
for file; do
    name=$(basename "$file" .toml)
    if [ "$name" = entry ]; then name=$(cat "$HOME/node"); fi
    echo "endpoint = \\"$name.example.net\\"" >> "$file"
done
"""


def author(world: World, laptop: Laptop, editor: str = ENDPOINTS) -> Shell:
    """Return the shell of a new user on her own machine, who has a key and git's mere defaults."""
    sshd.install(laptop.machine, "ada")
    path = documents.write_editor(laptop.machine, "/etc/lab/bin/edit", editor)
    return Shell(laptop.machine, laptop.home, laptop.argv(), editor=path)


def operator(machine: Machine) -> Shell:
    """Return root's shell on a node, where `sudo` works too."""
    sshd.install(machine, "root")
    machine.run(["mkdir", "-p", "/var/lib/root"])
    return Shell(machine, "/var/lib/root")


def carry(shell: Shell, laptop: Laptop, file: str, name: str) -> None:
    """Take a node's entry to the author's directory, by whatever way."""
    text = shell.machine.read(f"{shell.home}/{file}")
    laptop.write(f"{laptop.home}/fleet/{name}", text)


def pings(machine: Machine, address: str) -> bool:
    """Return whether `machine` reaches a mesh address."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0


def noted(said: str) -> dict[str, str]:
    """Return what the reader noted of what `init` printed."""
    found = re.search(r"--introduction (\w{40}) --signer (SHA256:\S+)$", said, re.MULTILINE)
    assert found is not None, said
    return {"commit": found[1], "signer": found[2]}


def test_the_readme(world_factory: WorldFactory) -> None:
    names = ["alpha", "bravo", "charlie"]
    world = world_factory(["laptop", *names])
    laptop = Laptop(world["laptop"])
    ada = author(world, laptop)
    nodes = {name: operator(world[name]) for name in names}
    start, join, add, follow, *rest = blocks("README.md")
    assert [block.split()[:2] for block in rest] == [["make", "demo"]], "is tested by itself"

    values = {"REMOTE": world.forge.url()}
    known = noted(ada.type(start, values).stdout)
    values |= {"COMMIT": known["commit"], "SHA256:…": known["signer"]}
    for name, shell in nodes.items():
        shell.type(join.replace("alpha", name), values)
        carry(shell, laptop, f"{name}.toml", f"{name}.toml")
    said = ada.type(add, values).stdout
    assert "3 nodes" in said and "alpha: added" in said and "charlie: added" in said
    for name, shell in nodes.items():
        block = "\n".join(line for line in follow.splitlines() if not line.startswith("ping"))
        shown = shell.type(block, values).stdout
        assert re.search(rf"^node +{name} \(wg0\)$", shown, re.MULTILINE)
    for shell in (nodes["bravo"], nodes["charlie"]):
        wait_until(partial(pings, shell.machine, "10.40.0.1"), 30, "alpha is reached")
        said = shell.type(follow, values).stdout
        assert "in-sync" in said and " 0% packet loss" in said


def test_the_quick_start(world_factory: WorldFactory) -> None:
    world = world_factory(["laptop", "alpha", "bravo", "charlie"])
    laptop = Laptop(world["laptop"])
    ada = author(world, laptop)
    found = blocks("docs/quick-start.md")
    packages, signing, init, first, join, private, password, add, status, ping, merge = found
    lines = packages.splitlines()  # tests/fleet installs the package, from both places
    assert all(line.startswith("sudo apt install ") for line in lines)

    url = "ssh://git@git.example.com/ops/fleet.git"
    values = {url: world.forge.url()}
    ada.type(signing, values)
    known = noted(ada.type(init, values).stdout)
    values |= {"3f2c…": known["commit"], "SHA256:…": known["signer"]}
    mesh = laptop.machine.read(f"{laptop.home}/fleet/mesh.toml")
    laptop.write(f"{laptop.home}/fleet/mesh.toml", mesh.replace(', "fd40::/64"', ""))
    ada.type(first, values)

    for name in ("alpha", "bravo"):
        shell = operator(world[name])
        shell.type(join, values)
        assert "pending" in shell.type(status, values).stdout
        carry(shell, laptop, "entry.toml", "entry.toml")
        laptop.write(f"{laptop.home}/node", name)
        said = ada.type(add.replace("alpha", name), values).stdout
        assert f"{name}: " in said
        for each in ("alpha", "bravo")[: 1 if name == "alpha" else 2]:
            world[each].wgmesh("sync")
        assert "in-sync" in shell.type(status, values).stdout
    bravo = operator(world["bravo"])
    wait_until(lambda: pings(bravo.machine, "10.40.0.1"), 30, "alpha is reached")
    assert " 0% packet loss" in bravo.type(ping, values).stdout

    # a private repository: the deploy key is refused first, then admitted; a password in a file
    charlie = world["charlie"]
    forge = SshForge(world.forge)
    name_host(charlie, world.forge)
    installed.add_user(charlie)
    shell = operator(charlie)
    said = shell.type(private, values | {url: forge.url}, expect=5).stderr
    forge.admit(re.findall(r"^(ssh-ed25519 \S+)", said, re.MULTILINE)[0])
    assert "public_key" in shell.type(private, values | {url: forge.url}).stdout
    line = "https://ada:secret@git.example.com"
    shell.editor = documents.write_editor(charlie, "/etc/lab/bin/edit", f'echo "{line}" > "$1"\n')
    shell.type(password, values)
    shown = charlie.run(["stat", "-c", "%a %U %G", "/etc/wgmesh/git-credentials"]).stdout
    assert (shown, charlie.read("/etc/wgmesh/git-credentials")) == (
        "640 root wgmesh\n",
        f"{line}\n",
    )

    ada.type("git switch -q -c some-branch && git commit -q --allow-empty -S -m x", {})
    ada.type("git switch -q main", {})
    ada.type(merge, values)
    world["alpha"].wgmesh("sync")
    tip = ada.type("git rev-parse HEAD", {}).stdout.strip()
    assert tip[:12] in world["alpha"].wgmesh("status").stdout
