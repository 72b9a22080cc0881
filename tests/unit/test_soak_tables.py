"""What the soak of syncs makes of its records: memory that grows is found, noise is not."""

from typing import Any

import pytest

from tests.soak.syncs_table import HEAVY, LIGHT, NOTHING, course, kinds, verdicts

MEMORY = "kinds of sync whose memory grows"


def sync(number: int, kib: float, *, applied: bool = True, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    record = {"commit": number, "node": "alpha", "exit": 0, "kib": kib, "cpu": 1.0, "left": []}
    return record | {"applied": applied} | more


def whole(*syncs: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of a run that came to its end, at which all was well."""
    last = sync(len(syncs) + 1, 1)
    return [*syncs, last, {"end": "alpha", "more": [], "changed": [], "unequal": []}]


def test_two_sorts_of_sync_are_not_taken_for_growth() -> None:
    light = [sync(n, 37_000 + n % 7) for n in range(100)]
    heavy = [sync(100 + n, 51_000 + n % 7) for n in range(100)]
    sorted_out = kinds([*light, *heavy, sync(200, 36_000, applied=False)])
    assert {name: len(some) for name, some in sorted_out.items()} == {
        NOTHING: 1,
        LIGHT: 100,
        HEAVY: 100,
    }
    assert not any(verdicts(whole(*light, *heavy)).values())


@pytest.mark.parametrize("kib_each", [20, 50])
def test_memory_that_grows_is_found(kib_each: int) -> None:
    wrong = verdicts(whole(*(sync(n, 37_000 + kib_each * n) for n in range(200))))
    assert len(wrong[MEMORY]) >= 1
    assert not course([37_000 + kib_each * n for n in range(200)]).flat


def test_memory_that_jumps_and_stays_is_flat() -> None:
    assert course([37_000 + 800 * (n % 3) for n in range(200)]).flat


def test_whatever_went_wrong_is_in_the_verdicts() -> None:
    found = whole(
        sync(1, 1, exit=6, said="rolled back"),
        sync(2, 1, left=["git"]),
        sync(3, 1, tick="Traceback"),
    )
    found[-1] = {
        "end": "alpha",
        "more": ["descriptors: 9 became 10", "mounts: 1 became 2", "files: /run/x", "rejected: 9"],
        "changed": ["nft"],
        "unequal": ["status"],
    }
    counts = {what: len(seen) for what, seen in verdicts(found).items()}
    assert list(counts.values()) == [2, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert verdicts(found[:1])["ends that were not reached"]
