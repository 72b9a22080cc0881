"""How a private remote is got into, and what is said when it cannot be; how often it is asked."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from wgmesh.agent import access, fetcher, timers
from wgmesh.errors import UsageError
from wgmesh.handover import Answer
from wgmesh.repository.command import Outcome
from wgmesh.repository.remote import ACCESS, SshHost, ssh_host, unreachable
from wgmesh.settings import Settings


@pytest.mark.parametrize(
    ("remote", "known_as"),
    [
        ("ssh://git@Git.example.com/mesh.git", "git.example.com"),
        ("ssh://git@git.example.com:22/mesh.git", "git.example.com"),
        ("ssh://git.example.com:2222/mesh.git", "[git.example.com]:2222"),
        ("ssh://git@[fd00::1]/mesh.git", "fd00::1"),
        ("ssh://git@[fd00::1]:2222/mesh.git", "[fd00::1]:2222"),
        ("git@git.example.com:team/mesh.git", "git.example.com"),
        ("git.example.com:mesh.git", "git.example.com"),
    ],
)
def test_hosts_that_are_asked_by_ssh(remote: str, known_as: str) -> None:
    host = ssh_host(remote)
    assert host is not None and host.known_as == known_as


@pytest.mark.parametrize(
    "remote", ["https://git.example.com/x", "git://h/x", "file:///srv/x", "/srv/a:b", "./a:b"]
)
def test_remotes_that_are_not(remote: str) -> None:
    assert ssh_host(remote) is None


@pytest.mark.parametrize("place", ["h:x", "h:123456", "[h", "a:b:c"])
def test_a_host_that_is_none(place: str) -> None:
    with pytest.raises(UsageError):
        ssh_host(f"ssh://{place}/mesh.git")


def test_names_of_hosts() -> None:
    assert SshHost("h").known_as == "h" and SshHost("h", 2222).known_as == "[h]:2222"


def test_ssh_asks_nothing_and_takes_nothing_of_the_users() -> None:
    words = ACCESS["GIT_SSH_COMMAND"].split()
    assert words[:3] == ["ssh", "-F", "none"]
    options = dict(word.removeprefix("-o").split("=", 1) for word in words[3:])
    assert options["StrictHostKeyChecking"] == "yes" and options["BatchMode"] == "yes"
    assert options["UserKnownHostsFile"] == "/etc/wgmesh/ssh/known_hosts"
    assert options["IdentityFile"] == "/etc/wgmesh/ssh/id_ed25519"
    subprocess.run([*words, "-G", "example.com"], check=True, capture_output=True)


@pytest.mark.parametrize("verb", ["get", "store", "erase"])
def test_the_credential_helper_only_reads(tmp_path: Path, verb: str) -> None:
    kept = tmp_path / "credentials"
    kept.write_text("https://reader:secret@git.example.com\n")
    helper = ACCESS["GIT_CONFIG_VALUE_0"].removeprefix("!")
    script = helper.replace("/etc/wgmesh/git-credentials", str(kept)) + f" {verb}"
    asked = "protocol=https\nhost=git.example.com\nusername=reader\npassword=other\n\n"
    done = subprocess.run(
        ["sh", "-c", script], input=asked, text=True, capture_output=True, check=True
    )
    assert ("password=secret" in done.stdout) == (verb == "get")
    assert kept.read_text() == "https://reader:secret@git.example.com\n"


@pytest.mark.parametrize(
    ("stderr", "said", "hint"),
    [
        ("fatal: unable to connect to h:\nh: errno=No route\n", "No route", "check the network"),
        ("g@h: Permission denied (publickey).\nfatal: Could not read", "(publickey)", "deploy-key"),
        ("ssh: connect to host h port 22: Connection refused\nfatal: x", "refused", "the network"),
        ("No ED25519 host key\nHost key verification failed.\nfatal: x", "verification", "ssh-key"),
        ("fatal: could not read Username for 'https://h': no", "Username", "git-credentials"),
        ("fatal: Authentication failed for 'https://h/'", "Authentication", "git-credentials"),
        ("fatal: detected dubious ownership in /x", "dubious", "must belong to the user"),
        ("", "no reason given", "check the network"),
    ],
)
def test_what_is_said_of_a_remote_that_does_not_answer(stderr: str, said: str, hint: str) -> None:
    error = unreachable("git://h/x", Outcome(128, b"", stderr))
    assert said in error.message and hint in error.hint
    assert error.message.startswith("git://h/x cannot be reached: ")


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    key = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(argv, check=True)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True, text=True
    )
    public = key.with_suffix(".pub").read_text().split()[1]
    assert access.fingerprint(public) == shown.stdout.split()[1]


def test_the_usual_interval_needs_no_drop_in() -> None:
    assert timers.drop_in(Settings()) == ""
    text = timers.drop_in(replace(Settings(), random_delay_seconds=0))
    assert "OnUnitInactiveSec=60\n" in text and "RandomizedDelaySec=0\n" in text
    assert "OnBootSec=15\n" in text, "an empty OnUnitInactiveSec= takes this one along"
    unit = (Path(__file__).parents[2] / "systemd" / "wgmesh-sync.timer").read_text()
    for line in ("OnBootSec=15", "OnUnitInactiveSec=60", "RandomizedDelaySec=15"):
        assert line in unit.splitlines()


def test_each_failure_doubles_the_wait() -> None:
    answer, waits = Answer("x"), []
    for _ in range(8):
        answer = fetcher.later(answer, 1000)
        waits.append(max(answer.again - 1000, 0))
    assert waits == [0, 120, 240, 480, 900, 900, 900, 900]
    assert fetcher.later(replace(answer, failures=1000), 0).failures == 1000
