"""What a node's polls cost the git server, a small sample of tests/bench/polls.py."""

import pytest

from tests.bench import polls
from tests.bench.polls import CHANGE, LARGE, NEWS, POLL, Cost

RUNS = 3


@pytest.fixture(scope="module")
def found() -> dict[str, Cost]:
    return polls.measure("git", RUNS)


def test_a_poll_is_one_short_question(found: dict[str, Cost]) -> None:
    poll = found[POLL]
    assert poll.connections == 1
    assert 500 < poll.to_server_bytes < 3000 and 500 < poll.to_client_bytes < 3000
    assert poll.turns <= 4 and 0 < poll.open_seconds < poll.sync_seconds


def test_a_commit_is_fetched_once_and_a_change_asks_for_its_proof(found: dict[str, Cost]) -> None:
    assert found[NEWS].connections == 2
    assert 3 <= found[CHANGE].connections <= 5


def test_the_size_of_the_inventory_is_not_sent_again(found: dict[str, Cost]) -> None:
    """A file per node, a thousand of them, are 100 kB; the tree that lists them alone is 40."""
    assert found[LARGE].connections == 2
    assert found[LARGE].to_client_bytes < found[NEWS].to_client_bytes + 5000
