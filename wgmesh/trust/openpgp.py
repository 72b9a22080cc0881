"""OpenPGP: the certificates in openpgp/, a commit's signature, and what gpgv says of the two.

gpgv(1) checks the signatures. What it is given, and what its answer is worth, is decided here; the
status lines are those of GnuPG's doc/DETAILS.
"""

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust import packets
from wgmesh.trust.packets import Tag

DIRECTORY = "openpgp"
LARGEST_BYTES = 256 << 10
"""Of one certificate, at most."""

MOST_CERTIFICATES = 256

_LARGEST_SIGNATURE_BYTES = 16_384
_NAME = re.compile(r"([0-9A-F]{40})\.asc")
_VALID = re.compile(
    r"\[GNUPG:] VALIDSIG ([0-9A-F]{40}) \S+ \S+ \S+ 4 \S+ ([0-9]{1,3}) ([0-9]{1,3}) 00"
    r" ([0-9A-F]{40})"
)
"""Of a signature of version 4 and type 0x00: key, algorithm, digest and primary key."""


@frozen
class Keyring:
    """The certificates of openpgp/ as they lie there, by the fingerprint of their primary key.

    `packets` is what gpgv reads of all of them. `revoked` has the fingerprints of the keys and
    subkeys that a certificate says are revoked.
    """

    certificates: Mapping[str, bytes] = field(default_factory=dict)
    packets: bytes = b""
    revoked: frozenset[str] = frozenset()


@frozen
class OpenPgpSignature:
    """A signature that is right: whose it is, by primary fingerprint.

    `expired`: the key has expired by now; when it was used is not known.
    """

    fingerprint: str
    expired: bool


class GpgVerifier(Protocol):
    """What checks OpenPGP signatures."""

    def verify(self, keyring: Keyring, armor: bytes, payload: bytes) -> OpenPgpSignature:
        """Return who in `keyring` made the armored signature over `payload`.

        Raises RefusedError when nobody did.
        """


def claims(armor: bytes) -> bool:
    """Return whether an armor says that it is OpenPGP's."""
    return armor.startswith(b"-----BEGIN PGP ")


# ---------------------------------------------------------------- certificates


def parse(files: Mapping[str, bytes]) -> Keyring:
    """Return the keyring that the files of openpgp/ make up, given by name.

    Raises RefusedError unless each is FINGERPRINT.asc with one armored certificate, that of this
    primary key, and without secret keys.
    """
    check_number(len(files))
    data, revoked = b"", frozenset[str]()
    for name, text in sorted(files.items()):
        try:
            part, without = _certificate(name, text)
        except RefusedError as error:
            shown = ascii(name[:60]).strip("'\"")
            hint = f"gpg --armor --export FINGERPRINT > {DIRECTORY}/FINGERPRINT.asc"
            raise RefusedError(f"{DIRECTORY}/{shown} {error.message}", hint) from None
        data += part
        revoked |= without
    certificates = {name.removesuffix(".asc"): text for name, text in files.items()}
    return Keyring(certificates, data, revoked)


def check_number(files: int) -> None:
    """Raise RefusedError when openpgp/ has more files than may be read."""
    if files > MOST_CERTIFICATES:
        raise RefusedError(f"{DIRECTORY}/ has more than {MOST_CERTIFICATES} files", "remove some")


def _certificate(name: str, text: bytes) -> tuple[bytes, frozenset[str]]:
    """Return the packets of a certificate, and the fingerprints of its keys that are revoked."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise RefusedError("is not named FINGERPRINT.asc, 40 digits in upper case")
    if len(text) > LARGEST_BYTES:
        raise RefusedError(f"has more than {LARGEST_BYTES} bytes")
    data = packets.dearmored(text.replace(b"\r\n", b"\n"), "PUBLIC KEY BLOCK")
    keys, revoked = list[str](), set[str]()
    for number, (tag, body) in enumerate(packets.packets(data)):
        if tag in (Tag.SECRET_KEY, Tag.SECRET_SUBKEY):
            raise RefusedError("has a secret key, which is none any more: revoke it")
        if (tag == Tag.PUBLIC_KEY) != (number == 0):
            raise RefusedError("does not have exactly one primary key, and that first")
        if tag in (Tag.PUBLIC_KEY, Tag.PUBLIC_SUBKEY):
            keys.append(packets.fingerprint(body))
        elif tag == Tag.SIGNATURE:
            kind = packets.signature_kind(body)
            if kind == packets.SUBKEY_REVOKED:
                revoked.add(keys[-1])
            elif kind == packets.KEY_REVOKED:
                revoked.add(keys[0])
        elif tag not in (Tag.USER_ID, Tag.USER_ATTRIBUTE):
            raise RefusedError(f"has a packet of kind {tag}, which no certificate has")
    if keys[0] != match[1]:
        raise RefusedError(f"has the key {keys[0]}")
    return data, frozenset(revoked)


# ---------------------------------------------------------------- signatures


def parse_signature(armor: bytes) -> bytes:
    """Return the packet of the one signature in `armor`, for gpgv.

    Raises RefusedError for anything but one armor block with one signature that counts.
    """
    try:
        if len(armor) > _LARGEST_SIGNATURE_BYTES:
            raise RefusedError(f"has more than {_LARGEST_SIGNATURE_BYTES} bytes")
        data = packets.dearmored(armor, "SIGNATURE")
        found = packets.packets(data)
        if [tag for tag, _ in found] != [Tag.SIGNATURE]:
            raise RefusedError("is not exactly one signature")
        signature = packets.signature(found[0][1])
    except RefusedError as error:
        raise RefusedError(f"its OpenPGP signature {error.message}") from None
    if signature.kind != packets.BINARY:
        raise RefusedError("its OpenPGP signature is not over the bytes of a document")
    _check_strength(signature.algorithm, signature.digest)
    return data


def _check_strength(algorithm: int, digest: int) -> None:
    if digest not in packets.DIGESTS:
        raise RefusedError("its OpenPGP signature is over SHA-1 or a weaker digest")
    if algorithm not in packets.ALGORITHMS:
        raise RefusedError("its OpenPGP signature is by a key that is none of rsa, ecdsa, eddsa")


def judge(keyring: Keyring, status: bytes) -> OpenPgpSignature:
    """Return what the status lines of gpgv prove, which has read `keyring` and one signature.

    Only VALIDSIG has the whole fingerprint, and stands beside the bad verdicts as well; the verdict
    itself is another line. A key that has expired and was revoked is only called expired, hence
    Keyring.revoked. Lines that mean nothing here are passed over. Raises RefusedError.
    """
    verdicts, valid, begun = list[list[str]](), list[str](), 0
    for line in status.decode("ascii", errors="replace").split("\n"):
        if not line:
            continue
        prefix, keyword, *values = [*line.split(" "), ""]
        if prefix != "[GNUPG:]":
            raise RefusedError("gpgv did not say what its OpenPGP signature is worth")
        begun += keyword == "NEWSIG"
        if keyword in _VERDICTS:
            verdicts.append([keyword, *values])
        elif keyword == "VALIDSIG":
            valid.append(line)
    if begun != 1 or len(verdicts) != 1 or len(valid) > 1:
        raise RefusedError("gpgv did not say what its OpenPGP signature is worth")
    verdict, key_id, *details = verdicts[0]
    if verdict not in ("GOODSIG", "EXPKEYSIG"):
        raise RefusedError(_why(verdict, key_id, details))
    match = _VALID.fullmatch(valid[0]) if valid else None
    if match is None:
        raise RefusedError("gpgv did not say whose its OpenPGP signature is")
    key, algorithm, digest, primary = match.groups()
    if len(key_id) != 16 or not key.endswith(key_id):
        raise RefusedError("gpgv contradicts itself about its OpenPGP signature")
    _check_strength(int(algorithm), int(digest))
    if primary not in keyring.certificates:
        raise RefusedError(f"the OpenPGP key {key} signed it, which {DIRECTORY}/ does not have")
    if key in keyring.revoked or primary in keyring.revoked:
        raise RefusedError(_why("REVKEYSIG", key, []))
    return OpenPgpSignature(primary, expired=verdict == "EXPKEYSIG")


_VERDICTS = frozenset(("GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "ERRSIG"))
_NO_KEY, _BAD_KEY = "9", "6"  # libgpg-error's codes, the sixth value of ERRSIG


def _why(verdict: str, key_id: str, details: list[str]) -> str:
    """Return why a verdict is a refusal; `details` are what follows the key in its line."""
    key = f"the OpenPGP key {key_id[:40]}" if key_id.isalnum() else "an OpenPGP key"
    if verdict == "BADSIG":
        return "its OpenPGP signature does not match: it was made for something else"
    if verdict == "EXPSIG":
        return f"its OpenPGP signature, by {key.removeprefix('the ')}, has itself expired"
    if verdict == "REVKEYSIG":
        return f"{key} signed it, which its owner has revoked"
    code = details[4] if len(details) > 4 else ""
    if code == _NO_KEY:
        return f"{key} signed it, which {DIRECTORY}/ does not have"
    if code == _BAD_KEY:
        return f"{key} signed it, which cannot be used: its own signatures are bad or over SHA-1"
    return f"{key} signed it, and gpgv cannot check that"
