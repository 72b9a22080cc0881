"""Objects by id, out of one `git cat-file --batch-command` that lives as long as the reader."""

import os
import re
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.repository import command
from wgmesh.trust.objects import Entry, Stream, parse_tree

if TYPE_CHECKING:
    from git.cmd import Git

LARGEST_COMMIT_BYTES = 1 << 20
LARGEST_TREE_BYTES = 8 << 20

READ_AHEAD = 64
"""Objects asked for at once: their names are less than a pipe holds, so asking never blocks."""

_ID = re.compile(r"[0-9a-f]{40}")
_REPLY = re.compile(rb"([0-9a-f]{40}) ([a-z]+) (\d+)\n")


def full_id(text: str) -> str:
    """Return `text` when it is a full object id; else raises WgmeshError."""
    if not _ID.fullmatch(text):
        raise WgmeshError(f"{text[:60]!r} is not a full object id", "give all 40 digits")
    return text


class Reader:
    """Reads objects of the repository at `git_dir`; close it, or use it in a `with` statement."""

    def __init__(self, git_dir: Path, extra: Mapping[str, str]) -> None:
        self._git_dir = git_dir
        self._extra = extra
        self._child: Git.AutoInterrupt | None = None

    def close(self) -> None:
        """End the child process, if there is one; the next read starts another."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        if child.proc is not None:
            child.proc.wait()  # the wrapper's own wait() takes a signal for a failure
        for stream in (child.stdin, child.stdout, child.stderr):
            with suppress(BrokenPipeError):  # of a request that nobody will read
                stream.close()

    def has(self, object_id: str) -> bool:
        """Return whether the repository has the object `object_id` (40 hex digits)."""
        return self._ask(object_id)[0] is not None

    def size(self, object_id: str) -> int:
        """Return the size of an object in bytes, without reading it. Raises WgmeshError."""
        kind, size = self._ask(object_id)
        if kind is None:
            raise self._missing(object_id)
        return size

    def read(self, object_id: str, kind: str, limit_bytes: int) -> bytes:
        """Return the contents of an object that must be a `kind` of at most `limit_bytes`.

        Raises RefusedError when it is another kind or larger, WgmeshError when it is not there or
        cannot be read.
        """
        self._request("contents", [object_id])
        return self._contents(object_id, kind, limit_bytes)

    def _contents(self, object_id: str, kind: str, limit_bytes: int) -> bytes:
        found, size = self._reply(object_id)
        if found is None:
            raise self._missing(object_id)
        if found != kind or size > limit_bytes:
            self.close()  # the contents are on their way, unread
            if found != kind:
                raise RefusedError(
                    f"{object_id[:12]} is a {found}, not a {kind}", f"put a {kind} there", object_id
                )
            raise RefusedError(
                f"the {kind} {object_id[:12]} has {size} bytes, more than {limit_bytes}",
                "make it smaller",
                object_id,
            )
        data = self._stream("stdout").read(size + 1)
        if len(data) != size + 1:
            raise self._broken()
        return data[:-1]

    def commit(self, commit: str) -> bytes:
        """Return the raw commit `commit`; see read() for what it raises."""
        return self.read(commit, "commit", LARGEST_COMMIT_BYTES)

    def tree(self, tree: str) -> Mapping[str, Entry]:
        """Return the entries of the tree `tree` by name; see read() for what it raises."""
        return parse_tree(self.read(tree, "tree", LARGEST_TREE_BYTES))

    def commits(self, commits: Sequence[str]) -> Stream[bytes]:
        """Yield each raw commit; see ahead()."""
        return self.ahead(commits, "commit", LARGEST_COMMIT_BYTES)

    def trees(
        self, trees: Sequence[str], names: Collection[str] | None = None
    ) -> Stream[Mapping[str, Entry]]:
        """Yield the entries of each tree by name, all or those in `names`; see ahead()."""
        with closing(self.ahead(trees, "tree", LARGEST_TREE_BYTES)) as found:
            for raw in found:
                yield parse_tree(raw, names)

    def ahead(self, object_ids: Sequence[str], kind: str, limit_bytes: int) -> Stream[bytes]:
        """Yield the contents of objects that must be a `kind` of at most `limit_bytes`; see read().

        They are asked for ahead, so that git is never waited for: see Stream.
        """
        for at in range(0, len(object_ids), READ_AHEAD):
            asked = object_ids[at : at + READ_AHEAD]
            self._request("contents", asked)
            left = len(asked)
            try:
                for object_id in asked:
                    raw = self._contents(object_id, kind, limit_bytes)
                    left -= 1
                    yield raw
            finally:
                if left:
                    self.close()  # the rest is on its way, unread

    def blob(self, blob: str, limit_bytes: int) -> bytes:
        """Return the file `blob`; its size is known before it is read. See read()."""
        size = self.size(blob)
        if size > limit_bytes:
            raise RefusedError(
                f"the file {blob[:12]} has {size} bytes, more than {limit_bytes}",
                "make it smaller",
                blob,
            )
        return self.read(blob, "blob", limit_bytes)

    def _ask(self, object_id: str) -> tuple[str | None, int]:
        """Return kind and size of an object, kind None when it is missing (git-cat-file(1))."""
        self._request("info", [object_id])
        return self._reply(object_id)

    def _request(self, verb: str, object_ids: Sequence[str]) -> None:
        request = "".join(f"{verb} {full_id(object_id)}\n" for object_id in object_ids)
        try:
            stdin = self._stream("stdin")
            stdin.write(request.encode())
            stdin.flush()
        except OSError:
            raise self._broken() from None

    def _reply(self, object_id: str) -> tuple[str | None, int]:
        try:
            line = self._stream("stdout").readline()
        except OSError:
            raise self._broken() from None
        if line == f"{object_id} missing\n".encode():
            return None, 0
        reply = _REPLY.fullmatch(line)
        if not reply:
            raise self._broken()
        return reply[2].decode(), int(reply[3])

    def _stream(self, name: str) -> BinaryIO:
        if self._child is None:
            self._child = command.start(
                self._git_dir,
                self._git_dir,
                ["cat-file", "--batch-command"],
                extra=self._extra,
                istream=command.PIPE,
            )
        stream: BinaryIO = getattr(self._child, name)
        return stream

    def _missing(self, object_id: str) -> WgmeshError:
        return WgmeshError(
            f"{object_id[:12]} is not in the repository {self._git_dir}",
            "fetch again; if that does not help, remove that directory: it will be made anew",
        )

    def _broken(self) -> WgmeshError:
        self.close()
        return WgmeshError(
            f"the repository {self._git_dir} is damaged",
            "remove that directory: it will be made anew",
        )
