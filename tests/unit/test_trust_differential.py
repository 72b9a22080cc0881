"""Some 2,500 signatures, most of them wrong: our verdicts held against those of ssh-keygen.

Never is accepted what ssh-keygen refuses. What it accepts and we refuse is in STRICTER, each with
its reason, and each occurs. WGMESH_SOAK makes it twenty times as many.
"""

import base64
import hashlib
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from wgmesh.errors import RefusedError
from wgmesh.trust import signers, sshsig

from . import soft_keys
from .signing import environment
from .soft_keys import SoftKey, armored, joined, mpint, string

MESSAGE = b"tree of a commit\n\nsubject\n"
OTHER = b"tree of another commit\n\nsubject\n"
SEED = 4
TIMES = 20 if "WGMESH_SOAK" in os.environ else 1
FEWEST = 2_000 * TIMES

STRICTER = {
    "is not exactly one armored block": "text around the block that nobody has signed",
    "not an SSHSIG of version 1": "ssh-keygen takes version 0; no signature covers the number",
    "bytes that nothing covers": "the field `reserved`, which ssh-keygen passes over",
    "not made for the namespace": "a NUL behind the namespace, which ends it for ssh-keygen",
    "neither SHA-256 nor SHA-512": "a NUL behind the name of the hash",
    "key is of an unknown kind": "a NUL behind the kind of the key; another name for it",
    "names another curve": "a NUL behind the name of the curve",
    "application of the security key": "a NUL behind it, and what is no plain text",
    "rsa key is malformed": "a number with zeros in front: one key has one encoding",
    "ecdsa signature is malformed": "the same, of r and s",
    "fewer than 2048": "an rsa key that can be factored",
    "unusual exponent": "an exponent of 1, by which everything is a signature",
    "without a touch": "ssh-keygen has no option that would ask for it",
    "of another kind than its key": "a NUL behind the kind; webauthn signatures of browsers",
}
"""What our refusal says where ssh-keygen accepts, and why it is right."""

NO_MATCH = {
    "rsa value without its zeros": "RFC 8332 section 3: as long as the modulus",
    "ed25519 S plus L": "RFC 8032 section 5.1.7: below the order of the group, one spelling",
}
"""Changes that ssh-keygen accepts though the signature itself is another one, and why we do not."""

ED25519_ORDER = (1 << 252) + 27742317777372353535851937790883648493
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Case:
    """A signature file, what was done to it, and the key whose principal it is claimed to be."""

    what: str
    armor: bytes
    key: SoftKey
    message: bytes = MESSAGE


def flipped(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def untouched(key: SoftKey) -> Iterator[Case]:
    """Yield what ssh-keygen itself would make: some right, some for something else."""
    kinds = ("rsa-sha2-256", "rsa-sha2-512", "ssh-rsa") if key.kind == "ssh-rsa" else (key.kind,)
    for kind in kinds:
        for hash_algorithm in ("sha256", "sha512", "sha1", "sha384"):
            for namespace in ("git", "file", "", "Git", "git ", "gi", "git@example.com"):
                for message in (MESSAGE, OTHER):
                    armor = key.sshsig(
                        message, namespace=namespace, hash_algorithm=hash_algorithm, kind=kind
                    )
                    yield Case(f"{kind} {hash_algorithm} {namespace!r}", armor, key)
    if key.kind.startswith("sk-"):
        for flags in (0, 1, 2, 4, 5, 0x40, 0x41, 0x80, 0x81, 0xFF):
            for counter in (0, 1, (1 << 32) - 1):
                armor = key.sshsig(MESSAGE, flags=flags, counter=counter)
                yield Case(f"flags {flags}", armor, key)


def in_armor(key: SoftKey, other: bytes) -> Iterator[Case]:
    """Yield a right signature in all kinds of wrong armor."""
    armor = key.sshsig(MESSAGE)
    lines = armor.split(b"\n")
    begin, body, end = lines[0], b"".join(lines[1:-2]), lines[-2]
    for what, text in {
        "whole": armor,
        "no last newline": armor[:-1],
        "one line": b"\n".join([begin, body, end, b""]),
        "a letter a line": b"\n".join([begin, *(bytes([each]) for each in body), end, b""]),
        "two newlines": armor + b"\n",
        "text behind": armor + b"and more\n",
        "text in the last line": armor[:-1] + b" and more\n",
        "text in front": b"more\n" + armor,
        "blank in front": b" " + armor,
        "newline in front": b"\n" + armor,
        "twice": armor + armor,
        "another behind": armor + other,
        "another in front": other + armor,
        "carriage returns": armor.replace(b"\n", b"\r\n"),
        "returns inside": armor.replace(b"\n", b"\r\n").replace(begin + b"\r", begin),
        "blanks": armor.replace(b"\n", b" \n"),
        "blanks inside": b"\n".join([begin, b" ".join(lines[1:-2]), end, b""]),
        "tabs inside": b"\n".join([begin, body[:20] + b"\t" + body[20:], end, b""]),
        "empty lines": armor.replace(b"\n", b"\n\n"),
        "empty line first": armor.replace(begin + b"\n", begin + b"\n\n"),
        "a header": armor.replace(begin + b"\n", begin + b"\nComment: x\n\n"),
        "no begin": armor.replace(begin + b"\n", b""),
        "no end": armor.replace(end, b""),
        "begin of PGP": armor.replace(b"SSH", b"PGP"),
        "lower case": armor.replace(b"BEGIN", b"begin"),
        "four dashes": armor[1:],
        "six dashes": b"-" + armor,
        "no padding": armor.replace(b"=", b""),
        "more padding": armor.replace(b"\n" + end, b"=\n" + end),
        "much padding": armor.replace(b"\n" + end, b"====\n" + end),
        "urlsafe": armor.replace(b"+", b"_").replace(b"/", b"_"),
        "a NUL": armor.replace(b"\n" + end, b"\0\n" + end),
        "a byte": armor.replace(b"\n" + end, b"\xff\n" + end),
        "a letter more": armor.replace(b"\n" + end, b"A\n" + end),
        "a letter less": armor.replace(body[-6:-5], b"", 1),
        "nothing inside": b"\n".join([begin, end, b""]),
        "nothing": b"",
    }.items():
        yield Case(f"armor: {what}", text, key)
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    if b"=" in body:  # the last letter before it has bits to spare
        at = armor.index(b"=") - 1
        letter = bytes([alphabet[alphabet.index(armor[at]) ^ 1]])
        yield Case("armor: spare bits", armor[:at] + letter + armor[at + 1 :], key)


def in_structure(key: SoftKey, other: SoftKey, dice: random.Random) -> Iterator[Case]:
    """Yield a right signature, with each field of the SSHSIG changed in turn."""
    good = key.parts(MESSAGE)
    foreign = other.parts(MESSAGE)
    data = joined(good)

    def case(what: str, changed: bytes) -> Case:
        return Case(f"SSHSIG: {what}", armored(changed), key)

    for version in (0, 1, 2, 1 << 24, (1 << 32) - 1):
        yield case(f"version {version}", joined(good, version))
    for at in range(6):
        yield case("magic", data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :])
    yield case("byte behind", data + b"\0")
    yield case("nothing behind the version", data[:10])
    for number, name in enumerate(("key", "namespace", "reserved", "hash", "signature")):
        value = good[number]
        for what, changed in {
            "empty": b"",
            "NUL behind": value + b"\0",
            "NULs behind": value + b"\0\0",
            "byte behind": value + b"x",
            "byte in front": b"x" + value,
            "cut": value[:-1],
            "doubled": value + value,
            "foreign": foreign[number],
            "text": b"note",
        }.items():
            yield case(f"{name} {what}", joined([*good[:number], changed, *good[number + 1 :]]))
        if value:
            for _ in range(6):
                changed = flipped(value, dice)
                parts = [*good[:number], changed, *good[number + 1 :]]
                yield case(f"{name} flipped", joined(parts))
        offset = 10 + sum(4 + len(part) for part in good[:number])
        for size in (0, 1, len(value) - 1, len(value) + 1, 1 << 16, 1 << 31, (1 << 32) - 1):
            if size >= 0:
                head, tail = data[:offset], data[offset + 4 :]
                yield case(f"{name} length", head + size.to_bytes(4, "big") + tail)
        yield case(f"without {name}", joined([*good[:number], *good[number + 1 :]]))
    yield case("swapped", joined([good[0], good[3], good[2], good[1], good[4]]))


def fields(data: bytes) -> list[bytes]:
    """Return the SSH strings that `data` begins with, then the rest."""
    found = []
    while len(data) >= 4 and 4 + int.from_bytes(data[:4], "big") <= len(data):
        end = 4 + int.from_bytes(data[:4], "big")
        found.append(data[4:end])
        data = data[end:]
    return [*found, data]


def in_values(key: SoftKey, dice: random.Random) -> Iterator[Case]:
    """Yield changes inside the key and inside the signature proper, field by field."""
    blob, namespace, reserved, hash_algorithm, signature = key.parts(MESSAGE)

    def case(what: str, new_blob: bytes, new_signature: bytes) -> Case:
        parts = [new_blob, namespace, reserved, hash_algorithm, new_signature]
        return Case(what, armored(joined(parts)), key)

    for name, whole in (("key", blob), ("signature", signature)):
        *values, rest = fields(whole)
        for number, value in enumerate(values):
            for what, changed in {
                "empty": b"",
                "NUL behind": value + b"\0",
                "NUL in front": b"\0" + value,
                "cut": value[1:],
                "cut behind": value[:-1],
                "high bit": bytes([value[0] | 0x80]) + value[1:] if value else b"\x80",
                "compressed": b"\2" + value[1 : (len(value) + 1) // 2],
                "zeros": bytes(len(value)),
                "flipped": flipped(value, dice) if value else b"x",
                "flipped again": flipped(value, dice) if value else b"y",
                "other name": b"ssh-ed25519" if value != b"ssh-ed25519" else b"ssh-rsa",
                "webauthn": b"webauthn-" + value,
                "certificate": value.replace(b"@openssh.com", b"") + b"-cert-v01@openssh.com",
            }.items():
                new = b"".join(map(string, [*values[:number], changed, *values[number + 1 :]]))
                label = f"{key.kind} {name} {number} {what}"
                if name == "key":
                    yield case(label, new + rest, signature)
                else:
                    yield case(label, blob, new + rest)
    kind, value, tail = fields(signature)
    rest = tail
    if key.kind == "ssh-rsa":
        for what, changed in {
            "zero in front": b"\0" + value,
            "all zero": bytes(len(value)),
            "one": b"\1",
            "modulus": fields(blob)[2][1:],
        }.items():
            yield case(f"rsa value {what}", blob, string(kind) + string(changed))
    if "ed25519" in key.kind:
        high = (int.from_bytes(value[32:], "little") + ED25519_ORDER).to_bytes(32, "little")
        yield case("ed25519 S plus L", blob, string(kind) + string(value[:32] + high) + rest)
        yield case("ed25519 R only", blob, string(kind) + string(value[:32]) + rest)
        yield case("ed25519 longer", blob, string(kind) + string(value + value) + rest)
    if "nistp256" in key.kind:
        r, s = (int.from_bytes(each, "big") for each in fields(value)[:2])
        for what, pair in {
            "the other s": (mpint(r), mpint(P256_ORDER - s)),
            "swapped": (mpint(s), mpint(r)),
            "r plus order": (mpint(r + P256_ORDER), mpint(s)),
            "s plus order": (mpint(r), mpint(s + P256_ORDER)),
            "r zero": (b"", mpint(s)),
            "s zero": (mpint(r), b""),
            "both zero": (b"", b""),
            "r written zero": (b"\0", mpint(s)),
            "r padded": (b"\0" + mpint(r), mpint(s)),
            "s padded": (mpint(r), b"\0\0" + mpint(s)),
            "r negative": (mpint(r).lstrip(b"\0"), mpint(s)),
            "r huge": (mpint(r + (1 << 2000)), mpint(s)),
        }.items():
            value = b"".join(map(string, pair))
            yield case(f"ecdsa {what}", blob, string(kind) + string(value) + rest)


def short_rsa_value(key: SoftKey) -> Iterator[Case]:
    """Yield a signature whose first byte happens to be zero, with it and without it."""
    for number in range(100_000):
        message = MESSAGE + str(number).encode()
        parts = key.parts(message)
        kind, value, _ = fields(parts[4])
        if value[0] == 0:
            yield Case("rsa value with its zeros", armored(joined(parts)), key, message)
            parts[4] = string(kind) + string(value.lstrip(b"\0"))
            yield Case("rsa value without its zeros", armored(joined(parts)), key, message)
            return


def damaged(keys: list[SoftKey], dice: random.Random, count: int) -> Iterator[Case]:
    """Yield signatures with something put in, taken out, changed or exchanged at random."""
    good = [(key, joined(key.parts(MESSAGE))) for key in keys]
    for number in range(count):
        key, data = good[number % len(good)]
        _, other = dice.choice(good)
        at = dice.randrange(len(data))
        what = dice.choice(("bit", "out", "in", "splice", "letter", "letters out", "number"))
        match what:
            case "bit":
                armor = armored(flipped(data, dice))
            case "out":
                armor = armored(data[:at] + data[at + dice.randint(1, 8) :])
            case "in":
                armor = armored(data[:at] + dice.randbytes(dice.randint(1, 8)) + data[at:])
            case "splice":
                armor = armored(data[:at] + other[at:])
            case "number":
                armor = armored(data[:at] + dice.randbytes(4) + data[at + 4 :])
            case "letter":
                armor = flipped(armored(data), dice)
            case _:
                text = armored(data)
                at = dice.randrange(len(text))
                armor = text[:at] + text[at + dice.randint(1, 8) :]
        yield Case(f"random: {what}", armor, key)


def webauthn() -> Iterator[Case]:
    """Yield what a browser makes with a security key (PROTOCOL.u2f), right and for another text."""
    name, origin = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com", "https://mesh.example.com"
    key = soft_keys.make(soft_keys.KINDS[-1], application=b"mesh.example.com")
    blob, *head, _ = key.parts(MESSAGE)
    digest = hashlib.sha512(MESSAGE).digest()
    covered = b"SSHSIG" + b"".join(map(string, [*head, digest]))
    for what, challenge in (("right", covered), ("wrong", covered + b"x")):
        text = base64.urlsafe_b64encode(challenge).decode().rstrip("=")
        said = f'{{"type":"webauthn.get","challenge":"{text}","origin":"{origin}"}}'.encode()
        tail = b"\x05" + (9).to_bytes(4, "big")
        digests = (hashlib.sha256(each).digest() for each in (key.application, said))
        value = string(key.sign_bytes(name, tail.join(digests)))
        signature = string(name.encode()) + value + tail
        signature += b"".join(map(string, [origin.encode(), said, b""]))
        yield Case(f"webauthn {what}", armored(joined([blob, *head, signature])), key)


def odd_keys() -> Iterator[Case]:
    """Yield right signatures by keys that we do not take."""
    for bits in (1024, 1536, 2047):
        key = soft_keys.make("ssh-rsa", rsa_bits=bits)
        yield Case(f"rsa of {bits} bits", key.sshsig(MESSAGE), key)
    for application in (
        b"",
        b"ssh:",
        b"ssh:mesh",
        b"ssh:\xc3\xa9",
        b"ssh:\n",
        b"https://a.example",
    ):
        for kind in soft_keys.KINDS[-2:]:
            key = soft_keys.make(kind, application=application)
            yield Case(f"application {application!r}", key.sshsig(MESSAGE), key)
    yield from webauthn()
    # By an exponent of 1 the value is the padded digest itself, which anybody can write down.
    pair = soft_keys.make("ssh-rsa")
    modulus = fields(pair.blob)[2]
    blob = b"".join(map(string, [b"ssh-rsa", mpint(1), modulus]))
    key = SoftKey("ssh-rsa", blob, lambda _, data: soft_keys.padded_digest(data, len(modulus) - 1))
    yield Case("rsa exponent 1", key.sshsig(MESSAGE), key)


def cases() -> list[Case]:
    """Return all cases; the keys are new each time, the changes are the same."""
    dice = random.Random(SEED)
    keys = [soft_keys.make(kind) for kind in soft_keys.KINDS]
    found = [*odd_keys(), *short_rsa_value(keys[soft_keys.KINDS.index("ssh-rsa")])]
    for number, key in enumerate(keys):
        other = keys[number - 1]
        found += untouched(key)
        found += in_armor(key, other.sshsig(MESSAGE))
        for _ in range(TIMES):
            found += in_structure(key, other, dice)
            found += in_values(key, dice)
        found.append(Case("another principal", key.sshsig(MESSAGE), other))
    return found + list(damaged(keys, dice, 700 * TIMES))


def principal(key: SoftKey) -> str:
    return key.fingerprint.removeprefix("SHA256:").translate({43: 45, 47: 95})


def signers_file(keys: list[SoftKey]) -> str:
    """Return a signers file; every third key is for git alone, every third for git and files."""
    options = ("", 'namespaces="git" ', 'namespaces="file,git" ')
    return "".join(
        f"{principal(key)} {options[number % 3]}{key.line}\n" for number, key in enumerate(keys)
    )


def theirs(case: Case, allowed: Path, signature: Path) -> bool:
    """Return ssh-keygen's verdict."""
    signature.write_bytes(case.armor)
    argv = ["ssh-keygen", "-q", "-Y", "verify", "-f", str(allowed), "-n", "git"]
    argv += ["-I", principal(case.key), "-s", str(signature)]
    done = subprocess.run(
        argv,
        input=case.message,
        capture_output=True,
        env=environment(allowed.parent),
        check=False,
    )
    signature.unlink()
    return not done.returncode


def ours(case: Case, line: str) -> str:
    """Return "" or why the signature is refused, as the chain rule would ask it."""
    try:
        signature = sshsig.parse(case.armor)
        sshsig.verify(signature, case.message)
        signer = signers.parse(line.encode()).get(signature.key.blob)
    except RefusedError as error:
        assert error.message.isprintable()
        return error.message
    if signer is None or signer.name != principal(case.key) or not signer.usable:
        return "by somebody else"
    return ""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Case, bool, str]]:
    """Return each case with the two verdicts; two programs at a time are waited for."""
    directory = tmp_path_factory.mktemp("signatures")
    found = cases()
    keys = list({case.key.blob: case.key for case in found}.values())
    allowed = directory / "allowed_signers"
    allowed.write_text(signers_file(keys))
    lines = {line.split()[0]: line for line in allowed.read_text().splitlines()}
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        verdicts = list(
            pool.map(
                lambda each: theirs(each[1], allowed, directory / f"{each[0]}.sig"),
                enumerate(found),
            )
        )
    return [
        (case, verdict, ours(case, lines[principal(case.key)]))
        for case, verdict in zip(found, verdicts, strict=True)
    ]


def test_what_ssh_keygen_refuses_is_refused(results: list[tuple[Case, bool, str]]) -> None:
    assert len(results) >= FEWEST
    wrong = [(case.what, case.armor) for case, theirs, ours in results if not theirs and not ours]
    assert not wrong


def test_what_it_accepts_is_accepted_but_for_the_listed(
    results: list[tuple[Case, bool, str]],
) -> None:
    both = Counter(case.what for case, theirs, ours in results if theirs and not ours)
    assert sum(both.values()) >= 100, "too few signatures are right for the test to say much"
    unlisted = [
        (case.what, ours, case.armor)
        for case, theirs, ours in results
        if theirs
        and ours
        and not any(said in ours for said in STRICTER)
        and not ("does not match" in ours and case.what in NO_MATCH)
    ]
    assert not unlisted


def test_every_listed_reason_occurs(results: list[tuple[Case, bool, str]]) -> None:
    version = subprocess.run(["ssh", "-V"], capture_output=True, check=True).stderr
    if not version.startswith(b"OpenSSH_9.2"):
        pytest.skip("the list is of what OpenSSH 9.2 accepts; a later one may have become stricter")
    stricter = [(case.what, ours) for case, theirs, ours in results if theirs and ours]
    for said in STRICTER:
        assert any(said in ours for _, ours in stricter), said
    for what in NO_MATCH:
        assert any(what == each and "does not match" in ours for each, ours in stricter), what


def test_every_kind_of_key_is_accepted_at_times(results: list[tuple[Case, bool, str]]) -> None:
    accepted = {case.key.kind for case, _, ours in results if not ours}
    assert accepted == set(soft_keys.KINDS)
