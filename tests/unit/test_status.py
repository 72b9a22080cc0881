"""The report of `wgmesh status`: assembled from values, data in and data out."""

import itertools
import json
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.agent import awaited, status
from wgmesh.agent.contract import timestamp
from wgmesh.agent.gathered import Gathered
from wgmesh.agent.node import Node, Running
from wgmesh.agent.status import assemble, endpoint_source, peer_state
from wgmesh.cli.report import status_text
from wgmesh.generation import Manifest
from wgmesh.history import Failover, Watched
from wgmesh.model.commit import VerifiedCommit
from wgmesh.model.kernel import KernelState, LinkState, Observed, PeerCounters, PeerState
from wgmesh.model.plan import NodePlan, Peer, Route
from wgmesh.model.terms import Endpoint, Prefix, Secret
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import Awaited, Hold, LastSync, RemoteState, Rotation, Tips, Verdict
from wgmesh.select import Watch
from wgmesh.settings import Anchor, Enrolment, Settings

NOW = 1_790_000_000
PRIVATE = "cHJpdmF0ZSBrZXkgb2YgdGhpcyBub2RlLCBzaG93IG5v="
MESH = "10.40.0.0/24"
PRIMARY = Endpoint("192.0.2.1", 51820)
ALTERNATIVE = Endpoint("192.0.2.2", 51820)
ROAMED = Endpoint("198.51.100.7", 40000)
NAMED = Endpoint("bravo.example.com", 51820)


def commit(letter: str) -> VerifiedCommit:
    return VerifiedCommit(
        letter * 40, "t", "ann@example.com", "SHA256:x", "Ann", f"subject {letter}", NOW - 500
    )


def peer(name: str, *endpoints: Endpoint, allowed: tuple[str, ...] = (), last: int = 2) -> Peer:
    own = ip_address(f"10.40.0.{last}")
    prefixes = tuple(ip_network(text) for text in (f"{own}/32", *allowed))
    return Peer(name, f"{name}-key", (own,), prefixes, endpoints)


def plan(*peers: Peer, routes: tuple[str, ...] = (MESH,)) -> NodePlan:
    return NodePlan(
        node="alpha",
        interface="wg0",
        public_key="alpha-key",
        private_key_path="/etc/wireguard/wg0.key",
        addresses=(),
        listen_port=51820,
        mtu=1420,
        peers=peers,
        routes=tuple(Route(ip_network(prefix), "wg0") for prefix in routes),
    )


def running(*peers: Peer, routes: tuple[str, ...] = (MESH,)) -> Running:
    return Running(Manifest(3, "wg0", "d", NOW - 100, commit("a")), plan(*peers, routes=routes))


BRAVO = peer("bravo", PRIMARY, ALTERNATIVE)
ME = Node(
    Settings(),
    Enrolment("alpha", ("https://x.example/m",), "main", ".", "wg0", Anchor("c" * 40, "SHA256:x")),
)


def seen(
    *, endpoint: Endpoint | None = PRIMARY, handshake: int = NOW - 10, name: str = "bravo"
) -> Observed:
    key = f"{name}-key"
    allowed: frozenset[Prefix] = frozenset()
    peers = {key: PeerState(key, allowed, endpoint=endpoint, preshared_key=Secret(PRIVATE))}
    link = LinkState("wg0", True, 1420, Secret(PRIVATE), 51820, 0, frozenset(), peers)
    return Observed(KernelState(link), {key: PeerCounters(handshake, 1000, 2000)})


WELL = Gathered(
    me=ME,
    running=running(BRAVO),
    tips=Tips(commit("a"), commit("a"), "d"),
    last=LastSync(NOW - 30, "in-sync", "", "a" * 40, NOW - 30),
    verdict=None,
    hold=None,
    quarantine=(),
    remotes=(),
    seen=seen(),
    changes=(),
    drift=(),
    rtt_ms={"bravo-key": 1.23456},
    probed_at=NOW - 30,
)
FRESH = replace(WELL, running=None, tips=Tips(), last=None, seen=None, rtt_ms={}, probed_at=0)
DOWN = replace(WELL, seen=seen(handshake=NOW - 1000), rtt_ms={})


MOVED = replace(
    WELL,
    seen=seen(endpoint=ALTERNATIVE),
    failover=Failover(
        watched={"bravo-key": Watched("bravo", "10.40.0.2", (str(PRIMARY), str(ALTERNATIVE)))},
        watches={"bravo-key": Watch(5000.0, endpoint=str(ALTERNATIVE), since=4000.0, switches=3)},
    ),
    uptime=5000.0,
)


def test_an_endpoint_that_the_failover_chose_is_told_with_its_time() -> None:
    (found,) = assemble(MOVED, NOW)["peers"]
    assert found["endpoint_source"] == "alternative"
    assert found["endpoint_since"] == timestamp(NOW - 1000)
    (roamed,) = assemble(replace(MOVED, seen=seen(endpoint=ROAMED)), NOW)["peers"]
    assert (roamed["endpoint_source"], roamed["endpoint_since"]) == ("roamed", None)


def test_an_address_of_a_name_that_was_resolved_is_told_from_a_roamed_one() -> None:
    named = peer("bravo", NAMED, PRIMARY)
    resolved = {str(NAMED): (str(ALTERNATIVE),)}
    assert endpoint_source(named, ALTERNATIVE, resolved) == "inventory"
    assert endpoint_source(named, PRIMARY, resolved) == "alternative"


def test_all_is_well() -> None:
    report = assemble(WELL, NOW)
    (found,) = report.pop("peers")
    assert report.pop("commit") == {
        "id": "a" * 40,
        "signer": "ann@example.com",
        "fingerprint": "SHA256:x",
        "subject": "subject a",
        "time": "2026-09-21T14:05:00Z",
    }
    last = {"time": "2026-09-21T14:12:50Z", "outcome": "in-sync", "reason": None}
    assert report.pop("last_sync") == last | {"commit": "a" * 40}
    who = {"node": "alpha", "interface": "wg0", "state": "in-sync", "generation": 3}
    nothing: dict[str, Any] = {"reasons": [], "quarantine": [], "drift": []}
    assert report == who | nothing | dict.fromkeys(
        ("candidate", "rotation", "exit", "exit_since", "hub", "hub_since")
    )
    assert found == {
        "name": "bravo",
        "public_key": "bravo-key",
        "endpoint": "192.0.2.1:51820",
        "endpoint_source": "inventory",
        "endpoint_since": None,
        "handshake_age_seconds": 10,
        "rx_bytes": 1000,
        "tx_bytes": 2000,
        "rtt_ms": 1.235,
        "state": "up",
    }


def test_not_joined_has_the_same_fields() -> None:
    report = status.not_joined()
    assert report.keys() == assemble(WELL, NOW).keys()
    assert report["state"] == "not-joined"
    assert report["peers"] == report["drift"] == report["quarantine"] == []
    assert report["commit"] is None
    assert report["reasons"]


@given(seconds=st.integers(1, 2**33))
def test_times_are_rfc_3339(seconds: int) -> None:
    shown = timestamp(seconds)
    assert shown is not None
    assert shown.endswith("Z")
    assert timestamp(0) is None, "never is null"
    assert datetime.fromisoformat(shown).timestamp() == seconds


# ---------------------------------------------------------------- states


def verdict(kind: str) -> Verdict:
    return Verdict(kind, "b" * 40, f"it is {kind}", "hint", NOW - 5)


CAUSES: dict[str, dict[str, Any]] = {
    "refused": {"verdict": verdict("refused")},
    "invalid": {"verdict": verdict("invalid")},
    "held": {"hold": Hold("moving", NOW - 5)},
    "rolled-back": {"verdict": verdict("rolled-back")},
    "removed": {"verdict": verdict("removed")},
    "pending": {"verdict": verdict("pending")},
    "degraded": {"drift": ("address 10.40.0.1/32: add",)},
}


def test_the_order_of_states_is_the_contracts() -> None:
    assert " ".join(status.STATES) == (
        "not-joined refused invalid held rolled-back removed pending degraded in-sync"
    )
    assert set(status.STATES) - status.ALARMS == {"not-joined", "held", "pending", "in-sync"}


@pytest.mark.parametrize("state", CAUSES)
def test_each_state(state: str) -> None:
    report = assemble(replace(WELL, **CAUSES[state]), NOW)
    assert report["state"] == state
    assert len(report["reasons"]) == 1


PAIRS = [
    (first, second)
    for first, second in itertools.permutations(CAUSES, 2)
    if not CAUSES[first].keys() & CAUSES[second].keys()
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_first_state_that_holds_is_shown_and_all_reasons(first: str, second: str) -> None:
    report = assemble(replace(WELL, **CAUSES[first], **CAUSES[second]), NOW)
    assert report["state"] == min(first, second, key=status.STATES.index)
    assert len(report["reasons"]) == 2


def test_everything_at_once() -> None:
    have = replace(DOWN, **CAUSES["invalid"], **CAUSES["held"], **CAUSES["degraded"])
    report = assemble(have, NOW)
    assert (report["state"], len(report["reasons"])) == ("invalid", 4)


def test_before_the_first_sync() -> None:
    report = assemble(FRESH, NOW)
    assert report["state"] == "pending"
    assert not any(report[name] for name in ("generation", "commit", "candidate", "last_sync"))
    assert report["peers"] == []


def test_a_generation_that_cannot_be_read_is_no_pending() -> None:
    # its manifest is damaged: something runs, and somebody must look
    damaged = replace(WELL, running=None, seen=None, drift=("gen-3/manifest.toml is damaged",))
    report = assemble(damaged, NOW)
    assert report["state"] == "degraded"
    assert report["state"] in status.ALARMS


@pytest.mark.parametrize(
    ("fetched", "state"), [(NOW - 3599, "in-sync"), (NOW - 3601, "degraded"), (0, "degraded")]
)
def test_stale(fetched: int, state: str) -> None:
    have = replace(WELL, last=LastSync(NOW - 30, "unreachable", "no answer", "", fetched))
    report = assemble(have, NOW)
    assert report["state"] == state
    assert len(report["reasons"]) == 1
    assert (report["last_sync"]["reason"], report["last_sync"]["commit"]) == ("no answer", None)


# ---------------------------------------------------------------- commits


def test_a_newer_tip_is_the_candidate() -> None:
    report = assemble(replace(WELL, tips=Tips(commit("b"), commit("a")), **CAUSES["held"]), NOW)
    assert report["commit"]["id"] == "a" * 40
    assert report["candidate"]["id"] == "b" * 40
    assert report["candidate"]["signer"] == "ann@example.com"


def test_a_refused_tip_has_no_signer() -> None:
    report = assemble(replace(WELL, **CAUSES["refused"]), NOW)
    nothing = dict.fromkeys(("signer", "fingerprint", "subject", "time"))
    assert report["candidate"] == {"id": "b" * 40, **nothing}


def test_a_refusal_says_what_to_do() -> None:
    hint = "in a clone, somebody signs:\ngit fetch origin && git push"
    refused = Verdict("refused", "b" * 40, "it is refused", hint, NOW - 5)
    report = assemble(replace(WELL, verdict=refused), NOW)
    assert report["reasons"] == [f"it is refused\n{hint}"]
    lines = status_text(report).splitlines()
    at = lines.index("it is refused")
    assert lines[at + 1 : at + 3] == hint.splitlines(), "as it is, to be pasted"
    other = assemble(replace(WELL, verdict=replace(refused, kind="invalid")), NOW)
    assert other["reasons"] == ["it is refused"]


ONE, TWO = "git://one.example/mesh.git", "git://two.example/mesh.git"
NEWEST = RemoteState(ONE, "newest", NOW - 500, "a" * 40)


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (RemoteState(TWO, "newest", NOW - 500, "a" * 40), ()),
        (RemoteState(TWO, "diverged", NOW - 500, "b" * 40), ()),  # the verdict says so
        (RemoteState(TWO, "behind", NOW - 500, "b" * 40), (TWO, "behind", "b" * 12)),
        (RemoteState(TWO, "silent", NOW - 500, "", "no route"), (TWO, "no route", "others do")),
    ],
)
def test_a_remote_that_others_stand_in_for(other: RemoteState, parts: tuple[str, ...]) -> None:
    report = assemble(replace(WELL, remotes=(NEWEST, other)), NOW)
    assert report["state"] == "in-sync", "it is no alarm, a fetch that is too old is"
    assert len(report["reasons"]) == bool(parts)
    for part in (*parts, timestamp(NOW - 500) or ""):
        assert not parts or part in report["reasons"][0]


def test_no_remote_stands_in_for_another_when_none_answers() -> None:
    away = (RemoteState(ONE, "silent", NOW - 500), RemoteState(TWO, "silent", NOW - 500))
    last = LastSync(NOW - 30, "unreachable", "no route", "", NOW - 300)
    report = assemble(replace(WELL, remotes=away, last=last), NOW)
    assert report["reasons"] == ["the last sync: no route"]


def test_quarantine_shows_what_blocks() -> None:
    blocking = Quarantined("d", "b" * 40, "subject b", "lost bravo", NOW - 60, NOW + 60, 1)
    by_hand = replace(blocking, digest="e", until=0)
    over = replace(blocking, digest="f", until=NOW - 1)
    report = assemble(replace(WELL, quarantine=(blocking, by_hand, over)), NOW)
    assert [entry["digest"] for entry in report["quarantine"]] == ["d", "e"]
    assert report["quarantine"][0]["until"] == timestamp(NOW + 60)
    assert report["quarantine"][1]["until"] is None


# ---------------------------------------------------------------- peers


@pytest.mark.parametrize(
    ("known", "current", "source"),
    [
        ((PRIMARY, ALTERNATIVE), None, None),
        ((PRIMARY, ALTERNATIVE), PRIMARY, "inventory"),
        ((PRIMARY, ALTERNATIVE), ALTERNATIVE, "alternative"),
        ((PRIMARY, ALTERNATIVE), ROAMED, "roamed"),
        ((PRIMARY,), replace(PRIMARY, port=1024), "roamed"),
        ((), ROAMED, "roamed"),
        ((PRIMARY, NAMED), PRIMARY, "inventory"),
        ((NAMED,), Endpoint("203.0.113.5", 51820), "inventory"),
        ((NAMED,), ROAMED, "roamed"),
        # what is known exactly is not guessed
        ((NAMED, ALTERNATIVE), ALTERNATIVE, "alternative"),
    ],
)
def test_endpoint_source(
    known: tuple[Endpoint, ...], current: Endpoint | None, source: str | None
) -> None:
    assert endpoint_source(peer("bravo", *known), current) == source


@pytest.mark.parametrize(
    ("age", "rtt", "probed", "state"),
    [
        (10, None, True, "up"),
        (10, None, False, "up"),
        (179, None, True, "up"),
        (180, None, True, "down"),
        (5000, None, True, "down"),
        (5000, 3.5, True, "up"),
        (None, 3.5, True, "up"),
        (None, None, True, "down"),
        (None, None, False, "unknown"),
    ],
)
def test_peer_state(age: int | None, rtt: float | None, probed: bool, state: str) -> None:
    assert peer_state(BRAVO, age, rtt, probed) == state
    sleepy = "up" if state == "up" else "expected-down"
    assert peer_state(replace(BRAVO, intermittent=True), age, rtt, probed) == sleepy
    assert peer_state(replace(BRAVO, managed=False), age, rtt, probed) == sleepy


def test_a_peer_that_is_down_degrades_and_a_laptop_that_sleeps_does_not() -> None:
    laptop = assemble(replace(DOWN, running=running(replace(BRAVO, intermittent=True))), NOW)
    assert (laptop["state"], laptop["peers"][0]["state"]) == ("in-sync", "expected-down")
    report = assemble(DOWN, NOW)
    assert report["state"] == "degraded"
    assert "bravo" in report["reasons"][0]
    assert report["peers"][0]["handshake_age_seconds"] == 1000
    assert report["peers"][0]["rtt_ms"] is None


def test_an_old_tick_says_nothing() -> None:
    old = replace(DOWN, rtt_ms={"bravo-key": 1.0}, probed_at=NOW - 3600)
    found = assemble(old, NOW)["peers"][0]
    assert found["rtt_ms"] is None
    assert found["state"] in ("down", "unknown")


def test_unknown_is_null() -> None:
    have = replace(WELL, seen=None, rtt_ms={}, probed_at=0)
    found = assemble(have, NOW)["peers"][0]
    assert found["state"] == "unknown"
    names = ("endpoint", "endpoint_source", "handshake_age_seconds", "rx_bytes", "tx_bytes")
    assert all(found[name] is None for name in (*names, "rtt_ms"))


def test_never_a_handshake() -> None:
    found = assemble(replace(DOWN, seen=seen(handshake=0, endpoint=None)), NOW)["peers"][0]
    assert found["handshake_age_seconds"] is None
    assert found["rx_bytes"] == 1000
    assert found["state"] == "down"


@pytest.mark.parametrize(
    "device", [Observed(KernelState(None)), seen(name="charlie")], ids=["no link", "no peer"]
)
def test_a_peer_that_the_device_lacks_is_not_up(device: Observed) -> None:
    # somebody removed it after the last tick
    assert assemble(replace(WELL, seen=device), NOW)["peers"][0]["state"] != "up"


def test_a_handshake_from_tomorrow_is_no_proof() -> None:
    # the clock was a day ahead, and has been set right; a second of skew is no matter
    near = replace(DOWN, seen=seen(handshake=NOW + 1))
    assert assemble(near, NOW)["peers"][0]["state"] == "up"
    have = replace(DOWN, seen=seen(handshake=NOW + 86_400))
    found = assemble(have, NOW)["peers"][0]
    assert found["state"] == "down"
    assert (found["handshake_age_seconds"] or 0) >= 0


# ---------------------------------------------------------------- the hub


@pytest.mark.parametrize(
    ("peers", "routes", "hub"),
    [
        ((BRAVO, peer("charlie", last=3)), (MESH,), None),
        ((peer("bravo", allowed=(MESH,)),), (MESH,), "bravo"),
        ((BRAVO, peer("charlie", allowed=(MESH,), last=3)), (MESH,), "charlie"),
        # a node that routes a network of its own is no hub
        ((peer("bravo", allowed=("192.168.5.0/24",)),), (MESH, "192.168.5.0/24"), None),
        ((), (), None),
    ],
)
def test_hub(peers: tuple[Peer, ...], routes: tuple[str, ...], hub: str | None) -> None:
    report = assemble(replace(WELL, running=running(*peers, routes=routes)), NOW)
    assert report["hub"] == hub


# ---------------------------------------------------------------- for people and programs


def test_no_secret_in_a_report() -> None:
    report = assemble(WELL, NOW)
    assert PRIVATE not in json.dumps(report)
    assert PRIVATE not in status_text(report)
    assert PRIVATE not in repr(WELL)


@pytest.mark.parametrize("state", CAUSES)
def test_text_says_the_state_and_why(state: str) -> None:
    report = assemble(replace(WELL, **CAUSES[state]), NOW)
    text = status_text(report)
    assert state in text
    assert report["reasons"][0] in text
    assert "bravo" in text
    assert "\033" not in text, "plain when piped"


def test_text_of_unknown_values() -> None:
    assert "pending" in status_text(assemble(FRESH, NOW))
    assert "join" in status_text(status.not_joined())
    blind = replace(WELL, seen=None, rtt_ms={}, probed_at=0)
    assert "unknown" in status_text(assemble(blind, NOW))
    never = replace(WELL, seen=seen(handshake=0, endpoint=None))
    assert "never" in status_text(assemble(never, NOW))


# ---------------------------------------------------------------- peers that are waited for

DUE = Awaited("bravo-key", "f" * 40, 0, NOW - 60)
LATE = replace(DUE, time=NOW - 151)  # two polls of 60 s, each with a random delay of up to 15 s


def test_a_peer_whose_end_has_to_change_as_well_may_be_down_for_two_polls() -> None:
    report = assemble(replace(DOWN, awaited=(DUE,)), NOW)
    assert (report["state"], report["reasons"]) == ("in-sync", [])
    assert report["peers"][0]["state"] == "expected-down"


def test_then_it_is_said_that_it_has_not_come() -> None:
    report = assemble(replace(DOWN, awaited=(LATE,)), NOW)
    assert (report["state"], report["peers"][0]["state"]) == ("degraded", "down")
    down, late = report["reasons"]
    assert down == "down: bravo"
    assert "bravo" in late and "f" * 12 in late and "applied" in late


def test_an_end_that_waits_by_order_has_longer() -> None:
    soaking = replace(LATE, soak_seconds=600)
    assert assemble(replace(DOWN, awaited=(soaking,)), NOW)["state"] == "in-sync"
    assert assemble(replace(DOWN, awaited=(soaking,)), NOW + 600)["state"] == "degraded"


def test_a_tip_that_waits_for_others_is_no_alarm() -> None:
    newer = replace(WELL, tips=Tips(commit("b"), commit("a"), "d"), soaks="b waits until noon")
    report = assemble(newer, NOW)
    assert (report["state"], report["reasons"]) == ("in-sync", ["b waits until noon"])
    assert report["candidate"]["id"] == "b" * 40
    held = replace(newer, hold=Hold("moving", NOW))
    assert assemble(held, NOW)["reasons"] == ["held: moving"]


@pytest.mark.parametrize(
    ("record", "part"),
    [
        (Rotation("k"), "rotate-key prints it again"),
        (Rotation("k", 1, 1), "waits for the next poll"),
        (Rotation("k", 1, 1, waiting=("bravo", "charlie")), "waits for bravo, charlie"),
        (Rotation("k", 1, 1, NOW), "goes on for peers that have not gone over yet"),
        (Rotation("k", 1, 1, NOW, behind=("bravo",)), "the old one goes on for bravo"),
        (Rotation("k", 1, 1, NOW, over=True), "rotate-key prints the last commit"),
    ],
)
def test_how_far_another_key_has_come_is_told_and_is_no_alarm(record: Rotation, part: str) -> None:
    report = assemble(replace(WELL, rotation=record), NOW)
    (reason,) = report["reasons"]
    assert report["state"] == "in-sync" and reason.startswith("key rotation: ") and part in reason
    switched = "2026-09-21T14:13:20Z" if record.switched else None
    assert report["rotation"]["next_public_key"] == "k"
    assert report["rotation"]["switched"] == timestamp(record.switched) == switched
    assert report["rotation"]["behind"] == list(record.behind)


def test_a_clock_that_was_set_back_makes_nobody_wait_for_ever() -> None:
    report = assemble(replace(DOWN, awaited=(replace(DUE, time=NOW + 9),)), NOW)
    assert report["state"] == "degraded"


@pytest.mark.parametrize(
    ("handshake", "rtt", "probed_at", "stays"),
    [
        (100, None, NOW, True),
        (0, None, NOW, True),
        (101, None, NOW, False),
        (99, None, NOW, False),
        (100, 1.0, NOW, False),
        (100, 1.0, DUE.time, True),
    ],
)
def test_who_has_come(handshake: int, rtt: float | None, probed_at: int, stays: bool) -> None:
    entry = replace(DUE, handshake=100)
    counters = {"bravo-key": PeerCounters(handshake, 5, 5)}
    rtts = {} if rtt is None else {"bravo-key": rtt}
    found = awaited.left((entry,), plan(BRAVO), counters, rtts, probed_at)
    assert found == ((entry,) if stays else ())


def test_who_is_no_peer_any_more_is_not_waited_for() -> None:
    assert awaited.left((DUE,), plan(), {}, {}, NOW) == ()


def test_another_change_begins_the_wait_anew() -> None:
    counters = {"bravo-key": PeerCounters(7, 5, 5)}
    other = replace(DUE, public_key="charlie-key")
    begun = awaited.begin((LATE, other), frozenset({"bravo-key"}), counters, "e" * 40, NOW)
    assert set(begun) == {other, Awaited("bravo-key", "e" * 40, 7, NOW)}


def test_a_peer_that_has_another_key_is_waited_for_when_it_was_up() -> None:
    live = {
        "bravo-key": PeerCounters(NOW - 100, 5, 5),
        "charlie-key": PeerCounters(NOW - 500, 5, 5),
    }
    old = plan(BRAVO, peer("charlie", last=3))
    new = plan(
        replace(BRAVO, public_key="new-bravo"),
        replace(peer("charlie", last=3), public_key="new-charlie"),
        peer("delta", last=4),
    )
    assert awaited.renamed_keys(old, new, live, NOW) == {"new-bravo"}
    assert awaited.renamed_keys(None, new, live, NOW) == frozenset()
    renamed = plan(replace(BRAVO, name="bob"))
    assert awaited.renamed_keys(old, renamed, live, NOW) == frozenset()
