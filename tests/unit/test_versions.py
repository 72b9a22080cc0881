"""Which versions others may run, out of a real repository, and what a change makes of them."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.unit.inventory_texts import key
from tests.unit.signing import Keys, Workshop, run
from wgmesh import inventory, records, settings
from wgmesh.agent import versions
from wgmesh.agent.node import Node
from wgmesh.agent.versions import MOST_SEEN, Versions
from wgmesh.mesh.plan import plan
from wgmesh.model.commit import VerifiedCommit
from wgmesh.model.inventory import Inventory
from wgmesh.model.plan import NodePlan
from wgmesh.remembered import Seen, Tips
from wgmesh.repository.bare import Repository
from wgmesh.settings import Anchor, Enrolment, Settings

NOW = 1_790_000_000
DAY = 86_400
MESH = '[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n'


def entry(number: int, port: int = 51820, extra: str = "") -> str:
    """Return a node's file."""
    return (
        f'address = "10.40.0.{number}/32"\npublic_key = "{key(number)}"\n'
        f'endpoint = "192.0.2.{number}:{port}"\n{extra}'
    )


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    run(["git", "init", "--quiet", "--bare", "--initial-branch=main", "hub.git"], tmp_path)
    made = Workshop(tmp_path / "work", Keys(tmp_path)).start()
    made.git("remote", "add", "origin", str(tmp_path / "hub.git"))
    return made


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    path = tmp_path / "state" / "repository.git"
    monkeypatch.setattr(settings, "REPOSITORY_DIR", path)
    with Repository(path) as repository:
        assert repository.ensure()
        yield repository


def push(work: Workshop, node: Repository, files: Mapping[str, str], message: str = "m") -> str:
    """Commit, push and fetch; return the commit's id."""
    commit = work.commit(message, files, sign=None)
    work.git("push", "--quiet", "-u", "origin", "main")
    hub = str(work.path.parent / "hub.git")
    node.fetch(hub, "main", commit, timeout_seconds=30)
    return commit


def commits(seen: tuple[Seen, ...]) -> list[str]:
    return [each.commit for each in seen]


def test_what_led_to_the_tip_was_the_tip_for_others(
    tmp_path: Path, work: Workshop, node: Repository
) -> None:
    first = push(work, node, {"mesh.toml": MESH})
    seen = versions.note(tmp_path, node, Tips(), first, NOW)
    assert seen == (Seen(first, NOW),) == records.read_seen(tmp_path)
    second = push(work, node, {"a": "1"})
    third = push(work, node, {"a": "2"})
    seen = versions.note(tmp_path, node, Tips(), third, NOW + 60)
    assert seen[1:] == (Seen(second, NOW + 60), Seen(third, NOW + 60))
    assert versions.note(tmp_path, node, Tips(), third, NOW + 120) == seen

    # what lies beside the branch was nobody's tip
    work.git("checkout", "--quiet", "-b", "side")
    work.commit("side", {"b": "1"}, sign=None)
    work.git("checkout", "--quiet", "main")
    work.git("merge", "--quiet", "--no-ff", "-m", "join", "side")
    merge = push(work, node, {"a": "3"})
    line = commits(versions.note(tmp_path, node, Tips(), merge, NOW + 180, remember=False))
    assert line[:3] == [first, second, third] and line[-1] == merge and len(line) == 5
    assert records.read_seen(tmp_path) == seen, "a dry run remembers nothing"


def test_a_lost_record_begins_with_what_runs(
    tmp_path: Path, work: Workshop, node: Repository
) -> None:
    first = push(work, node, {"mesh.toml": MESH})
    tip = push(work, node, {"a": "1"})
    runs = VerifiedCommit(first, "t", "s", "f", "a", "s", NOW)
    seen = versions.note(tmp_path, node, Tips(applied=runs), tip, NOW)
    assert commits(seen) == [first, tip]
    assert versions.plausible(seen, NOW, 60) == seen, "it was replaced just now"


def test_a_node_that_was_away_for_long(tmp_path: Path, work: Workshop, node: Repository) -> None:
    first = push(work, node, {"mesh.toml": MESH})
    versions.note(tmp_path, node, Tips(), first, NOW)
    for number in range(MOST_SEEN + 3):
        work.commit("m", {"a": str(number)}, sign=None)
    tip = push(work, node, {"a": "last"})
    seen = versions.note(tmp_path, node, Tips(), tip, NOW + 9)
    assert len(seen) == MOST_SEEN + 1 and seen[-1].commit == tip


# ---------------------------------------------------------------- what a change makes of them


def change(repository: Repository, tip: str, *others: str, previous: str | None = None) -> Versions:
    """Return what node 1 asks when it goes from the version `previous` to `tip`."""
    anchor = Anchor("c" * 40, "SHA256:x")
    me = Node(Settings(), Enrolment("node1", ("r",), "main", ".", "wg0", anchor))

    def version(commit: str) -> tuple[Inventory, NodePlan]:
        model = inventory.load(repository.inventory_files(commit, "."))
        return model, plan(model, "node1")

    model, new = version(tip)
    runs, before = version(previous) if previous is not None else (None, None)
    return Versions(me, runs, before, model, new, tuple(Seen(each, NOW) for each in others))


def nodes(*entries: str) -> dict[str, str]:
    """Return the files of nodes 1, 2 and so on."""
    return {f"nodes/node{number}.toml": text for number, text in enumerate(entries, 1)}


NONE: frozenset[str] = frozenset()


def test_one_version_that_does_not_fit_is_enough(work: Workshop, node: Repository) -> None:
    """Node 1 goes to where node 2 was in the beginning, or perhaps still is."""
    both = frozenset({key(2), key(3)})
    alt = 'endpoint_alt = "192.0.2.2:51820"\n'
    first = push(work, node, {"mesh.toml": MESH} | nodes(entry(1), entry(2, 5000), entry(3)))
    runs = push(work, node, nodes(entry(1), entry(2, 5000, alt), entry(3)))
    tip = push(work, node, nodes(entry(1), entry(2), entry(3)))
    assert change(node, tip, runs, previous=runs).fits(both, NONE) == {key(2): 0, key(3): 0}
    assert change(node, tip, first, runs, previous=runs).fits(both, NONE) == {key(3): 0}


def test_who_is_up_does_not_run_what_would_keep_it_down(work: Workshop, node: Repository) -> None:
    """The last but one version had another key for node 2, the one before it another endpoint."""
    two = frozenset({key(2)})
    moved = push(work, node, {"mesh.toml": MESH} | nodes(entry(1), entry(2, 4000)))
    rekeyed = push(work, node, nodes(entry(1), entry(2).replace(key(2), key(9))))
    runs = push(work, node, nodes(entry(1), entry(2)))
    tip = push(work, node, nodes(entry(1, extra="listen_port = 5000\n"), entry(2)))
    asked = change(node, tip, moved, rekeyed, runs, previous=runs)
    assert asked.fits(two, NONE) == {key(2): 0}
    another = push(work, node, nodes(entry(1).replace(key(1), key(8)), entry(2)))
    assert change(node, another, runs, previous=runs).fits(two, NONE) == {}


def test_the_longest_wait_counts(work: Workshop, node: Repository) -> None:
    two = key(2)
    alive = "persistent_keepalive = {}\n"
    one = push(work, node, {"mesh.toml": MESH} | nodes(entry(1), entry(2, 4000, alive.format(9))))
    other = push(work, node, nodes(entry(1), entry(2, 5000, alive.format(4))))
    tip = push(work, node, nodes(entry(1), entry(2, 6000, alive.format(4))))
    fits = change(node, tip, one, other, previous=other).fits(frozenset({two}), frozenset())
    assert fits == {two: 9}


def test_what_nobody_can_run_does_not_count(
    work: Workshop, node: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    two = key(2)
    old = push(work, node, {"mesh.toml": MESH} | nodes(entry(1), entry(2)))
    broken = push(work, node, {"mesh.toml": "[mesh"})
    tip = push(work, node, {"mesh.toml": MESH} | nodes(entry(1), entry(2, 51820, "ssh_port = 1\n")))
    asked = change(node, tip, "e" * 40, old, broken, old, previous=old)
    with caplog.at_level(logging.DEBUG, logger="wgmesh"):
        assert asked.fits(frozenset({two}), frozenset()) == {two: 0}
    assert broken in caplog.text and "e" * 40 in caplog.text


def test_before_the_first_apply_all_wait(work: Workshop, node: Repository) -> None:
    tip = push(work, node, {"mesh.toml": MESH} | nodes(entry(1), entry(2)))
    assert change(node, tip, tip).fits(frozenset({key(2)}), frozenset()) == {}


def test_another_key_out_of_the_same_file_waits_for_the_other_end(
    work: Workshop, node: Repository
) -> None:
    two = frozenset({key(2)})
    path = 'preshared_key_path = "/etc/wireguard/psk/%p"\n'
    moved = 'preshared_key_path = "/etc/wireguard/secrets/%p"\n'
    files = nodes(entry(1, extra=path), entry(2, extra=path))
    old = push(work, node, {"mesh.toml": MESH} | files)
    tip = push(work, node, {"NOTES": "x"})
    other = push(work, node, nodes(entry(1, extra=moved), entry(2, extra=path)))
    assert change(node, tip, old, previous=old).fits(two, frozenset()) == {key(2): 0}
    assert change(node, tip, old, previous=old).fits(two, two) == {}
    # a file of its own choosing is this end's fault: nothing will change at the other
    assert change(node, other, old, previous=old).fits(two, two) == {key(2): 0}


def test_a_peer_may_run_what_was_replaced_within_the_lag() -> None:
    seen = [Seen("a", 0), Seen("b", NOW - 3 * DAY), Seen("c", NOW - 2 * DAY), Seen("d", NOW - 9)]

    def names(lag: float, now: float = NOW) -> str:
        return "".join(each.commit for each in versions.plausible(seen, now, lag))

    assert names(DAY) == "cd", "c is old, but was the tip until a moment ago"
    assert names(5) == "d"
    assert names(2 * DAY) == "bcd", "replaced just now, by the second"
    assert names(4 * DAY) == "abcd"
    assert names(DAY, NOW - 4 * DAY) == "abcd", "a clock that was set back"
    assert versions.plausible((), NOW, DAY) == ()


def test_only_so_many_versions_are_read() -> None:
    seen = [Seen(str(number), NOW) for number in range(3 * MOST_SEEN)]
    assert versions.plausible(seen, NOW, DAY) == tuple(seen[-MOST_SEEN:])
