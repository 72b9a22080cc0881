"""Who needs a second look: data in, data out."""

import pytest

from wgmesh.agent.second import unproven
from wgmesh.model.kernel import PeerCounters


@pytest.mark.parametrize(
    ("before", "now", "waits"),
    [
        (100, 100, True),
        (100, 161, False),
        (100, 40, False),  # the wall clock was set back
        (100, 0, True),  # made anew, and silent since
        (0, 0, True),
        (0, 161, False),
    ],
)
def test_who_has_shaken_hands_since_is_proven(before: int, now: int, waits: bool) -> None:
    found = unproven({"bravo": before}, {"bravo": PeerCounters(now, 5, 5)})
    assert found == ({"bravo": before} if waits else {})


def test_who_is_no_peer_any_more_is_not_looked_at() -> None:
    assert unproven({"bravo": 100}, {}) == {}
