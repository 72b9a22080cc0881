"""Endpoint, hub and exit choice: what the rules promise, for whatever a network does."""

import random
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from wgmesh.select import (
    BETTER_SECONDS,
    DWELL_SECONDS,
    FAILBACK_SECONDS,
    INSIST_SECONDS,
    LOST_PROBES,
    PATIENT_TRY_SECONDS,
    SILENT_SECONDS,
    TRY_SECONDS,
    Life,
    Look,
    Standing,
    Step,
    Watch,
    Way,
    doubtful,
    eligible,
    endpoint,
    heard,
    way,
)

PRIMARY, SIX, OTHER = "192.0.2.1:51820", "[2001:db8::1]:51820", "192.0.2.2:51820"
ALL = (PRIMARY, OTHER, SIX)
DAY = 24 * 3600


class Peer:
    """A peer, its device, and an idea of which of its addresses work."""

    def __init__(self, *, candidates: tuple[str, ...] = ALL, start: float = 1000.0) -> None:
        self.candidates = candidates
        self.now = start
        self.endpoint = PRIMARY
        self.watch = Watch(alive=start)
        self.moves: list[tuple[float, str]] = []

    def look(self, *works: str, wait: float = 1.0) -> Step:
        """Let time pass, look, and do what follows."""
        self.now += wait
        primary = [each for each in (PRIMARY, SIX) if each in self.candidates]
        look = Look(self.endpoint in works, self.endpoint)
        step = endpoint(self.watch, look, self.candidates, primary, self.now)
        self.watch = step.watch
        if step.move:
            self.endpoint = step.move
            self.moves.append((self.now, step.move))
        return step

    def spend(self, seconds: float, *works: str, wait: float = 10.0) -> None:
        """Look every few seconds for so long."""
        end = self.now + seconds
        while self.now < end:
            self.look(*works, wait=wait)


# ---------------------------------------------------------------- endpoints


def test_a_dead_endpoint_is_left_after_three_probes_and_fifteen_seconds() -> None:
    peer = Peer()
    peer.look(PRIMARY)
    dead_since = peer.now
    while not peer.moves:
        step = peer.look(OTHER)
        assert step.pending
    assert peer.moves == [(dead_since + SILENT_SECONDS, OTHER)]
    assert peer.look(OTHER) == Step(peer.watch)
    assert (peer.watch.endpoint, peer.watch.good) == (OTHER, OTHER)


def test_fifteen_seconds_alone_are_no_evidence() -> None:
    peer = Peer()
    peer.look(PRIMARY)
    peer.look(OTHER, wait=60)
    peer.look(OTHER)
    assert not peer.moves
    peer.look(OTHER)
    assert [move for _, move in peer.moves] == [OTHER]


def test_each_candidate_has_ten_seconds_then_all_again_and_then_more_patience() -> None:
    peer = Peer()
    peer.spend(400, wait=1)
    times = [at for at, _ in peer.moves]
    assert [move for _, move in peer.moves[:3]] == [OTHER, SIX, PRIMARY]
    assert {move for _, move in peer.moves[3:6]} == set(ALL)
    gaps = [after - before for before, after in pairwise(times)]
    assert set(gaps[:3]) == {TRY_SECONDS}
    assert set(gaps[-3:]) == {PATIENT_TRY_SECONDS}


def test_a_peer_with_one_address_is_never_moved() -> None:
    peer = Peer(candidates=(PRIMARY,))
    peer.spend(300, wait=1)
    assert not peer.moves
    assert not peer.look().pending


def test_a_living_peer_that_roamed_stays_where_it_is() -> None:
    peer = Peer()
    peer.endpoint = "203.0.113.9:1024"
    peer.spend(2 * DAY, peer.endpoint, wait=60)
    assert not peer.moves
    peer.spend(60, PRIMARY, wait=1)
    assert [move for _, move in peer.moves] == [PRIMARY]


def test_the_primary_is_tried_again_after_ten_good_minutes() -> None:
    peer = Peer()
    peer.spend(30, OTHER, wait=1)
    chosen, _ = peer.moves.pop()
    peer.spend(FAILBACK_SECONDS + 20, OTHER, PRIMARY)
    assert [move for _, move in peer.moves] == [PRIMARY]
    assert peer.moves[0][0] - chosen >= FAILBACK_SECONDS
    peer.spend(DAY, OTHER, PRIMARY, wait=60)
    assert len(peer.moves) == 1
    assert peer.watch.endpoint == ""


def test_a_failed_trial_is_undone_in_ten_seconds_and_repeated_ever_more_seldom() -> None:
    peer = Peer()
    peer.spend(30, OTHER, wait=1)
    peer.moves.clear()
    peer.spend(DAY / 4, OTHER, wait=1)
    trials = [at for at, move in peer.moves if move == PRIMARY]
    undone = [at for at, move in peer.moves if move == OTHER]
    assert len(trials) == len(undone)
    assert {back - there for there, back in zip(trials, undone, strict=True)} == {TRY_SECONDS}
    waits = [later - earlier for earlier, later in pairwise(trials)]
    assert all(later > 1.9 * earlier for earlier, later in pairwise(waits))


def test_a_trial_that_the_peer_itself_ends_needs_no_undoing() -> None:
    """What the peer sends from the other address moves the device's endpoint back to it."""
    peer = Peer()
    peer.spend(30, OTHER, wait=1)
    while peer.endpoint != PRIMARY:
        peer.look(OTHER, wait=10)
    began = peer.now
    while peer.watch.back:
        peer.endpoint = OTHER
        peer.look(OTHER)
    assert peer.now - began == INSIST_SECONDS
    assert peer.endpoint == OTHER
    assert (peer.watch.failures, peer.watch.endpoint, peer.watch.back) == (1, OTHER, "")


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_flapping_primary_is_returned_to_once_in_ten_minutes_at_most(seed: int) -> None:
    dice = random.Random(seed)
    peer = Peer()
    up = True
    while peer.now < DAY / 2:
        if dice.random() < 0.03:
            up = not up
        peer.look(*([PRIMARY] if up else []), OTHER, wait=dice.choice([1, 5, 10]))
    returns = [at for at, move in peer.moves if move == PRIMARY]
    assert all(b - a >= FAILBACK_SECONDS for a, b in pairwise(returns))


LOOKS = st.lists(
    st.tuples(st.sets(st.sampled_from(ALL)), st.sampled_from([1.0, 3.0, 10.0])), max_size=200
)


@given(LOOKS, st.booleans())
@settings(deadline=None)
def test_no_living_endpoint_is_touched_but_for_a_trial(
    looks: list[tuple[set[str], float]], roams: bool
) -> None:
    peer = Peer()
    for works, wait in looks:
        if roams and len(works) == 1:
            peer.endpoint = f"203.0.113.{len(looks) % 200}:1"
        lived = peer.endpoint in works
        before = peer.watch
        step = peer.look(*works, wait=wait)
        if lived and step.move:
            assert step.move == PRIMARY and step.watch.back
            assert peer.now - before.since >= FAILBACK_SECONDS
        assert step.move in ("", *ALL)


@given(LOOKS)
@settings(deadline=None)
def test_a_dead_endpoint_is_left_as_soon_as_it_may_be(looks: list[tuple[set[str], float]]) -> None:
    peer = Peer()
    for works, wait in looks:
        peer.look(*works, wait=wait)
    peer.look(peer.endpoint)
    peer.look(peer.endpoint)  # a trial, if there was one, is over
    start, there = peer.now, peer.endpoint
    alive = [each for each in ALL if each != there]
    while peer.endpoint == there:
        peer.look(*alive)
        assert peer.now - start <= SILENT_SECONDS
    assert peer.moves[-1][1] in alive


# ---------------------------------------------------------------- hubs and exits

NAMES = ("alpha", "bravo", "charlie")
COSTS = st.floats(1, 300)
WAYS = st.tuples(*(st.builds(Way, st.just(name), st.booleans(), COSTS) for name in NAMES))
SERIES = st.lists(st.tuples(WAYS, st.sampled_from([1.0, 10.0, 60.0])), min_size=1, max_size=80)
OVERRIDES = st.sampled_from(["", "bravo", "nobody"])


@given(SERIES, st.booleans(), OVERRIDES)
def test_only_what_is_eligible_is_chosen_and_the_dwell_holds(
    series: list[tuple[tuple[Way, ...], float]], by_order: bool, override: str
) -> None:
    now, standing = 1000.0, Standing()
    for ways, wait in series:
        now += wait
        before = standing
        standing = way(ways, standing, now, by_order=by_order, override=override)
        open_names = {each.name for each in ways if each.eligible}
        assert standing.chosen in open_names or (standing.chosen == "" and not open_names)
        if override in open_names:
            assert standing.chosen == override
        elif before.chosen in open_names and standing.chosen != before.chosen:
            assert now - before.since >= DWELL_SECONDS
            assert before.rival == standing.chosen
            assert now - before.rival_since >= BETTER_SECONDS
        assert standing.switches == before.switches + (standing.chosen != before.chosen)


def test_a_dead_way_is_left_at_once_and_the_last_one_leaves_none() -> None:
    ways = [Way("alpha", True, 10), Way("bravo", True, 90)]
    standing = way(ways, Standing(), 0, by_order=False)
    assert standing.chosen == "alpha"
    standing = way([replace(ways[0], eligible=False), ways[1]], standing, 1, by_order=False)
    assert standing.chosen == "bravo"
    standing = way([replace(each, eligible=False) for each in ways], standing, 2, by_order=False)
    assert standing.chosen == ""


def test_an_earlier_way_is_returned_to_after_five_minutes_of_life_and_ten_of_dwell() -> None:
    ways = [Way("alpha", True, 90), Way("bravo", True, 10)]
    standing = Standing("bravo", since=0)
    for now in range(0, 2000, 10):
        standing = way(ways, standing, now, by_order=True)
        if standing.chosen == "alpha":
            break
    assert now == DWELL_SECONDS


def test_a_little_better_is_not_enough() -> None:
    for other in (81.0, 89.0, 99.0):
        ways = [Way("alpha", True, 100), Way("bravo", True, other)]
        standing = Standing("alpha", since=0)
        for now in range(0, 5000, 10):
            standing = way(ways, standing, now, by_order=False)
        assert standing.chosen == "alpha"
    near = [Way("alpha", True, 12), Way("bravo", True, 3)]  # a quarter, but 9 ms only
    standing = Standing("alpha", since=0)
    for now in range(0, 5000, 10):
        standing = way(near, standing, now, by_order=False)
    assert standing.chosen == "alpha"


def test_a_way_is_eligible_from_its_first_life_until_it_is_down() -> None:
    life = Life()
    assert not eligible(life, 5)
    life = heard(life, 12.0, 10, works=True)
    assert eligible(life, 10) and not doubtful(life, 10)
    for count in range(1, LOST_PROBES + 1):
        life = heard(life, None, 10 + count, works=False)
        assert eligible(life, 10 + count) and doubtful(life, 10 + count)
    assert not eligible(life, 10 + SILENT_SECONDS)
    assert life.cost_ms > 12.0
    assert eligible(heard(life, 12.0, 40, works=True), 40)


def simulate(seed: int, means: dict[str, float], spread: float, loss: float) -> list[str]:
    """Return what a node chooses over a day of round trips with jitter and loss, tick by tick."""
    dice = random.Random(seed)
    lives = dict.fromkeys(means, Life())
    standing, chosen = Standing(), []
    for now in range(10, DAY, 10):
        for name, mean in means.items():
            works = dice.random() >= loss
            rtt = max(0.5, dice.gauss(mean, spread) + dice.expovariate(1 / spread))
            lives[name] = heard(lives[name], rtt if works else None, now, works=works)
        ways = [Way(name, eligible(life, now), life.cost_ms) for name, life in lives.items()]
        standing = way(ways, standing, now, by_order=False)
        chosen.append(standing.chosen)
    return chosen


def switches(chosen: list[str]) -> int:
    """Return how often the choice changed."""
    return sum(one != other for one, other in pairwise(chosen))


def test_a_day_of_jitter_between_equals_does_not_flap() -> None:
    for seed in range(4):
        means = dict.fromkeys(NAMES, 50.0)
        assert switches(simulate(seed, means, spread=15.0, loss=0.0)) == 0
        assert switches(simulate(seed, means, spread=15.0, loss=0.02)) == 0


def test_the_nearer_one_is_found_and_kept_for_a_day() -> None:
    for seed in range(4):
        means = {"alpha": 80.0, "bravo": 40.0, "charlie": 120.0}
        chosen = simulate(seed, means, spread=10.0, loss=0.01)
        assert switches(chosen) <= 1
        assert set(chosen[DAY // 20 :]) == {"bravo"}
