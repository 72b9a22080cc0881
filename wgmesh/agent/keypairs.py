"""Key pairs on an author's machine: made, found again, and kept where no repository tracks them."""

import base64
import logging
import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wgmesh import keys, process
from wgmesh.agent.sources import Source, may_be_directory
from wgmesh.errors import UsageError, WgmeshError
from wgmesh.files import sweep, write_atomic
from wgmesh.model.inventory import Node
from wgmesh.model.terms import Secret
from wgmesh.process import CommandError

log = logging.getLogger(__name__)

DIRECTORY = "keys"


def make_room(out: Path, source: Source) -> None:
    """Make the directory `out` for what is secret: only for its owner, and ignored by git.

    Raises UsageError where that cannot be, so that no key is ever committed by accident.
    """
    _place(out, source)
    sweep(out, ".gitignore")  # with no more than half of that it is as good as new
    if not out.exists() or not any(out.iterdir()):
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(out / ".gitignore", b"*\n", durable=False)
    _must_be_outside_git(out)
    for directory in (out, out / DIRECTORY):
        sweep(directory, ".conf", ".png", ".key")


def must_be_fit(out: Path, source: Source) -> None:
    """Raise UsageError where make_room() would, and make nothing."""
    _place(out, source)
    if out.exists() and any(not each.name.endswith(".tmp") for each in out.iterdir()):
        _must_be_outside_git(out)


def _place(out: Path, source: Source) -> None:
    may_be_directory(out)
    if source.root is not None and out.resolve() in _inside(source.root):
        raise UsageError(
            f"{out} is where the inventory lies: secrets do not belong there", "such as -o out"
        )


def _must_be_outside_git(out: Path) -> None:
    if _tracked(out):
        raise UsageError(
            f"{out} is tracked by git: secrets do not belong there",
            f"name another with -o; or take it out of git, and write * into {out / '.gitignore'}",
        )


def _tracked(out: Path) -> bool:
    """Tell whether git has files of `out`, or would take some."""
    kept = out / DIRECTORY
    if kept.is_symlink():  # git does not look beyond
        return _takes(out, "any.conf", "any.png") or _takes(kept, "any.key")
    return _takes(out, "any.conf", "any.png", f"{DIRECTORY}/any.key")


def _takes(directory: Path, *names: str) -> bool:
    """Tell whether git has files there, or would take one of those named."""
    git = ["git", "-C", os.fspath(directory)]
    try:
        codes = {
            process.run([*git, "check-ignore", "--quiet", name], check=False).returncode
            for name in names
        }
        files = process.run([*git, "ls-files"], check=False).stdout.split(b"\n")
    except CommandError:
        return False  # without git nothing is tracked
    real = directory.resolve()
    if codes - {0, 1} and any((each / ".git").exists() for each in (real, *real.parents)):
        return True  # git does not open a repository of another user: what it would take is unknown
    return 1 in codes or bool(set(files) - {b"", b".gitignore"})


def _inside(root: Path) -> tuple[Path, ...]:
    top = root.resolve()
    return top, top / "nodes"


def path(out: Path, name: str) -> Path:
    """Return where the private key of the node `name` is kept."""
    return out / DIRECTORY / f"{name}.key"


def make(out: Path, name: str, own: Secret | None = None, *, dry_run: bool = False) -> str:
    """Make a private key for the node `name` unless there is one; return its public half.

    The one in `out` counts, then `own`, which lies elsewhere and stays there.
    """
    file = path(out, name)
    elsewhere = None if own is None else public_half(own.reveal())
    if file.exists():
        kept = public_half(keys.read(file))
        if elsewhere not in (None, kept) and not dry_run:
            log.warning("%s counts, and not the other key at %s's private_key_path", file, name)
        return kept
    if elsewhere is not None:
        return elsewhere
    if dry_run:
        return public_half(generate())
    file.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(file, f"{generate()}\n".encode(), 0o600)
    return public_half(keys.read(file))


def at_paths(nodes: Sequence[Node]) -> dict[str, Secret]:
    """Return the keys, by node, that lie here at the private_key_path of nodes without public key.

    Several nodes' path is one on their own machines, and so is one with the key of another node,
    and one that may not be looked at. Raises WgmeshError where a file is there, and cannot be read
    or holds no key.
    """
    named = Counter(node.private_key_path for node in nodes)
    owners = Counter(node.public_key for node in nodes if node.public_key is not None)
    here: dict[str, tuple[Path, Secret | None, str]] = {}
    for node in nodes:
        if node.public_key is None and node.private_key_path is not None:
            file = Path(node.private_key_path)
            if not _is_file(file, node.name):
                continue
            private = keys.read(file) if named[node.private_key_path] == 1 else None
            half = "" if private is None else public_half(private)
            here[node.name] = (file, None if private is None else Secret(private), half)
            owners[half] += 1
    found: dict[str, Secret] = {}
    for name, (file, own, half) in here.items():
        if own is None or owners[half] > 1:
            log.warning("%s is not taken for the key of %s: it is another's, too", file, name)
        else:
            found[name] = own
    return found


def _is_file(file: Path, name: str) -> bool:
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except PermissionError as error:
        log.warning(
            "%s, the private_key_path of %s, may not be looked at (%s): it counts as a path on the"
            " node's own machine",
            file,
            name,
            error.strerror,
        )
        return False
    except (OSError, ValueError):
        return False


def at_hand(out: Path, node: Node) -> Secret | None:
    """Return the private key of `node` if it lies here: in `out`, or at its private_key_path.

    The path may be that of another machine, and name another key here: only what fits counts.
    """
    kept = path(out, node.name)
    if kept.exists():
        private = keys.read(kept)
        if public_half(private) == node.public_key:
            return Secret(private)
        log.warning("%s is not the key that %s has in the inventory", kept, node.name)
    if node.private_key_path is not None and os.path.isfile(node.private_key_path):  # noqa: PTH113
        try:
            private = keys.read(Path(node.private_key_path))
        except WgmeshError:
            return None  # it is there on the node, which is all that the inventory says
        if public_half(private) == node.public_key:
            return Secret(private)
    return None


def generate() -> str:
    """Return a private key as `wg genkey` makes it: random, and clamped (RFC 7748, section 5)."""
    raw = bytearray(os.urandom(32))
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64
    return base64.b64encode(raw).decode()


def public_half(private: str) -> str:
    """Return the public key of `private`; a thousand of them need no thousand processes."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private)).public_key()
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
