"""A small sample of tests/soak/converge.py: every node syncs at its own moment, and all arrive."""

import random
from collections.abc import Iterator

import pytest

from tests.soak.converge import CHANGES, Fleet, Pace, broken_node, fleet, run

PACE = Pace(spread_seconds=4, poll_seconds=1, patience_seconds=60)
WINDOWS = {"most": 6, "silent": 7, "minority": 8}


@pytest.fixture(scope="module")
def three() -> Iterator[Fleet]:
    with fleet(("alpha", "bravo", "charlie"), WINDOWS) as made:
        yield made


@pytest.mark.parametrize("kind", ["another key", "another endpoint and port", "node added"])
def test_nobody_takes_back_what_both_ends_must_apply(three: Fleet, kind: str) -> None:
    dice = random.Random(kind)
    found = run(three, CHANGES[kind](three, dice), dice, PACE)
    assert found.rollbacks == dict.fromkeys(three.members, 0)
    assert found.converged == set(three.members)
    three.settle()


def test_one_broken_node_goes_back_alone(three: Fleet) -> None:
    found = broken_node(three, random.Random(5), PACE)
    assert found.converged == set(three.members), "the others stay on the new commit"


def test_a_rule_that_wants_every_tunnel_up_does_not_converge(three: Fleet) -> None:
    """The harness sees it when nodes take a good change back."""
    dice = random.Random(7)
    pace = Pace(spread_seconds=0, poll_seconds=1, patience_seconds=1)
    commit = CHANGES["another endpoint and port"](three, dice)
    of_one = Fleet(three.mesh, three.names[:1], three.keys, three.fields)
    moved = next(name for name, fields in three.fields.items() if fields)
    if moved == of_one.names[0]:
        of_one.names = three.names[1:2]
    found = run(of_one, commit, dice, pace, naive=True)
    assert found.rollbacks == {of_one.names[0]: 1} and not found.converged
    three.settle()
