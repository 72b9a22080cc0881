"""Packs made by hand (gitformat-pack(5)), the hostile ones among them."""

import hashlib
import zlib
from collections.abc import Iterator

COMMIT, TREE, BLOB, OFS_DELTA = 1, 2, 3, 6
_NAMES = {COMMIT: "commit", TREE: "tree", BLOB: "blob"}
_PIECE = 1 << 24


def object_id(kind: int, body: bytes) -> str:
    """Return the id that git gives an object."""
    data = f"{_NAMES[kind]} {len(body)}".encode() + b"\0" + body
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def commit_of(tree: str, *parents: str) -> bytes:
    """Return an unsigned raw commit."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    who = "Eve <eve@example.com> 1700000000 +0000"
    return "\n".join([*lines, f"author {who}", f"committer {who}", "", "hand-made", ""]).encode()


def head(kind: int, size: int) -> bytes:
    """Return the head of a pack's entry: kind and size, seven bits a byte after the first four."""
    found = [(kind << 4) | (size & 15)]
    size >>= 4
    while size:
        found[-1] |= 0x80
        found.append(size & 0x7F)
        size >>= 7
    return bytes(found)


def entry(kind: int, body: bytes) -> bytes:
    """Return the entry of a whole object."""
    return head(kind, len(body)) + zlib.compress(body)


def joined(*entries: bytes) -> bytes:
    """Return the pack of these entries."""
    data = b"PACK" + (2).to_bytes(4, "big") + len(entries).to_bytes(4, "big") + b"".join(entries)
    return data + hashlib.sha1(data, usedforsecurity=False).digest()


def pack(*objects: tuple[int, bytes]) -> bytes:
    """Return a pack of these objects, each a kind and its bytes."""
    return joined(*(entry(kind, body) for kind, body in objects))


class Zeros:
    """An object of zeros, as large as one likes, which nobody needs to have in memory."""

    def __init__(self, size: int) -> None:
        assert size % _PIECE == 0
        self.size = size

    def id(self, kind: int) -> str:
        """Return the id that git gives it."""
        digest = hashlib.sha1(f"{_NAMES[kind]} {self.size}\0".encode(), usedforsecurity=False)
        piece = bytes(_PIECE)
        for _ in range(self.size // _PIECE):
            digest.update(piece)
        return digest.hexdigest()

    def entry(self, kind: int) -> bytes:
        """Return its entry of a pack: a thousandth of its size."""
        packer = zlib.compressobj(9)
        begin = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
        piece = packer.compress(bytes(_PIECE)) + packer.flush(zlib.Z_FULL_FLUSH)
        empty = zlib.compressobj(9, wbits=-15).flush()
        # Of zeros, the first half of an Adler-32 stays 1, and the second counts them.
        check = ((self.size % 65_521) << 16) + 1
        whole = begin + piece * (self.size // _PIECE) + empty + check.to_bytes(4, "big")
        return head(kind, self.size) + whole


def _number(value: int) -> bytes:
    """Return a size as at the head of a delta: seven bits a byte, the low ones first."""
    found = bytearray()
    while value >= 0x80:
        found.append((value & 0x7F) | 0x80)
        value >>= 7
    return bytes([*found, value])


def delta_bomb(kind: int, size: int, count: int = 1) -> Iterator[bytes]:
    """Yield entries: an object of 64 KiB, and `count` deltas that each make `size` bytes of it."""
    base = bytes(1 << 16)
    first = entry(kind, base)
    yield first
    copy = bytes([0x80])  # from offset 0, as many bytes as that is: 0x10000
    behind = len(first)
    for number in range(count):
        more = number.to_bytes(4, "big")
        delta = _number(len(base)) + _number(size + len(more))
        delta += copy * (size >> 16) + bytes([len(more)]) + more
        assert behind < 1 << 14  # what two bytes of an offset hold
        offset = behind - (1 << 7)
        far = bytes([0x80 | (offset >> 7), offset & 0x7F]) if behind >= 1 << 7 else bytes([behind])
        made = head(OFS_DELTA, len(delta)) + far + zlib.compress(delta, 9)
        yield made
        behind += len(made)
