"""How git is started: through GitPython, with an environment and configuration of our own."""

import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wgmesh import process
from wgmesh.errors import WgmeshError
from wgmesh.frozen import frozen
from wgmesh.trust.plain import plain

if TYPE_CHECKING:
    from git.cmd import Git

CLEAN = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "https:ssh:git:file",
}
"""No configuration but the repository's own, no replaced objects, no questions, few protocols.

safe.directory is not set, on purpose: a remote that is a directory of another user of this machine
would have git-upload-pack work, as us, in a repository that this user can shape. git refuses that;
unreachable() says what to do.
"""

NO_PROTOCOL = {"GIT_ALLOW_PROTOCOL": "none"}
"""For repositories that are only read: a partial clone's missing objects are not fetched."""

PIPE = -1
"""subprocess.PIPE, as GitPython hands it on; only wgmesh.process imports subprocess."""

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsync=all",  # loose objects too: a trusted tip on disk is nothing without its objects
    "core.commitGraph=false",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "gc.autoDetach=false",
    "gc.pruneExpire=now",  # what no ref reaches is of no use to anybody
    "maintenance.autoDetach=false",
)


_CAREFUL = (
    "core.bigFileThreshold=32m",
    "core.packedGitWindowSize=32m",
    "core.packedGitLimit=256m",
    "pack.threads=1",
)
"""git takes little memory for large objects, whatever the machine has."""

MEMORY_BYTES = 1 << 30

_TOO_MUCH = (
    "Out of memory",
    "out of memory",
    "Cannot allocate memory",
    "size_t overflow",
    "File too large",
)
"""What git says at the end of its Limits."""


@frozen
class Limits:
    """What a git command may take, that works on what a stranger has sent.

    An object can be thousands of times as large as the pack that it comes in. What this process may
    take is the most that git may: an admin's own limit holds, and cannot be raised without rights.
    """

    file_bytes: int
    cpu_seconds: int = 300
    memory_bytes: int = MEMORY_BYTES

    @property
    def argv(self) -> tuple[str, ...]:
        """What goes in front of git: prlimit(1)."""
        return (
            "prlimit",
            f"--as={_within(resource.RLIMIT_AS, self.memory_bytes)}",
            f"--cpu={_within(resource.RLIMIT_CPU, self.cpu_seconds)}",
            f"--fsize={_within(resource.RLIMIT_FSIZE, self.file_bytes)}",
            "--core=0",
            "--",
        )


def _within(kind: int, wanted: int) -> int:
    """Return `wanted`, or what this process has of that resource when it is less."""
    return min([wanted, *(n for n in resource.getrlimit(kind) if n != resource.RLIM_INFINITY)])


@frozen
class Outcome:
    """How a git command ended; `status` None: it was killed, because its time was up."""

    status: int | None
    stdout: bytes
    stderr: str

    @property
    def said(self) -> str:
        """The last thing it complained of, fit for a terminal (a server may have written it)."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        telling = [n for n, line in enumerate(lines) if line.startswith(("fatal:", "error:"))]
        at = telling[0] if telling else 0
        told = lines[at : at + 1] or ["no reason given"]
        if told[0].endswith(":"):  # as of git://: the reason is on the next line
            told += lines[at + 1 : at + 2]
        return plain(" ".join(told), 200)

    @property
    def too_much(self) -> bool:
        """Whether it ended because of its Limits of memory or size."""
        return self.status != 0 and any(sign in self.stderr for sign in _TOO_MUCH)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment for git, `extra` on top."""
    return process.environment(CLEAN | dict(extra))


def arguments(git_dir: Path | None, args: Sequence[str], limits: Limits | None = None) -> list[str]:
    """Return the argv of git on the repository `git_dir` (None: none, or the current directory)."""
    before = () if limits is None else limits.argv
    where = [] if git_dir is None else [f"--git-dir={git_dir}"]
    pairs = _SETTINGS if limits is None else _SETTINGS + _CAREFUL
    return [*before, "git", *where, *(part for pair in pairs for part in ("-c", pair)), *args]


def clean(argv: Sequence[str], extra: Mapping[str, str]) -> list[str]:
    """Return `argv` behind env(1), so that it has our environment and nothing else.

    GitPython would add its caller's: GIT_DIR, GIT_CONFIG_PARAMETERS and the like inside a hook. By
    a file that grows too large git dies, unless it hears nothing of that: then it says what it is.
    """
    pairs = (f"{name}={value}" for name, value in environment(extra).items())
    return ["/usr/bin/env", "-i", "--ignore-signal=XFSZ", *pairs, *argv]


def start(
    directory: Path,
    git_dir: Path | None,
    args: Sequence[str],
    *,
    extra: Mapping[str, str],
    limits: Limits | None = None,
    **options: int | BinaryIO | None,
) -> "Git.AutoInterrupt":
    """Start git in `directory` through GitPython and return its child, a Popen in a wrapper.

    `options` go to Git.execute and from there to Popen. Raises WgmeshError without git.
    """
    try:
        from git.cmd import Git
    except ImportError as error:  # GitPython looks for git while it is imported
        raise WgmeshError("GitPython or git is missing", "install python3-git and git") from error
    execute: Callable[..., Git.AutoInterrupt] = Git(
        str(directory)
    ).execute  # its overloads lack `options`
    return execute(clean(arguments(git_dir, args, limits), extra), as_process=True, **options)


def run(
    directory: Path,
    git_dir: Path | None,
    args: Sequence[str],
    *,
    extra: Mapping[str, str],
    timeout_seconds: float,
    limits: Limits | None = None,
    istream: BinaryIO | None = None,
) -> Outcome:
    """Run git in `directory` and return how it ended; after `timeout_seconds` it is killed.

    So is one that says more than process.MOST_BYTES.

    GitPython's own kill_after_timeout needs ps(1) and leaves ssh and the like behind, so git gets a
    process group, and all of that is ended.
    """
    child = start(
        directory,
        git_dir,
        args,
        extra=extra,
        limits=limits,
        istream=istream,
        start_new_session=True,
    )
    ended = False
    end = time.monotonic() + timeout_seconds
    try:
        assert child.proc is not None
        out, err = process.gather(child.stdout, child.stderr, end)
        child.proc.wait(max(0.0, end - time.monotonic()))
        ended = True
    except process.TimeoutExpired:
        return Outcome(None, b"", "the time was up")
    except process.TooMuchError:
        return Outcome(None, b"", "git said far too much")
    finally:
        if not ended:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
    return Outcome(child.poll(), out, err.decode(errors="replace"))
