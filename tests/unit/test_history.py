"""What the ticks remember: read back as it was written, and nothing else believed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.history import (
    Exit,
    Failover,
    Steering,
    Watched,
    followed,
    keys_of,
    read_exits,
    read_failover,
    renamed,
    write_exits,
    write_failover,
)
from wgmesh.select import Watch, candidates

ENDPOINTS = ("192.0.2.1:51820", "bravo.example.net:51820")
MEMORY = Failover(
    generation="gen-3 17",
    interface="wg0",
    watched={
        "B": Watched("bravo", "10.40.0.2", ENDPOINTS),
        "C": Watched("c", "fd40::3", ENDPOINTS),
    },
    watches={
        "B": Watch(5.0, endpoint="192.0.2.1:51820", since=3.0, tried=ENDPOINTS),
        "C": Watch(7.5),
    },
    seen={"B": (1_790_000_000, 4096)},
    resolved={"bravo.example.net:51820": ("192.0.2.9:51820", "[2001:db8::9]:51820")},
    resolved_at=4.0,
    named=("alpha.example.net",),
    named_at=3.5,
    named_wait=60.0,
)


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_failover(tmp_path, MEMORY)
    assert read_failover(tmp_path) == MEMORY
    assert (tmp_path / "failover.json").stat().st_mode & 0o777 == 0o644
    assert MEMORY.chosen() == {"B": "192.0.2.1:51820"}


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_anything_else_is_an_empty_memory(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    directory = tmp_path_factory.mktemp("run")
    (directory / "failover.json").write_text(json.dumps(value))
    assert read_failover(directory) == Failover()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("watches", {"B": {"alive": "soon"}}),
        ("watches", {"B": {"since": 1.0}}),
        ("watches", {"B": {"alive": 1.0, "surprise": 1}}),
        ("watches", {"B": {"alive": 1.0, "endpoint": 5}}),
        ("watched", {"B": ["bravo", "10.40.0.2"]}),
        ("seen", {"B": ["many", 1]}),
        ("resolved_at", None),
    ],
)
def test_a_value_of_another_kind_loses_it(tmp_path: Path, key: str, value: object) -> None:
    write_failover(tmp_path, MEMORY)
    table = json.loads((tmp_path / "failover.json").read_text())
    (tmp_path / "failover.json").write_text(json.dumps(table | {key: value}))
    assert read_failover(tmp_path) == Failover()


def test_what_an_older_version_wrote_is_read(tmp_path: Path) -> None:
    write_failover(tmp_path, MEMORY)
    table = json.loads((tmp_path / "failover.json").read_text())
    del table["named"], table["named_at"], table["named_wait"]
    (tmp_path / "failover.json").write_text(json.dumps(table))
    assert read_failover(tmp_path) == replace(MEMORY, named=(), named_at=0.0, named_wait=0.0)


def test_another_generation_keeps_what_is_known_of_unchanged_peers() -> None:
    watched = {
        "B": MEMORY.watched["B"],
        "C": Watched("c", "fd40::3", ("192.0.2.77:1", "192.0.2.78:1")),
    }
    after = followed(MEMORY, "gen-4 18", "wg0", watched)
    assert after.watches == {"B": MEMORY.watches["B"]}
    assert (after.generation, after.watched) == ("gen-4 18", watched)
    assert followed(MEMORY, "gen-5 19", "wg0", {}).chosen() == {}


def test_candidates_are_the_firsts_of_each_endpoint_then_the_others_then_the_last_good() -> None:
    addresses = [("a4:1", "a6:1"), (), ("b4:1", "a4:1", "b6:1")]
    assert candidates(addresses, "z:1") == ["a4:1", "b4:1", "a6:1", "b6:1", "z:1"]
    assert candidates(addresses, "a6:1")[-1] == "b6:1"
    assert candidates([()], "") == []


def test_an_exit_that_changes_its_key_is_known_by_both_and_stays_the_holder(tmp_path: Path) -> None:
    """First the device may use its next key, then the inventory has that alone."""
    before = (Exit("alpha", "A", "10.40.0.1", (4,), "later"), Exit("bravo", "B", "10.40.0.2", (4,)))
    assert keys_of(before) == {"A": "A", "later": "A", "B": "B"}
    after = (Exit("alpha", "later", "10.40.0.1", (4,)), Exit("bravo", "B", "10.40.0.2", (4,)))
    assert (renamed(after, before, "A"), renamed(after, before, "B")) == ("later", "B")
    assert renamed(after[1:], before, "A") == renamed(after, before, "") == ""
    write_exits(tmp_path, Steering(exits=before))
    assert read_exits(tmp_path).exits == before
