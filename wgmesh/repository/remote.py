"""Which texts may name a remote or a branch: what git would take for an option is refused."""

import re
from pathlib import Path

from wgmesh.errors import UsageError

_SCHEMES = ("https", "ssh", "git", "file")
_FORMS = "use https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, or a directory"
_URL = re.compile(r"([A-Za-z0-9+.-]+)://([^/?#]*)")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+@=-]*(?:[./][A-Za-z0-9_+@=-]+)*")
_TOKENS = ("ghp_", "gho_", "ghu_", "ghs_", "github_pat_", "glpat-")


def check_remote(remote: str) -> str:
    """Return `remote` in the form to store and use: a relative directory becomes absolute.

    Raises UsageError for what is no remote (git would read it as an option or run a helper
    program), for protocols that wgmesh does not allow, and for a password inside; the message
    never repeats the password.
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
        _check_url(url[1].lower(), url[2])
        return remote
    host, colon, path = remote.partition(":")
    if colon and "/" not in host:  # host:path, unless a slash comes first (git's connect.c)
        if "@" in path.partition("/")[0]:
            raise _password()
        if host.rpartition("@")[2].startswith("-") or not host.rpartition("@")[2]:
            raise UsageError("the remote's host is empty or begins with a dash", _FORMS)
        return remote
    return str(Path(remote).absolute())


def _check_url(scheme: str, authority: str) -> None:
    if scheme not in _SCHEMES:
        raise UsageError(f"the remote's protocol {scheme[:20]!r} is not allowed", _FORMS)
    user, _, host = authority.rpartition("@")
    if ":" in user or user.startswith(_TOKENS) or "%3a" in user.lower():
        raise _password()
    if host.startswith("-") or user.startswith("-"):
        raise UsageError("the remote's host begins with a dash, like an option", _FORMS)
    if not host and scheme != "file":
        raise UsageError("the remote names no host", _FORMS)


def _password() -> UsageError:
    return UsageError(
        "the remote contains a password or token",
        "use ssh, with a key of root that may only read",
    )


def check_branch(branch: str) -> str:
    """Return `branch` when it is a plain branch name (git-check-ref-format(1)), else UsageError."""
    if not _BRANCH.fullmatch(branch) or len(branch) > 200 or branch.endswith(".lock"):
        raise UsageError(f"{branch[:200]!r} is no branch name", "use a name such as main")
    if ".lock/" in branch or "@{" in branch or branch == "HEAD":
        raise UsageError(f"{branch[:200]!r} is no branch name", "use a name such as main")
    return branch
