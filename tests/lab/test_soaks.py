"""Small samples of tests/soak/{loss,restore,syncs}.py and tests/bench/one_peer.py."""

from collections.abc import Iterator

import pytest

from tests.bench import one_peer
from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import CONFIRM
from tests.soak import loss, restore, syncs
from tests.soak.converge import fleet
from tests.soak.leaks import holdings, more, strangers
from tests.soak.restore import Stage
from tests.soak.syncs_table import verdicts

THREE = ("alpha", "bravo", "charlie")


def test_a_change_costs_no_other_tunnel_a_packet() -> None:
    kind = "another endpoint and port"
    with fleet(loss.FOUR) as of:
        ((_, before, after, found),) = loss.by_wgmesh(of, [kind])
        assert (found["others"]["tunnels"], found["own"]["tunnels"]) == (3, 3)
        assert found["others"]["lost"] == 0 and found["others"]["sent"] > 600
        # the harness sees it when packets are lost
        beside = loss.by_hand(of.mesh.world, of.mesh, loss.RESTART, kind, before, after)
        assert beside["others"]["lost"] > 0


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    windows = CONFIRM.format(most=3, silent=4, minority=5)
    with restore.laboratory(THREE, windows) as made:
        yield made


def test_a_harmed_node_is_back_within_its_window(stage: Stage) -> None:
    (found,) = restore.one(stage, ("wgmesh", restore.HARMS.index("nft rule drops tunnels")))
    assert 2 < found["seconds"] < 7


def test_a_killed_apply_is_taken_back_at_once(stage: Stage) -> None:
    (found,) = restore.one(stage, ("wgmesh", restore.HARMS.index("kill -9 mid-apply")))
    assert found["seconds"] < 5


def test_what_is_beside_it_waits_until_nobody_has_confirmed(stage: Stage) -> None:
    stage.settle()
    took = stage.by_hand(stage.harms["new port filtered by the provider"], 3)
    assert took is not None and took > 2
    assert stage.by_hand(stage.harms["route to the remote lost"], 3) is None, "it was confirmed"


def test_a_change_of_one_peer_writes_one_peer(world_factory: WorldFactory) -> None:
    of = one_peer.large(world_factory(["alpha", "bravo"]), 12)
    peers, routes = one_peer.touched(of, *one_peer.by_wgmesh(of))
    assert (peers, routes) == (1, 1)
    assert one_peer.touched(of, *one_peer.by_syncconf(of))[0] == 11


def test_probes_of_hundreds_of_dead_peers_crowd_nothing_out(world_factory: WorldFactory) -> None:
    """wg0 holds 500 packets while wireguard-go begins a handshake with each dead peer."""
    of = one_peer.large(world_factory(["alpha", "bravo"]), 700)
    before = dropped(of.alpha)
    of.alpha.run(one_peer.by_wgmesh(of), timeout=120)
    assert dropped(of.alpha) == before


def dropped(machine: Machine) -> int:
    return int(machine.read("/sys/class/net/wg0/statistics/tx_dropped"))


def test_syncs_leave_nothing_behind() -> None:
    with syncs.laboratory(THREE[:2]) as of:
        found = list(syncs.runs(of, 8, 4))
        assert sum("commit" in each for each in found) == 3 * (4 + 2)
        assert {each["node"] for each in found if each.get("applied")} >= set(of.names)
        wrong = verdicts(found)
        del wrong["kinds of sync whose memory grows"]  # of which these are too few to tell
        assert not any(wrong.values()), wrong

        # the harness sees it when something is left
        alpha = of["alpha"]
        before = holdings(alpha)
        assert more(before, holdings(alpha), syncs.KEEP) == []
        alpha.run(["touch", "/run/wgmesh/some.tmp"])
        alpha.run(["mkdir", *(f"/etc/wireguard/wgmesh.d/gen-{n}" for n in range(90, 96))])
        left = alpha.popen(["sleep", "60"])
        assert syncs.left_behind(alpha) == strangers(alpha) == ["sleep"]
        said = more(before, holdings(alpha), syncs.KEEP)
        left.kill()
        assert [each.partition(":")[0] for each in said] == ["processes", "files", "generations"]

        # and when a node is not what the inventory says
        picture, head = syncs.picture(of, "alpha"), of.mesh.author.head
        assert syncs.different(picture, syncs.picture(of, "alpha")) == []
        alpha.run(["ip", "addr", "add", "10.98.0.1/32", "dev", "wg0"])
        assert syncs.different(picture, syncs.picture(of, "alpha"))[0].startswith("addresses")
        said = syncs.unequal(of, "alpha", head)
        assert [each.partition(":")[0] for each in said] == ["status", "reconcile"]
        assert syncs.unequal(of, "alpha", head) == [], "which reconcile has put back"
