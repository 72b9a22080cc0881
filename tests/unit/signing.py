"""Real keys and real git for the tests of trust: a work tree whose commits are signed as asked."""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

KINDS = {
    "ops": ("-t", "ed25519"),
    "ann": ("-t", "ed25519"),
    "eve": ("-t", "ed25519"),
    "bob": ("-t", "ed25519"),
    "forge": ("-t", "ed25519"),
    "p256": ("-t", "ecdsa", "-b", "256"),
    "p384": ("-t", "ecdsa", "-b", "384"),
    "p521": ("-t", "ecdsa", "-b", "521"),
    "rsa": ("-t", "rsa", "-b", "2048"),
}

EPOCH = 1_700_000_000
"""The committer's clock of the first commit, seconds; each next one is a second later."""


def environment(home: Path) -> dict[str, str]:
    """Return an environment without anybody's git configuration."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ops",
        "GIT_COMMITTER_EMAIL": "ops@example.com",
    }


def run(
    argv: list[str], cwd: Path, *, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> bytes:
    """Run a program to its success and return its output."""
    done = subprocess.run(
        argv,
        input=stdin,
        cwd=cwd,
        capture_output=True,
        env=environment(cwd) | dict(env or {}),
        check=False,
    )
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Keys:
    """Key pairs in a directory, by name."""

    directory: Path

    def make(self) -> "Keys":
        for name, kind in KINDS.items():
            run(["ssh-keygen", "-q", "-N", "", "-C", name, *kind, "-f", name], self.directory)
        return self

    def private(self, name: str) -> Path:
        return self.directory / name

    def public(self, name: str) -> str:
        return " ".join((self.directory / f"{name}.pub").read_text().split()[:2])

    def fingerprint(self, name: str) -> str:
        out = run(["ssh-keygen", "-l", "-f", f"{name}.pub"], self.directory)
        return out.decode().split()[1]

    def signers(self, *names: str, **options: str) -> str:
        """Return a signers file; `options` has the options of some of the names."""
        return "".join(
            f"{name}@example.com {options.get(name, '')} {self.public(name)}\n" for name in names
        )


@dataclass
class Workshop:
    """A work tree. `sign` names a key, None leaves a commit unsigned."""

    path: Path
    keys: Keys
    clock: int = field(default=EPOCH)

    def start(self) -> "Workshop":
        self.path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        return self

    @property
    def git_dir(self) -> Path:
        return self.path / ".git"

    def git(
        self,
        *args: str,
        sign: str | None = None,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> str:
        config: tuple[str, ...] = ("-c", "gpg.format=ssh", "-c", "advice.detachedHead=false")
        if sign:
            config += ("-c", f"user.signingkey={self.keys.private(sign)}")
            config += ("-c", "commit.gpgsign=true")
        self.clock += 1
        date = f"{self.clock} +0000"
        env = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date} | dict(env or {})
        return run(["git", *config, *args], self.path, stdin=stdin, env=env).decode().strip()

    def commit(
        self,
        subject: str,
        files: Mapping[str, str | None] | None = None,
        *,
        sign: str | None = "ops",
        **extra: str,
    ) -> str:
        """Commit `files` (None removes one) and return the commit's id."""
        for name, text in (files or {}).items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                target.unlink()
            else:
                target.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject, sign=sign, env=extra)
        return self.head()

    def merge(self, other: str, *args: str, sign: str | None = "ops") -> str:
        """Merge `other` into what is checked out and return the merge's id."""
        self.git("merge", "--quiet", "--no-ff", "--no-edit", *args, other, sign=sign)
        return self.head()

    def checkout(self, what: str) -> None:
        self.git("checkout", "--quiet", "--detach", what)

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def tree(self, commit: str) -> str:
        return self.git("rev-parse", f"{commit}^{{tree}}")

    def raw(self, commit: str) -> bytes:
        return run(["git", "cat-file", "commit", commit], self.path)

    def edit(self, commit: str, change: Callable[[bytes], bytes]) -> str:
        """Write the changed raw commit as a new object and return its id."""
        raw = change(self.raw(commit))
        args = ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"]
        return run(args, self.path, stdin=raw).decode().strip()


def pushed(directory: Path, keys: Keys) -> Workshop:
    """Make a clone with one signed commit on main, pushed to the remote hub.git beside it."""
    run(["git", "init", "--quiet", "--bare", "--initial-branch=main", "hub.git"], directory)
    work = Workshop(directory / "work", keys).start()
    work.git("remote", "add", "origin", str(directory / "hub.git"))
    work.commit("Begin", {"allowed_signers": keys.signers("ops", "ann"), "mesh.toml": "one"})
    work.git("push", "--quiet", "-u", "origin", "main")
    return work
