"""A mesh across the Debian versions, installed by apt and driven by the real timers."""

from tests.fleet.mesh import DELAY_SECONDS, POLL_SECONDS, TIMERS, TURN_SECONDS, TimedMesh
from tests.lab.wait import wait_until

NAMES = ("alpha", "bravo", "charlie")


def test_the_mesh_spans_the_debian_versions(mesh: TimedMesh) -> None:
    versions = {mesh[name].read("/etc/debian_version") for name in NAMES}
    assert len(versions) == 3
    mesh.wait_for_tunnels(*NAMES)
    for name in NAMES:
        done = mesh[name].wgmesh("status")
        assert "in-sync" in done.stdout
        assert mesh[name].run(["systemctl", "is-system-running"]).stdout == "running\n"


def test_status_is_for_everybody(mesh: TimedMesh) -> None:
    argv = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "wgmesh", "status"]
    assert "in-sync" in mesh["bravo"].run(argv).stdout


def test_the_timers_poll_as_the_policy_says(mesh: TimedMesh) -> None:
    shown = mesh["bravo"].unit("wgmesh-sync.timer", "TimersMonotonic")
    assert f"OnUnitInactiveUSec={POLL_SECONDS}s" in shown
    delay = mesh["bravo"].unit("wgmesh-sync.timer", "RandomizedDelayUSec")
    assert delay == f"{DELAY_SECONDS}s"


def test_a_merged_commit_reaches_all_within_an_interval(mesh: TimedMesh) -> None:
    """Nobody types anything: a pull request lands, and all follow within a turn of the timer."""
    plain = mesh.entry("bravo", mesh.keys["bravo"], {"allowed_ips": ["192.168.50.0/24"]})
    mesh.author.propose("network", {"nodes/bravo.toml": plain}, "bravo's network")
    commit = mesh.author.merge("network")
    took = mesh.converge(commit)
    assert took < TURN_SECONDS
    for name in ("alpha", "charlie"):
        route = mesh[name].run(["ip", "route", "show", "192.168.50.0/24"]).stdout
        assert "dev wg0 proto 101" in route
    mesh.converge(mesh.change("bravo's network goes"))
    assert mesh["alpha"].run(["ip", "route", "show", "192.168.50.0/24"]).stdout == ""


def test_a_harmful_commit_is_taken_back_by_the_service(mesh: TimedMesh) -> None:
    bravo = mesh["bravo"]
    before = mesh.runs("bravo")
    with mesh.fleet.internet.block_udp_port("bravo", 4500):
        harmful = mesh.change("Move bravo's port", bravo={"listen_port": 4500})
        state = wait_until(
            lambda: (mesh.shown("bravo") or {}).get("state") == "rolled-back",
            TURN_SECONDS + 45,
            "bravo rolls back",
        )
        assert state
    assert mesh.runs("bravo") == before
    assert bravo.run(["wg", "show", "wg0", "listen-port"]).stdout == "51820\n"
    mesh.wait_for_tunnels()

    done = bravo.wgmesh("status", check=False)
    assert done.returncode == 7
    assert "rolled-back" in done.stdout and harmful[:12] in done.stdout
    assert "rolled back" in bravo.journal("-u", "wgmesh-sync.service")
    # a rollback is what systemd calls a failure: it is seen where people look for failures
    assert bravo.unit("wgmesh-sync.service", "ExecMainStatus") in ("0", "6")

    mesh.converge(mesh.change("bravo stays"))
    assert "in-sync" in bravo.wgmesh("status").stdout


def test_rollback_hold_and_resume_as_typed(mesh: TimedMesh) -> None:
    alpha = mesh["alpha"]

    def keepalives() -> set[str]:
        shown = alpha.run(["wg", "show", "wg0", "persistent-keepalive"]).stdout
        return {line.split("\t")[1] for line in shown.splitlines()}

    mesh.converge(mesh.change("Keep alive", alpha={"persistent_keepalive": 21}))
    assert keepalives() == {"21"}
    assert "generation" in alpha.wgmesh("rollback").stdout
    assert keepalives() == {"off"}
    assert "held" in alpha.wgmesh("status", check=False).stdout
    mesh.wait_for_tunnels()

    newer = mesh.change("Keep alive more often", alpha={"persistent_keepalive": 19})
    mesh.converge(newer, "bravo", "charlie")
    wait_until(
        lambda: ((mesh.shown("alpha") or {})["candidate"] or {}).get("id") == newer,
        TURN_SECONDS,
        "alpha knows of the newer commit",
    )
    assert keepalives() == {"off"}
    alpha.wgmesh("resume")
    mesh.converge(newer)
    assert keepalives() == {"19"}

    alpha.wgmesh("hold", "--reason", "a look around")
    shown = alpha.wgmesh("status", check=False).stdout
    assert "held" in shown and "a look around" in shown
    plain = mesh.change("Plain again")
    wait_until(
        lambda: ((mesh.shown("alpha") or {})["candidate"] or {}).get("id") == plain,
        TURN_SECONDS,
        "alpha knows of the plain commit",
    )
    assert keepalives() == {"19"}
    alpha.wgmesh("resume")
    mesh.converge(plain)
    assert keepalives() == {"off"}


def test_whatever_a_failed_test_leaves_is_put_right(mesh: TimedMesh) -> None:
    """The fixture `mesh` does this before the next one."""
    mesh["alpha"].wgmesh("leave", "--restore")
    mesh["bravo"].run(["systemctl", "stop", *TIMERS])
    mesh["charlie"].shut_down()
    assert not any(mesh.follows(name, mesh.author.head) for name in mesh.keys)
    mesh.settle()
    assert all(mesh.follows(name, mesh.author.head) for name in mesh.keys)
