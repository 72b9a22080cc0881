"""A long signed history, written as a pack: thousands of commits in a second."""

import base64
import hashlib
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

EPOCH = 1_700_000_000
NODES = 50

_NUMBERS = {"commit": 1, "tree": 2, "blob": 3}  # gitformat-pack(5)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True)
class Key:
    """An ed25519 key that signs as `ssh-keygen -Y sign -n git` would (PROTOCOL.sshsig)."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def blob(self) -> bytes:
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _string(b"ssh-ed25519") + _string(raw)

    def line(self, principal: str) -> str:
        """Return the key's line of a signers file."""
        return f"{principal} ssh-ed25519 {base64.b64encode(self.blob).decode()}\n"

    def sign(self, payload: bytes) -> bytes:
        """Return the armored signature over `payload`."""
        digest = hashlib.sha512(payload).digest()
        head = b"".join(map(_string, (b"git", b"", b"sha512")))
        value = self.private.sign(b"SSHSIG" + head + _string(digest))
        data = b"SSHSIG\0\0\0\1" + _string(self.blob) + head
        text = base64.b64encode(
            data + _string(_string(b"ssh-ed25519") + _string(value))
        )  # wrapped as ssh-keygen does
        lines = [text[at : at + 70] for at in range(0, len(text), 70)]
        begin, end = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
        return b"\n".join([begin, *lines, end])


class History:
    """Objects by id, in the order in which they were made."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[str, bytes]] = {}

    def add(self, kind: str, data: bytes) -> str:
        """Add an object and return its id."""
        name = hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()  # git's
        self.objects[name] = (kind, data)
        return name

    def tree(self, entries: dict[str, tuple[str, str]]) -> str:
        """Add a tree of `entries`, mode and id by name."""
        order = sorted(entries, key=lambda name: name + "/" * (entries[name][0] == "40000"))
        parts = (
            f"{entries[name][0]} {name}\0".encode() + bytes.fromhex(entries[name][1])
            for name in order
        )
        return self.add("tree", b"".join(parts))

    def commit(self, tree: str, parents: Sequence[str], subject: str, key: Key | None) -> str:
        """Add a commit, signed by `key`; its time is the number of objects before it."""
        when = f"{EPOCH + len(self.objects)} +0000"
        head = "".join([f"tree {tree}\n", *(f"parent {parent}\n" for parent in parents)])
        head += f"author Ada <ada@example.com> {when}\ncommitter Ada <ada@example.com> {when}\n"
        message = f"\n{subject}\n"
        raw = (head + message).encode()
        if key is not None:
            armor = key.sign(raw).replace(b"\n", b"\n ")
            raw = head.encode() + b"gpgsig " + armor + b"\n" + message.encode()
        return self.add("commit", raw)

    def write(self, git_dir: Path, tip: str) -> None:
        """Make a bare repository with everything in one pack, as a fetch would leave it."""
        parts = [b"PACK" + (2).to_bytes(4, "big") + len(self.objects).to_bytes(4, "big")]
        for kind, data in self.objects.values():
            size, first = len(data) >> 4, _NUMBERS[kind] << 4 | len(data) & 15
            head = bytearray()
            while size:
                head.append(first | 0x80)
                first, size = size & 0x7F, size >> 7
            head.append(first)
            parts.append(bytes(head) + zlib.compress(data, 1))
        pack = b"".join(parts)
        pack += hashlib.sha1(pack).digest()  # git's
        _git(git_dir.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(git_dir))
        _git(git_dir, "index-pack", "--stdin", stdin=pack)
        _git(git_dir, "update-ref", "refs/heads/main", tip)
        _git(git_dir, "repack", "-adfq")


def _git(directory: Path, *args: str, stdin: bytes = b"") -> None:
    argv = ["git", "-C", str(directory), *args]
    subprocess.run(argv, input=stdin, check=True, stdout=subprocess.DEVNULL)


def linear(history: History, commits: int, key: Key) -> tuple[str, str]:
    """Add `commits` steps that change a file each; return the commit before them, and the tip."""
    signers = ("100644", history.add("blob", key.line("ada@example.com").encode()))
    mesh = ("100644", history.add("blob", b'[mesh]\ninterface = "wg0"\n'))
    blob = history.add("blob", b"# new\n")
    nodes = {f"node-{number:03}.toml": ("100644", blob) for number in range(NODES)}
    first = tip = ""
    for number in range(commits + 1):
        blob = history.add("blob", f"# change {number}\n".encode())
        nodes[f"node-{number % NODES:03}.toml"] = ("100644", blob)
        below = ("40000", history.tree(nodes))
        tree = history.tree({"allowed_signers": signers, "mesh.toml": mesh, "nodes": below})
        tip = history.commit(tree, [tip] if tip else [], f"Change {number}", key)
        first = first or tip
    return first, tip
