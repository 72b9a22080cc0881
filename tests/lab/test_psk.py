"""Preshared keys: files on the nodes, named by the inventory, and proved by a new handshake."""

from functools import partial

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.state import state, unfinished
from tests.lab.wait import wait_until

THREE = ("alpha", "bravo", "charlie")
PSK = "/etc/wireguard/psk/{}"
OTHER = "/etc/wireguard/other/{}"


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    made = Mesh(module_world_factory(THREE))
    made.bring_up(*THREE)
    for name in THREE:
        made.policy(name, most=3, silent=4, minority=5)
    return made


def key(mesh: Mesh, name: str) -> str:
    """Return a node's public key."""
    return mesh.world[name].run(["wg", "show", "wg0", "public-key"]).stdout.strip()


def paths(mesh: Mesh, **templates: str) -> str:
    """Commit the path of the preshared keys of these nodes; `{}` stands for the peer."""
    files: dict[str, str | None] = {}
    for name, template in templates.items():
        fields = {"preshared_key_path": template.format("%p")}
        files[f"nodes/{name}.toml"] = mesh.entry(name, key(mesh, name), fields)
    return mesh.commit(files, "Preshared keys")


def share(mesh: Mesh, template: str = PSK) -> None:
    """Put a new key onto alpha and bravo, for the tunnel between them."""
    psk = mesh.world["alpha"].run(["wg", "genpsk"]).stdout
    for name, peer in (("alpha", "bravo"), ("bravo", "alpha")):
        mesh.world[name].write(template.format(peer), psk, 0o600)


def psk_of(mesh: Mesh, name: str, peer: str) -> str:
    """Return the preshared key that a node's device has for a peer."""
    shown = mesh.world[name].run(["wg", "show", "wg0", "preshared-keys"]).stdout
    return dict(line.split("\t") for line in shown.splitlines())[key(mesh, peer)]


def converge(mesh: Mesh) -> None:
    """Let alpha apply, then bravo: the tunnel is down in between and up right afterwards."""
    done = mesh.world["alpha"].wgmesh("sync")
    assert "end has changed as well: bravo" in done.stderr and "runs as" in done.stdout
    assert not mesh.pings("alpha", "bravo"), "no living session hides it"
    mesh.world["bravo"].wgmesh("sync")
    wait_until(partial(mesh.pings, "alpha", "bravo"), 10, "a new handshake, with the new key")
    assert psk_of(mesh, "alpha", "bravo") == psk_of(mesh, "bravo", "alpha") != "(none)"


def test_a_psk_comes_and_both_ends_apply_it_in_their_own_time(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    paths(mesh, alpha=PSK, bravo=PSK)
    done = alpha.wgmesh("sync", check=False)
    assert done.returncode == 1 and PSK.format("bravo") in done.stderr, "its file is missing"
    share(mesh)
    with Pings(mesh.world["charlie"], mesh.address("alpha")) as pings:
        converge(mesh)
    assert pings.stop().lost == 0, "charlie's tunnel has no preshared key"
    assert psk_of(mesh, "alpha", "charlie") == "(none)"
    mesh.sync()
    mesh.wait_for_tunnels()
    assert {mesh.status(name)["state"] for name in THREE} == {"in-sync"}


def test_another_key_in_the_same_files(mesh: Mesh) -> None:
    share(mesh)
    assert mesh.status("alpha")["drift"] and mesh.status("charlie")["drift"] == []
    mesh.commit({f"nodes/{name}.toml": None for name in ("charlie",)}, "charlie leaves")
    converge(mesh)
    mesh.commit({"nodes/charlie.toml": mesh.entry("charlie", key(mesh, "charlie"))}, "and is back")
    mesh.sync()
    mesh.wait_for_tunnels()


def test_a_file_that_moves_changes_no_tunnel(mesh: Mesh) -> None:
    alpha, bravo = mesh.world["alpha"], mesh.world["bravo"]
    alpha.run(["cp", "-a", "/etc/wireguard/psk", "/etc/wireguard/other"])
    before = kernel.dump(alpha)
    with Pings(bravo, mesh.address("alpha")) as pings:
        paths(mesh, alpha=OTHER)
        assert "proof from 2 peers" in alpha.wgmesh("sync").stderr
    assert pings.stop().lost == 0
    assert kernel.dump(alpha) == before


def test_a_wrong_key_of_this_end_alone_is_taken_back(mesh: Mesh) -> None:
    """The session is alive and would hide it for minutes; the peer is made anew, so it shows."""
    alpha, before = mesh.world["alpha"], state(mesh.world["alpha"])
    alpha.write(PSK.format("bravo"), alpha.run(["wg", "genpsk"]).stdout, 0o600)
    paths(mesh, alpha=PSK)
    done = alpha.wgmesh("sync", check=False)
    assert done.returncode == 6 and "1 of 2 tunnels" in done.stderr, done.stderr
    assert state(alpha) == before and unfinished(alpha) == ""
    wait_until(partial(mesh.pings, "alpha", "bravo"), 10, "the old key is back")
    paths(mesh, alpha=OTHER)
    alpha.wgmesh("sync")


def test_both_ends_go_to_new_files(mesh: Mesh) -> None:
    share(mesh, "/etc/wireguard/2027/{}")
    paths(mesh, alpha="/etc/wireguard/2027/{}", bravo="/etc/wireguard/2027/{}")
    converge(mesh)


def test_a_file_without_a_key_is_refused_before_anything_is_touched(mesh: Mesh) -> None:
    alpha, before = mesh.world["alpha"], state(mesh.world["alpha"])
    known = mesh.status("alpha")["quarantine"]
    alpha.write("/etc/wireguard/bad/bravo", "c2VjcmV0 is short", 0o600)
    paths(mesh, alpha="/etc/wireguard/bad/{}")
    done = alpha.wgmesh("sync", check=False)
    assert done.returncode == 1 and "holds no key" in done.stderr
    assert "c2VjcmV0" not in done.stderr + done.stdout
    assert state(alpha) == before and mesh.status("alpha")["quarantine"] == known
