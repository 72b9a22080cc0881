"""Pings are counted exactly, whatever happens to them on the way."""

from functools import partial

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.pings import Pings
from tests.lab.wait import wait_until
from tests.lab.world import World


@pytest.fixture(scope="module")
def world(module_world_factory: WorldFactory) -> World:
    """Make two nodes."""
    return module_world_factory(["alpha", "bravo"])


def received(pings: Pings, answers: int) -> bool:
    """Say whether that many answers are in."""
    return pings.count().received >= answers


def test_loss_is_about_what_was_asked(world: World) -> None:
    alpha, bravo = world["alpha"], world["bravo"]
    with world.internet.lose("alpha", 30), Pings(alpha, bravo.ipv4, 0.002) as pings:
        wait_until(lambda: pings.count().sent >= 600, 30, "600 requests")
    count = pings.stop()
    # Twice 30 % of the packets: 51 % of the echoes; six standard deviations of room.
    assert 0.38 < count.lost / count.sent < 0.64


def test_pings_are_counted_exactly(world: World) -> None:
    alpha, bravo = world["alpha"], world["bravo"]
    for address, match in ((bravo.ipv4, "icmp type"), (bravo.ipv6, "icmpv6 type")):
        with (
            Pings(alpha, address) as pings,
            Pings(alpha, address) as others,  # two at once are not mixed up
        ):
            wait_until(partial(received, pings, 50), 10, "50 answers")
        count = pings.stop()
        assert (count.lost, count.lost_at) == (0, ())
        assert count.sent == count.received >= 50
        assert others.stop().lost == 0
        with (
            Pings(alpha, address) as pings,
            world.internet.lose_next("alpha", 7, f"{match} echo-request"),
        ):
            wait_until(partial(received, pings, 50), 10, "50 answers")
        count = pings.stop()
        assert count.lost == len(count.lost_at) == 7
        assert count.sent == count.received + 7
        assert 7 * 0.005 <= count.longest_gap_seconds < 2


def test_pings_without_a_route_are_lost_not_fatal(world: World) -> None:
    alpha = world["alpha"]
    alpha.ip_batch("route add unreachable 203.0.113.0/24")
    with Pings(alpha, "203.0.113.1", 0.01) as pings:
        wait_until(lambda: pings.count().sent >= 10, 10, "10 requests")
    count = pings.stop()
    assert count.received == 0
    assert count.lost == count.sent >= 10
    assert count.longest_gap_seconds >= 0.09
