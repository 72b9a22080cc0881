"""The words of the contract on a node: exit codes, and what is said where."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.bytewise import whole
from tests.lab.conftest import WorldFactory
from tests.lab.installed import by_nobody
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

Done = subprocess.CompletedProcess[str]

NODE_COMMANDS = [
    ["join"],
    ["leave"],
    ["sync"],
    ["sync", "--dry-run"],
    ["status"],
    ["status", "--json"],
    ["rollback"],
    ["hold"],
    ["resume"],
    ["history"],
    ["diff"],
    ["reconcile"],
    ["recover"],
    ["rotate-key"],
    ["trust", "show"],
    ["trust", "log"],
    ["trust", "verify", "main"],
    ["trust", "revoke", "SHA256:" + "A" * 43],
    ["trust", "reanchor", "1" * 40],
]
POLICY = "/etc/wgmesh/wgmesh.toml"
ENROLMENT = "/etc/wgmesh/node.toml"


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes that have nothing left to do, and charlie, who has not joined."""
    made = Mesh(module_world_factory(["alpha", "bravo", "charlie"]))
    made.bring_up("alpha", "bravo")
    made.sync("alpha", "bravo")
    return made


@pytest.fixture
def alpha(mesh: Mesh) -> Machine:
    """Return a node of the mesh."""
    return mesh.world["alpha"]


@pytest.fixture
def stranger(mesh: Mesh) -> Machine:
    """Return a machine that has not joined."""
    return mesh.world["charlie"]


def tried(machine: Machine, *words: str, env: dict[str, str] | None = None) -> Done:
    """Run wgmesh, whatever it exits with; nothing ever prints a traceback."""
    done = machine.wgmesh(*words, check=False, env=env)
    assert "Traceback" not in done.stderr + done.stdout
    return done


def failed(machine: Machine, code: int, *words: str) -> str:
    """Run wgmesh, which must exit with `code` and a sentence; return what it said."""
    done = tried(machine, *words)
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("wgmesh: "), done.stderr
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    return done.stderr


@contextmanager
def edited(machine: Machine, path: str, text: str) -> Iterator[None]:
    """Have another text in a file for a while."""
    there = machine.exists(path)
    before = machine.read(path) if there else ""
    machine.write(path, text)
    try:
        yield
    finally:
        if there:
            machine.write(path, before)
        else:
            machine.run(["rm", path])


# ---------------------------------------------------------------- the remote


def test_a_remote_that_is_down_changes_nothing(mesh: Mesh, alpha: Machine) -> None:
    before = whole(alpha)
    mesh.world.forge.stop()
    try:
        said = failed(alpha, 5, "sync")
        assert mesh.url in said
        shown = mesh.status("alpha")
        assert whole(alpha) == before
        assert mesh.pings("alpha", "bravo") and mesh.pings("bravo", "alpha", 6)
        assert shown["state"] == "in-sync"  # one poll that fails is no alarm
        assert shown["last_sync"]["outcome"] == "unreachable"
        assert any(mesh.url in reason for reason in shown["reasons"])
        with edited(alpha, POLICY, "stale_after_seconds = 1\n"):
            stale = wait_until(
                lambda: (now := mesh.status("alpha"))["state"] == "degraded" and now, 10, "stale"
            )
            assert any("stale" in reason for reason in stale["reasons"])
            assert tried(alpha, "status").returncode == 7
    finally:
        mesh.world.forge.start()
    alpha.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"
    assert mesh.status("alpha")["reasons"] == []
    assert whole(alpha) == before


def test_a_remote_that_hangs_keeps_other_turns_away_and_no_tick(mesh: Mesh, alpha: Machine) -> None:
    before = whole(alpha)
    mesh.world.forge.freeze()
    try:
        first = alpha.popen([*alpha.wgmesh_argv, "sync"])
        wait_until(lambda: alpha.pids("git"), 10, "the first sync asks the remote")
        tick = "from wgmesh.cli.failover import main; raise SystemExit(main())"
        assert alpha.run([sys.executable, "-c", tick], check=False).returncode == 0
        assert tried(alpha, "resume").returncode == 0
        commands = (["sync"], ["sync", "--no-fetch"], ["leave"])
        others = [alpha.popen([*alpha.wgmesh_argv, *words]) for words in commands]
        for other in others:  # each waits a few seconds for what might be a tick
            assert "another wgmesh" in other.communicate(timeout=60)[1]
            assert other.returncode == 9
        assert tried(alpha, "status").returncode == 0
        _, said = first.communicate(timeout=60)
    finally:
        mesh.world.forge.thaw()
    assert first.returncode == 5
    assert said.startswith("wgmesh: ") and "Traceback" not in said
    assert alpha.pids("git") == []
    assert whole(alpha) == before
    alpha.wgmesh("sync")


def test_a_name_that_does_not_resolve_is_a_remote_that_is_down(mesh: Mesh, alpha: Machine) -> None:
    before = whole(alpha)
    lost = "git://forge.example.invalid/mesh.git"
    enrolment = alpha.read(ENROLMENT)
    with edited(alpha, ENROLMENT, enrolment.replace(mesh.url, lost)):
        assert "forge.example.invalid" in failed(alpha, 5, "sync")
    with edited(alpha, ENROLMENT, enrolment.replace(f'"{mesh.url}"', f'"{lost}", "{mesh.url}"')):
        alpha.wgmesh("sync")  # the second remote answers
    assert whole(alpha) == before


# ---------------------------------------------------------------- who may, and who has joined


@pytest.mark.parametrize(
    "words",
    [words for words in NODE_COMMANDS if words[0] != "status" and words != ["trust", "show"]],
    ids=" ".join,
)
def test_without_root_there_is_a_sentence(alpha: Machine, words: list[str]) -> None:
    done = by_nobody(alpha, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "root" in done.stderr and len(done.stderr.splitlines()) <= 2


def test_status_needs_no_root(mesh: Mesh, alpha: Machine) -> None:
    alpha.wgmesh("sync")
    path = "/run/wgmesh/status.json"
    assert alpha.run(["stat", "-c", "%a", path, "/run/wgmesh"]).stdout.split() == ["644", "755"]
    done = by_nobody(alpha, "status", "--json")
    assert done.returncode == 0, done
    kept = json.loads(done.stdout)
    live = mesh.status("alpha")
    assert kept.keys() == live.keys()
    assert (kept["state"], kept["commit"]) == (live["state"], live["commit"])
    key = alpha.read("/etc/wireguard/wg0.key").strip()
    assert key not in alpha.read(path)
    assert by_nobody(alpha, "status").stdout.startswith("node ")


@pytest.mark.parametrize("path", [POLICY, ENROLMENT])
def test_status_and_doctor_without_root_when_the_policy_is_roots_alone(
    mesh: Mesh, alpha: Machine, path: str
) -> None:
    if path == POLICY:
        alpha.write(POLICY, "stale_after_seconds = 1800\n")
    alpha.wgmesh("sync")
    alpha.run(["chmod", "0600", path])
    try:
        told = by_nobody(alpha, "status")
        assert (told.returncode, "in-sync" in told.stdout) == (0, True)
        shown = json.loads(by_nobody(alpha, "doctor", "--json").stdout)
        assert shown["joined"]
        assert path not in json.dumps(shown)
        # and the limit of the policy is in force: nothing has been heard for longer than that
        alpha.run(["touch", "-d", "31 minutes ago", "/run/wgmesh/status.json"])
        late = by_nobody(alpha, "status")
        assert (late.returncode, "the agent has not run since" in late.stdout) == (
            (7, True) if path == POLICY else (0, False)
        )
    finally:
        alpha.run(["chmod", "0644", path])
        alpha.run(["rm", "-f", POLICY])


def test_a_directory_in_the_place_of_the_policy(alpha: Machine) -> None:
    alpha.run(["mkdir", POLICY])
    try:
        done = alpha.wgmesh("doctor", "--json", check=False)
        (finding,) = [
            each for each in json.loads(done.stdout)["findings"] if each["check"] == "enrolment"
        ]
        assert POLICY in finding["message"] and finding["fix"]
        for words in (["status"], ["sync"]):
            done = alpha.wgmesh(*words, check=False)
            assert done.returncode == 1 and done.stderr.startswith(f"wgmesh: {POLICY} cannot")
            assert len(done.stderr.splitlines()) == 2
    finally:
        alpha.run(["rmdir", POLICY])


def test_status_without_root_says_so_when_the_agent_has_not_run(alpha: Machine) -> None:
    alpha.run(["rm", "/run/wgmesh/status.json"])
    done = by_nobody(alpha, "status")
    assert done.returncode == 1
    assert done.stderr.startswith("wgmesh: ")
    alpha.wgmesh("sync")
    assert by_nobody(alpha, "status").returncode == 0


@pytest.mark.parametrize("words", NODE_COMMANDS, ids=" ".join)
def test_a_machine_that_has_not_joined(stranger: Machine, words: list[str]) -> None:
    done = tried(stranger, *words)
    assert done.returncode == 8
    assert "joined" in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) <= 2 or "--json" in words
    if words == ["status", "--json"]:
        assert json.loads(done.stdout)["state"] == "not-joined"


@pytest.mark.parametrize("helper", ["failover", "exits"])
def test_the_helpers_of_a_machine_that_has_not_joined(stranger: Machine, helper: str) -> None:
    code = f"import sys; from wgmesh.cli.{helper} import main; sys.exit(main(['status']))"
    done = stranger.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 8
    assert done.stderr.startswith("wgmesh: ") and "Traceback" not in done.stderr


def test_status_without_root_of_a_machine_that_has_not_joined(stranger: Machine) -> None:
    assert by_nobody(stranger, "status").returncode == 8


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("poll_interval_seconds = \n", "TOML"),
        ("pol_interval_seconds = 60\n", "poll_interval_seconds"),
        ('allow_hooks = "yes"\n', "allow_hooks"),
        ("\xff", "TOML"),
    ],
    ids=["toml", "unknown", "type", "letters"],
)
def test_a_broken_policy_is_a_sentence(alpha: Machine, text: str, part: str) -> None:
    with edited(alpha, POLICY, text):
        said = failed(alpha, 1, "sync")
        assert POLICY in said and part in said
        assert failed(alpha, 1, "status") == said
    alpha.wgmesh("sync")


@pytest.mark.parametrize(
    "words",
    [
        ["join", "https://user:secret-token@git.example.net/mesh.git", "--introduction", "0" * 40],
        ["join", "--upload-pack=touch /tmp/x", "--introduction", "0" * 40],
        ["join", "ext::sh -c id", "--introduction", "0" * 40],
        ["join", "git://198.18.0.1/mesh.git"],
        ["join", "git://198.18.0.1/mesh.git", "--introduction", "main"],
        ["join", "git://198.18.0.1/mesh.git", "--introduction", "0" * 40, "--node", "No Name"],
        ["join", "git://198.18.0.1/mesh.git", "--introduction", "0" * 40, "--branch", "-x"],
        ["rollback", "one"],
        ["rotate-key", "now"],
        ["no-such-command"],
        [],
    ],
    ids=lambda words: " ".join(words[:2]) or "nothing",
)
def test_usage_errors(stranger: Machine, words: list[str]) -> None:
    done = tried(stranger, *words)
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr
    assert "secret-token" not in done.stderr
    assert not stranger.exists("/etc/wgmesh/node.toml")
    assert not stranger.exists("/etc/wireguard/wg0.key")


# ---------------------------------------------------------------- what is said, and where


def test_results_on_stdout_talk_on_stderr(mesh: Mesh, alpha: Machine) -> None:
    quiet = tried(alpha, "sync")
    assert quiet.stdout.endswith("already runs here\n") and quiet.stderr == ""
    again = tried(alpha, "join")
    entry = tomllib.loads(again.stdout)
    assert entry.keys() == {"public_key"}
    assert "alpha.toml" in again.stderr
    commit = mesh.commit({"README": "read me\n"}, "Nothing for nodes")
    loud = tried(alpha, "sync")
    assert commit[:12] in loud.stdout and len(loud.stdout.splitlines()) == 1
    assert "trusted" in loud.stderr
    mesh.commit({"README": "read me again\n"}, "Nothing for nodes, again")
    assert tried(alpha, "--quiet", "sync").stderr == ""


def test_lines_for_the_journal_have_a_priority(mesh: Mesh, alpha: Machine) -> None:
    wgmesh = " ".join(alpha.wgmesh_argv)
    under = f"JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) {wgmesh}"
    done = alpha.run(["sh", "-c", f"{under} --verbose sync"])
    assert done.stderr.startswith("<7>[#] ")
    assert all(re.match("<[3467]>", line) for line in done.stderr.splitlines())
    assert not done.stdout.startswith("<")
    done = alpha.run(["sh", "-c", f"{under} rollback 99"], check=False)
    assert all(line.startswith("<3>") for line in done.stderr.splitlines())
    inherited = tried(alpha, "rollback", "99", env={"JOURNAL_STREAM": "1:2"})
    assert inherited.stderr.startswith("wgmesh: ")


def test_colour_only_on_a_terminal(alpha: Machine) -> None:
    on_terminal = ["script", "-qec", " ".join([*alpha.wgmesh_argv, "status"]), "/dev/null"]
    assert "\033[32min-sync" in alpha.run(on_terminal, env={"TERM": "xterm"}).stdout
    plain = alpha.run(on_terminal, env={"TERM": "xterm", "NO_COLOR": "1"}).stdout
    assert "in-sync" in plain and "\033[" not in plain
    assert "\033[" not in tried(alpha, "status").stdout


def test_verbose_shows_commands_and_never_a_key(mesh: Mesh, stranger: Machine) -> None:
    fields = {"preshared_key_path": "/etc/wireguard/psk/%p"}
    secrets = []
    for name, peers in (("alpha", ["charlie"]), ("charlie", ["alpha", "bravo"])):
        for peer in peers:
            psk = mesh.world[name].run(["wg", "genpsk"]).stdout
            mesh.world[name].write(f"/etc/wireguard/psk/{peer}", psk, 0o600)
            secrets.append(psk.strip())
    said = []

    def loud(*words: str) -> str:
        done = tried(stranger, "--verbose", *words)
        assert done.returncode == 0, done
        said.append(done.stderr + done.stdout)
        return done.stdout

    printed = loud("join", mesh.url, "--introduction", mesh.introduction)
    key = tomllib.loads(printed)["public_key"]
    mesh.commit({"nodes/charlie.toml": mesh.entry("charlie", key, fields)}, "Add charlie")
    loud("sync")
    mesh.commit(
        {"nodes/charlie.toml": mesh.entry("charlie", key, fields) + "persistent_keepalive = 25\n"}
    )
    loud("sync")
    loud("status")
    loud("diff")
    loud("rollback")
    loud("leave", "--restore")
    secrets.append(stranger.read("/etc/wireguard/wg0.key").strip())
    everything = "".join(said)
    assert "[#] wg " in everything and "[#] ip " in everything
    assert re.search(r"\[#\] .*\bgit .* ls-remote ", everything)
    assert [secret for secret in secrets if secret in everything] == []
    mesh.commit({"nodes/charlie.toml": None}, "Remove charlie")
    mesh.numbers.pop("charlie")
    mesh.sync("alpha", "bravo")


@pytest.mark.parametrize("sink", ["| head -c 0", "> /dev/full", ">&- 2>&-", "> /dev/full 2>&1"])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_an_output_that_nobody_takes(alpha: Machine, sink: str, unbuffered: str) -> None:
    for command in ("history", "sync", "join --help"):
        line = " ".join([*alpha.wgmesh_argv, command, sink])
        env = {"PYTHONUNBUFFERED": unbuffered}
        done = alpha.run(["bash", "-c", line], check=False, env=env)
        assert "Traceback" not in done.stderr and "ignored" not in done.stderr
        assert done.returncode == (1 if "full" in sink else 0), done
        if sink == "> /dev/full":
            assert "No space left on device" in done.stderr
