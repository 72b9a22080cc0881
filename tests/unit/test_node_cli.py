"""`wgmesh node`, `remove-node`, `prune-nodes`, as they are typed."""

import errno
import io
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.inventory_texts import key
from wgmesh.agent import sources
from wgmesh.agent.keypairs import public_half
from wgmesh.cli.main import main
from wgmesh.inventory import load

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an inventory of three nodes, and what gen may have made of it."""
    (tmp_path / "nodes").mkdir()
    (tmp_path / "mesh.toml").write_text(
        '[mesh]\ninterface = "wg0"\nmesh_cidr = ["10.40.0.0/24", "fd40::/64"]\n'
        'local_node = "bravo"  # here\n'
    )
    for number, name in enumerate(("alpha", "bravo", "charlie"), 1):
        (tmp_path / f"nodes/{name}.toml").write_text(
            f'# {name}\naddress = "10.40.0.{number}/32"\npublic_key = "{key(number)}"\n'
            f'endpoint = "{name}.example.com"\n'
        )
        (tmp_path / "out/keys").mkdir(parents=True, exist_ok=True)
        for path in (f"{name}.conf", f"{name}.png", f"keys/{name}.key"):
            (tmp_path / "out" / path).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hidden(mesh: Path) -> Path:
    """Put bravo behind NAT, and write the entry of delta, which is too."""
    entry = mesh / "nodes/bravo.toml"
    entry.write_text(entry.read_text().replace("endpoint", "# endpoint"))
    (mesh / "entry").write_text(f'public_key = "{key(9)}"\n')
    return mesh


@pytest.fixture
def wgmesh(mesh: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line beside the inventory; returns exit code, stdout, stderr."""

    def typed(*words: str) -> tuple[int, str, str]:
        code = main([*words])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return code, shown.out, shown.err

    return typed


def tree(mesh: Path) -> dict[str, bytes]:
    """Return every file by its path."""
    return {
        str(path.relative_to(mesh)): path.read_bytes() for path in mesh.rglob("*") if path.is_file()
    }


REMOVALS = (["node", "remove"], ["remove-node"], ["prune-nodes"])


@pytest.mark.parametrize("words", REMOVALS, ids=" ".join)
def test_a_node_is_removed(mesh: Path, wgmesh: Run, words: list[str]) -> None:
    code, out, err = wgmesh(*words, "bravo")
    assert (code, err) == (0, "")
    assert out.split() == ["mesh.toml", "nodes/bravo.toml"]
    assert not (mesh / "nodes/bravo.toml").exists()
    assert "local_node" not in (mesh / "mesh.toml").read_text()
    assert (mesh / "out/bravo.conf").exists() and (mesh / "out/keys/bravo.key").exists()
    assert wgmesh("validate")[0] == 0


@pytest.mark.parametrize("words", REMOVALS, ids=" ".join)
def test_what_was_made_of_nodes_goes_where_that_is_wanted(
    mesh: Path, wgmesh: Run, words: list[str]
) -> None:
    before = tree(mesh)
    code, out, _ = wgmesh(*words, "bravo", "charlie", "--out-clean", "--delete-keys", "--yes")
    assert code == 0
    gone = {
        path
        for name in ("bravo", "charlie")
        for path in (
            f"nodes/{name}.toml",
            f"out/{name}.conf",
            f"out/{name}.png",
            f"out/keys/{name}.key",
        )
    }
    assert set(out.split()) == gone | {"mesh.toml"}
    assert set(tree(mesh)) == set(before) - gone


@pytest.mark.parametrize("words", REMOVALS, ids=" ".join)
def test_a_dry_run_changes_nothing_and_says_the_same(
    mesh: Path, wgmesh: Run, words: list[str]
) -> None:
    before = tree(mesh)
    options = ("bravo", "--out-clean", "--delete-keys")
    dry = wgmesh(*words, *options, "--dry-run")
    assert dry[0] == 0 and tree(mesh) == before
    assert wgmesh(*words, *options, "--yes") == dry


def test_keys_go_only_after_a_yes(mesh: Path, wgmesh: Run) -> None:
    before = tree(mesh)
    code, out, err = wgmesh("remove-node", "bravo", "--delete-keys")
    assert (code, out) == (2, "") and "--yes" in err
    assert tree(mesh) == before


@pytest.mark.parametrize("words", REMOVALS, ids=" ".join)
def test_a_node_that_is_not_there(mesh: Path, wgmesh: Run, words: list[str]) -> None:
    before = tree(mesh)
    code, out, err = wgmesh(*words, "bravo", "nobody", "--out-clean")
    assert (code, out) == (2, "") and "there is no node 'nobody'" in err
    assert tree(mesh) == before


def test_a_removal_that_was_cut_short_is_finished(mesh: Path, wgmesh: Run) -> None:
    assert wgmesh("node", "remove", "bravo")[0] == 0  # and what is in out was to go as well
    words = ("node", "remove", "bravo", "charlie", "--out-clean", "--delete-keys")
    dry = wgmesh(*words, "--dry-run")
    code, out, err = wgmesh(*words, "--yes")
    assert (code, out, err) == dry == (0, dry[1], "")
    assert {"out/bravo.conf", "out/keys/bravo.key", "nodes/charlie.toml"} < set(out.split())
    assert not [path for path in tree(mesh) if "bravo" in path or "charlie" in path]
    assert wgmesh(*words, "--yes")[0] == 2


def test_a_removal_that_was_cut_short_among_the_files_of_out_is_finished(
    mesh: Path, wgmesh: Run
) -> None:
    words = ["node", "remove", "bravo", "charlie", "--out-clean", "--delete-keys", "--yes"]
    argv = [sys.executable, "-c", KILLED, "6", *words]  # three of the inventory, bravo's three
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run(argv, check=False, cwd=mesh, env=env).returncode == 99
    left = {"out/charlie.conf", "out/charlie.png", "out/keys/charlie.key"}
    assert {path for path in tree(mesh) if "bravo" in path or "charlie" in path} == left
    code, out, err = wgmesh(*words)
    assert (code, {*out.split()}) == (0, left)
    assert err == "warning: there is no node 'bravo' any more, nor anything of it in OUT\n"
    assert not [path for path in tree(mesh) if "bravo" in path or "charlie" in path]
    assert wgmesh(*words)[0] == 2


def test_no_name_of_a_removal_is_a_path(mesh: Path, wgmesh: Run) -> None:
    (mesh / "mine.conf").write_text("")
    code, _, err = wgmesh("node", "remove", "../mine", "--out-clean")
    assert code == 2 and "there is no node" in err and (mesh / "mine.conf").exists()


def test_another_name(mesh: Path, wgmesh: Run) -> None:
    text = (mesh / "nodes/bravo.toml").read_text()
    dry = wgmesh("node", "rename", "bravo", "delta", "--dry-run")
    assert (mesh / "nodes/bravo.toml").exists() and (mesh / "out/keys/bravo.key").exists()
    code, out, err = wgmesh("node", "rename", "bravo", "delta")
    assert (code, out, err) == dry == (0, dry[1], "")
    assert set(out.split()) == {
        "mesh.toml", "nodes/bravo.toml", "nodes/delta.toml",
        "out/keys/delta.key", "out/delta.conf", "out/delta.png",
    }  # fmt: skip
    assert not [path for path in tree(mesh) if "bravo" in path]
    assert (mesh / "nodes/delta.toml").read_text() == text
    assert 'local_node = "delta"  # here\n' in (mesh / "mesh.toml").read_text()
    assert (mesh / "out/keys/delta.key").read_text() == "bravo"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_another_name_changes_no_mode(mesh: Path, wgmesh: Run) -> None:
    modes = {"nodes/bravo.toml": 0o600, "nodes/alpha.toml": 0o640, "out/bravo.conf": 0o600}
    for name, value in modes.items():
        (mesh / name).chmod(value)
    assert wgmesh("node", "rename", "bravo", "delta")[0] == 0
    assert wgmesh("node", "rename", "alpha", "echo")[0] == 0
    found = [mode(mesh / f"{name}") for name in ("nodes/delta.toml", "nodes/echo.toml")]
    assert found == [0o600, 0o640] and mode(mesh / "out/delta.conf") == 0o600


def test_a_new_node_is_for_those_who_may_read_the_others(mesh: Path, wgmesh: Run) -> None:
    (mesh / "entry").write_text(f'public_key = "{key(9)}"\nendpoint = "delta.example.com"\n')
    assert wgmesh("node", "add", "delta", "--from", "entry")[0] == 0
    assert mode(mesh / "nodes/delta.toml") == 0o644
    (mesh / "mesh.toml").chmod(0o640)
    (mesh / "entry").write_text(f'public_key = "{key(10)}"\nendpoint = "echo.example.com"\n')
    assert wgmesh("node", "add", "echo", "--from", "entry")[0] == 0
    assert mode(mesh / "nodes/echo.toml") == 0o640


@pytest.mark.parametrize("name", ["keys/delta.key", "delta.conf", "delta.png"])
def test_what_another_node_left_by_that_name_stays(mesh: Path, wgmesh: Run, name: str) -> None:
    (mesh / "out" / name).write_text("of a delta that was")
    old = name.replace("delta", "bravo")
    code, out, err = wgmesh("node", "rename", "bravo", "delta")
    assert code == 0 and f"out/{name}" not in out.split()
    assert f"out/{old} stays, since there is a out/{name}" in err
    assert (mesh / "out" / name).read_text() == "of a delta that was"
    assert (mesh / "out" / old).read_text() == "bravo"


def test_a_second_node_behind_nat_wants_one_that_forwards(hidden: Path, wgmesh: Run) -> None:
    before = tree(hidden)
    code, out, err = wgmesh("node", "add", "delta", "--from", "entry")
    assert (code, out) == (3, "") and "--forwarding alpha does that" in err
    assert tree(hidden) == before
    words = ("node", "add", "delta", "--from", "entry", "--forwarding", "alpha")
    dry = wgmesh(*words, "--dry-run")
    assert tree(hidden) == before
    assert wgmesh(*words) == dry == (0, "nodes/alpha.toml\nnodes/delta.toml\n", "")
    lines = before["nodes/alpha.toml"].decode().splitlines()
    lines.insert(2, "forwarding = true")
    assert (hidden / "nodes/alpha.toml").read_text().splitlines() == lines
    assert wgmesh("validate")[0] == 0
    (hidden / "entry").write_text(f'public_key = "{key(10)}"\n')
    assert wgmesh("node", "add", "echo", "--from", "entry")[:2] == (0, "nodes/echo.toml\n")


@pytest.mark.parametrize("form", ["mesh.conf", "one.toml"])
@pytest.mark.parametrize("old", ["", "forwarding = false\n"])
def test_one_that_forwards_in_other_forms(
    hidden: Path, wgmesh: Run, form: str, old: str, tmp_path: Path
) -> None:
    with (hidden / "nodes/alpha.toml").open("a") as file:
        file.write(old)
    assert wgmesh("convert", ".", f"single/{form}")[0] == 0
    words = ("node", "add", "delta", "--gen-keys", "-c", f"single/{form}", "-o", "new")
    (hidden / "entry").write_text("managed = false\n")
    code, out, err = wgmesh(*words, "--from", "entry", "--forwarding", "alpha")
    assert (code, err, out.split()) == (0, "", [f"single/{form}", "new/keys/delta.key"])
    found = {
        node.name: node for node in load({form: (hidden / "single" / form).read_bytes()}).nodes
    }
    assert found["alpha"].forwarding and not found["delta"].managed
    assert not found["charlie"].forwarding


@pytest.mark.parametrize(
    ("name", "said", "want"),
    [("nobody", "there is no node 'nobody'", 2), ("bravo", "bravo is behind NAT itself", 3)],
)
def test_one_that_cannot_forward(
    hidden: Path, wgmesh: Run, name: str, said: str, want: int
) -> None:
    before = tree(hidden)
    code, _, err = wgmesh("node", "add", "delta", "--from", "entry", "--forwarding", name)
    assert code == want and said in err and tree(hidden) == before


def test_a_file_of_all_nodes_is_no_nodes_own(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/bravo.toml").rename(mesh / "nodes/wg-failover.toml")
    (mesh / "mesh.toml").write_text((mesh / "mesh.toml").read_text().replace("bravo", "alpha"))
    (mesh / "out/wg-failover.conf").write_text("endpoints of all")
    assert wgmesh("node", "rename", "wg-failover", "delta")[0] == 0
    assert (mesh / "out/wg-failover.conf").exists() and not (mesh / "out/delta.conf").exists()
    assert wgmesh("node", "rename", "delta", "wg-failover")[0] == 0
    assert wgmesh("node", "remove", "wg-failover", "--out-clean")[0] == 0
    assert (mesh / "out/wg-failover.conf").read_text() == "endpoints of all"


def test_another_name_is_written_before_the_old_one_goes(
    mesh: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, mode: int = 0o644) -> None:
        if path.name == "delta.toml":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_bytes(data)

    entry = (mesh / "nodes/bravo.toml").read_bytes()
    monkeypatch.setattr(sources, "write_atomic", full)
    code, _, err = wgmesh("node", "rename", "bravo", "delta")
    assert code == 1 and "No space left" in err
    assert (mesh / "nodes/bravo.toml").read_bytes() == entry


KILLED = """
import os, sys
from pathlib import Path
from wgmesh.cli.main import main
left = int(sys.argv.pop(1))
def counted(call):
    def step(self, *rest, **options):
        global left
        if not (call.__name__ == "unlink" and options):  # else nothing is there
            left -= 1
            if left < 0:
                os._exit(99)
        return call(self, *rest, **options)
    return step
for name in ("replace", "rename", "unlink"):
    setattr(Path, name, counted(getattr(Path, name)))
sys.exit(main())
"""
"""`wgmesh`, killed before what changes a name for that time; sys.argv[1] changes come before."""


def test_another_name_that_was_cut_short_is_finished_by_the_next(
    mesh: Path, wgmesh: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    private = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
    (mesh / "out/keys/bravo.key").write_text(private)
    entry = mesh / "nodes/bravo.toml"
    entry.write_text(entry.read_text().replace(key(2), public_half(private)))
    words = ["node", "rename", "bravo", "delta"]
    start = tmp_path_factory.mktemp("start") / "mesh"
    shutil.copytree(mesh, start)
    assert wgmesh(*words)[0] == 0
    wanted, codes = tree(mesh), []
    for done in range(7):
        shutil.rmtree(mesh / "nodes")
        shutil.rmtree(mesh / "out")
        shutil.copytree(start, mesh, dirs_exist_ok=True)
        argv = [sys.executable, "-c", KILLED, str(done), *words]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        codes.append(subprocess.run(argv, check=False, cwd=mesh, env=env).returncode)
        if codes[-1]:
            code, _, err = wgmesh(*words)
            assert (done, code, err) == (done, 0, "")
        assert tree(mesh) == wanted
    assert codes == [99] * 6 + [0], "two written, one removed, three renamed"
    code, _, err = wgmesh(*words)
    assert code == 2 and "there is no node 'bravo'" in err


@pytest.mark.parametrize("at_hand", [False, True])
def test_another_name_that_was_cut_short_is_finished_where_out_has_no_key_of_it(
    mesh: Path, wgmesh: Run, at_hand: bool
) -> None:
    """Of a node that keeps its key, or has it at its private_key_path: the file of gen tells."""
    shutil.rmtree(mesh / "out")
    if at_hand:
        private = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True)
        (mesh / "own").write_text(private.stdout)
        entry = mesh / "nodes/bravo.toml"
        entry.write_text(
            entry.read_text().replace(key(2), public_half(private.stdout))
            + f'private_key_path = "{mesh}/own"\n'
        )
    assert wgmesh("gen", "--qr")[0] == 0
    assert (mesh / "out/bravo.png").exists() == at_hand and not (mesh / "out/keys").exists()
    words, codes = ("node", "rename", "bravo", "delta"), []
    start = tree(mesh)
    for done in range(6):
        for path in tree(mesh):
            (mesh / path).unlink()
        for path, data in start.items():
            (mesh / path).write_bytes(data)
        argv = [sys.executable, "-c", KILLED, str(done), *words]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        codes.append(subprocess.run(argv, check=False, cwd=mesh, env=env).returncode)
        if codes[-1]:
            code, _, err = wgmesh(*words)
            assert (done, code, err) == (done, 0, "")
        assert not [path for path in tree(mesh) if "bravo" in path]
        assert (mesh / "out/delta.conf").read_bytes() == start["out/bravo.conf"]
    assert codes == [99] * (5 if at_hand else 4) + [0] * (1 if at_hand else 2)
    assert wgmesh(*words)[0] == 2


@pytest.mark.parametrize("is_ours", [False, True])
def test_the_file_of_another_node_gets_no_new_name(mesh: Path, wgmesh: Run, is_ours: bool) -> None:
    """What gen wrote of a node that is gone, or somebody else wrote, is no other node's."""
    shutil.rmtree(mesh / "out")
    assert wgmesh("gen")[0] == 0 and wgmesh("node", "remove", "bravo")[0] == 0
    (mesh / "out/alpha.conf").unlink()
    if not is_ours:  # with alpha's address
        (mesh / "out/bravo.conf").write_text("# bravo\n[Interface]\nAddress = 10.40.0.1/32\n")
    before = tree(mesh)
    code, _, err = wgmesh("node", "rename", "bravo", "alpha")
    assert code == 2 and "there is no node 'bravo'" in err and tree(mesh) == before


def test_another_name_where_keys_are_missing_yet(mesh: Path, wgmesh: Run) -> None:
    entry = (mesh / "nodes/bravo.toml").read_text().replace("public_key", "# public_key")
    (mesh / "nodes/bravo.toml").write_text(entry)
    code, _, err = wgmesh("node", "rename", "bravo", "delta")
    assert (code, err) == (0, "") and (mesh / "nodes/delta.toml").read_text() == entry


def test_edits_wait_for_one_another(mesh: Path) -> None:
    """Of six nodes added at once each has an address of its own, also in a single file."""
    for name in ("alpha", "bravo", "charlie"):
        (mesh / f"nodes/{name}.toml").unlink()
    start = [sys.executable, "-c", "import sys; from wgmesh.cli.main import main; sys.exit(main())"]
    (mesh / "mesh.conf").write_text("[mesh]\ninterface = wg0\nmesh_cidr = 10.40.0.0/24\n")
    (mesh / "mesh.toml").unlink()
    names = [f"n{number}" for number in range(6)]
    running = []
    for number, name in enumerate(names):
        words = ["node", "add", name, "--from", f"{name}.entry", "-c", "mesh.conf"]
        (mesh / f"{name}.entry").write_text(
            f'public_key = "{key(number)}"\nendpoint = "{name}.example.com"\n'
        )
        running.append(subprocess.Popen([*start, *words], cwd=mesh))
    assert [each.wait(timeout=60) for each in running] == [0] * 6
    nodes = load({"mesh.conf": (mesh / "mesh.conf").read_bytes()}).nodes
    assert [node.name for node in nodes] == names
    assert len({node.address for node in nodes}) == 6


def test_another_name_where_preshared_keys_are_used(mesh: Path, wgmesh: Run) -> None:
    with (mesh / "nodes/bravo.toml").open("a") as file:
        file.write('preshared_key_path = "/psk/%p"\n')
    code, _, err = wgmesh("node", "rename", "bravo", "delta")
    assert code == 0 and "preshared keys have bravo in their name" in err


def test_the_next_address(mesh: Path, wgmesh: Run) -> None:
    assert wgmesh("node", "readdress", "bravo") == (0, "nodes/bravo.toml\n", "")
    text = (mesh / "nodes/bravo.toml").read_text()
    assert 'address = ["10.40.0.4/32", "fd40::4/128"]\n' in text and "# bravo\n" in text


def test_a_given_address(mesh: Path, wgmesh: Run) -> None:
    assert wgmesh("node", "readdress", "bravo", "10.40.0.77", "fd40::77/128")[0] == 0
    text = (mesh / "nodes/bravo.toml").read_text()
    assert 'address = ["10.40.0.77/32", "fd40::77/128"]\n' in text
    assert wgmesh("node", "readdress", "bravo", "10.40.0.78")[0] == 0
    assert 'address = "10.40.0.78/32"\n' in (mesh / "nodes/bravo.toml").read_text()
    assert wgmesh("node", "readdress", "bravo", "10.40.0.1", "--dry-run")[0] == 3


def test_add_has_a_dry_run(mesh: Path, wgmesh: Run) -> None:
    (mesh / "entry").write_text(f'public_key = "{key(9)}"\nendpoint = "d.example.com"\n')
    before = tree(mesh)
    words = ("node", "add", "delta", "--from", "entry")
    assert wgmesh(*words, "--dry-run") == (0, "nodes/delta.toml\n", "")
    assert tree(mesh) == before
    assert wgmesh(*words) == (0, "nodes/delta.toml\n", "")
    assert (mesh / "nodes/delta.toml").exists()


def test_add_makes_a_key_where_that_is_wanted(mesh: Path, wgmesh: Run) -> None:
    (mesh / "entry").write_text("managed = false\n")
    (mesh / "out/.gitignore").write_text("*\n")
    words = ("node", "add", "phone", "--from", "entry", "--gen-keys")
    before = tree(mesh)
    dry = wgmesh(*words, "--dry-run")
    assert dry == (0, "nodes/phone.toml\nout/keys/phone.key\n", "") and tree(mesh) == before
    assert wgmesh(*words) == dry
    public = public_half((mesh / "out/keys/phone.key").read_text().strip())
    text = (mesh / "nodes/phone.toml").read_text()
    assert text.endswith(f'public_key = "{public}"\nmanaged = false\n')


@pytest.mark.parametrize("entry", [f'public_key = "{key(9)}"\n', "colour = 1\n", "address = 1\n"])
def test_no_key_is_made_for_a_node_that_cannot_be(mesh: Path, wgmesh: Run, entry: str) -> None:
    (mesh / "entry").write_text(entry)
    words = ("node", "add", "phone", "--from", "entry", "--gen-keys")
    assert wgmesh(*words)[0] in (2, 3)
    assert not (mesh / "nodes/phone.toml").exists() and not (mesh / "out/keys/phone.key").exists()


def test_a_key_is_not_made_where_there_is_one(mesh: Path, wgmesh: Run) -> None:
    (mesh / "entry").write_text(f'managed = false\n  public_key = "{key(9)}"\n')
    code, out, err = wgmesh("node", "add", "phone", "--from", "entry", "--gen-keys")
    assert (code, out) == (2, "")
    assert "the entry of phone has a public_key already" in err and "--gen-keys" in err


def test_a_terminal_is_told_what_is_waited_for(
    wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for kind, told in ((Terminal, True), (io.TextIOWrapper, False)):
        monkeypatch.setattr(sys, "stdin", kind(io.BytesIO(f'public_key = "{key(9)}"'.encode())))
        code, _, err = wgmesh("node", "add", "phone", "--dry-run")
        assert code in (0, 3) and ("Ctrl-D" in err) == told


@pytest.mark.parametrize("action", ["add", "remove", "rename", "readdress"])
def test_each_action_has_an_example_and_the_options_of_all(
    wgmesh: Run, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        wgmesh("node", action, "--help")
    shown = capsys.readouterr().out
    assert stopped.value.code == 0 and f"example: wgmesh node {action} " in shown
    assert "--verbose" in shown and "--quiet" in shown


def test_options_that_remove_things_are_not_abbreviated(mesh: Path, wgmesh: Run) -> None:
    before = tree(mesh)
    with pytest.raises(SystemExit) as stopped:
        wgmesh("node", "remove", "bravo", "--out")
    assert stopped.value.code == 2 and tree(mesh) == before
    assert wgmesh("node", "remove", "bravo", "--quiet")[0] == 0
