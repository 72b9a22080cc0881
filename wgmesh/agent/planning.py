"""What `wgmesh plan` finds: the change of each node, and what is not safe in every order."""

import logging
from dataclasses import dataclass

from wgmesh import inventory
from wgmesh.agent import sources
from wgmesh.agent.sources import Source
from wgmesh.errors import InventoryError, WgmeshError
from wgmesh.mesh import impact, order
from wgmesh.mesh.impact import NodeImpact
from wgmesh.mesh.order import Break
from wgmesh.repository import commit_id, files_at, trailer_words

log = logging.getLogger(__name__)

TRAILER = "Wgmesh-Allow-Break"
WORK_TREE = "the work tree"


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan; `base` and `head` name the two versions, `base` None: there is no change to speak of.

    `allowed` are the names in the trailers of the commits in between.
    """

    nodes: tuple[NodeImpact, ...]
    base: str | None = None
    head: str = ""
    breaks: tuple[Break, ...] = ()
    allowed: frozenset[str] = frozenset()

    @property
    def refused(self) -> tuple[Break, ...]:
        """What breaks and is not allowed to."""
        return tuple(each for each in self.breaks if not each.is_allowed(self.allowed))


def plan(text: str, base: str | None) -> Planned:
    """Return the plan of the inventory that `text` names, or of its change since `base`.

    A base that is invalid was run by nobody: then the plan is that of the whole inventory. Raises
    InventoryError, UsageError or another WgmeshError.
    """
    source = sources.load(text)
    new = inventory.load(source.files)
    if base is None:
        return Planned(impact.whole(new))
    files = sources.at(source, base).files
    try:
        old = inventory.load(files)
    except InventoryError as error:
        log.warning("no node runs %s, so there is no change to plan: %s", base, error.message)
        return Planned(impact.whole(new))
    root = sources.checkout(source)
    since = commit_id(root, base)
    head = commit_id(root, "HEAD")
    return Planned(
        impact.impact(old, new),
        base=since[:12],
        head=head[:12] if _is_at(source, head) else WORK_TREE,
        breaks=order.breaks(old, new),
        allowed=trailer_words(root, since, head, TRAILER),
    )


def _is_at(source: Source, commit: str) -> bool:
    try:
        return files_at(sources.checkout(source), commit, ".") == source.files
    except WgmeshError:
        return False
