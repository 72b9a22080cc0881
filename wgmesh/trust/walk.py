"""One run of the chain rule: what it reads of a repository, and how it refuses."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing

from wgmesh.errors import RefusedError
from wgmesh.trust import refusal
from wgmesh.trust.commit import Commit, parse
from wgmesh.trust.objects import Objects
from wgmesh.trust.openpgp import GpgVerifier
from wgmesh.trust.signature import Signatures
from wgmesh.trust.step import Steps

Hint = Callable[..., str]
"""Makes the end of a refusal's hint; with `unrelated=True` for a history of its own."""

READ_AHEAD = 64
"""Commits of the line that are asked for at once, and then their trees."""


MOST_AHEAD_BYTES = 4 << 20
"""Bytes of commits after which no more are asked for at once."""


class Walk:
    """What one run reads, and what its refusals say; `hint` is how to get out of them."""

    def __init__(
        self,
        objects: Objects,
        hint: Hint,
        *,
        revoked: Collection[str] = (),
        gpg: GpgVerifier | None = None,
    ) -> None:
        self.objects = objects
        self.hint = hint
        self.signatures = Signatures(gpg, revoked)
        self.steps = Steps(objects, self.signatures, self.commit, self.refused)

    def refused(self, commit: Commit, rule: str, instead: str = "") -> RefusedError:
        """Return the refusal of `commit`; its hint is what works instead, then how to repair."""
        hint = self.hint()
        return refusal.refused(commit, rule, f"{instead}\n{hint}" if instead else hint)

    def commit(self, commit: str) -> Commit:
        """Return the commit `commit`. Raises RefusedError for one that git would not write."""
        try:
            return parse(commit, self.objects.commit(commit))
        except RefusedError as error:
            raise self._unread(commit, error) from None

    def commits(self, ids: Sequence[str], before: str | None) -> Iterator[Commit]:
        """Yield commits in the order of `ids`, each of which has the one before as first parent.

        So has the first one `before`, unless that is None. They are read ahead, as are their trees.
        """
        at = 0
        while at < len(ids):
            found, why = self._ahead(ids[at : at + READ_AHEAD])
            at += len(found)
            self.steps.authorities.prefetch(found)
            for commit in found:
                if before is not None and commit.parents[:1] != (before,):
                    raise self.refused(commit, f"its first parent is not {before[:12]}")
                before = commit.id
                yield commit
            if why is not None:
                raise why

    def _ahead(self, ids: Sequence[str]) -> tuple[list[Commit], RefusedError | None]:
        """Return commits, and why the one after them is refused: they have their turn first."""
        found, ahead_bytes = list[Commit](), 0
        with closing(self.objects.commits(ids)) as raws:
            try:
                for commit, raw in zip(ids, raws, strict=True):
                    found.append(parse(commit, raw))
                    ahead_bytes += len(raw)
                    if ahead_bytes > MOST_AHEAD_BYTES:
                        break
            except RefusedError as error:
                return found, self._unread(ids[len(found)], error)
        return found, None

    def _unread(self, commit: str, error: RefusedError) -> RefusedError:
        # Nothing in it can be relied on, so neither can its author and subject.
        message = f"commit {commit[:12]} is refused: {error.message}"
        return RefusedError(message, self.hint(), commit)
