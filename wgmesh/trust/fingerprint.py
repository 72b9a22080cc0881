"""How a key is named: an SSH key as `ssh-keygen -l` prints it, an OpenPGP key as gpg does."""

import base64
import re

from wgmesh.errors import UsageError

_SSH = re.compile(r"SHA256:([A-Za-z0-9+/]{43})=?")
_OPENPGP = re.compile(r"(?:[0-9A-F]{40}|[0-9A-F]{64})")
_FORMS = "an SSH key's is SHA256:… (ssh-keygen -l), an OpenPGP key's has 40 or 64 hex digits"


def fingerprint(text: str) -> str:
    """Return the one spelling of a fingerprint, in which the chain rule compares it.

    OpenPGP: of the primary key, in capitals; blanks between the digits and 0x are taken off. Raises
    UsageError for anything that no key can have, so that a slip is not a key that is never met.
    """
    ssh = _SSH.fullmatch(text.strip())
    if ssh is not None:
        data = base64.b64decode(f"{ssh[1]}=")
        if base64.b64encode(data).decode() == f"{ssh[1]}=":
            return f"SHA256:{ssh[1]}"
    digits = "".join(text.split()).upper().removeprefix("0X")
    if _OPENPGP.fullmatch(digits):
        return digits
    shown = "".join(character for character in text if character.isprintable())[:80]
    raise UsageError(f"{shown!r} is no fingerprint", _FORMS)
