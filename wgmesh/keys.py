"""Private keys on disk: `keys/FINGERPRINT.key`, one file each, and `INTERFACE.key`, a link to one.

A machine whose key never changed has the one file `INTERFACE.key`, and no directory `keys`.
"""

import base64
import os
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

from wgmesh import process
from wgmesh.errors import WgmeshError, of_system
from wgmesh.files import link_atomic, sync_directory, write_atomic

DIRECTORY = "keys"
_KEY_BYTES = 32


def fingerprint(public_key: str) -> str:
    """Return the name of a public key that a file can have: hex of half its SHA-256."""
    return sha256(base64.b64decode(public_key)).hexdigest()[:32]


def path(wireguard_dir: Path, public_key: str) -> Path:
    """Return where the private half of `public_key` lies on a machine whose key has changed."""
    return wireguard_dir / DIRECTORY / f"{fingerprint(public_key)}.key"


def held(wireguard_dir: Path) -> frozenset[str]:
    """Return the fingerprints of the keys in the directory."""
    try:
        names = [each.name for each in (wireguard_dir / DIRECTORY).iterdir()]
    except FileNotFoundError:
        return frozenset()
    return frozenset(each.removesuffix(".key") for each in names if each.endswith(".key"))


def read(file: Path) -> str:
    """Return the private key in `file`. Raises WgmeshError, which shows none of it."""
    try:
        text = file.read_text(encoding="ascii").strip()
        raw = base64.b64decode(text, validate=True)
    except FileNotFoundError:
        raise WgmeshError(f"the key file {file} is missing", "put it back, mode 0600") from None
    except OSError as error:
        why, hint = error.strerror, of_system(error).hint
        raise WgmeshError(f"the key file {file} cannot be read: {why}", hint) from None
    except ValueError:  # binascii.Error and UnicodeDecodeError are such
        raw = b""
    if len(raw) != _KEY_BYTES:
        hint = "it must have what `wg genkey` or `wg genpsk` prints, and nothing else"
        raise WgmeshError(f"the key file {file} holds no key", hint)
    return text


def public_half(private_key: str) -> str:
    """Return the public key of `private_key`."""
    return process.text(["wg", "pubkey"], stdin=private_key.encode()).strip()


def adopt(wireguard_dir: Path, interface: str) -> str:
    """Give the key in use a name of its own, `INTERFACE.key` a link to it; return its public key.

    At every moment `INTERFACE.key` has that key.
    """
    link = wireguard_dir / f"{interface}.key"
    private = read(link)
    public = public_half(private)
    own = path(wireguard_dir, public)
    if not own.exists():
        _write(own, private)
    point(wireguard_dir, interface, public)
    return public


def make(wireguard_dir: Path) -> str:
    """Make a new private key, 0600; return its public key."""
    private = process.text(["wg", "genkey"]).strip()
    public = public_half(private)
    _write(path(wireguard_dir, public), private)
    return public


def keep(wireguard_dir: Path, public_key: str, private_key: str) -> None:
    """Put a private key that is known beside the others, 0600."""
    _write(path(wireguard_dir, public_key), private_key)


def _write(file: Path, private: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(file, f"{private}\n".encode(), 0o600)


def point(wireguard_dir: Path, interface: str, public_key: str) -> None:
    """Let `INTERFACE.key` be the key `public_key`, if that has a name of its own."""
    link, own = wireguard_dir / f"{interface}.key", path(wireguard_dir, public_key)
    target = os.fspath(own.relative_to(wireguard_dir))
    if own.exists() and not (link.is_symlink() and os.fspath(link.readlink()) == target):
        link_atomic(link, target)


def prune(wireguard_dir: Path, wanted: Collection[str]) -> int:
    """Remove the keys of the directory that are none of the public keys `wanted`; return how many.

    The one that `INTERFACE.key` links to must be among these.
    """
    names = {fingerprint(each) for each in wanted}
    gone = held(wireguard_dir) - names
    for each in gone:
        (wireguard_dir / DIRECTORY / f"{each}.key").unlink()
    if gone:
        sync_directory(wireguard_dir / DIRECTORY)
    return len(gone)
