"""One run of the chain rule: what it reads of a repository, and how it refuses."""

from collections.abc import Collection, Iterator, Sequence

from wgmesh.errors import RefusedError
from wgmesh.trust import refusal
from wgmesh.trust.commit import Commit, parents, parse
from wgmesh.trust.objects import Objects
from wgmesh.trust.openpgp import GpgVerifier
from wgmesh.trust.signature import Signatures
from wgmesh.trust.step import Steps

LARGEST_KEPT_BYTES = 32 << 20
"""Of commits that were read on the way down, this much is kept for the way up."""

READ_AHEAD = 64
"""Commits of the line whose trees are asked for at once."""


class Walk:
    """What one run reads, and what its refusals say; `hint` is how to get out of them."""

    def __init__(
        self,
        objects: Objects,
        hint: str,
        *,
        revoked: Collection[str] = (),
        gpg: GpgVerifier | None = None,
    ) -> None:
        self.objects = objects
        self.hint = hint
        self.aside = False  # the repair has to show that it takes nothing: see refusal.merge
        self.signatures = Signatures(gpg, revoked)
        self.steps = Steps(objects, self.signatures, self.commit, self.refused)
        self._raw: dict[str, bytes] = {}
        self._raw_bytes = 0

    def refused(self, commit: Commit, rule: str, instead: str = "") -> RefusedError:
        """Return the refusal of `commit`; its hint is what works instead, then how to repair."""
        hint = f"{instead}\n{self.hint}" if instead else self.hint
        return refusal.refused(commit, rule, hint)

    def commit(self, commit: str) -> Commit:
        """Return the commit `commit`. Raises RefusedError for one that git would not write."""
        try:
            return parse(commit, self._raw.pop(commit, b"") or self.objects.commit(commit))
        except RefusedError as error:
            raise self._unread(commit, error) from None

    def parents(self, commit: str) -> tuple[str, ...]:
        """Return a commit's parents; what was read for that is kept for commit(), within bounds."""
        try:
            raw = self.objects.commit(commit)
            if self._raw_bytes + len(raw) <= LARGEST_KEPT_BYTES:
                self._raw[commit] = raw
                self._raw_bytes += len(raw)
            return parents(raw)
        except RefusedError as error:
            raise self._unread(commit, error) from None

    def commits(self, ids: Sequence[str]) -> Iterator[Commit]:
        """Yield commits in the order of `ids`; their trees are read ahead."""
        for at in range(0, len(ids), READ_AHEAD):
            found = []
            why = None
            for commit in ids[at : at + READ_AHEAD]:
                try:
                    found.append(self.commit(commit))
                except RefusedError as error:  # what comes before it has its turn first
                    why = error
                    break
            self.steps.authorities.prefetch(found)
            yield from found
            if why is not None:
                raise why

    def _unread(self, commit: str, error: RefusedError) -> RefusedError:
        # Nothing in it can be relied on, so neither can its author and subject.
        message = f"commit {commit[:12]} is refused: {error.message}"
        return RefusedError(message, self.hint, commit)
