"""Who applies a change first, and how long the others wait: the table [rollout].

The table of what runs decides over what comes: a change can neither skip nor shorten its own wait.
Where what runs has none, the new one's counts.
"""

from wgmesh.mesh.plan import find_node
from wgmesh.model.inventory import Inventory, Rollout


def governing(runs: Inventory | None, new: Inventory) -> Rollout | None:
    """Return the rollout that a node has to heed on its way from `runs` to `new`."""
    return runs.rollout if runs is not None and runs.rollout is not None else new.rollout


def soak_seconds(runs: Inventory | None, new: Inventory, public_key: str, name: str) -> int:
    """Return how long the node waits before it applies `new`; 0 for one of the canary.

    It is known by its key in what runs, else by `name`, its name in `new`.
    """
    rollout = governing(runs, new)
    if rollout is None:
        return 0
    before = find_node(runs, public_key) if runs is not None and runs.rollout is not None else None
    known = name if before is None else before.name
    return 0 if known in rollout.canary else rollout.soak_seconds


def changes(runs: Inventory | None, new: Inventory) -> bool:
    """Tell whether `new` brings another rollout than the one that runs."""
    return runs is not None and runs.rollout != new.rollout
