"""Judges mutants: a fork of this process for each, in which the tests that reach it run."""

import contextlib
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from _pytest.runner import SetupState

from tests.mutate.changes import Mutant
from tests.mutate.cover import Cover, Covered, copy_home, passes
from tests.mutate.swap import swap
from tests.unit.gpg import GpgHome

CPU_SECONDS = 5
"""What a fork may compute for one test, and five times what that took unchanged; the programs that
it starts do not count. More is noticed."""

MEMORY_BYTES = 4 << 30

FIRST = 4
"""Tests that are tried before all others: those that noticed something of the same place last."""

SURVIVED, FAILED, STUCK, BROKEN = 0, 1, 2, 3


@dataclass(frozen=True)
class Verdict:
    """How a trial ended: `by` is the test that noticed, or a word for what else did."""

    mutant: Mutant
    survives: bool
    by: str
    tests: int


@dataclass
class Trial:
    """A mutant, the tests that reach it, and the fork that runs them."""

    mutant: Mutant
    tests: Sequence[Covered]
    place: Path
    pid: int = 0
    end: float = 0

    def start(self, cover: Cover) -> None:
        self.place.mkdir()
        self.end = time.monotonic() + 300 + 30 * sum(test.seconds for test in self.tests)
        self.pid = os.fork()
        if not self.pid:
            code = BROKEN
            with contextlib.suppress(BaseException):
                code = self._run(cover)
            os._exit(code)

    def ended(self) -> Verdict | None:
        """Return the verdict, None while the tests run."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid and time.monotonic() > self.end:
            os.killpg(self.pid, signal.SIGKILL)
            pid, status = os.waitpid(self.pid, 0)
        if not pid:
            return None
        code = os.waitstatus_to_exitcode(status)
        said = self.place / "by"
        by = said.read_text() if said.exists() else "the import" if code == BROKEN else "a limit"
        shutil.rmtree(self.place, ignore_errors=True)
        return Verdict(self.mutant, code == SURVIVED, by if code else "", len(self.tests))

    def _run(self, cover: Cover) -> int:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # its signal ends the fork
        tempfile.tempdir = os.environ["TMPDIR"] = str(self.place)
        if not swap(self.mutant):
            return self._run_anew()
        cover.forget()
        homes = _own_homes(cover, self.tests)
        try:
            for test in self.tests:
                test.item.config._tmp_path_factory._basetemp = self.place  # type: ignore[attr-defined]
                test.item.session._setupstate = SetupState()
                signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + 5 * test.cpu_seconds)
                if not passes(test.item):
                    (self.place / "by").write_text(test.item.nodeid)
                    return FAILED
        finally:
            for home in homes:
                home.__exit__(None, None, None)
        return SURVIVED

    def _run_anew(self) -> int:
        text = self.place / "text"
        text.write_text(self.mutant.text)
        argv = [sys.executable, "-m", "tests.mutate.fresh", self.mutant.file, str(text)]
        argv += [test.item.nodeid for test in self.tests]
        done = subprocess.run(argv, check=False, stdout=subprocess.PIPE)
        if not done.returncode:
            return SURVIVED
        failed = [line for line in done.stdout.decode().splitlines() if line.startswith("FAILED ")]
        by = failed[0].split(" ")[1] if failed else "the import"
        (self.place / "by").write_text(by)
        return FAILED


def _own_homes(cover: Cover, tests: Sequence[Covered]) -> list[GpgHome]:
    """Give each home of gpg that the tests use to this fork alone: they change it."""
    modules = {test.item.nodeid.partition("::")[0] for test in tests}
    homes = []
    for module, home, copy in cover.homes:
        if module in modules:
            home.path = Path(tempfile.mkdtemp(prefix="gpg-"))
            copy_home(copy, home.path)
            homes.append(home)
    return homes


@dataclass
class Order:
    """Chooses the tests of a mutant, the ones first that are likely to notice it."""

    tests: Sequence[Covered]
    meant: Callable[[str, str], bool]  # is a file of tests there for a file of wgmesh/trust/
    noticed: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def of(self, mutant: Mutant, most: int) -> list[Covered]:
        """Return up to `most` tests that run the changed statement.

        One of a module or a class, or one that only an import runs, counts as run by all that run
        anything of the file.
        """
        file = mutant.file
        if mutant.scope == "everything":
            return list(self.tests)
        lines = {(file, line) for line in mutant.lines if mutant.scope == "function"}
        found = [test for test in self.tests if test.runs(lines)]
        if not any(not test.whole for test in found):
            found = [
                test
                for test in self.tests
                if test.whole or any(line[0] == file for line in test.lines)
            ]
        near = [(file, line) for line in range(mutant.line - 2, mutant.lines.stop + 5)]
        weights = {line: 1 / (1 + sum(line in test.lines for test in self.tests)) for line in near}
        last = self.noticed.get((file, mutant.place), [])[-FIRST:]

        def rank(test: Covered) -> tuple[int, float]:
            name = test.item.nodeid
            rare = sum(weight for line, weight in weights.items() if line in test.lines)
            first = -1 - last.index(name) if name in last else 0
            return first, -(rare + 0.01) / (test.seconds + 0.02)

        meant = (test for test in found if self.meant(test.item.path.name, file))
        return sorted(meant, key=rank)[:most]

    def learn(self, verdict: Verdict) -> None:
        """Remember which test noticed a mutant."""
        if "::" in verdict.by:
            names = self.noticed.setdefault((verdict.mutant.file, verdict.mutant.place), [])
            names[:] = [*(name for name in names if name != verdict.by), verdict.by]


def judged(
    mutants: Sequence[Mutant], cover: Cover, order: Order, workers: int, most: int
) -> Iterator[Verdict]:
    """Yield the verdict on each mutant, as it is known; `workers` at a time."""
    left, running = list(mutants), list[Trial]()
    number = 0
    gc.collect()
    gc.freeze()  # a fork that collects garbage would get copies of all that there is
    with tempfile.TemporaryDirectory(prefix="mutants-", dir=memory()) as directory:
        while left or running:
            while left and len(running) < workers:
                number += 1
                mutant = left.pop(0)
                trial = Trial(mutant, order.of(mutant, most), Path(directory) / str(number))
                running.append(trial)
                trial.start(cover)
            time.sleep(0.01)
            for trial in list(running):
                verdict = trial.ended()
                if verdict is not None:
                    running.remove(trial)
                    order.learn(verdict)
                    yield verdict


def memory() -> str | None:
    """Return a directory in memory, if there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class Judge:
    """A plugin of pytest that runs the tests as they are, and then `then` with what they cover."""

    def __init__(self, then: Callable[[Cover, list[str]], int]) -> None:
        self.cover = Cover()
        self.then = then
        self.code = 2

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do that in the place of a run of the tests."""
        session.config.pluginmanager.register(self.cover)
        try:
            failed = self.cover.run(session)
            self.code = self.then(self.cover, failed)
        finally:
            self.cover.close(session)
        return True
