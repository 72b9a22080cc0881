"""The first apply on a machine that has a tunnel of its own making, and the way back from it."""

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.wait import wait_until
from tests.lab.world import World

KEY = "/etc/wireguard/wg0.key"
CONF = "/etc/wireguard/wg0.conf"
KEPT = "/etc/wireguard/wgmesh.d/gen-0/wg0.conf"

PLAIN = """\
# made by hand, long ago
[Interface]
PrivateKey = {private}
Address = 10.40.0.{own}/24, fd40::{own}/64
ListenPort = 51820

[Peer]
# the other one
PublicKey = {peer}
AllowedIPs = 10.40.0.{other}/32, fd40::{other}/128, 192.168.6{other}.0/24
Endpoint = {endpoint}:51820
"""


def mode(machine: Machine, path: str) -> str:
    """Return a file's mode, as in 600."""
    return machine.run(["stat", "-c", "%a", path]).stdout.strip()


def pings(machine: Machine) -> bool:
    """Return whether a machine reaches bravo."""
    return (
        machine.run(["ping", "-n", "-c", "1", "-W", "1", "10.40.0.2"], check=False).returncode == 0
    )


def by_hand(world: World) -> dict[str, str]:
    """Make the tunnel between two machines with wg-quick alone; returns the public keys."""
    private = {name: world[name].run(["wg", "genkey"]).stdout.strip() for name in world.nodes}
    public = {
        name: world[name].run(["wg", "pubkey"], stdin=key).stdout.strip()
        for name, key in private.items()
    }
    for name, other, own, peer in (("alpha", "bravo", 1, 2), ("bravo", "alpha", 2, 1)):
        text = PLAIN.format(
            private=private[name],
            own=own,
            other=peer,
            peer=public[other],
            endpoint=world[other].ipv4,
        )
        world[name].write(CONF, text, 0o600)
        world[name].run(["wg-quick", "up", "wg0"])
    return public


@pytest.mark.alone  # no gap longer than a tenth of a second
@pytest.mark.parametrize("way_back", [["rollback"], ["rollback", "0"], ["leave", "--restore"]])
def test_a_machine_that_has_a_wg0_already(world_factory: WorldFactory, way_back: list[str]) -> None:
    world = world_factory(["alpha", "bravo"])
    alpha, bravo = world["alpha"], world["bravo"]
    public = by_hand(world)
    wait_until(lambda: pings(alpha), 20, "the old tunnel is up")
    conf, before = alpha.read(CONF), kernel.whole(alpha)
    mesh = Mesh(world)
    with Pings(alpha, "10.40.0.2") as four, Pings(bravo, "fd40::1") as six:
        wait_until(lambda: six.count().received > 20, 15, "pings pass")
        assert mesh.join("alpha") == public["alpha"]
        assert mode(alpha, KEY) == "600"
        assert kernel.whole(alpha) == before
        beyond = {"managed": False, "allowed_ips": ["192.168.62.0/24"]}
        mesh.commit(
            {
                "nodes/alpha.toml": mesh.entry("alpha", public["alpha"]),
                "nodes/bravo.toml": mesh.entry("bravo", public["bravo"], beyond),
            },
            "What there is",
        )
        session = kernel.dump(alpha)[public["bravo"]]
        alpha.wgmesh("sync")
        assert kernel.dump(alpha)[public["bravo"]] == session  # not even a handshake
        shown = mesh.status("alpha")
        assert (shown["state"], shown["generation"]) == ("in-sync", 1)
        assert alpha.run(["readlink", CONF]).stdout == "wgmesh.d/boot/wg0.conf\n"
        assert (alpha.read(KEPT), mode(alpha, KEPT)) == (conf, "600")
        ours = kernel.routes(alpha)
        assert "-4 10.40.0.0/24 dev wg0 proto 101 scope 253" in ours
        assert not [route for route in ours if "/24 dev wg0 proto 2" in route]

        alpha.wgmesh(*way_back)
    assert four.stop().sent > 50
    assert four.stop().lost == 0, four.stop()
    # The kernel has an IPv6 address once: its prefix length changes by taking it away for a moment.
    assert six.stop().longest_gap_seconds < 0.1, six.stop()
    assert six.stop().lost <= 6, six.stop()
    assert alpha.read(CONF) == conf
    assert kernel.whole(alpha) == before
    if way_back[0] == "rollback":
        assert mesh.status("alpha")["state"] == "held"
        assert mesh.status("alpha")["generation"] == 0
    else:
        assert alpha.run(["stat", "-c", "%F %a", CONF]).stdout == "regular file 600\n"
        assert not alpha.exists("/etc/wireguard/wgmesh.d")
    alpha.run(["wg-quick", "down", "wg0"])
    alpha.run(["wg-quick", "up", "wg0"])
    assert kernel.whole(alpha) == before
    wait_until(lambda: pings(alpha), 20, "the old tunnel is up again")


def test_what_the_old_configuration_did_to_the_machine_is_undone_first(
    world_factory: WorldFactory,
) -> None:
    """As docs/migration.md says: join reads the key of what runs; wg-quick then takes that down."""
    world = world_factory(["alpha", "bravo"])
    alpha = world["alpha"]
    public = by_hand(world)
    hook = "iptables -t mangle -{} OUTPUT -d 203.0.113.0/24 -j MARK --set-mark 0x101"
    alpha.run(["wg-quick", "down", "wg0"])
    hooks = f"[Interface]\nPostUp = {hook.format('A')}\nPostDown = {hook.format('D')}"
    alpha.write(CONF, alpha.read(CONF).replace("[Interface]", hooks), 0o600)
    alpha.run(["wg-quick", "up", "wg0"])
    assert "203.0.113.0/24" in alpha.run(["iptables-save"]).stdout
    mesh = Mesh(world)
    mesh.commit(
        {
            f"nodes/{name}.toml": mesh.entry(name, public[name], {"managed": name == "alpha"})
            for name in ("alpha", "bravo")
        },
        "What there is",
    )
    assert mesh.join("alpha", "--no-enable") == public["alpha"]
    alpha.run(["wg-quick", "down", "wg0"])
    alpha.wgmesh("sync")
    wait_until(lambda: pings(alpha), 20, "the tunnel is up again")
    assert "203.0.113.0/24" not in alpha.run(["iptables-save"]).stdout
    assert mesh.status("alpha")["generation"] == 1
