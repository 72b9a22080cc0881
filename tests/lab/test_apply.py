"""`wgmesh apply`: an inventory out of a file, on machines that follow no repository."""

import json
from collections.abc import Iterable
from typing import Any

from tests.lab import installed
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import CONFIRM, Mesh
from tests.lab.wait import wait_until
from tests.lab.world import World

KEY = "/etc/wireguard/wg0.key"
BOOT = "/etc/wireguard/wgmesh.d/boot"
HEAD = """\
[mesh]
interface = wg0
mesh_cidr = 10.40.0.0/24
"""


def keys(world: World, names: Iterable[str]) -> dict[str, str]:
    """Make each machine's private key; returns the public keys."""
    found = {}
    for name in names:
        private = world[name].run(["wg", "genkey"]).stdout
        world[name].write(KEY, private, 0o600)
        found[name] = world[name].run(["wg", "pubkey"], stdin=private).stdout.strip()
    return found


def inventory(world: World, public: dict[str, str], extra: str = "", **ports: int) -> str:
    """Return a mesh.conf of these machines."""
    text = HEAD + extra
    for number, (name, key) in enumerate(public.items(), 1):
        port = ports.get(name, 51820)
        text += (
            f'\n[node "{name}"]\naddress = 10.40.0.{number}/32\npublic_key = {key}\n'
            f"endpoint = {world[name].ipv4}:{port}\nlisten_port = 51820\n"
            f"allowed_ips = 10.40.0.{number}/32\n"
        )
    return text


def apply(machine: Machine, text: str, *options: str, check: bool = True) -> tuple[int, str, str]:
    """Run `wgmesh apply` with this mesh.conf; returns exit code, standard output and error."""
    machine.run(["mkdir", "-p", "/etc/lab"])
    machine.write("/etc/lab/mesh.conf", text)
    argv = ["apply", "-c", "/etc/lab/mesh.conf", "--node", machine.name, *options]
    done = machine.wgmesh(*argv, check=check)
    return done.returncode, done.stdout, done.stderr


def pings(machine: Machine, address: str) -> bool:
    """Return whether `machine` reaches a mesh address."""
    argv = ["ping", "-n", "-c", "1", "-W", "1", address]
    return machine.run(argv, check=False).returncode == 0


def status(machine: Machine) -> tuple[int, dict[str, Any]]:
    """Return the exit code of `wgmesh status --json`, and the report."""
    done = machine.wgmesh("status", "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def test_apply_proves_and_can_be_taken_back(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo"])
    alpha, bravo = world["alpha"], world["bravo"]
    public = keys(world, world.nodes)
    good = inventory(world, public)
    for machine in (alpha, bravo):
        machine.write("/etc/wgmesh/wgmesh.toml", CONFIRM.format(most=6, silent=8, minority=8))

    code, said, _ = apply(alpha, good, "--dry-run")
    assert code == 0 and "this would become generation 1 of alpha" in said
    assert f"+PublicKey = {public['bravo']}" in said
    assert not alpha.exists("/etc/wgmesh/direct.toml") and not alpha.exists(BOOT)
    assert status(alpha)[1]["node"] is None

    for machine in (alpha, bravo):
        assert "runs this as generation 1" in apply(machine, good)[1]
    wait_until(lambda: pings(alpha, "10.40.0.2"), 20, "alpha reaches bravo")
    assert "nothing changes on alpha: generation 1 stays" in apply(alpha, good)[1]

    # it has joined nothing, but says what runs; so without root
    code, shown = status(alpha)
    assert (code, shown["state"], shown["generation"]) == (8, "not-joined", 1)
    assert (shown["node"], shown["commit"], shown["drift"]) == ("alpha", None, [])
    assert [peer["state"] for peer in shown["peers"]] == ["up"]
    assert "applied by hand" in alpha.wgmesh("status", check=False).stdout
    assert "generation 1, out of a file" in alpha.wgmesh("status", check=False).stdout
    installed.open_checkout(alpha)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    done = alpha.run([*nobody, *alpha.wgmesh_argv, "status", "--json"], check=False)
    seen = json.loads(done.stdout)
    assert (done.returncode, seen["state"], seen["generation"]) == (8, "not-joined", 1)
    assert "root sees the present" in seen["reasons"][-1]
    assert "no repository is followed" in alpha.wgmesh("doctor", check=False).stdout
    assert alpha.wgmesh("sync", check=False).returncode == 8

    # a change that cuts alpha off is taken back, reported, and not what boots
    bad = good.replace("listen_port = 51820", "listen_port = 4500", 1)
    with world.internet.block_udp_port("alpha", 4500):
        for _ in range(2):  # who asks again gets another try
            code, _, complaint = apply(alpha, bad, check=False)
            assert code == 6 and "found harmful and rolled back" in complaint
    assert alpha.run(["readlink", BOOT]).stdout.strip() == "gen-1"
    assert alpha.run(["wg", "show", "wg0", "listen-port"]).stdout == "51820\n"
    assert pings(alpha, "10.40.0.2")

    # a harmless one lands; rollback goes back, does not hold, and the same may be applied again
    more = good.replace("mesh_cidr = 10.40.0.0/24\n", "mesh_cidr = 10.40.0.0/24\nmtu = 1380\n")
    assert "runs this as generation" in apply(alpha, more)[1]
    link = alpha.run(["ip", "-o", "link", "show", "wg0"]).stdout
    assert "mtu 1380" in link
    assert "generation 1 runs again\n" in alpha.wgmesh("rollback").stdout
    assert status(alpha)[1]["generation"] == 1
    assert "runs this as generation" in apply(alpha, more)[1]
    outcomes = [row["outcome"] for row in json.loads(alpha.wgmesh("history", "--json").stdout)]
    assert outcomes.count("rolled-back") == 2 and outcomes.count("running") == 1

    # drift is shown and mended, a helper's tick works
    alpha.run(["ip", "link", "set", "wg0", "mtu", "1300"])
    assert status(alpha)[1]["drift"]
    alpha.wgmesh("reconcile")
    assert status(alpha)[1]["drift"] == []
    alpha.run([*alpha.wgmesh_argv[:1], "-c", "from wgmesh.cli.failover import main; main()"])

    alpha.wgmesh("leave", "--restore")
    assert not alpha.exists("/sys/class/net/wg0") and not alpha.exists("/etc/wgmesh/direct.toml")
    assert alpha.wgmesh("status", check=False).stdout.startswith("not joined")


def test_what_apply_refuses(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo"])
    alpha = world["alpha"]
    public = keys(world, world.nodes)
    good = inventory(world, public)
    foreign = good.replace(public["alpha"], alpha.run(["wg", "genkey"]).stdout.strip())
    cases = (
        (good.replace("wg0", "no/such"), 3, "invalid"),
        (foreign, 1, "the private key of alpha is not on this machine"),
        (good.replace('"alpha"', '"other"'), 2, "there is no node 'alpha'"),
    )
    for text, wanted, words in cases:
        code, _, complaint = apply(alpha, text, check=False)
        assert code == wanted and words in complaint, complaint
        assert "Traceback" not in complaint and len(complaint.splitlines()) == 2
    alpha.write("/etc/lab/mesh.conf", good)
    assert "which node" in alpha.wgmesh("apply", "-c", "/etc/lab/mesh.conf", check=False).stderr
    assert not alpha.exists("/sys/class/net/wg0") and not alpha.exists("/etc/wgmesh/direct.toml")
    alpha.write("/etc/lab/mesh.conf", good.replace("wg0\n", "wg0\nlocal_node = alpha\n"))
    assert "alpha runs this" in alpha.wgmesh("apply", "-c", "/etc/lab/mesh.conf").stdout


def test_apply_beside_sync(world_factory: WorldFactory) -> None:
    """A node that has joined refuses; a machine to which one was applied may join, and goes on."""
    world = world_factory(["alpha", "bravo"])
    mesh = Mesh(world)
    alpha = world["alpha"]
    public = keys(world, world.nodes)
    for name, machine in world.nodes.items():
        apply(machine, inventory(world, public))
        mesh.numbers[name] = len(mesh.numbers) + 1
    wait_until(lambda: pings(alpha, "10.40.0.2"), 20, "alpha reaches bravo")
    assert mesh.enrol("alpha", "bravo")
    mesh.sync()
    assert not alpha.exists("/etc/wgmesh/direct.toml")
    code, shown = status(alpha)
    assert (code, shown["state"], shown["generation"]) == (0, "in-sync", 2)
    code, _, complaint = apply(alpha, inventory(world, public), check=False)
    assert code == 2 and "this machine has joined a mesh" in complaint
    assert alpha.wgmesh("rollback", "--no-hold").stdout.startswith("generation 1 runs again")


def test_a_key_that_is_named_or_made_elsewhere(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha", "bravo"])
    alpha = world["alpha"]
    public = keys(world, ["alpha", "bravo"])
    first = alpha.read(KEY)
    alpha.run(["rm", KEY])
    alpha.write("/etc/lab/out/keys/alpha.key", first, 0o600)
    good = inventory(world, public)
    apply(alpha, good, "-o", "/etc/lab/out")
    assert alpha.read(KEY) == first
    assert alpha.run(["stat", "-c", "%a", KEY]).stdout == "600\n"
    # another key, in a file that the inventory names: the first one is kept, for the way back
    second = alpha.run(["wg", "genkey"]).stdout
    alpha.write("/etc/lab/second.key", second, 0o600)
    there = alpha.run(["wg", "pubkey"], stdin=second).stdout.strip()
    text = good.replace(public["alpha"], f"{there}\nprivate_key_path = /etc/lab/second.key")
    apply(alpha, text)
    assert alpha.run(["wg", "show", "wg0", "public-key"]).stdout.strip() == there
    assert alpha.read(KEY) == second
    alpha.wgmesh("rollback")
    assert alpha.run(["wg", "show", "wg0", "public-key"]).stdout.strip() == public["alpha"]
    assert alpha.read(KEY) == first


def test_killed_in_the_middle(world_factory: WorldFactory) -> None:
    """What was cut short is undone by `recover`, or by the next apply."""
    world = world_factory(["alpha", "bravo"])
    alpha, bravo = world["alpha"], world["bravo"]
    public = keys(world, world.nodes)
    good = inventory(world, public)
    alpha.write("/etc/lab/mesh.conf", good)
    alpha.write("/etc/wgmesh/wgmesh.toml", CONFIRM.format(most=20, silent=30, minority=30))
    apply(bravo, good)
    apply(alpha, good)
    wait_until(lambda: pings(alpha, "10.40.0.2"), 20, "alpha reaches bravo")

    moved = good.replace("listen_port = 51820", "listen_port = 4500", 1)
    alpha.write("/etc/lab/mesh.conf", moved)
    for mend in (("recover",), ("apply", "-c", "/etc/lab/mesh.conf", "--node", "alpha")):
        with world.internet.block_udp_port("alpha", 4500):
            argv = ["apply", "-c", "/etc/lab/mesh.conf", "--node", "alpha"]
            child = alpha.popen([*alpha.wgmesh_argv, *argv])
            wait_until(lambda: port(alpha) == "4500", 20, "the change is applied")
            for pid in (child.pid, *alpha.pids(word="recover")):
                alpha.kill(pid)
            child.wait(timeout=20)
        assert port(alpha) == "4500" and status(alpha)[1]["generation"] == 1
        alpha.wgmesh(*mend)
        assert port(alpha) == ("51820" if mend == ("recover",) else "4500")
    assert pings(alpha, "10.40.0.2")


def port(machine: Machine) -> str:
    """Return the port that a machine listens on."""
    return machine.run(["wg", "show", "wg0", "listen-port"], check=False).stdout.strip()
