"""What the chain rule reads of a git repository, and the shape of a tree object."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Protocol, TypeVar

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen

T = TypeVar("T")

FILE_MODES = frozenset({"100644", "100755"})
"""Plain files; symbolic links are 120000, submodules 160000, trees 40000 (git's object modes)."""

TREE_MODE = "40000"


@frozen
class Entry:
    """One entry of a tree: its mode as git writes it, and the id of what it names."""

    mode: str
    id: str

    @property
    def kind(self) -> str:
        """What people call this kind of entry."""
        names = {"40000": "a directory", "120000": "a symbolic link", "160000": "a submodule"}
        if self.mode in FILE_MODES:
            return "a file"
        return names.get(self.mode, f"an entry of mode {self.mode}")


Stream = Generator[T, None, None]
"""What is read at once, to the end, or closed: nothing else can be read meanwhile."""


class Objects(Protocol):
    """What the chain rule asks of a repository, always by full id."""

    def has(self, object_id: str) -> bool:
        """Return whether the object is there."""

    def commit(self, commit: str) -> bytes:
        """Return the raw commit. Raises RefusedError when the id names something else."""

    def commits(self, commits: Sequence[str]) -> Stream[bytes]:
        """Yield each raw commit; see commit()."""

    def trees(
        self, trees: Sequence[str], names: Collection[str] | None = None
    ) -> Stream[Mapping[str, Entry]]:
        """Yield each tree's entries by name, or those in `names`."""

    def blob(self, blob: str, limit_bytes: int) -> bytes:
        """Return a file's bytes. Raises RefusedError when it has more than `limit_bytes`."""

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Return whether `descendant` reaches `ancestor` through any parents (or is it)."""

    def related(self, one: str, other: str) -> bool:
        """Return whether the two commits have an ancestor in common."""

    def line(self, tip: str, limit: int) -> list[str]:
        """Return up to `limit` commits of the line of first parents from `tip` on, newest first."""

    def line_beyond(self, base: str, tip: str) -> list[str]:
        """Return the commits of the line of first parents from `tip` on that `base` does not reach.

        Newest first.
        """

    def merge_bases(self, one: str, other: str) -> list[str]:
        """Return the best commits that two commits have in common, on which merging them rests."""

    def beyond(self, base: str, tips: Sequence[str], limit: int) -> list[str]:
        """Return up to `limit` commits that `tips` reach and `base` does not, newest first.

        With commit dates that contradict the history there may be some that `base` does reach.
        """

    def merged(self, one: str, other: str, since: str | None = None) -> str | None:
        """Return the tree that merging two commits gives; None when it needs a person.

        With `since` that is what `other` changes of that commit, whatever else they have in common.

        It is what `git merge-tree --write-tree` gives with git's own defaults. Raises RefusedError
        when it takes too long or too much memory. The repository stays as it is.
        """


def oldest(line: Sequence[str], descends: Callable[[str], bool]) -> str:
    """Return the oldest commit of `line` that descends from whatever is asked about.

    `line` is one of first parents, newest first, and its newest descends. Descent only ends once
    along a line, so that one is found by halves.
    """
    above, other = 0, len(line)  # above descends, other does not
    while other - above > 1:
        middle = (above + other) // 2
        if descends(line[middle]):
            above = middle
        else:
            other = middle
    return line[above]


def parse_tree(raw: bytes, names: Collection[str] | None = None) -> dict[str, Entry]:
    """Return the entries of a raw tree object by name, all or those in `names`.

    The format is `mode SP name NUL id`, the id in 20 bytes (git's tree.c, decode_tree_entry).
    Bytes of a name that are not UTF-8 become surrogates. Raises RefusedError for any other shape,
    for names that git would refuse (git-fsck(1)) and for a name that is there twice.
    """
    entries: dict[str, Entry] = {}
    seen: set[bytes] = set()
    at = 0
    while at < len(raw):
        end = raw.find(b"\0", at)
        mode, space, name = raw[at:end].partition(b" ")
        digest = raw[end + 1 : end + 21]
        if end < 0 or not space or not mode.isdigit() or len(mode) > 6 or len(digest) != 20:
            raise RefusedError("a tree of this commit is malformed", "write the tree with git")
        if not name or b"/" in name or name.lower() in (b".", b"..", b".git"):
            raise RefusedError("a tree of this commit has a forbidden name", "rename the file")
        if name in seen:
            raise RefusedError("a tree of this commit has a name twice", "write the tree with git")
        seen.add(name)
        text = name.decode(errors="surrogateescape")
        if names is None or text in names:
            entries[text] = Entry(mode.decode().lstrip("0"), digest.hex())
        at = end + 21
    return entries
