"""`kill -9` and power cuts at any point of a transaction: old or new, whole, never half.

Points are found by counting operations (tests/lab/killer). Everything that a transaction can change
differs between OLD and NEW: peers, endpoints, AllowedIPs, port, address, routes, nft, sysctls.
"""

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.pings import Pings
from tests.lab.stage import Stage, at, boot, stage
from tests.lab.state import FLIP, state, unfinished
from tests.lab.wait import wait_until

HALFWAY = "netlink"  # the peers are new, the routes are old
POINTS = 10
JOURNAL = "os.rename /var/lib/wgmesh/journal.toml"
DUE_IN_A_SECOND = """
import time
from dataclasses import replace
from wgmesh import journal
from wgmesh.agent.node import PLACES
record = journal.read(PLACES.journal)
now = time.clock_gettime(time.CLOCK_BOOTTIME)
journal.write(PLACES.journal, replace(record, deadline_seconds=now + 1))
"""


@pytest.fixture(scope="module")
def play(module_world_factory: WorldFactory) -> Stage:
    return stage(module_world_factory(["alpha", "bravo", "charlie", "gone", "fresh"]))


def point(operations: Sequence[str], index: int) -> int:
    """Return the number of one of ten points of a transaction that takes these operations.

    The first is right after the journal's first file was opened, the last right after it was over.
    """
    return 2 + index * (at(operations, "snapshot.json") - 1) // (POINTS - 1)


EVERY_POINT = [(index, "new") for index in range(0, POINTS, 2)]
EVERY_POINT += [(index, "old") for index in range(1, POINTS, 2)]


@pytest.mark.parametrize(("index", "target"), EVERY_POINT)
def test_killed_and_recovered(play: Stage, index: int, target: str) -> None:
    """By the watchdog, which acts without being asked, or by a person after it has died too."""
    start = play.set_out(target)
    alone = index % 4 < 2
    play.killed_sync(point(play.operations[target], index), "agent" if alone else "watchdog")
    if alone and play.done("run PYTHON"):
        wait_until(lambda: unfinished(play.alpha) == "", 10, "the watchdog has acted")
        assert "nothing to recover" in play.alpha.wgmesh("recover").stdout
    else:
        play.alpha.wgmesh("recover")
    play.arrived(target if play.done(FLIP) else start)
    play.tunnel_works()


@pytest.mark.parametrize(("index", "target"), EVERY_POINT)
def test_power_cut_and_boot(play: Stage, index: int, target: str) -> None:
    start = play.set_out(target)
    play.killed_sync(point(play.operations[target], index), "everything")
    boot(play.alpha)
    play.arrived(target if play.done(FLIP) else start)
    wait_until(partial(play.ping, "alpha", "bravo"), 10, "the tunnel is up again")


def listens_on(machine: Machine, port: int) -> bool:
    return machine.run(["wg", "show", "wg0", "listen-port"]).stdout == f"{port}\n"


def test_killed_after_the_neighbours_have_learnt_the_new_port(play: Stage) -> None:
    """Back at the old port a node speaks up: else nobody would find it there."""
    start = play.set_out("new")
    play.killed_sync(FLIP, "watchdog")
    endpoints = play.mesh.world["bravo"].run(["wg", "show", "wg0", "endpoints"]).stdout
    assert endpoints.split() != [] and ":51821" in endpoints
    play.alpha.wgmesh("recover")
    play.arrived(start)
    play.tunnel_works()


def test_interrupted_once_is_tried_again_and_twice_is_not(play: Stage) -> None:
    start = play.set_out("new")
    play.killed_sync(HALFWAY, "watchdog")
    play.alpha.wgmesh("recover")
    assert play.mesh.status("alpha")["quarantine"] == []
    play.killed_sync(HALFWAY, "agent", retry=False)
    wait_until(lambda: unfinished(play.alpha) == "", 10, "the watchdog has acted")
    play.arrived(start)

    held_back = play.alpha.wgmesh("sync")
    assert "quarantine" in held_back.stdout
    play.arrived(start)
    shown = play.mesh.status("alpha")
    assert shown["state"] == "rolled-back"
    assert "cut short" in shown["quarantine"][0]["reason"]
    play.alpha.wgmesh("sync", "--retry")
    play.arrived("new")

    play.set_out("old")
    play.killed_sync(HALFWAY, "watchdog")
    done = play.alpha.wgmesh("sync")  # recovers by itself, and tries it again
    assert "cut short" in done.stderr and "runs as generation" in done.stdout
    play.arrived("old")


@pytest.fixture
def theft(play: Stage) -> Iterator[None]:
    """Let the last route of NEW be taken by somebody else, so that it fails when most is done."""
    route = ["192.168.62.0/24", "via", "198.18.0.254"]
    play.alpha.run(["ip", "route", "add", *route])
    yield
    play.alpha.run(["ip", "route", "del", *route], check=False)


@pytest.mark.parametrize("whom", ["agent", "watchdog", "everything"])
def test_killed_on_the_way_back(play: Stage, theft: None, whom: str) -> None:
    start = play.set_out("new")
    play.states["stolen"] = state(play.alpha)
    done = play.killed_sync(0)
    assert done.returncode == 6, done.stderr
    play.arrived("stolen")
    journals = [n for n, said in enumerate(play.logged(), 1) if JOURNAL in said]
    undoing, idle = journals[-2:]
    steps = {"agent": undoing + 1, "watchdog": (undoing + idle) // 2, "everything": idle - 1}
    assert any("wg addconf" in said for said in play.logged()[undoing:idle])

    play.killed_sync(steps[whom], whom)
    if whom == "everything":
        boot(play.alpha)
        play.arrived(start)
        return
    if whom == "watchdog":
        play.alpha.wgmesh("recover")
    wait_until(lambda: unfinished(play.alpha) == "", 10, "somebody has acted")
    play.arrived("stolen")
    play.tunnel_works()
    # it was found harmful before it was interrupted: once is enough
    assert "quarantine" in play.alpha.wgmesh("sync").stdout


DAMAGE = {
    "journal truncated": "truncate -s 100 /var/lib/wgmesh/journal.toml",
    "journal garbled": "sed -i s/APPLYING/applied/I /var/lib/wgmesh/journal.toml",
    "journal missing": "rm /var/lib/wgmesh/journal.toml",
    "snapshot missing": "rm /run/wgmesh/snapshot.json",
    "snapshot truncated": "truncate -s 100 /run/wgmesh/snapshot.json",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_cut_short_and_damaged(play: Stage, damage: str) -> None:
    start = play.set_out("new")
    play.killed_sync(HALFWAY, "watchdog")
    play.alpha.run(["sh", "-c", DAMAGE[damage]])
    play.alpha.wgmesh("recover")
    play.arrived(start)
    play.tunnel_works()
    confirmed = json.loads(play.alpha.wgmesh("history", "--json").stdout)
    assert [row["generation"] for row in confirmed if row["outcome"] == "running"]
    never_proven = confirmed[-1]
    assert never_proven["outcome"] == "rolled-back", "what was never proven is no way back"


def test_the_boot_link_dangles(play: Stage) -> None:
    play.set_out("old")
    play.alpha.run(["ln", "-sfn", "gen-999", "/etc/wireguard/wgmesh.d/boot"])
    shown = play.mesh.status("alpha")
    assert shown["state"] != "in-sync"
    with Pings(play.mesh.world["bravo"], play.mesh.address("alpha")) as pings:
        done = play.alpha.wgmesh("sync")
    assert "runs as generation" in done.stdout
    assert pings.stop().longest_gap_seconds < 2
    play.arrived("old")
    assert not play.alpha.exists("/etc/wireguard/wgmesh.d/gen-0"), "what ran was ours"
    boot(play.alpha)
    play.arrived("old")


@pytest.mark.parametrize("full", ["/var/lib/wgmesh", "/etc/wireguard"])
def test_no_room_on_the_disk(play: Stage, full: str) -> None:
    start = play.set_out("new")
    script = f"""
        cp -a {full} /run/copy
        mount -t tmpfs -o size=8m,mode=0700 small {full}
        cp -a /run/copy/. {full}; rm -r /run/copy
        dd if=/dev/zero of={full}/fill bs=4k 2>/dev/null
        truncate -s -4k {full}/fill  # git gets far enough to fail late
    """
    play.alpha.run(["sh", "-c", script], check=False)
    for _ in range(2):
        done = play.alpha.wgmesh("sync", check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert any(word in done.stderr for word in ("No space left on device", "Out of diskspace"))
        assert "make room" in done.stderr and "Traceback" not in done.stderr
        play.arrived(start)
    play.alpha.run(["rm", f"{full}/fill"])
    assert "runs as generation" in play.alpha.wgmesh("sync").stdout
    play.arrived("new")
    play.alpha.run(
        [
            "sh",
            "-c",
            f"cp -a {full} /run/copy && umount {full} && rm -rf {full}/* &&"
            f"cp -a /run/copy/. {full} && rm -r /run/copy",
        ]
    )
    play.go("old")


def test_an_agent_that_stands_still_is_ended_at_its_deadline(play: Stage) -> None:
    start = play.set_out("new")
    alpha = play.alpha
    with play.mesh.world.internet.block_udp_port("alpha", 51900):
        entry = play.mesh.entry("alpha", play.keys["alpha"], {"listen_port": 51900})
        play.mesh.commit({"nodes/alpha.toml": entry}, "a port that is filtered")
        agent = alpha.popen([*alpha.wgmesh_argv, "sync", "--retry"])
        wait_until(lambda: listens_on(alpha, 51900), 20, "it was applied")
        agent.send_signal(signal.SIGSTOP)
        watchdogs = alpha.pids(word="--wait")
        assert len(watchdogs) == 1
        alpha.kill(watchdogs[0])
        alpha.run([sys.executable, "-c", DUE_IN_A_SECOND])
        alpha.wgmesh("recover", "--wait")
        assert agent.wait(10) == -signal.SIGKILL
        agent.communicate()
        play.arrived(start)
        play.tunnel_works()
