"""Which versions of the inventory the other nodes may run, and whether tunnels stand that.

Dates of commits are no evidence. What counts is when this node first saw a version: what was
replaced longer than `peer_lag_seconds` ago is run by nobody any more, or the fault is theirs.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from wgmesh import inventory, records, settings
from wgmesh.agent.node import Node
from wgmesh.errors import WgmeshError
from wgmesh.frozen import frozen
from wgmesh.mesh import topology
from wgmesh.mesh.compat import outlook
from wgmesh.mesh.topology import Layout
from wgmesh.model.inventory import Inventory
from wgmesh.model.plan import NodePlan
from wgmesh.remembered import Seen, Tips
from wgmesh.repository.bare import Repository

log = logging.getLogger(__name__)

MOST_SEEN = 32
"""Versions of the inventory that are remembered: each costs reading it when a tunnel changes."""


def note(
    directory: Path,
    repository: Repository,
    tips: Tips,
    tip: str,
    now: float,
    *,
    remember: bool = True,
) -> tuple[Seen, ...]:
    """Return the versions seen so far, with `tip` and what led to it; remembered in `directory`.

    A commit that this node never saw as the tip may have been that for others.
    """
    seen = records.read_seen(directory)
    if seen and seen[-1].commit == tip:
        return seen
    if not seen and tips.applied is not None and tips.applied.id != tip:
        seen = (Seen(tips.applied.id, 0),)
    try:
        line = repository.tips(seen[-1].commit, tip, MOST_SEEN) if seen else (tip,)
    except WgmeshError as error:
        log.debug("%s", error.message)
        line = (tip,)
    fresh = tuple(Seen(commit, int(now)) for commit in line or (tip,))
    seen = (*seen, *fresh)[-2 * MOST_SEEN :]
    if remember:
        records.write_seen(directory, seen)
    return seen


def plausible(seen: Sequence[Seen], now: float, lag_seconds: float) -> tuple[Seen, ...]:
    """Return the versions that a peer may run: those not replaced for longer than the lag.

    A clock that was set back makes a version younger, which is the harmless way to be wrong.
    """
    replaced = (entry.time for entry in seen[1:])
    old = sum(1 for _ in takewhile(lambda time: now - time > lag_seconds, replaced))
    return tuple(seen[max(old, len(seen) - MOST_SEEN) :])


@frozen
class Versions:
    """What a change of this node from `previous` to `plan` has to get along with.

    `runs` is the inventory that `previous` is out of, `model` that of `plan`; the first two are
    None before the first apply. `others` may still run at a peer.
    """

    me: Node
    runs: Inventory | None
    previous: NodePlan | None
    model: Inventory
    plan: NodePlan
    others: tuple[Seen, ...]

    def fits(self, asked: frozenset[str], another_psk: frozenset[str]) -> Mapping[str, int | None]:
        """Return after how many seconds the tunnel to each asked peer works at the latest.

        None when it waits for the other end under one version or more. They must be up now. Before
        the first apply nobody knows what the others run: all wait.
        """
        if self.runs is None or self.previous is None:
            return {}
        paths = {peer.public_key: peer.preshared_key_path for peer in self.previous.peers}
        # Another key out of the same file: the other end's file has one as well, or will.
        rewritten = {
            peer.public_key
            for peer in self.plan.peers
            if peer.public_key in another_psk
            and peer.preshared_key_path == paths.get(peer.public_key)
        }
        worst: dict[str, int] = dict.fromkeys(asked - rewritten, 0)
        before, after = topology.layout(self.runs), topology.layout(self.model)
        me = self.previous.public_key, self.plan.public_key
        for theirs in self._layouts(after):
            for key in tuple(worst):
                match outlook(before, after, me, theirs, key):
                    case int(seconds):
                        worst[key] = max(worst[key], seconds)
                    case obstacle:
                        log.debug("%s waits: %s", key, obstacle.value)
                        del worst[key]
            if not worst:
                break
        return worst

    def _layouts(self, new: Layout) -> Iterator[Layout]:
        """Yield the new version, then each distinct other one, newest first.

        One that cannot be read or is invalid is run by nobody.
        """
        yield new
        if self.me.enrolment.direct and self.runs is not None:
            yield topology.layout(self.runs)  # no repository tells of others
            return
        known: list[dict[str, bytes]] = []
        with Repository(settings.REPOSITORY_DIR) as repository:
            for version in reversed(self.others):
                try:
                    files = repository.inventory_files(version.commit, self.me.enrolment.path)
                    if files in known:
                        continue
                    known.append(files)
                    yield topology.layout(inventory.load(files))
                except WgmeshError as error:
                    log.debug("%s: %s", version.commit, error.message)
