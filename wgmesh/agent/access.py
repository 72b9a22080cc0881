"""What this machine shows a private remote: a deploy key, pinned host keys, a file of passwords."""

import base64
import binascii
import hashlib
import logging
import os
import re
import socket
import stat
from pathlib import Path

from wgmesh import process, settings
from wgmesh.agent import remote
from wgmesh.errors import UnreachableError, WgmeshError
from wgmesh.files import make_directory, sync_directory, write_atomic
from wgmesh.process import distrusted
from wgmesh.repository.remote import CREDENTIALS, KNOWN_HOSTS, SSH_KEY, SshHost, ssh_host

log = logging.getLogger(__name__)

_SCAN_SECONDS = 15
_MOST_KEYS = 16
_KEY_TYPE = re.compile(r"[a-z0-9@.-]{1,64}")


def deploy_key() -> str:
    """Return the public half of this machine's key for the repository, which is made if need be.

    The user who fetches can read the private half, and nobody else but root. Raises WgmeshError.
    """
    public = SSH_KEY.with_name(SSH_KEY.name + ".pub")
    if not SSH_KEY.exists():
        make_directory(SSH_KEY.parent)
        made = SSH_KEY.with_name(f".{SSH_KEY.name}.new")
        made_public = made.with_name(made.name + ".pub")
        for left in (made, made_public):
            left.unlink(missing_ok=True)
        name = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"wgmesh@{name}"]
        process.run([*argv, "-f", str(made)])
        made_public.chmod(0o644)
        made_public.replace(public)
        made.replace(SSH_KEY)
        sync_directory(SSH_KEY.parent)
    _give(SSH_KEY)
    if not public.exists():
        text = process.text(["ssh-keygen", "-y", "-P", "", "-f", str(SSH_KEY)])
        write_atomic(public, text.encode())
    return public.read_text(encoding="utf-8").strip()


def _give(path: Path) -> None:
    """Let the user who fetches read `path`; where there is none, root alone does."""
    owner = remote.user()
    os.chown(path, 0, owner.pw_gid if owner is not None else 0)
    path.chmod(0o640 if owner is not None else 0o600)


def open_way() -> None:
    """Let the user who fetches pass through wgmesh's directories: a umask may have closed them."""
    owner = remote.user()
    if owner is None:
        return
    own = (settings.NODE_FILE.parent, SSH_KEY.parent, settings.STATE_DIR, settings.RUN_DIR)
    for directory in filter(Path.is_dir, own):
        found = directory.stat()
        group = stat.S_IXGRP if found.st_gid == owner.pw_gid else 0
        if not found.st_mode & (stat.S_IXOTH | group):
            directory.chmod(0o755)
            log.warning("%s was closed to the user %s: 0755 now", directory, owner.pw_name)


def pin(url: str) -> str:
    """Pin the host keys of the remote `url` when it is asked by ssh and unknown here.

    Returns what to tell people: the fingerprints, to be compared; "" when there is nothing to do.
    Raises UnreachableError when the host shows no key.
    """
    host = ssh_host(url)
    if host is None or _is_known(host):
        return ""
    keys = _scan(host)
    try:
        known = KNOWN_HOSTS.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ""
    if known and not known.endswith("\n"):
        known += "\n"
    lines = "".join(f"{host.known_as} {kind} {key}\n" for kind, key in keys)
    write_atomic(KNOWN_HOSTS, (known + lines).encode())
    shown = "\n".join(f"  {fingerprint(key)} ({kind})" for kind, key in keys)
    return (
        f"{host.known_as} was unknown here; its keys, now pinned in {KNOWN_HOSTS}, are\n{shown}\n"
        "compare them with those that the host's owner publishes"
    )


def _is_known(host: SshHost) -> bool:
    if not KNOWN_HOSTS.exists():
        return False
    argv = ["ssh-keygen", "-F", host.known_as, "-f", str(KNOWN_HOSTS)]
    return process.run(argv, check=False).returncode == 0


def _scan(host: SshHost) -> list[tuple[str, str]]:
    """Return the kinds and keys that `host` shows, asked by somebody without rights."""
    argv = ["ssh-keyscan", "-T", "10", "-p", str(host.port), "--", host.host]
    said = distrusted.hear(remote.as_user(argv), timeout_seconds=_SCAN_SECONDS)
    found = []
    for line in said.decode(errors="replace").splitlines():
        parts = line.split(" ")
        if len(parts) == 3 and not line.startswith("#") and _is_key(parts[1], parts[2]):
            found.append((parts[1], parts[2]))
    if not found:
        raise UnreachableError(
            f"{host.known_as} shows no ssh host key", "check the remote's address and the network"
        )
    return found[:_MOST_KEYS]


def _is_key(kind: str, key: str) -> bool:
    """Return whether `key` is the base64 of a public key of `kind` (RFC 4253, section 6.6)."""
    try:
        blob = base64.b64decode(key, validate=True)
    except binascii.Error:
        return False
    name = kind.encode()
    return bool(_KEY_TYPE.fullmatch(kind)) and blob.startswith(len(name).to_bytes(4, "big") + name)


def fingerprint(key: str) -> str:
    """Return the fingerprint of a public key in base64, as ssh-keygen -l prints it."""
    digest = hashlib.sha256(base64.b64decode(key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def check_credentials() -> None:
    """Warn when the file of passwords is open to others, or closed to the user who fetches."""
    try:
        found = CREDENTIALS.stat()
    except FileNotFoundError:
        return
    owner = remote.user()
    group, mode = (owner.pw_gid, 0o640) if owner is not None else (found.st_gid, 0o600)
    given = owner is None or (found.st_gid == group and found.st_mode & stat.S_IRGRP)
    if not given or found.st_mode & 0o037 & ~mode:
        who = f"chown root:{owner.pw_name}" if owner is not None else "chown root:root"
        log.warning("%s: it should be mode %04o: %s, chmod %04o", CREDENTIALS, mode, who, mode)


def require_readable_key() -> None:
    """Raise WgmeshError when there is a deploy key that the user who fetches cannot read."""
    owner = remote.user()
    if owner is None or not SSH_KEY.exists():
        return
    found = SSH_KEY.stat()
    if found.st_gid != owner.pw_gid or not found.st_mode & stat.S_IRGRP:
        raise WgmeshError(
            f"{SSH_KEY} cannot be read by the user {owner.pw_name}", "run join with --deploy-key"
        )
