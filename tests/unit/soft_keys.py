"""SSH keys of every kind in software, the ones inside a security key included.

Signatures are put together here from PROTOCOL.sshsig and PROTOCOL.u2f, apart from the code under
test; the tests hold them against ssh-keygen. They are made in process: thousands in a second.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)

TOUCHED = 0x01
_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
    "ssh-rsa": hashes.SHA1(),
}


def string(data: bytes) -> bytes:
    """Return an SSH string."""
    return len(data).to_bytes(4, "big") + data


def mpint(number: int) -> bytes:
    """Return the contents of a positive SSH mpint."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def armored(data: bytes) -> bytes:
    """Return `data` in the armor of an SSH signature."""
    text = base64.b64encode(data)
    lines = b"".join(text[at : at + 70] + b"\n" for at in range(0, len(text), 70))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"-----END SSH SIGNATURE-----\n"


def inside(armor: bytes) -> bytes:
    """Return what is in the armor."""
    return base64.b64decode(b"".join(armor.split(b"\n")[1:-2]))


@dataclass(frozen=True)
class SoftKey:
    """A key pair; `sign_bytes` makes the value of a signature, given its kind and what to sign."""

    kind: str
    blob: bytes
    sign_bytes: Callable[[str, bytes], bytes]
    application: bytes = b""

    @property
    def line(self) -> str:
        """The public key as in a signers file."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"

    def signature(
        self, covered: bytes, *, kind: str = "", flags: int = TOUCHED, counter: int = 7
    ) -> bytes:
        """Return the signature proper over `covered`, as SSH encodes it."""
        kind = kind or ("rsa-sha2-512" if self.kind == "ssh-rsa" else self.kind)
        if not self.kind.startswith("sk-"):
            return string(kind.encode()) + string(self.sign_bytes(kind, covered))
        tail = bytes([flags]) + counter.to_bytes(4, "big")
        digests = (hashlib.sha256(each).digest() for each in (self.application, covered))
        value = self.sign_bytes(kind, tail.join(digests))
        return string(kind.encode()) + string(value) + tail

    def parts(
        self,
        message: bytes,
        *,
        namespace: str = "git",
        hash_algorithm: str = "sha512",
        kind: str = "",
        flags: int = TOUCHED,
        counter: int = 7,
    ) -> list[bytes]:
        """Return the five strings of an SSHSIG: key, namespace, reserved, hash, signature."""
        digest = hashlib.new(hash_algorithm, message).digest()
        head = [namespace.encode(), b"", hash_algorithm.encode()]
        covered = b"SSHSIG" + b"".join(map(string, [*head, digest]))
        signature = self.signature(covered, kind=kind, flags=flags, counter=counter)
        return [self.blob, *head, signature]

    def sshsig(
        self,
        message: bytes,
        *,
        namespace: str = "git",
        hash_algorithm: str = "sha512",
        kind: str = "",
        flags: int = TOUCHED,
        counter: int = 7,
    ) -> bytes:
        """Return an armored SSHSIG over `message`."""
        parts = self.parts(
            message,
            namespace=namespace,
            hash_algorithm=hash_algorithm,
            kind=kind,
            flags=flags,
            counter=counter,
        )
        return armored(joined(parts))


def joined(parts: list[bytes], version: int = 1) -> bytes:
    """Return the SSHSIG that these strings make up."""
    return b"SSHSIG" + version.to_bytes(4, "big") + b"".join(map(string, parts))


def padded_digest(data: bytes, size: int) -> bytes:
    """Return what an rsa-sha2-512 signature over `data` is before the exponentiation.

    That is EMSA-PKCS1-v1_5 of RFC 8017 section 9.2, with its notes' prefix for SHA-512.
    """
    prefix = bytes.fromhex("3051300d060960864801650304020305000440")
    digest = prefix + hashlib.sha512(data).digest()
    return b"\0\1" + b"\xff" * (size - 3 - len(digest)) + b"\0" + digest


def make(kind: str, *, rsa_bits: int = 2048, application: bytes = b"ssh:") -> SoftKey:
    """Return a new key of `kind`."""
    if "ed25519" in kind:
        pair = ed25519.Ed25519PrivateKey.generate()
        raw = pair.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _key(kind, [raw], application, lambda _, data: pair.sign(data))
    if kind == "ssh-rsa":
        secret = rsa.generate_private_key(65537, rsa_bits)
        numbers = secret.public_key().public_numbers()

        def sign(signature_kind: str, data: bytes) -> bytes:
            return secret.sign(data, padding.PKCS1v15(), _RSA_HASHES[signature_kind])

        return _key(kind, [mpint(numbers.e), mpint(numbers.n)], application, sign)
    name = kind.split("@")[0].rpartition("-")[2]
    curve, hash_ = _CURVES[name]
    private = ec.generate_private_key(curve)
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def sign_ecdsa(_: str, data: bytes) -> bytes:
        numbers = decode_dss_signature(private.sign(data, ec.ECDSA(hash_)))
        return b"".join(string(mpint(number)) for number in numbers)

    return _key(kind, [name.encode(), point], application, sign_ecdsa)


def _key(
    kind: str, fields: list[bytes], application: bytes, sign: Callable[[str, bytes], bytes]
) -> SoftKey:
    if kind.startswith("sk-"):
        fields = [*fields, application]
    return SoftKey(kind, b"".join(map(string, [kind.encode(), *fields])), sign, application)
