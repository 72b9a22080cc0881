"""SSH signatures: the verdicts are those of ssh-keygen, and no bytes crash the parser."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.errors import RefusedError
from wgmesh.trust import sshkey, sshsig

from . import soft_keys
from .signing import Keys, run
from .soft_keys import armored, inside

MESSAGE = b"tree of a commit\n\nsubject\n"


def signed(keys: Keys, name: str, namespace: str = "git", *options: str) -> bytes:
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", name, *options]
    return run(argv, keys.directory, stdin=MESSAGE)


@pytest.mark.parametrize("name", ["ops", "p256", "p384", "p521", "rsa"])
@pytest.mark.parametrize("hash_algorithm", ["sha256", "sha512"])
def test_signatures_of_every_supported_kind_verify(
    keys: Keys, name: str, hash_algorithm: str
) -> None:
    signature = sshsig.parse(signed(keys, name, "git", "-O", f"hashalg={hash_algorithm}"))
    assert signature.hash_algorithm == hash_algorithm
    assert signature.key.fingerprint == keys.fingerprint(name)
    sshsig.verify(signature, MESSAGE)
    with pytest.raises(RefusedError, match="does not match"):
        sshsig.verify(signature, MESSAGE + b"x")


def test_another_namespace_is_refused(keys: Keys) -> None:
    signature = sshsig.parse(signed(keys, "ops", "file"))
    sshsig.verify(signature, MESSAGE, "file")
    with pytest.raises(RefusedError, match="namespace 'git'"):
        sshsig.verify(signature, MESSAGE)


@pytest.mark.parametrize("kind", soft_keys.KINDS)
def test_signatures_made_in_software_verify(kind: str) -> None:
    key = soft_keys.make(kind)
    signature = sshsig.parse(key.sshsig(MESSAGE))
    assert (signature.key.kind, signature.key.fingerprint) == (kind, key.fingerprint)
    sshsig.verify(signature, MESSAGE)
    with pytest.raises(RefusedError, match="does not match"):
        sshsig.verify(signature, MESSAGE + b"x")


def refusal(armor: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        sshsig.verify(sshsig.parse(armor), MESSAGE)
    return caught.value.message


def test_rsa_with_sha_1_is_refused_by_name() -> None:
    key = soft_keys.make("ssh-rsa")
    for kind in ("rsa-sha2-256", "rsa-sha2-512"):
        sshsig.verify(sshsig.parse(key.sshsig(MESSAGE, kind=kind)), MESSAGE)
    assert "over SHA-1" in refusal(key.sshsig(MESSAGE, kind="ssh-rsa"))


def test_the_size_of_an_rsa_key() -> None:
    for bits in (1024, 2040):
        reason = f"{bits} bits, fewer than 2048"
        assert reason in refusal(soft_keys.make("ssh-rsa", rsa_bits=bits).sshsig(MESSAGE))
    sshsig.verify(sshsig.parse(soft_keys.make("ssh-rsa", rsa_bits=2048).sshsig(MESSAGE)), MESSAGE)


def rsa_blob(exponent: bytes, modulus: bytes) -> bytes:
    return b"".join(map(soft_keys.string, [b"ssh-rsa", exponent, modulus]))


def test_rsa_keys_that_are_none() -> None:
    mpint, odd = soft_keys.mpint, (1 << 2047) + 1
    good = rsa_blob(mpint(3), mpint(odd))
    assert sshkey.parse_key(good).fields == (mpint(3), mpint(odd))
    sshkey.parse_key(rsa_blob(mpint((1 << 63) + 1), mpint((1 << 16_383) + 1)))
    for exponent, modulus in (
        (mpint(1), mpint(odd)),
        (mpint(2), mpint(odd)),
        (mpint((1 << 64) + 1), mpint(odd)),
        (mpint(3), mpint(odd - 1)),
        (mpint(3), mpint(odd)[1:]),  # negative
        (mpint(3), b"\0" + mpint(odd)),  # another spelling
        (b"\0" + mpint(3), mpint(odd)),
        (b"", mpint(odd)),
        (mpint(3), b""),
        (mpint(3), mpint((1 << 2046) + 1)),
        (mpint(3), mpint((1 << 16_384) + 1)),
    ):
        with pytest.raises(RefusedError, match="rsa key"):
            sshkey.parse_key(rsa_blob(exponent, modulus))


@pytest.mark.parametrize("kind", [kind for kind in soft_keys.KINDS if kind.startswith("sk-")])
def test_security_keys(kind: str) -> None:
    key = soft_keys.make(kind, application=b"ssh:mesh")
    for flags in (0x01, 0x05, 0x81):  # touched; and verified; and with extensions
        sshsig.verify(sshsig.parse(key.sshsig(MESSAGE, flags=flags, counter=1 << 31)), MESSAGE)
    for flags in (0x00, 0x04, 0xFE):
        assert "without a touch" in refusal(key.sshsig(MESSAGE, flags=flags))
    parts = key.parts(MESSAGE, flags=0x00)
    value = parts[-1]
    for changed, reason in (
        (value[:-5] + b"\x01" + value[-4:], "does not match"),  # the flag is under the signature
        (value[:-1] + bytes([value[-1] ^ 1]), "without a touch"),
        (value[:-1], "flags and counter"),
        (value[:-5], "flags and counter"),
        (value + b"\0", "flags and counter"),
    ):
        assert reason in refusal(armored(soft_keys.joined([*parts[:-1], changed])))
    parts = key.parts(MESSAGE)
    parts[-1] = parts[-1][:-1] + bytes([parts[-1][-1] ^ 1])  # so is the counter
    assert "does not match" in refusal(armored(soft_keys.joined(parts)))
    other = parts[0].replace(b"ssh:mesh", b"ssh:mash")  # and the application
    parts = [other, *key.parts(MESSAGE)[1:]]
    assert "does not match" in refusal(armored(soft_keys.joined(parts)))
    for application in (b"ssh:\0esh", b"ssh:m\xe9sh", b"ssh:\nesh"):
        assert len(application) == 8
        parts[0] = key.blob.replace(b"ssh:mesh", application)
        assert "application" in refusal(armored(soft_keys.joined(parts)))


def test_a_signature_of_another_kind_than_its_key() -> None:
    for kind in soft_keys.KINDS:
        key = soft_keys.make(kind)
        for other in {"ssh-ed25519", "sk-ssh-ed25519@openssh.com", "rsa-sha2-512", "x"} - {
            "rsa-sha2-512" if kind == "ssh-rsa" else kind
        }:
            parts = key.parts(MESSAGE)
            (_, value), tail = sshkey.leading_strings(parts[-1], 2)
            parts[-1] = soft_keys.string(other.encode()) + soft_keys.string(value) + tail
            assert "another kind" in refusal(armored(soft_keys.joined(parts)))


def test_openpgp_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match="OpenPGP"):
        sshsig.parse(b"-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n")


def test_anything_but_one_block_is_refused(keys: Keys) -> None:
    armor = signed(keys, "ops")
    sshsig.parse(armor)
    for other in (
        armor + armor,
        b"x" + armor,
        b"\n" + armor,
        armor + b"x",
        armor + b"\n",
        armor.replace(b"-----END", b" -----END"),
        armor.replace(b"\n", b"\r\n"),
        armor[:-30],
        b"",
    ):
        with pytest.raises(RefusedError):
            sshsig.parse(other)


def test_bytes_that_nothing_covers_are_refused(keys: Keys) -> None:
    data = inside(signed(keys, "ops"))
    assert sshsig.parse(armored(data)).namespace == "git"
    blob, namespace, _, hash_algorithm, value = sshkey.strings(data[10:], 5)
    filled = [blob, namespace, b"note", hash_algorithm, value]
    for other in (data[:10] + b"".join(map(sshkey.string, filled)), data + b"\0"):
        with pytest.raises(RefusedError):
            sshsig.parse(armored(other))


def test_names_that_are_no_text() -> None:
    """Bytes that are no ASCII anywhere a name belongs: a refusal, no crash."""
    key = soft_keys.make("ssh-ed25519")
    good = key.parts(MESSAGE)
    for number, reason in ((1, "namespace 'git'"), (3, "neither SHA-256 nor SHA-512")):
        for name in (b"\xff", b"", good[number] + b"\xe9", good[number].upper()):
            parts = [*good[:number], name, *good[number + 1 :]]
            assert reason in refusal(armored(soft_keys.joined(parts)))
    kind = soft_keys.string(b"ssh-ed2551\xb9")
    assert "unknown kind" in refusal(armored(soft_keys.joined([kind + good[0][15:], *good[1:]])))
    assert "another kind" in refusal(armored(soft_keys.joined([*good[:4], kind + good[4][15:]])))


def test_the_head_of_an_sshsig() -> None:
    key = soft_keys.make("ssh-ed25519")
    good = key.parts(MESSAGE)
    data = soft_keys.joined(good)
    for at in range(10):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert "not an SSHSIG of version 1" in refusal(armored(changed))
    for end in range(1, len(data)):
        reason = "not an SSHSIG" if end < 10 else "cut short"
        assert reason in refusal(armored(data[:end]))
    assert "trailing" in refusal(armored(soft_keys.joined([*good, b""])))


def test_the_longest_armor() -> None:
    """What is longer is not looked at, whatever is in it."""
    short = armored(b"x" * 3)
    armor = short.replace(b"eHh4", b"A" * (16_384 - len(short) + 4))
    assert len(armor) == 16_384
    assert "base64" in refusal(armor)
    assert "not exactly one" in refusal(armor.replace(b"\n-----END", b"A\n-----END"))


def changed_field(blob: bytes, number: int, value: bytes) -> bytes:
    fields, rest = sshkey.leading_strings(blob, blob_fields(blob))
    assert not rest
    fields[number] = value
    return b"".join(map(soft_keys.string, fields))


def blob_fields(blob: bytes) -> int:
    count = 0
    while blob:
        blob = blob[4 + int.from_bytes(blob[:4], "big") :]
        count += 1
    return count


@pytest.mark.parametrize("kind", soft_keys.KINDS)
def test_keys_have_one_encoding(kind: str) -> None:
    blob = soft_keys.make(kind).blob
    key = sshkey.parse_key(blob)
    assert (key.kind, key.blob) == (kind, blob)
    count = blob_fields(blob)
    assert len(key.fields) == count - 1
    fields, _ = sshkey.leading_strings(blob, count)
    assert list(key.fields) == fields[1:]
    bad = [blob + b"\0", blob + soft_keys.string(b""), blob[:-1], b"", blob[:4]]
    bad += [changed_field(blob, 0, kind.encode() + end) for end in (b"\0", b" ", b"x" * 60)]
    last = count - 1 if kind.startswith("sk-") else count
    for number in range(1, last):
        value = fields[number]
        bad += [changed_field(blob, number, each) for each in (b"", b"\0" + value, value[1:])]
        bad += [changed_field(blob, number, value + b"\0")] if kind != "ssh-rsa" else []
    for each in bad:
        with pytest.raises(RefusedError):
            sshkey.parse_key(each)


@pytest.mark.parametrize("kind", [kind for kind in soft_keys.KINDS if "ecdsa" in kind])
def test_ecdsa_points(kind: str) -> None:
    blob = soft_keys.make(kind).blob
    (_, curve, point), _ = sshkey.leading_strings(blob, 3)
    for first in (0, 2, 3, 5, 6):
        with pytest.raises(RefusedError, match="no point"):
            sshkey.parse_key(changed_field(blob, 2, bytes([first]) + point[1:]))
    half = (len(point) - 1) // 2
    with pytest.raises(RefusedError, match="no point"):
        sshkey.parse_key(changed_field(blob, 2, b"\2" + point[1 : 1 + half]))
    for other in (b"nistp256", b"nistp384", b"nistp521", b"nistp25\xb6", curve.upper()):
        if other != curve:
            with pytest.raises(RefusedError, match="another curve"):
                sshkey.parse_key(changed_field(blob, 1, other))


def test_a_point_that_is_not_on_its_curve() -> None:
    key = soft_keys.make("ecdsa-sha2-nistp256")
    parts = key.parts(MESSAGE)
    parts[0] = changed_field(key.blob, 2, b"\4" + bytes(64))
    assert "does not match" in refusal(armored(soft_keys.joined(parts)))


def test_ecdsa_numbers_have_one_spelling() -> None:
    key = soft_keys.make("ecdsa-sha2-nistp256")
    *head, signature = key.parts(MESSAGE)
    (kind, value), _ = sshkey.leading_strings(signature, 2)
    (r, s), _ = sshkey.leading_strings(value, 2)
    string = soft_keys.string

    def said(*numbers: bytes) -> str:
        made = string(kind) + string(b"".join(map(string, numbers)))
        return refusal(armored(soft_keys.joined([*head, made])))

    for number in (b"", b"\0", b"\0" + r, b"\x80" + bytes(31), b"\1" + bytes(33), b"\0" * 40):
        assert "ecdsa signature is malformed" in said(number, s)
        assert "ecdsa signature is malformed" in said(r, number)
    assert "does not match" in said(b"\x7f" + b"\xff" * 31, s)
    assert "does not match" in said(b"\0" + b"\xff" * 32, s)
    assert "does not match" in said(s, r)
    assert "cut short" in said(r)
    assert "trailing" in said(r, s, b"")


def test_strings() -> None:
    assert sshkey.leading_strings(b"", 0) == ([], b"")
    assert sshkey.leading_strings(b"\0\0\0\0", 1) == ([b""], b"")
    assert sshkey.leading_strings(b"\0\0\0\1ab", 1) == ([b"a"], b"b")
    assert sshkey.strings(b"\0\0\0\1a\0\0\0\0", 2) == [b"a", b""]
    for data in (b"", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\2a", b"\1\0\0\0a"):
        with pytest.raises(RefusedError, match="cut short"):
            sshkey.leading_strings(data, 1)
    with pytest.raises(RefusedError, match="trailing"):
        sshkey.strings(b"\0\0\0\0x", 1)


def test_base64_has_one_spelling() -> None:
    assert sshkey.decode_base64(b"") == b""
    assert sshkey.decode_base64(b"YQ==") == b"a"
    for text in (b"YQ", b"YQ=", b"YR==", b"Y Q==", b"YQ==\n", b"YQ==YQ==", b"_w==", b"\xff", b"Y"):
        with pytest.raises(RefusedError, match="base64"):
            sshkey.decode_base64(text)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(armored))
def test_any_bytes_are_refused_at_most(data: bytes) -> None:
    for parse in (sshsig.parse, sshkey.parse_key, sshkey.decode_base64):
        with suppress(RefusedError):
            parse(data)


@pytest.fixture(scope="module")
def samples() -> list[bytes]:
    """Return what is in the armor of a right signature of each kind."""
    return [inside(soft_keys.make(kind).sshsig(MESSAGE)) for kind in soft_keys.KINDS]


@given(st.data())
def test_damaged_signatures_are_refused(samples: list[bytes], data: st.DataObject) -> None:
    """Every byte of a signature counts: with any of them changed it is none."""
    good = data.draw(st.sampled_from(samples))
    at = data.draw(st.integers(0, len(good) - 1))
    put, cut = data.draw(st.binary(max_size=8)), data.draw(st.integers(0, 8))
    damaged = good[:at] + put + good[at + cut :]
    try:
        sshsig.verify(sshsig.parse(armored(damaged)), MESSAGE)
    except RefusedError:
        assert damaged != good
    else:
        assert damaged == good


@given(st.data())
def test_damaged_armor_is_refused(samples: list[bytes], data: st.DataObject) -> None:
    """The armor has one spelling but for where its lines break and for the last newline."""
    good = armored(data.draw(st.sampled_from(samples)))
    at = data.draw(st.integers(0, len(good) - 1))
    put, cut = data.draw(st.binary(max_size=3)), data.draw(st.integers(0, 3))
    damaged = good[:at] + put + good[at + cut :]
    try:
        sshsig.verify(sshsig.parse(damaged), MESSAGE)
    except RefusedError:
        assert damaged != good
    else:
        assert damaged.replace(b"\n", b"") == good.replace(b"\n", b"")
