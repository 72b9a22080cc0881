"""Runs every test once with nothing changed: which lines of wgmesh/trust/ it runs, and how long."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from _pytest.runner import SetupState, runtestprotocol

from tests.unit.gpg import GpgHome

TRUST = Path(__file__).parents[2] / "wgmesh" / "trust"

DEAR = {"test_trust_differential": ("cases", "theirs")}
"""Functions of tests that make keys and ask ssh-keygen: the cases stay, so do the verdicts."""

Line = tuple[str, int]
"""A line of a file of wgmesh/trust/."""

Tracer = Callable[..., Any]
"""What sys.settrace() wants."""


@dataclass
class Covered:
    """A test, the lines that it runs, and the seconds that it takes; of those, computing here."""

    item: pytest.Item
    lines: set[Line] = field(default_factory=set)
    seconds: float = 0
    cpu_seconds: float = 0
    whole: bool = False

    def runs(self, lines: set[Line]) -> bool:
        """Return whether the test runs any of these lines."""
        return self.whole or not lines.isdisjoint(self.lines)


class Cover:
    """Runs tests, and keeps the fixtures of their modules for the forks that come later.

    Those are real keys and homes of gpg, which are dear to make. One that runs code of
    wgmesh/trust/ itself is made anew in each fork, and counts for all tests of its module.
    """

    def __init__(self) -> None:
        self.tests: list[Covered] = []
        self._lines = set[Line]()
        self._of_modules: dict[str, set[Line]] = {}
        self._modules = set[str]()
        self._impure: list[pytest.FixtureDef[Any]] = []
        self.homes: list[tuple[str, GpgHome, Path]] = []
        """Homes of gpg by their module, with a copy from before the tests changed them."""
        self._states: list[SetupState] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Note what the fixtures of modules run, and which homes of gpg they make."""
        outer, self._lines = self._lines, set()
        try:
            value = yield
        finally:
            inner, self._lines = self._lines, outer
            if fixturedef.scope == "function":
                self._lines |= inner
            elif inner:
                module = request.node.nodeid.partition("::")[0]
                self._of_modules.setdefault(module, set()).update(inner)
                self._impure.append(fixturedef)
        return value

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Function) -> Generator[None, None, None]:
        """Make all fixtures of a module before its first test."""
        yield
        module = item.nodeid.partition("::")[0]
        if module in self._modules:
            return
        self._modules.add(module)
        there = [each for each in item.session.items if each.nodeid.partition("::")[0] == module]
        made = {
            name
            for each in there
            for name, found in each._fixtureinfo.name2fixturedefs.items()  # type: ignore[attr-defined]  # a function's
            if found[-1].scope == "module"
        }
        for name in sorted(made):
            value = item._request.getfixturevalue(name)
            if isinstance(value, GpgHome):
                self.homes.append((module, value, value.path.with_name(f"{value.path.name}.0")))
        for home in self.homes:
            if home[0] == module:
                copy_home(home[1].path, home[2])

    def run(self, session: pytest.Session) -> list[str]:
        """Run all tests of the session; return those that fail, which should be none."""
        failed = []
        for item in session.items:
            _remember(item)
        traced = self._called
        threading.settrace(traced)
        try:
            for item in session.items:
                self._lines = set()
                sys.settrace(traced)
                began = time.process_time(), time.monotonic()
                if not passes(item):
                    failed.append(item.nodeid)
                cpu, seconds = time.process_time() - began[0], time.monotonic() - began[1]
                # A stack that overflows takes the tracing away: such a test may run everything.
                whole = sys.gettrace() is not traced
                self.tests.append(Covered(item, self._lines, seconds, cpu, whole=whole))
                following = session.items[len(self.tests) :]
                if not following or following[0].getparent(pytest.Module) is not item.getparent(
                    pytest.Module
                ):
                    self._keep(session)
        finally:
            sys.settrace(None)
            threading.settrace(None)
        for test in self.tests:
            test.lines |= self._of_modules.get(test.item.nodeid.partition("::")[0], set())
        return failed

    def close(self, session: pytest.Session) -> None:
        """Take the fixtures down that were kept."""
        for state in self._states:
            session._setupstate = state
            state.teardown_exact(None)
        for *_, copy in self.homes:
            shutil.rmtree(copy, ignore_errors=True)

    def forget(self) -> None:
        """In a fork: have fixtures that run code of wgmesh/trust/ made anew."""
        for fixture in self._impure:
            fixture.cached_result = None
            fixture._finalizers.clear()

    def _keep(self, session: pytest.Session) -> None:
        """Leave the fixtures of a module as they are, and begin with none of them on the stack."""
        self._states.append(session._setupstate)
        session._setupstate = SetupState()

    def _called(self, frame: FrameType, *_: object) -> Tracer | None:
        path = frame.f_code.co_filename
        if "wgmesh/trust/" not in path:
            return None
        name = path.rpartition("/")[2]
        self._lines.add((name, frame.f_lineno))

        def ran(frame: FrameType, *_: object) -> Tracer:
            self._lines.add((name, frame.f_lineno))
            return ran

        return ran


def copy_home(path: Path, to: Path) -> None:
    """Copy a home of gpg, without the sockets and locks of its agent."""
    ignored = shutil.ignore_patterns("S.*", ".#*", "*.lock")
    shutil.copytree(path, to, ignore=ignored, dirs_exist_ok=True)


def passes(item: pytest.Item) -> bool:
    """Run a test, with what it needs before and after; return whether it passes."""
    reports = runtestprotocol(item, log=False, nextitem=_Module(item))  # type: ignore[arg-type]
    return not any(report.failed for report in reports)


def _remember(item: pytest.Item) -> None:
    """Have what is dear in a test, and runs no code of wgmesh, done once and not in each fork."""
    module = sys.modules[item.module.__name__]  # type: ignore[attr-defined]  # a function's
    for name in DEAR.get(module.__name__.rpartition(".")[2], ()):
        function = vars(module)[name]
        if not hasattr(function, "answers"):
            setattr(module, name, _Remembered(function))


class _Remembered:
    """A function that answers once for each object that it is given first."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.answers: dict[int, object] = {}

    def __call__(self, *args: object) -> object:
        about = id(args[0]) if args else 0
        if about not in self.answers:
            self.answers[about] = self.function(*args)
        return self.answers[about]


class _Module:
    """Stands for a next test in the same module, which is then not taken down."""

    def __init__(self, item: pytest.Item) -> None:
        self._chain = item.listchain()[:-1]

    def listchain(self) -> list[Any]:
        return self._chain
