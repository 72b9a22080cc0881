"""`wgmesh apply-remote` against real sshd: eight hosts at once, and three that make trouble."""

import os
import pty
import re
import select
import time

from tests.lab import sshd
from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT
from tests.lab.mesh import CONFIRM
from tests.lab.sshd import Laptop
from tests.lab.test_apply import inventory, keys
from tests.lab.wait import wait_until
from tests.lab.world import World

pytestmark = sshd.needed

GOOD = [f"host{number}" for number in range(1, 9)]
HOSTS = [*GOOD, "asks", "gone", "harmed"]
CONF = "/var/lib/ada/mesh.conf"


def at_once(stderr: str) -> int:
    """Return how many hosts were being talked to when the first of them ended."""
    before = stderr[: stderr.index(" of ")]
    return before.count(": connecting\n")


def lines(stdout: str) -> dict[str, str]:
    """Return the last line about each host."""
    found = {}
    for line in stdout.splitlines():
        name, colon, rest = line.partition(": ")
        if colon and not line.startswith(" "):
            found[name] = rest
    return found


def port(world: World, name: str) -> str:
    """Return the port that a host listens on."""
    return world[name].run(["wg", "show", "wg0", "listen-port"]).stdout.strip()


def test_eight_hosts_at_once_and_three_that_fail(world_factory: WorldFactory) -> None:
    world = world_factory(["laptop", *HOSTS], ipv6=False)
    laptop = Laptop(world["laptop"])
    hosts = [world[name] for name in HOSTS]
    public = keys(world, HOSTS)
    for host in hosts:
        if host.name != "gone":
            sshd.serve(host, laptop.public_key, password=host.name == "asks")
        host.write("/etc/wgmesh/wgmesh.toml", CONFIRM.format(most=6, silent=8, minority=8))
    laptop.know(hosts)
    world.internet.cut("gone")
    text = inventory(world, public)
    laptop.write(CONF, text)

    dry = laptop.wgmesh("apply-remote", "-c", CONF, "--node", "host1", "--dry-run")
    assert dry.returncode == 0 and "host1: +PublicKey" in dry.stdout, dry.stderr
    assert "this would become generation 1 of host1" in dry.stdout
    assert not world["host1"].exists("/etc/wgmesh/direct.toml")

    first = laptop.wgmesh("apply-remote", "-c", CONF, "--all", "--jobs", "11")
    told = lines(first.stdout)
    assert set(told) == set(HOSTS)
    for name in (*GOOD, "harmed"):
        assert told[name] == f"done: {name} runs this as generation 1", first.stderr
    assert told["gone"].startswith("unreachable: ssh: connect to host")
    assert told["asks"] == "failed: sudo: a password is required"
    assert "  --ssh-tty lets sudo ask" in first.stdout
    assert first.returncode == 1 and "9 of 11 hosts done" in first.stderr
    assert at_once(first.stderr) == 11
    assert "waiting for gone" in first.stderr, "progress says who is missing"

    world.internet.restore("gone")  # there is nobody at its port either, which ssh knows sooner

    # the change is harmful at one host: rolled back there, reported here, in force at the others
    assert port(world, "harmed") == "51820"
    changed = text.replace("mesh_cidr", "mtu = 1380\nmesh_cidr", 1)
    head, harmed = changed.split('[node "harmed"]')
    laptop.write(CONF, head + '[node "harmed"]' + harmed.replace("= 51820", "= 4500"))
    with world.internet.block_udp_port("harmed", 4500):
        second = laptop.wgmesh("apply-remote", "-c", CONF, "--all")
        told = lines(second.stdout)
        for name in GOOD:
            assert told[name] == f"done: {name} runs this as generation 2", second.stderr
        assert told["harmed"].startswith("rolled back: the change of harmed was applied, found")
        assert at_once(second.stderr) >= 8
        assert second.returncode == 1 and "8 of 11 hosts done" in second.stderr
        assert port(world, "harmed") == "51820"
        # one way of failing only: that is the exit code
        alone = [laptop.wgmesh("apply-remote", "-c", CONF, "--node", name) for name in HOSTS[-2:]]
        assert [done.returncode for done in alone] == [5, 6]

    # with a terminal sudo asks, and has what is typed; nothing stays in the host's /tmp
    code, shown = type_at(world, laptop)
    assert code == 0 and "asks runs this as generation 1" in shown, shown
    assert sshd.PASSWORD not in shown
    assert "tmp." not in world["asks"].run(["find", "/tmp", "-user", "ops"], check=False).stdout


def type_at(world: World, laptop: Laptop) -> tuple[int, str]:
    """Run apply-remote --ssh-tty for the host that asks, and type the password when it does."""
    argv = laptop.argv(*laptop.machine.wgmesh_argv, "apply-remote", "-c", CONF)
    main, side = pty.openpty()
    environment = {"HOME": laptop.home, "TERM": "dumb", "PYTHONPATH": str(CHECKOUT)}
    child = laptop.machine.popen(
        ["setsid", "--ctty", "--wait", *argv, "--node", "asks", "--ssh-tty"],
        env=environment,
        stdin=side,
        stdout=side,
        stderr=side,
    )
    os.close(side)
    shown = ""
    typed = False
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([main], [], [], 0.2)[0]:
            if child.poll() is not None:
                break
            continue
        try:
            more = os.read(main, 4096)
        except OSError:  # the other side is closed: all has been read
            break
        shown += more.decode()
        if not typed and re.search(r"password for ops", shown):
            os.write(main, f"{sshd.PASSWORD}\n".encode())
            typed = True
    os.close(main)
    return child.wait(timeout=30), shown


def test_nothing_of_an_inventory_reaches_a_shell(world_factory: WorldFactory) -> None:
    """What may not be in an inventory is refused before ssh is started; keys go only with -o."""
    world = world_factory(["laptop", "alpha", "bravo"], ipv6=False)
    laptop = Laptop(world["laptop"])
    alpha = world["alpha"]
    public = keys(world, ["alpha", "bravo"])
    sshd.serve(alpha, laptop.public_key)
    laptop.know([alpha], "ControlMaster auto\n  ControlPath ~/.ssh/m-%C\n  ControlPersist 60")
    text = inventory(world, public)
    for field in (
        "ssh_host = -oProxyCommand=touch${IFS}/var/lib/ada/owned",
        "ssh_host = alpha;touch /var/lib/ada/owned",
        "ssh_user = $(touch /var/lib/ada/owned)",
        "ssh_port = 22 -oProxyCommand=x",
    ):
        laptop.write(CONF, text.replace("listen_port", f"{field}\nlisten_port", 1))
        done = laptop.wgmesh("apply-remote", "-c", CONF, "--all")
        assert done.returncode == 3 and "Traceback" not in done.stderr
    assert not world["laptop"].exists("/var/lib/ada/owned")

    # the private key is on the laptop only, where gen-keys put it
    private = alpha.read("/etc/wireguard/wg0.key")
    alpha.run(["rm", "/etc/wireguard/wg0.key"])
    laptop.write(CONF, text)
    done = laptop.wgmesh("apply-remote", "-c", CONF, "--node", "alpha")
    assert done.returncode == 1 and "the private key of alpha is not on this" in done.stdout
    laptop.run("mkdir", "-p", f"{laptop.home}/out/keys")
    laptop.write(f"{laptop.home}/out/keys/alpha.key", private)
    done = laptop.wgmesh("apply-remote", "-c", CONF, "-o", f"{laptop.home}/out", "--node", "alpha")
    assert done.returncode == 0, done.stdout + done.stderr
    assert private.strip() not in done.stdout + done.stderr
    assert alpha.run(["stat", "-c", "%a %u", "/etc/wireguard/wg0.key"]).stdout == "600 0\n"
    wait_until(lambda: alpha.read("/etc/wireguard/wg0.key") == private, 1, "the key is there")
