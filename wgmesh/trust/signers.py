"""The signers file: OpenSSH's `allowed_signers` (ssh-keygen(1), ALLOWED SIGNERS), the strict part.

Times without a `Z` are read as UTC, not as the machine's zone: all nodes must read the same.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust import sshkey
from wgmesh.trust.sshsig import NAMESPACE

FILE_NAME = "allowed_signers"
LARGEST_BYTES = 1 << 20

Signers = Mapping[bytes, "Signer"]
"""A signers file: signers by the SSH encoding of their key."""

_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"\\]*)")?(,|[ \t]+|$)')
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(?:Z|UTC)?", re.I | re.A)
_KNOWN = "namespaces, valid-after, valid-before"


@frozen
class Signer:
    """One line: who may sign, with which key, for what and when (seconds since the epoch)."""

    principals: tuple[str, ...]
    key: sshkey.PublicKey
    line: int
    namespaces: tuple[str, ...] | None = None
    valid_after: int | None = None
    valid_before: int | None = None

    @property
    def name(self) -> str:
        """The first principal, for people."""
        return self.principals[0]

    @property
    def usable(self) -> bool:
        """Whether commits by this signer can be accepted at some time."""
        return self.namespaces is None or NAMESPACE in self.namespaces


def parse(data: bytes) -> Signers:
    """Return the signers that the file `data` names.

    Raises RefusedError for a file that names nobody or is larger than LARGEST_BYTES, and for what
    ssh-keygen would take but a fleet should not: cert-authority, wildcards, unknown options or
    kinds of keys, one key on two lines.
    """
    if len(data) > LARGEST_BYTES:
        raise RefusedError(f"{FILE_NAME} has more than {LARGEST_BYTES} bytes", "shorten it")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise RefusedError(f"{FILE_NAME} is not UTF-8", "save it as UTF-8") from None
    found: dict[bytes, Signer] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.removesuffix("\r").strip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        if not stripped.replace("\t", " ").isprintable():
            raise _bad(number, "has control characters", "retype the line")
        signer = _signer(number, stripped)
        if signer.key.blob in found:
            first = found[signer.key.blob].line
            raise _bad(number, f"has the key of line {first} again", "leave one of the two")
        found[signer.key.blob] = signer
    if not found:
        raise RefusedError(f"{FILE_NAME} names nobody", "name at least one signer")
    return found


def _bad(line: int, what: str, hint: str) -> RefusedError:
    return RefusedError(f"{FILE_NAME}:{line} {what}", hint)


def _signer(number: int, line: str) -> Signer:
    form = 'a line is: person@example.com namespaces="git" ssh-ed25519 AAAA…'
    head, *tail = line.split(None, 1)
    principals = tuple(head.split(","))
    if not all(principals):
        raise _bad(number, "has an empty principal", form)
    if set(head) & set("*?!\"'\\"):
        raise _bad(number, "has a wildcard or quote among its principals", "name each signer")
    if not tail:
        raise _bad(number, "has no key", form)
    rest = tail[0]
    namespaces: tuple[str, ...] | None = None
    times: dict[str, int] = {}
    if rest.split(" ", 1)[0].split("\t", 1)[0] not in sshkey.KINDS:
        options, rest = _options(number, rest)
        if "namespaces" in options:
            namespaces = tuple(options.pop("namespaces").split(","))
            if not all(namespaces) or set("".join(namespaces)) & set("*?!"):
                raise _bad(number, "has a wildcard among its namespaces", 'use namespaces="git"')
        times = {name: _time(number, name, value) for name, value in options.items()}
    after, before = times.get("valid-after"), times.get("valid-before")
    if after is not None and before is not None and before <= after:
        raise _bad(number, "is never valid: valid-before is not later than valid-after", form)
    words = rest.split(None, 2)
    if len(words) < 2:
        raise _bad(number, "has no key", form)
    if words[0] not in sshkey.KINDS:
        kind = words[0][:40]
        raise _bad(number, f"has a key of the unknown kind {kind!r}", "use an ed25519 key")
    try:
        key = sshkey.parse_key(sshkey.decode_base64(words[1].encode()))
    except RefusedError as error:
        raise _bad(number, f"has a key that cannot be used: {error.message}", form) from None
    if key.kind != words[0]:
        raise _bad(number, f"says {words[0]} but has a key of kind {key.kind}", form)
    return Signer(principals, key, number, namespaces, after, before)


def _options(number: int, text: str) -> tuple[dict[str, str], str]:
    """Return the options at the begin of `text`, names in lower case, and what follows them."""
    options: dict[str, str] = {}
    at = 0
    while True:
        match = _OPTION.match(text, at)
        if not match:
            raise _bad(number, "has options that cannot be read", f"known are: {_KNOWN}")
        name, value, end = match[1].lower(), match[2], match[3]
        if name == "cert-authority":
            raise _bad(number, "is a cert-authority, which wgmesh refuses", "name each signer")
        if name not in _KNOWN.split(", ") or value is None:
            raise _bad(
                number,
                f"has the unknown option or kind of key {name[:40]!r}",
                f"known are: {_KNOWN}",
            )
        if name in options:
            raise _bad(number, f"has the option {name!r} twice", "leave one of the two")
        options[name] = value
        at = match.end()
        if end != ",":
            return options, text[at:]


def _time(number: int, name: str, value: str) -> int:
    match = _TIME.fullmatch(value)
    try:
        if match:
            numbers = [int(part or 0) for part in match.groups()]
            return int(datetime(*numbers, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]  # six numbers, by the pattern
    except ValueError:
        match = None
    raise _bad(number, f"has no time in {name}", "write YYYYMMDD or YYYYMMDDHHMM[SS], then Z")
