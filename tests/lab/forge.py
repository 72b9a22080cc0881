"""The forge (`git daemon` on the lab's internet) and the people who push to it."""

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.lab.machine import SAFE_PATH, CommandError, Machine
from tests.lab.wait import wait_until


def git_environment(home: Path) -> dict[str, str]:
    """Return an environment in which nobody's git configuration, agent or prompt has a say."""
    return {
        "PATH": SAFE_PATH,
        "LC_ALL": "C.UTF-8",
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "true",
    }


def _run(argv: list[str], home: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        argv,
        env=git_environment(home) | dict(env or {}),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise CommandError(f"{' '.join(argv)} exited {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Forge:
    """A machine that serves bare repositories by `git://`, to anybody, to read and to write."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.machine = machine
        self.directory = directory
        self._daemon: subprocess.Popen[str] | None = None

    def create(self, name: str = "mesh") -> Path:
        """Make an empty bare repository and return its path on this side of the namespaces."""
        path = self.path(name)
        _run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(path)], path.parent)
        return path

    def path(self, name: str = "mesh") -> Path:
        """Return a repository's path: what Authors push to, whether the daemon runs or not."""
        return self.directory / f"{name}.git"

    def url(self, name: str = "mesh") -> str:
        """Return the address by which nodes fetch."""
        return f"git://{self.machine.ipv4}/{name}.git"

    def start(self) -> None:
        """Start serving; returns once the port answers."""
        argv = ["git", "daemon", "--reuseaddr", "--export-all", "--enable=receive-pack"]
        self._daemon = self.machine.popen(
            [*argv, f"--base-path={self.directory}"],
            env=git_environment(self.directory),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._listens, 10, "git daemon listens")

    def stop(self) -> None:
        """Stop serving: connections are refused from now on, running ones break."""
        self.machine.signal_all(signal.SIGKILL)
        if self._daemon is not None:
            self._daemon.wait(timeout=10)
        self._daemon = None

    def freeze(self) -> None:
        """Hang: connections are taken, nothing is answered."""
        self.machine.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self.machine.signal_all(signal.SIGCONT)

    def _listens(self) -> bool:
        return ":9418 " in self.machine.run(["ss", "-Hltn", "sport = 9418"]).stdout


class Author:
    """A person: a work tree, an ssh signing key, and a name; `remote` is a path or an address.

    Every change to the forge is a `push`; the other methods work in the person's own clone.
    """

    def __init__(
        self, name: str, directory: Path, remote: str | Path, *, key_type: str = "ed25519"
    ) -> None:
        self.name = name
        self.email = f"{name}@example.org"
        self.directory = directory
        self.tree = directory / "mesh"
        self.key = directory / "id_sign"
        self.public_key = directory / "id_sign.pub"
        directory.mkdir(parents=True)
        self.new_key(key_type)
        _run(["git", "clone", "--quiet", str(remote), str(self.tree)], directory)
        self.git("config", "gpg.format", "ssh")
        self.git("config", "user.signingkey", str(self.public_key))
        self.git("config", "gpg.ssh.allowedSignersFile", str(self.tree / "allowed_signers"))

    def new_key(self, key_type: str = "ed25519") -> None:
        """Replace the signing key by a new one."""
        self.key.unlink(missing_ok=True)
        self.public_key.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", key_type, "-N", "", "-C", self.email, "-f", str(self.key)]
        _run(argv, self.directory)

    @property
    def fingerprint(self) -> str:
        """The signing key's fingerprint, `SHA256:…`."""
        return _run(["ssh-keygen", "-l", "-f", str(self.public_key)], self.directory).split()[1]

    @property
    def allowed_signers_line(self) -> str:
        """This person's line in an allowed_signers file (ssh-keygen(1)), with its newline."""
        kind, key = self.public_key.read_text().split()[:2]
        return f'{self.email} namespaces="git" {kind} {key}\n'

    @property
    def head(self) -> str:
        """The id of the commit that is checked out."""
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run git in the work tree and return its output. Raises CommandError."""
        argv = ["git", "-C", str(self.tree), *arguments]
        return _run(argv, self.directory, self._identity() | dict(env or {}))

    def paste(self, command: str) -> None:
        """Run a command that was printed, as it is, in the work tree; it must succeed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.tree,
            env=git_environment(self.directory) | self._identity(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)

    def _identity(self) -> dict[str, str]:
        """Return who git says that this is."""
        return {
            f"GIT_{role}_{field}": value
            for role in ("AUTHOR", "COMMITTER")
            for field, value in (("NAME", self.name), ("EMAIL", self.email))
        }

    def write(self, path: str, text: str | None) -> None:
        """Write a file of the work tree and stage it; None deletes it."""
        target = self.tree / path
        if text is None:
            target.unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "--all", "--", path)

    def commit(
        self,
        files: Mapping[str, str | None],
        message: str = "change",
        *,
        sign: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Commit these files (None deletes; none at all is an empty commit) and return the id."""
        for path, text in files.items():
            self.write(path, text)
        signing = "--gpg-sign" if sign else "--no-gpg-sign"
        self.git("commit", "--quiet", "--allow-empty", signing, "-m", message, env=env)
        return self.head

    def push(self, refspec: str = "main", *, force: bool = False) -> None:
        """Push to the forge. Raises CommandError when it refuses."""
        self.git("push", "--quiet", *(["--force"] if force else []), "origin", refspec)

    def pull(self) -> str:
        """Take main from the forge, dropping own commits that were not pushed; return its id."""
        self.git("fetch", "--quiet", "--prune", "origin")
        self.git("checkout", "--quiet", "-B", "main", "origin/main")
        return self.head

    def propose(
        self,
        branch: str,
        files: Mapping[str, str | None],
        message: str = "proposal",
        *,
        sign: bool = True,
    ) -> str:
        """Open a pull request: push `branch` with one commit on top of the forge's main.

        Returns that commit's id; main is checked out again.
        """
        self.pull()
        self.git("checkout", "--quiet", "-B", branch)
        commit = self.commit(files, message, sign=sign)
        self.push(branch)
        self.git("checkout", "--quiet", "main")
        return commit

    def merge(self, branch: str, message: str | None = None, *, sign: bool = True) -> str:
        """Merge a pull request (`merge --no-ff`, signed), push main, and return the merge's id."""
        self.pull()
        self.git(
            "merge",
            "--quiet",
            "--no-ff",
            "--gpg-sign" if sign else "--no-gpg-sign",
            "-m",
            message or f"Merge {branch}",
            f"origin/{branch}",
        )
        self.push()
        return self.head
