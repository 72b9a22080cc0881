"""Does what worked before still work? Baseline and proof, by packets and by counters."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from wgmesh import linux, probe
from wgmesh.frozen import frozen
from wgmesh.judge import (
    Judgement,
    StrictPeer,
    Verdict,
    Windows,
    judge,
    proven,
    shows_life,
)
from wgmesh.model.health import Health, PeerHealth, Proof
from wgmesh.model.kernel import Observed, PeerCounters
from wgmesh.model.numbers import SESSION_SECONDS
from wgmesh.model.plan import NodePlan
from wgmesh.model.terms import Address

BASELINE_SECONDS = 6
RETRY_SECONDS = 7  # a handshake that was lost is sent again after 5 s (REKEY_TIMEOUT) and jitter

_SECONDS_AWAITED = 5

Fits = Callable[[frozenset[str], frozenset[str]], Mapping[str, int | None]]
"""See Trial.fits."""


@frozen
class Trial:
    """How a change is proved.

    `fits` is asked about the peers whose tunnel the change alters, and of those about the ones
    whose preshared key it alters: after how many seconds do they work by themselves, None when they
    wait for the other end. `remote` asks the git remote and says whether it answered,
    `remote_before` whether it did at baseline. `doubtful` were lost in an attempt before and did
    not come back when that was undone: only a sign of life counts for them. `another_key`: this
    node gets another key, which only a new handshake proves.
    """

    plan: NodePlan
    fits: Fits
    remote: Callable[[], bool]
    remote_before: bool
    windows: Windows
    doubtful: frozenset[str] = frozenset()
    another_key: bool = False


def measure(plan: NodePlan, observed: Observed, doubtful: Collection[str] = ()) -> Health:
    """Return the health of the peers of `plan` that the device has now, within 6 s.

    A peer that does not echo is silent-but-alive when its counters moved meanwhile or its last
    handshake is younger than a session can be; the latter says nothing of the `doubtful` ones.
    """
    link = observed.state.link
    if link is None:
        return Health({})
    targets = {
        peer.public_key: peer.addresses for peer in plan.peers if peer.public_key in link.peers
    }
    answers = probe.round_trips(link.name, targets, BASELINE_SECONDS)
    counters = linux.counters(link.name)
    now = time.time()
    peers = {}
    for key, addresses in targets.items():
        echoed = frozenset(address for address in addresses if address in answers)
        latest = counters[key].latest_handshake if key in counters else 0
        if echoed:
            rtt = min(answers[address] for address in echoed)
            peers[key] = PeerHealth(Proof.ECHO, rtt, echoed)
        elif shows_life(observed.counters.get(key), counters.get(key)) or (
            key not in doubtful and 0 <= now - latest < SESSION_SECONDS
        ):
            peers[key] = PeerHealth(Proof.SILENT)
        else:
            peers[key] = PeerHealth(Proof.NONE)
    return Health(peers)


def counters_before_another_key(interface: str) -> Mapping[str, PeerCounters]:
    """Return the counters of now, once the second of each peer's latest handshake is over.

    A device tells its handshakes in seconds: one with the new key in the same second as one with
    the old would be none. Among very many peers somebody may shake hands all the time: after some
    seconds that is taken as it is. Raises WgmeshError.
    """
    for _ in range(_SECONDS_AWAITED):
        counters, now = linux.counters(interface), time.time()
        if int(now) not in {each.latest_handshake for each in counters.values()}:
            return counters
        time.sleep(1 - now % 1)
    return linux.counters(interface)


def speak_up(plan: NodePlan) -> None:
    """Send every peer a packet, so that it learns the port that this node is found at now."""
    with probe.Prober(plan.interface) as prober:
        prober.send({address for peer in plan.peers for address in peer.addresses})


def comes_back(
    plan: NodePlan,
    lost: Sequence[StrictPeer],
    remote: Callable[[], bool] | None,
    seconds: float,
) -> bool:
    """Return True as soon as anything that was lost is back, False after `seconds`.

    To be asked once a change is undone: what stays away was not lost by it. `remote` is None when
    that was not lost, `plan` has the addresses that were asked before. It lasts for 7 s at least:
    a handshake that failed under the change is not tried again earlier.
    """
    interface = plan.interface
    end = time.monotonic() + max(seconds, RETRY_SECONDS)
    before = linux.counters(interface)
    missing = {peer.public_key for peer in lost}
    addresses = {a for peer in plan.peers if peer.public_key in missing for a in peer.addresses}
    silent = [peer.public_key for peer in lost if peer.proof is Proof.SILENT]
    asked = _Remote(remote) if remote is not None else None
    with probe.Prober(interface) as prober:
        while True:
            prober.send(addresses)
            if prober.receive(min(1.0, max(0.0, end - time.monotonic()))):
                return True
            now = linux.counters(interface) if silent else {}
            if any(shows_life(before.get(key), now.get(key)) for key in silent):
                return True
            if asked is not None and asked.answer:
                return True
            if time.monotonic() >= end:
                break
    if asked is not None:
        asked.stop()
    return False


def unheard(plan: NodePlan, handshakes: Mapping[str, int], seconds: float) -> frozenset[str]:
    """Return the peers of which nothing is heard within `seconds`: no echo, no new handshake.

    `handshakes` are their latest ones so far, by public key.
    """
    end = time.monotonic() + seconds
    addresses = {peer.public_key: peer.addresses for peer in plan.peers}
    left = set(handshakes) & addresses.keys()
    with probe.Prober(plan.interface) as prober:
        while left and time.monotonic() < end:
            targets = {address for key in left for address in addresses[key]}
            prober.send(targets)
            answers = prober.receive(1.0, targets)
            counters = linux.counters(plan.interface)
            for key in tuple(left):
                seen = counters.get(key)
                shaken = seen is not None and seen.latest_handshake not in (0, handshakes[key])
                if shaken or not answers.keys().isdisjoint(addresses[key]):
                    left.discard(key)
    return frozenset(left)


def prove(
    trial: Trial, strict: tuple[StrictPeer, ...], earlier: Mapping[str, PeerCounters]
) -> tuple[Judgement, Health]:
    """Probe once a second until the change is confirmed or condemned; return why, and what came.

    Call it right after the apply: what a silent peer sent until then proves nothing. `earlier` are
    the counters of before the apply; see counters_before_another_key().
    """
    start = time.monotonic()
    interface = trial.plan.interface
    before = earlier if trial.another_key else linux.counters(interface)
    addresses = {peer.public_key: peer.addresses for peer in trial.plan.peers}
    answers: dict[Address, float] = {}
    alive: set[str] = set()
    remote = _Remote(trial.remote) if trial.remote_before else None
    with probe.Prober(interface) as prober:
        # Also to those that prove nothing: a peer learns by it where this node is found now.
        prober.send({address for every in addresses.values() for address in every})
        while True:
            missing = [peer for peer in strict if peer.public_key not in alive]
            targets = {a for peer in missing for a in addresses[peer.public_key]}
            if not trial.another_key:
                targets -= answers.keys()
            prober.send(targets)
            answers |= prober.receive(1.0, targets) if targets or missing else {}
            counters = (
                linux.counters(interface)
                if trial.another_key or any(peer.proof is Proof.SILENT for peer in missing)
                else {}
            )
            for peer in missing:
                key = peer.public_key
                life = shows_life(before.get(key), counters.get(key))
                if trial.another_key:
                    if _shaken(before.get(key), counters.get(key)):
                        alive.add(key)
                elif proven(peer, frozenset(addresses[key]) & answers.keys(), life):
                    alive.add(key)
            judgement = judge(
                strict,
                frozenset(alive),
                remote_before=trial.remote_before,
                remote_now=remote.answer if remote is not None else None,
                elapsed_seconds=time.monotonic() - start,
                windows=trial.windows,
            )
            if judgement.verdict is not Verdict.WAIT:
                break
            if not missing and remote is not None:
                remote.wait(1.0)
    if remote is not None:
        remote.stop()
    peers = {
        key: PeerHealth(Proof.ECHO, min(answers[a] for a in own), frozenset(own))
        for key, every in addresses.items()
        if (own := [a for a in every if a in answers])
    }
    return judgement, Health(peers, remote.answer if remote is not None else None)


def _shaken(before: PeerCounters | None, now: PeerCounters | None) -> bool:
    """Return whether there was a handshake in between; times compare for change only."""
    old = before.latest_handshake if before is not None else 0
    return now is not None and now.latest_handshake not in (0, old)


class _Remote:
    """Asks the git remote beside the probing, until it answers or is stopped."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self.answer: bool | None = None
        self._ask = ask
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._over.is_set():
            self.answer = self._ask()
            if self.answer:
                self._over.set()
            self._over.wait(1.0)

    def wait(self, seconds: float) -> None:
        """Return when the remote has answered, or after `seconds`."""
        self._over.wait(seconds)

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
