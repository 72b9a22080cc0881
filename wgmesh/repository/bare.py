"""The node's bare repository: fetched into, and read by object id. Nothing is checked out."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from wgmesh import process
from wgmesh.errors import RefusedError, UnreachableError, WgmeshError
from wgmesh.files import sync_directory
from wgmesh.repository import bundle, command
from wgmesh.repository.inventory_files import inventory_files
from wgmesh.repository.reader import Reader, full_id
from wgmesh.repository.remote import ACCESS, check_branch, check_remote, unreachable
from wgmesh.trust.commit import plain
from wgmesh.trust.objects import Entry

FETCHED_REF = "refs/wgmesh/fetched"
TRUSTED_REF = "refs/wgmesh/trusted"

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
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        args = ["init", "--bare", "--quiet", "--template=", "--object-format=sha1"]
        args += ["--initial-branch=main", "--", str(self.path)]
        outcome = command.run(
            self.path, None, args, extra=self._extra, timeout_seconds=_LOCAL_SECONDS
        )
        if outcome.status:
            raise WgmeshError(f"cannot make {self.path}: {outcome.said}", "check that directory")
        sync_directory(self.path.parent)

    def valid(self) -> bool:
        """Return whether git takes the directory for a bare repository and its refs resolve."""
        if not self.path.is_dir():
            return False
        bare = self._git("rev-parse", "--is-bare-repository")
        if bare.status or bare.stdout != b"true\n":
            return False
        # Every ref must lead to an object that can be read; a power cut breaks the newest first.
        return self._git("for-each-ref", "--format=%(objecttype) %(objectsize)").status == 0

    def ensure(self) -> bool:
        """Make the repository unless a valid one is there; return True when it was made.

        A damaged directory is set aside as `NAME.damaged`, in the place of an earlier one.
        """
        if self.valid():
            return False
        self.close()
        aside = self.path.with_name(self.path.name + ".damaged")
        try:
            if self.path.exists():
                if aside.exists():
                    shutil.rmtree(aside)
                self.path.rename(aside)
        except OSError as error:
            raise self._unwritable(error) from error
        self.create()
        return True

    def _unwritable(self, error: OSError) -> WgmeshError:
        return WgmeshError(
            f"cannot make {self.path}: {error.strerror}", "check its parent directory"
        )

    # ------------------------------------------------------------ the remote

    def ls_remote(self, remote: str, branch: str, *, timeout_seconds: float) -> str:
        """Return the id that `remote` has at the branch now.

        Without GitPython, so that a poll that finds nothing new stays cheap, and without the
        repository, which need not exist yet. Raises UnreachableError when the remote does not
        answer or has no such branch, UsageError for a remote or branch that cannot be.
        """
        remote, ref = check_remote(remote), f"refs/heads/{check_branch(branch)}"
        argv = command.arguments(self.path, ["ls-remote", "--refs", "--", remote, ref])
        try:
            done = process.run(
                argv, env=command.CLEAN | self._extra, timeout_seconds=timeout_seconds, check=False
            )
        except process.CommandError as error:
            if error.returncode is not None:
                raise
            outcome = command.Outcome(None, b"", "the time was up")
        else:
            outcome = command.Outcome(
                done.returncode, done.stdout, done.stderr.decode(errors="replace")
            )
        if outcome.status != 0:
            raise unreachable(remote, outcome)
        for line in outcome.stdout.decode(errors="replace").splitlines():
            commit, _, name = line.partition("\t")
            if name == ref and re.fullmatch(r"[0-9a-f]{40}", commit):
                return commit
        raise UnreachableError(
            f"{plain(remote, 200)} answers, but has no branch {branch}",
            "push the branch, or join with another --branch",
        )

    def fetch(
        self, remote: str, branch: str, expected: str, *, timeout_seconds: float = 300
    ) -> None:
        """Fetch the branch, which must then be at `expected`, with all its objects.

        When it is not, as when somebody pushed meanwhile, `expected` is asked for by its id. Raises
        UnreachableError when the remote does not give it, RefusedError when git finds an object
        malformed.
        """
        remote, ref = check_remote(remote), f"refs/heads/{check_branch(branch)}"
        self._fetch(remote, ref, timeout_seconds)
        if self._resolve(FETCHED_REF) == expected:
            return
        self._fetch(remote, full_id(expected), timeout_seconds)
        if self._resolve(FETCHED_REF) != expected:
            raise UnreachableError(
                f"{plain(remote, 200)} has {branch} at {expected[:12]} but did not give it",
                "try again; if it stays so, the server is a shallow clone or contradicts itself",
            )

    def _fetch(self, remote: str, source: str, timeout_seconds: float) -> None:
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]
        outcome = self._git(
            "fetch",
            *options,
            "--",
            remote,
            f"+{source}:{FETCHED_REF}",
            extra=self._extra,
            timeout_seconds=timeout_seconds,
        )
        if outcome.status == 0:
            return
        if "fsck error" in outcome.stderr:
            raise RefusedError(
                f"{plain(remote, 200)} sent an object that git refuses: {outcome.said}",
                "push commits that git itself has written",
            )
        raise unreachable(remote, outcome)

    # ------------------------------------------------------------ bundles

    def write_bundle(self, path: Path, since: str) -> bool:
        """Write what leads from `since` ("": from the beginning) to the fetched commit.

        Returns False, and leaves no file, when `since` reaches that commit already. A `since` that
        is not here counts as the beginning. Raises WgmeshError.
        """
        path.unlink(missing_ok=True)
        tip = self._resolve(FETCHED_REF)
        known = bool(since) and self.has(since)
        if tip is None or (known and self.is_ancestor(tip, since)):
            return False
        wanted = [FETCHED_REF, *([f"^{since}"] if known else [])]
        aside = path.with_name(f"{path.name}.new")
        outcome = self._git(
            "bundle", "create", "--quiet", "--version=2", str(aside), *wanted, timeout_seconds=300
        )
        if outcome.status:
            aside.unlink(missing_ok=True)
            raise WgmeshError(f"cannot write {path}: {outcome.said}", "check the disk")
        aside.chmod(0o644)
        aside.replace(path)
        return True

    def take_bundle(self, stream: BinaryIO, commit: str, *, limit_bytes: int) -> None:
        """Have `commit` as the fetched one, out of a bundle that nobody vouches for.

        See bundle.take for what is raised; nothing has changed then.
        """
        expected = (full_id(commit), FETCHED_REF)
        self.close()  # it would not look for the new pack
        bundle.take(self.path, stream, expected, has=self.has, limit_bytes=limit_bytes)
        self.close()
        outcome = self._git("update-ref", FETCHED_REF, commit)
        if outcome.status:
            raise WgmeshError(f"cannot keep {commit[:12]}: {outcome.said}", "fetch again")
        # As `git fetch` does: many small packs become one. That it fails is for the next time.
        self._git("gc", "--auto", "--quiet", timeout_seconds=_TIDY_SECONDS)

    def reaches(self, commit: str) -> bool:
        """Return whether what was fetched before has `commit` and all its history."""
        if not self.has(commit):
            return False
        outcome = self._git("for-each-ref", "--count=1", f"--contains={full_id(commit)}")
        return outcome.status == 0 and bool(outcome.stdout)

    def fetched(self) -> str | None:
        """Return the id that was fetched last, None before the first time."""
        return self._resolve(FETCHED_REF)

    def keep(self, commit: str) -> None:
        """Hold on to `commit` and its history, so that git's own tidying never removes it."""
        outcome = self._git("update-ref", TRUSTED_REF, full_id(commit))
        if outcome.status:
            raise WgmeshError(f"cannot keep {commit[:12]}: {outcome.said}", "fetch again")

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

    def tree(self, tree: str) -> Mapping[str, Entry]:
        """Return a tree's entries by name; see Reader.read for what is raised."""
        return self._reader.tree(tree)

    def blob(self, blob: str, limit_bytes: int) -> bytes:
        """Return a file's bytes; see Reader.read for what is raised."""
        return self._reader.blob(blob, limit_bytes)

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Return whether `descendant` reaches `ancestor` through any parents (or is it)."""
        return self._answer("--is-ancestor", full_id(ancestor), full_id(descendant))

    def line(self, since: str, tip: str, most: int) -> tuple[str, ...]:
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

    def inventory_files(self, commit: str, path: str) -> dict[str, bytes]:
        """Return the inventory under `path` of `commit`; see inventory_files.inventory_files."""
        return inventory_files(self._reader, commit, path)

    # ------------------------------------------------------------ git

    def _resolve(self, name: str) -> str | None:
        outcome = self._git("rev-parse", "--verify", "--quiet", name)
        return None if outcome.status else outcome.stdout.decode().strip()

    def _answer(self, *args: str) -> bool:
        outcome = self._git("merge-base", *args)
        if outcome.status not in (0, 1):  # git-merge-base(1): 1 is no, the rest are errors
            raise WgmeshError(
                f"git cannot compare commits in {self.path}: {outcome.said}",
                "remove that directory: it will be made anew",
            )
        return outcome.status == 0

    def _git(
        self,
        *args: str,
        extra: Mapping[str, str] = command.NO_PROTOCOL,
        timeout_seconds: float = _LOCAL_SECONDS,
    ) -> command.Outcome:
        if not self.path.is_dir():
            raise WgmeshError(f"there is no repository at {self.path}", "fetch first")
        return command.run(self.path, self.path, args, extra=extra, timeout_seconds=timeout_seconds)
