"""The package's later life: upgraded under traffic, removed, purged, installed again."""

import subprocess
from contextlib import ExitStack

from tests.fleet import mesh as meshes
from tests.fleet import software
from tests.fleet.mesh import TURN_SECONDS, TimedMesh, everywhere, ours
from tests.fleet.software import Repository
from tests.lab.pings import PingCount, Pings
from tests.lab.wait import wait_until

NAMES = ("alpha", "bravo", "charlie")
APT = ["apt-get", "-y"]
# Everything that has its name, save logs, apt's own and what the next boot clears; and what is
# in /etc/wireguard or starts an interface.
FIND = """
find /etc /usr /var /run /root /srv -xdev -iname '*wgmesh*' \\
    -not -path '/run/systemd/*' -not -path '/var/tmp/systemd-private-*' \\
    -not -path '/var/log/*' -not -path '/var/cache/apt/*'
find /etc/wireguard -mindepth 1
find /etc/systemd/system -name 'wg-quick@wg0*'
"""


def ring(mesh: TimedMesh, stack: ExitStack) -> dict[str, Pings]:
    """Start pings from each node to the next, through the tunnel; by the node that is pinged."""
    return {
        name: stack.enter_context(Pings(mesh[NAMES[number - 1]], mesh.address(name), 0.01))
        for number, name in enumerate(NAMES)
    }


def test_an_upgrade_gives_up_when_somebody_stays_at_work(
    mesh: TimedMesh, repository: Repository
) -> None:
    charlie = mesh["charlie"]
    script = "/var/lib/dpkg/info/wgmesh.prerm"
    text = charlie.read(script)
    assert "limit=1300\n" in text
    charlie.write(script, text.replace("limit=1300\n", "limit=2\n"), 0o755)
    reinstall = [*APT, "install", "--reinstall", "wgmesh"]
    holder = charlie.popen(["flock", "/run/wgmesh/lock", "cat"], stdin=subprocess.PIPE)
    try:
        wait_until(lambda: charlie.pids("cat"), TURN_SECONDS, "somebody is at work")
        done = charlie.run(reinstall, check=False, timeout=120)
        assert done.returncode != 0 and "still at work" in done.stdout + done.stderr
        for timer in ("wgmesh-sync.timer", "wg-failover.timer"):
            assert charlie.unit(timer, "ActiveState") == "active"
    finally:
        holder.communicate()
    shown = charlie.run(["dpkg-query", "-W", "-f", "${Status}", "wgmesh"]).stdout
    assert shown == "install ok installed"
    charlie.run(reinstall, timeout=240)
    assert charlie.read(script) == text
    mesh.converge(mesh.change("After the upgrade that was not"))


def test_an_upgrade_drops_no_packet(mesh: TimedMesh, repository: Repository) -> None:
    repository.publish(newer=True)
    before = {name: ours(mesh[name]) for name in NAMES}
    with ExitStack() as stack:
        pings = ring(mesh, stack)
        everywhere(mesh.fleet.booted.values(), ["apt-get", "update"])
        everywhere(mesh.fleet.booted.values(), [*APT, "upgrade"])
        mesh.wait_for_tunnels()
        counts: dict[str, PingCount] = {name: each.stop() for name, each in pings.items()}
    assert {name: count.lost for name, count in counts.items()} == dict.fromkeys(NAMES, 0)
    assert min(count.sent for count in counts.values()) > 100
    for name in NAMES:
        assert f"{software.version()}.1" in mesh[name].wgmesh("--version").stdout
        assert ours(mesh[name]) == before[name]
        assert mesh[name].unit("wgmesh-sync.timer", "ActiveState") == "active"
        assert mesh[name].run(["systemctl", "is-system-running"]).stdout == "running\n"
    # and it goes on as before, by itself
    mesh.converge(mesh.change("After the upgrade"))


def test_remove_keeps_the_tunnel_and_purge_the_key(mesh: TimedMesh, repository: Repository) -> None:
    charlie = mesh["charlie"]
    key = charlie.read("/etc/wireguard/wg0.key")
    before = ours(charlie)
    with Pings(mesh["alpha"], mesh.address("charlie"), 0.01) as pings:
        charlie.run([*APT, "remove", "wgmesh"])
        assert ours(charlie) == before
        said = charlie.run([*APT, "purge", "wgmesh"]).stdout
        mesh.wait_for_tunnels()
        assert pings.stop().lost == 0
    assert "/etc/wireguard/wg0.key stays" in said
    assert charlie.read("/etc/wireguard/wg0.key") == key
    left = set(charlie.run(["sh", "-c", FIND]).stdout.split())
    assert left == {
        "/etc/wireguard/wg0.key",
        # what the administrator added: the apt source and these kernels' device
        "/etc/apt/sources.list.d/wgmesh.sources",
        software.KEYRING,
        *(f"/etc/systemd/system/{unit}.d" for unit in meshes.USERSPACE_UNITS),
    }
    assert charlie.run(["getent", "passwd", "wgmesh"]).stdout

    # nothing of it boots, and nothing fails for the lack of it
    charlie.run(
        ["rm", "-rf", *(f"/etc/systemd/system/{unit}.d" for unit in meshes.USERSPACE_UNITS)]
    )
    charlie.reboot()
    assert charlie.run(["ip", "link", "show", "wg0"], check=False).returncode != 0

    # installed again, with the key that stayed: the entry in the inventory holds
    meshes.install([charlie], repository)
    mesh.policy("charlie")
    assert mesh.join("charlie") == mesh.keys["charlie"]
    mesh.converge(mesh.author.head)
    mesh.wait_for_tunnels()
