"""SSH public keys, and whether a signature proper was made by one.

Sources: RFC 4251 section 5 (strings, mpints); RFC 8709 (ssh-ed25519); RFC 5656 sections 3.1 and
3.1.2 (ecdsa-sha2-*); RFC 4253 section 6.6 and RFC 8332 (ssh-rsa keys, rsa-sha2-* signatures);
OpenSSH's PROTOCOL.u2f (sk-*: keys inside a security key). `cryptography` is imported where a
signature is checked: the rest of the program starts without it.
"""

import base64
import binascii
import functools
import hashlib
from typing import TYPE_CHECKING

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

COORDINATE_BYTES = {"nistp256": 32, "nistp384": 48, "nistp521": 66}
"""Curves of ecdsa keys, with the size of a coordinate."""

FEWEST_RSA_BITS = 2048
"""ssh-keygen takes 1024; NIST SP 800-131A disallows less than 2048."""

MOST_RSA_BITS = 16_384
"""As in OpenSSH (sshbuf.h, SSHBUF_MAX_BIGNUM) and OpenSSL."""

USER_PRESENT = 0x01
"""The flag by which a security key says that somebody touched it (PROTOCOL.u2f)."""

_ECDSA = {f"ecdsa-sha2-{curve}": curve for curve in COORDINATE_BYTES}
_SK_ED25519, _SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
_CURVES = _ECDSA | {_SK_ECDSA: "nistp256"}
_FIELDS = dict.fromkeys(_ECDSA, 2) | {"ssh-ed25519": 1, "ssh-rsa": 2, _SK_ED25519: 2, _SK_ECDSA: 3}
_RSA_SIGNATURES = ("rsa-sha2-256", "rsa-sha2-512")

KINDS = frozenset(_FIELDS)
"""Kinds of keys that are known; signatures of each are checked."""


@frozen
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


def strings(data: bytes, count: int) -> list[bytes]:
    """Return the `count` strings that make up all of `data`. Raises RefusedError otherwise."""
    found, rest = leading_strings(data, count)
    if rest:
        raise RefusedError("the SSH structure has trailing bytes")
    return found


def leading_strings(data: bytes, count: int) -> tuple[list[bytes], bytes]:
    """Return the first `count` strings of `data`, and what follows them. Raises RefusedError."""
    found, at = [], 0
    for _ in range(count):
        begin = at + 4
        end = begin + int.from_bytes(data[at:begin], "big")
        if len(data) < end:
            raise RefusedError("the SSH structure is cut short")
        found.append(data[begin:end])
        at = end
    return found, data[at:]


def string(data: bytes) -> bytes:
    """Return `data` as one SSH string."""
    return len(data).to_bytes(4, "big") + data


def decode_base64(text: bytes) -> bytes:
    """Return the bytes of canonical base64. Raises RefusedError for any other spelling."""
    try:
        data = base64.b64decode(text)
    except binascii.Error:
        raise RefusedError("the base64 is damaged") from None
    if base64.b64encode(data) != text:
        raise RefusedError("the base64 is not canonical")
    return data


def parse_key(blob: bytes) -> PublicKey:
    """Return the public key with the SSH encoding `blob`.

    Raises RefusedError for kinds that are unknown, for rsa keys of an unusual size, and for
    anything but the one encoding of a key.
    """
    size = int.from_bytes(blob[:4], "big")
    kind = blob[4 : 4 + size].decode("ascii", errors="replace")
    if kind not in KINDS:
        raise RefusedError("the SSH key is of an unknown kind")
    fields = tuple(strings(blob, 1 + _FIELDS[kind])[1:])
    if kind in ("ssh-ed25519", _SK_ED25519) and len(fields[0]) != 32:
        raise RefusedError("the ed25519 key does not have 32 bytes")
    if kind in _CURVES:
        curve, point = fields[:2]
        if curve != _CURVES[kind].encode():
            raise RefusedError("the ecdsa key names another curve than its kind")
        size = 1 + 2 * COORDINATE_BYTES[_CURVES[kind]]
        if len(point) != size or point[0] != 4:  # 4: uncompressed, SEC 1 section 2.3.3
            raise RefusedError("the ecdsa key is no point of its curve")
    if kind in (_SK_ED25519, _SK_ECDSA) and not _is_text(fields[-1]):
        raise RefusedError("the application of the security key is no plain text")
    if kind == "ssh-rsa":
        exponent, modulus = (_positive(number, MOST_RSA_BITS, "rsa key") for number in fields)
        if modulus.bit_length() < FEWEST_RSA_BITS:
            bits = f"{modulus.bit_length()} bits, fewer than {FEWEST_RSA_BITS}"
            raise RefusedError(f"the rsa key has {bits}")
        if exponent == 1 or exponent.bit_length() > 64 or not exponent & modulus & 1:
            raise RefusedError("the rsa key has an unusual exponent or modulus")
    return PublicKey(kind, blob, fields)


def _is_text(data: bytes) -> bool:
    return data.isascii() and data.decode().isprintable()


def check(key: PublicKey, signature: bytes, covered: bytes) -> bool:
    """Return whether `signature`, an SSH string's contents, was made by `key` over `covered`.

    Raises RefusedError for a signature that is none, or of another kind than the key. One by a
    security key also says that somebody touched that, or it is refused. ssh-keygen does not ask for
    that, and has no option `no-touch-required` for a signers file.
    """
    (kind, value), rest = leading_strings(signature, 2)
    if key.kind == "ssh-rsa" and kind == b"ssh-rsa":
        raise RefusedError("its signature is over SHA-1, which can be forged: use rsa-sha2-512")
    if kind.decode("ascii", errors="replace") not in _signature_kinds(key.kind):
        raise RefusedError("its signature is of another kind than its key")
    if key.kind in (_SK_ED25519, _SK_ECDSA):
        flags, counter = rest[:1], rest[1:]
        if len(counter) != 4:
            raise RefusedError("its signature has no flags and counter of a security key")
        application = hashlib.sha256(key.fields[-1]).digest()
        covered = application + flags + counter + hashlib.sha256(covered).digest()
        if not flags[0] & USER_PRESENT:
            raise RefusedError("its signature was made without a touch of the security key")
    elif rest:
        raise RefusedError("its signature has bytes that nothing covers")
    match key.kind:
        case "ssh-ed25519" | "sk-ssh-ed25519@openssh.com":
            return _check_ed25519(key, value, covered)
        case "ssh-rsa":
            return _check_rsa(key, kind, value, covered)
        case _:
            return _check_ecdsa(key, value, covered)


def _signature_kinds(key_kind: str) -> tuple[str, ...]:
    """Return the kinds of signatures that keys of a kind may make."""
    return _RSA_SIGNATURES if key_kind == "ssh-rsa" else (key_kind,)


def _check_ed25519(key: PublicKey, value: bytes, covered: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _ed25519_key(key.fields[0]).verify(value, covered)
    except (InvalidSignature, ValueError):  # ValueError: a key that is no point
        return False
    return True


def _check_ecdsa(key: PublicKey, value: bytes, covered: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    curve = _CURVES[key.kind]
    bits = 8 * COORDINATE_BYTES[curve]
    r, s = (_positive(number, bits, "ecdsa signature") for number in strings(value, 2))
    hash_ = {
        "nistp256": hashes.SHA256(),
        "nistp384": hashes.SHA384(),
        "nistp521": hashes.SHA512(),
    }[curve]
    signature = encode_dss_signature(r, s)
    try:
        _ecdsa_key(curve, key.fields[1]).verify(signature, covered, ec.ECDSA(hash_))
    except (InvalidSignature, ValueError):
        return False
    return True


def _check_rsa(key: PublicKey, kind: bytes, value: bytes, covered: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    hash_ = hashes.SHA256() if kind == b"rsa-sha2-256" else hashes.SHA512()
    try:
        # OpenSSL wants as many bytes as the modulus has, which is what RFC 8332 section 3 says.
        _rsa_key(*key.fields).verify(value, covered, PKCS1v15(), hash_)
    except (InvalidSignature, ValueError):
        return False
    return True


_KEYS = 256
"""Key objects that are kept: of a chain of commits nearly all are by a few keys."""


@functools.lru_cache(_KEYS)
def _ed25519_key(data: bytes) -> "ed25519.Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(data)


@functools.lru_cache(_KEYS)
def _ecdsa_key(curve: str, point: bytes) -> "ec.EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    curves = {"nistp256": ec.SECP256R1(), "nistp384": ec.SECP384R1(), "nistp521": ec.SECP521R1()}
    return ec.EllipticCurvePublicKey.from_encoded_point(curves[curve], point)


@functools.lru_cache(_KEYS)
def _rsa_key(exponent: bytes, modulus: bytes) -> "rsa.RSAPublicKey":
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    numbers = (int.from_bytes(each, "big") for each in (exponent, modulus))
    return RSAPublicNumbers(*numbers).public_key()


def _positive(mpint: bytes, most_bits: int, what: str) -> int:
    """Return a positive mpint in its one spelling (RFC 4251 section 5)."""
    number = int.from_bytes(mpint, "big")
    bits = number.bit_length()
    if not number or bits > most_bits or mpint != number.to_bytes(bits // 8 + 1, "big"):
        raise RefusedError(f"the {what} is malformed")
    return number
