"""OpenPGP by bytes: certificates, armor, packets, and what gpgv's status lines are worth."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.errors import RefusedError
from wgmesh.trust import openpgp, packets
from wgmesh.trust.openpgp import Keyring, OpenPgpSignature

from .gpg import GpgHome

PAYLOAD = b"tree of a commit\n\nsubject\n"


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    with GpgHome() as home:
        yield home


@pytest.fixture(scope="module")
def ada(home: GpgHome) -> str:
    return home.make("ada")


@pytest.fixture(scope="module")
def certificate(home: GpgHome, ada: str) -> bytes:
    return home.export(ada)


@pytest.fixture(scope="module")
def armor(home: GpgHome, ada: str) -> bytes:
    return home.sign(ada, PAYLOAD)


def inside(armor: bytes) -> bytes:
    """Return what is in an armor."""
    lines = armor.partition(b"\n\n")[2].split(b"\n")
    return base64.b64decode(b"".join(line for line in lines if line[:1] not in (b"-", b"=")))


def armored(data: bytes, what: str) -> bytes:
    """Return an armor without a checksum."""
    text = base64.b64encode(data)
    lines = b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
    return (
        f"-----BEGIN PGP {what}-----\n\n".encode() + lines + f"-----END PGP {what}-----\n".encode()
    )


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def refusal_of(files: dict[str, bytes]) -> str:
    with pytest.raises(RefusedError) as caught:
        openpgp.parse(files)
    error = caught.value
    assert error.message.isprintable() and error.hint
    return error.message


# ---------------------------------------------------------------- certificates


def test_a_keyring(home: GpgHome, ada: str, certificate: bytes) -> None:
    ben = home.make("ben", "rsa2048")
    home.add_subkey(ben)
    files = home.files(ada, ben)
    keyring = openpgp.parse(files)
    assert keyring.certificates == {ada: files[f"{ada}.asc"], ben: files[f"{ben}.asc"]}
    assert keyring.packets == b"".join(inside(text) for _, text in sorted(files.items()))
    assert keyring.revoked == frozenset()
    assert openpgp.parse({}) == Keyring()
    crlf = {f"{ada}.asc": certificate.replace(b"\n", b"\r\n")}
    assert openpgp.parse(crlf).packets == inside(certificate)
    comment = b"-----\nComment: Ad\xc3\xa1 <ada@example.com>\nVersion: 1\n\n"
    headers = {f"{ada}.asc": certificate.replace(b"-----\n\n", comment, 1)}
    assert openpgp.parse(headers).packets == inside(certificate)


def test_names(ada: str, certificate: bytes) -> None:
    for name in (
        "ada.asc",
        f"{ada}",
        f"{ada}.gpg",
        f"{ada.lower()}.asc",
        f"{ada[24:]}.asc",
        f"0x{ada}.asc",
        f"{ada}.asc\n",
        "\x1b[31m.asc",
        "é" * 300,
    ):
        assert "not named FINGERPRINT.asc" in refusal_of({name: certificate})
    other = "12" * 20
    assert f"has the key {ada}" in refusal_of({f"{other}.asc": certificate})
    many = {f"{number:040X}.asc": certificate for number in range(257)}
    assert "more than 256 files" in refusal_of(many)


def test_armor(ada: str, certificate: bytes) -> None:
    name = f"{ada}.asc"
    data = inside(certificate)
    plain = armored(data, "PUBLIC KEY BLOCK")
    assert openpgp.parse({name: plain}).packets == data
    assert certificate.count(b"\n=") == 1  # gpg writes a checksum
    at = certificate.index(b"\n=") + 2
    other = b"A" if certificate[at : at + 1] != b"A" else b"B"
    wrong = certificate[:at] + other + certificate[at + 1 :]
    assert "wrong checksum" in refusal_of({name: wrong})
    for text in (
        b"",
        data,
        certificate + certificate,
        b"\n" + certificate,
        b"key of Ada\n" + certificate,
        certificate + b"\n",
        certificate[:-30],
        plain.replace(b"PUBLIC KEY BLOCK", b"SIGNATURE"),
        plain.replace(b"END PGP PUBLIC KEY BLOCK", b"END PGP SIGNATURE"),
        plain.replace(b"-----\n\n", b"-----\n", 1),
        plain.replace(b"-----\n\n", b"-----\nX-Note: x\n\n", 1),
        plain.replace(b"-----\n\n", b"-----\nComment: \x1b[2J\n\n", 1),
    ):
        assert "not exactly one armored PGP PUBLIC KEY BLOCK" in refusal_of({name: text})
    for text in (plain.replace(b"\n-----END", b"=\n-----END"), plain.replace(b"\nm", b"\n\nm", 1)):
        assert openpgp.DIRECTORY in refusal_of({name: text})
    large = certificate.replace(b"-----\n\n", b"-----\nComment:" + b"x" * (1 << 20) + b"\n\n", 1)
    assert f"more than {openpgp.LARGEST_BYTES} bytes" in refusal_of({name: large})


def test_secret_keys_are_refused(home: GpgHome, ada: str, certificate: bytes) -> None:
    secret = home.gpg("--armor", "--export-secret-keys", ada)
    assert "not exactly one armored PGP PUBLIC" in refusal_of({f"{ada}.asc": secret})
    disguised = secret.replace(b"PRIVATE KEY BLOCK", b"PUBLIC KEY BLOCK")
    assert "has a secret key" in refusal_of({f"{ada}.asc": disguised})
    data = inside(certificate) + packet(7, b"\x04secret")
    text = armored(data, "PUBLIC KEY BLOCK")
    assert "has a secret key" in refusal_of({f"{ada}.asc": text})


def test_packets_of_a_certificate(ada: str, certificate: bytes) -> None:
    data = inside(certificate)
    key = packets.packets(data)[0][1]
    name = f"{ada}.asc"

    def refused(changed: bytes) -> str:
        return refusal_of({name: armored(changed, "PUBLIC KEY BLOCK")})

    assert "exactly one primary key" in refused(data + data)
    assert "exactly one primary key" in refused(packet(13, b"Ada") + data)
    assert "exactly one primary key" in refused(packet(14, key))
    for tag in (1, 8, 10, 11, 12, 18, 60):
        assert f"packet of kind {tag}" in refused(data + packet(tag, b"x"))
    for body in (b"", b"\x04", b"\x03" + key[1:], b"\x05" + key[1:], b"\x06" + key[1:]):
        assert "version" in refused(packet(6, body) + data[data.index(key) + len(key) :])
        assert "version" in refused(data + packet(14, body))
    assert "version" in refused(data + packet(14, key + bytes(1 << 16)))
    for changed in (data[:-1], data + b"\x99", data + b"\x99\x01", b"\x99\x00"):
        assert "cut short" in refused(changed)
    assert "in parts" in refused(packet(6, key) + b"\xcd\xe0x")
    for changed in (data + b"\x00", data + b"\x9bx", b"\x7f" + data):
        assert "no packet" in refused(changed)
    assert "cut short" in refused(data + packet(2, b""))
    assert "cut short" in refused(data + packet(2, b"\x04"))
    assert "cut short" in refused(data + packet(2, b"\x03\x05"))


def test_every_form_of_a_length() -> None:
    for size in (0, 191, 192, 8383, 8384, 70_000):
        body = bytes(size)
        forms = [b"\xcd\xff" + size.to_bytes(4, "big"), b"\xb6" + size.to_bytes(4, "big")]
        if size < 192:
            forms += [b"\xcd" + bytes([size])]
        elif size < 8384:
            forms += [b"\xcd" + bytes([(size - 192 >> 8) + 192, size - 192 & 0xFF])]
        if size < 256:
            forms += [b"\xb4" + bytes([size])]
        if size < 65_536:
            forms += [b"\xb5" + size.to_bytes(2, "big")]
        for head in forms:
            assert packets.packets(head + body + b"\xcd\x01x") == [(13, body), (13, b"x")]


def test_short_rsa_keys_are_refused(home: GpgHome) -> None:
    short = home.make("short", "rsa1024")
    assert "rsa key of 1024 bits" in refusal_of(home.files(short))
    mixed = home.make("mixed")
    home.add_subkey(mixed, "rsa1024", usage="encr")
    assert "rsa key of 1024 bits" in refusal_of(home.files(mixed))


def test_revocations_are_seen(home: GpgHome) -> None:
    whole = home.make("whole")
    subkeys = [home.add_subkey(whole), home.add_subkey(whole, "rsa2048")]
    assert not openpgp.parse(home.files(whole)).revoked
    home.revoke_subkey(whole, 2)
    assert openpgp.parse(home.files(whole)).revoked == {subkeys[1]}
    home.revoke_subkey(whole, 1)
    assert openpgp.parse(home.files(whole)).revoked == set(subkeys)
    home.revoke(whole)
    assert openpgp.parse(home.files(whole)).revoked == {whole, *subkeys}


def test_a_revocation_is_seen_in_whatever_file(home: GpgHome) -> None:
    first, last = sorted((home.make("one"), home.make("other")))
    home.revoke(first)
    assert openpgp.parse(home.files(first, last)).revoked == {first}
    home.revoke(last)
    assert openpgp.parse(home.files(first, last)).revoked == {first, last}


@pytest.mark.parametrize("version", [b"\2", b"\3"])
def test_an_old_revocation_is_seen(ada: str, certificate: bytes, version: bytes) -> None:
    data = inside(certificate) + packet(2, version + b"\x05\x20" + bytes(20))
    keyring = openpgp.parse({f"{ada}.asc": armored(data, "PUBLIC KEY BLOCK")})
    assert keyring.revoked == {ada}
    data = inside(certificate) + packet(2, version + b"\x05\x10" + bytes(20))
    assert not openpgp.parse({f"{ada}.asc": armored(data, "PUBLIC KEY BLOCK")}).revoked


def test_a_certificate_may_have_a_photo(ada: str, certificate: bytes) -> None:
    data = inside(certificate) + packet(17, b"\x16\x01" + bytes(20))
    keyring = openpgp.parse({f"{ada}.asc": armored(data, "PUBLIC KEY BLOCK")})
    assert keyring.packets == data


def test_limits_of_a_keyring(ada: str, certificate: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{ada}.asc"
    room = openpgp.LARGEST_BYTES - len(certificate) - len(b"Comment:\n")
    for more, fits in ((0, True), (1, False)):
        comment = b"-----\nComment:" + b"x" * (room + more) + b"\n\n"
        text = certificate.replace(b"-----\n\n", comment, 1)
        assert (len(text) <= openpgp.LARGEST_BYTES) is fits
        if fits:
            assert openpgp.parse({name: text}).packets == inside(certificate)
        else:
            assert "bytes" in refusal_of({name: text})
    monkeypatch.setattr(openpgp, "MOST_CERTIFICATES", 1)
    assert openpgp.parse({name: certificate}).certificates
    assert "more than 1 files" in refusal_of({name: certificate, "x": b""})


def key_body(algorithm: int, bits: int, version: int = 4) -> bytes:
    return bytes([version, 0, 0, 0, 0, algorithm]) + bits.to_bytes(2, "big") + bytes(9)


def test_fingerprints_and_sizes_of_keys() -> None:
    for algorithm in (1, 2, 3):
        assert packets.fingerprint(key_body(algorithm, 2048))
        with pytest.raises(RefusedError, match="2047 bits, fewer than 2048"):
            packets.fingerprint(key_body(algorithm, 2047))
    for algorithm in (0, 4, 16, 17, 18, 19, 22):  # the first number says nothing of their strength
        assert packets.fingerprint(key_body(algorithm, 9))
    body = key_body(22, 0)
    digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest()
    assert packets.fingerprint(body) == digest.upper()
    assert packets.fingerprint(body[:8])
    for other in (body[:7], b"", key_body(22, 0, 3), key_body(22, 0, 5), body + bytes(1 << 16)):
        with pytest.raises(RefusedError, match="version"):
            packets.fingerprint(other)
    assert packets.fingerprint(body[:8] + bytes((1 << 16) - 9))


# ---------------------------------------------------------------- the armor of a signature


def signature_refusal(armor: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        openpgp.parse_signature(armor)
    assert caught.value.message.isprintable()
    return caught.value.message


def test_a_signature(armor: bytes) -> None:
    assert openpgp.claims(armor)
    assert not openpgp.claims(b"-----BEGIN SSH SIGNATURE-----\n")
    data = inside(armor)
    assert openpgp.parse_signature(armor) == data
    assert openpgp.parse_signature(armor[:-1]) == data  # as in a commit
    assert openpgp.parse_signature(armored(data, "SIGNATURE")) == data
    for other in (
        b"",
        armor + armor,
        armor + b"\n",
        b"\n" + armor,
        b"x" + armor,
        armor.replace(b"\n", b"\r\n"),
        armor.replace(b"SIGNATURE", b"MESSAGE"),
        armor.replace(b"SIGNATURE", b"SIGNED MESSAGE"),
        armor[:-20],
    ):
        assert "not exactly one armored PGP SIGNATURE" in signature_refusal(other)
    frame = len(armored(b"x", "SIGNATURE")) - 5
    text = armored(b"x", "SIGNATURE").replace(b"eA==", b"A" * (16_384 - frame - 1))
    assert len(text) == 16_384 and "no packet" in signature_refusal(text)
    assert "more than 16384 bytes" in signature_refusal(text.replace(b"AAAA", b"AAAAA", 1))


def test_packets_of_a_signature(armor: bytes) -> None:
    data = inside(armor)
    ((_, body),) = packets.packets(data)

    def refused(changed: bytes) -> str:
        return signature_refusal(armored(changed, "SIGNATURE"))

    assert "not exactly one signature" in refused(data + data)
    assert "not exactly one signature" in refused(data + packet(13, b"x"))
    assert "not exactly one signature" in refused(packet(4, bytes(13)) + data)
    assert "not exactly one signature" in refused(packet(8, b"\0" + data))
    assert "cut short" in refused(data[:-1])
    for version in (2, 3, 5, 6):
        assert "another version" in refused(packet(2, bytes([version]) + body[1:]))
    for kind in (0x01, 0x02, 0x10, 0x40):
        assert "not over the bytes" in refused(packet(2, body[:1] + bytes([kind]) + body[2:]))
    for digest in (0, 1, 2, 3, 12, 14, 255):
        changed = body[:3] + bytes([digest]) + body[4:]
        assert "weaker digest" in refused(packet(2, changed))
    for algorithm in (0, 2, 16, 17, 27, 100):
        changed = body[:2] + bytes([algorithm]) + body[3:]
        assert "none of rsa, ecdsa, eddsa" in refused(packet(2, changed))
    assert "nothing covers" in refused(packet(2, body + b"\0"))
    for end in range(len(body)):
        assert "its OpenPGP signature" in refused(packet(2, body[:end]))


def with_hints(body: bytes, area: bytes) -> bytes:
    """Return an armored signature with these subpackets outside of what it signs."""
    begin = 6 + int.from_bytes(body[4:6], "big")
    end = begin + 2 + int.from_bytes(body[begin : begin + 2], "big")
    changed = body[:begin] + len(area).to_bytes(2, "big") + area + body[end:]
    return armored(packet(2, changed), "SIGNATURE")


def test_what_a_signature_does_not_cover(armor: bytes) -> None:
    ((_, body),) = packets.packets(inside(armor))
    issuer, long = b"\x09\x10" + bytes(8), b"\x16\x21\x04" + bytes(20)
    for area in (b"", issuer, long, issuer + long, long + issuer):
        assert openpgp.parse_signature(with_hints(body, area))
    for area in (
        b"\x05note!",
        b"\x06\x14note!",
        issuer + issuer,
        issuer + b"\x00",
        issuer + b"\x09",
        b"\x09\x90" + bytes(8),
        b"\x08\x10" + bytes(7),
        issuer[:-1],
        b"\xff\x00\x00\x00\x09\x10" + bytes(8),
    ):
        assert "nothing covers" in signature_refusal(with_hints(body, area))


# ---------------------------------------------------------------- what gpgv says

KEY, SUBKEY = "0123456789ABCDEF0123456789ABCDEF01234567", "89ABCDEF" * 5
KEYRING = Keyring({KEY: b""})
GOOD = (
    b"[GNUPG:] NEWSIG ada@example.com\n"
    b"[GNUPG:] KEY_CONSIDERED 0123456789ABCDEF0123456789ABCDEF01234567 0\n"
    b"[GNUPG:] SIG_ID KrQmTQs1BaBAR7NUh/9uzVmnjXw 2020-02-01 1580515200\n"
    b"[GNUPG:] GOODSIG 89ABCDEF01234567 Ada <ada@example.com>\n"
    b"[GNUPG:] VALIDSIG 0123456789ABCDEF0123456789ABCDEF01234567 2020-02-01 1580515200 0 4 0 22 8"
    b" 00 0123456789ABCDEF0123456789ABCDEF01234567\n"
)
VALID = GOOD.splitlines(keepends=True)[4]
VERDICT = GOOD.splitlines(keepends=True)[3]


def judged(status: bytes, keyring: Keyring = KEYRING) -> str:
    with pytest.raises(RefusedError) as caught:
        openpgp.judge(keyring, status)
    assert caught.value.message.isprintable() and caught.value.message.isascii()
    return caught.value.message


def test_what_follows_an_empty_line_counts() -> None:
    judged(GOOD + b"\n" + GOOD)
    judged(GOOD + b"\n" + GOOD.replace(b"GOODSIG", b"BADSIG"))


def test_a_good_verdict() -> None:
    assert openpgp.judge(KEYRING, GOOD) == OpenPgpSignature(KEY, expired=False)
    expired = GOOD.replace(b"GOODSIG", b"EXPKEYSIG")
    assert openpgp.judge(KEYRING, expired) == OpenPgpSignature(KEY, expired=True)
    more = GOOD + b"[GNUPG:] VERIFICATION_COMPLIANCE_MODE 23\n[GNUPG:] SOMETHING new\n[GNUPG:]\n"
    assert openpgp.judge(KEYRING, more + b"\n").fingerprint == KEY
    name = GOOD.replace(b"Ada <", "Adà %0A[GNUPG:] BADSIG <".encode())
    assert openpgp.judge(KEYRING, name).fingerprint == KEY
    for digest in (b"9", b"10", b"11"):
        assert openpgp.judge(KEYRING, GOOD.replace(b" 8 00", b" %s 00" % digest)).fingerprint == KEY


def test_bad_verdicts() -> None:
    for verdict, said in (
        (b"BADSIG", "does not match"),
        (b"EXPSIG", "has itself expired"),
        (b"REVKEYSIG", "has revoked"),
    ):
        changed = GOOD.replace(b"GOODSIG", verdict)
        assert said in judged(changed)
        assert said in judged(changed.replace(VALID, b""))
    for code, said in (
        (b"9", "openpgp/ does not have"),
        (b"6", "over SHA-1"),
        (b"5", "cannot check"),
        (b"", "cannot check"),
    ):
        line = b"[GNUPG:] ERRSIG 89ABCDEF01234567 22 8 00 1580515200 " + code + b" -\n"
        assert said in judged(GOOD.replace(VERDICT, line).replace(VALID, b""))
    for words in range(6):
        rest = b" ".join(b"89ABCDEF01234567 22 8 00 1580515200".split()[:words])
        short = GOOD.replace(VERDICT, b"[GNUPG:] ERRSIG " + rest + b"\n").replace(VALID, b"")
        assert "cannot check" in judged(short)
    bare = GOOD.replace(VERDICT, b"[GNUPG:] ERRSIG\n")
    assert "an OpenPGP key signed it" in judged(bare)


@pytest.mark.parametrize(
    "status",
    [
        b"",
        b"gpgv: Good signature from Ada\n" + GOOD,
        b"\n".join(GOOD.splitlines()[1:]),
        GOOD.replace(VALID, b""),
        GOOD.replace(VERDICT, b""),
        GOOD + GOOD,
        GOOD + VERDICT,
        GOOD + VALID,
        GOOD + VERDICT.replace(b"GOODSIG", b"BADSIG"),
        GOOD + VERDICT.replace(b"GOODSIG", b"EXPKEYSIG"),
        GOOD + b"[GNUPG:] NEWSIG\n",
        GOOD.replace(VERDICT, b"[GNUPG:] GOODSIG\n"),
        GOOD.replace(VERDICT, VERDICT.replace(b"89ABCDEF", b"89ABCDEE")),
        GOOD.replace(VERDICT, VERDICT.replace(b"89ABCDEF", b"")),
        GOOD.replace(VALID, VALID[:-42] + b"\n"),
        GOOD.replace(VALID, VALID[:-1] + b" x\n"),
        GOOD.replace(b"VALIDSIG 01", b"VALIDSIG 0x"),
        GOOD.replace(b"VALIDSIG 01", b"VALIDSIG "),
        GOOD.replace(b" 0 4 0 ", b" 0 3 0 "),
        GOOD.replace(b" 8 00 ", b" 8 01 "),
        GOOD.replace(b" 22 8 ", b" x 8 "),
        GOOD.replace(b" 22 8 ", b" 22  "),
        GOOD.replace(b" 22 8 ", b" 22 -8 "),
        GOOD.replace(b" 22 8 ", b" 22 2 "),
        GOOD.replace(b" 22 8 ", b" 17 8 "),
        GOOD.replace(b"[GNUPG:] ", b"[GNUPG:]\t"),
        GOOD.replace(b"\n", b"\r\n"),
    ],
)
def test_anything_but_one_clear_verdict_is_refused(status: bytes) -> None:
    assert "OpenPGP" in judged(status)


def test_whose_it_is() -> None:
    other = GOOD.replace(KEY.encode() + b"\n", b"FE" * 20 + b"\n")
    assert f"the OpenPGP key {KEY} signed it, which openpgp/ does not have" in judged(other)
    by_subkey = GOOD.replace(b"VALIDSIG " + KEY.encode(), b"VALIDSIG " + SUBKEY.encode())
    by_subkey = by_subkey.replace(b"GOODSIG 89ABCDEF01234567", b"GOODSIG 89ABCDEF89ABCDEF")
    assert openpgp.judge(KEYRING, by_subkey).fingerprint == KEY
    for verdict in (b"GOODSIG", b"EXPKEYSIG"):
        for revoked in (KEY, SUBKEY):
            keyring = replace(KEYRING, revoked=frozenset((revoked,)))
            status = by_subkey.replace(b"GOODSIG", verdict)
            assert "has revoked" in judged(status, keyring)
    assert openpgp.judge(replace(KEYRING, revoked=frozenset((SUBKEY,))), GOOD).fingerprint == KEY


# ---------------------------------------------------------------- any bytes

BODIES = st.binary(max_size=60) | st.sampled_from([b"\x04" + bytes(20), b"\x03\x05\x20"])
PACKETS = st.lists(
    st.builds(packet, st.integers(0, 63), BODIES) | st.binary(max_size=12), max_size=6
).map(b"".join)


@given(PACKETS, st.sampled_from(["PUBLIC KEY BLOCK", "SIGNATURE"]))
def test_any_packets_are_refused_at_most(data: bytes, what: str) -> None:
    for text in (data, armored(data, what)):
        with suppress(RefusedError):
            openpgp.parse({f"{'12' * 20}.asc": text})
        with suppress(RefusedError):
            openpgp.parse_signature(text)


@given(st.data())
def test_damaged_certificates_and_signatures_are_refused_at_most(
    certificate: bytes, armor: bytes, ada: str, data: st.DataObject
) -> None:
    for good, what, read in (
        (certificate, "PUBLIC KEY BLOCK", lambda text: openpgp.parse({f"{ada}.asc": text})),
        (armor, "SIGNATURE", openpgp.parse_signature),
    ):
        for whole in (good, inside(good)):
            at = data.draw(st.integers(0, len(whole) - 1))
            put = data.draw(st.binary(max_size=4))
            damaged = whole[:at] + put + whole[at + data.draw(st.integers(0, 4)) :]
            with suppress(RefusedError):
                read(damaged if whole is good else armored(damaged, what))


LINES = st.lists(
    st.sampled_from(
        [*GOOD.splitlines(keepends=True), b"[GNUPG:] ", b"VALIDSIG", b" 0", b"\n", b"ERRSIG"]
    )
    | st.binary(max_size=8),
    max_size=9,
).map(b"".join)


@given(LINES)
def test_any_status_is_refused_at_most(status: bytes) -> None:
    with suppress(RefusedError):
        assert openpgp.judge(KEYRING, status).fingerprint == KEY


def test_how_large_a_certificate_may_be() -> None:
    assert openpgp.LARGEST_BYTES == 262_144
    for size, reason in ((262_144, "exactly one armored"), (262_145, "more than 262144 bytes")):
        with pytest.raises(RefusedError, match=reason):
            openpgp.parse({f"{'A' * 40}.asc": b"x" * size})


def test_what_a_signature_has_by_its_algorithm() -> None:
    """RFC 4880 section 5.2.2: rsa has one number, ecdsa and eddsa have two."""
    assert frozenset((8, 9, 10, 11)) == packets.DIGESTS  # RFC 4880 section 9.4
    assert frozenset((1, 3, 19, 22)) == packets.ALGORITHMS  # section 9.1, RFC 6637
    assert [int(tag) for tag in packets.Tag] == [2, 5, 6, 7, 13, 14, 17]  # section 4.3
    number = b"\0\x09\1\2"
    for algorithm, count in ((1, 1), (3, 1), (19, 2), (22, 2)):
        for many in range(4):
            body = bytes((4, 0, algorithm, 8, 0, 0, 0, 0, 7, 7)) + number * many
            if many == count:
                assert packets.signature(body) == packets.Signature(0, algorithm, 8)
            else:
                with pytest.raises(RefusedError, match=r"nothing covers|cut short"):
                    packets.signature(body)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no packets"),
        (b"\xcd\x05", "cut short"),
        (b"\xcd\xff\x01\x00\x00\x01x", "cut short"),
        (b"\x01\x00\x01x", "no packet"),
        (b"\x08\x01x", "no packet"),
    ],
)
def test_bytes_that_are_no_packets(data: bytes, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        packets.packets(data)


def test_lengths_at_their_limits() -> None:
    assert packets.packets(b"\xcd\xff\x00\x00\x00\x01x") == [(13, b"x")]
    with pytest.raises(RefusedError, match="another version"):
        packets.fingerprint(b"\4" + bytes((1 << 16) - 1))
    hashed = bytes(256)
    numbers = b"\0\1\1" * 2
    body = b"\4\0\x16\x08" + b"\1\0" + hashed + b"\0\0" + b"\0\0" + numbers
    assert packets.signature(body) == packets.Signature(0, packets.EDDSA, 8)
