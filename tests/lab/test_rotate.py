"""A key that changes without a gap, and nobody does more than merge commits."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.rotation import merge, public_key
from tests.lab.state import FLIP, KILLER, unfinished
from tests.lab.test_boot import up

THREE = ("alpha", "bravo", "charlie")
KEYS = "/etc/wireguard/keys"
JOURNAL = "os.rename /var/lib/wgmesh/journal.toml"
pytestmark = pytest.mark.alone  # each packet counts, and some 2,000 a second cross wireguard-go


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    made = Mesh(module_world_factory(THREE))
    made.bring_up(*THREE)
    for name in THREE:
        made.policy(name, most=6, silent=7, minority=8)
    return made


@contextmanager
def no_gap(mesh: Mesh, changes: str, names: Sequence[str] = THREE) -> Iterator[None]:
    """Ping between all nodes each 5 ms meanwhile, both ways; the key of `changes` does.

    A packet of that node is lost when its peer hands the AllowedIPs over after the copy of the new
    key has come, and before that of the old one (docs/benchmarks.md): one at most, in each stream.
    """
    pairs = [(one, other) for one in names for other in names if one != other]
    with ExitStack() as stack:
        pings = {
            pair: stack.enter_context(Pings(mesh.world[pair[0]], mesh.address(pair[1])))
            for pair in pairs
        }
        yield
        lost = {pair: each.stop().lost_at for pair, each in pings.items()}
    print(lost)
    assert all(len(each) <= (changes in pair) for pair, each in lost.items())


def second(mesh: Mesh, name: str) -> bool:
    """Return whether the machine holds two keys."""
    shown = mesh.world[name].run(["ip", "link", "show", "wgmesh-2nd"], check=False)
    return shown.returncode == 0


def test_a_key_changes_without_a_gap(mesh: Mesh) -> None:
    alpha, old = mesh.world["alpha"], public_key(mesh, "alpha")
    before = kernel.foreign(alpha)
    with no_gap(mesh, "alpha"):
        merge(mesh, "alpha")
        mesh.sync("alpha", "bravo")
        done = alpha.wgmesh("sync")
        assert "the next key waits for charlie" in done.stderr
        assert public_key(mesh, "alpha") == old and not second(mesh, "alpha")
        assert mesh.status("alpha")["rotation"]["waiting"] == ["charlie"]
        mesh.sync("charlie")
        assert "proof from 2 peers" in alpha.wgmesh("sync").stderr
        assert public_key(mesh, "alpha") != old and second(mesh, "alpha")
        mesh.sync("bravo", "alpha")
        assert mesh.status("alpha")["rotation"]["behind"] == ["charlie"]
        assert mesh.world["alpha"].wgmesh("rotate-key").stdout == "", "charlie has yet to follow"
        mesh.sync("charlie", "alpha")
        assert mesh.status("alpha")["rotation"]["over"] and not second(mesh, "alpha")
        assert {mesh.status(name)["state"] for name in THREE} == {"in-sync"}
        merge(mesh, "alpha")
        mesh.sync()
    for name in ("bravo", "charlie"):
        peers = set(kernel.dump(mesh.world[name]))
        assert old not in peers and public_key(mesh, "alpha") in peers
    assert mesh.status("alpha")["rotation"] is None
    assert kernel.foreign(alpha) == before and unfinished(alpha) == ""


def test_the_private_keys_are_on_the_node_alone(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    printed = alpha.wgmesh("rotate-key", "--verbose")
    names = alpha.run(["ls", KEYS]).stdout.split()
    modes = alpha.run(["stat", "-c", "%a", KEYS, *(f"{KEYS}/{name}" for name in names)]).stdout
    assert modes.split() == ["700", *["600"] * len(names)]
    for name in names:
        secret = alpha.read(f"{KEYS}/{name}").strip()
        assert secret not in printed.stdout + printed.stderr
    again = alpha.wgmesh("rotate-key")
    assert again.stdout == printed.stdout, "the same key until it is merged"
    assert public_key(mesh, "alpha") in printed.stdout or "next_public_key" in printed.stdout


def test_killed_anywhere_the_key_is_the_old_or_the_new_one(mesh: Mesh) -> None:
    """Right before: the second device, its key, the first device's, the mirror, and the flip."""
    alpha, old = mesh.world["alpha"], public_key(mesh, "alpha")
    merge(mesh, "alpha")
    mesh.sync("alpha", "bravo", "charlie")
    second_key = "wg set wgmesh-2nd"
    for when in (JOURNAL, "run tc qdisc add", second_key, "run nft -f -", "run wg set wg0", FLIP):
        killed(mesh, when)
        alpha.wgmesh("recover", check=False)
        at_rest(mesh, old)
    killed(mesh, "os.rename /etc/wireguard/wg0.key")
    alpha.wgmesh("recover")
    new = public_key(mesh, "alpha")
    assert new != old and second(mesh, "alpha"), "it was confirmed"
    mesh.sync("bravo", "charlie", "alpha")
    at_rest(mesh, new)


def killed(mesh: Mesh, when: str) -> None:
    """Let alpha sync, and be killed right before an operation."""
    log = mesh.world.directory / "operations"
    env = {"PYTHONPATH": f"{KILLER}:{CHECKOUT}", "WGLAB_KILL": f"{when}|agent|{log}"}
    done = mesh.world["alpha"].wgmesh("sync", "--retry", check=False, env=env)
    assert done.returncode == -signal.SIGKILL, (when, done)


def at_rest(mesh: Mesh, public: str) -> None:
    """Require that alpha has this key in its kernel and for its boot, no second one, and peers."""
    alpha = mesh.world["alpha"]
    assert public_key(mesh, "alpha") == public and not second(mesh, "alpha")
    conf = alpha.read("/etc/wireguard/wg0.conf")
    assert f"# PublicKey = {public}\n" in conf and key_file(mesh, public) in conf
    assert unfinished(alpha) == "" and "wgmesh_keys" not in kernel.firewall(alpha)
    mesh.wait_for_tunnels()


def test_a_reboot_pairs_the_key_with_its_configuration(mesh: Mesh) -> None:
    """Both ways: of the new key, which peers use, and after a rollback of the old one."""
    alpha, new = mesh.world["alpha"], public_key(mesh, "alpha")
    alpha.reboot()
    up(alpha)
    at_rest(mesh, new)
    alpha.wgmesh("rollback", "--no-hold")
    old = public_key(mesh, "alpha")
    assert old != new and second(mesh, "alpha")
    mesh.wait_for_tunnels()
    assert alpha.read("/etc/wireguard/wg0.key") == alpha.read(key_file(mesh, old))
    alpha.reboot()
    up(alpha)
    assert public_key(mesh, "alpha") == old and not second(mesh, "alpha")


def key_file(mesh: Mesh, public: str) -> str:
    """Return the file of a public key of alpha."""
    alpha = mesh.world["alpha"]
    for name in alpha.run(["ls", KEYS]).stdout.split():
        private = alpha.read(f"{KEYS}/{name}")
        if alpha.run(["wg", "pubkey"], stdin=private).stdout.strip() == public:
            return f"{KEYS}/{name}"
    raise AssertionError(f"alpha has no file of {public}")


def test_behind_nat_and_to_a_peer_behind_nat(module_world_factory: WorldFactory) -> None:
    """What comes from another port does not reach delta: it counts as ready after a while."""
    names = ("alpha", "delta")
    mesh = Mesh(module_world_factory(("alpha",), nat=("delta",)))
    mesh.enrol(*names)
    mesh.sync()
    mesh.sync("alpha")
    mesh.wait_for_tunnels()
    alpha = mesh.world["alpha"]
    for name in names:
        with no_gap(mesh, name, names):
            old = public_key(mesh, name)
            merge(mesh, name)
            mesh.sync("alpha", "delta", name)
            if name == "alpha":
                assert mesh.status("alpha")["rotation"]["waiting"] == ["delta"]
                alpha.write("/etc/wgmesh/wgmesh.toml", "peer_lag_seconds = 1\n")
                mesh.sync("alpha")
            assert public_key(mesh, name) != old and second(mesh, name)
            mesh.sync("alpha", "delta", "alpha", "delta")
            assert mesh.status(name)["rotation"]["over"]
            merge(mesh, name)
            mesh.sync()
