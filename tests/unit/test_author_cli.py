"""The author's commands, as they are typed: no root, no network, real git and real keys."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.inventory_texts import key
from tests.unit.signing import environment, run
from wgmesh.agent import sources
from wgmesh.cli.main import main
from wgmesh.errors import UsageError
from wgmesh.repository.bare import Repository
from wgmesh.trust import chain
from wgmesh.trust.policy import Rules, parse

TOP = Path(__file__).parents[2]
SAFE = "every tunnel that stays works on, in whatever order the nodes apply this"
MESH = """\
# the mesh of the tests
[mesh]
interface = "wg0"
mesh_cidr = ["10.40.0.0/24", "fd40::/64"]
"""


def entry(number: int, extra: str = "") -> str:
    """Return a node's file."""
    return (
        f'address = ["10.40.0.{number}/32", "fd40::{number}/128"]  # by hand\n'
        f'public_key = "{key(number)}"\n'
        f'endpoint = "node{number}.example.com"\n{extra}'
    )


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    """Make a repository with an inventory of alpha and bravo, in two files."""
    tree = tmp_path / "mesh"
    (tree / "nodes").mkdir(parents=True)
    (tree / "mesh.toml").write_text(MESH)
    (tree / "nodes/alpha.toml").write_text(entry(1))
    (tree / "nodes/bravo.toml").write_text(entry(2))
    run(["git", "init", "--quiet", "--initial-branch=main"], tree)
    commit(tree, "first")
    return tree


def commit(tree: Path, message: str) -> None:
    """Commit all that is there."""
    run(["git", "add", "--all"], tree)
    run(["git", "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-m", message], tree)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wgmesh(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; returns exit code, stdout, stderr."""

    def typed(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return code, shown.out, shown.err

    return typed


# ---------------------------------------------------------------- validate


def test_validate_prints_the_summary(mesh: Path, wgmesh: Run) -> None:
    code, out, err = wgmesh("validate", "-c", mesh)
    assert (code, err) == (0, "")
    assert "wg0" in out and "2 nodes" in out and "node1.example.com:51820" in out


@pytest.mark.parametrize("suffix", ["", "/mesh.toml"])
def test_validate_takes_a_directory_or_a_file(mesh: Path, wgmesh: Run, suffix: str) -> None:
    code, out, _ = wgmesh("validate", "-c", f"{mesh}{suffix}", "--format", "json")
    shown = json.loads(out)
    assert code == 0 and shown["ok"] is True and shown["problems"] == []
    assert [node["name"] for node in shown["summary"]["nodes"]] == ["alpha", "bravo"]


def test_validate_takes_a_revision(
    mesh: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mesh / "nodes/bravo.toml").write_text("oops")
    monkeypatch.chdir(mesh)
    assert wgmesh("validate", "-c", "HEAD:")[0] == 0
    assert wgmesh("validate", "-c", "main:.")[0] == 0
    assert wgmesh("validate")[0] == 3
    code, _, err = wgmesh("validate", "-c", "nowhere:.")
    assert code == 2 and "nowhere" in err
    code, _, err = wgmesh("validate", "-c", "HEAD:nodes/none")
    assert code in (2, 3) and "nodes/none" in err


def test_a_single_file_keeps_its_name(tmp_path: Path, wgmesh: Run) -> None:
    path = tmp_path / "fleet.conf"
    path.write_text("[mesh]\ninterface = wg0\nmesh_cidr = 10.40.0.0/24\nport = 70000\n")
    code, out, err = wgmesh("validate", "-c", path)
    assert (code, out) == (3, "")
    assert err.startswith("fleet.conf:4: error: port: 70000")


def test_github_finds_the_file(mesh: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (mesh / "nodes/bravo.toml").write_text(entry(2, "listen_port = 70000\n"))
    monkeypatch.chdir(mesh.parent)
    code, out, _ = wgmesh("validate", "-c", "mesh", "--format", "github")
    assert code == 3
    assert out.startswith("::error file=mesh/nodes/bravo.toml,line=4::")


@pytest.mark.parametrize("name", ["", "none", "empty"])
def test_what_is_no_inventory(tmp_path: Path, wgmesh: Run, name: str) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = wgmesh("validate", "-c", tmp_path / name)
    assert (code, out) == (2, "")
    assert err.startswith("wgmesh: ") and len(err.splitlines()) == 2


# ---------------------------------------------------------------- plan


def test_plan_shows_every_node(mesh: Path, wgmesh: Run) -> None:
    code, out, _ = wgmesh("plan", "-c", mesh)
    assert code == 0
    assert "alpha: planned" in out and "bravo: planned" in out
    assert "+ peer bravo at node2.example.com:51820" in out


def changed(tree: Path, wgmesh: Run) -> list[str]:
    code, out, err = wgmesh("plan", "-c", tree, "--base", "HEAD")
    assert (code, err) == (0, "")
    return [line.strip() for line in out.splitlines()]


def test_plan_of_no_change(mesh: Path, wgmesh: Run) -> None:
    (mesh / "mesh.toml").write_text(MESH + "# a remark\n")
    assert changed(mesh, wgmesh) == ["no node changes"]


@pytest.mark.parametrize("name", ["mesh.toml", "nodes/alpha.toml", "nodes"])
def test_a_link_is_refused_as_nodes_refuse_it(
    mesh: Path, wgmesh: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mesh)
    (mesh / name).rename(mesh / "elsewhere")
    (mesh / name).symlink_to(mesh / "elsewhere")
    code, _, err = wgmesh("validate", "-c", mesh)
    kind = "directory" if name == "nodes" else "plain file"
    assert code == 3 and f"{name} is no {kind}" in err
    commit(mesh, "a link")
    assert wgmesh("validate", "-c", "HEAD:.")[0] == 4


def test_a_file_in_the_place_of_nodes_is_no_mesh_without_nodes(
    mesh: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mesh)
    (mesh / "nodes").rename(mesh.parent / "nodes")
    assert wgmesh("validate")[0] == 0, "there is none"
    (mesh / "nodes").write_text("alpha\n")
    for words in (["validate"], ["plan", "--base", "HEAD"], ["validate", "-c", "mesh.toml"]):
        code, out, err = wgmesh(*words)
        assert (code, out) == (3, "") and "nodes is no directory" in err


@pytest.mark.parametrize("name", ["nodes", "nodes/alpha.toml"])
def test_what_may_not_be_read_is_not_nothing(
    mesh: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mesh)  # what pytest makes above it is its owner's alone
    closed = mesh / name
    before, user = closed.stat().st_mode, os.geteuid()
    mesh.chmod(0o755)
    closed.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(UsageError, match=r"\w cannot be read: Permission denied") as caught:
            sources.load(".")
    finally:
        os.seteuid(user)
        closed.chmod(before)
    assert name in caught.value.message and "owner and its mode" in caught.value.hint


def test_a_file_that_nodes_refuse_for_its_size_is_named(
    mesh: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mesh)
    assert "nodes refuse" not in wgmesh("validate", "-c", mesh)[2]
    (mesh / "mesh.toml").write_text(MESH + "# long\n" * (1 << 18))
    code, _, err = wgmesh("validate", "-c", mesh)
    assert code == 0 and "mesh.toml has" in err and "nodes refuse" in err
    commit(mesh, "long")
    (tree := mesh.parent / "larger").mkdir()
    (tree / "mesh.toml").write_text(MESH + "# long\n" * (1 << 21))
    code, _, err = wgmesh("validate", "-c", tree)
    assert (
        code == 3
        and "the file is larger than 8 MiB" in err
        and "of its own, nodes/NAME.toml" in err
    )
    assert wgmesh("validate", "-c", "HEAD:.")[0] in (3, 4)


def test_a_pipe_is_not_waited_for(mesh: Path, wgmesh: Run) -> None:
    os.mkfifo(mesh / "nodes/charlie.toml")
    code, _, err = wgmesh("validate", "-c", mesh)
    assert code == 3 and "nodes/charlie.toml is no plain file" in err


@pytest.fixture
def gone() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen(["true"]) as child:
        child.wait()
    return child.pid


def test_edits_remove_what_one_that_was_killed_has_left(
    mesh: Path, wgmesh: Run, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mesh)
    left = [
        f".mesh.toml.{gone}.tmp",
        f"nodes/.alpha.toml.{gone}.tmp",
        f"out/.alpha.conf.{gone}.tmp",
    ]
    left.append(f"out/keys/.alpha.key.{gone}.tmp")
    (mesh / "out/keys").mkdir(parents=True)
    (mesh / "out/.gitignore").write_text("*\n")
    for name in left:
        (mesh / name).write_text("half of it")
    assert wgmesh("validate")[0] == 0 and all((mesh / name).exists() for name in left)
    assert wgmesh("node", "rename", "alpha", "zulu")[0] == 0
    assert [(mesh / name).exists() for name in left] == [False, False, True, True]
    assert wgmesh("gen")[0] == 0
    assert not any((mesh / name).exists() for name in left)


def test_the_files_of_editors_are_not_nodes(
    mesh: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mesh)
    whole = wgmesh("validate")
    (mesh / "nodes/.#alpha.toml").symlink_to("author@laptop.4711:1")  # Emacs locks a file by this
    for name in ("#alpha.toml#", "alpha.toml~", ".alpha.toml.swp", ".alpha.toml.123.tmp"):
        (mesh / "nodes" / name).write_text("half of")
    assert wgmesh("validate") == whole
    commit(mesh, "all that is there")
    assert wgmesh("validate", "-c", "HEAD:.") == whole
    assert wgmesh("plan", "--base", "HEAD") == (0, "no node changes\n", "")
    assert wgmesh("node", "rename", "alpha", "zulu")[0] == 0


@pytest.mark.parametrize("name", ["._alpha.toml", "#charlie.toml"])
def test_a_file_that_might_be_meant_for_a_node_is_told(
    mesh: Path, wgmesh: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mesh)
    whole = wgmesh("validate")
    (mesh / "nodes" / name).write_text("anything")
    code, out, err = wgmesh("validate")
    assert (code, out) == whole[:2] and f"nodes/{name} is left out" in err
    commit(mesh, "all that is there")
    assert wgmesh("validate", "-c", "HEAD:.") == whole
    code, _, err = wgmesh("node", "rename", "alpha", "zulu")
    assert code == 0 and err.count("is left out") == 1


def test_a_link_that_is_named_is_read_but_never_replaced(mesh: Path, wgmesh: Run) -> None:
    text = f"{MESH}\n[node.alpha]\n{entry(1)}"
    (mesh / "real.toml").write_text(text)
    (mesh / "local.toml").symlink_to("real.toml")
    assert wgmesh("validate", "-c", mesh / "local.toml")[0] == 0
    code, _, err = wgmesh("node", "rename", "alpha", "zulu", "-c", mesh / "local.toml")
    assert code == 2 and "local.toml is a symbolic link" in err
    assert (mesh / "local.toml").is_symlink() and (mesh / "real.toml").read_text() == text


def test_plan_of_a_new_node(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/charlie.toml").write_text(entry(3))
    lines = changed(mesh, wgmesh)
    assert [line for line in lines if line.endswith(("added", "changed", "removed"))] == [
        "alpha: changed",
        "bravo: changed",
        "charlie: added",
    ]
    assert sum(line.startswith("+ peer charlie at node3.example.com:51820") for line in lines) == 2
    assert lines[-1] == SAFE


@pytest.mark.parametrize("name", ["local.toml", "local.conf", "local"])
def test_plan_of_a_file_by_another_name(mesh: Path, wgmesh: Run, name: str) -> None:
    """The shell tool's users have a mesh.local.conf."""
    form = mesh / ("x.conf" if name.endswith(".conf") else "x.toml")
    assert wgmesh("convert", mesh, form)[0] == 0
    form.rename(mesh / name)
    commit(mesh, "one file")
    words = ("plan", "-c", mesh / name, "--base", "HEAD", "--format", "json")
    same = json.loads(wgmesh(*words)[1])
    assert same["nodes"] == [] and same["base"] == same["head"]
    text = (mesh / name).read_text()
    (mesh / name).write_text(text.replace("node2.example.com", "node9.example.com"))
    code, out, err = wgmesh(*words)
    assert (code, err) == (3, "") and json.loads(out)["head"] == "the work tree"
    assert [node["node"] for node in json.loads(out)["nodes"]] == ["alpha"]


def test_plan_of_a_removed_node(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/bravo.toml").unlink()
    lines = changed(mesh, wgmesh)
    assert "- peer bravo" in lines and "bravo: removed" in lines


def test_plan_of_changes_that_hurt_nobody(mesh: Path, wgmesh: Run) -> None:
    alive = "persistent_keepalive = 25\n"
    (mesh / "nodes/bravo.toml").write_text(entry(2, alive))
    assert changed(mesh, wgmesh)[-1] == SAFE
    commit(mesh, "keepalive")
    extra = f'{alive}allowed_ips = "10.9.0.0/24"\nlisten_port = 51821\n'
    (mesh / "nodes/bravo.toml").write_text(entry(2, extra))
    lines = changed(mesh, wgmesh)
    bravo = lines.index("bravo: changed")
    assert lines[bravo + 1] == "listen port: 51820 -> 51821"
    assert (
        "~ peer bravo: endpoint node2.example.com:51820 -> node2.example.com:51821; "
        "AllowedIPs +10.9.0.0/24"
    ) in lines
    assert "+ route 10.9.0.0/24" in lines
    assert lines[-1] == SAFE


def breaking(mesh: Path, wgmesh: Run, *options: str) -> tuple[int, str]:
    """Return exit code and plan of what is not safe."""
    code, out, err = wgmesh("plan", "-c", mesh, "--base", "HEAD", *options)
    assert err == ""
    return code, out


def test_plan_of_changes_that_need_both_ends(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/charlie.toml").write_text(entry(3))
    commit(mesh, "charlie")
    path = 'preshared_key_path = "/etc/wireguard/psk/%p"\n'
    (mesh / "nodes/alpha.toml").write_text(entry(1, path))
    (mesh / "nodes/bravo.toml").write_text(entry(2, path))
    base = run(["git", "rev-parse", "HEAD"], mesh).decode()[:12]
    code, out = breaking(mesh, wgmesh)
    assert code == 3
    assert "~ peer bravo: with a preshared key" in out
    assert (
        f"alpha and bravo, while one runs the work tree and the other still {base}: "
        "the preshared key is not the same at both ends\n"
    ) in out
    assert "charlie, while" not in out
    assert out.endswith("say so in a commit message: Wgmesh-Allow-Break: alpha\n")
    commit(mesh, "psk")

    (mesh / "nodes/bravo.toml").write_text(entry(2, path).replace(key(2), key(9)))
    code, out = breaking(mesh, wgmesh)
    assert code == 3
    assert f"public key: {key(2)} -> {key(9)}" in out
    assert "~ peer bravo: another public key" in out
    assert "+ peer" not in out and "- peer" not in out
    assert "alpha and bravo, while" in out and "bravo and charlie, while" in out
    assert out.endswith("Wgmesh-Allow-Break: bravo\n")


def test_plan_names_the_end_that_must_not_be_first_and_the_safe_steps(
    mesh: Path, wgmesh: Run
) -> None:
    moved = entry(2).replace("node2.example.com", "other.example.com")
    (mesh / "nodes/bravo.toml").write_text(moved)
    commit(mesh, "bravo moves")
    head = run(["git", "rev-parse", "--short=12", "HEAD"], mesh).decode().strip()
    base = run(["git", "rev-parse", "--short=12", "HEAD~1"], mesh).decode().strip()
    code, out, _ = wgmesh("plan", "-c", mesh, "--base", "HEAD~1")
    assert code == 3
    assert f"  alpha and bravo, while alpha runs {head} and bravo still {base}: neither end" in out
    assert "safe in two steps: first add the new endpoint of bravo as endpoint_alt" in out

    # and the steps are safe indeed
    run(["git", "reset", "--quiet", "--hard", "HEAD~1"], mesh)
    both = entry(2, 'endpoint_alt = "other.example.com"\n')
    (mesh / "nodes/bravo.toml").write_text(both)
    assert changed(mesh, wgmesh)[-1] == SAFE
    commit(mesh, "first step")
    (mesh / "nodes/bravo.toml").write_text(moved)
    assert changed(mesh, wgmesh)[-1] == SAFE


TRAILERS = [
    ("Wgmesh-Allow-Break: bravo", 0),
    ("Wgmesh-Allow-Break: alpha, charlie", 0),
    ("wgmesh-allow-break:  *", 0),
    ("Wgmesh-Allow-Break: charlie", 3),
    ("Wgmesh-Allow-Break: alpha", 3),
    ("Wgmesh-Allow-Break: brav", 3),
    ("Wgmesh-Allow-Break: \x1b[31m$(touch x) `id` --help", 3),
]


@pytest.mark.parametrize(("trailer", "expected"), TRAILERS)
def test_plan_wants_a_trailer_for_what_breaks(
    mesh: Path, wgmesh: Run, trailer: str, expected: int
) -> None:
    (mesh / "nodes/charlie.toml").write_text(entry(3))
    commit(mesh, "Wgmesh-Allow-Break: bravo")  # before the base, and no trailer
    (mesh / "nodes/bravo.toml").write_text(entry(2).replace(key(2), key(9)))
    commit(mesh, f"Another key\n\nIts disk was lost.\n\n{trailer}\nSigned-off-by: Ann <a@b.c>")
    (mesh / "NOTES").write_text("x")
    commit(mesh, "Something else\n\nThe words Wgmesh-Allow-Break: bravo in a text are none.\n\nEnd")
    code, out, err = wgmesh("plan", "-c", mesh, "--base", "HEAD~2")
    assert (code, err) == (expected, "")
    assert out.splitlines()[-1].startswith("allowed by" if expected == 0 else "to do it all the")
    assert wgmesh("plan", "-c", mesh, "--base", "HEAD~1")[0] == 0
    assert not (mesh / "x").exists()


def test_plan_for_programs(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/charlie.toml").write_text(entry(3))
    commit(mesh, "charlie")
    path = 'preshared_key_path = "/etc/wireguard/psk/%p"\n'
    for number, name in ((1, "alpha"), (2, "bravo")):
        (mesh / f"nodes/{name}.toml").write_text(entry(number, path))
    (mesh / "nodes/charlie.toml").write_text(entry(3).replace(key(3), key(9)))
    commit(mesh, "Two changes\n\nWgmesh-Allow-Break: charlie")
    code, out, _ = wgmesh("plan", "-c", mesh, "--base", "HEAD~1", "--format", "json")
    told = json.loads(out)
    head = run(["git", "rev-parse", "--short=12", "HEAD"], mesh).decode().strip()
    assert code == 3
    assert (told["safe"], told["ok"], told["head"]) == (False, False, head)
    assert [(each["nodes"], each["allowed"]) for each in told["breaks"]] == [
        (["alpha", "bravo"], False),
        (["alpha", "charlie"], True),
        (["bravo", "charlie"], True),
    ]
    assert {node["node"]: node["breaks"] for node in told["nodes"]} == {
        "alpha": ["bravo", "charlie"],
        "bravo": ["alpha", "charlie"],
        "charlie": ["alpha", "bravo"],
    }
    assert told["allow"] == ["alpha"]
    code, out, _ = wgmesh("plan", "-c", mesh, "--format", "json")
    told = json.loads(out)
    assert (code, told["base"], told["breaks"], len(told["nodes"])) == (0, None, [], 3)


def test_plan_for_a_pull_request(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/bravo.toml").write_text(entry(2).replace(key(2), key(9)))
    code, out = breaking(mesh, wgmesh, "--format", "markdown")
    assert code == 3 and out.startswith("### Not safe in every order\n")
    assert out.count("```") == 4 and "  ~ peer bravo: another public key\n" in out
    commit(mesh, "key\n\nWgmesh-Allow-Break: bravo")
    code, out, _ = wgmesh("plan", "-c", mesh, "--base", "HEAD~1", "--format", "markdown")
    assert code == 0 and ", allowed by `Wgmesh-Allow-Break`\n" in out.splitlines(True)[0]
    (mesh / "nodes/charlie.toml").write_text(entry(3))
    code, out = breaking(mesh, wgmesh, "--format", "markdown")
    assert code == 0 and out.startswith("### Safe in every order\n")


@pytest.fixture
def broken(mesh: Path) -> Path:
    """Commit an invalid inventory, and repair it in the work tree."""
    (mesh / "nodes/bravo.toml").write_text(entry(1))
    commit(mesh, "two alphas")
    (mesh / "nodes/bravo.toml").write_text(entry(2))
    return mesh


def test_plan_after_an_invalid_base(broken: Path, wgmesh: Run) -> None:
    """What nodes run is not known, so a reviewer must say that the repair goes through."""
    base = run(["git", "rev-parse", "HEAD"], broken).decode().strip()
    words = ("plan", "-c", broken, "--base", base)
    code, out, err = wgmesh(*words)
    assert (code, err, out.splitlines()[0]) == (3, "", "alpha: planned")
    told = f"what changes is not known: at {base[:12]} the inventory is invalid: nodes/bravo.toml:"
    assert (
        told in out
        and out.count("is invalid") == 1
        and "Wgmesh-Allow-Break: *" in out
        and "every pair" not in out
    )
    code, out, _ = wgmesh(*words, "--format", "markdown")
    assert code == 3 and out.startswith(f"### What changes is not known\n\n```text\n{told}")
    code, out, _ = wgmesh(*words, "--format", "json")
    found = json.loads(out)
    assert code == 3 and found["ok"] is False and found["unknown"] is not None
    assert base[:12] in found["unknown"]
    assert (found["safe"], found["base"], found["allow"]) == (None, base[:12], ["*"])
    assert wgmesh("plan", "-c", broken, "--base", "HEAD~1")[0] == 0, "what nodes run"


def test_plan_of_a_mesh_without_nodes_after_an_invalid_base(broken: Path, wgmesh: Run) -> None:
    for name in ("alpha", "bravo"):
        (broken / f"nodes/{name}.toml").unlink()
    code, out, _ = wgmesh("plan", "-c", broken, "--base", "HEAD")
    assert code == 3 and out.startswith("no node changes\nwhat changes is not known: ")


@pytest.mark.parametrize(("names", "want"), [("*", 0), ("bravo", 3)])
def test_a_repair_of_an_invalid_base_can_be_allowed(
    broken: Path, wgmesh: Run, names: str, want: int
) -> None:
    commit(broken, f"one alpha\n\nWgmesh-Allow-Break: {names}")
    code, out, _ = wgmesh("plan", "-c", broken, "--base", "HEAD~1")
    assert code == want and ("allowed by Wgmesh-Allow-Break" in out) == (want == 0)
    code, out, _ = wgmesh("plan", "-c", broken, "--base", "HEAD~1", "--format", "markdown")
    assert code == want and out.startswith("### What changes is not known")


def test_plan_after_a_base_without_an_inventory(mesh: Path, wgmesh: Run) -> None:
    for name in ("mesh.toml", "nodes"):
        (mesh / name).rename(mesh.parent / name)
    commit(mesh, "nothing yet")
    for name in ("mesh.toml", "nodes"):
        (mesh.parent / name).rename(mesh / name)
    code, out, err = wgmesh("plan", "-c", mesh, "--base", "HEAD")
    assert (code, out.splitlines()[0]) == (0, "alpha: planned")
    assert "HEAD has no inventory" in err


def test_plan_of_a_mesh_in_a_directory_that_the_base_has_not(mesh: Path, wgmesh: Run) -> None:
    (mesh / "sites/east").mkdir(parents=True)
    for name in ("mesh.toml", "nodes"):
        (mesh / name).rename(mesh / "sites/east" / name)
    for named in ("sites/east", "sites/east/mesh.toml"):
        code, out, err = wgmesh("plan", "-c", mesh / named, "--base", "HEAD")
        assert (code, out.splitlines()[0]) == (0, "alpha: planned"), err
        assert err == "warning: HEAD has no inventory: the plan is that of a new mesh\n"
        assert wgmesh("plan", "-c", mesh / named, "--base", "nowhere")[0] == 2


def test_plan_follows_a_rename(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/bravo.toml").rename(mesh / "nodes/romeo.toml")
    lines = changed(mesh, wgmesh)
    assert "~ peer romeo: it was bravo" in lines


@pytest.mark.parametrize("base", ["nowhere", "--help", "HEAD~7", ""])
def test_plan_without_a_base(mesh: Path, wgmesh: Run, base: str) -> None:
    code, out, err = wgmesh("plan", "-c", mesh, f"--base={base}")
    assert (code, out) == (2, "") and err.startswith("wgmesh: ")


def test_plan_of_a_bad_inventory(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/bravo.toml").write_text(entry(1))
    code, out, err = wgmesh("plan", "-c", mesh)
    assert (code, out) == (3, "")
    assert "nodes/bravo.toml:1: address" in err


# ---------------------------------------------------------------- node add


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Pipe bytes into the command."""

    def pipe(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    yield pipe


def test_node_add_takes_what_join_prints(
    mesh: Path, wgmesh: Run, stdin: Callable[[bytes], None]
) -> None:
    printed = (
        f'public_key = "{key(3)}"\n'
        '# endpoint = "host.example.com"  # where others reach this node; none behind NAT\n'
    )
    stdin(printed.encode())
    code, out, _ = wgmesh("node", "add", "charlie", "--from", "-", "-c", mesh)
    made = mesh / "nodes/charlie.toml"
    assert (code, out) == (0, f"{made}\n")
    text = made.read_text()
    assert tomllib.loads(text)["address"] == ["10.40.0.3/32", "fd40::3/128"]
    assert text.endswith(printed)
    assert (mesh / "mesh.toml").read_text() == MESH
    assert wgmesh("validate", "-c", mesh)[0] == 0


def test_node_add_fills_gaps_and_keeps_comments(tmp_path: Path, wgmesh: Run) -> None:
    path = tmp_path / "mesh.toml"
    before = MESH + "".join(f"[node.{name}]\n{entry(n)}" for name, n in (("a", 1), ("c", 3)))
    path.write_text(before)
    (tmp_path / "entry").write_text(f'# from b\npublic_key = "{key(2)}"\nforwarding = true\n')
    code, out, _ = wgmesh("node", "add", "b", "--from", tmp_path / "entry", "-c", path)
    assert (code, out) == (0, f"{path}\n")
    text = path.read_text()
    assert text.startswith(before)
    assert "# from b" in text
    assert tomllib.loads(text)["node"]["b"]["address"] == ["10.40.0.2/32", "fd40::2/128"]


def test_node_add_edits_the_file_that_was_named(tmp_path: Path, wgmesh: Run) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(MESH + f"[node.a]\n{entry(1)}")
    (tmp_path / "entry").write_text(f'public_key = "{key(2)}"\nendpoint = "b.example.com"\n')
    assert wgmesh("node", "add", "b", "--from", tmp_path / "entry", "-c", path)[0] == 0
    assert "[node.b]" in path.read_text()
    assert not (tmp_path / "mesh.toml").exists()


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("alpha", f'public_key = "{key(3)}"\n', "alpha"),
        ("charlie", f'public_key = "{key(1)}"\n', "public_key of node alpha"),
        ("charlie", f'public_key = "{key(3)}"\naddress = "10.40.0.1/32"\n', "10.40.0.1"),
        ("Charlie", f'public_key = "{key(3)}"\n', "no node name"),
        ("charlie", "", "public_key"),
        ("charlie", "public_key =", "TOML"),
        ("charlie", f'public_key = "{key(3)}"\n[node.x]\n', "node"),
    ],
    ids=["name", "key", "address", "letters", "empty", "toml", "table"],
)
def test_node_add_refuses(
    mesh: Path,
    wgmesh: Run,
    stdin: Callable[[bytes], None],
    name: str,
    text: str,
    part: str,
) -> None:
    before = {path: path.read_bytes() for path in mesh.rglob("*.toml")}
    stdin(text.encode())
    code, out, err = wgmesh("node", "add", name, "-c", mesh)
    assert (code, out) == (3, "")
    assert part in err and len(err.splitlines()) <= 2
    assert {path: path.read_bytes() for path in mesh.rglob("*.toml")} == before


def test_node_add_reads_text_only(
    mesh: Path,
    wgmesh: Run,
    stdin: Callable[[bytes], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdin(b"\xff\xfe")
    assert wgmesh("node", "add", "charlie", "-c", mesh)[0] == 2
    assert wgmesh("node", "add", "charlie", "--from", tmp_path / "none", "-c", mesh)[0] == 2
    assert wgmesh("node", "add", "charlie", "--from", tmp_path, "-c", mesh)[0] == 2
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of one that is closed
    code, _, err = wgmesh("node", "add", "charlie", "-c", mesh)
    assert code == 3 and "public_key: is missing" in err
    stdin(f'public_key = "{key(3)}"\n'.encode())
    monkeypatch.chdir(mesh)
    assert wgmesh("node", "add", "charlie", "-c", "HEAD:")[0] == 2


# ---------------------------------------------------------------- init


@pytest.fixture
def signer(tmp_path: Path) -> Path:
    """Make a public key whose private half lies beside it."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@example.com"]
    run([*argv, "-f", str(tmp_path / "id")], tmp_path)
    return tmp_path / "id.pub"


def in_a_process(
    home: Path, *words: str | Path, config: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run wgmesh in a process that knows nobody's git configuration, or that in `config`."""
    env = environment(home) | {"PYTHONPATH": str(TOP)}
    if config is not None:
        env["GIT_CONFIG_GLOBAL"] = str(config)
    return subprocess.run(
        [sys.executable, "-m", "wgmesh", *map(str, words)],
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def _fingerprint(public: Path) -> str:
    return run(["ssh-keygen", "-l", "-f", str(public)], public.parent).decode().split()[1]


def test_init_starts_a_mesh(tmp_path: Path, signer: Path) -> None:
    made = tmp_path / "new" / "mesh"
    done = in_a_process(tmp_path, "init", made, "--signer", signer)
    assert done.returncode == 0, done.stderr
    join = done.stdout.splitlines()[-1].split()
    head = run(["git", "rev-parse", "HEAD"], made).decode().strip()
    assert join[:5] == ["wgmesh", "join", "REMOTE", "--introduction", head]
    run(["git", "verify-commit", "HEAD"], made)
    assert run(["git", "status", "--porcelain"], made) == b""
    with Repository(made / ".git") as repository:
        found = chain.introduce(repository, head, fingerprint=join[6], now=None)
        policy = chain.authority(repository, head)
    assert found.signer == "ada@example.com" and policy.rules == Rules()
    assert len(policy.warnings()) == 1
    hints = re.sub(r"^# (?=[a-z\[])", "", (made / "trust.toml").read_text(), flags=re.MULTILINE)
    assert parse(hints.encode()).admin == frozenset({"ada@example.com"})
    assert parse(hints.encode()).approvals == 2
    assert in_a_process(tmp_path, "validate", "-c", made).returncode == 0


def follow(told: str, home: Path) -> None:
    """Run the git command that a warning ends with."""
    command = told.strip().partition("then run ")[2]
    env = environment(home)
    subprocess.run(["sh", "-c", command], env=env, cwd=home, check=True, stdin=subprocess.DEVNULL)


def test_init_says_what_to_do_where_the_private_key_is_elsewhere(
    tmp_path: Path, signer: Path
) -> None:
    (tmp_path / "alone").mkdir()
    public = signer.rename(tmp_path / "alone/id.pub")
    done = in_a_process(tmp_path, "init", tmp_path / "new", "--signer", public)
    assert done.returncode == 0 and done.stdout.endswith(f"{_fingerprint(public)}\n")
    [told] = done.stderr.splitlines()
    assert told.startswith(
        f"warning: the first commit is not made, since the private half of {public} is neither"
        " beside it nor in ssh-agent: put it into the agent with ssh-add, or to"
        f" {tmp_path}/alone/id, then run git -C"
    )
    assert os.access(tmp_path / "new/.git/hooks/pre-commit", os.X_OK)
    (tmp_path / "id").rename(tmp_path / "alone/id")
    follow(told, tmp_path)
    run(["git", "verify-commit", "HEAD"], tmp_path / "new")


def test_init_says_what_to_do_where_there_is_a_passphrase(tmp_path: Path, signer: Path) -> None:
    words = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(tmp_path / "id")]
    run(words, tmp_path)
    done = in_a_process(tmp_path, "init", tmp_path / "new", "--signer", signer)
    [told] = done.stderr.splitlines()
    assert done.returncode == 0 and told.startswith(
        f"warning: the first commit is not made, since {tmp_path}/id has a passphrase, and is not"
        f" in ssh-agent: put it there with ssh-add {tmp_path}/id, then run git -C"
    )


def test_init_says_what_to_do_where_git_cannot_commit(tmp_path: Path, signer: Path) -> None:
    (tmp_path / "hooks").mkdir()
    hook = tmp_path / "hooks/pre-commit"
    said = "no passphrase on a Friday"
    hook.write_text(f"#!/bin/sh\necho {said} >&2\nexit 1\n")
    hook.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[core]\nhooksPath = {hook.parent}\n")
    words = ("init", tmp_path / "it's new", "--signer", signer)
    done = in_a_process(tmp_path, *words, config=config)
    [told] = done.stderr.splitlines()
    assert f"since a hook of git refused it ({said}): mend that, then run" in told
    hook.unlink()
    follow(told, tmp_path)


def test_init_says_so_where_git_cannot_sign(tmp_path: Path, signer: Path) -> None:
    config = tmp_path / "config"
    config.write_text('[gpg "ssh"]\nprogram = false\n')
    words = ("init", tmp_path / "new", "--signer", signer)
    [told] = in_a_process(tmp_path, *words, config=config).stderr.splitlines()
    assert "since git could not sign it (" in told and "hook" not in told


def test_init_without_git_makes_nothing(
    tmp_path: Path, signer: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh-keygen").symlink_to(shutil.which("ssh-keygen") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    before = {*tmp_path.iterdir()}
    code, _, err = wgmesh("init", tmp_path / "mesh", "--signer", signer)
    assert (code, err) == (1, "wgmesh: git is missing\n  install git\n")
    assert {*tmp_path.iterdir()} == before


KILLED = """
import os, sys
from wgmesh import process
from wgmesh.cli.main import main
run = process.run
process.run = lambda argv, **rest: os._exit(99) if "commit" in argv else run(argv, **rest)
sys.exit(main())
"""


@pytest.mark.parametrize("there", [True, False])
def test_init_that_is_killed_can_be_repeated(tmp_path: Path, signer: Path, there: bool) -> None:
    made = tmp_path / "mesh"
    if there:
        made.mkdir()
    words = ["init", str(made), "--signer", str(signer)]
    argv = [sys.executable, "-c", KILLED, *words]
    env = environment(tmp_path) | {"PYTHONPATH": str(TOP)}
    assert subprocess.run(argv, env=env, cwd=tmp_path, check=False).returncode == 99
    assert made.exists() is there
    done = in_a_process(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    run(["git", "verify-commit", "HEAD"], made)
    assert run(["git", "status", "--porcelain"], made) == b""
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


KILLED_AT = """
import os, sys
from pathlib import Path
from wgmesh.cli.main import main
left, rename = int(sys.argv.pop(1)), Path.rename
def step(self, target):
    global left
    left -= 1
    if left < 0:
        os._exit(99)
    return rename(self, target)
Path.rename = step
sys.exit(main())
"""
"""`wgmesh`, killed after sys.argv[1] renames."""


def test_init_that_is_killed_while_its_files_appear_can_be_repeated(
    tmp_path: Path, signer: Path
) -> None:
    env = environment(tmp_path) | {"PYTHONPATH": str(TOP)}
    for done in (1, 5, 8):
        made = tmp_path / f"mesh{done}"
        made.mkdir()
        words = ["init", str(made), "--signer", str(signer)]
        argv = [sys.executable, "-c", KILLED_AT, str(done), *words]
        assert subprocess.run(argv, env=env, cwd=tmp_path, check=False).returncode == 99
        left = [path for path in made.iterdir() if not path.name.endswith(".tmp")]
        assert len(left) == done and not (made / ".git").exists()
        again = in_a_process(tmp_path, *words)
        assert again.returncode == 0, again.stderr
        run(["git", "verify-commit", "HEAD"], made)
        assert run(["git", "status", "--porcelain"], made) == b""
        assert not [path for path in made.iterdir() if path.name.endswith(".tmp")]
        assert in_a_process(tmp_path, *words).returncode == 2


def test_init_that_was_killed_replaces_nothing_of_its_author(tmp_path: Path, signer: Path) -> None:
    made = tmp_path / "mesh"
    words = ("init", made, "--signer", signer)
    assert in_a_process(tmp_path, *words).returncode == 0
    shutil.rmtree(made / ".git")
    mesh, secret = (made / "mesh.toml"), tmp_path / "secret"
    mesh.rename(secret)
    changes: tuple[tuple[Callable[[], object], Callable[[], object]], ...] = (
        (lambda: mesh.write_text(secret.read_text() + "# mine\n"), mesh.unlink),
        (lambda: mesh.symlink_to(secret), mesh.unlink),
        (lambda: os.mkfifo(mesh), mesh.unlink),
        (mesh.mkdir, mesh.rmdir),
        ((made / "nodes/alpha.toml").touch, (made / "nodes/alpha.toml").unlink),
        ((made / "nodes/.gitkeep").unlink, (made / "nodes/.gitkeep").touch),
    )
    for change, back in changes:
        change()
        done = in_a_process(tmp_path, *words)
        assert done.returncode == 2 and "is not empty" in done.stderr, (change, done)
        assert not (made / ".git").exists()
        back()
    done = in_a_process(tmp_path, *words)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["init", "convert", "convert to a file", "gen"])
def test_what_is_no_directory_is_none_to_write_into(
    mesh: Path, signer: Path, wgmesh: Run, command: str
) -> None:
    """A file, and a link that leads nowhere: one sentence says what is wrong, and nothing stays."""
    dangling = mesh.parent / "dangling"
    dangling.symlink_to("nowhere")
    before = {*mesh.parent.rglob("*")}
    file = signer.with_suffix("")
    for there, what in ((file, "no directory"), (dangling, "a link that leads nowhere")):
        for path in (there, there / "below", there / "below/it"):
            words = {
                "init": ("init", path, "--signer", signer),
                "convert": ("convert", mesh, path),
                "convert to a file": ("convert", mesh, path / "mesh.conf"),
                "gen": ("gen", "-c", mesh, "-o", path),
            }[command]
            code, out, err = wgmesh(*words)
            assert (code, out) == (2, "")
            hint = "name another directory, which may be new"
            assert err == f"wgmesh: {there} is {what}\n  {hint}\n"
    assert {*mesh.parent.rglob("*")} == before


def test_init_leaves_a_used_directory_alone(tmp_path: Path, signer: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes").write_text("mine")
    done = in_a_process(tmp_path, "init", used, "--signer", signer)
    assert done.returncode == 2 and done.stdout == ""
    assert "not empty" in done.stderr
    assert [path.name for path in used.iterdir()] == ["notes"]


def test_init_wants_a_public_key(tmp_path: Path, signer: Path) -> None:
    private = signer.with_suffix("")
    for named in (private, tmp_path / "none", tmp_path):
        done = in_a_process(tmp_path, "init", tmp_path / "new", "--signer", named)
        assert done.returncode == 2, done
        assert done.stderr.startswith("wgmesh: ") and "Traceback" not in done.stderr
        assert "PRIVATE KEY" not in done.stderr
        assert not (tmp_path / "new").exists()
    short = tmp_path / "short.pub"
    run(["ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", short.stem], tmp_path)
    done = in_a_process(tmp_path, "init", tmp_path / "new", "--signer", short)
    assert done.returncode == 2 and "is of no use" in done.stderr
