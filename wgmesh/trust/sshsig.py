"""SSH signatures: the armor, the structure inside, and the check of the signature itself.

Sources: OpenSSH's PROTOCOL.sshsig; RFC 4251 section 5 for strings and mpints; RFC 8709
(ssh-ed25519), RFC 5656 sections 3.1 and 3.1.2 (ecdsa-sha2-*), PROTOCOL.u2f (sk-*) for keys.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from wgmesh.errors import RefusedError

NAMESPACE = "git"

ECDSA_BYTES = {
    "ecdsa-sha2-nistp256": 32,
    "ecdsa-sha2-nistp384": 48,
    "ecdsa-sha2-nistp521": 66,
}
"""Curves that we check, with the size of a coordinate in bytes."""

USABLE = frozenset({"ssh-ed25519", *ECDSA_BYTES})
"""Kinds of keys whose signatures are checked."""

_FIELDS = {"ssh-ed25519": 1, "ssh-rsa": 2, "sk-ssh-ed25519@openssh.com": 2} | {
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
    **dict.fromkeys(ECDSA_BYTES, 2),
}

KINDS = frozenset(_FIELDS)
"""Kinds of keys that a signers file may name, usable yet or not."""

_MAGIC = b"SSHSIG"
_VERSION = (1).to_bytes(4, "big")
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_ARMOR = re.compile(_BEGIN + rb"\n((?:[A-Za-z0-9+/=]+\n)+)-----END SSH SIGNATURE-----\n?")
_LARGEST_ARMOR_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: `blob` is its SSH encoding, `fields` what follows the kind inside."""

    kind: str
    blob: bytes
    fields: tuple[bytes, ...]

    @property
    def fingerprint(self) -> str:
        """The key's name as `ssh-keygen -l` prints it: SHA256: and unpadded base64."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest())
        return "SHA256:" + digest.decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed SSHSIG; `value` is the signature proper, in the form of the key's kind."""

    key: PublicKey
    namespace: str
    hash_algorithm: str
    value: bytes


def strings(data: bytes, count: int) -> list[bytes]:
    """Return the `count` strings that make up all of `data`. Raises RefusedError otherwise."""
    found, at = [], 0
    for _ in range(count):
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + 4 + size
        if len(data) < at + 4 or len(data) < end:
            raise RefusedError("the SSH structure is cut short")
        found.append(data[at + 4 : end])
        at = end
    if at != len(data):
        raise RefusedError("the SSH structure has trailing bytes")
    return found


def string(data: bytes) -> bytes:
    """Return `data` as one SSH string."""
    return len(data).to_bytes(4, "big") + data


def parse_key(blob: bytes) -> PublicKey:
    """Return the public key with the SSH encoding `blob`.

    Raises RefusedError for kinds that are unknown and for anything but the one encoding of a key.
    """
    size = int.from_bytes(blob[:4], "big")
    kind = blob[4 : 4 + size].decode("ascii", errors="replace") if size < 64 else ""
    if kind not in KINDS:
        raise RefusedError("the SSH key is of an unknown kind")
    fields = tuple(strings(blob, 1 + _FIELDS[kind])[1:])
    if kind == "ssh-ed25519" and len(fields[0]) != 32:
        raise RefusedError("the ed25519 key does not have 32 bytes")
    if kind in ECDSA_BYTES:
        curve, point = fields
        size = 1 + 2 * ECDSA_BYTES[kind]
        if kind != "ecdsa-sha2-" + curve.decode("ascii", errors="replace"):
            raise RefusedError("the ecdsa key names another curve than its kind")
        if len(point) != size or point[0] != 4:  # 4: uncompressed, SEC 1 section 2.3.3
            raise RefusedError("the ecdsa key is no point of its curve")
    return PublicKey(kind, blob, fields)


def parse(armor: bytes) -> Signature:
    """Return the one SSH signature in `armor`.

    Raises RefusedError for other kinds of signatures and for anything but exactly one armor block
    with exactly one signature of version 1 in it.
    """
    if armor.startswith(b"-----BEGIN PGP "):
        raise RefusedError(
            "it is signed with OpenPGP, which wgmesh does not check yet: sign with an SSH key"
        )
    if not armor.startswith(_BEGIN):
        raise RefusedError("it is not signed with an SSH key")
    match = _ARMOR.fullmatch(armor) if len(armor) <= _LARGEST_ARMOR_BYTES else None
    if not match:
        raise RefusedError("its signature is not exactly one armored block")
    data = decode_base64(match[1].replace(b"\n", b""))
    if data[:6] != _MAGIC or data[6:10] != _VERSION:
        raise RefusedError("its signature is not an SSHSIG of version 1")
    blob, namespace, reserved, hash_algorithm, signature = strings(data[10:], 5)
    if reserved:  # not covered by the signature, so whoever carries the commit could fill it
        raise RefusedError("its signature has bytes that nothing covers")
    if hash_algorithm.decode("ascii", errors="replace") not in _HASHES:
        raise RefusedError("its signature is over neither SHA-256 nor SHA-512")
    key = parse_key(blob)
    kind, value = _signature_fields(key, signature)
    if key.kind in USABLE and kind != key.kind.encode():
        raise RefusedError("its signature is of another kind than its key")
    return Signature(
        key, namespace.decode("ascii", errors="replace"), hash_algorithm.decode(), value
    )


def _signature_fields(key: PublicKey, signature: bytes) -> tuple[bytes, bytes]:
    if key.kind in USABLE:
        kind, value = strings(signature, 2)
        return kind, value
    return b"", signature  # verify() refuses the kind by name


def decode_base64(text: bytes) -> bytes:
    """Return the bytes of canonical base64. Raises RefusedError for any other spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError("the base64 is damaged") from None
    if base64.b64encode(data) != text:
        raise RefusedError("the base64 is not canonical")
    return data


def verify(signature: Signature, message: bytes, namespace: str = NAMESPACE) -> None:
    """Return when `signature` was made over `message` for `namespace`; it says nothing of trust.

    Raises RefusedError when it was not, and for keys of a kind that is not checked yet.
    """
    kind = signature.key.kind
    if kind not in USABLE:
        raise RefusedError(
            f"its signer's key is of kind {kind}, which wgmesh does not check yet: "
            "sign with an ed25519 or ecdsa key"
        )
    if signature.namespace != namespace:
        raise RefusedError(f"its signature was not made for the namespace {namespace!r}")
    digest = _HASHES[signature.hash_algorithm](message).digest()
    hash_algorithm = signature.hash_algorithm.encode()
    covered = _MAGIC + b"".join(map(string, (namespace.encode(), b"", hash_algorithm, digest)))
    good = (
        _ed25519(signature.key, signature.value, covered)
        if kind == "ssh-ed25519"
        else _ecdsa(signature.key, signature.value, covered)
    )
    if not good:
        raise RefusedError("its signature does not match: it was made for something else")


def _ed25519(key: PublicKey, value: bytes, covered: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.fields[0]).verify(value, covered)
    except (InvalidSignature, ValueError):  # ValueError: a key that is no point
        return False
    return True


def _ecdsa(key: PublicKey, value: bytes, covered: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    size = ECDSA_BYTES[key.kind]
    curve: ec.EllipticCurve
    hash_: hashes.HashAlgorithm
    match size:
        case 32:
            curve, hash_ = ec.SECP256R1(), hashes.SHA256()
        case 48:
            curve, hash_ = ec.SECP384R1(), hashes.SHA384()
        case _:
            curve, hash_ = ec.SECP521R1(), hashes.SHA512()
    r, s = (_positive(number, size) for number in strings(value, 2))
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(curve, key.fields[1])
        public.verify(encode_dss_signature(r, s), covered, ec.ECDSA(hash_))
    except (InvalidSignature, ValueError):
        return False
    return True


def _positive(mpint: bytes, size: int) -> int:
    """Return a positive mpint of at most `size` bytes in its one spelling (RFC 4251 section 5)."""
    number = int.from_bytes(mpint, "big")
    if len(mpint) > size + 1 or mpint != number.to_bytes(number.bit_length() // 8 + 1, "big"):
        raise RefusedError("its ecdsa signature is malformed")
    return number
