"""The signers file: OpenSSH's format, without what a fleet should not allow."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.errors import RefusedError
from wgmesh.trust import signers

from . import soft_keys


def key(number: int, kind: str = "ssh-ed25519") -> str:
    blob = b"\0\0\0\x0b" + kind.encode() + b"\0\0\0 " + bytes([number]) * 32
    return f"{kind} {base64.b64encode(blob).decode()}"


def only(text: str) -> signers.Signer:
    (signer,) = signers.parse(text.encode()).values()
    return signer


def test_lines() -> None:
    found = signers.parse(
        f"# people\n\n  ops@example.com,o@example.com {key(1)} a comment\r\n"
        f'ann\t namespaces="git,file",VALID-AFTER="20240102Z"\t{key(2)}'.encode()
    )
    ops, ann = found.values()
    assert ops.principals == ("ops@example.com", "o@example.com")
    assert (ops.name, ops.line, ops.usable) == ("ops@example.com", 3, True)
    assert (ann.namespaces, ann.valid_after) == (("git", "file"), 1_704_153_600)
    assert found[ann.key.blob] is ann


def test_names_and_blanks() -> None:
    kind, text = key(1).split()
    for line in (
        f"Xena@X,X {key(1)}",
        f"Xena@X,X\t{kind}\t{text}\ta comment",
        f"Xena@X,X {kind}\t{text}\ta comment",
        f'Xena@X,X namespaces="X,git" {kind} {text} a longer comment X',
    ):
        assert (only(line).principals, only(line).usable) == (("Xena@X", "X"), True)


@pytest.mark.parametrize("kind", soft_keys.KINDS)
def test_every_kind_of_key_can_be_named(kind: str) -> None:
    made = soft_keys.make(kind)
    found = only(f"a {made.line}")
    assert (found.key.kind, found.key.blob, found.usable) == (kind, made.blob, True)
    assert only(f'a namespaces="git" {made.line}').key == found.key


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20240102", 1_704_153_600),
        ("20240102Z", 1_704_153_600),
        ("202401020304", 1_704_164_640),
        ("20240102030405Z", 1_704_164_645),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_times_are_utc(text: str, seconds: int) -> None:
    assert only(f'a valid-before="{text}" {key(1)}').valid_before == seconds


def test_a_key_for_another_namespace_is_of_no_use_for_git() -> None:
    assert not only(f'a namespaces="file" {key(1)}').usable


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names nobody"),
        ("# nobody\n", "names nobody"),
        (f"a cert-authority {key(1)}", "cert-authority"),
        (f'a namespaces="git",cert-authority {key(1)}', "cert-authority"),
        (f"*@example.com {key(1)}", "wildcard"),
        (f"a,!b {key(1)}", "wildcard"),
        (f'"a b" {key(1)}', "wildcard or quote"),
        (f"a,,b {key(1)}", "empty principal"),
        (f'a namespaces="g*" {key(1)}', "wildcard among its namespaces"),
        (f"a verify-required {key(1)}", "unknown option"),
        (f"a no-touch-required {key(1)}", "unknown option"),  # nor does ssh-keygen know it here
        (f"a {soft_keys.make('ssh-rsa', rsa_bits=1024).line}", "1024 bits, fewer than 2048"),
        (f"a namespaces {key(1)}", "unknown option"),
        (f'a expires="20240101" {key(1)}', "unknown option"),
        (f'a namespaces="git",namespaces="file" {key(1)}', "twice"),
        (f'a valid-after="soon" {key(1)}', "no time"),
        (f'a valid-after="20241301" {key(1)}', "no time"),
        (f'a valid-after="20240101",valid-before="20230101" {key(1)}', "never valid"),
        (f"a {key(1)}\nb {key(2)}\nc {key(1)}", "allowed_signers:3 has the key of line 1"),
        ("a ssh-dss AAAA", "unknown option or kind"),
        ("a", "no key"),
        ("a ssh-ed25519", "no key"),
        ("a ssh-ed25519 AAAA", "cannot be used"),
        (f"a {key(1)[:-2]}", "cannot be used"),
        (f"a ssh-rsa {key(1).split()[1]}", "says ssh-rsa"),
        (f"a {key(1)} \x1b[31m", "control"),
        (f"a {key(1)}\n\xff", "not UTF-8"),
    ],
)
def test_refused_files(text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        signers.parse(text.encode("latin-1"))


@pytest.mark.parametrize("blank", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u3000"])
def test_blanks_that_are_none_to_ssh(blank: str) -> None:
    for line in (f"{blank}a {key(1)}", f"a {key(1)} c{blank}", f"a{blank}b {key(1)}"):
        with pytest.raises(RefusedError, match=":1 has control characters"):
            signers.parse(line.encode())


def test_the_largest_file() -> None:
    line = f"ops {key(1)}\n"
    largest = line + "#" * (signers.LARGEST_BYTES - len(line))
    assert len(signers.parse(largest.encode())) == 1
    with pytest.raises(RefusedError, match="more than 1048576 bytes"):
        signers.parse(f"{largest}#".encode())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('namespaces="git"', (("git",), None, None)),
        ('NameSpaces="git"', (("git",), None, None)),
        ('valid-after="20240102"', (None, 1_704_153_600, None)),
        ('valid-before="20240102Z"', (None, None, 1_704_153_600)),
        (
            'valid-after="20240102000000Z",valid-before="20240102000001z"',
            (None, 1_704_153_600, 1_704_153_601),
        ),
        ('valid-before="20240102UTC"', (None, None, 1_704_153_600)),
        ('valid-before="20240102utc",namespaces="a"', (("a",), None, 1_704_153_600)),
    ],
)
def test_options(options: str, expected: tuple[object, ...]) -> None:
    for blank in (" ", "\t", " \t "):
        signer = only(f"a{blank}{options}{blank}{key(1)}")
        assert (signer.namespaces, signer.valid_after, signer.valid_before) == expected
        assert signer.usable == (expected[0] is None or "git" in (signer.namespaces or ()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"a valid-after=20240102 {key(1)}", "cannot be read"),
        (f'a valid-after="20240102 {key(1)}', "cannot be read"),
        (f'a valid-after="2024\\"0102" {key(1)}', "cannot be read"),
        (f'a valid-after="20240102"x {key(1)}', "cannot be read"),
        (f'a valid-after="20240102", {key(1)}', "cannot be read|unknown option"),
        (f'a ,valid-after="20240102" {key(1)}', "cannot be read"),
        ('a valid-after="20240102"', "no key"),
        (f"a valid-after {key(1)}", "unknown option"),
        (f'a valid-after="" {key(1)}', "no time"),
        (f'a valid-after="2024010" {key(1)}', "no time"),
        (f'a valid-after="202401020" {key(1)}', "no time"),
        (f'a valid-after="2024010203" {key(1)}', "no time"),
        (f'a valid-after="2024010203040" {key(1)}', "no time"),
        (f'a valid-after="20240230" {key(1)}', "no time"),
        (f'a valid-after="202401022460" {key(1)}', "no time"),
        (f'a valid-after="20240102+1" {key(1)}', "no time"),
        (f'a valid-after=" 20240102" {key(1)}', "no time"),
        (f'a valid-after="20240102ZZ" {key(1)}', "no time"),
        (f'a valid-after="\uff12\uff10240102" {key(1)}', "no time"),
        (f'a valid-after="20240101",valid-after="20240101" {key(1)}', "twice"),
        (f'a valid-after="20240101",VALID-AFTER="20240101" {key(1)}', "twice"),
        (f'a valid-after="20240101",valid-before="20240101" {key(1)}', "never valid"),
        (f'a namespaces="" {key(1)}', "wildcard among its namespaces"),
        (f'a namespaces="git," {key(1)}', "wildcard among its namespaces"),
        (f'a namespaces="git,?" {key(1)}', "wildcard among its namespaces"),
        (f'a namespaces="!git" {key(1)}', "wildcard among its namespaces"),
        (f"a,b* {key(1)}", "wildcard or quote"),
        (f"a? {key(1)}", "wildcard or quote"),
        (f"'a' {key(1)}", "wildcard or quote"),
        (f"a\\ {key(1)}", "wildcard or quote"),
        (f",a {key(1)}", "empty principal"),
        (f"a, {key(1)}", "empty principal"),
        (f"a CERT-AUTHORITY {key(1)}", "cert-authority"),
        (f'a cert-authority="x" {key(1)}', "cert-authority"),
        (f"a {key(1).split()[1]}", "options that cannot be read"),
        (f"a ssh-ed25519 {key(1)}", "cannot be used"),
        (f"a {key(1)} \x7f", "control"),
        (f"a\u200b {key(1)}", "control"),
        (f"a {key(1)}\n\n# x\n b {key(1)}", "allowed_signers:4 has the key of line 1"),
    ],
)
def test_more_refused_files(text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        signers.parse(text.encode())
    assert caught.value.message.isprintable() and caught.value.hint


LINES = st.lists(
    st.sampled_from(
        ["a", " ", ",", "\n", "#", "=", '"', 'valid-after="2024', 'namespaces="git"', key(1)]
    )
    | st.text(max_size=10),
    max_size=12,
).map("".join)


@given(LINES.map(str.encode) | st.binary(max_size=100))
def test_any_bytes_are_refused_at_most(data: bytes) -> None:
    with suppress(RefusedError):
        found = signers.parse(data)
        assert found and all(signer.principals for signer in found.values())


GOOD = f"""# people
ops@example.com,o@example.com {key(1)} a comment
ann namespaces="git,file",valid-after="20240102Z",valid-before="20300102030405Z" {key(2)}
""".encode()


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=4), st.integers(0, 4))
def test_damaged_files_are_refused_at_most(at: int, put: bytes, cut: int) -> None:
    with suppress(RefusedError):
        for signer in signers.parse(GOOD[:at] + put + GOOD[at + cut :]).values():
            assert all(signer.principals) and signer.name.isprintable()
            assert signer.key.fingerprint.startswith("SHA256:")
