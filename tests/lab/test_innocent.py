"""What is lost while a change is proved, and not by it: a crash nearby, a git host that goes away.

The change is taken back first. What stays away all the same was not lost by it, so it is applied
again. A hook makes the moment at which a test can strike: between the baseline and the apply.
"""

from collections.abc import Callable
from subprocess import Popen

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.state import state, unfinished
from tests.lab.wait import wait_until

THREE = ("alpha", "bravo", "charlie")
NOW = "/run/applying"
POLICY = "allow_hooks = true\n"
TUNNELS = "1 of 2 tunnels that worked were lost: bravo"


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    made = Mesh(module_world_factory(THREE))
    made.bring_up(*THREE)
    made.policy("alpha", most=3, silent=4, minority=5)
    alpha = made.world["alpha"]
    alpha.write("/etc/wgmesh/wgmesh.toml", alpha.read("/etc/wgmesh/wgmesh.toml") + POLICY)
    return made


def begin(mesh: Mesh, strike: Callable[[], object]) -> Popen[str]:
    """Commit a change of alpha alone, let alpha sync, and strike once its baseline is taken."""
    alpha = mesh.world["alpha"]
    alpha.run(["rm", "-f", NOW])
    port = int(alpha.run(["wg", "show", "wg0", "listen-port"]).stdout) + 1
    first = f"test -e {NOW} || {{ touch {NOW}; sleep 2; }}; : {port}"
    fields = {"listen_port": port, "post_up": first, "post_down": "true"}
    key = alpha.run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    mesh.commit({"nodes/alpha.toml": mesh.entry("alpha", key, fields)}, f"Port {port}")
    child = alpha.popen([*alpha.wgmesh_argv, "sync"])
    wait_until(lambda: alpha.exists(NOW), 30, "the baseline is taken")
    strike()
    return child


def end(child: Popen[str]) -> tuple[int, str]:
    """Return exit code and talk of a sync."""
    out, err = child.communicate(timeout=120)
    return child.returncode, out + err


def port(machine: Machine) -> str:
    return machine.run(["wg", "show", "wg0", "listen-port"]).stdout.strip()


def test_a_peer_that_crashes_meanwhile_is_not_laid_to_the_change(mesh: Mesh) -> None:
    alpha, before = mesh.world["alpha"], port(mesh.world["alpha"])
    with Pings(mesh.world["charlie"], mesh.address("alpha"), 0.02) as pings:
        code, said = end(begin(mesh, lambda: mesh.world.internet.cut("bravo")))
        mesh.world.internet.restore("bravo")
    assert code == 0, said
    assert TUNNELS in said and "away without the change as well: bravo" in said
    assert "runs as generation" in said and port(alpha) != before
    assert pings.stop().longest_gap_seconds < 3
    assert mesh.status("alpha")["quarantine"] == [] and unfinished(alpha) == ""
    assert mesh.status("alpha")["commit"]["subject"].startswith("Port")
    assert not any("rolled" in reason for reason in mesh.status("alpha")["reasons"])
    outcomes = [line for line in alpha.wgmesh("history").stdout.splitlines() if "Port" in line]
    assert len(outcomes) == 2 and "rolled-back" in outcomes[0] and "running" in outcomes[1]
    mesh.wait_for_tunnels()


def test_a_git_host_that_goes_away_meanwhile_neither(mesh: Mesh) -> None:
    alpha, before = mesh.world["alpha"], port(mesh.world["alpha"])
    try:
        code, said = end(begin(mesh, mesh.world.forge.freeze))
    finally:
        mesh.world.forge.thaw()
    assert code == 0, said
    assert "the git remote is no longer reachable" in said
    assert "away without the change as well: the git remote" in said
    assert port(alpha) != before and mesh.status("alpha")["quarantine"] == []
    alpha.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


def test_what_comes_back_was_lost_by_the_change(mesh: Mesh) -> None:
    alpha, before = mesh.world["alpha"], state(mesh.world["alpha"])
    new = int(port(alpha)) + 1
    with mesh.world.internet.block_udp_port("alpha", new):
        code, said = end(begin(mesh, lambda: None))
    assert code == 6 and "2 of 2 tunnels" in said and "away without" not in said
    assert state(alpha) == before
    assert [each["reason"] for each in mesh.status("alpha")["quarantine"]] != []
    mesh.wait_for_tunnels()


def test_a_harmful_change_is_found_out_beside_a_crash(mesh: Mesh) -> None:
    """Of the two that are lost one comes back: that is enough."""
    alpha = mesh.world["alpha"]
    alpha.wgmesh("sync", "--retry")  # the port is filtered no more
    mesh.wait_for_tunnels()
    before = state(alpha)
    new = int(port(alpha)) + 1
    with mesh.world.internet.block_udp_port("alpha", new):
        code, said = end(begin(mesh, lambda: mesh.world.internet.cut("charlie")))
    mesh.world.internet.restore("charlie")
    assert code == 6 and "2 of 2 tunnels" in said
    assert state(alpha) == before
