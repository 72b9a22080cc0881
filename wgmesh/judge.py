"""Is a change harmful? Pure in what was up before, what has shown life since, and how long it is.

The rules are those of the page "Applying and rolling back". A peer counts only when it is strict:
up at baseline, and its tunnel works whichever plausible version of the inventory its end runs.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from functools import cache

from wgmesh.frozen import frozen
from wgmesh.model.health import Health, Proof
from wgmesh.model.kernel import PeerCounters
from wgmesh.model.plan import NodePlan
from wgmesh.model.terms import Address

_HANDSHAKE_BYTES = (148, 92, 64)
"""Initiation, response, cookie reply; WireGuard whitepaper, section 5.4."""

_DOUBTFUL_BYTES = 2000

SOON_SECONDS = 10
"""A tunnel that comes back by itself within this is back before the first window is over."""


class Verdict(Enum):
    """What to do with a change that is in the kernel."""

    WAIT = "wait"
    CONFIRM = "confirm"
    UNDO = "undo"


@frozen
class Windows:
    """When a loss is believed, in seconds after the apply."""

    most_seconds: float = 16
    silent_seconds: float = 26
    minority_seconds: float = 45


@frozen
class StrictPeer:
    """A peer that must show life; `echoed` are the addresses that answered before."""

    name: str
    public_key: str
    proof: Proof
    echoed: frozenset[Address] = frozenset()


@frozen
class Roles:
    """Who can prove a change; whoever is in neither part is not looked at.

    `coordinated` are the public keys of peers that were up, and are down until their end of the
    tunnel has changed as well: never a reason to roll back.
    """

    strict: tuple[StrictPeer, ...] = ()
    coordinated: frozenset[str] = frozenset()


def roles(
    plan: NodePlan,
    baseline: Health,
    touched: Collection[str],
    fits: Mapping[str, int | None],
) -> Roles:
    """Return what part each peer of `plan` plays in its proof.

    `touched` are the peers whose tunnel this change alters here: one that it does not alter is
    strict whatever its other end runs. `fits` says of the others after how many seconds the tunnel
    works by itself, None for one that waits for the other end.
    """
    families = {address.version for address in plan.addresses}
    strict, coordinated = [], set()
    for peer in plan.peers:
        health = baseline.peers.get(peer.public_key)
        if health is None or health.proof is Proof.NONE or peer.intermittent or not peer.managed:
            continue
        wait = fits.get(peer.public_key) if peer.public_key in touched else 0
        # No address of ours is left to ask from: that is meant, and no loss.
        echoed = frozenset(each for each in health.echoed if each.version in families)
        mute = health.proof is Proof.ECHO and not echoed
        if wait is None or wait > SOON_SECONDS or mute:
            coordinated.add(peer.public_key)
        else:
            strict.append(StrictPeer(peer.name, peer.public_key, health.proof, echoed))
    return Roles(tuple(strict), frozenset(coordinated))


def explained_by_handshakes(growth_bytes: int) -> bool:
    """Return whether received bytes may be handshake messages alone (148, 92 and 64 bytes).

    Only a growth below 2,000 bytes is doubtful: more than that in one window is traffic. (A peer
    that hears nothing sends an initiation each 5 s: some 1,500 bytes in the longest window.)
    """
    return growth_bytes <= 0 or growth_bytes in _handshake_sums()


@cache
def _handshake_sums() -> frozenset[int]:
    """Return every number of bytes below the limit that handshake messages alone can make."""
    sums = {0}
    for size in _HANDSHAKE_BYTES:
        for begun in range(size, _DOUBTFUL_BYTES):
            if begun - size in sums:
                sums.add(begun)
    return frozenset(sums)


def shows_life(before: PeerCounters | None, now: PeerCounters | None) -> bool:
    """Return whether counters prove a silent peer: a new handshake, or unexplained bytes.

    The handshake's time is compared for change only: the wall clock may jump.
    """
    if now is None:
        return False
    if before is None:
        return now.latest_handshake > 0
    if now.latest_handshake not in (0, before.latest_handshake):
        return True
    growth = now.rx_bytes - before.rx_bytes if now.rx_bytes >= before.rx_bytes else now.rx_bytes
    return not explained_by_handshakes(growth)


def proven(peer: StrictPeer, echoed: frozenset[Address], life: bool) -> bool:
    """Return whether `peer` has shown the kind of proof that it gave at baseline."""
    match peer.proof:
        case Proof.ECHO:
            return peer.echoed <= echoed
        case Proof.SILENT:
            return life or bool(echoed)
        case Proof.NONE:
            return True


@frozen
class Judgement:
    """A verdict and the sentence that goes with it; `lost` and `remote_lost` are what is missed."""

    verdict: Verdict
    reason: str = ""
    lost: tuple[StrictPeer, ...] = ()
    remote_lost: bool = False

    @property
    def suspects(self) -> bool:
        """True when there is something to look at once the change is taken back."""
        return bool(self.lost) or self.remote_lost


def judge(
    strict: tuple[StrictPeer, ...],
    alive: frozenset[str],
    *,
    remote_before: bool,
    remote_now: bool | None,
    elapsed_seconds: float,
    windows: Windows,
) -> Judgement:
    """Return the verdict `elapsed_seconds` after the apply.

    `alive` are the public keys proven since, `remote_now` None while no answer is in.
    Echo peers and the remote are decided at `most_seconds`, silent peers at `silent_seconds`;
    a minority waits until `minority_seconds`, longer than a neighbour's own way back.
    """
    missing = tuple(peer for peer in strict if peer.public_key not in alive)
    remote_missing = remote_before and remote_now is not True
    if not missing and not remote_missing:
        return Judgement(Verdict.CONFIRM)
    if elapsed_seconds < windows.most_seconds:
        return Judgement(Verdict.WAIT)
    if remote_missing:
        reason = "the git remote is no longer reachable"
        return Judgement(Verdict.UNDO, reason, missing, remote_lost=True)
    decided = [
        peer
        for peer in missing
        if peer.proof is Proof.ECHO or elapsed_seconds >= windows.silent_seconds
    ]
    if decided and 2 * len(decided) >= len(strict):
        return Judgement(Verdict.UNDO, _lost(len(decided), strict, missing), missing)
    if elapsed_seconds >= windows.minority_seconds:
        return Judgement(Verdict.UNDO, _lost(len(missing), strict, missing), missing)
    return Judgement(Verdict.WAIT)


def _lost(count: int, strict: Sequence[StrictPeer], missing: Sequence[StrictPeer]) -> str:
    return f"{count} of {len(strict)} tunnels that worked were lost: {listed(missing)}"


def listed(peers: Sequence[StrictPeer]) -> str:
    """Return the names of `peers`, not more than five."""
    return ", ".join(peer.name for peer in peers[:5]) + (" …" if len(peers) > 5 else "")
