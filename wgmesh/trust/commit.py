"""The raw commit object: its fields, its one signature, and exactly what that signature covers."""

import re

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust.plain import plain

LAST_SECOND = 253_402_300_799
"""The end of the year 9999: later timestamps cannot be shown, so they are shown as this one."""

_SIGN = (
    "sign what you commit and merge: git commit -S, git merge --no-ff -S; a forge's squash and"
    " rebase buttons lose signatures, its merge button keeps them"
)

_ID = re.compile(rb"[0-9a-f]{40}")
_HEADER = re.compile(rb"[!-~]+ ")
_PERSON = re.compile(rb"(.*) (\d+) [+-]\d+")


@frozen
class Commit:
    """A commit's fields; the texts are as raw as the author left them."""

    id: str
    tree: str
    parents: tuple[str, ...]
    raw_author: bytes
    time: int  # the committer's clock, seconds since the epoch
    raw_message: bytes
    raw: bytes

    @property
    def author(self) -> str:
        """Name and address of the author, fit for a terminal."""
        return plain(self.raw_author, 120)

    @property
    def subject(self) -> str:
        """First line of the message, fit for a terminal."""
        return plain(self.raw_message.lstrip(b"\n\r ").partition(b"\n")[0], 100)

    @property
    def short(self) -> str:
        """First twelve digits of the id."""
        return self.id[:12]


def parents(raw: bytes) -> tuple[str, ...]:
    """Return a raw commit's parents, in order. Raises RefusedError when it does not read as one."""
    lines = raw.partition(b"\n\n")[0].split(b"\n")
    if not lines[0].startswith(b"tree ") or not _ID.fullmatch(lines[0], 5):
        raise _malformed("begins with no tree")
    found = []
    for line in lines[1:]:
        if not line.startswith(b"parent "):
            break
        if not _ID.fullmatch(line, 7):
            raise _malformed("has a parent that is no id")
        found.append(line[7:].decode())
    return tuple(found)


def parse(commit: str, raw: bytes) -> Commit:
    """Return the fields of raw commit `commit`.

    Given git's grammar (tree, parents, author, committer, other headers whose continuation lines
    begin with a space, an empty line, the message; see git's commit.c), raises RefusedError for
    anything that git itself would not write.
    """
    if b"\0" in raw:
        raise _malformed("contains a NUL")
    head, separator, message = raw.partition(b"\n\n")
    if not separator:
        raise _malformed("has no end of its headers")
    above = parents(raw)
    lines = head.split(b"\n")[1 + len(above) :]
    if len(lines) < 2 or lines[0][:7] != b"author " or lines[1][:10] != b"committer ":
        raise _malformed("names no author and committer")
    author, committer = _PERSON.fullmatch(lines[0], 7), _PERSON.fullmatch(lines[1], 10)
    if not author or not committer:
        raise _malformed("has an author or committer without a date")
    for number, line in enumerate(lines[2:]):
        if line.startswith(b" ") and number:
            continue
        if not _HEADER.match(line):
            raise _malformed("has a header that is none")
        if line.startswith((b"tree ", b"parent ", b"author ", b"committer ")):
            raise _malformed("has a header out of its place")
    return Commit(
        id=commit,
        tree=raw[5:45].decode(),
        parents=above,
        raw_author=author[1],
        time=int(committer[2]) if len(committer[2]) < 16 else LAST_SECOND,
        raw_message=message,
        raw=raw,
    )


def split_signature(raw: bytes) -> tuple[bytes, bytes]:
    """Return what the signature of a raw commit covers, and the armored signature.

    A signature covers the commit without its `gpgsig` header (git's commit.c,
    parse_signed_commit). That header must be there once, be the last one, which is where git puts
    it, and be the only one whose name begins so: git takes others out of what it checks as well.
    Raises RefusedError otherwise.
    """
    head, _, message = raw.partition(b"\n\n")
    lines = head.split(b"\n")
    found = [number for number, line in enumerate(lines) if line.startswith(b"gpgsig")]
    if not found:
        raise RefusedError("it is not signed", _SIGN)
    if len(found) > 1:
        raise RefusedError("it carries more than one signature")
    first = found[0]
    if lines[first].startswith(b"gpgsig-sha256 "):
        raise RefusedError("it is signed for SHA-256 repositories only")
    if not lines[first].startswith(b"gpgsig "):
        raise RefusedError("its signature has an unknown form")
    rest = lines[first + 1 :]
    if not all(line.startswith(b" ") for line in rest):
        raise RefusedError("a header follows its signature")
    armor = b"\n".join([lines[first][7:], *(line[1:] for line in rest)])
    return b"\n".join(lines[:first]) + b"\n\n" + message, armor


def _malformed(how: str) -> RefusedError:
    return RefusedError(f"it is malformed: it {how}", "write commits with git")
