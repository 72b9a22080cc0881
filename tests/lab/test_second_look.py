"""A change that a living session hides: the next handshake fails, and the change is taken back.

Data passes and handshakes do not, as behind a filter that knows WireGuard. On real nodes the look
comes after 200 s, when no session from before is left; here the other end forgets its session.
"""

import sys
from collections.abc import Iterator
from itertools import count

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.net import Counter, Fault
from tests.lab.pings import Pings
from tests.lab.state import state, unfinished
from tests.lab.wait import wait_until

COMES_BACK = """
from wgmesh import proof
from wgmesh.agent import node
from wgmesh.judge import StrictPeer
from wgmesh.model.health import Proof

plan = node.running().plan
lost = [StrictPeer(p.name, p.public_key, Proof.ECHO) for p in plan.peers if p.name == "bravo"]
print(proof.comes_back(plan, lost, None, 1.0))
"""
THREE = ("alpha", "bravo", "charlie")
RECORD = "/run/wgmesh/second-look.toml"
PORTS = count(4001)


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    made = Mesh(module_world_factory(THREE))
    made.bring_up(*THREE)
    made.policy("alpha", most=3, silent=4, minority=5)
    return made


@pytest.fixture
def moved(mesh: Mesh) -> Iterator[tuple[Mesh, int]]:
    """Move alpha to a port that lets no handshake through, and let it be as if 200 s had passed."""
    alpha, port = mesh.world["alpha"], next(PORTS)
    old = listen_port(alpha)
    with no_handshakes(mesh, port):
        mesh.commit({"nodes/alpha.toml": entry(mesh, listen_port=port)}, f"Port {port}")
        assert "proof from 2 peers" in alpha.wgmesh("sync").stderr
        assert listen_port(alpha) == port, "the living sessions hide it"
        assert "there is nothing to take back" in alpha.wgmesh("look-again").stdout
        text = alpha.read(RECORD)
        due = text.split("due_seconds = ")[1].split("\n")[0]
        alpha.write(RECORD, text.replace(f"due_seconds = {due}", "due_seconds = 1.0"))
        yield mesh, old


def listen_port(machine: Machine) -> int:
    return int(machine.run(["wg", "show", "wg0", "listen-port"]).stdout)


def entry(mesh: Mesh, **fields: int) -> str:
    key = mesh.world["alpha"].run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    return mesh.entry("alpha", key, fields)


def no_handshakes(mesh: Mesh, port: int) -> Fault:
    """Drop handshake messages (types 1 and 2; WireGuard paper, section 5.4) of alpha's port."""
    rules = "\n".join(f"udp {way} {port} @th,64,8 {{ 1, 2 }} drop" for way in ("sport", "dport"))
    chain = f"chain filter {{ type filter hook prerouting priority 0\n{rules}\n}}"
    return Fault(mesh.world.internet.hub, "bridge", f"handshakes{port}", chain)


def forget_session(machine: Machine, public_key: str) -> None:
    """Let a machine's session with a peer end, as after 180 s."""
    shown = machine.run(["wg", "showconf", "wg0"]).stdout
    section = next(part for part in shown.split("[Peer]") if public_key in part)
    machine.run(["wg", "set", "wg0", "peer", public_key, "remove"])
    machine.run(["wg", "addconf", "wg0", "/dev/stdin"], stdin=f"[Peer]{section}")


def end_sessions(mesh: Mesh, *names: str) -> None:
    """Let the sessions of these nodes with alpha end, at both ends."""
    alpha = mesh.world["alpha"]
    own = alpha.run(["wg", "show", "wg0", "public-key"]).stdout.strip()
    for name in names:
        peer = mesh.world[name].run(["wg", "show", "wg0", "public-key"]).stdout.strip()
        forget_session(mesh.world[name], own)
        forget_session(alpha, peer)


def test_a_change_that_breaks_handshakes_is_taken_back_later(moved: tuple[Mesh, int]) -> None:
    mesh, old = moved
    alpha = mesh.world["alpha"]
    end_sessions(mesh, "bravo", "charlie")
    done = alpha.wgmesh("look-again")
    assert "lost once their session had ended: " in done.stdout, done.stderr
    assert "bravo" in done.stdout and "charlie" in done.stdout
    assert listen_port(alpha) == old and unfinished(alpha) == ""
    mesh.wait_for_tunnels("alpha", "bravo", "charlie", deadline_seconds=10)
    shown = mesh.status("alpha")
    assert (shown["state"], shown["generation"], len(shown["quarantine"])) == ("rolled-back", 1, 1)
    assert "quarantine" in alpha.wgmesh("sync").stdout, "the tip is not applied again"
    assert listen_port(alpha) == old and not alpha.exists(RECORD)
    mesh.commit({"nodes/alpha.toml": entry(mesh, listen_port=old)}, "Back")
    alpha.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


def test_a_poll_looks_where_nobody_else_does(moved: tuple[Mesh, int]) -> None:
    mesh, old = moved
    alpha = mesh.world["alpha"]
    alpha.wgmesh("hold")
    end_sessions(mesh, "bravo")
    alpha.wgmesh("sync")
    assert listen_port(alpha) != old, "a node that is held is left alone"
    alpha.wgmesh("resume")
    done = alpha.wgmesh("sync")
    assert "taking the change back" in done.stderr and "stays in quarantine" in done.stdout
    assert listen_port(alpha) == old
    mesh.wait_for_tunnels("alpha", "bravo", "charlie", deadline_seconds=10)


def test_a_peer_that_is_away_is_not_laid_to_the_change(moved: tuple[Mesh, int]) -> None:
    mesh, _ = moved
    alpha, before = mesh.world["alpha"], state(mesh.world["alpha"])
    mesh.world.internet.hub.run(["nft", "flush", "ruleset"])  # the port was good after all
    mesh.world.internet.cut("bravo")
    with Pings(mesh.world["charlie"], mesh.address("alpha"), 0.02) as pings:
        done = alpha.wgmesh("look-again")
    mesh.world.internet.restore("bravo")
    assert "stays: what was lost was not lost by it" in done.stdout
    assert state(alpha) == before and unfinished(alpha) == ""
    assert mesh.status("alpha")["state"] in ("in-sync", "degraded")
    assert not any("rolled" in reason for reason in mesh.status("alpha")["reasons"])
    assert pings.stop().longest_gap_seconds < 2
    mesh.wait_for_tunnels()


def test_who_has_shaken_hands_is_proven(moved: tuple[Mesh, int]) -> None:
    mesh, old = moved
    alpha = mesh.world["alpha"]
    mesh.world.internet.hub.run(["nft", "flush", "ruleset"])
    end_sessions(mesh, "bravo", "charlie")
    mesh.wait_for_tunnels("alpha", "bravo", "charlie")
    mesh.world.internet.cut("bravo")
    done = alpha.wgmesh("look-again")
    mesh.world.internet.restore("bravo")
    assert "nothing to take back" in done.stdout and not alpha.exists(RECORD)
    assert listen_port(alpha) != old


def test_what_comes_back_is_given_the_time_of_a_second_handshake(mesh: Mesh) -> None:
    alpha, own = mesh.world["alpha"], listen_port(mesh.world["alpha"])
    with no_handshakes(mesh, own):
        sent = Counter(mesh.world.internet.hub, "sent", f"udp sport {own} @th,64,8 1")
        end_sessions(mesh, "bravo")
        mesh.pings("alpha", "bravo")
        wait_until(lambda: sent.packets() > 0, 30, "a handshake of alpha is lost")
    assert alpha.run([sys.executable, "-c", COMES_BACK]).stdout.strip() == "True"
