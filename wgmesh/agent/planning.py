"""What `wgmesh plan` finds: the change of each node, which tunnels drop, who reaches whom."""

import logging

from wgmesh import inventory, settings
from wgmesh.agent import sources
from wgmesh.agent.sources import Source
from wgmesh.errors import InventoryError, WgmeshError
from wgmesh.frozen import frozen
from wgmesh.mesh import impact, order, reach, stages
from wgmesh.mesh.impact import NodeImpact
from wgmesh.mesh.order import Break, Pause
from wgmesh.mesh.reach import Apart, Findings
from wgmesh.model.inventory import Inventory, Rollout
from wgmesh.repository.checkout import commit_id, trailer_words

log = logging.getLogger(__name__)

TRAILER = "Wgmesh-Allow-Break"
WORK_TREE = "the work tree"


@frozen
class Planned:
    """A plan; `base` and `head` name the two versions, `base` None: there is no change to speak of.

    `allowed` are the names in the trailers of the commits in between, `hooks` the nodes on which
    there are other commands to run as root than before. `rollout` says who applies this first,
    `later` who does so with what comes after it.
    """

    nodes: tuple[NodeImpact, ...]
    reach: Findings
    hooks: tuple[str, ...]
    base: str | None = None
    head: str = ""
    breaks: tuple[Break, ...] = ()
    pauses: tuple[Pause, ...] = ()
    allowed: frozenset[str] = frozenset()
    rollout: Rollout | None = None
    later: Rollout | None = None

    @property
    def refused(self) -> tuple[Break | Apart, ...]:
        """What breaks on the way or is lost for good, and is not allowed to."""
        every: tuple[Break | Apart, ...] = (*self.breaks, *self.reach.lost)
        return tuple(each for each in every if not each.is_allowed(self.allowed))

    def seconds(self, each: Break) -> int:
        """Return how long the two may be parted: until the last one has applied, by its polls.

        A node polls as its own wgmesh.toml says; this goes by the defaults.
        """
        usual = settings.Settings()
        poll = usual.poll_interval_seconds + usual.random_delay_seconds
        if self.rollout is None:
            return poll
        first = {name in self.rollout.canary for name in each.nodes}
        staged = bool(self.rollout.canary) and (each.another_way or len(first) > 1)
        return poll + (self.rollout.soak_seconds if staged else 0)


def plan(text: str, base: str | None) -> Planned:
    """Return the plan of the inventory that `text` names, or of its change since `base`.

    A base that is invalid was run by nobody: then the plan is that of the whole inventory. Raises
    InventoryError, UsageError or another WgmeshError.
    """
    source = sources.load(text)
    new = inventory.load(source.files)
    if base is None:
        return _whole(new)
    files = sources.at(source, base).files
    try:
        old = inventory.load(files)
    except InventoryError as error:
        log.warning("no node runs %s, so there is no change to plan: %s", base, error.message)
        return _whole(new)
    root = sources.checkout(source)
    since = commit_id(root, base)
    head = commit_id(root, "HEAD")
    drops = order.drops(old, new)
    return Planned(
        impact.impact(old, new),
        reach.findings(old, new),
        impact.hooks(old, new),
        base=since[:12],
        head=head[:12] if _is_at(source, head) else WORK_TREE,
        breaks=tuple(each for each in drops if isinstance(each, Break)),
        pauses=tuple(each for each in drops if isinstance(each, Pause)),
        allowed=trailer_words(root, since, head, TRAILER),
        rollout=stages.governing(old, new),
        later=new.rollout,
    )


def _whole(new: Inventory) -> Planned:
    return Planned(impact.whole(new), reach.findings(None, new), impact.hooks(None, new))


def _is_at(source: Source, commit: str) -> bool:
    try:
        return sources.at(source, commit).files == source.files
    except WgmeshError:
        return False
