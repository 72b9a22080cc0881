"""Fixtures of the fleet: machines that the tests share, and their journals when a test fails."""

import os
import shutil
import signal
from collections.abc import Generator, Iterator

import pytest

from tests.fleet import mesh as meshes
from tests.fleet.fleet import Fleet
from tests.fleet.mesh import TimedMesh
from tests.fleet.roots import SUITES
from tests.fleet.software import Repository
from tests.lab.machine import SAFE_PATH
from tests.lab.world import leftovers

PROGRAMS = ["bash", "git", "ip", "mmdebstrap", "nft", "nsenter", "ssh-keygen", "systemd-nspawn"]
PROGRAMS += ["unshare", "dpkg-deb", "apt-ftparchive", "gpg"]
TEST_SECONDS = 600  # the first one may make the roots and the package
JOURNAL_LINES = 150

running: list[Fleet] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of the fleet the time that machines need."""
    for item in items:
        if "tests/fleet/" in item.nodeid:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the journals of the machines to the report of a test that failed."""
    report = yield
    if report.failed:
        for fleet in running:
            for name, machine in fleet.booted.items():
                if machine.running:
                    text = machine.journal("-n", str(JOURNAL_LINES))
                    report.sections.append((f"journal of {name}", text))
    return report


@pytest.fixture(scope="session", autouse=True)
def _host() -> Iterator[None]:
    """Refuse a machine that cannot hold a fleet; at the end, find what was left behind.

    A run whose time is up (SIGTERM) ends like one that somebody interrupts: it tells what failed.
    """
    if os.geteuid() != 0:
        pytest.exit("tests/fleet boots machines: run it as root (sudo make fleet)", 4)
    missing = [program for program in PROGRAMS if shutil.which(program, path=SAFE_PATH) is None]
    if missing:
        pytest.exit(f"tests/fleet needs {', '.join(missing)}: run `make fleet`", 4)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)
    assert leftovers() == []


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Boot one machine of each suite: alpha, bravo, charlie."""
    with Fleet(dict(zip(("alpha", "bravo", "charlie"), SUITES, strict=True))) as fleet:
        running.append(fleet)
        yield fleet
        running.remove(fleet)


@pytest.fixture(scope="session")
def repository(fleet: Fleet) -> Repository:
    """Serve the package of this checkout from a signed repository."""
    repository = Repository(fleet.mirror, fleet.directory / "software")
    repository.publish()
    repository.start()
    return repository


@pytest.fixture(scope="session")
def joined(fleet: Fleet, repository: Repository) -> TimedMesh:
    """Install wgmesh on alpha, bravo and charlie, and let them join; all forward."""
    meshes.install(fleet.booted.values(), repository)
    mesh = TimedMesh(fleet)
    for name in fleet.booted:  # so that each has a firewall table, which is to be guarded
        mesh.fields[name] = {"forwarding": True}
    mesh.join_all(("alpha", "bravo", "charlie"))
    mesh.wait_for_tunnels()
    return mesh


@pytest.fixture
def mesh(joined: TimedMesh) -> TimedMesh:
    """Give the mesh in a good state: all nodes run the newest commit and reach one another.

    Whatever a test that failed has left: the next one does not fail for it.
    """
    head = joined.author.pull()
    try:
        assert all(joined.follows(name, head) for name in joined.keys)
        joined.wait_for_tunnels()
    except AssertionError as error:
        print(f"the mesh is brought back to a good state: {error}")
        joined.settle()
    return joined
