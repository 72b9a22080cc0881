"""Which pairs of nodes reach each other, before and after a change: pure, for `wgmesh plan`.

Nodes whose plans treat all others alike are grouped, and one pair of two groups speaks for all of
theirs: a mesh of a thousand equal nodes costs as much as one of ten.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum

from wgmesh.frozen import frozen
from wgmesh.mesh import topology, ways
from wgmesh.mesh.order import EVERY_NODE
from wgmesh.mesh.ways import Atlas, Cause, Way
from wgmesh.model.inventory import Inventory, Node

NETWORKS = "networks"
ADDRESSES = "addresses"
"""What a pair is apart over when it is not a family, or everything ("")."""

_OWN = ("", ADDRESSES, "IPv4", "IPv6")


class Since(Enum):
    """Whether the change brings it: it worked before, a node is new, or it was so before."""

    LOST = "lost"
    NEW = "new"
    BEFORE = "before"


@frozen
class Apart:
    """Nodes that do not reach others: each of `one` none of `other`.

    `over` is IPv4, IPv6, the networks behind `other`, its addresses where they have no family in
    common but there are networks of one behind it, or "" for everything. `mutual`: nor do the
    others reach them. `why` says it of the first two that differ. Equal lists: among themselves.
    """

    one: tuple[str, ...]
    other: tuple[str, ...]
    over: str
    mutual: bool
    loop: bool
    why: str
    since: Since

    @property
    def pairs(self) -> int:
        """How many pairs of nodes that are."""
        if self.one != self.other:
            return len(self.one) * len(self.other)
        return len(self.one) * (len(self.one) - 1) // (2 if self.mutual else 1)

    def is_allowed(self, names: Collection[str]) -> bool:
        """Return whether the authors who let `names` break mean each of these pairs."""
        if EVERY_NODE in names:
            return True
        return any(set(side) <= set(names) for side in (self.one, self.other))


@frozen
class Askew:
    """Two nodes whose packets would go another way than the answers to them.

    `since` is NEW where the change brings it. `pairs` have the like.
    """

    there: tuple[str, ...]
    back: tuple[str, ...]
    pairs: int
    since: Since


@frozen
class Findings:
    """What is wrong with who reaches whom, and how many pairs of nodes there are."""

    pairs: int
    apart: tuple[Apart, ...] = ()
    askew: tuple[Askew, ...] = ()

    @property
    def lost(self) -> tuple[Apart, ...]:
        """Pairs that could talk before the change and cannot any more."""
        return tuple(each for each in self.apart if each.since is Since.LOST)


@frozen
class _Group:
    """Nodes that see all others, and are seen, alike: in both versions, or only in the new one."""

    was: tuple[Node, ...]
    will: tuple[Node, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.will)


def findings(
    old: Inventory | None,
    new: Inventory,
    watch: Callable[[Sequence[_Group]], Iterable[_Group]] = iter,
) -> Findings:
    """Return who does not reach whom in `new`, and since when; without `old` all of it is new.

    `watch` gives back groups of nodes as they are asked for.
    """
    after = ways.atlas(new)
    before = None if old is None else ways.atlas(old)
    groups = _groups(before, after)
    apart: list[Apart] = []
    askew: list[Askew] = []
    for number, one in enumerate(watch(groups)):
        for other in groups[number:]:
            position = 1 if one is other else 0
            if position < len(other.will):
                apart += _apart(before, after, (one, other), position)
                askew += _askew(before, after, (one, other), position)
    nodes = len(after.of.nodes)
    apart.sort(key=lambda each: (each.one, each.other, each.over))
    askew.sort(key=lambda each: each.there)
    return Findings(nodes * (nodes - 1) // 2, tuple(apart), tuple(askew))


def _groups(before: Atlas | None, after: Atlas) -> list[_Group]:
    """Return the groups of the nodes of `after`, in the order of their first names."""
    stay = {} if before is None else dict(topology.matched(before.of, after.of))
    will = _kinds(after)
    was = {} if before is None else _kinds(before)
    found: dict[object, tuple[list[Node], list[Node]]] = {}
    for name, node in after.of.nodes.items():
        earlier = None if before is None or name not in stay else before.of.nodes[stay[name]]
        kind: object = (will[name],)
        if earlier is not None:  # and which networks are the same ones
            places = earlier.allowed_ips
            same = tuple(places.index(p) if p in places else -1 for p in node.allowed_ips)
            kind = (will[name], was[earlier.name], same)
        members = found.setdefault(kind, ([], []))
        members[1].append(node)
        if earlier is not None:
            members[0].append(earlier)
    return [_Group(tuple(olds), tuple(news)) for olds, news in found.values()]


def _kinds(of: Atlas) -> dict[str, object]:
    """Return by name what of a node decides how it and all others send to one another.

    Nodes of one kind differ in nothing but their names and addresses. Those through whom others
    send, or whose prefixes have places of others, are each one of a kind.
    """
    alone = {*of.of.hubs, *(exit.name for exit in of.default.values())}
    if of.of.relay is not None:
        alone.add(of.of.relay.name)
    kinds: dict[str, object] = {}
    for name, node in of.of.nodes.items():
        places = []
        for place in ways.places(of, node):
            claims = []
            for claim in ways.claims(of, place.address):
                owner = claim.owner
                if owner is not None and owner is not node:
                    alone.add(owner.name)
                whose = "" if owner is None else "." if owner is node else owner.name
                claims.append((claim.prefix.prefixlen, whose, claim.own, claim.behind))
            version = place.address.version
            places.append((version, place.network is not None, tuple(claims)))
        exits = tuple(of.default[name, v].name for v in (4, 6) if (name, v) in of.default)
        kinds[name] = (node.endpoint is None, tuple(places), exits)
    return {name: name if name in alone else kind for name, kind in kinds.items()}


def _apart(
    before: Atlas | None, after: Atlas, groups: tuple[_Group, _Group], position: int
) -> Iterator[Apart]:
    """Yield over what two groups do not reach each other; `position` is that of the second's."""
    one, other = groups
    will = (one.will[0], other.will[position])
    was = (one.was[0], other.was[position]) if before and one.was and other.was else None
    going = _bad(before, after, was, will)
    if position:
        yield from (_record(groups, each, mutual=each[0] != NETWORKS) for each in going)
        return
    coming = _bad(before, after, was and was[::-1], will[::-1])
    both = {each[:2] for each in going if each[0] != NETWORKS} & {each[:2] for each in coming}
    for each in going:
        yield _record(groups, each, mutual=each[:2] in both)
    for each in coming:
        if each[:2] not in both:
            yield _record(groups[::-1], each, mutual=False)


_Bad = tuple[str, Since, Way]


def _record(groups: Sequence[_Group], bad: _Bad, *, mutual: bool) -> Apart:
    over, since, way = bad
    one, other = (group.names for group in groups)
    return Apart(one, other, over, mutual, way.cause is Cause.LOOP, way.why, since)


def _bad(
    before: Atlas | None,
    after: Atlas,
    was: tuple[Node, Node] | None,
    will: tuple[Node, Node],
) -> list[_Bad]:
    """Return over what the first of two nodes does not reach the other, since when, and why."""
    now = dict(_ways(after, *will))
    then = dict(_ways(before, *was)) if before is not None and was is not None else None
    worked = {over for over, way in (then or {}).items() if way.cause is None}

    def since(over: str) -> Since:
        if then is None:
            return Since.NEW
        known = worked & ({"IPv4", "IPv6"} if over in ("", ADDRESSES) else {over})
        before = over in ("", ADDRESSES, *then)
        return Since.LOST if known else Since.BEFORE if before else Since.NEW

    bad = [(over, since(over), way) for over, way in now.items() if way.cause is not None]
    families = [each for each in bad if each[0] in _OWN]
    found: list[_Bad] = []
    every = len(families) == len([over for over in now if over in _OWN])
    if families and every and ADDRESSES not in now:
        way = next((way for over, _, way in families if over in worked), families[0][2])
        return [("", since(""), way)]  # then what lies behind is not reached either
    found += families
    for which in Since:
        behind = [each for each in bad if each not in families and each[1] is which]
        found += [(NETWORKS, which, way) for _, _, way in behind[:1]]
    return found


def _ways(of: Atlas, start: Node, end: Node) -> Iterator[tuple[str, Way]]:
    """Yield how `start` reaches `end` in each family that both have, and each network behind it.

    Of the addresses of a family the worst counts. "" stands for a family that is missing, or
    ADDRESSES where some network behind `end` is of a family that `start` has.
    """
    found: dict[str, Way] = {}
    for place in ways.places(of, end):
        if ways.speaks(start, place.address.version) is None:
            continue
        over = f"IPv{place.address.version}" if place.network is None else str(place.network)
        if over not in found or found[over].cause is None:
            way = ways.way(of, start, end, place)
            if way.cause is not None and place.network is not None:
                way = Way(way.path, way.cause, f"{place.network}: {way.why}")
            found[over] = way
    if not found.keys() & {"IPv4", "IPv6"}:
        missing = Way((start.name,), Cause.FAMILY, _no_family(start, end))
        found = {ADDRESSES if found else "": missing, **found}
    yield from found.items()


def _no_family(start: Node, end: Node) -> str:
    """Return why two nodes do not meet at their addresses, and what an inventory cannot tell.

    A kernel takes an address of another interface for the source where the mesh's has none: peers
    take the packet if that lies in what is behind the node.
    """
    families = {address.version for address in end.address}
    behind = [p for p in start.allowed_ips if p.prefixlen and p.version in families]
    unless = f", unless {start.name} speaks from one in {behind[0]}" if behind else ""
    return f"{Cause.FAMILY.value}{unless}"


def _askew(
    before: Atlas | None, after: Atlas, groups: tuple[_Group, _Group], position: int
) -> Iterator[Askew]:
    """Yield where packets between two groups and their answers would go different ways."""
    one, other = groups
    now = _courses(after, one.will[0], other.will[position])
    if now is None:
        return
    since = Since.NEW
    if before is not None and one.was and other.was:
        then = _courses(before, one.was[0], other.was[position])
        since = Since.NEW if then is None else Since.BEFORE
    size = len(one.will)
    pairs = size * (size - 1) // 2 if position else size * len(other.will)
    yield Askew(*now, pairs, since)


def _courses(of: Atlas, one: Node, other: Node) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the way there and back where the two differ."""
    for version in (4, 6):
        ends = ways.speaks(one, version), ways.speaks(other, version)
        if ends[0] is not None and ends[1] is not None:
            there = ways.course(of, one, other, ends[1])
            back = ways.course(of, other, one, ends[0])
            if there[-1] == other.name and back[-1] == one.name and there != back[::-1]:
                return there, back
    return None
