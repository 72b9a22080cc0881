"""The software under test: the package of this checkout, and the repository that serves it."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.fleet.booted import BootedMachine
from tests.lab.machine import CHECKOUT, SAFE_PATH, CommandError, Machine
from tests.lab.wait import wait_until

KEYRING = "/etc/apt/keyrings/wgmesh.asc"
SOURCE = """\
Types: deb
URIs: http://{host}/
Suites: stable
Components: main
Signed-By: {keyring}
"""


def _run(argv: Sequence[str | Path], directory: Path, *, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        argv,
        cwd=directory,
        env={"PATH": SAFE_PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"} | (env or {}),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        said = f"{done.stdout}{done.stderr}"
        raise CommandError(f"{' '.join(map(str, argv))} exited {done.returncode}\n{said}")
    return done.stdout


def version() -> str:
    """Return the version that this checkout is."""
    found = re.search(
        r'^__version__ = "(.+)"$', (CHECKOUT / "wgmesh/__init__.py").read_text(), re.M
    )
    assert found, "no __version__"
    return found[1]


def build(directory: Path, *, newer: bool = False) -> None:
    """Put the package of this checkout into `directory`, as `make deb` does.

    `newer`: one that is the next version instead, and differs in nothing else.
    """
    if not newer:
        _run([CHECKOUT / "debian/archive/deb", directory], CHECKOUT)
        return
    tree = directory / "newer"
    tree.mkdir()
    listed = _run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], CHECKOUT)
    for name in filter(None, listed.split("\0")):
        source, copy = CHECKOUT / name, tree / name
        if source.exists() or source.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    old, new = version(), f"{version()}.1"
    _replace(tree / "wgmesh/__init__.py", f'"{old}"', f'"{new}"')
    _replace(tree / "debian/changelog", f"({old})", f"({new})")
    _run([tree / "debian/archive/deb", directory], tree)
    shutil.rmtree(tree)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path}: no {old}"
    path.write_text(text.replace(old, new, 1))


class Repository:
    """A signed apt repository and the web server in front of it, on a machine of the lab."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.machine = machine
        self.directory = directory
        self._server: subprocess.Popen[str] | None = None

    def publish(self, *, newer: bool = False) -> None:
        """Build the package (or its next version), and sign a repository of all there is."""
        self.directory.mkdir(exist_ok=True)
        build(self.directory, newer=newer)
        _run([CHECKOUT / "debian/archive/apt-repo", self.directory], CHECKOUT)

    def start(self) -> None:
        """Start serving; returns once the port answers."""
        argv = [
            self.machine.python,
            "-m",
            "http.server",
            "--directory",
            str(self.directory / "apt"),
            "80",
        ]
        self._server = self.machine.popen(
            argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._listens, 20, "the apt repository is served")

    def add_to(self, machine: BootedMachine) -> None:
        """Do as the documentation says: the key, a deb822 source, apt-get update."""
        machine.write(KEYRING, (self.directory / "apt/wgmesh.asc").read_text())
        text = SOURCE.format(host=self.machine.ipv4, keyring=KEYRING)
        machine.write("/etc/apt/sources.list.d/wgmesh.sources", text)
        machine.run(["apt-get", "update"])

    def _listens(self) -> bool:
        return ":80 " in self.machine.run(["ss", "-Hltn", "sport = 80"]).stdout
