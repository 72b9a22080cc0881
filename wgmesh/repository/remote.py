"""Remotes: which texts may name one, how git gets in, and what to do when it does not.

What git would take for an option is refused.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from wgmesh.errors import UnreachableError, UsageError
from wgmesh.frozen import frozen
from wgmesh.repository.command import Outcome
from wgmesh.trust.plain import plain

SSH_KEY = Path("/etc/wgmesh/ssh/id_ed25519")
KNOWN_HOSTS = Path("/etc/wgmesh/ssh/known_hosts")
CREDENTIALS = Path("/etc/wgmesh/git-credentials")

_SCHEMES = ("https", "ssh", "git", "file")
_FORMS = "use https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, or a directory"
_URL = re.compile(r"([A-Za-z0-9+.-]+)://([^/?#]*)")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+@=-]*(?:[./][A-Za-z0-9_+@=-]+)*")
_TOKEN = re.compile(r"(?:gh[a-z]_|github_pat_|glpat-|gldt-|AT(?:BB|CT|ST))|[A-Za-z0-9_-]{33}")
"""How a user begins that is a token of some forge, or longer than any user's name (useradd(8))."""


def check_remote(remote: str) -> str:
    """Return `remote` in the form to store and use: a relative directory becomes absolute.

    Raises UsageError for what is no remote (git would read it as an option or run a helper
    program), for protocols that wgmesh does not allow, and for what is or may be a password inside:
    over https any user and any query. The message never repeats it.
    """
    if not remote or len(remote) > 2048 or not remote.isprintable() or " " in remote:
        raise UsageError(
            "the remote is empty, too long, or has blanks or control characters", _FORMS
        )
    if remote.startswith("-"):
        raise UsageError("the remote begins with a dash, like an option", _FORMS)
    if re.match(r"[A-Za-z0-9+.-]+::", remote):
        raise UsageError("the remote names a helper program (NAME::…)", _FORMS)
    url = _URL.match(remote)
    if url:
        _check_url(url[1].lower(), url[2], remote[url.end() :])
        return remote
    host, colon, path = remote.partition(":")
    if colon and "/" not in host:  # host:path, unless a slash comes first (git's connect.c)
        if "@" in path or _TOKEN.match(host.rpartition("@")[0]):
            raise _password()
        if host.rpartition("@")[2].startswith("-") or not host.rpartition("@")[2]:
            raise UsageError("the remote's host is empty or begins with a dash", _FORMS)
        return remote
    return str(Path(remote).absolute())


def _check_url(scheme: str, authority: str, rest: str) -> None:
    if scheme not in _SCHEMES:
        raise UsageError(f"the remote's protocol {scheme[:20]!r} is not allowed", _FORMS)
    user, _, host = authority.rpartition("@")
    # a password with a slash in it ends what git takes for the host
    beyond = "" if scheme == "file" else "@?#" if scheme == "https" else "@"
    if ":" in user or _TOKEN.match(user) or "%3a" in user.lower() or set(beyond) & set(rest):
        raise _password()
    if user and scheme in ("https", "git"):
        raise _password()
    if host.startswith("-") or user.startswith("-"):
        raise UsageError("the remote's host begins with a dash, like an option", _FORMS)
    if not host and scheme != "file":
        raise UsageError("the remote names no host", _FORMS)


def _password() -> UsageError:
    return UsageError(
        "the remote contains a user, a password or a token",
        f"use ssh (wgmesh join --deploy-key); or https://HOST/PATH, with https://USER:PASSWORD@HOST"
        f" in {CREDENTIALS}; an @ in a path is written %40",
    )


def check_branch(branch: str) -> str:
    """Return `branch` when it is a plain branch name (git-check-ref-format(1)), else UsageError."""
    if not _BRANCH.fullmatch(branch) or len(branch) > 200 or branch.endswith(".lock"):
        raise UsageError(f"{branch[:200]!r} is no branch name", "use a name such as main")
    if ".lock/" in branch or "@{" in branch or branch == "HEAD":
        raise UsageError(f"{branch[:200]!r} is no branch name", "use a name such as main")
    return branch


_SSH_OPTIONS = (
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "StrictHostKeyChecking=yes",
    f"UserKnownHostsFile={KNOWN_HOSTS}",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    f"IdentityFile={SSH_KEY}",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
)
# git tells a helper to forget a password that a server did not take, and would write to the file.
_HELPER = f'!f() {{ test "$1" != get || git credential-store --file={CREDENTIALS} get; }}; f'

ACCESS: Mapping[str, str] = {
    "GIT_SSH_COMMAND": " ".join(["ssh", "-F", "none", *(f"-o{each}" for each in _SSH_OPTIONS)]),
    "GIT_SSH_VARIANT": "ssh",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "credential.helper",
    "GIT_CONFIG_VALUE_0": _HELPER,
}
"""git's environment for a remote: this machine's key, pinned hosts and passwords, nobody's own."""


@frozen
class SshHost:
    """Where a remote's ssh listens."""

    host: str
    port: int = 22

    @property
    def known_as(self) -> str:
        """Its name in a known_hosts file (sshd(8))."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"


def ssh_host(remote: str) -> SshHost | None:
    """Return where `remote`, which check_remote() has passed, is asked by ssh; else None."""
    url = _URL.match(remote)
    if url is None:
        host, colon, _ = remote.partition(":")
        if not colon or "/" in host:
            return None
        return SshHost(host.rpartition("@")[2].strip("[]").lower())
    if url[1].lower() != "ssh":
        return None
    place = url[2].rpartition("@")[2]
    named = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", place)
    if named is None:
        raise UsageError(f"{plain(place, 200)} is no host", _FORMS)
    return SshHost((named[1] or named[2]).lower(), int(named[3] or 22))


_CHECK = "check the network, the remote's address and this node's access to it"
_OWN_CA = (
    "a CA of your own belongs into /usr/local/share/ca-certificates; then update-ca-certificates"
)
_TROUBLES = (
    (
        "dubious ownership",
        "the directory must belong to the user who fetches (wgmesh, where there is that user);"
        " or serve it over ssh or https",
    ),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        f"when its new key is the right one, remove the old from {KNOWN_HOSTS} and join again",
    ),
    (
        "Host key verification failed",
        f"its key is not in {KNOWN_HOSTS}: join again, or add it (ssh-keyscan prints it)",
    ),
    (
        "Permission denied (",
        f"add {SSH_KEY}.pub to the repository as a key that may read;"
        " wgmesh join --deploy-key makes it",
    ),
    (
        "could not read Username",
        f"put https://USER:PASSWORD@HOST into {CREDENTIALS}, 0640 root:wgmesh",
    ),
    (
        "could not read Password",
        f"put https://USER:PASSWORD@HOST into {CREDENTIALS}, 0640 root:wgmesh",
    ),
    (
        "Authentication failed",
        f"the name or the password in {CREDENTIALS} is not, or no longer, right",
    ),
    ("CAfile:", _OWN_CA),  # curl with GnuTLS, whose words before it change
    ("SSL certificate problem", _OWN_CA),  # curl with OpenSSL
    ("ssh: ", _CHECK),
)
"""What git, ssh or curl say, and what to do."""

NO_BRANCH = "answers, but has no branch"
NOT_GIVEN = "but did not give it"
_FORCED = (
    "no node has taken any of it, so here a forced push back to the last good commit is the way"
    " (git push --force-with-lease origin COMMIT:BRANCH): on top of it everything would be refused"
)

MALFORMED = "sent an object that git refuses"
TOO_MUCH = "sent more than a node takes"
_OWN_WORDS = (
    (NO_BRANCH, "push the branch, or join with another --branch"),
    (NOT_GIVEN, "try again; if it stays so, the server is a shallow clone or contradicts itself"),
    (MALFORMED, "push commits that git itself has written; " + _FORCED),
    (
        TOO_MUCH,
        "an inventory with its history is far smaller: take large files out of the branch; "
        + _FORCED,
    ),
)
"""What wgmesh says of a remote, and what to do."""


def advice(said: str) -> str:
    """Return what to do about a remote of which that is said: one of a fixed list, whoever says it.

    What is told as advice to root must not come from somebody who may have been taken over.
    """
    return next((hint for sign, hint in (*_OWN_WORDS, *_TROUBLES) if sign in said), _CHECK)


def unreachable(remote: str, outcome: Outcome) -> UnreachableError:
    """Return the error for a remote that did not do as asked."""
    said, hint = outcome.said, _CHECK
    for line in outcome.stderr.splitlines():
        known = next((each for each in _TROUBLES if each[0] in line), None)
        if known is not None:
            said, hint = plain(line.strip(" @"), 200), known[1]
            break
    return UnreachableError(f"{plain(remote, 200)} cannot be reached: {said}", hint)
