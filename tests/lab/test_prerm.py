"""The package's prerm: what has begun ends before the modules are exchanged, or they stay."""

import subprocess
import time

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.wait import wait_until

LOCK = "/run/wgmesh/lock"
TURN = "/run/wgmesh/turn"
PRERM = CHECKOUT / "debian/prerm"


@pytest.fixture(scope="module")
def alpha(module_world_factory: WorldFactory) -> Machine:
    """Return a machine without systemd, on which somebody may be at work."""
    machine = module_world_factory(["alpha"])["alpha"]
    machine.run(["mkdir", "/run/wgmesh"])
    return machine


def prerm(machine: Machine, action: str, *, limit: int = 1300) -> subprocess.Popen[str]:
    """Start the script; `limit` is how many seconds it waits."""
    text = PRERM.read_text()
    assert "limit=1300\n" in text
    machine.write("/run/prerm", text.replace("limit=1300\n", f"limit={limit}\n"), 0o755)
    return machine.popen(["/run/prerm", action, "1.0"])


@pytest.mark.parametrize("action", ["upgrade", "remove"])
def test_nobody_is_at_work(alpha: Machine, action: str) -> None:
    for _ in range(2):  # without a lock, and with one that nobody holds
        child = prerm(alpha, action)
        assert child.communicate(timeout=30) == ("", "") and child.returncode == 0
        alpha.run(["touch", LOCK])
    alpha.run(["rm", LOCK])


@pytest.mark.parametrize("lock", [LOCK, TURN])
@pytest.mark.parametrize("action", ["upgrade", "remove"])
def test_it_waits_for_the_end(alpha: Machine, action: str, lock: str) -> None:
    holder = alpha.popen(["flock", lock, "cat"], stdin=subprocess.PIPE)
    wait_until(lambda: alpha.pids("cat"), 20, "somebody is at work")
    child = prerm(alpha, action)
    assert child.stderr is not None
    assert child.stderr.readline() == "waiting for wgmesh to end what it is at\n"
    assert child.poll() is None
    holder.communicate()
    assert child.wait(30) == 0


def test_what_does_not_end_keeps_its_modules(alpha: Machine) -> None:
    holder = alpha.popen(["flock", LOCK, "cat"], stdin=subprocess.PIPE)
    wait_until(lambda: alpha.pids("cat"), 20, "somebody is at work")
    child = prerm(alpha, "upgrade", limit=2)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 1 and "still at work" in said
    began = time.monotonic()
    child = prerm(alpha, "failed-upgrade")  # by the new package, when the old one's has failed
    _, said = child.communicate(timeout=30)
    assert child.returncode == 1 and time.monotonic() - began < 20
    holder.communicate()
    assert prerm(alpha, "failed-upgrade").wait(30) == 0
