"""The metrics of a real node: written by each sync, where node-exporter is installed."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh

FILE = "/var/lib/prometheus/node-exporter/wgmesh.prom"
DIRECTORY = "/var/lib/prometheus/node-exporter"
POLICY = "/etc/wgmesh/wgmesh.toml"

Samples = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes that have nothing left to do."""
    made = Mesh(module_world_factory(["alpha", "bravo"]))
    for name in ("alpha", "bravo"):
        made.world[name].run(["rm", "-rf", DIRECTORY])
    made.bring_up("alpha", "bravo")
    return made


@pytest.fixture
def alpha(mesh: Mesh) -> Machine:
    """Return a node of the mesh."""
    return mesh.world["alpha"]


def samples(machine: Machine) -> Samples:
    """Return the values by name and labels' values, as Prometheus' own parser reads them."""
    families = text_string_to_metric_families(machine.read(FILE))
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_nothing_is_written_without_an_exporter(alpha: Machine) -> None:
    alpha.wgmesh("sync")
    assert not alpha.exists(DIRECTORY)


def test_each_sync_writes(mesh: Mesh, alpha: Machine) -> None:
    alpha.run(["mkdir", "-p", DIRECTORY])
    alpha.wgmesh("sync")
    found, shown = samples(alpha), mesh.status("alpha")
    assert found["wgmesh_state", "in-sync"] == 1
    assert found["wgmesh_generation",] == shown["generation"]
    assert found["wgmesh_commit_info", mesh.author.head] == 1
    assert found["wgmesh_peer_up", "bravo"] == 1
    assert 0 <= found["wgmesh_peer_handshake_age_seconds", "bravo"] < 180
    assert 0 < found["wgmesh_peer_receive_bytes_total", "bravo"] <= shown["peers"][0]["rx_bytes"]
    assert alpha.run(["stat", "-c", "%a %U", FILE]).stdout == "644 root\n"
    assert alpha.run(["ls", "-A", DIRECTORY]).stdout == "wgmesh.prom\n"
    key = alpha.read("/etc/wireguard/wg0.key").strip()
    assert key not in alpha.read(FILE)
    before = found["wgmesh_last_sync_timestamp_seconds",]
    alpha.run(["rm", FILE])
    alpha.wgmesh("sync")
    assert samples(alpha)["wgmesh_last_sync_timestamp_seconds",] >= before


def test_what_goes_wrong_shows(mesh: Mesh, alpha: Machine) -> None:
    alpha.wgmesh("hold")
    mesh.world.forge.stop()
    try:
        assert alpha.wgmesh("sync", check=False).returncode == 5
    finally:
        mesh.world.forge.start()
    found = samples(alpha)
    assert found["wgmesh_last_sync_outcome", "unreachable"] == 1
    assert found["wgmesh_last_sync_outcome", "in-sync"] == 0
    assert found["wgmesh_held",] == 1
    alpha.wgmesh("resume")
    assert samples(alpha)["wgmesh_held",] == 0
    alpha.wgmesh("sync")


def test_a_directory_that_is_read_only(mesh: Mesh, alpha: Machine) -> None:
    alpha.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", DIRECTORY])
    done = alpha.wgmesh("sync")
    assert "metrics cannot be written" in done.stderr
    alpha.run(["umount", DIRECTORY])


def test_another_place_and_none(alpha: Machine) -> None:
    alpha.write(POLICY, 'metrics = "/run/mine.prom"\n')
    alpha.wgmesh("sync")
    assert "wgmesh_peer_up" in alpha.read("/run/mine.prom")
    alpha.run(["rm", FILE])
    alpha.write(POLICY, 'metrics = ""\n')
    alpha.wgmesh("sync")
    assert not alpha.exists(FILE)
    alpha.run(["rm", POLICY])


@pytest.mark.parametrize("make", ["mkfifo X", "mkdir X", "mknod X c 1 3", "ln -s /run/kept X"])
def test_what_is_no_plain_file_is_not_replaced(alpha: Machine, make: str) -> None:
    alpha.write("/run/kept", "kept\n")
    alpha.run(["sh", "-c", make.replace("X", "/run/odd.prom")])
    look = ["stat", "-c", "%F %t %T %N", "/run/odd.prom"]
    before = alpha.run(look).stdout
    alpha.write(POLICY, 'metrics = "/run/odd.prom"\n')
    try:
        done = alpha.wgmesh("sync")
        assert "/run/odd.prom is no plain file" in done.stderr
        assert alpha.run(look).stdout == before
        assert alpha.read("/run/kept") == "kept\n"
    finally:
        alpha.run(["rm", "-r", "/run/odd.prom", POLICY])


def test_leaving_leaves_what_is_not_ours(mesh: Mesh) -> None:
    bravo = mesh.world["bravo"]
    bravo.run(["mknod", "/run/odd.prom", "c", "1", "3"])
    bravo.write(POLICY, 'metrics = "/run/odd.prom"\n')
    bravo.wgmesh("leave")
    assert bravo.run(["stat", "-c", "%F", "/run/odd.prom"]).stdout.startswith("character special")


def test_leaving_takes_them_away(mesh: Mesh, alpha: Machine) -> None:
    alpha.wgmesh("sync")
    assert alpha.exists(FILE)
    alpha.wgmesh("leave")
    assert not alpha.exists(FILE)
