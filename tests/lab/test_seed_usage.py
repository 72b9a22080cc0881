"""The shell tool's README, "Usage steps", command by command, with `wgmesh` for `./wgmesh.sh`.

What needs systemd (the timers, `systemctl status`) is for booted machines: tests/fleet.
"""

import re

from tests.lab import documents, sshd
from tests.lab.conftest import WorldFactory
from tests.lab.documents import Shell
from tests.lab.machine import Machine
from tests.lab.sshd import Laptop
from tests.lab.wait import wait_until
from tests.lab.world import World

NODES = ("alpha", "bravo", "charlie", "sierra")
HEAD = """\
# the mesh of the shell tool
[mesh]
interface = wg0
mesh_cidr = 10.40.0.0/24
exit_nodes = charlie,sierra
exit_primary = charlie
exit_policy = latency
exit_check_interval_seconds = 20
exit_test_target = 1.1.1.1
enable_exit_for_nodes = all
"""
EDIT = "sed -i 's/^interface = wg0$/interface = wg0\\nlocal_node = alpha/' \"$1\"\n"


def mesh_conf(world: World) -> str:
    """Return a mesh.conf as that README has it; nobody has a key yet."""
    text = HEAD
    for number, name in enumerate(NODES, 1):
        text += (
            f'\n# {name} by hand\n[node "{name}"]\naddress = 10.40.0.{number}/24\n'
            f"endpoint = {world[name].ipv4}:51820\nallowed_ips = 10.40.0.{number}/32\n"
        )
        if name in ("charlie", "sierra"):
            text += "exit_out_iface = eth0\nenable_nat = true\n"
    return text


def mode(machine: Machine, path: str) -> str:
    """Return a file's mode, as in 600."""
    return machine.run(["stat", "-c", "%a", path]).stdout.strip()


@sshd.needed
def test_the_usage_steps(world_factory: WorldFactory) -> None:
    world = world_factory(["laptop", *NODES], ipv6=False)
    laptop = Laptop(world["laptop"])
    sshd.install(laptop.machine, "ada")
    for name in NODES:
        if name != "sierra":
            sshd.serve(world[name], laptop.public_key)
    laptop.know(world[name] for name in NODES)
    laptop.write(f"{laptop.home}/mesh.conf", mesh_conf(world))
    editor = documents.write_editor(laptop.machine, "/etc/lab/bin/edit", EDIT)
    ada = Shell(laptop.machine, laptop.home, laptop.argv(), editor=editor)

    # 1 to 3: copy, validate, generate; keys are made, kept and not lost
    ada.type("cp mesh.conf mesh.local.conf\n$EDITOR mesh.local.conf\n", {})
    complaint = ada.type("wgmesh validate -c mesh.local.conf", {}, expect=3).stderr
    assert len(re.findall("public_key", complaint)) >= len(NODES), "every problem at once"
    before = laptop.machine.read(f"{laptop.home}/mesh.local.conf")
    ada.type("wgmesh gen -c mesh.local.conf -o ./out", {}, expect=3)
    ada.type("wgmesh gen -c mesh.local.conf -o ./out --gen-keys", {})
    assert laptop.machine.read(f"{laptop.home}/mesh.local.conf") == before
    ada.type("wgmesh gen-keys -c mesh.local.conf -o ./out", {})
    after = laptop.machine.read(f"{laptop.home}/mesh.local.conf")
    assert [line for line in after.splitlines() if not line.startswith("public_key")] == (
        before.splitlines()
    ), "comments and order stay"
    shown = ada.type("wgmesh validate -c mesh.local.conf", {}).stdout
    assert "4 nodes" in shown
    ada.type("wgmesh gen -c mesh.local.conf -o ./out", {})
    for name in NODES:
        private = laptop.machine.read(f"{laptop.home}/out/keys/{name}.key")
        public = laptop.machine.run(["wg", "pubkey"], stdin=private).stdout.strip()
        assert f"public_key = {public}" in after, "key pairs match"
        assert mode(laptop.machine, f"{laptop.home}/out/keys/{name}.key") == "600"
        assert mode(laptop.machine, f"{laptop.home}/out/{name}.conf") == "600"
        assert f"PrivateKey = {private.strip()}" in laptop.machine.read(
            f"{laptop.home}/out/{name}.conf"
        )

    # 4: on a node, from the copied directory; --node, or local_node without it
    alpha = world["alpha"]
    alpha.run(["mkdir", "-p", "/var/lib/root/out/keys"])
    for file in ("mesh.local.conf", "out/keys/alpha.key"):
        alpha.write(f"/var/lib/root/{file}", laptop.machine.read(f"{laptop.home}/{file}"), 0o600)
    sshd.install(alpha, "root,ops")
    root = Shell(alpha, "/var/lib/root")
    said = root.type("sudo wgmesh apply -c mesh.local.conf -o ./out --node alpha", {}).stdout
    assert said == "alpha runs this as generation 1\n"
    said = root.type("sudo wgmesh apply -c mesh.local.conf -o ./out", {}).stdout
    assert said == "nothing changes on alpha: generation 1 stays\n"
    for file in ("wg0.key", "wgmesh.d/gen-1/wg0.conf"):
        assert mode(alpha, f"/etc/wireguard/{file}") == "600"

    # 5: over ssh; sierra has no sshd, which does not stop the rest, and is no success
    done = ada.type("wgmesh apply-remote -c mesh.local.conf -o ./out --all", {}, expect=5)
    assert "alpha: done: nothing changes on alpha" in done.stdout
    for name in ("bravo", "charlie"):
        assert f"{name}: done: {name} runs this as generation 1" in done.stdout
        assert mode(world[name], "/etc/wireguard/wg0.key") == "600"
    assert "sierra: unreachable: ssh: connect to host" in done.stdout
    wait_until(lambda: pings(alpha, "10.40.0.2"), 30, "alpha reaches bravo")
    ada.type("wgmesh apply-remote -c mesh.local.conf -o ./out --all --gen-keys", {}, expect=5)

    # 6 to 9: the helpers are there and work; timers are systemd's, which is said
    for command in ("install-failover", "install-exit-selector -c mesh.local.conf"):
        complaint = root.type(f"sudo wgmesh {command}", {}, expect=1).stderr
        assert "timer is not installed here" in complaint
    assert "charlie" in root.type("sudo wgmesh exit-status", {}).stdout
    remove = "wgmesh remove-node sierra -c mesh.local.conf -o ./out --out-clean"
    ada.type(f"{remove} --dry-run", {})
    assert laptop.machine.read(f"{laptop.home}/mesh.local.conf") == after
    ada.type(remove, {})
    assert not laptop.machine.exists(f"{laptop.home}/out/sierra.conf")
    done = ada.type("wgmesh apply-remote -c mesh.local.conf -o ./out --all", {})
    assert done.stdout.count(": done: ") == 3 and "runs this as generation 2" in done.stdout
    shown = root.type("sudo wgmesh status || [ $? = 8 ]", {}).stdout
    assert "applied by hand" in shown and "bravo" in shown


def test_nothing_is_sourced_and_nothing_has_a_fixed_name_in_tmp(
    world_factory: WorldFactory,
) -> None:
    world = world_factory(["laptop", *NODES], ipv6=False)
    laptop = Laptop(world["laptop"])
    sshd.install(laptop.machine, "ada")
    ada = Shell(laptop.machine, laptop.home, laptop.argv())
    text = mesh_conf(world)
    evil = ("$(touch owned)", "`touch owned`", "x; touch owned", '"; touch owned; "')
    for value in evil:
        laptop.write(f"{laptop.home}/mesh.conf", text.replace("= wg0", f"= {value}"))
        for command in ("validate -c mesh.conf", "gen -c mesh.conf -o out --gen-keys"):
            ada.type(f"wgmesh {command}", {}, expect=3)
    laptop.write(f"{laptop.home}/mesh.conf", f"{text}\ntouch owned\n")
    ada.type("wgmesh validate -c mesh.conf", {}, expect=3)
    assert not laptop.machine.exists(f"{laptop.home}/owned")

    laptop.write(f"{laptop.home}/mesh.conf", text)
    ada.type(
        "strace -f -qq -e trace=open,openat,mkdir,mkdirat,creat -o trace"
        " wgmesh gen -c mesh.conf -o out --gen-keys >/dev/null",
        {},
    )
    made = [
        line
        for line in laptop.machine.read(f"{laptop.home}/trace").splitlines()
        if ("O_CREAT" in line or "mkdir" in line) and " = -1 " not in line
    ]
    assert any("out/keys/" in line or '"keys' in line for line in made), "strace has seen it"
    assert not [line for line in made if '"/tmp' in line or '"/var/tmp' in line]


def pings(machine: Machine, address: str) -> bool:
    """Return whether `machine` reaches a mesh address."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0
