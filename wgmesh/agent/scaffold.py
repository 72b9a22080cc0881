"""`wgmesh init`: a new inventory repository, its first commit signed when that is possible."""

import logging
import os
import shlex
import shutil
from collections.abc import Mapping, Set
from pathlib import Path

from wgmesh import process
from wgmesh.agent import pipelines
from wgmesh.agent.sources import may_be_directory
from wgmesh.errors import RefusedError, UsageError, WgmeshError
from wgmesh.files import directory_aside, left_aside, write_atomic
from wgmesh.frozen import frozen
from wgmesh.process import CommandError
from wgmesh.trust import sshkey

log = logging.getLogger(__name__)

_GIT_SECONDS = 30
_SIGNING_SECONDS = 120
"""An agent may ask its user, a security key wait for a touch."""
_NOT_TELLING = ("fatal: failed to write commit object", "Signing file ")
"""What git and ssh-keygen say beside the reason."""
_BY_A_HOOK = 1
"""How `git commit` ends when a hook says no; it ends otherwise when it cannot sign."""

MESH = b"""\
# The mesh. Every field: https://github.com/wgmesh/wgmesh, docs/inventory.md
[mesh]
interface = "wg0"
mesh_cidr = ["10.40.0.0/24", "fd40::/64"]
port = 51820
topology = "fullmesh"
"""

README = b"""\
# The inventory of a wgmesh

`mesh.toml` describes the mesh, `nodes/NAME.toml` one node each, `allowed_signers` who may change
it, `trust.toml` which of them may do what. Nodes apply what lands on the main branch when each step
of it is signed by somebody whom the step before it lists.

- Check a change: `wgmesh validate`, `wgmesh plan --base main`; who signed it:
  `wgmesh trust branch HEAD --base main`. CI (GitHub, GitLab) does the same
- What parts nodes until all have applied it needs a line in a commit message:
  `Wgmesh-Allow-Break: NAME`
- Add a node: `wgmesh join` on the node prints its entry, `wgmesh node add NAME --from -` takes it
- Merge a pull request: `git merge --no-ff -S BRANCH && git push`
- Let a second person sign: a line in `allowed_signers`, before anybody's key is lost
"""

RULES = b"""\
# Who of those in allowed_signers may do what. Without a line here everyone may do all, alone.
# See docs/trust.md, or man 5 mesh.toml.

# approvals = 2            # people who must have signed a step
# side_commits = "signed"  # on merged branches too every commit needs a signer
# mainline = "merge"       # nothing goes straight onto the branch

# [roles]
# admin = ["@PRINCIPAL@"]        # may change allowed_signers, openpgp/ and this file
# merge = ["noreply@github.com"]  # a forge's key: may merge what people signed, is nobody itself
"""


@frozen
class Made:
    """A new repository: its signer, and its first commit (None: it could not be signed here)."""

    directory: Path
    commit: str | None
    fingerprint: str


def init(directory: Path, key: Path) -> Made:
    """Make an inventory repository in `directory` for the signer whose public key is in `key`.

    A new directory appears as a whole. In one that is there the repository comes last, and what one
    that was killed has put there is no obstacle to the same again. Raises UsageError when the
    directory is in use or the key is not a public SSH key; then nothing was made.
    """
    if shutil.which("git", path=_environment()["PATH"]) is None:
        raise WgmeshError("git is missing", "install git")
    public = _public_key(key)
    fingerprint = _fingerprint(key)
    files = _files(public)
    may_be_directory(directory)
    there = directory.exists()
    aside = directory / "mesh" if there else directory
    if there and _holds_more(directory, {*left_aside(aside)}, files):
        raise UsageError(f"{directory} is not empty", "name a new directory")
    with directory_aside(aside) as tree:
        failed = _fill(tree, directory.resolve(), key, public)
        commit = None if failed is not None else _git(tree, "rev-parse", "HEAD").strip()
        if there:
            for each in sorted(tree.iterdir(), key=lambda each: each.name == ".git"):
                if not (directory / each.name).exists():  # else it is the same
                    each.rename(directory / each.name)
        else:
            tree.rename(directory)
    if failed is not None:
        why, remedy = _uncommitted(key, failed)
        again = f"git -C {shlex.quote(os.fspath(directory))} commit -S -m 'A new mesh'"
        log.warning("the first commit is not made, since %s: %s, then run %s", why, remedy, again)
    return Made(directory, commit, fingerprint)


def _files(public: str) -> dict[str, bytes]:
    """Return the files of a new inventory for the signer with the key `public`."""
    principal = _principal(public)
    kind, blob = public.split()[:2]
    signers = f'{principal} namespaces="git" {kind} {blob}\n'
    return {
        "mesh.toml": MESH,
        "allowed_signers": signers.encode(),
        "trust.toml": RULES.replace(b"@PRINCIPAL@", principal.encode()),
        "README.md": README,
        "nodes/.gitkeep": b"",
        **pipelines.FILES,
    }


def _holds_more(directory: Path, left: Set[Path], files: Mapping[str, bytes]) -> bool:
    """Tell whether `directory` has anything but what is `left` aside and some of `files`."""
    for top in {*directory.iterdir()} - left:
        wanted = {name: data for name, data in files.items() if name.split("/")[0] == top.name}
        found = {
            os.fspath(path.relative_to(directory)): path
            for path in (top, *top.rglob("*"))
            if path.is_symlink() or not path.is_dir()
        }
        if not found or found.keys() != wanted.keys():
            return True
        for name, path in found.items():
            if path.is_symlink() or not path.is_file() or path.read_bytes() != wanted[name]:
                return True
    return False


def _fill(tree: Path, place: Path, key: Path, public: str) -> CommandError | None:
    """Make a repository in `tree`, which is going to lie at `place`; return how the commit failed.

    None: its first commit is made.
    """
    principal = _principal(public)
    for name, data in _files(public).items():
        write_atomic(tree / name, data)
    _git(tree, "init", "--quiet", "--initial-branch=main")
    settings = {
        "gpg.format": "ssh",
        "user.signingKey": os.fspath(key.resolve()),
        "commit.gpgSign": "true",
        "merge.ff": "false",
        "gpg.ssh.allowedSignersFile": os.fspath(place / "allowed_signers"),
    }
    for name, value in settings.items():
        _git(tree, "config", name, value)
    if not _has_identity(tree):
        _git(tree, "config", "user.email", principal)
        _git(tree, "config", "user.name", principal.partition("@")[0])
    _git(tree, "add", "--all")
    try:
        _git(tree, "commit", "--quiet", "-S", "-m", "A new mesh", seconds=_SIGNING_SECONDS)
        failed = None
    except CommandError as error:
        failed = error
    write_atomic(tree / ".git" / "hooks" / "pre-commit", pipelines.HOOK.encode(), 0o755)
    return failed


def _uncommitted(key: Path, failed: CommandError) -> tuple[str, str]:
    """Return why git made no commit, to be signed with the private half of `key`, and a remedy."""
    private = key.with_suffix("")
    said = failed.message if failed.returncode is None else failed.stderr
    lines = [line.removeprefix("error: ") for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_NOT_TELLING)]
    reason = (telling or lines or ["it does not say why"])[-1]
    if failed.returncode == _BY_A_HOOK:
        return f"a hook of git refused it ({reason})", "mend that"
    if "No private key found" in said:
        why = f"the private half of {key} is neither beside it nor in ssh-agent"
        return why, f"put it into the agent with ssh-add, or to {private}"
    if "passphrase" in said:
        why = f"{private} has a passphrase, and is not in ssh-agent"
        return why, f"put it there with ssh-add {shlex.quote(os.fspath(private))}"
    return f"git could not sign it ({reason})", "mend that"


def _environment() -> dict[str, str]:
    """Return what git needs of the author's environment to sign: the agent, and a terminal."""
    wanted = (
        "SSH_AUTH_SOCK",
        "SSH_ASKPASS",
        "DISPLAY",
        "GIT_CONFIG_GLOBAL",
        "GIT_AUTHOR_EMAIL",
        "GIT_AUTHOR_NAME",
        "GIT_COMMITTER_EMAIL",
        "GIT_COMMITTER_NAME",
        "XDG_CONFIG_HOME",
    )
    return {name: os.environ[name] for name in wanted if name in os.environ} | {
        "PATH": os.environ.get("PATH", process.SAFE_PATH)
    }


def _git(directory: Path, *words: str, seconds: float = _GIT_SECONDS) -> str:
    argv = ["git", "-C", os.fspath(directory), *words]
    return process.run(argv, env=_environment(), timeout_seconds=seconds).stdout.decode()


def _has_identity(directory: Path) -> bool:
    argv = ["git", "-C", os.fspath(directory), "config", "user.email"]
    configured = process.run(argv, env=_environment(), check=False).returncode == 0
    return configured or "GIT_AUTHOR_EMAIL" in os.environ


def _public_key(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "name KEY.pub") from None
    except UnicodeDecodeError:
        text = ""
    fields = text.split()
    if len(fields) < 2 or "\n" in text or not fields[0].startswith(("ssh-", "ecdsa-", "sk-")):
        raise UsageError(
            f"{path} is not a public SSH key", "name the .pub file that ssh-keygen wrote"
        )
    try:
        key = sshkey.parse_key(sshkey.decode_base64(fields[1].encode()))
    except RefusedError as error:
        raise UsageError(
            f"{path} is of no use: {error.message}", "make another: ssh-keygen -t ed25519"
        ) from None
    if key.kind != fields[0]:
        raise UsageError(f"{path} says {fields[0]}, but is {key.kind}", "name an unchanged file")
    return text


def _fingerprint(path: Path) -> str:
    return process.text(["ssh-keygen", "-l", "-f", os.fspath(path)]).split()[1]


def _principal(public: str) -> str:
    """Return who the key belongs to: the comment of the key, when it can be a principal."""
    comment = " ".join(public.split()[2:])
    plain = comment and all(c.isalnum() or c in "@._+-" for c in comment)
    return comment if plain else "admin@mesh"
