"""Endpoint, hub and exit choice with hysteresis: pure in what was seen, what was before, and now.

Times are seconds of one clock that does not jump. Endpoints are spelled as `wg` shows them. It
imports nothing of ours: a tick that finds nothing to do is paid every few seconds on every node.
"""

from collections.abc import Sequence
from dataclasses import replace

from wgmesh.frozen import frozen

SILENT_SECONDS = 15.0
LOST_PROBES = 3
"""Down: as many probes lost, and nothing received for so long."""

TRY_SECONDS = 10.0
INSIST_SECONDS = 5.0
PATIENT_TRY_SECONDS = 60.0
IMPATIENT_ROUNDS = 2
"""How long a candidate has to show life; for how long a trial of the primary that the peer undoes
is repeated; after how many rounds of all candidates each has how long."""

FAILBACK_SECONDS = 600.0
MOST_DOUBLINGS = 7
PROVEN_SECONDS = 3600.0
"""How long an alternative was well before the primary is tried again, doubled by each failure;
a primary that then stays well for an hour is forgiven."""

DWELL_SECONDS = 600.0
BETTER_SECONDS = 300.0
BETTER_RATIO = 0.8
BETTER_MS = 10.0
"""A living way is left for another one not before, when that was better for so long, by both."""

SMOOTHING = 1 / 8
"""Of round trips, as in RFC 6298, section 2."""

LOSS_SMOOTHING = 1 / 64
LOSS_MS = 200.0
"""What a way that loses everything costs on top of its round trip. Slowly smoothed: one probe that
is lost among fifty must not look like a longer way."""


@frozen
class Watch:
    """What is remembered of one peer's endpoint.

    `alive`: when it last showed life (first seen, if never). `endpoint` is our choice and `since`
    when it was made; "" leaves the device's own. `good` is the last that worked; `tried` what
    this outage has tried, in its round number `rounds`. `back` is where a trial of the primary
    came from; `well` since when the choice is without a gap, `failures` counts failed trials,
    `returned` is when the last one succeeded. `switches` only grows.
    """

    alive: float
    lost: int = 0
    endpoint: str = ""
    since: float = 0.0
    good: str = ""
    tried: tuple[str, ...] = ()
    rounds: int = 0
    back: str = ""
    well: float = 0.0
    failures: int = 0
    returned: float = 0.0
    switches: int = 0


@frozen
class Look:
    """One look at a peer: whether it showed life since the look before, and where it is now."""

    alive: bool
    endpoint: str


@frozen
class Step:
    """What follows from a look: `move` is the endpoint to set, "" none.

    `pending`: the next look decides something, so it should be soon.
    """

    watch: Watch
    move: str = ""
    pending: bool = False


def candidates(addresses: Sequence[Sequence[str]], good: str) -> list[str]:
    """Return where a peer may be found, best first: `addresses` are those of each endpoint.

    The first of each comes before the others of any, since these often share its fate; `good`,
    where it last worked, is the last resort.
    """
    firsts = [every[0] for every in addresses if every]
    others = [each for every in addresses for each in every[1:]]
    return list(dict.fromkeys([*firsts, *others, *([good] if good else [])]))


def endpoint(
    watch: Watch, look: Look, candidates: Sequence[str], primary: Sequence[str], now: float
) -> Step:
    """Return the next step for a peer whose endpoint may be any of `candidates`, best first.

    `primary` are those of them that the inventory names first. A peer that shows life is never
    moved, but for one trial of the primary after ten good minutes; it may have roamed.
    """
    if watch.back:
        return _trial(watch, look, now)
    if look.alive:
        return _well(watch, look, primary, now)
    watch = replace(watch, lost=watch.lost + 1, well=0.0)
    if not _given_up(watch, now):
        return Step(watch, pending=_hopes(watch, look, candidates))
    if watch.returned:
        again = now - watch.returned < PROVEN_SECONDS
        watch = replace(watch, returned=0.0, failures=watch.failures + again)
    tried = (*watch.tried, look.endpoint)
    left = [each for each in candidates if each not in tried]
    rounds = watch.rounds
    if not left:
        left = [each for each in candidates if each != look.endpoint]
        tried, rounds = (look.endpoint,), rounds + 1
    watch = replace(watch, tried=tried, rounds=rounds)
    if not left:
        return Step(watch)
    return _moved(watch, left[0], now, pending=rounds == 0)


def _given_up(watch: Watch, now: float) -> bool:
    """Return whether the endpoint in force has had its time."""
    if watch.since > watch.alive:
        impatient = watch.rounds < IMPATIENT_ROUNDS
        return now - watch.since >= (TRY_SECONDS if impatient else PATIENT_TRY_SECONDS)
    return watch.lost >= LOST_PROBES and now - watch.alive >= SILENT_SECONDS


def _hopes(watch: Watch, look: Look, candidates: Sequence[str]) -> bool:
    """Return whether waiting leads to a choice: a first round, and another candidate."""
    return watch.rounds == 0 and any(each != look.endpoint for each in candidates)


def _moved(watch: Watch, target: str, now: float, *, pending: bool) -> Step:
    moved = replace(watch, endpoint=target, since=now, switches=watch.switches + 1)
    return Step(moved, target, pending)


def _well(watch: Watch, look: Look, primary: Sequence[str], now: float) -> Step:
    chosen = watch.endpoint if watch.endpoint == look.endpoint else ""
    watch = replace(
        watch,
        alive=now,
        lost=0,
        tried=(),
        rounds=0,
        good=look.endpoint,
        endpoint="" if chosen in primary else chosen,
        well=watch.well or now,
    )
    if watch.returned and now - watch.returned >= PROVEN_SECONDS:
        watch = replace(watch, returned=0.0, failures=0)
    wait = FAILBACK_SECONDS * 2 ** min(watch.failures, MOST_DOUBLINGS)
    due = now - max(watch.well, watch.since) >= wait
    if watch.endpoint and primary and due:
        return _moved(replace(watch, back=look.endpoint), primary[0], now, pending=True)
    return Step(watch)


def _trial(watch: Watch, look: Look, now: float) -> Step:
    """Judge the primary: whatever comes from the peer moves the endpoint to where it came from."""
    there = look.endpoint == watch.endpoint
    if there and look.alive:
        done = replace(watch, alive=now, lost=0, back="", endpoint="", good=look.endpoint)
        return Step(replace(done, returned=now, well=now))
    failed = replace(watch, back="", failures=watch.failures + 1, well=0.0)
    if not there:
        if now - watch.since < INSIST_SECONDS:  # a packet that was under way has undone it
            return Step(watch, watch.endpoint, pending=True)
        return Step(replace(failed, endpoint=look.endpoint, since=now))
    if now - watch.since >= TRY_SECONDS:
        return _moved(failed, watch.back, now, pending=False)
    return Step(replace(watch, lost=watch.lost + 1), pending=True)


# ---------------------------------------------------------------- hubs and exits


@frozen
class Life:
    """What is remembered of a hub or an exit: `alive` is when it last worked, 0 never.

    `rtt_ms` and `loss` (0 to 1) are smoothed; `rtt_ms` 0 is not known.
    """

    alive: float = 0.0
    lost: int = 0
    rtt_ms: float = 0.0
    loss: float = 0.0

    @property
    def cost_ms(self) -> float:
        """Return what it is ranked by: round trip and loss in one."""
        return self.rtt_ms + LOSS_MS * self.loss


def heard(life: Life, rtt_ms: float | None, now: float, *, works: bool) -> Life:
    """Return `life` after one look: whether it works, and its round trip if one was measured."""
    loss = life.loss + LOSS_SMOOTHING * ((not works) - life.loss)
    if not works:
        return replace(life, lost=life.lost + 1, loss=loss)
    smooth = life.rtt_ms
    if rtt_ms is not None:
        smooth = smooth + SMOOTHING * (rtt_ms - smooth) if smooth else rtt_ms
    return Life(alive=now, lost=0, rtt_ms=smooth, loss=loss)


def eligible(life: Life, now: float) -> bool:
    """Return whether it has worked, and is not down since."""
    down = life.lost >= LOST_PROBES and now - life.alive >= SILENT_SECONDS
    return life.alive > 0 and not down


def doubtful(life: Life, now: float) -> bool:
    """Return whether the next looks decide if it is down."""
    return eligible(life, now) and life.lost > 0


@frozen
class Standing:
    """The way in force: "" none. `rival` is better since `rival_since`. `switches` only grows."""

    chosen: str = ""
    since: float = 0.0
    rival: str = ""
    rival_since: float = 0.0
    switches: int = 0


@frozen
class Way:
    """One hub or exit to choose from; the order of several is their rank where that decides."""

    name: str
    eligible: bool
    cost_ms: float


def way(
    ways: Sequence[Way], standing: Standing, now: float, *, by_order: bool, override: str = ""
) -> Standing:
    """Return the way to have in force, the old one where nothing speaks against it.

    Only eligible ones are chosen; of them an `override` first, else the first in order
    (`by_order`), else the cheapest. One in force that is eligible no more is left at once, a good
    one only for what was better for five minutes, and not within ten of its choice.
    """
    open_ways = {each.name: each for each in ways if each.eligible}
    if not open_ways:
        return _chosen(standing, "", now)
    if override in open_ways:
        return _chosen(standing, override, now)
    order = [each.name for each in ways]

    def rank(each: Way) -> tuple[float, int]:
        return (0.0 if by_order else each.cost_ms, order.index(each.name))

    best = min(open_ways.values(), key=rank)
    current = open_ways.get(standing.chosen)
    if current is None:
        return _chosen(standing, best.name, now)

    def better(each: Way) -> bool:
        if by_order:
            return order.index(each.name) < order.index(current.name)
        gain = current.cost_ms - each.cost_ms
        return gain >= BETTER_MS and each.cost_ms <= BETTER_RATIO * current.cost_ms

    rival = open_ways.get(standing.rival)
    if rival is None or not better(rival):
        rival = best if better(best) else None
    if rival is None:
        return replace(standing, rival="", rival_since=0.0)
    if rival.name != standing.rival:
        return replace(standing, rival=rival.name, rival_since=now)
    ripe = now - standing.rival_since >= BETTER_SECONDS and now - standing.since >= DWELL_SECONDS
    return _chosen(standing, rival.name, now) if ripe else standing


def _chosen(standing: Standing, name: str, now: float) -> Standing:
    if name == standing.chosen:
        return replace(standing, rival="", rival_since=0.0)
    return Standing(name, now, switches=standing.switches + 1)
