"""OpenPGP: the certificates of `openpgp/`, and what the chain rule asks of whoever checks them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wgmesh.errors import RefusedError

DIRECTORY = "openpgp"
SUFFIX = ".asc"

_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")


@dataclass(frozen=True, slots=True)
class Keyring:
    """Certificates as they lie in `openpgp/`, by primary fingerprint (upper case hex)."""

    certificates: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenPgpSignature:
    """A good signature: primary fingerprint of its certificate, and whether that has expired."""

    fingerprint: str
    expired: bool


class GpgVerifier(Protocol):
    """Checks signatures against the certificates of a keyring alone."""

    def verify(self, keyring: Keyring, armor: bytes, payload: bytes) -> OpenPgpSignature:
        """Return who of `keyring` made the signature `armor` over `payload`.

        Raises RefusedError when it is bad, by an unknown certificate or by a revoked one.
        """


def parse(files: Mapping[str, bytes]) -> Keyring:
    """Return the keyring of the files in `openpgp/`, given by their names there.

    Raises RefusedError for a file that is not named FINGERPRINT.asc.
    """
    certificates = {}
    for name, data in files.items():
        fingerprint = name.removesuffix(SUFFIX)
        if fingerprint == name or not _FINGERPRINT.fullmatch(fingerprint):
            raise RefusedError(
                f"{DIRECTORY}/ has a file that is not named by its fingerprint",
                f"name it FINGERPRINT{SUFFIX}, in capitals and without blanks",
            )
        certificates[fingerprint] = data
    return Keyring(certificates)
