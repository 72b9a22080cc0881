"""Fingerprints of keys: one spelling each, and nothing that no key can have."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.signing import Keys
from wgmesh.errors import UsageError
from wgmesh.trust.fingerprint import fingerprint

OPENPGP = "0123456789ABCDEF0123456789ABCDEF01234567"


def test_what_ssh_keygen_prints_stays(tmp_path: Path) -> None:
    keys = Keys(tmp_path).make()
    for name in ("ops", "p256", "p521", "rsa"):
        shown = keys.fingerprint(name)
        assert fingerprint(shown) == shown
        assert fingerprint(f" {shown}\n") == shown
        assert fingerprint(f"{shown}=") == shown


@pytest.mark.parametrize(
    "text",
    [
        OPENPGP,
        OPENPGP.lower(),
        f"0x{OPENPGP}",
        "0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567",
    ],
)
def test_openpgp_has_one_spelling(text: str) -> None:
    assert fingerprint(text) == OPENPGP


def test_openpgp_of_version_6_is_longer() -> None:
    assert fingerprint("ab" * 32) == "AB" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SHA256:",
        "SHA256:" + "A" * 42,
        "SHA256:" + "A" * 44,
        "SHA256:" + "A" * 42 + "B",  # two bits too many
        "SHA256:" + "A" * 42 + "-",
        "sha256:" + "A" * 43,
        "SHA512:" + "A" * 43,
        "MD5:" + ":".join(["ab"] * 16),
        "A" * 43,
        OPENPGP[:-1],
        OPENPGP + "0",
        OPENPGP[:-1] + "G",
        OPENPGP[-16:],  # a key id is no fingerprint: others can be made with it
        "ops@example.com",
        "\u0660" * 40,
    ],
)
def test_what_no_key_can_have(text: str) -> None:
    with pytest.raises(UsageError, match="is no fingerprint") as caught:
        fingerprint(text)
    assert "ssh-keygen -l" in caught.value.hint


@given(st.text() | st.text("SHA256:+/=0123456789abcdefABCDEF x"))
def test_any_text_is_one_or_none(text: str) -> None:
    try:
        found = fingerprint(text)
    except UsageError as error:
        assert error.message.isprintable() and len(error.message) < 400
    else:
        assert fingerprint(found) == found
