"""Checks of the way to the git remotes: whether one answers, and the credentials for it."""

import re
from collections.abc import Iterator

from wgmesh.doctor.facts import Facts, FileSeen, Finding, Remote, error, note, warning

SSH_KEY, KNOWN_HOSTS, CREDENTIALS = "ssh key", "known hosts", "git credentials"
READ_BY_FETCH = "read by the fetch"

_READ, _PASS = 4, 1  # permission bits of a file, and of a directory

_SSH = re.compile(r"ssh://|[^/:]+:(?!//)")

_FIXES = (
    (
        r"could not resolve|name or service not known|temporary failure in name resolution",
        "check /etc/resolv.conf and the network: getent ahosts HOST",
    ),
    (
        r"refused|timed out|unreachable|time was up|no route",
        "see whether a firewall keeps this machine from the remote's port",
    ),
    (
        r"not found|does not exist|not appear to be a git repository|404",
        "check the URL in /etc/wgmesh/node.toml, and that these credentials may read it",
    ),
)


def is_ssh(url: str) -> bool:
    """Return whether git reaches `url` by ssh."""
    return bool(_SSH.match(url)) and not url.startswith(("https:", "git:", "file:", "/"))


def fix(remote: Remote) -> str:
    """Return what to do about a remote that does not answer."""
    said = (remote.error or "").lower()
    found = (text for pattern, text in _FIXES if re.search(pattern, said))
    return next(found, remote.hint or "run wgmesh sync --verbose to see how git was called")


def remotes(facts: Facts) -> Iterator[Finding]:
    """Yield the remotes that do not answer: an error when none does."""
    skipped = {remote.hint for remote in facts.mesh.remotes if remote.error is None} - {""}
    for reason in sorted(skipped):
        yield note(f"the remotes were not asked: {reason}", "run wgmesh doctor again")
    asked = [remote for remote in facts.mesh.remotes if remote.error is not None]
    silent = [remote for remote in asked if remote.error]
    level = error if len(silent) == len(asked) else warning
    for remote in silent:
        yield level(remote.error or "", fix(remote))


def credentials(facts: Facts) -> Iterator[Finding]:
    """Yield what the fetching user needs and cannot use, and secrets that everybody can read."""
    mesh = facts.mesh
    yield from _closed(facts)
    files = {seen.purpose: seen for seen in facts.host.files if seen.exists is not None}
    if any(is_ssh(remote.url) for remote in mesh.remotes):
        yield from _ssh(facts, files.get(SSH_KEY), files.get(KNOWN_HOSTS))
    https = files.get(CREDENTIALS)
    if https is not None and https.exists:
        uid, owner = _fetcher(facts)
        yield from _secret(https, owner, _may(https, uid, mesh.fetch_gids, _READ))


def _closed(facts: Facts) -> Iterator[Finding]:
    """Yield the directories that the fetching user cannot pass, and what it always has to read."""
    uid, owner = _fetcher(facts)
    gids = facts.mesh.fetch_gids
    above = {each.path: each for seen in facts.host.files for each in seen.above}
    for path, directory in above.items():
        if not _may(directory, uid, gids, _PASS):
            yield error(
                f"the user {owner}, who fetches, may not pass {path} (mode {directory.mode:04o})",
                f"chmod 0755 {path}",
            )
    for seen in facts.host.files:
        if seen.purpose == READ_BY_FETCH and seen.exists and not _may(seen, uid, gids, _READ):
            said = f"the user {owner}, who fetches, may not read {seen.path}"
            yield error(said, f"chmod 0644 {seen.path}")


def _may(seen: FileSeen, uid: int, gids: tuple[int, ...], bit: int) -> bool:
    """Return whether the user may read a file, or pass a directory, by its permission bits."""
    if uid == 0:
        return True
    shift = 6 if uid == seen.uid else 3 if seen.gid in gids else 0
    return bool(seen.mode >> shift & bit)


def _fetcher(facts: Facts) -> tuple[int, str]:
    uid = facts.mesh.fetch_uid
    return (0, "root") if uid is None else (uid, "wgmesh")


def _ssh(facts: Facts, key: FileSeen | None, hosts: FileSeen | None) -> Iterator[Finding]:
    uid, owner = _fetcher(facts)
    gids = facts.mesh.fetch_gids
    if key is not None and not key.exists:
        yield error(
            f"a remote is asked by ssh, and there is no key {key.path}",
            "wgmesh join with the same arguments and --deploy-key makes one",
        )
    elif key is not None:
        mend = _mend(key, owner)
        # ssh looks at the mode of a key only when it belongs to whoever runs ssh
        if key.mode & 0o007 or (key.uid == uid and key.mode & 0o077):
            yield error(
                f"ssh refuses the key {key.path}: others may read it (mode {key.mode:04o})", mend
            )
        elif not _may(key, uid, gids, _READ):
            yield error(f"the user {owner}, who fetches, may not read {key.path}", mend)
    if hosts is not None and not hosts.exists:
        yield error(
            f"{hosts.path} is missing: ssh trusts no host",
            f"ssh-keyscan HOST >>{hosts.path}, once its owner has confirmed the fingerprint",
        )
    elif hosts is not None and not _may(hosts, uid, gids, _READ):
        yield error(
            f"the user {owner}, who fetches, may not read {hosts.path}", f"chmod 0644 {hosts.path}"
        )


def _mend(seen: FileSeen, owner: str) -> str:
    """Return how to let the user who fetches read a file, and nobody else but root."""
    mode = "0600" if owner == "root" else "0640"
    return f"chown root:{owner} {seen.path}; chmod {mode} {seen.path}"


def _secret(seen: FileSeen, owner: str, usable: bool) -> Iterator[Finding]:
    mend = _mend(seen, owner)
    if seen.mode & 0o007:
        yield error(f"everybody may read {seen.path} (mode {seen.mode:04o})", mend)
    elif not usable:
        yield error(f"the user {owner}, who fetches, may not read {seen.path}", mend)
