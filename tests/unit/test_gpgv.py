"""gpgv on real keys and real commits: whose signature it is, and which are none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wgmesh import process
from wgmesh.errors import RefusedError, WgmeshError
from wgmesh.gpgv import Gpgv
from wgmesh.trust import openpgp
from wgmesh.trust.commit import split_signature
from wgmesh.trust.openpgp import OpenPgpSignature

from .gpg import GpgHome
from .signing import Keys, Workshop, run

PAYLOAD = b"tree of a commit\n\nsubject\n"


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    with GpgHome() as home:
        yield home


@pytest.fixture(scope="module")
def ada(home: GpgHome) -> str:
    return home.make("ada")


@pytest.fixture(scope="module")
def ben(home: GpgHome) -> str:
    return home.make("ben", "rsa2048")


def verified(home: GpgHome, armor: bytes, *keys: str, payload: bytes = PAYLOAD) -> OpenPgpSignature:
    return Gpgv().verify(openpgp.parse(home.files(*keys)), armor, payload)


def refusal(home: GpgHome, armor: bytes, *keys: str, payload: bytes = PAYLOAD) -> str:
    with pytest.raises(RefusedError) as caught:
        verified(home, armor, *keys, payload=payload)
    assert caught.value.message.isprintable()
    return caught.value.message


def test_signatures_of_every_kind(home: GpgHome, ada: str, ben: str) -> None:
    cleo, dora = home.make("cleo", "nistp384"), home.make("dora", "rsa3072")
    for key in (ada, ben, cleo, dora):
        armor = home.sign(key, PAYLOAD)
        found = verified(home, armor, ada, ben, cleo, dora)
        assert found == OpenPgpSignature(key, expired=False)
        assert "does not match" in refusal(home, armor, key, payload=PAYLOAD + b"x")
    for digest in ("SHA224", "SHA256", "SHA384", "SHA512"):
        armor = home.sign(ben, PAYLOAD, "--digest-algo", digest)
        assert verified(home, armor, ben).fingerprint == ben


def test_a_subkey_signs_for_its_primary_key(home: GpgHome) -> None:
    key = home.make("emil", usage="cert")
    subkey = home.add_subkey(key)
    armor = home.sign(f"{subkey}!", PAYLOAD)
    assert verified(home, armor, key) == OpenPgpSignature(key, expired=False)


def test_a_key_that_is_not_in_the_keyring(home: GpgHome, ada: str, ben: str) -> None:
    armor = home.sign(ada, PAYLOAD)
    assert f"{ada[24:]} signed it, which openpgp/ does not have" in refusal(home, armor, ben)
    assert "does not have" in refusal(home, armor)


def test_expired_keys(home: GpgHome) -> None:
    key = home.make("fred", expires="2020-06-01")
    armor = home.sign(key, PAYLOAD)
    assert verified(home, armor, key) == OpenPgpSignature(key, expired=True)
    mixed = home.make("gina")
    old, new = home.add_subkey(mixed, expires="2020-06-01"), home.add_subkey(mixed)
    for subkey, expired in ((old, True), (new, False), (mixed, False)):
        armor = home.sign(f"{subkey}!", PAYLOAD)
        assert verified(home, armor, mixed) == OpenPgpSignature(mixed, expired)


def test_revoked_keys(home: GpgHome) -> None:
    key = home.make("hans")
    armor = home.sign(key, PAYLOAD)
    assert verified(home, armor, key).fingerprint == key
    home.revoke(key)
    assert "has revoked" in refusal(home, armor, key)


def test_a_key_that_is_revoked_and_expired(home: GpgHome) -> None:
    """The verdict is EXPKEYSIG, as of any other old key; the certificate tells."""
    key = home.make("ida", expires="2020-06-01")
    armor = home.sign(key, PAYLOAD)
    assert verified(home, armor, key).expired
    home.revoke(key)
    assert "has revoked" in refusal(home, armor, key)


def test_a_revoked_subkey(home: GpgHome) -> None:
    key = home.make("jan")
    gone, other = home.add_subkey(key, expires="2020-06-01"), home.add_subkey(key)
    armor = home.sign(f"{gone}!", PAYLOAD)
    assert verified(home, armor, key).expired
    home.revoke_subkey(key, 1)
    assert "has revoked" in refusal(home, armor, key)
    assert verified(home, home.sign(f"{other}!", PAYLOAD), key).fingerprint == key


def test_a_signature_that_has_itself_expired(home: GpgHome, ada: str) -> None:
    armor = home.sign(ada, PAYLOAD, "--default-sig-expire", "1d")
    assert "has itself expired" in refusal(home, armor, ada)


def test_weak_digests(home: GpgHome, ben: str) -> None:
    for digest in ("SHA1", "RIPEMD160"):
        armor = home.sign(ben, PAYLOAD, "--digest-algo", digest)
        assert "weaker digest" in refusal(home, armor, ben)
    old = home.make("kurt", "rsa2048", "--cert-digest-algo", "SHA1", at="20150101T000000")
    assert "over SHA-1" in refusal(home, home.sign(old, PAYLOAD), old)


def test_weak_algorithms(home: GpgHome) -> None:
    key = home.make("lena", "dsa2048")
    assert "none of rsa, ecdsa, eddsa" in refusal(home, home.sign(key, PAYLOAD), key)


def test_other_forms_of_signatures(home: GpgHome, ada: str) -> None:
    text = home.sign(ada, PAYLOAD, "--textmode")
    assert "not over the bytes" in refusal(home, text, ada)
    whole = home.gpg("-u", ada, "--armor", "--sign", "-o", "-", stdin=PAYLOAD)
    clear = home.gpg("-u", ada, "--armor", "--clear-sign", "-o", "-", stdin=PAYLOAD)
    for armor in (whole, clear, clear[clear.index(b"-----BEGIN PGP SIGNATURE") :]):
        assert "OpenPGP signature" in refusal(home, armor, ada)


def test_two_signatures_at_once(home: GpgHome, ada: str, ben: str) -> None:
    armor = home.sign(ada, PAYLOAD, "-u", ben)
    assert "not exactly one signature" in refusal(home, armor, ada, ben)


def test_a_commit_that_git_has_signed(home: GpgHome, ada: str, ben: str, tmp_path: Path) -> None:
    work = Workshop(tmp_path / "work", Keys(tmp_path)).start()
    config = ("-c", "gpg.format=openpgp", "-c", f"user.signingkey={ada}")
    args = ("commit", "-q", "-S", "--allow-empty", "-m", "By Ada")
    work.git(*config, *args, env=home.environment)
    payload, armor = split_signature(work.raw(work.head()))
    assert openpgp.claims(armor)
    assert verified(home, armor, ada, ben, payload=payload).fingerprint == ada
    changed = payload.replace(b"By Ada", b"By Eve")
    assert "does not match" in refusal(home, armor, ada, payload=changed)


def test_nothing_but_the_keyring_counts(
    home: GpgHome, ada: str, ben: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the home of who runs it, with a keyring that gpgv reads by itself, nor /tmp."""
    armor = home.sign(ada, PAYLOAD)
    (tmp_path / ".gnupg").mkdir(mode=0o700)
    (tmp_path / ".gnupg" / "trustedkeys.gpg").write_bytes(home.gpg("--export", ada))
    (tmp_path / "tmp").mkdir()
    for name, data in (("sig", armor), ("payload", PAYLOAD)):
        (tmp_path / name).write_bytes(data)
    run(["gpgv", "--", "sig", "payload"], tmp_path)  # it would count
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / ".gnupg"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert "does not have" in refusal(home, armor, ben)
    assert verified(home, armor, ada).fingerprint == ada
    assert not list((tmp_path / "tmp").iterdir())


def test_a_machine_without_gpgv(
    home: GpgHome, ada: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    armor = home.sign(ada, PAYLOAD)
    monkeypatch.setattr(process, "SAFE_PATH", str(tmp_path))
    with pytest.raises(WgmeshError, match="gpgv") as caught:
        verified(home, armor)
    assert not isinstance(caught.value, RefusedError) and "install" in caught.value.hint
