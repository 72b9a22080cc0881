"""What `wgmesh plan` finds: the change of each node, which tunnels drop, who reaches whom."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from wgmesh import inventory, settings
from wgmesh.agent import sources
from wgmesh.agent.sources import Source
from wgmesh.errors import InventoryError, WgmeshError, no_node
from wgmesh.frozen import frozen
from wgmesh.mesh import impact, order, reach, stages
from wgmesh.mesh.impact import Bounded, NodeImpact
from wgmesh.mesh.order import EVERY_NODE, Break, Pause
from wgmesh.mesh.reach import Apart, Findings
from wgmesh.model.inventory import Inventory, Node, Rollout
from wgmesh.repository.checkout import commit_id, trailer_words

log = logging.getLogger(__name__)

_T = TypeVar("_T")

MOST_LINES = 2000
"""About all nodes of a full mesh of 45: more than anybody reads."""
_PATIENCE_SECONDS = 1.0

TRAILER = "Wgmesh-Allow-Break"
WORK_TREE = "the work tree"


@frozen
class Planned:
    """A plan; `base` and `head` name the two versions, `base` None: there is no change to speak of.

    `details` are the lines that are only counted in `nodes`, each once, and on how many nodes.
    `allowed` are the names in the trailers of the commits in between, `hooks` the nodes on which
    there are other commands to run as root than before. `only` is the node that was asked for, when
    `nodes` has no other. `rollout` says who applies this first,
    `later` who does so with what comes after it; `restaged`: the change brings that.
    `unknown` says why it is not known what nodes run now: then the plan is that of all of the new
    inventory, and `asked` the version that was to be compared with.
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
    restaged: bool = False
    unknown: str = ""
    only: str | None = None
    details: tuple[tuple[str, int], ...] = ()
    asked: str | None = None

    @property
    def ok(self) -> bool:
        """Return whether nothing speaks against the change that is not allowed to."""
        return not self.refused and (not self.unknown or EVERY_NODE in self.allowed)

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


def plan(text: str, base: str | None, only: str | None = None) -> Planned:
    """Return the plan of the inventory that `text` names, or of its change since `base`.

    Of nodes it has `only` that one when it is named; else all, briefly where they are many.
    A base that is invalid is run by nobody, and what is run instead is not known: then the plan is
    that of the whole inventory. Raises InventoryError, UsageError or another WgmeshError.
    """
    source = sources.load(text)
    new = inventory.load(source.files)
    if base is None:
        return _whole(new, only)
    files = sources.at(source, base).files
    if not files:
        log.warning("%s has no inventory: the plan is that of a new mesh", base)
        return _whole(new, only)
    root = sources.checkout(source)
    since = commit_id(root, base)
    head = commit_id(root, "HEAD")
    allowed = trailer_words(root, since, head, TRAILER)
    try:
        old = inventory.load(files)
    except InventoryError as error:
        why = f"at {since[:12]} {error.message}"
        whole = _whole(new, only)
        return replace(whole, unknown=why, allowed=allowed, asked=since[:12])
    names = _chosen((*old.nodes, *new.nodes), only)
    found = _bounded(impact.impact_on(old, new, names), names)
    drops = order.drops(old, new, lambda each: _progress(each, len(each), "order: %d of %d nodes"))
    return Planned(
        found.nodes,
        _findings(old, new),
        impact.hooks(old, new),
        base=since[:12],
        head=head[:12] if _is_at(source, head) else WORK_TREE,
        breaks=tuple(each for each in drops if isinstance(each, Break)),
        pauses=tuple(each for each in drops if isinstance(each, Pause)),
        allowed=allowed,
        rollout=stages.governing(old, new),
        later=new.rollout,
        restaged=stages.changes(old, new),
        only=only,
        details=found.details,
    )


def _whole(new: Inventory, only: str | None) -> Planned:
    names = _chosen(new.nodes, only)
    nodes = _bounded(impact.whole(new, names, MOST_LINES), names).nodes
    found, hooks = _findings(None, new), impact.hooks(None, new)
    return Planned(nodes, found, hooks, later=new.rollout, only=only)


def _chosen(nodes: Iterable[Node], only: str | None) -> list[str]:
    names = sorted({node.name for node in nodes})
    if only is not None and only not in names:
        raise no_node(only)
    return names if only is None else [only]


def _bounded(impacts: Iterable[NodeImpact], names: Sequence[str]) -> Bounded:
    """Return what happens on the nodes: of one all of it, however much that is."""
    if len(names) == 1:
        return Bounded(tuple(impacts))
    return impact.bounded(_progress(impacts, len(names)), MOST_LINES)


def _findings(old: Inventory | None, new: Inventory) -> Findings:
    text = "reach: %d of %d groups of nodes"
    return reach.findings(old, new, lambda groups: _progress(groups, len(groups), text))


def _progress(each: Iterable[_T], number: int, text: str = "%d of %d nodes") -> Iterator[_T]:
    told = time.monotonic()
    for position, one in enumerate(each):
        yield one
        if time.monotonic() - told > _PATIENCE_SECONDS:
            told = time.monotonic()
            log.info(text, position + 1, number)


def _is_at(source: Source, commit: str) -> bool:
    try:
        return sources.at(source, commit).files == source.files
    except WgmeshError:
        return False
