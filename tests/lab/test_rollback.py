"""What an operator does at three in the morning: rollback, hold, resume, history, diff.

And what may happen to him meanwhile: a terminal that dies, a signal, a disk that was tampered with.
"""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.state import FLIP, KILLER, State, state, unfinished
from tests.lab.wait import wait_until
from tests.lab.world import World

GENERATIONS = "/etc/wireguard/wgmesh.d"


@dataclass
class Node:
    """alpha, and what it looked like in each of its generations."""

    mesh: Mesh
    key: str
    states: dict[int, State] = field(default_factory=dict)

    @property
    def machine(self) -> Machine:
        return self.mesh.world["alpha"]

    def offer(self, subject: str, **fields: int) -> str:
        """Commit alpha's entry with these fields."""
        return self.mesh.commit(
            {"nodes/alpha.toml": self.mesh.entry("alpha", self.key, fields)}, subject
        )

    def land(self, subject: str, **fields: int) -> int:
        """Commit, sync, and return the generation that runs then."""
        self.offer(subject, **fields)
        done = self.machine.wgmesh("sync")
        assert "runs as generation" in done.stdout, done.stdout
        return self.here()

    def here(self) -> int:
        """Return the generation that runs, and remember what it looks like."""
        number = self.number()
        self.states[number] = state(self.machine)
        return number

    def number(self) -> int:
        link = self.machine.run(["readlink", f"{GENERATIONS}/boot"]).stdout
        return int(link.strip().removeprefix("gen-"))

    def runs(self, number: int) -> None:
        """Require that alpha runs exactly this generation, in kernel and on disk."""
        assert self.number() == number
        assert state(self.machine) == self.states[number]
        assert unfinished(self.machine) == ""

    def history(self) -> dict[int, str]:
        """Return the outcome of each generation."""
        rows = json.loads(self.machine.wgmesh("history", "--json").stdout)
        return {row["generation"]: row["outcome"] for row in rows}


@pytest.fixture(scope="module")
def world(module_world_factory: WorldFactory) -> World:
    return module_world_factory(["alpha", "bravo"])


@pytest.fixture(scope="module")
def node(world: World) -> Node:
    mesh = Mesh(world)
    keys = {name: mesh.join(name) for name in ("alpha", "bravo")}
    made = Node(mesh, keys["alpha"])
    mesh.numbers |= {"alpha": 1, "bravo": 2}
    mesh.commit({"nodes/bravo.toml": mesh.entry("bravo", keys["bravo"])}, "bravo")
    assert made.land("first") == 1
    mesh.sync("bravo")
    mesh.wait_for_tunnels()
    return made


@pytest.fixture
def free(node: Node) -> Iterator[Node]:
    """Give the node without a hold, a quarantine or a policy of an earlier test."""
    yield node
    node.machine.wgmesh("resume")
    node.machine.run(["rm", "-f", "/etc/wgmesh/wgmesh.toml"])
    node.machine.wgmesh("sync", "--retry")


def test_nothing_to_go_back_to(free: Node) -> None:
    for words in (["rollback"], ["rollback", "7"], ["rollback", "0"]):
        done = free.machine.wgmesh(*words, check=False)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("wgmesh: there is no generation")
        assert len(done.stderr.splitlines()) == 2, "one sentence, one hint"
        assert free.mesh.status("alpha")["state"] == "in-sync"
        free.runs(1)
    assert free.machine.wgmesh("rollback", "x", check=False).returncode == 2
    assert "already runs" in free.machine.wgmesh("rollback", "1").stdout
    assert free.mesh.status("alpha")["state"] == "in-sync"


def test_rollback_holds_and_what_was_left_stays_left(free: Node) -> None:
    first = free.here()
    second = free.land("second", listen_port=51902)
    left = free.mesh.status("alpha")["commit"]["id"]
    with Pings(free.mesh.world["bravo"], free.mesh.address("alpha"), 0.02) as pings:
        done = free.machine.wgmesh("rollback")
        answered = pings.count().received
        wait_until(lambda: pings.count().received > answered + 20, 3, "pings pass")
    assert f"generation {first} runs again" in done.stdout
    assert pings.stop().longest_gap_seconds < 2, "bravo learns the port at once"
    free.runs(first)
    shown = free.mesh.status("alpha")
    assert (shown["state"], shown["generation"]) == ("held", first)
    assert [entry["commit"] for entry in shown["quarantine"]] == [left]
    assert shown["quarantine"][0]["until"] is None, "until a person says so"
    assert shown["candidate"]["id"] == left != shown["commit"]["id"]
    assert free.machine.wgmesh("status", check=False).returncode == 0
    assert free.history()[second] == "left"

    # sync does not take it up again: neither while held, nor after that, nor in other words
    for _ in range(2):
        free.machine.wgmesh("sync")
        free.runs(first)
    newer = free.offer("third", listen_port=51903)
    held = free.machine.wgmesh("sync")
    assert "held" in held.stdout and newer[:12] in held.stdout
    free.runs(first)
    assert free.mesh.status("alpha")["state"] == "held"

    free.machine.wgmesh("resume")
    free.offer("second, in other words", listen_port=51902)
    assert "quarantine" in free.machine.wgmesh("sync").stdout
    free.runs(first)
    assert free.mesh.status("alpha")["state"] == "rolled-back"

    third = free.land("third again", listen_port=51903)
    assert free.mesh.status("alpha")["state"] == "in-sync"
    # what ran before the third is the first: the second was left as bad
    free.machine.wgmesh("rollback")
    free.runs(first)
    assert free.history()[third] == "left"

    free.machine.wgmesh("rollback", str(second))
    free.runs(second)
    shown = free.mesh.status("alpha")
    assert shown["commit"]["id"] == left
    assert left not in [entry["commit"] for entry in shown["quarantine"]], "it is wanted again"
    # --retry lifts the quarantine, but a hold is a hold
    free.machine.wgmesh("sync", "--retry")
    free.runs(second)
    free.machine.wgmesh("resume")
    free.machine.wgmesh("sync", "--retry")
    assert state(free.machine).kernel == free.states[third].kernel


def test_rollback_without_a_hold(free: Node) -> None:
    before = free.here()
    free.land("bad", listen_port=51904)
    done = free.machine.wgmesh("rollback", "--no-hold")
    assert "held" not in done.stdout
    assert "quarantine" in free.machine.wgmesh("sync").stdout
    free.runs(before)
    assert free.mesh.status("alpha")["state"] == "rolled-back"
    free.land("better", listen_port=51905)
    assert free.mesh.status("alpha")["state"] == "in-sync"


def test_hold_stops_applying_and_nothing_else(free: Node) -> None:
    before = free.here()
    said = free.machine.wgmesh("hold", "--reason", "until the move is over").stdout
    assert "until the move is over" in said
    commit = free.offer("while held", listen_port=51906)
    done = free.machine.wgmesh("sync")
    assert "until the move is over" in done.stdout
    free.runs(before)
    shown = free.mesh.status("alpha")
    assert shown["state"] == "held" and shown["candidate"]["id"] == commit
    assert any("until the move is over" in reason for reason in shown["reasons"])

    # what may not be trusted is refused all the same
    free.mesh.author.commit({"NOTES": "who was it?"}, "unsigned", sign=False)
    free.mesh.author.push()
    assert free.machine.wgmesh("sync", check=False).returncode == 4
    assert free.mesh.status("alpha")["state"] == "refused"
    free.mesh.author.git("reset", "--hard", "--quiet", commit)
    free.mesh.author.push(force=True)

    assert free.machine.wgmesh("resume").returncode == 0
    assert "runs as generation" in free.machine.wgmesh("sync").stdout
    assert free.machine.wgmesh("resume").returncode == 0, "again is harmless"


def test_history_and_diff(free: Node) -> None:
    older = free.land("older", listen_port=51907)
    newer = free.land("newer", listen_port=51908, persistent_keepalive=23)
    text = free.machine.wgmesh("history").stdout
    assert "older" in text and "ada@example.org" in text
    rows = {
        row["generation"]: row
        for row in json.loads(free.machine.wgmesh("history", "--json").stdout)
    }
    assert set(rows[newer]) == {"generation", "commit", "signer", "subject", "time", "outcome"}
    assert (rows[newer]["outcome"], rows[older]["outcome"]) == ("running", "confirmed")
    assert rows[newer]["commit"] == free.mesh.author.head

    assert free.machine.wgmesh("diff").stdout == ""
    one, two = (
        free.machine.wgmesh("diff", str(older)),
        free.machine.wgmesh("diff", str(older), str(newer)),
    )
    assert one.stdout == two.stdout
    assert "-ListenPort = 51907\n" in one.stdout and "+ListenPort = 51908\n" in one.stdout
    assert "+PersistentKeepalive = 23\n" in one.stdout
    back = free.machine.wgmesh("diff", str(newer), str(older)).stdout
    assert "+ListenPort = 51907\n" in back
    private = free.machine.read("/etc/wireguard/wg0.key").strip()
    assert private not in text + one.stdout + back

    free.machine.wgmesh("hold")
    free.offer("a candidate", listen_port=51909)
    free.machine.wgmesh("sync")
    candidate = free.machine.wgmesh("diff").stdout
    assert "+ListenPort = 51909\n" in candidate and "-ListenPort = 51908\n" in candidate
    for words in (["diff", "999"], ["diff", str(older), "999"]):
        done = free.machine.wgmesh(*words, check=False)
        assert done.returncode == 1 and "999" in done.stderr


def test_old_generations_are_pruned(free: Node) -> None:
    free.machine.write("/etc/wgmesh/wgmesh.toml", "keep_generations = 3\n")
    for port in range(51910, 51914):
        newest = free.land(f"port {port}", listen_port=port)
    kept = [number for number, outcome in free.history().items() if outcome != "rolled-back"]
    assert kept == [newest - 2, newest - 1, newest]
    gone = free.machine.wgmesh("rollback", str(newest - 3), check=False)
    assert gone.returncode == 1 and f"no generation {newest - 3}" in gone.stderr
    free.runs(newest)
    free.machine.wgmesh("rollback", str(newest - 2))
    free.runs(newest - 2)


def test_a_generation_that_was_tampered_with_is_noticed(free: Node) -> None:
    older, newer = free.land("one", listen_port=51921), free.land("two", listen_port=51922)
    edit = ["sed", "-i", "s/^ListenPort.*/ListenPort = 6/"]
    free.machine.run([*edit, f"{GENERATIONS}/gen-{newer}/wg0.conf"])
    shown = free.mesh.status("alpha")
    assert shown["state"] == "degraded"
    assert any("chang" in reason or "altered" in reason for reason in shown["reasons"])
    assert free.machine.wgmesh("status", check=False).returncode == 7
    # it does not keep anybody from going back, nor from going on
    free.machine.wgmesh("rollback")
    free.runs(older)
    free.machine.wgmesh("resume")

    free.machine.run([*edit, f"{GENERATIONS}/gen-{older}/wg0.conf"])
    three = free.land("three", listen_port=51923)
    # what is gone back to is what was rendered, not what somebody made of it
    free.machine.wgmesh("rollback", str(older))
    free.runs(older)
    free.machine.run(["sh", "-c", f"echo nonsense > {GENERATIONS}/gen-{three}/manifest.toml"])
    damaged = free.machine.wgmesh("rollback", str(three), check=False)
    assert damaged.returncode == 1 and f"gen-{three}" in damaged.stderr
    free.runs(older)
    assert free.history()[older] == "running"


@pytest.mark.parametrize("word", ["sync", "rollback", "resume", "reconcile", "doctor", "leave"])
def test_a_tick_in_between_is_waited_for(free: Node, word: str) -> None:
    words = [word, str(free.here())] if word == "rollback" else [word]
    tick = free.machine.popen(["flock", "/run/wgmesh/lock", "sh", "-c", "echo held; sleep 2"])
    try:
        assert tick.stdout is not None and tick.stdout.readline() == "held\n"
        done = free.machine.wgmesh(*words, check=False)
    finally:
        tick.communicate(timeout=20)
        if word == "leave":
            free.mesh.join("alpha")
            free.machine.wgmesh("sync")
    assert done.returncode in ({0, 1} if word == "doctor" else {0}), done
    assert "another wgmesh is at work" not in done.stdout + done.stderr


def test_what_comes_while_a_rollback_waits_is_not_what_it_leaves(free: Node) -> None:
    free.here()
    free.offer("comes meanwhile", listen_port=51929)
    sync = free.machine.popen([*free.machine.wgmesh_argv, "sync"])
    held = ["flock", "--nonblock", "/run/wgmesh/lock", "true"]
    wait_until(lambda: free.machine.run(held, check=False).returncode != 0, 20, "it is at work")
    done = free.machine.wgmesh("rollback", check=False)
    said, _ = sync.communicate(timeout=60)
    assert done.returncode == 9, done
    assert "runs as generation" in said
    free.here()
    assert free.mesh.status("alpha")["state"] == "in-sync"


def applied(machine: Machine, port: int) -> bool:
    return machine.run(["wg", "show", "wg0", "listen-port"]).stdout == f"{port}\n"


def test_signals_and_a_dead_terminal_do_not_stop_a_transaction(free: Node) -> None:
    before = free.here()
    free.mesh.policy("alpha", most=3, silent=3, minority=3)
    with free.mesh.world.internet.block_udp_port("alpha", 51930):
        harmful = free.offer("harmful", listen_port=51930)
        sync = free.machine.popen([*free.machine.wgmesh_argv, "sync"])
        wait_until(lambda: applied(free.machine, 51930), 20, "it was applied")
        second = free.machine.wgmesh("rollback", check=False)
        assert second.returncode == 9, "one at a time"
        assert sync.stdout is not None and sync.stderr is not None
        sync.stdout.close()
        sync.stderr.close()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            sync.send_signal(number)
        assert sync.wait(30) == 6, "nobody hears it, but it is the truth"
    free.runs(before)
    shown = free.mesh.status("alpha")
    assert shown["state"] == "rolled-back"
    assert [entry["commit"] for entry in shown["quarantine"]][-1:] == [harmful]


def test_a_dead_terminal_does_not_stop_a_good_change_either(free: Node) -> None:
    free.offer("good", listen_port=51931)
    sync = free.machine.popen([*free.machine.wgmesh_argv, "--verbose", "sync"])
    assert sync.stdout is not None and sync.stderr is not None
    sync.stderr.close()
    wait_until(lambda: applied(free.machine, 51931), 20, "it was applied")
    assert "runs as generation" in sync.stdout.read()
    assert sync.wait(30) == 0
    sync.stdout.close()
    assert unfinished(free.machine) == ""
    assert free.mesh.status("alpha")["state"] == "in-sync"


def test_a_rollback_that_is_killed_leaves_no_way_forward(free: Node) -> None:
    """Killed before the boot link has flipped, or after: held, and what was left stays left."""
    before = free.here()
    free.land("to be left", listen_port=51932)
    for when in (FLIP, "os.rename /run/wgmesh/status.json"):
        log = Path(free.mesh.world.directory / "operations")
        env = {"PYTHONPATH": f"{KILLER}:{CHECKOUT}", "WGLAB_KILL": f"{when}|agent|{log}"}
        done = free.machine.wgmesh("rollback", str(before), check=False, env=env)
        assert done.returncode == -signal.SIGKILL
        wait_until(lambda: unfinished(free.machine) == "", 10, "the watchdog has acted")
        shown = free.mesh.status("alpha")
        assert shown["state"] == "held" and len(shown["quarantine"]) == 1
    free.runs(before)
    free.machine.wgmesh("sync")
    free.machine.wgmesh("resume")
    assert "quarantine" in free.machine.wgmesh("sync").stdout
    free.runs(before)
