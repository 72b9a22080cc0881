"""Is a change harmful: the table of the windows, what bytes prove, and the packets that ask."""

import struct
from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.judge import (
    Judgement,
    StrictPeer,
    Verdict,
    Windows,
    explained_by_handshakes,
    judge,
    proven,
    roles,
    shows_life,
)
from wgmesh.model.health import Health, PeerHealth, Proof
from wgmesh.model.kernel import PeerCounters
from wgmesh.model.plan import NodePlan, Peer
from wgmesh.model.terms import Address
from wgmesh.probe import checksum, echo_request

WAIT, CONFIRM, UNDO = Verdict.WAIT, Verdict.CONFIRM, Verdict.UNDO
ECHO, SILENT, NONE = Proof.ECHO, Proof.SILENT, Proof.NONE


def address(number: int) -> Address:
    return ip_address(f"10.40.0.{number}")


def strict(*proofs: Proof) -> tuple[StrictPeer, ...]:
    """Return one strict peer for each of `proofs`, with the keys k0, k1 and so on."""
    return tuple(
        StrictPeer(f"peer{n}", f"k{n}", proof, frozenset({address(n + 1)}))
        for n, proof in enumerate(proofs)
    )


def verdict(
    peers: tuple[StrictPeer, ...],
    lost: int,
    seconds: float,
    *,
    before: bool = False,
    now: bool | None = None,
) -> Verdict:
    """Return the verdict when the first `lost` of `peers` have shown nothing."""
    return judge(
        peers,
        frozenset(peer.public_key for peer in peers[lost:]),
        remote_before=before,
        remote_now=now,
        elapsed_seconds=seconds,
        windows=Windows(),
    ).verdict


ECHOES = strict(ECHO, ECHO, ECHO, ECHO)
SILENTS = strict(SILENT, SILENT, SILENT, SILENT)


@pytest.mark.parametrize(
    ("peers", "lost", "seconds", "expected"),
    [
        ((), 0, 0, CONFIRM),
        (ECHOES, 0, 0.1, CONFIRM),
        (ECHOES, 0, 44, CONFIRM),
        (SILENTS, 0, 3, CONFIRM),
        # half or more of them: three handshake retries, then back
        (ECHOES, 4, 0.1, WAIT),
        (ECHOES, 4, 15.9, WAIT),
        (ECHOES, 4, 16, UNDO),
        (ECHOES, 2, 15.9, WAIT),
        (ECHOES, 2, 16, UNDO),
        (ECHOES, 3, 17, UNDO),
        (ECHOES[:1], 1, 15.9, WAIT),
        (ECHOES[:1], 1, 16, UNDO),
        (ECHOES[:2], 1, 16, UNDO),
        # a minority: longer than a neighbour's own way back
        (ECHOES, 1, 16, WAIT),
        (ECHOES, 1, 26, WAIT),
        (ECHOES, 1, 44.9, WAIT),
        (ECHOES, 1, 45, UNDO),
        (ECHOES[:3], 1, 16, WAIT),
        (ECHOES[:3], 1, 45, UNDO),
        # silent peers are decided at 26 s
        (SILENTS, 4, 16, WAIT),
        (SILENTS, 4, 25.9, WAIT),
        (SILENTS, 4, 26, UNDO),
        (SILENTS, 2, 26, UNDO),
        (SILENTS, 1, 26, WAIT),
        (SILENTS, 1, 45, UNDO),
        # mixed: what cannot be told yet does not count as lost yet
        (strict(SILENT, SILENT, ECHO, ECHO), 2, 16, WAIT),
        (strict(SILENT, SILENT, ECHO, ECHO), 2, 26, UNDO),
        (strict(SILENT, ECHO, ECHO, ECHO), 2, 16, WAIT),
        (strict(SILENT, ECHO, ECHO, ECHO), 2, 26, UNDO),
        (strict(SILENT, ECHO), 2, 16, UNDO),
    ],
)
def test_windows(
    peers: tuple[StrictPeer, ...], lost: int, seconds: float, expected: Verdict
) -> None:
    assert verdict(peers, lost, seconds) is expected


@pytest.mark.parametrize(
    ("before", "now", "seconds", "expected"),
    [
        (False, None, 0.1, CONFIRM),
        (False, False, 20, CONFIRM),
        (True, True, 0.1, CONFIRM),
        (True, None, 0.1, WAIT),
        (True, False, 0.1, WAIT),
        (True, False, 15.9, WAIT),
        (True, None, 15.9, WAIT),
        (True, False, 16, UNDO),
        (True, False, 45, UNDO),
        (True, None, 45, UNDO),
        (True, True, 45, CONFIRM),
    ],
)
def test_remote(before: bool, now: bool | None, seconds: float, expected: Verdict) -> None:
    assert verdict(ECHOES, 0, seconds, before=before, now=now) is expected
    assert verdict((), 0, seconds, before=before, now=now) is expected


def test_a_remote_that_has_not_answered_by_16_s_is_lost() -> None:
    # A way that is cut swallows packets: the usual loss is no answer at all, not a refusal.
    assert verdict(ECHOES, 0, 16, before=True, now=None) is UNDO


def test_what_is_missed_is_told_with_the_verdict() -> None:
    def judged(lost: int, seconds: float, now: bool | None) -> Judgement:
        alive = frozenset(peer.public_key for peer in ECHOES[lost:])
        return judge(
            ECHOES,
            alive,
            remote_before=True,
            remote_now=now,
            elapsed_seconds=seconds,
            windows=Windows(),
        )

    most = judged(2, 16, True)
    assert (most.lost, most.remote_lost, most.suspects) == (ECHOES[:2], False, True)
    few = judged(1, 45, True)
    assert (few.lost, few.remote_lost) == (ECHOES[:1], False)
    remote = judged(0, 16, False)
    assert (remote.lost, remote.remote_lost, remote.suspects) == ((), True, True)
    assert not judged(0, 1, True).suspects and not Judgement(UNDO, "a command failed").suspects


def test_a_lost_remote_outweighs_a_minority() -> None:
    assert verdict(ECHOES, 1, 16, before=True, now=False) is UNDO


def test_windows_are_the_admins() -> None:
    judgement = judge(
        ECHOES,
        frozenset(),
        remote_before=False,
        remote_now=None,
        elapsed_seconds=5,
        windows=Windows(most_seconds=5, silent_seconds=6, minority_seconds=7),
    )
    assert judgement.verdict is UNDO


def test_reasons_name_what_was_lost() -> None:
    many = strict(*[ECHO] * 8)
    judgement = judge(
        many,
        frozenset(),
        remote_before=False,
        remote_now=None,
        elapsed_seconds=16,
        windows=Windows(),
    )
    assert "8 of 8" in judgement.reason
    assert "peer0" in judgement.reason
    assert "peer4" in judgement.reason
    assert "peer5" not in judgement.reason
    assert (
        "remote"
        in judge(
            (),
            frozenset(),
            remote_before=True,
            remote_now=False,
            elapsed_seconds=16,
            windows=Windows(),
        ).reason
    )


@given(
    proofs=st.lists(st.sampled_from([ECHO, SILENT]), max_size=8),
    data=st.data(),
    before=st.booleans(),
    now=st.sampled_from([None, True, False]),
    early=st.floats(0, 60),
    later=st.floats(0, 60),
)
def test_a_verdict_only_hardens_with_time(
    proofs: list[Proof],
    data: st.DataObject,
    before: bool,
    now: bool | None,
    early: float,
    later: float,
) -> None:
    peers = strict(*proofs)
    lost = data.draw(st.integers(0, len(peers)))
    first, second = sorted((early, later))
    at_first = verdict(peers, lost, first, before=before, now=now)
    at_second = verdict(peers, lost, second, before=before, now=now)
    whole = lost == 0 and (not before or now is True)
    assert (at_first is CONFIRM) == (at_second is CONFIRM) == whole
    if at_first is UNDO:
        assert at_second is UNDO
    if not whole and second >= 45:
        assert at_second is UNDO
    if first < 16:
        assert at_first is not UNDO


# ---------------------------------------------------------------- who counts


def plan(*peers: Peer, addresses: tuple[str, ...] = ("10.40.0.1/32", "fd40::1/128")) -> NodePlan:
    return NodePlan(
        node="alpha",
        interface="wg0",
        public_key="me",
        private_key_path="/etc/wireguard/wg0.key",
        addresses=tuple(map(ip_interface, addresses)),
        listen_port=51820,
        mtu=1420,
        peers=peers,
        routes=(),
    )


def peer(key: str, *, intermittent: bool = False, managed: bool = True) -> Peer:
    return Peer(key, key, (address(9),), (), intermittent=intermittent, managed=managed)


ECHOED = frozenset({address(9)})
UP = PeerHealth(ECHO, 1.0, ECHOED)


def test_strict_is_up_before_and_works_whatever_its_end_runs() -> None:
    baseline = Health(
        {
            "untouched": UP,
            "quiet": PeerHealth(SILENT),
            "down": PeerHealth(NONE),
            "fits": UP,
            "soon": UP,
            "late": UP,
            "waits": UP,
            "laptop": UP,
            "phone": UP,
            "removed": UP,
        }
    )
    touched = {"fits", "soon", "late", "waits", "down", "laptop", "phone", "new"}
    found = roles(
        plan(
            peer("untouched"),
            peer("quiet"),
            peer("down"),
            peer("fits"),
            peer("soon"),
            peer("late"),
            peer("waits"),
            peer("laptop", intermittent=True),
            peer("phone", managed=False),
            peer("new"),
        ),
        baseline,
        touched,
        {"fits": 0, "soon": 10, "late": 25, "waits": None, "laptop": 0, "phone": 0},
    )
    assert [(one.public_key, one.proof, one.echoed) for one in found.strict] == [
        ("untouched", ECHO, ECHOED),
        ("quiet", SILENT, frozenset()),
        ("fits", ECHO, ECHOED),
        ("soon", ECHO, ECHOED),
    ]
    assert found.coordinated == {"late", "waits"}


def test_who_is_touched_and_not_spoken_of_waits() -> None:
    found = roles(plan(peer("p")), Health({"p": UP}), {"p"}, {})
    assert not found.strict and found.coordinated == {"p"}


def test_a_family_that_this_node_gives_up_is_no_loss() -> None:
    six = ip_address("fd40::9")
    baseline = Health(
        {
            "both": PeerHealth(ECHO, 1.0, ECHOED | {six}),
            "six": PeerHealth(ECHO, 1.0, frozenset({six})),
        }
    )
    found = roles(plan(peer("both"), peer("six"), addresses=("10.40.0.1/32",)), baseline, (), {})
    assert [(one.public_key, one.echoed) for one in found.strict] == [("both", ECHOED)]
    assert found.coordinated == {"six"}


def test_proof_is_of_the_kind_given_before() -> None:
    one, two = address(1), address(2)
    both = StrictPeer("p", "k", ECHO, frozenset({one, two}))
    assert proven(both, frozenset({one, two}), False)
    assert not proven(both, frozenset({one}), True)
    assert not proven(both, frozenset(), True)
    quiet = StrictPeer("p", "k", SILENT)
    assert proven(quiet, frozenset(), True)
    assert proven(quiet, frozenset({one}), False)
    assert not proven(quiet, frozenset(), False)


# ---------------------------------------------------------------- what bytes prove


def sums_of_handshakes(limit: int) -> frozenset[int]:
    """Return every sum of 148, 92 and 64 up to `limit`."""
    reached = {0}
    for size in (148, 92, 64):
        for total in range(size, limit + 1):
            if total - size in reached:
                reached.add(total)
    return frozenset(reached)


SUMS = sums_of_handshakes(999)


@given(st.integers(-1000, 999))
def test_doubtful_growth_is_compared_with_every_sum_of_handshakes(growth: int) -> None:
    assert explained_by_handshakes(growth) == (growth <= 0 or growth in SUMS)


def test_a_passive_keepalive_is_no_handshake() -> None:
    assert not explained_by_handshakes(32)
    assert not explained_by_handshakes(148 + 32)
    assert not explained_by_handshakes(92 + 32)


@given(st.integers(10_000, 2**40))
def test_bulk_traffic_is_life(growth: int) -> None:
    assert not explained_by_handshakes(growth)


@pytest.mark.parametrize("initiations", range(1, 10))
def test_nobody_lives_by_asking_for_a_handshake(initiations: int) -> None:
    # A peer that hears nothing of us sends an initiation every 5 s (REKEY_TIMEOUT): 9 in 45 s.
    assert explained_by_handshakes(initiations * 148)


def test_life() -> None:
    before = PeerCounters(latest_handshake=100, rx_bytes=5000, tx_bytes=5000)
    assert not shows_life(before, before)
    assert not shows_life(before, None)
    assert not shows_life(None, None)
    assert shows_life(before, PeerCounters(101, 5000, 5000))
    assert shows_life(before, PeerCounters(99, 5000, 5000)), "the wall clock may be set back"
    assert shows_life(before, PeerCounters(100, 5032, 5000))
    assert not shows_life(before, PeerCounters(100, 5148, 5000))
    assert not shows_life(before, PeerCounters(100, 5000, 9999)), "what we send proves nothing"


def test_life_after_the_peer_was_made_anew() -> None:
    before = PeerCounters(latest_handshake=100, rx_bytes=5000, tx_bytes=5000)
    assert not shows_life(before, PeerCounters(0, 0, 0))
    assert not shows_life(before, PeerCounters(0, 148, 0)), "an initiation alone"
    assert shows_life(before, PeerCounters(0, 180, 0)), "and a keepalive"
    assert shows_life(before, PeerCounters(160, 92, 148))
    assert not shows_life(None, PeerCounters(0, 0, 148))
    assert shows_life(None, PeerCounters(160, 92, 148))


# ---------------------------------------------------------------- packets


def test_checksum_of_the_rfc() -> None:
    # RFC 1071, section 3: the sum is ddf2
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF
    assert checksum(b"") == 0xFFFF


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_echo_request(identifier: int, sequence: int) -> None:
    four = echo_request(4, identifier, sequence)
    kind, code, _, *rest = struct.unpack("!BBHHH", four[:8])
    assert (kind, code, rest) == (8, 0, [identifier, sequence])
    assert checksum(four) == 0, "a right packet sums to zero"
    six = echo_request(6, identifier, sequence)
    assert struct.unpack("!BBHHH", six[:8]) == (128, 0, 0, identifier, sequence)


@given(st.binary(max_size=99))
def test_checksum_pads_with_zero(data: bytes) -> None:
    assert checksum(data) == checksum(data + b"\0" * (len(data) % 2))
