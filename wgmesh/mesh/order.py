"""Whether a change is safe in whatever order the nodes apply it: pure, for `wgmesh plan --base`.

It is when every two nodes that reach one another before and after do so in between as well: while
one of them runs the new version and the other still the old one.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from wgmesh.frozen import frozen
from wgmesh.mesh import topology
from wgmesh.mesh.compat import Obstacle, compat
from wgmesh.mesh.topology import Layout
from wgmesh.model.inventory import Inventory, Node

EVERY_NODE = "*"
"""In the place of names: whatever breaks is meant to."""

_MOST_NAMES = 8


@frozen
class Break:
    """Two nodes that do not reach one another in between.

    `first` are those of the two that must not be the first to apply, `ends` those whose change
    stands in the way of safe steps. `another_way`: a node between them has to apply too.

    A change of all nodes makes a break of each pair: what can be worked out is not kept.
    """

    nodes: tuple[str, str]
    first: tuple[str, ...]
    why: str
    ends: tuple[str, ...] = ()
    another_way: bool = False

    @property
    def safe(self) -> str:
        """Return the change in steps that would be safe, "" where there is none."""
        return _safe(self.why, self.ends) if self.ends else ""

    def is_allowed(self, names: Collection[str]) -> bool:
        """Return whether the authors who allow the tunnels of `names` to break allow this one."""
        return EVERY_NODE in names or not set(self.nodes).isdisjoint(names)


@frozen
class Pause:
    """Two nodes whose tunnel may carry nothing for up to `seconds`, until a keepalive mends it."""

    nodes: tuple[str, str]
    seconds: int


def breaks(old: Inventory, new: Inventory) -> tuple[Break, ...]:
    """Return what is not safe in every order about the change from `old` to `new`, by name."""
    return tuple(each for each in drops(old, new) if isinstance(each, Break))


def drops(
    old: Inventory, new: Inventory, watch: Callable[[Sequence[str]], Iterable[str]] = iter
) -> tuple[Break | Pause, ...]:
    """Return what of the tunnels that stay carries nothing for a while, in some order, by name.

    `watch` gives back the names of nodes as they are asked for. Costs O(changed nodes x nodes);
    O(nodes x nodes) when the shape of the mesh changes.
    """
    before, after = topology.layout(old), topology.layout(new)
    stay = dict(topology.matched(before, after))
    names = list(stay)
    reshaped = _shape(before) != _shape(after)
    changed = {name for name in names if reshaped or before.nodes[stay[name]] != after.nodes[name]}
    found: list[Break | Pause] = []
    for position, one in enumerate(watch(names)):
        for other in names[position + 1 :]:
            if one in changed or other in changed:
                found += _between(before, after, (stay[one], one), (stay[other], other))
    return tuple(found)


def names_to_allow(found: Iterable[Break]) -> tuple[str, ...]:
    """Return few names that allow all of `found`: each time the one with the most breaks left."""
    left = list(found)
    names: list[str] = []
    while left:
        counts = Counter(name for each in left for name in each.nodes)
        best = min(counts, key=lambda name: (-counts[name], name))
        names.append(best)
        if len(names) > _MOST_NAMES:
            return (EVERY_NODE,)
        left = [each for each in left if best not in each.nodes]
    return tuple(sorted(names))


def _shape(of: Layout) -> tuple[object, ...]:
    hubs = [hub.public_key for hub in of.hubs.values()]
    return hubs, of.relay and of.relay.public_key


def _between(
    before: Layout, after: Layout, one: tuple[str, str], other: tuple[str, str]
) -> Iterator[Break | Pause]:
    """Yield what breaks or pauses between two nodes, each given by its old and its new name."""
    a, b = before.nodes[one[0]], before.nodes[other[0]]
    a_new, b_new = after.nodes[one[1]], after.nodes[other[1]]
    nodes = (one[1], other[1])
    was, will = _way(before, a, b), _way(after, a_new, b_new)
    if None in (was, will) or not (_share_family(a, b) and _share_family(a_new, b_new)):
        return  # they do not meet at all before or after: no order would change that
    if was != will:
        why = f"they meet {_through(before, was)} before, and {_through(after, will)} after"
        yield Break(nodes, nodes, why, another_way=True)
        return
    if was:
        return  # the tunnels to the node between them are looked at by themselves
    orders = (
        (a_new, compat(after, str(a_new.public_key), before, str(b_new.public_key))),
        (b_new, compat(after, str(b_new.public_key), before, str(a_new.public_key))),
    )
    bad = [(node.name, fit) for node, fit in orders if isinstance(fit, Obstacle)]
    if bad:
        first = nodes if len(bad) > 1 else (bad[0][0],)
        obstacle = bad[0][1]
        ends = tuple(_standing(obstacle, [(a, a_new), (b, b_new)]))
        yield Break(nodes, first, obstacle.value, nodes if ends == nodes else ends)
    elif seconds := max(fit for _, fit in orders if isinstance(fit, int)):
        yield Pause(nodes, seconds)


def _way(of: Layout, one: Node, other: Node) -> str | None:
    """Return by whose key two nodes reach each other: "" directly, None not at all."""
    if topology.are_peers(of, one, other):
        return ""
    between = of.hub if of.hubs else of.relay
    return None if between is None else str(between.public_key)


def _share_family(one: Node, other: Node) -> bool:
    return not {a.version for a in one.address}.isdisjoint(a.version for a in other.address)


def _through(of: Layout, way: str | None) -> str:
    return f"through {of.by_key[way].name}" if way else "directly"


def _standing(obstacle: Obstacle, ends: Iterable[tuple[Node, Node]]) -> Iterator[str]:
    """Yield the ends whose change stands in the way, none where there are no safe steps."""
    for old, new in ends:
        match obstacle:
            case Obstacle.ADDRESS:
                differ = old.address != new.address
            case Obstacle.ENDPOINT:
                differ = old.endpoint != new.endpoint
            case Obstacle.KEY:
                differ = old.public_key != new.public_key
            case Obstacle.PSK | Obstacle.PEERING:
                differ = False
        if differ:
            yield new.name


def _safe(why: str, names: tuple[str, ...]) -> str:
    """Return the steps for the ends whose change stands in the way, "" where there are none."""
    match Obstacle(why):
        case Obstacle.ADDRESS:
            return (
                f"first list the new address of {_both(names)} after the old one; then, once all"
                " nodes have applied that, only the new one, with the old one (/32 or /128) in"
                " allowed_ips"
            )
        case Obstacle.ENDPOINT:
            return (
                f"first add the new endpoint of {_both(names)} as endpoint_alt, while it answers"
                " at both, or give it a persistent_keepalive, so that others hear where it is;"
                " then, once all nodes have applied that, change the endpoint"
            )
        case Obstacle.KEY:
            return (
                f"first give {_both(names)} the new key as next_public_key (`wgmesh rotate-key`"
                " there prints it); then, once the node says that all use it, make it the"
                " public_key"
            )
        case Obstacle.PSK | Obstacle.PEERING:
            return ""


def _both(names: tuple[str, ...]) -> str:
    return " and ".join(names)
