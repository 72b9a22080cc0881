"""Settings for the whole folder."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from .signing import Keys
from .team import ROLES, Team

# How long one example takes says more about the machine's load than about the code; pytest-timeout
# ends a hang. With CI set, hypothesis chooses a profile that does the same and is repeatable. `make
# soak` tries far more.
if "WGMESH_SOAK" in os.environ:
    settings.register_profile("soak", deadline=None, max_examples=20_000)
    settings.load_profile("soak")
elif "WGMESH_MUTANT" in os.environ:
    settings.register_profile("mutant", deadline=None, derandomize=True, max_examples=30)
    settings.load_profile("mutant")
elif "CI" not in os.environ:
    settings.register_profile("wgmesh", deadline=None)
    settings.load_profile("wgmesh")


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """Undo what a command line run in this process did to the log."""
    logger = logging.getLogger("wgmesh")
    before = (logger.handlers, logger.level, logger.propagate, logging.raiseExceptions)
    yield
    logger.handlers, level, logger.propagate, logging.raiseExceptions = before
    logger.setLevel(level)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Return the key pairs of everybody."""
    return Keys(tmp_path_factory.mktemp("keys")).make()


@pytest.fixture
def team(tmp_path: Path, keys: Keys, request: pytest.FixtureRequest) -> Iterator[Team]:
    """Return a team; indirectly parametrized: with these rules."""
    made = Team.meet(tmp_path, keys, getattr(request, "param", ROLES))
    yield made
    made.close()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine's clock be set to another time zone than UTC."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "EST5")
        time.tzset()
        yield
    time.tzset()
