"""`make package-check`: holds the package to what Debian asks of one. Root, and a network for apt.

Built twice, elsewhere and otherwise, it is the same bytes; lintian says nothing; in a fresh root of
each suite piuparts and autopkgtest pass, and it installs from a signed repository, upgrades, goes,
and leaves what README.Debian says. `python -m tests.package.check SUITE…` takes only some suites.
The base systems of the roots are kept for a week in /var/cache/wgmesh-package.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie", "testing")
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Newer than Debian 12's and older than Debian 13's, so that one suite takes it.
BACKPORT = "GitPython==3.1.44"
WEEK_SECONDS = 7 * 24 * 3600
STEP_SECONDS = 900


class StepError(Exception):
    """A step failed; the message is all that was said."""


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path = TREE,
    env: Mapping[str, str] | None = None,
    umask: int = -1,
) -> str:
    """Run `argv` and return what it said on both streams. Raises StepError when it fails."""
    usual = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/root")}
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=cwd,
            env=usual | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=STEP_SECONDS,
            umask=umask,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace")
        raise StepError(f"{argv[0]} did not end in {STEP_SECONDS} s\n{said}") from None
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        raise StepError(f"{said}\n{argv[0]} exited {done.returncode}")
    return said


def step(name: str, action: Callable[[], str]) -> None:
    """Do `action` and print what it returns; when it fails, all that was said."""
    begin = time.monotonic()
    try:
        result = action()
    except StepError as error:
        print(f"FAIL  {name}\n{error}", flush=True)
        raise
    print(f"ok    {name}: {result} ({time.monotonic() - begin:.0f} s)", flush=True)


@dataclass(frozen=True, slots=True)
class Built:
    """The package of this tree, its next version, and the repository with either or both."""

    work: Path

    @property
    def directory(self) -> Path:
        """Where the source and the binary package are, and the repositories apt and next."""
        return self.work / "a"

    @property
    def deb(self) -> Path:
        """The binary package."""
        (found,) = self.directory.glob("wgmesh_*_all.deb")
        return found


def same_bytes(built: Built) -> str:
    """Build in two places, with another umask, time zone, locale and home; compare."""
    run(["debian/archive/deb", built.directory])
    elsewhere = built.work / "home of another" / "tree"
    elsewhere.mkdir(parents=True, mode=0o700)
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in filter(None, listed.split("\0")):
        if (TREE / name).exists() or (TREE / name).is_symlink():
            (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / name, elsewhere / name, follow_symlinks=False)
    temporary = built.work / "tmp"
    temporary.mkdir()
    other = {
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "HOME": str(elsewhere.parent),
        "TMPDIR": str(temporary),
    }
    run(["debian/archive/deb", built.work / "b"], cwd=elsewhere, env=other, umask=0o077)
    names = [path.name for path in built.directory.iterdir() if "buildinfo" not in path.name]
    names = sorted(name for name in names if not name.endswith(".changes"))
    for name in names:
        run(["cmp", built.directory / name, built.work / "b" / name])
    return f"{', '.join(names)} are the same bytes"


def no_tag(built: Built) -> str:
    """Ask lintian for everything it has to say."""
    (changes,) = built.directory.glob("*.changes")
    said = run(["lintian", "--allow-root", "-EI", "--pedantic", changes])
    if said.strip():  # the exit code knows of errors only
        raise StepError(said)
    return "lintian -EI --pedantic says nothing"


def repositories(built: Built) -> str:
    """Make a repository of this version, and one with the next and with a backport from PyPI."""
    version = run(["dpkg-parsechangelog", "-S", "Version"]).strip()
    following = built.work / "next"
    shutil.copytree(built.directory, following)
    run(["debian/archive/apt-repo", built.directory])
    run(["debian/archive/deb", following], env={"DEB_VERSION": f"{version}.1"})
    shutil.copytree(built.directory / "apt-key", following / "apt-key", ignore=_sockets)
    run(["debian/archive/backport", BACKPORT], env={"BACKPORTS": str(following / "backports")})
    run(["debian/archive/apt-repo", following])
    shutil.move(following / "apt", built.directory / "next")
    return f"{version}; and {version}.1 with {BACKPORT} to upgrade to"


def _sockets(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(directory) / name).is_socket()]


def base(suite: str) -> Path:
    """Return the archive of a base system with systemd, made anew each week."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "wgmesh-package"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"{suite}.tar.gz"
    if not archive.exists() or archive.stat().st_mtime < time.time() - WEEK_SECONDS:
        new = cache / f"{suite}.{os.getpid()}.tar.gz"
        argv = ["mmdebstrap", "--quiet", "--variant=apt", "--include=systemd-sysv"]
        # A mirror may lag behind: testing's lists are good for a week.
        argv += ['--aptopt=Acquire::Check-Valid-Until "false"']
        try:
            run([*argv, suite, new, MIRROR])
            new.rename(archive)
        finally:
            new.unlink(missing_ok=True)
    return archive


def piuparts(suite: str, built: Built) -> str:
    """Install, remove and purge; whatever is left behind is an error."""
    release = run(["tar", "-xzOf", base(suite), "./usr/lib/os-release"])
    (codename,) = re.findall(r"^VERSION_CODENAME=(\w+)$", release, re.M)
    # The codename: an older piuparts has another one in mind for "testing".
    argv: list[str | Path] = ["piuparts", "--basetgz", base(suite), "--distribution", codename]
    argv += ["--no-eatmydata", "--mirror", f"{MIRROR} main", "--log-level=info", built.deb]
    said = run(argv, env={"TMPDIR": str(built.work)})
    return _last(r"PASS: .*", said)


def inside(suite: str, built: Built, *argv: str, network: bool) -> str:
    """Run `argv` in the suite's root, with the packages at /srv and this directory at /mnt."""
    nspawn = ["systemd-nspawn", "--quiet", f"--directory={built.work / suite}", "--register=no"]
    nspawn += ["--keep-unit", "--timezone=off", "--capability=CAP_NET_ADMIN"]
    nspawn += ["--bind=/dev/net/tun", f"--bind-ro={built.directory}:/srv"]
    nspawn += [f"--bind-ro={Path(__file__).parent}:/mnt"]
    nspawn += ["--resolv-conf=replace-host"] if network else ["--private-network"]
    return run([*nspawn, *argv])


def installed(suite: str, built: Built) -> str:
    """Install from the signed repository into a fresh root."""
    root = built.work / suite
    root.mkdir()
    run(["tar", "-xzf", base(suite), "-C", root])
    said = inside(suite, built, "sh", "/mnt/install.sh", network=True)
    return _last(r"wgmesh \S+ on the system", said)


def autopkgtest(suite: str, built: Built) -> str:
    """Run debian/tests against the installed package."""
    command = "cd /srv && autopkgtest wgmesh_*_all.deb wgmesh_*.dsc -- null"
    said = inside(suite, built, "sh", "-c", command, network=True)
    results = re.findall(r"^(?:\x1b\[0m)?(\S+) +PASS", said.rpartition("summary")[2], re.M)
    wanted = re.findall(r"^Tests: (\S+)", (TREE / "debian/tests/control").read_text(), re.M)
    if sorted(results) != sorted(wanted):
        raise StepError(said)
    return f"PASS: {', '.join(results)}"


def life(suite: str, built: Built) -> str:
    """Upgrade, remove and purge it on a node of a mesh."""
    return _last(r"the interface .*", inside(suite, built, "bash", "/mnt/life.sh", network=False))


def _last(pattern: str, said: str) -> str:
    """Return the last line of `said` that is `pattern`; there has to be one."""
    found = re.findall(rf"({pattern})\s*$", said, re.M)
    if not found:
        raise StepError(said)
    return str(found[-1])


def in_suite(suite: str, built: Built) -> bool:
    """Do all steps of one suite; return whether they passed."""
    try:
        for action in (piuparts, installed, autopkgtest, life):
            step(f"{suite} {action.__name__}", lambda action=action: action(suite, built))  # type: ignore[misc]
    except StepError:
        return False
    return True


def main(suites: Sequence[str]) -> int:
    """Do all steps and return 0 when everything passed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    with ExitStack() as stack:
        work = Path(tempfile.mkdtemp(prefix="wgmesh-check.", dir="/var/tmp"))
        stack.callback(run, ["rm", "-rf", "--one-file-system", work])
        built = Built(work)
        try:
            step("reproducible", lambda: same_bytes(built))
            step("lintian", lambda: no_tag(built))
            step("repository", lambda: repositories(built))
        except StepError:
            return 1
        with ThreadPoolExecutor() as pool:
            passed = list(pool.map(lambda suite: in_suite(suite, built), suites))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or SUITES))
