"""SSH signatures: the verdicts are those of ssh-keygen, and no bytes crash the parser."""

import base64
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.errors import RefusedError
from wgmesh.trust import signers, sshsig

from .signing import Keys, environment, run

MESSAGE = b"tree of a commit\n\nsubject\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys")).make()


def signed(keys: Keys, name: str, namespace: str = "git", *options: str) -> bytes:
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", name, *options]
    return run(argv, keys.directory, stdin=MESSAGE)


def armored(data: bytes) -> bytes:
    text = base64.b64encode(data)
    lines = b"".join(text[at : at + 70] + b"\n" for at in range(0, len(text), 70))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"-----END SSH SIGNATURE-----\n"


def inside(armor: bytes) -> bytes:
    return base64.b64decode(b"".join(armor.split(b"\n")[1:-2]))


@pytest.mark.parametrize("name", ["ops", "p256", "p384", "p521"])
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


def test_rsa_is_refused_by_name(keys: Keys) -> None:
    signature = sshsig.parse(signed(keys, "rsa"))
    with pytest.raises(RefusedError, match=r"kind ssh-rsa.*ed25519"):
        sshsig.verify(signature, MESSAGE)


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
    blob, namespace, _, hash_algorithm, value = sshsig.strings(data[10:], 5)
    filled = [blob, namespace, b"note", hash_algorithm, value]
    for other in (data[:10] + b"".join(map(sshsig.string, filled)), data + b"\0"):
        with pytest.raises(RefusedError):
            sshsig.parse(armored(other))


def test_verdicts_agree_with_ssh_keygen(keys: Keys, tmp_path: Path) -> None:
    """Mutated signatures: never accept what ssh-keygen refuses, nor refuse what it accepts."""
    names = ("ops", "p256", "p384", "p521")
    (tmp_path / "allowed").write_text(keys.signers(*names))
    allowed = signers.parse((tmp_path / "allowed").read_bytes())
    dice = random.Random(20)
    originals = {name: inside(signed(keys, name)) for name in names}
    verdicts = []
    for turn in range(120):
        name = names[turn % 4]
        data = bytearray(originals[name])
        at = dice.randrange(len(data))
        match turn // 4 % 5:
            case 0:
                pass
            case 1:
                data[at] ^= 1 << dice.randrange(8)
            case 2:
                del data[at]
            case 3:
                data.insert(at, dice.randrange(256))
            case _:
                other = originals[dice.choice(names)]
                data[at:] = other[at:]
        armor = armored(bytes(data))
        (tmp_path / "sig").write_bytes(armor)
        argv = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-n", "git", "-s", "sig"]
        theirs = not subprocess.run(
            [*argv, "-I", f"{name}@example.com"],
            input=MESSAGE,
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            check=False,
        ).returncode
        ours = False
        with suppress(RefusedError):
            signature = sshsig.parse(armor)
            sshsig.verify(signature, MESSAGE)
            signer = allowed.get(signature.key.blob)
            ours = signer is not None and signer.name == f"{name}@example.com"
        assert ours == theirs, (turn, name, armor)
        verdicts.append(ours)
    assert 24 <= sum(verdicts) < 60


SAMPLE_KEY = b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(range(32))


def sample() -> bytes:
    parts = [SAMPLE_KEY, b"git", b"", b"sha512"]
    value = sshsig.string(b"ssh-ed25519") + sshsig.string(bytes(64))
    return b"SSHSIG\0\0\0\x01" + b"".join(map(sshsig.string, [*parts, value]))


@given(st.binary(max_size=300) | st.binary(max_size=300).map(armored))
def test_any_bytes_are_refused_at_most(data: bytes) -> None:
    for parse in (sshsig.parse, sshsig.parse_key):
        with suppress(RefusedError):
            parse(data)


@given(st.integers(0, len(sample()) - 1), st.binary(max_size=12), st.integers(0, 12))
def test_damaged_signatures_are_refused_at_most(at: int, put: bytes, cut: int) -> None:
    data = sample()
    damaged = data[:at] + put + data[at + cut :]
    with suppress(RefusedError):
        signature = sshsig.parse(armored(damaged))
        assert damaged == data or signature.key.kind in sshsig.KINDS
        sshsig.verify(signature, MESSAGE)
        raise AssertionError("a signature of zeros is right")
