"""`python -m tests.mutate [FILE…]` says which changes of wgmesh/trust/ no test notices.

Each mutant is loaded by a fork of this process in the place of the real module, and the tests of
that module run until one fails. What survives is printed, unless survivors.md has it with the
reason why it may.
"""

import argparse
import fnmatch
import importlib
import importlib.abc
import importlib.util
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tests.mutate.changes import Mutant, mutants

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
TRUST = ROOT / "wgmesh" / "trust"
LISTED = Path(__file__).with_name("survivors.md")
SECONDS = 240
KILLERS = 8
"""Tests that are tried before all others: those that have noticed something last."""
CHAIN = ("trust_chain", "trust_accepted", "trust_refused")
TESTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "commit": (("trust_commit",), CHAIN),
    "objects": (("trust_commit",), CHAIN),
    "signers": (("trust_signers",), CHAIN),
    "fingerprint": (("trust_fingerprint",), CHAIN),
    "sshkey": (("trust_sshsig", "trust_signers"), ("trust_differential",)),
    "sshsig": (("trust_sshsig",), ("trust_differential",)),
    "packets": (("trust_openpgp",), ("gpgv",)),
    "openpgp": (("trust_openpgp",), ("gpgv",)),
    "policy": (("trust_policy",), CHAIN),
    "agreement": (("trust_agreement",), CHAIN),
}
"""Tests of a module: the second ones when the first ones notice nothing."""

OTHERS = (("trust_chain",), ("trust_accepted", "trust_refused", "trust_agreement", "trust_policy"))
_ENTRY = re.compile(r"- `(\S+)` (\S+): `(.*)` → `(.*)`: .+")


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = f"wgmesh.trust.{mutant.file.removesuffix('.py')}"
        self.mutant = mutant

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(TRUST / self.mutant.file))

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.text, f"mutant of {self.mutant.file}", "exec"), module.__dict__)


@dataclass
class Trial:
    """A mutant, the tests that it still has to face, and the fork that runs the first of them."""

    number: int
    mutant: Mutant
    stages: list[tuple[str, ...]]
    place: Path
    pid: int = 0
    end: float = 0

    @property
    def killer(self) -> Path:
        """Where the fork leaves the name of the test that failed."""
        return self.place.with_suffix(".killer")

    def start(self) -> None:
        """Fork, and run the tests there."""
        tests = self.stages.pop(0)
        self.end = time.monotonic() + SECONDS
        self.pid = os.fork()
        if not self.pid:
            os._exit(test(self.mutant, tests, self.place, self.killer))

    def survives(self) -> bool | None:
        """Return whether no test notices the mutant, None while they run.

        One that takes too long is noticed.
        """
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        late = not ended and time.monotonic() > self.end
        if late:
            os.killpg(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        elif not ended:
            return None
        shutil.rmtree(self.place, ignore_errors=True)
        if status:
            return False
        if self.stages:
            self.start()
            return None
        return True


class Witness:
    """A plugin that writes down which test failed first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        if report.failed and not self.path.exists():
            self.path.write_text(report.nodeid)


def test(mutant: Mutant, tests: Iterable[str], place: Path, killer: Path) -> int:
    """Run the tests with a mutant, in a process of its own; return 0 when all pass."""
    os.setsid()
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    try:
        import pytest

        sys.meta_path.insert(0, Loader(mutant))
        os.environ["WGMESH_MUTANT"] = mutant.file  # fewer examples, see tests/unit/conftest.py
        files = [name if "::" in name else f"tests/unit/test_{name}.py" for name in tests]
        args = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={place}", "--timeout=60"]
        return int(pytest.main([*args, *files], plugins=[Witness(killer)]))
    except BaseException:  # an end of any kind is a test that noticed
        return 70


def judged(all_mutants: Sequence[Mutant], workers: int) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant with whether it survives, as it is known; `workers` at a time."""
    left, running = list(enumerate(all_mutants)), list[Trial]()
    killers: dict[str, list[str]] = {}  # tests that noticed other mutants of the same file
    with tempfile.TemporaryDirectory(prefix="wgmesh-mutants-", dir=_memory()) as directory:
        while left or running:
            while left and len(running) < workers:
                number, mutant = left.pop(0)
                stages = list(TESTS.get(mutant.file.removesuffix(".py"), OTHERS))
                known = killers.get(mutant.file, [])
                stages[:0] = [tuple(reversed(known[-KILLERS:]))] if known else []
                running.append(Trial(number, mutant, stages, Path(directory) / str(number)))
                running[-1].start()
            time.sleep(0.02)
            for trial in list(running):
                survived = trial.survives()
                if survived is not None:
                    running.remove(trial)
                    if trial.killer.exists():
                        names = killers.setdefault(trial.mutant.file, [])
                        name = trial.killer.read_text()
                        names[:] = [*(each for each in names if each != name), name]
                    yield trial.mutant, survived


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def listed() -> list[tuple[str, str, str, str]]:
    """Return what may survive: file, place, line before and after, as patterns."""
    if not LISTED.is_file():
        return []
    found = [_ENTRY.fullmatch(line) for line in LISTED.read_text().splitlines()]
    return [(match[1], match[2], match[3], match[4]) for match in found if match]


def is_listed(mutant: Mutant, entries: Sequence[tuple[str, str, str, str]]) -> bool:
    """Return whether a mutant is among those that may survive; `*` stands for anything."""
    parts = (mutant.file, mutant.place, mutant.before, mutant.after)
    return any(
        all(
            part == pattern or ("*" in pattern and fnmatch.fnmatchcase(part, pattern))
            for part, pattern in zip(parts, entry, strict=True)
        )
        for entry in entries
    )


def main() -> int:
    """Run over the files that are named, or all of wgmesh/trust/; 1 when one survives unlisted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="as sshkey.py; all when left out")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--list", action="store_true", help="only say which mutants there are")
    arguments = parser.parse_args()
    names = arguments.files or sorted(path.name for path in TRUST.glob("[a-z]*.py"))
    entries = listed()
    found = [
        mutant
        for name in names
        for mutant in mutants(TRUST / name)
        if not is_listed(mutant, entries)
    ]
    if arguments.list:
        for mutant in found:
            print(mutant.shown)
        return 0
    os.chdir(ROOT)
    preload()
    alive = 0
    for number, (mutant, survived) in enumerate(judged(found, arguments.workers), 1):
        if survived:
            alive += 1
            print(f"{mutant.shown}: {mutant.file}:{mutant.line}", flush=True)
        if number % 100 == 0:
            print(f"{number} of {len(found)}, {alive} survive", file=sys.stderr, flush=True)
    print(f"{len(found)} mutants, {alive} survive unlisted", file=sys.stderr)
    return 1 if alive else 0


def preload() -> None:
    """Import what each fork needs, but nothing of wgmesh."""
    for name in ("cryptography.hazmat.primitives.asymmetric.rsa", "git", "hypothesis", "pytest"):
        importlib.import_module(name)
    assert not any(name.startswith("wgmesh") for name in sys.modules)


if __name__ == "__main__":
    sys.exit(main())
