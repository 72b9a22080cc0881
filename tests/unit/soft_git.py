"""Signed commits in a repository of git's, made in process: objects as git would write them."""

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

from .signing import EPOCH, run
from .soft_keys import SoftKey

Files = Mapping[str, str]
"""Texts of files by path."""


class SoftGit:
    """Writes into a bare repository; the same content has the same id each time."""

    def __init__(self, path: Path) -> None:
        run(["git", "init", "--quiet", "--bare", "-b", "main", str(path)], path.parent)
        self.path = path
        self.clock = EPOCH

    def put(self, kind: str, body: bytes) -> str:
        """Write a loose object and return its id."""
        data = f"{kind} {len(body)}".encode() + b"\0" + body
        name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        path = self.path / "objects" / name[:2] / name[2:]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(data, 1))
        return name

    def tree(self, files: Files) -> str:
        """Write the tree of these files and return its id."""
        below: dict[str, dict[str, str]] = {}
        for path, text in files.items():
            top, _, rest = path.partition("/")
            below.setdefault(f"{top}/" if rest else top, {})[rest] = text
        lines = []
        for name, inner in sorted(below.items()):
            if name.endswith("/"):
                mode, found = "40000", self.tree(inner)
            else:
                mode, found = "100644", self.put("blob", inner[""].encode())
            lines.append(f"{mode} {name.rstrip('/')}\0".encode() + bytes.fromhex(found))
        return self.put("tree", b"".join(lines))

    def listing(self, *entries: tuple[str, str, str]) -> str:
        """Write a tree of entries (mode, name, id of what may not be there) and return its id."""
        lines = [
            f"{mode} {name}\0".encode() + bytes.fromhex(found) for mode, name, found in entries
        ]
        return self.put("tree", b"".join(lines))

    def commit(
        self, files: Files, *parents: str, by: SoftKey | None, subject: str = "Change"
    ) -> str:
        """Write a commit, signed or by nobody, and return its id. Each is a second later."""
        return self.commit_tree(self.tree(files), *parents, by=by, subject=subject)

    def commit_tree(
        self, tree: str, *parents: str, by: SoftKey | None, subject: str = "Change"
    ) -> str:
        """Write a commit of a tree."""
        self.clock += 1
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines.append(f"author Ada <ada@example.com> {self.clock} +0000")
        head = "\n".join([*lines, f"committer Ops <ops@example.com> {self.clock} +0000\n"]).encode()
        message = f"\n{subject}\n".encode()
        if by is not None:
            armor = by.sshsig(head + message).rstrip(b"\n").replace(b"\n", b"\n ")
            head += b"gpgsig " + armor + b"\n"
        return self.put("commit", head + message)
