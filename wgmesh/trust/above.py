"""Who signed above a change of trust files, for when who signed that is no longer valid."""

from collections.abc import Iterator, Sequence

from wgmesh.frozen import frozen
from wgmesh.trust.commit import Commit
from wgmesh.trust.side import Base
from wgmesh.trust.walk import Walk


@frozen
class _Place:
    """Where a key signed: a commit of the line, `at` from the tip, or a side commit it brings."""

    fingerprint: str
    at: int
    commit: str
    side: bool


class Above:
    """The keys that signed a line, which must have passed. Read from the tip down, as far as asked.

    What was read is kept by key: so asking costs no more for each change than there are keys.
    """

    def __init__(self, walk: Walk, line: Sequence[str]) -> None:
        self._walk = walk
        self._ids = line  # newest first
        self._at = {commit: at for at, commit in enumerate(line)}
        self._read = 0
        self._places: dict[str, list[_Place]] = {}

    def enough(self, commit: str, before: Commit, clock: float | None) -> bool:
        """Return whether as many people as `before` wants, by its files, signed above `commit`.

        They must be valid at `clock`. It counts who signed a step, and who signed the very files of
        one on a merged branch that has `commit`: other files may have said no to it.
        """
        base = Base(before, self._walk.steps.authorities.policy(before))
        found, people = set[str](), set[str]()
        for place in self._until(self._at[commit]):
            if place.fingerprint in found:
                continue
            person = self._person(place, commit, base, clock)
            if person is not None:
                found.add(place.fingerprint)
                people.add(person)
            if len(people) >= base.policy.rules.approvals:
                return True
        return False

    def _person(self, place: _Place, commit: str, base: Base, clock: float | None) -> str | None:
        """Return who of `base` signed at a place, having `commit`; None when nobody."""
        signed = self._walk.commit(place.commit)
        person = self._walk.steps.person(signed, base, clock)
        if person is None or (
            place.side and not self._walk.objects.is_ancestor(commit, place.commit)
        ):
            return None
        return person

    def _until(self, end: int) -> Iterator[_Place]:
        """Yield where keys signed nearer to the tip than the commit at `end`."""
        for places in self._places.values():
            yield from (place for place in places if place.at < end)
        while self._read < end:
            at, self._read = self._read, self._read + 1
            for place in list(self._signed(at)):
                known = self._places.setdefault(place.fingerprint, [])
                if all(other.side for other in known):  # a step nearer to the tip has all below
                    known.append(place)
                    yield place

    def _signed(self, at: int) -> Iterator[_Place]:
        commit, before = map(self._walk.commit, self._ids[at : at + 2])
        steps = self._walk.steps
        who, _ = steps.signed(commit, before, None, join=False)
        yield _Place(who.fingerprint, at, commit.id, side=False)
        base = Base(before, steps.authorities.policy(before))
        tip = base.other(commit)
        if tip is None or self._walk.commit(tip).tree != commit.tree:
            return
        for side, by in steps.sides.signers(
            commit, base, None, lambda side: side.tree == commit.tree
        ):
            yield _Place(by.fingerprint, at, side.id, side=True)
