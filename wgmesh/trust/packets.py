"""The bytes of OpenPGP: armor, packets, and what is read of keys and signatures.

Source: RFC 4880 sections 4.2 (packets), 5.2 (signatures), 5.5 (keys), 6 (armor), 12.2
(fingerprints). Only version 4 of keys and signatures is read: gpgv 2.2 knows no later one.
"""

import enum
import hashlib
import re

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust.sshkey import FEWEST_RSA_BITS, decode_base64

RSA, RSA_SIGN, ECDSA, EDDSA = 1, 3, 19, 22
_RSA_ENCRYPT = 2
_NUMBERS = {RSA: 1, RSA_SIGN: 1, ECDSA: 2, EDDSA: 2}

ALGORITHMS = frozenset(_NUMBERS)
"""Of signatures that count; DSA does not, whose keys are short and which sign with SHA-1."""

DIGESTS = frozenset((8, 9, 10, 11))
"""SHA-256, 384, 512 and 224: neither MD5 nor SHA-1 nor RIPEMD-160."""

BINARY, KEY_REVOKED, SUBKEY_REVOKED = 0x00, 0x20, 0x28
"""Types of signatures: over a document byte by byte, and those that revoke."""

_ISSUER, _ISSUER_FINGERPRINT = bytes([16]), bytes([33])
_ARMOR = re.compile(
    rb"-----BEGIN PGP ([A-Z ]+)-----\n"
    rb"(?:(?:Version|Comment|Charset|Hash):[^\x00-\x1f\x7f]*\n)*\n"
    rb"((?:[A-Za-z0-9+/]+={0,2}\n)+)(?:=([A-Za-z0-9+/]{4})\n)?"
    rb"-----END PGP \1-----\n?"
)


class Tag(enum.IntEnum):
    """Kinds of packets that a certificate or a signature is made of, and secret keys."""

    SIGNATURE = 2
    SECRET_KEY = 5
    PUBLIC_KEY = 6
    SECRET_SUBKEY = 7
    USER_ID = 13
    PUBLIC_SUBKEY = 14
    USER_ATTRIBUTE = 17


@frozen
class Signature:
    """The fields of a signature packet that tell what it is worth."""

    kind: int
    algorithm: int
    digest: int


def dearmored(text: bytes, what: str) -> bytes:
    """Return what is in the one armor block of `what` that makes up all of `text`.

    Its checksum is checked when it has one. Raises RefusedError.
    """
    match = _ARMOR.fullmatch(text)
    if match is None or match[1] != what.encode():
        raise RefusedError(f"is not exactly one armored PGP {what}")
    data = decode_base64(match[2].replace(b"\n", b""))
    if match[3] is not None and _crc24(data) != int.from_bytes(decode_base64(match[3]), "big"):
        raise RefusedError("has a wrong checksum")
    return data


def _crc24_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
        table.append(crc & 0xFFFFFF)
    return tuple(table)


_CRC24 = _crc24_table()


def _crc24(data: bytes) -> int:
    """Return the checksum of an armor (RFC 4880 section 6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc = (crc << 8 & 0xFFFFFF) ^ _CRC24[crc >> 16 ^ byte]
    return crc


def packets(data: bytes) -> list[tuple[int, bytes]]:
    """Return the packets that make up `data`: tag and body of each. Raises RefusedError."""
    found, at = [], 0
    while at < len(data):
        tag, body, at = _packet(data, at)
        found.append((tag, body))
    if not found:
        raise RefusedError("has no packets")
    return found


def _packet(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return tag and body of the packet at `at`, and where it ends. Every length is definite."""
    head = data[at]
    first = data[at + 1] if at + 1 < len(data) else 0
    if head & 0xC0 == 0xC0:  # the new format, section 4.2.2
        tag = head & 0x3F
        if first < 192:
            begin, size = at + 2, first
        elif first < 224:
            begin = at + 3
            size = ((first - 192) << 8) + int.from_bytes(data[at + 2 : begin], "big") + 192
        elif first == 255:
            begin = at + 6
            size = int.from_bytes(data[at + 2 : begin], "big")
        else:
            raise RefusedError("has a packet in parts")
    elif head & 0x80 and head & 3 != 3:  # the old one, section 4.2.1
        tag = head >> 2 & 0xF
        begin = at + 1 + (1 << (head & 3))
        size = int.from_bytes(data[at + 1 : begin], "big")
    else:
        raise RefusedError("has what is no packet, or one without a length")
    if len(data) < begin + size:
        raise RefusedError("has a packet that is cut short")
    return tag, data[begin : begin + size], begin + size


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of the body of a key's packet.

    Raises RefusedError for what is no key of version 4, and for rsa keys that are too short.
    """
    if not 8 <= len(key) < 1 << 16 or key[0] != 4:
        raise RefusedError("has a key of another version than 4")
    bits = int.from_bytes(key[6:8], "big")  # of the first number, for RSA the modulus
    if key[5] in (RSA, RSA_SIGN, _RSA_ENCRYPT) and bits < FEWEST_RSA_BITS:
        raise RefusedError(f"has an rsa key of {bits} bits, fewer than {FEWEST_RSA_BITS}")
    head = b"\x99" + len(key).to_bytes(2, "big")
    return hashlib.sha1(head + key, usedforsecurity=False).hexdigest().upper()


def signature(body: bytes) -> Signature:
    """Return what the body of a signature's packet says.

    Raises RefusedError for what is no signature of version 4, and for bytes that nothing covers:
    beside its numbers a signature has only hints of its issuer outside of what it signs.
    """
    if len(body) < 6 or body[0] != 4:
        raise RefusedError("has a signature of another version than 4")
    hashed_end = 6 + int.from_bytes(body[4:6], "big")
    unhashed = hashed_end + 2
    end = unhashed + int.from_bytes(body[hashed_end:unhashed], "big")
    at = end + 2  # two digits of the digest
    for _ in range(_NUMBERS.get(body[2], 0)):
        at += 2 + (int.from_bytes(body[at : at + 2], "big") + 7) // 8
    if at > len(body):
        raise RefusedError("has a signature that is cut short")
    _hints(body[unhashed:end])
    if body[2] in _NUMBERS and at != len(body):
        raise RefusedError("has bytes that nothing covers")
    return Signature(kind=body[1], algorithm=body[2], digest=body[3])


def signature_kind(body: bytes) -> int:
    """Return the type of a signature's packet, of whatever version. Raises RefusedError."""
    at = 2 if body[:1] in (b"\2", b"\3") else 1
    if len(body) <= at:
        raise RefusedError("has a signature that is cut short")
    return body[at]


def _hints(area: bytes) -> None:
    """Raise RefusedError unless the subpackets in `area` name an issuer and no more."""
    at, seen = 0, set[bytes]()
    sizes = {_ISSUER: 9, _ISSUER_FINGERPRINT: 22}
    while at < len(area):
        size, kind = area[at], area[at + 1 : at + 2]
        if sizes.get(kind) != size or kind in seen or len(area) < at + 1 + size:
            raise RefusedError("has bytes that nothing covers")
        seen.add(kind)
        at += 1 + size
