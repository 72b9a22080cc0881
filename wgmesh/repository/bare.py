"""The node's bare repository: fetched into, and read by object id. Nothing is checked out."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from wgmesh.errors import UnreachableError, WgmeshError
from wgmesh.repository import bundle, command, directory, merge, transfer
from wgmesh.repository.command import Limits
from wgmesh.repository.inventory_files import inventory_files
from wgmesh.repository.reader import Reader, full_id
from wgmesh.repository.remote import ACCESS, NOT_GIVEN, advice, check_branch, check_remote
from wgmesh.trust.objects import Entry, Stream
from wgmesh.trust.plain import plain

FETCHED_REF = "refs/wgmesh/fetched"
TRUSTED_REF = "refs/wgmesh/trusted"
ANCHOR_REF = "refs/wgmesh/anchor"

_LOCAL_SECONDS = 60
_TIDY_SECONDS = 300


class Repository:
    """A bare repository at `path`, which nobody else writes; the Objects of the chain rule.

    `environment` is added to git's when a remote is asked, over remote.ACCESS. Close it, or use it
    in a `with` statement: reads keep one `git cat-file` alive.
    """

    def __init__(self, path: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self.path = path.absolute()
        self._extra = dict(ACCESS) | dict(environment or {})
        self._reader = Reader(self.path, command.NO_PROTOCOL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child that serves reads; the repository can be used again afterwards."""
        self._reader.close()

    # ------------------------------------------------------------ the directory

    def create(self) -> None:
        """Make the repository: bare, private, without hooks. Raises WgmeshError when it cannot."""
        directory.create(self.path)

    def valid(self) -> bool:
        """Return whether git takes the directory for a bare repository and its refs resolve."""
        return directory.valid(self.path)

    def ensure(self) -> bool:
        """Make the repository unless a valid one is there; return True when it was made.

        A damaged directory is set aside as `NAME.damaged`, in the place of an earlier one.
        """
        if self.valid():
            return False
        self.close()
        directory.set_aside(self.path)
        self.create()
        return True

    # ------------------------------------------------------------ the remote

    def fetch(
        self, remote: str, branch: str, expected: str, *, timeout_seconds: float = 300
    ) -> None:
        """Fetch the branch, which must then be at `expected`, with all its objects.

        When it is not, as when somebody pushed meanwhile, `expected` is asked for by its id. Raises
        UnreachableError when the remote does not give it, and what transfer.fetch does.
        """
        remote, ref = check_remote(remote), f"refs/heads/{check_branch(branch)}"
        self._require()
        transfer.clear(self.path)
        self._fetch(remote, ref, timeout_seconds)
        if self._resolve(FETCHED_REF) == expected:
            return
        self._fetch(remote, full_id(expected), timeout_seconds)
        if self._resolve(FETCHED_REF) != expected:
            raise UnreachableError(
                f"{plain(remote, 200)} has {branch} at {expected[:12]} {NOT_GIVEN}",
                advice(NOT_GIVEN),
            )

    def _fetch(self, remote: str, source: str, timeout_seconds: float) -> None:
        transfer.fetch(
            self.path,
            remote,
            source,
            FETCHED_REF,
            extra=self._extra,
            timeout_seconds=timeout_seconds,
        )

    def make_room(self) -> None:
        """Forget what was refused, before more is fetched, when it takes too much room.

        Then what keep() holds and its history are what stays. Anything else can be fetched again.
        """
        self._require()
        if transfer.size_bytes(self.path) > transfer.LARGEST_REPOSITORY_BYTES:
            self.close()
            self._point(())
            self._tidy("--prune=now")

    def _tidy(self, how: str) -> None:
        """Have git make one pack of many. That it fails is for the next time."""
        limits = Limits(transfer.LARGEST_REPOSITORY_BYTES)
        self._git("gc", how, "--quiet", timeout_seconds=_TIDY_SECONDS, limits=limits)

    # ------------------------------------------------------------ bundles

    def write_bundle(self, path: Path, since: str) -> tuple[str, ...]:
        """Write what leads from `since` ("": from the beginning) to the fetched commits.

        Returns those that it has: the ones that `since` does not reach, and no file is left when it
        reaches all. A `since` that is not here counts as the beginning. Raises WgmeshError.
        """
        path.unlink(missing_ok=True)
        known = bool(since) and self.has(since)
        commits = [
            commit for commit in self.fetched() if not (known and self.is_ancestor(commit, since))
        ]
        if not commits:
            return ()
        self._point(commits)
        wanted = [ref for _, ref in _places(commits)] + ([f"^{since}"] if known else [])
        aside = path.with_name(f"{path.name}.new")
        path.with_name(f"{aside.name}.lock").unlink(missing_ok=True)  # of a git that was killed
        outcome = self._git(
            "bundle", "create", "--quiet", "--version=2", str(aside), *wanted, timeout_seconds=300
        )
        if outcome.status:
            aside.unlink(missing_ok=True)
            raise WgmeshError(f"cannot write {path}: {outcome.said}", "check the disk")
        aside.chmod(0o644)
        aside.replace(path)
        return tuple(commits)

    def take_bundle(self, stream: BinaryIO, commits: Sequence[str], *, limit_bytes: int) -> None:
        """Have `commits` as the fetched ones, out of a bundle that nobody vouches for.

        See bundle.take for what is raised; nothing has changed then.
        """
        self._require()
        transfer.clear(self.path)
        self.make_room()
        self.close()  # it would not look for the new pack
        bundle.take(self.path, stream, _places(commits), has=self.has, limit_bytes=limit_bytes)
        self.close()
        self.hold(commits)

    def reaches(self, commit: str) -> bool:
        """Return whether what was fetched before has `commit` and all its history."""
        if not self.has(commit):
            return False
        outcome = self._git("for-each-ref", "--count=1", f"--contains={full_id(commit)}")
        return outcome.status == 0 and bool(outcome.stdout)

    def fetched(self) -> tuple[str, ...]:
        """Return the ids that were fetched last, one for each story that the remotes told."""
        outcome = self._git("for-each-ref", "--format=%(objectname)", f"{FETCHED_REF}*")
        return tuple(outcome.stdout.decode().split())

    def hold(self, commits: Sequence[str]) -> None:
        """Have exactly these commits, which must be here, as the fetched ones; git tidies up."""
        self._point(commits)
        self._tidy("--auto")

    def _point(self, commits: Sequence[str]) -> None:
        for commit, ref in _places(commits):
            self._update_ref(ref, commit)
        for _, former in _places(self.fetched())[len(commits) :]:
            self._git("update-ref", "-d", former)

    def keep(self, commit: str, *, anchor: bool = False) -> None:
        """Hold on to `commit` and its history, so that git's own tidying never removes it.

        As the trusted one, or as the anchor: each in the place of the one before.
        """
        self._update_ref(ANCHOR_REF if anchor else TRUSTED_REF, commit)

    def kept(self) -> str | None:
        """Return the id that keep() was last called with, None before the first time."""
        return self._resolve(TRUSTED_REF)

    # ------------------------------------------------------------ Objects

    def has(self, object_id: str) -> bool:
        """Return whether the object is there."""
        return self._reader.has(object_id)

    def commit(self, commit: str) -> bytes:
        """Return the raw commit; see Reader.read for what is raised."""
        return self._reader.commit(commit)

    def commits(self, commits: Sequence[str]) -> Stream[bytes]:
        """Yield the raw commits; see Reader.ahead."""
        return self._reader.commits(commits)

    def trees(
        self, trees: Sequence[str], names: Collection[str] | None = None
    ) -> Stream[Mapping[str, Entry]]:
        """Yield each tree's entries by name; see Reader.trees."""
        return self._reader.trees(trees, names)

    def blob(self, blob: str, limit_bytes: int) -> bytes:
        """Return a file's bytes; see Reader.read for what is raised."""
        return self._reader.blob(blob, limit_bytes)

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Return whether `descendant` reaches `ancestor` through any parents (or is it)."""
        return self._answer("--is-ancestor", full_id(ancestor), full_id(descendant))

    def tips(self, since: str, tip: str, most: int) -> tuple[str, ...]:
        """Return the commits that were `tip` of the branch in turn after `since`, oldest first.

        That is along first parents; the newest `most` of them. Raises WgmeshError.
        """
        words = ["--first-parent", f"--max-count={most}", full_id(tip), f"^{full_id(since)}"]
        outcome = self._git("rev-list", *words, "--")
        if outcome.status:
            raise WgmeshError(
                f"git cannot walk the commits in {self.path}: {outcome.said}", "fetch again"
            )
        return tuple(reversed(outcome.stdout.decode().split()))

    def related(self, one: str, other: str) -> bool:
        """Return whether the two commits have an ancestor in common."""
        return self._answer(full_id(one), full_id(other))

    def line(self, tip: str, limit: int) -> list[str]:
        """Return up to `limit` commits of the first-parent line from `tip`; see merge.line."""
        return merge.line(self.path, tip, limit)

    def line_beyond(self, base: str, tip: str) -> list[str]:
        """Return the first-parent line from `tip` down to what `base` reaches, newest first."""
        line = merge.line_beyond(self.path, base, tip)
        if line and self.is_ancestor(line[-1], base):  # dates that are wrong misled git
            del line[bisect_left(line, True, key=lambda commit: self.is_ancestor(commit, base)) :]
        return line

    def merge_bases(self, one: str, other: str) -> list[str]:
        """Return the best common ancestors of two commits (git-merge-base(1)), perhaps none."""
        outcome = self._compared("--all", full_id(one), full_id(other))
        return outcome.stdout.decode().split()

    def beyond(self, base: str, tips: Sequence[str], limit: int) -> list[str]:
        """Return commits that `tips` reach and `base` does not; see merge.beyond."""
        return merge.beyond(self.path, base, tips, limit)

    def merged(self, one: str, other: str, since: str | None = None) -> str | None:
        """Return the tree that merging two commits gives, if any; see merge.merged."""
        return merge.merged(self.path, one, other, since)

    def inventory_files(self, commit: str, path: str) -> dict[str, bytes]:
        """Return the inventory under `path` of `commit`; see inventory_files.inventory_files."""
        return inventory_files(self._reader, commit, path)

    def find(self, rev: str) -> str | None:
        """Return the full id of the commit that `rev`, any text, names here; else None."""
        if not rev or "\0" in rev:
            return None
        return self._resolve(f"{rev}^{{commit}}")

    # ------------------------------------------------------------ git

    def _update_ref(self, ref: str, commit: str) -> None:
        transfer.clear(self.path)  # who writes refs has wgmesh's own lock: git's are dead ones'
        outcome = self._git("update-ref", ref, full_id(commit))
        if outcome.status:
            raise WgmeshError(
                f"cannot keep {commit[:12]}: {outcome.said}", f"check the disk of {self.path}"
            )

    def _resolve(self, name: str) -> str | None:
        outcome = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", name)
        return None if outcome.status else outcome.stdout.decode().strip()

    def _answer(self, *args: str) -> bool:
        return self._compared(*args).status == 0

    def _compared(self, *args: str) -> command.Outcome:
        outcome = self._git("merge-base", *args)
        if outcome.status not in (0, 1):  # git-merge-base(1): 1 is no, the rest are errors
            raise WgmeshError(
                f"git cannot compare commits in {self.path}: {outcome.said}",
                "remove that directory: it will be made anew",
            )
        return outcome

    def _git(
        self,
        *args: str,
        extra: Mapping[str, str] = command.NO_PROTOCOL,
        timeout_seconds: float = _LOCAL_SECONDS,
        limits: Limits | None = None,
    ) -> command.Outcome:
        self._require()
        return command.run(
            self.path,
            self.path,
            args,
            extra=extra,
            timeout_seconds=timeout_seconds,
            limits=limits,
        )

    def _require(self) -> None:
        if not self.path.is_dir():
            raise WgmeshError(f"there is no repository at {self.path}", "fetch first")


def _places(commits: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return each commit with the ref that it has when it is fetched."""
    return tuple(
        (full_id(commit), FETCHED_REF if not number else f"{FETCHED_REF}-{number + 1}")
        for number, commit in enumerate(commits)
    )
