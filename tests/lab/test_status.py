"""`status --json` word by word, the order of states, and the options of `sync`."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.bytewise import whole
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh

COMMIT_KEYS = {"id", "signer", "fingerprint", "subject", "time"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes that have nothing left to do, and charlie, who has not joined."""
    made = Mesh(module_world_factory(["alpha", "bravo", "charlie"]))
    made.bring_up("alpha", "bravo")
    made.sync("alpha", "bravo")
    return made


@pytest.fixture
def alpha(mesh: Mesh) -> Machine:
    """Return a node of the mesh."""
    return mesh.world["alpha"]


def tried(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    """Run wgmesh, whatever it exits with; nothing ever prints a traceback."""
    done = machine.wgmesh(*words, check=False)
    assert "Traceback" not in done.stderr + done.stdout
    return done


# ---------------------------------------------------------------- sync's options


def test_a_dry_run_changes_nothing(mesh: Mesh, alpha: Machine) -> None:
    before = whole(alpha, but=())
    shown = mesh.status("alpha")
    text = (mesh.author.tree / "nodes" / "alpha.toml").read_text()
    mesh.commit({"nodes/alpha.toml": text + "persistent_keepalive = 21\n"}, "A keepalive")
    would = tried(alpha, "sync", "--dry-run")
    assert would.returncode == 0 and "would" in would.stdout
    assert whole(alpha, but=()) == before
    mesh.commit({"nodes/alpha.toml": text + "persistent_keepalive = oops\n"}, "A mistake")
    assert tried(alpha, "sync", "--dry-run").returncode == 3
    mallory = mesh.world.author("mallory")
    mallory.pull()
    mallory.commit({"nodes/alpha.toml": text}, "A forgery")
    mallory.push()
    assert tried(alpha, "sync", "--dry-run").returncode == 4
    assert whole(alpha, but=()) == before
    after = mesh.status("alpha")
    for report in (shown, after):
        for peer in report["peers"]:
            peer.clear()  # counters go on
    assert after == shown
    mesh.author.git("reset", "--quiet", "--hard", mesh.author.head)
    mesh.author.commit({"nodes/alpha.toml": text}, "Back")
    mesh.author.push(force=True)
    mesh.sync("alpha", "bravo")
    assert mesh.status("alpha")["state"] == "in-sync"


def test_no_fetch_works_on_what_is_there(mesh: Mesh, alpha: Machine) -> None:
    entry = (mesh.author.tree / "nodes" / "alpha.toml").read_text()
    before = mesh.status("alpha")
    alpha.wgmesh("hold")
    waiting = mesh.commit({"nodes/alpha.toml": entry + "persistent_keepalive = 22\n"}, "Wait")
    assert "held" in alpha.wgmesh("sync").stdout
    held = mesh.status("alpha")
    assert held["state"] == "held" and held["candidate"]["id"] == waiting
    assert held["generation"] == before["generation"]
    mesh.commit({"nodes/alpha.toml": entry + "persistent_keepalive = 23\n"}, "Not seen yet")
    alpha.wgmesh("resume")
    mesh.world.forge.stop()
    try:
        assert waiting[:12] in alpha.wgmesh("sync", "--no-fetch").stdout
    finally:
        mesh.world.forge.start()
    shown = mesh.status("alpha")
    assert shown["commit"]["id"] == waiting and shown["generation"] == before["generation"] + 1
    mesh.commit({"nodes/alpha.toml": entry}, "Back")
    mesh.sync("alpha", "bravo")


# ---------------------------------------------------------------- status --json


def test_status_has_exactly_the_promised_keys(mesh: Mesh, alpha: Machine) -> None:
    shown = mesh.status("alpha")
    assert list(shown) == [
        *("node", "interface", "state", "reasons", "commit", "candidate", "generation"),
        *("last_sync", "quarantine", "drift", "rotation", "peers"),
        *("exit", "exit_since", "hub", "hub_since"),
    ]
    assert shown["commit"].keys() == COMMIT_KEYS
    assert shown["commit"]["id"] == mesh.author.head
    assert shown["commit"]["signer"] == mesh.author.email
    assert shown["commit"]["fingerprint"] == mesh.author.fingerprint
    assert shown["candidate"] is None
    assert shown["last_sync"].keys() == {"time", "outcome", "reason", "commit"}
    (peer,) = shown["peers"]
    assert list(peer) == [
        *("name", "public_key", "endpoint", "endpoint_source", "endpoint_since"),
        *("handshake_age_seconds", "rx_bytes", "tx_bytes", "rtt_ms", "state"),
    ]
    assert (peer["name"], peer["state"]) == ("bravo", "up")
    assert peer["endpoint_source"] in ("inventory", "alternative", "roamed")
    assert peer["rx_bytes"] > 0 and peer["rtt_ms"] > 0
    times = list(_times(shown))
    assert times and all(TIME.fullmatch(value) for value in times)


def _times(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        for key, below in value.items():
            if key in ("time", "until") and below is not None:
                yield below
            else:
                yield from _times(below)
    elif isinstance(value, list):
        for below in value:
            yield from _times(below)


def test_status_of_a_machine_that_has_not_joined_has_the_same_keys(mesh: Mesh) -> None:
    assert mesh.status("charlie").keys() == mesh.status("alpha").keys()


def test_states_have_an_order(mesh: Mesh, alpha: Machine) -> None:
    """Each worse thing comes on top of those before, and `reasons` keeps them all."""
    bravo = mesh.author.tree / "nodes" / "bravo.toml"
    good = bravo.read_text()

    def state(code: int) -> str:
        assert tried(alpha, "status").returncode == code
        return str(mesh.status("alpha")["state"])

    assert state(0) == "in-sync"
    alpha.run(["ip", "address", "add", "10.40.0.77/32", "dev", "wg0"])
    assert state(7) == "degraded"
    assert len(mesh.status("alpha")["drift"]) == 1
    alpha.wgmesh("hold", "--reason", "a look around")
    assert state(0) == "held"
    mesh.commit({"nodes/bravo.toml": good + "listen_port = 99999\n"}, "Impossible port")
    assert tried(alpha, "sync").returncode == 3
    assert state(7) == "invalid"
    mallory = mesh.world.author("mallory")
    mallory.pull()
    mallory.commit({"nodes/bravo.toml": good}, "Mended, says mallory")
    mallory.push()
    assert tried(alpha, "sync").returncode == 4
    assert state(7) == "refused"
    reasons = "\n".join(mesh.status("alpha")["reasons"])
    for part in ("mallory", "a look around", "10.40.0.77"):
        assert part in reasons
    mesh.author.git("fetch", "--quiet", "origin")
    mesh.author.commit({"nodes/bravo.toml": good}, "Mended")
    mesh.author.push(force=True)
    alpha.wgmesh("sync")
    assert state(0) == "held"
    alpha.wgmesh("resume")
    assert state(7) == "degraded"
    alpha.wgmesh("reconcile")
    assert state(0) == "in-sync"
