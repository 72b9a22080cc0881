"""The boot path, which needs no Python, leaves what the live apply left; so does a power-cycle.

`wg-quick` and `systemd/wgmesh-net` are what boots a mesh. While they run here, no Python can.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab import kernel
from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT, SAFE_PATH, Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

NET = CHECKOUT / "systemd" / "wgmesh-net"
BROKEN = "/run/broken-python"
CALLED = "/run/python-was-called"
FORMER = "/run/wgmesh/sysctl.former"
ENDPOINTS = "/etc/wireguard/wgmesh.d/endpoints"
NODES = ("alpha", "bravo", "delta")
"""A hub that translates and forwards, a spoke, and a second hub, which has a name for endpoint."""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Make a star with two hubs, converged, its named endpoint proven."""
    mesh = Mesh(module_world_factory(NODES))
    alpha = {
        "forwarding": True,
        "nat_iface": "eth0",
        "allowed_ips": ["192.168.50.0/24", "fd77::/64"],
        "listen_port": 4242,
        "endpoint": f"{mesh.world['alpha'].ipv4}",
        "persistent_keepalive": 21,
    }
    mesh.enrol(*NODES, alpha=alpha, delta={"endpoint": "delta.example.net:51820"})
    star = 'topology = "star"\nhubs = ["alpha", "delta"]\nmtu = 1380\n'
    mesh.commit({"mesh.toml": mesh.text + star}, "A star")
    mesh.sync()
    mesh.wait_for_tunnels()
    mesh.sync()
    return mesh


def pythons() -> list[Path]:
    """Return every Python program that a search path of ours leads to, and the one that runs us."""
    places = [Path(place) for place in f"{SAFE_PATH}:{os.environ['PATH']}".split(":")]
    places += [Path(sys.executable).parent, Path(sys.executable).resolve().parent]
    found = {path.resolve() for place in places for path in place.glob("python[0-9.]*")}
    found |= {path.resolve() for place in places for path in place.glob("python")}
    return sorted(path for path in found if path.is_file() and os.access(path, os.X_OK))


@contextmanager
def without_python(machine: Machine) -> Iterator[None]:
    """Put a program that fails, and tells of it, over every Python of a machine."""
    machine.write(BROKEN, f'#!/bin/sh\necho "$0 $*" >>{CALLED}\nexit 1\n', 0o755)
    covered = pythons()
    for path in covered:
        machine.run(["mount", "--bind", BROKEN, path])
    try:
        for program in ("python3", sys.executable):
            assert machine.run([program, "-c", "pass"], check=False).returncode == 1
        machine.run(["rm", CALLED])
        yield
        assert not machine.exists(CALLED), machine.read(CALLED)
    finally:
        for path in covered:
            machine.run(["umount", path])


def down_and_up(machine: Machine) -> None:
    """Stop and start the interface as its units do."""
    machine.run([NET, "down", "wg0"])
    machine.run(["wg-quick", "down", "wg0"])
    up(machine)


def up(machine: Machine) -> None:
    """Bring the interface up as the units do at boot."""
    machine.run(["wg-quick", "up", "wg0"])
    assert machine.run([NET, "up", "wg0"]).stderr == ""


def state(machine: Machine) -> dict[str, Any]:
    """Return the kernel's state and, of /run, what sysctls were before wgmesh."""
    former = sorted(machine.read(FORMER).splitlines()) if machine.exists(FORMER) else []
    return kernel.whole(machine) | {"former": former}


def carries(mesh: Mesh, name: str) -> None:
    """Wait for every tunnel; `name` speaks first, for the others' sessions with it are dead."""
    for other in set(NODES) - {name}:
        wait_until(partial(mesh.pings, name, other), 20, f"{name} reaches {other}")
    mesh.wait_for_tunnels()


def test_the_nodes_are_what_the_tests_below_speak_of(mesh: Mesh) -> None:
    alpha, bravo, delta = (state(mesh.world[name]) for name in NODES)
    outward = [line for line in alpha["nft"].splitlines() if "masquerade" in line]
    assert any('oifname "eth0"' in line for line in outward)
    inward = [line for line in delta["nft"].splitlines() if "masquerade" in line]
    assert all('iifname "wg0" oifname "wg0"' in line for line in inward), "as one of two hubs"
    assert "table inet wgmesh" in delta["nft"]
    assert bravo["nft"] == ""
    assert {"net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"} == set(delta["former"])
    assert set(alpha["former"]) - set(delta["former"]) == {"net.ipv6.conf.eth0.accept_ra=0"}
    assert bravo["former"] == []
    assert any("dev wg0 proto 101" in route for route in bravo["routes"])
    named = f" {mesh.world['delta'].ipv4}:51820 delta.example.net:51820\n"
    for name in ("alpha", "bravo"):
        assert mesh.world[name].read(ENDPOINTS).endswith(named)
        assert "# Endpoint = delta.example.net:51820" in mesh.world[name].read(
            "/etc/wireguard/wg0.conf"
        )


@pytest.mark.parametrize("name", NODES)
def test_down_and_up_again_without_python_is_what_the_live_apply_left(
    mesh: Mesh, name: str
) -> None:
    machine = mesh.world[name]
    before = state(machine)
    with without_python(machine):
        down_and_up(machine)
        assert state(machine) == before
        # a second run changes nothing
        machine.run([NET, "up", "wg0"])
        assert state(machine) == before
    carries(mesh, name)
    assert mesh.status(name)["drift"] == []
    machine.wgmesh("sync")
    status = mesh.status(name)
    assert (status["state"], status["drift"]) == ("in-sync", [])
    assert state(machine) == before


@pytest.mark.parametrize("name", NODES)
def test_a_reboot_leads_to_the_confirmed_generation(mesh: Mesh, name: str) -> None:
    machine = mesh.world[name]
    before = state(machine)
    generation = mesh.status(name)["generation"]
    machine.reboot()
    machine.wgmesh("recover")
    with without_python(machine):
        up(machine)
    assert state(machine) == before
    carries(mesh, name)
    machine.wgmesh("sync")
    status = mesh.status(name)
    assert (status["state"], status["drift"]) == ("in-sync", []), status
    assert status["generation"] == generation
    assert state(machine) == before


def test_a_boot_without_a_resolver(mesh: Mesh) -> None:
    """The name is not asked for: the endpoint last proven is on disk."""
    bravo = mesh.world["bravo"]
    before = state(bravo)
    hosts = bravo.read("/etc/hosts")
    bravo.reboot()
    bravo.write("/etc/hosts", "127.0.0.1 localhost\n")
    bravo.wgmesh("recover")
    up(bravo)
    assert state(bravo) == before
    wait_until(lambda: mesh.pings("bravo", "delta"), 20, "bravo reaches delta")
    bravo.write("/etc/hosts", hosts)


def test_wgmesh_net_without_a_generation_or_with_nonsense_does_nothing(
    world_factory: WorldFactory,
) -> None:
    alpha = world_factory(["alpha"])["alpha"]
    before = (kernel.routes(alpha), kernel.rules(alpha), kernel.firewall(alpha))
    assert alpha.run([NET, "up", "wg0"]).stdout == ""
    for arguments in ([], ["up"], ["up", "../wg0"], ["up", "a b"], ["up", ""], ["up", "a", "b"]):
        assert alpha.run([NET, *arguments], check=False).returncode == 2, arguments
    assert (kernel.routes(alpha), kernel.rules(alpha), kernel.firewall(alpha)) == before


def test_what_fails_is_told_and_does_not_keep_the_rest_from_being_done(mesh: Mesh) -> None:
    alpha = mesh.world["alpha"]
    before = state(alpha)
    alpha.run(["wg-quick", "down", "wg0"])
    alpha.run(["wg-quick", "up", "wg0"])
    alpha.run(["nft", "delete", "table", "inet", "wgmesh"])
    # somebody's route is in the way of nothing; a broken nft is
    alpha.write("/run/nft", "#!/bin/sh\nexit 1\n", 0o755)
    nft = alpha.run(["sh", "-c", "readlink -f $(command -v nft)"]).stdout.strip()
    alpha.run(["mount", "--bind", "/run/nft", nft])
    try:
        done = alpha.run([NET, "up", "wg0"], check=False)
    finally:
        alpha.run(["umount", nft])
    assert done.returncode == 1
    assert "the nft table" in done.stderr
    assert kernel.routes(alpha) == before["routes"]
    assert kernel.settled(kernel.dump(alpha)) == before["device"]
    alpha.run([NET, "up", "wg0"])
    assert state(alpha) == before


def test_the_guard_brings_the_table_back_and_nothing_else(mesh: Mesh) -> None:
    machine = mesh.world["alpha"]
    machine.run([NET, "guard"])
    before = state(machine)
    machine.run(["nft", "add", "table", "inet", "other"])
    machine.run(["nft", "delete", "table", "inet", "wgmesh"])
    with without_python(machine):
        machine.run([NET, "guard"])
    assert "table inet other" in state(machine)["nft"]
    machine.run(["nft", "delete", "table", "inet", "other"])
    assert state(machine) == before


def test_the_guard_of_a_node_without_a_table(mesh: Mesh) -> None:
    machine = mesh.world["bravo"]
    before = state(machine)
    machine.run([NET, "guard"])
    assert state(machine) == before


def test_a_start_over_the_living_interface_leaves_it(mesh: Mesh) -> None:
    machine = mesh.world["bravo"]
    before = state(machine)
    with without_python(machine):
        said = machine.run([NET, "start", "wg0"]).stdout
    assert "stays as it is" in said
    assert state(machine) == before
    machine.run([NET, "down", "wg0"])
    machine.run(["wg-quick", "down", "wg0"])
    with without_python(machine):
        machine.run([NET, "start", "wg0"])
        machine.run([NET, "up", "wg0"])
    assert state(machine) == before
    carries(mesh, "bravo")


def test_a_reload_of_ours_is_a_reconcile(mesh: Mesh) -> None:
    machine = mesh.world["bravo"]
    command = f'#!/bin/sh\nexec {" ".join(machine.wgmesh_argv)} "$@"\n'
    machine.write("/run/bin/wgmesh", command, 0o755)
    key = machine.run(["wg", "show", "wg0", "private-key"]).stdout
    before = state(machine)
    machine.run(["ip", "link", "set", "wg0", "mtu", "1300"])
    assert state(machine) != before
    path = f"/run/bin:{machine.environment()['PATH']}"
    machine.run([NET, "reload", "wg0"], env={"PATH": path})
    assert state(machine) == before
    assert machine.run(["wg", "show", "wg0", "private-key"]).stdout == key


def test_another_interface_keeps_the_stock_commands(mesh: Mesh) -> None:
    machine = mesh.world["bravo"]
    key = machine.run(["wg", "genkey"]).stdout.strip()
    text = f"[Interface]\nPrivateKey = {key}\nListenPort = "
    machine.write("/etc/wireguard/other.conf", f"{text}4711\n", 0o600)
    before = state(machine)
    machine.run([NET, "start", "other"])
    try:
        assert machine.run([NET, "start", "other"], check=False).returncode != 0
        machine.write("/etc/wireguard/other.conf", f"{text}4712\n", 0o600)
        machine.run([NET, "reload", "other"])
        assert machine.run(["wg", "show", "other", "listen-port"]).stdout.strip() == "4712"
        assert machine.run(["wg", "show", "other", "private-key"]).stdout.strip() == key
    finally:
        machine.run(["wg-quick", "down", "other"])
        machine.run(["rm", "/etc/wireguard/other.conf"])
    assert state(machine) == before
