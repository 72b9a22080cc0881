"""SSH signatures: the armor, the structure inside, and what the signature covers.

Source: OpenSSH's PROTOCOL.sshsig. The keys and the signature proper are sshkey's.
"""

import hashlib
import re

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust import sshkey
from wgmesh.trust.sshkey import PublicKey, string

NAMESPACE = "git"

_MAGIC = b"SSHSIG"
_VERSION = (1).to_bytes(4, "big")
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_ARMOR = re.compile(_BEGIN + rb"\n((?:[A-Za-z0-9+/=]+\n)+)-----END SSH SIGNATURE-----\n?")
_LARGEST_ARMOR_BYTES = 16_384


@frozen
class Signature:
    """A parsed SSHSIG; `value` is the signature proper, whose form is the key's business."""

    key: PublicKey
    namespace: str
    hash_algorithm: str
    value: bytes


def parse(armor: bytes) -> Signature:
    """Return the one SSH signature in `armor`.

    Raises RefusedError for other kinds of signatures and for anything but exactly one armor block
    with exactly one signature of version 1 in it.
    """
    if armor.startswith(b"-----BEGIN PGP "):
        raise RefusedError("it is signed with OpenPGP, not with an SSH key")
    if not armor.startswith(_BEGIN):
        raise RefusedError("it is not signed with an SSH key")
    match = _ARMOR.fullmatch(armor) if len(armor) <= _LARGEST_ARMOR_BYTES else None
    if not match:
        raise RefusedError("its signature is not exactly one armored block")
    data = sshkey.decode_base64(match[1].replace(b"\n", b""))
    if data[:6] != _MAGIC or data[6:10] != _VERSION:
        raise RefusedError("its signature is not an SSHSIG of version 1")
    blob, namespace, reserved, hash_algorithm, value = sshkey.strings(data[10:], 5)
    if reserved:  # not covered by the signature, so whoever carries the commit could fill it
        raise RefusedError("its signature has bytes that nothing covers")
    name = hash_algorithm.decode("ascii", errors="replace")
    if name not in _HASHES:
        raise RefusedError("its signature is over neither SHA-256 nor SHA-512")
    key = sshkey.parse_key(blob)
    return Signature(key, namespace.decode("ascii", errors="replace"), name, value)


def verify(signature: Signature, message: bytes, namespace: str = NAMESPACE) -> None:
    """Return when `signature` was made over `message` for `namespace`; it says nothing of trust.

    Raises RefusedError when it was not.
    """
    if signature.namespace != namespace:
        raise RefusedError(f"its signature was not made for the namespace {namespace!r}")
    digest = _HASHES[signature.hash_algorithm](message).digest()
    hash_algorithm = signature.hash_algorithm.encode()
    covered = _MAGIC + b"".join(map(string, (namespace.encode(), b"", hash_algorithm, digest)))
    if not sshkey.check(signature.key, signature.value, covered):
        raise RefusedError("its signature does not match: it was made for something else")
