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


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys")).make()


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
