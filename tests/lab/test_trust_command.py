"""`wgmesh trust` on a node: what it shows, what it says of commits, and what it changes."""

import json
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.bytewise import RECORDS, kernel, whole
from tests.lab.conftest import WorldFactory
from tests.lab.forge import Author
from tests.lab.installed import by_nobody
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.mesh import Mesh
from tests.lab.state import KILLER
from tests.lab.test_contract import failed, tried

ENROLMENT = "/etc/wgmesh/node.toml"
TIPS = "/var/lib/wgmesh/tips.toml"


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Make a node in sync, and charlie, who has not joined; grace may sign, but not say who may."""
    mesh = Mesh(module_world_factory(["alpha", "charlie"]))
    mesh.enrol("alpha")
    grace = mesh.world.author("grace")
    late = grace.allowed_signers_line.replace(" ", ' valid-before="20991231",', 1)
    files: dict[str, str | None] = {
        "allowed_signers": mesh.author.allowed_signers_line + late,
        "trust.toml": f'[roles]\nadmin = ["{mesh.author.email}"]\n',
    }
    mesh.commit(files, "Grace may sign")
    mesh.sync("alpha")
    return mesh


@pytest.fixture
def alpha(mesh: Mesh) -> Iterator[Machine]:
    """Return the node; afterwards it follows what was there before, from the first anchor on."""
    machine, tip = mesh.world["alpha"], mesh.author.pull()
    kept = {path: machine.read(path) for path in (ENROLMENT, TIPS)}
    yield machine
    mesh.author.git("push", "--quiet", "--force", "origin", f"{tip}:refs/heads/main")
    for path, text in kept.items():
        machine.write(path, text)
    machine.run(["rm", "-f", "/var/lib/wgmesh/verdict.toml"])
    machine.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


def told(machine: Machine, *words: str, code: int = 0) -> Any:  # noqa: ANN401 - as JSON has it
    """Return what `wgmesh trust … --json` tells, which exits with `code`."""
    done = tried(machine, "trust", *words, "--json")
    assert done.returncode == code and done.stderr == "", done
    return json.loads(done.stdout)


# ---------------------------------------------------------------- show


def test_show(mesh: Mesh, alpha: Machine) -> None:
    grace = mesh.world.author("grace")
    shown = told(alpha, "show")
    assert shown["anchor"] == {
        "commit": mesh.introduction,
        "fingerprint": mesh.author.fingerprint,
    }
    assert shown["trusted"] == mesh.status("alpha")["commit"]
    (remote,) = shown["remotes"]
    assert (remote["remote"], remote["standing"]) == (mesh.url, "newest")
    assert remote["commit"] == mesh.author.head
    assert shown["rules"] == {"approvals": 1, "side_commits": "vouched", "mainline": "any"}
    ada, other = shown["signers"]
    assert ada == {
        "names": [mesh.author.email],
        "role": "admin",
        "kind": "ssh-ed25519",
        "fingerprint": mesh.author.fingerprint,
        "valid_after": None,
        "valid_before": None,
        "state": "usable",
    }
    assert (other["names"], other["role"]) == ([grace.email], "editor")
    assert other["valid_before"] == "2099-12-31T00:00:00Z"
    assert len(shown["warnings"]) == 1 and mesh.author.email in shown["warnings"][0]
    assert (shown["revoked"], shown["problem"]) == ([], None)
    text = tried(alpha, "trust", "show").stdout
    for part in (mesh.introduction, mesh.author.fingerprint, grace.email, "editor", mesh.url):
        assert part in text
    assert text.splitlines()[-1].strip() == shown["join"]


def test_the_line_that_it_prints_joins(mesh: Mesh, alpha: Machine) -> None:
    line = tried(alpha, "trust", "show").stdout.splitlines()[-1]
    program, *words = shlex.split(line)
    assert program == "wgmesh" and mesh.author.head in words
    charlie = mesh.world["charlie"]
    charlie.wgmesh(*words)
    try:
        shown = told(charlie, "show")
        assert shown["anchor"]["commit"] == shown["trusted"]["id"] == mesh.author.head
    finally:
        charlie.wgmesh("leave")


def test_show_without_root_has_no_signers(mesh: Mesh, alpha: Machine) -> None:
    done = by_nobody(alpha, "trust", "show", "--json")
    assert done.returncode == 0 and done.stderr == ""
    shown = json.loads(done.stdout)
    assert shown["anchor"]["commit"] == mesh.introduction and shown["signers"] is None
    assert "root" in shown["problem"]
    assert mesh.introduction in by_nobody(alpha, "trust", "show").stdout


def test_show_of_a_repository_that_is_lost(mesh: Mesh, alpha: Machine) -> None:
    alpha.run(["rm", "-rf", "/var/lib/wgmesh/repository.git"])
    shown = told(alpha, "show")
    assert shown["anchor"]["commit"] == mesh.introduction
    assert shown["signers"] is None and "fetched" in shown["problem"]
    for words in (["log"], ["verify", "main"], ["reanchor", mesh.introduction]):
        assert "wgmesh sync" in failed(alpha, 1, "trust", *words)


# ---------------------------------------------------------------- log and verify


def history(mesh: Mesh) -> dict[str, str]:
    """Make a merge of a branch that nobody signed, then a bad push; returns the commits."""
    author, grace = mesh.author, mesh.world.author("grace")
    made = {"start": author.pull()}
    made["side"] = author.propose("topic", {"README": "one\n"}, "Unsigned, on a branch", sign=False)
    made["merge"] = author.merge("topic")
    mesh.sync("alpha")
    grace.pull()
    made["good"] = grace.commit({"README": "two\n"}, "By grace")
    made["bad"] = grace.commit({"README": "three\n"}, "In a hurry", sign=False)
    grace.push()
    assert mesh.world["alpha"].wgmesh("sync", check=False).returncode == 4
    return made


def test_a_verdict_per_commit(mesh: Mesh, alpha: Machine) -> None:
    made = history(mesh)
    before = whole(alpha)
    rows = told(alpha, "log")
    names = {commit: name for name, commit in made.items()}
    seen = [(names.get(row["commit"]), row["kind"], row["verdict"]) for row in rows]
    assert seen[:5] == [
        ("bad", "step", "refused"),
        ("good", "step", "accepted"),
        ("merge", "step", "accepted"),
        ("side", "side", "vouched for"),
        ("start", "step", "accepted"),
    ]
    assert rows[0]["subject"] == "In a hurry" and "not signed" in rows[0]["problem"]
    assert rows[1]["signer"] == mesh.world.author("grace").email
    assert [row["commit"] for row in rows if row["trusted"]] == [made["merge"]]
    assert (rows[-1]["commit"], rows[-1]["kind"]) == (mesh.introduction, "anchor")
    assert len({row["commit"] for row in rows}) == len(rows)
    lines = tried(alpha, "trust", "log", "-n", "4").stdout.splitlines()
    assert len(lines) == 5 and "In a hurry" in lines[0] and "not signed" in lines[1]
    assert lines[3].startswith(f"* {made['merge'][:12]}")
    assert lines[4].startswith(f"    {made['side'][:12]}"), "what a merge brought is indented"
    assert [row["commit"] for row in told(alpha, "log", "-n", "2")] == [made["bad"], made["good"]]
    for name, code in (("merge", 0), ("good", 0), ("bad", 4), ("start", 4), ("side", 4)):
        done = tried(alpha, "trust", "verify", made[name])
        assert done.returncode == code, (name, done)
        assert made[name][:12] in (done.stderr if code else done.stdout)
        assert told(alpha, "verify", made[name][:10], code=code)["commit"] == made[name]
    refused = told(alpha, "verify", "main", code=4)
    assert refused["commit"] == refused["culprit"] == made["bad"]
    assert "git merge -s ours" in refused["hint"].splitlines()[-1]
    assert "rewound" in tried(alpha, "trust", "verify", made["start"]).stderr
    assert whole(alpha) == before, "all of these only look"


@pytest.mark.parametrize("rev", ["0" * 40, "v1.0", "--all", "", "main~", "HEAD", "@{u}", "\x1b[2J"])
def test_a_rev_that_is_none(alpha: Machine, rev: str) -> None:
    done = tried(alpha, "trust", "verify", "--", rev)
    assert done.returncode == 2 and done.stdout == ""
    assert "no commit of what was fetched" in done.stderr and "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


# ---------------------------------------------------------------- revoke


def test_revoke(mesh: Mesh, alpha: Machine) -> None:
    grace = mesh.world.author("grace")
    grace.pull()
    tip = grace.commit({"README": "the last of grace\n"}, "The last of grace")
    grace.push()
    alpha.wgmesh("sync")
    running = kernel(alpha)
    openpgp = "0123 4567 89ab cdef 0123  4567 89ab cdef 0123 4567"
    said = tried(alpha, "trust", "revoke", grace.fingerprint)
    assert said.returncode == 0 and grace.fingerprint in said.stdout and tip[:12] in said.stdout
    assert tried(alpha, "trust", "revoke", openpgp).returncode == 0
    before = whole(alpha)
    again = tried(alpha, "trust", "revoke", grace.fingerprint)
    assert again.returncode == 0 and "already" in again.stdout
    for bad in ("SHA256:abc", grace.fingerprint[:-1], "grace", openpgp[:-1], "", "-----"):
        assert "fingerprint" in tried(alpha, "trust", "revoke", "--", bad).stderr
    assert whole(alpha) == before
    shown = told(alpha, "show")
    assert shown["revoked"] == [grace.fingerprint, "".join(openpgp.split()).upper()]
    assert [signer["state"] for signer in shown["signers"]] == ["usable", "revoked here"]
    for words in (["sync"], ["sync", "--no-fetch"], ["trust", "verify", tip]):
        done = tried(alpha, *words)
        assert done.returncode == 4 and "revoked on this node" in done.stderr
    assert kernel(alpha) == running
    mesh.commit({}, "Ada answers for it")
    alpha.wgmesh("sync")
    assert mesh.status("alpha")["state"] == "in-sync"


# ---------------------------------------------------------------- reanchor


def fresh_start(author: Author, *, sign: bool = True, signers: str | None = None) -> str:
    """Put an unrelated history with the same files in the place of main; returns its commit."""
    author.git("checkout", "--quiet", "--orphan", "fresh")
    files = {} if signers is None else {"allowed_signers": signers}
    commit = author.commit(files, "A fresh start", sign=sign)
    author.push("HEAD:main", force=True)
    author.git("checkout", "--quiet", "main")
    author.git("branch", "--quiet", "-D", "fresh")
    return commit


def rest(machine: Machine) -> tuple[str, ...]:
    """Return what a machine is, without what re-anchoring is to change."""
    return whole(machine, but=RECORDS | {"node.toml", "tips.toml"})


def test_reanchor_at_an_unrelated_history(mesh: Mesh, alpha: Machine) -> None:
    old, commit = mesh.author.head, fresh_start(mesh.author)
    assert "nothing in common" in failed_sync(alpha)
    before = whole(alpha)
    unknown = tried(alpha, "trust", "reanchor", "1" * 40)
    assert unknown.returncode == 2 and "fetched" in unknown.stderr
    assert tried(alpha, "trust", "reanchor", commit[:12]).returncode == 2
    assert tried(alpha, "trust", "reanchor", commit, "--signer", "ada").returncode == 2
    stranger = mesh.world.author("grace").fingerprint
    other = tried(alpha, "trust", "reanchor", commit, "--signer", stranger)
    assert other.returncode == 4 and mesh.author.fingerprint in other.stderr
    assert whole(alpha) == before
    outside = rest(alpha)
    done = tried(alpha, "trust", "reanchor", commit, "--signer", mesh.author.fingerprint)
    assert done.returncode == 0 and done.stderr == ""
    for part in (commit[:12], mesh.introduction[:12], old[:12], "A fresh start"):
        assert part in done.stdout
    assert rest(alpha) == outside
    shown = told(alpha, "show")
    assert shown["anchor"]["commit"] == shown["trusted"]["id"] == commit
    running, generation = kernel(alpha), mesh.status("alpha")["generation"]
    alpha.wgmesh("sync")
    status = mesh.status("alpha")
    assert (status["state"], status["commit"]["id"]) == ("in-sync", commit)
    assert (kernel(alpha), status["generation"]) == (running, generation)
    rows = told(alpha, "log")
    assert [(row["commit"], row["kind"]) for row in rows] == [(commit, "anchor")]
    # the generation that runs is of the former history: a lost state does not go back to that
    alpha.run(["bash", "-c", "rm -r /var/lib/wgmesh && mkdir /var/lib/wgmesh"])
    alpha.wgmesh("sync")
    assert mesh.status("alpha")["commit"]["id"] == commit


def test_reanchor_wants_a_commit_that_vouches_for_itself(mesh: Mesh, alpha: Machine) -> None:
    grace = mesh.world.author("grace")
    for sign, signers, rule in (
        (False, None, "not signed"),
        (True, grace.allowed_signers_line, "allowed_signers"),
    ):
        mesh.author.git("checkout", "--quiet", "main")
        commit = fresh_start(mesh.author, sign=sign, signers=signers)
        mesh.author.git("checkout", "--quiet", "--force", "main")
        failed_sync(alpha)
        before = whole(alpha)
        done = tried(alpha, "trust", "reanchor", commit)
        assert done.returncode == 4 and rule in done.stderr
        assert whole(alpha) == before


def test_a_reanchoring_that_is_cut_short_has_happened_or_not(
    mesh: Mesh, alpha: Machine, tmp_path: Path
) -> None:
    commit = fresh_start(mesh.author)
    failed_sync(alpha)
    texts = {path: alpha.read(path) for path in (ENROLMENT, TIPS)}
    # as an older wgmesh wrote it
    texts[TIPS] = "".join(x for x in texts[TIPS].splitlines(True) if not x.startswith("anchor = "))
    log = tmp_path / "operations"

    def reanchor(when: int) -> int:
        for path, text in texts.items():
            alpha.write(path, text)
        start = ".tips.toml"
        env = {"PYTHONPATH": f"{KILLER}:{CHECKOUT}", "WGLAB_KILL": f"{when}|agent|{log}|{start}"}
        return alpha.wgmesh("trust", "reanchor", commit, check=False, env=env).returncode

    assert reanchor(0) == 0
    operations = log.read_text().splitlines()
    switch = operations.index(f"os.rename {ENROLMENT}")
    tips = [n for n, line in enumerate(operations) if line == f"os.rename {TIPS}"]
    assert len(tips) == 2 and tips[0] < switch < tips[1]
    for when in range(1, tips[1] + 2):
        assert reanchor(when) == -signal.SIGKILL, operations
        happened = when - 1 > switch
        anchor = commit if happened else mesh.introduction
        assert told(alpha, "show")["anchor"]["commit"] == anchor, when
        verdict = told(alpha, "verify", "main", code=0 if happened else 4)
        assert verdict["trusted"] == (commit if happened else mesh.author.head)
        assert tried(alpha, "sync").returncode == (0 if happened else 4), when


def failed_sync(machine: Machine) -> str:
    done = tried(machine, "sync")
    assert done.returncode == 4
    return done.stderr
