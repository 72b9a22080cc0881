"""Who waits for whom: what runs decides over what comes."""

from dataclasses import replace

import pytest

from tests.unit.mesh_inventories import inventory, key, node
from wgmesh.mesh.stages import changes, governing, soak_seconds
from wgmesh.model.inventory import Inventory, Rollout

FIRST = Rollout(("alpha",), 600)


def mesh(rollout: Rollout | None, *names: str) -> Inventory:
    nodes = [node(name) for name in names or ("alpha", "bravo")]
    return replace(inventory(*nodes), rollout=rollout)


def waits(runs: Rollout | None, new: Rollout | None, name: str) -> int:
    return soak_seconds(mesh(runs), mesh(new), key(name), name)


@pytest.mark.parametrize(
    ("runs", "new", "alpha", "bravo"),
    [
        (None, None, 0, 0),
        (FIRST, FIRST, 0, 600),
        # none of these skips or shortens its own wait
        (FIRST, None, 0, 600),
        (FIRST, Rollout(("alpha",), 1), 0, 600),
        (FIRST, Rollout(("alpha", "bravo"), 600), 0, 600),
        (FIRST, Rollout(("bravo",), 600), 0, 600),
        (FIRST, Rollout((), 9999), 0, 600),
        # the first of its kind counts for itself
        (None, FIRST, 0, 600),
    ],
)
def test_what_runs_decides(
    runs: Rollout | None, new: Rollout | None, alpha: int, bravo: int
) -> None:
    assert waits(runs, new, "alpha") == alpha
    assert waits(runs, new, "bravo") == bravo
    assert changes(mesh(runs), mesh(new)) is (runs != new)


def test_a_name_that_is_given_to_another_makes_nobody_first() -> None:
    new = mesh(FIRST, "alpha", "bravo")
    swapped = replace(
        new,
        nodes=(
            replace(new.nodes[1], name="alpha"),
            replace(new.nodes[0], name="bravo"),
        ),
    )
    assert soak_seconds(new, swapped, key("bravo"), "alpha") == 600
    assert soak_seconds(new, swapped, key("alpha"), "bravo") == 0


def test_a_node_of_another_key_is_known_by_its_name() -> None:
    assert soak_seconds(mesh(FIRST), mesh(FIRST), key("zulu"), "alpha") == 0
    assert soak_seconds(mesh(FIRST), mesh(FIRST), key("zulu"), "bravo") == 600


def test_where_nothing_runs_yet_the_new_one_counts() -> None:
    assert governing(None, mesh(FIRST)) == FIRST
    assert soak_seconds(None, mesh(FIRST), key("bravo"), "bravo") == 600
    assert not changes(None, mesh(FIRST))
