"""Forms of an inventory: there and back is the same model, the comments come along."""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.inventory_texts import DATA, FORMATS, files, key
from tests.unit.test_inventory_rework import MESH
from wgmesh.cli.main import main
from wgmesh.errors import InventoryError
from wgmesh.inventory import convert, load

HEAD = '[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n'
NODE = f'address = "10.40.0.1/32"\npublic_key = "{key(1)}"\n'


def comments(text: bytes) -> list[str]:
    """Return the comments of a text whose strings hold no `#`, sorted."""
    return sorted(
        found.strip("#; \t\r\n")
        for found in re.findall(r"(?:^|\s)[#;] [^\n]*", text.decode(), re.M)
    )


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_becomes_every_other(form: str) -> None:
    before = files(form)
    want = load(before)
    toml, ini = convert.to_toml(before), convert.to_conf(before)
    for made in ({"mesh.toml": toml}, {"mesh.conf": ini}, convert.to_directory(before)):
        assert load(made) == want
    assert convert.to_toml({"mesh.conf": ini}) == toml
    assert convert.to_conf({"mesh.toml": toml}) == ini
    assert convert.to_conf(convert.to_directory({"mesh.conf": ini})).count(b"[node") == 3


def test_comments_come_along() -> None:
    before = {"mesh.toml": MESH}
    ini = convert.to_conf(before)
    assert comments(ini) == comments(MESH)
    back = convert.to_toml({"mesh.conf": ini})
    assert comments(back) == comments(MESH)
    split = convert.to_directory(before)
    assert sorted(c for data in split.values() for c in comments(data)) == comments(MESH)


@pytest.mark.parametrize("quotes", ["'''", '"""'])
def test_no_comment_is_made_of_a_string(quotes: str) -> None:
    hooks = f'post_up = {quotes}a "b" it\'s # c{quotes}\npost_down = {quotes}d{quotes}\n'
    made = convert.to_toml({"mesh.toml": f"{HEAD}\n[node.alpha]\n{NODE}{hooks}".encode()})
    assert [line for line in made.decode().split("\n") if "#" in line] == [
        'post_up = "a \\"b\\" it\'s # c"'
    ]


def test_a_comment_stays_where_it_stood() -> None:
    ini = convert.to_conf({"mesh.toml": MESH}).decode()
    assert '\n# of bravo\n# two lines\n[node "bravo"]\n' in ini
    assert "\naddress = 10.40.0.2/32  # by hand\n" in ini
    assert "\n# first, since it is at home\n# and nobody else\ncanary = bravo, charlie\n" in ini
    assert ini.startswith("# the mesh\n[mesh]\n") and ini.endswith("\n# the end\n")


def test_the_seeds_comments_become_toml() -> None:
    toml = convert.to_toml(files("seed")).decode()
    assert "\n# a comment of the other kind\n" in toml
    assert "exit_check_interval_seconds = 30  # seconds\n" in toml
    assert "[node.charlie]  # the exit\n" in toml


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}[node]\na = {{ {NODE.strip().replace(chr(10), ', ')} }} # mine\n",
        f"{HEAD}[node]\n# all\na.{NODE.replace('public', 'a.public')}",
        "mesh = { interface = 'wg0', mesh_cidr = '10.40.0.0/24' } # x\n" + f"[node.a]\n{NODE}",
        f"{HEAD}# first\n\n\n# second\n[node.a] # third\n{NODE}# fourth\n\n# fifth",
    ],
)
def test_toml_however_it_is_written(text: str) -> None:
    before = {"mesh.toml": text.encode()}
    ini = convert.to_conf(before)
    assert load({"mesh.conf": ini}) == load(before)
    assert comments(ini) == comments(text.encode())


@pytest.mark.parametrize("hook", ["echo '#'", "echo a #b", " echo a", "echo a "])
def test_what_the_ini_form_cannot_say_is_refused_or_kept(hook: str) -> None:
    text = f'{HEAD}[node.a]\n{NODE}post_up = "{hook}"\npost_down = "true"\n'
    before = {"mesh.toml": text.encode()}
    if hook == "echo '#'":
        assert load({"mesh.conf": convert.to_conf(before)}) == load(before)
    else:
        with pytest.raises(InventoryError):
            convert.to_conf(before)


HOOKS = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1)


@given(HOOKS)
def test_a_hook_is_the_same_or_refused(hook: str) -> None:
    text = hook.strip() or "x"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    before = {
        "mesh.toml": f'{HEAD}[node.a]\n{NODE}post_up = "{quoted}"\npost_down = "x"\n'.encode()
    }
    try:
        ini = convert.to_conf(before)
    except InventoryError:
        assert re.search(r"(^|\s)#", text)
        return
    assert load({"mesh.conf": ini}) == load(before)
    assert load({"mesh.toml": convert.to_toml({"mesh.conf": ini})}) == load(before)


# ---------------------------------------------------------------- the command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = DATA / "seed/mesh.conf"
    toml, back, tree = (tmp_path / name for name in ("mesh.toml", "back.conf", "tree"))
    assert main(["convert", str(seed), str(toml)]) == 0
    assert capsys.readouterr().out == f"{toml}\n"
    assert main(["convert", str(toml), str(back)]) == 0
    assert load({"mesh.conf": back.read_bytes()}) == load(files("seed"))
    assert main(["convert", str(seed), str(tree)]) == 0
    assert {path.name for path in (tree / "nodes").iterdir()} == {
        "alpha.toml",
        "bravo.toml",
        "charlie.toml",
    }
    assert main(["validate", "-c", str(tree)]) == 0


def test_what_is_made_is_for_those_who_may_read_what_it_is_made_of(tmp_path: Path) -> None:
    seed = tmp_path / "mesh.conf"
    seed.write_bytes((DATA / "seed/mesh.conf").read_bytes())
    toml, tree, back = (tmp_path / name for name in ("mesh.toml", "tree", "back.conf"))
    seed.chmod(0o600)
    assert main(["convert", str(seed), str(tree)]) == 0
    assert main(["convert", str(seed), str(toml)]) == 0
    made = [toml, tree / "mesh.toml", tree / "nodes/alpha.toml"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o600] * 3
    for path in tree.rglob("*.toml"):
        path.chmod(0o644)
    (tree / "nodes/alpha.toml").chmod(0o640)
    assert main(["convert", str(tree), str(back)]) == 0
    assert stat.S_IMODE(back.stat().st_mode) == 0o640


def test_the_command_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mesh.toml"
    target.write_text("precious")
    assert main(["convert", str(DATA / "seed/mesh.conf"), str(target)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["convert", str(DATA / "seed/mesh.conf"), str(tmp_path)]) == 2
    assert target.read_text() == "precious" and list(tmp_path.iterdir()) == [target]


def test_nodes_that_are_there_are_not_taken_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be part of the mesh."""
    tree = tmp_path / "tree"
    (tree / "nodes").mkdir(parents=True)
    seed = str(DATA / "seed/mesh.conf")
    stray = tree / "nodes/zulu.toml"
    stray.write_text('address = "10.40.0.99/32"\n')
    assert main(["convert", seed, str(tree)]) == 2
    assert f"{tree}/nodes is there already" in capsys.readouterr().err
    assert [path for path in tree.rglob("*") if path.is_file()] == [stray]
    stray.unlink()
    (tree / "README").write_text("of a repository")
    assert main(["convert", seed, str(tree)]) == 0 and main(["validate", "-c", str(tree)]) == 0


@pytest.mark.parametrize("name", ["mesh.yaml", "mesh.json"])
def test_a_form_that_there_is_not_makes_no_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    seed, target = str(DATA / "seed/mesh.conf"), tmp_path / name
    assert main(["convert", seed, str(target)]) == 2
    assert f"{name} is neither .toml nor .conf" in capsys.readouterr().err and not target.exists()
    target.mkdir()
    assert main(["convert", seed, str(target)]) == 0


KILLED = """
import os, sys
from wgmesh import files
from wgmesh.cli.main import main
left, replace = int(sys.argv.pop(1)), files.Path.replace
def counted(self, target):
    global left
    left -= 1
    if left < 0:
        os._exit(99)
    return replace(self, target)
files.Path.replace = counted
sys.exit(main())
"""
"""`wgmesh`, killed when it puts that file into its place; sys.argv[1] are in theirs."""


@pytest.mark.parametrize("there", [True, False])
def test_a_conversion_that_is_killed_leaves_no_smaller_mesh(tmp_path: Path, there: bool) -> None:
    tree = tmp_path / "tree"
    if there:
        tree.mkdir()
        (tree / "README").write_text("of a repository")
    words = ["convert", str(DATA / "seed/mesh.conf"), str(tree)]
    codes = []
    for done in range(5):
        argv = [sys.executable, "-c", KILLED, str(done), *words]
        codes.append(subprocess.run(argv, check=False, cwd=Path(__file__).parents[2]).returncode)
        whole = codes[-1] == 0
        assert (main(["validate", "-c", str(tree)]) == 0) is whole
        if there and not whole and (tree / "nodes").exists():
            shutil.rmtree(tree / "nodes")  # as the sentence says
    assert codes == [99] * 4 + [0], "mesh.toml and three nodes"
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_what_is_invalid_is_not_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = tmp_path / "mesh.conf"
    seed.write_text("[mesh]\ninterface = wg0\nmesh_cidr = 10.40.0.0/24\nport = 70000\n")
    assert main(["convert", str(seed), str(tmp_path / "mesh.toml")]) == 3
    assert "mesh.conf:4: port" in capsys.readouterr().err
