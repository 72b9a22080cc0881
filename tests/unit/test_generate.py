"""`wgmesh gen` and `gen-keys`, as they are typed: real files, real git, no root."""

import base64
import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.inventory_texts import key
from tests.unit.signing import run
from wgmesh import inventory
from wgmesh.agent import keypairs, sources
from wgmesh.agent.keyed import keyed
from wgmesh.agent.sources import Source
from wgmesh.cli.main import main

Run = Callable[..., tuple[int, str, str]]

MESH = '# the mesh\n[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n'
ALPHA = '# at home\naddress = "10.40.0.1/32"  # by hand\nendpoint = "alpha.example.com"\n'
BRAVO = f'address = "10.40.0.2/32"\npublic_key = "{key(2)}"\n'


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    """Make a repository with an inventory of alpha, which has no key yet, and bravo."""
    tree = tmp_path / "mesh"
    (tree / "nodes").mkdir(parents=True)
    (tree / "mesh.toml").write_text(MESH)
    (tree / "nodes/alpha.toml").write_text(ALPHA)
    (tree / "nodes/bravo.toml").write_text(BRAVO)
    run(["git", "init", "--quiet", "--initial-branch=main"], tree)
    return tree


@pytest.fixture
def wgmesh(mesh: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in the repository; returns exit code, stdout, stderr."""
    monkeypatch.chdir(mesh)

    def typed(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return code, shown.out, shown.err

    return typed


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def wg_pubkey(private: str) -> str:
    done = subprocess.run(
        ["wg", "pubkey"], input=private, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# ---------------------------------------------------------------- gen


def test_gen_writes_a_file_for_each_node(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/alpha.toml").write_text(f'{ALPHA}public_key = "{key(1)}"\n')
    code, out, err = wgmesh("gen")
    assert code == 0
    assert out.split() == ["out/alpha.conf", "out/bravo.conf", "out/wg-failover.conf"]
    assert "no private key at hand for alpha, bravo" in err
    assert f"PublicKey = {key(2)}" in (mesh / "out/alpha.conf").read_text()
    assert "Endpoint = alpha.example.com:51820\n" in (mesh / "out/bravo.conf").read_text()
    assert [mode(mesh / "out" / name) for name in ("", "alpha.conf", "bravo.conf")] == [
        0o700,
        0o600,
        0o600,
    ]
    assert run(["git", "status", "--porcelain", "--untracked-files=all", "out"], mesh) == b""


def test_gen_keeps_its_modes_and_replaces_files_whole(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/alpha.toml").write_text(f'{ALPHA}public_key = "{key(1)}"\n')
    target = mesh / "elsewhere"
    target.write_text("precious")
    (mesh / "out").mkdir()
    (mesh / "out/.gitignore").write_text("*\n")
    (mesh / "out/alpha.conf").symlink_to(target)
    (mesh / "out/bravo.conf").write_text("old")
    (mesh / "out/bravo.conf").chmod(0o666)
    assert wgmesh("gen")[0] == 0
    assert target.read_text() == "precious"
    assert mode(mesh / "out/bravo.conf") == mode(mesh / "out/alpha.conf") == 0o600
    left = {path.name for path in (mesh / "out").iterdir()}
    assert left == {".gitignore", "alpha.conf", "bravo.conf", "wg-failover.conf"}


def test_gen_of_one_node(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/alpha.toml").write_text(f'{ALPHA}public_key = "{key(1)}"\n')
    code, out, _ = wgmesh("gen", "-o", "there/of/it", "--node", "bravo")
    assert (code, out.split()[0]) == (0, "there/of/it/bravo.conf")
    assert not (mesh / "there/of/it/alpha.conf").exists()
    code, out, err = wgmesh("gen", "--node", "nobody")
    assert (code, out) == (2, "") and "there is no node 'nobody'" in err
    assert not (mesh / "out").exists()


def test_gen_refuses_an_inventory_without_keys(mesh: Path, wgmesh: Run) -> None:
    code, out, err = wgmesh("gen")
    assert (code, out) == (3, "") and "public_key: is missing" in err
    assert not (mesh / "out").exists()


def test_gen_keys_of_gen_stay_out_of_the_inventory(mesh: Path, wgmesh: Run) -> None:
    assert wgmesh("gen", "--gen-keys")[0] == 0
    private = (mesh / "out/keys/alpha.key").read_text()
    assert mode(mesh / "out/keys/alpha.key") == 0o600 and mode(mesh / "out/keys") == 0o700
    assert f"PrivateKey = {private}" in (mesh / "out/alpha.conf").read_text()
    assert f"PublicKey = {wg_pubkey(private)}\n" in (mesh / "out/bravo.conf").read_text()
    assert (mesh / "nodes/alpha.toml").read_text() == ALPHA
    assert not (mesh / "out/keys/bravo.key").exists()
    first = (mesh / "out/bravo.conf").read_bytes()
    assert wgmesh("gen", "--gen-keys")[0] == 0
    assert (mesh / "out/bravo.conf").read_bytes() == first, "the key that is there stays"


def test_gen_reads_a_commit(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/alpha.toml").write_text(f'{ALPHA}public_key = "{key(1)}"\n')
    run(["git", "add", "--all"], mesh)
    run(["git", "commit", "--quiet", "--no-gpg-sign", "-m", "first"], mesh)
    (mesh / "mesh.toml").write_text("oops")
    assert wgmesh("gen", "-c", "HEAD:.")[0] == 0
    assert (mesh / "out/alpha.conf").exists()


def test_a_key_at_its_path_counts_if_it_is_the_nodes(mesh: Path, wgmesh: Run) -> None:
    private = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
    (mesh.parent / "own.key").write_text(private)
    path = f'private_key_path = "{mesh.parent}/own.key"\n'
    mine = f'public_key = "{wg_pubkey(private)}"\n'
    (mesh / "nodes/alpha.toml").write_text(ALPHA + mine + path)
    (mesh / "nodes/bravo.toml").write_text(BRAVO + path)
    assert wgmesh("gen")[0] == 0
    assert f"PrivateKey = {private}" in (mesh / "out/alpha.conf").read_text()
    other = (mesh / "out/bravo.conf").read_text()
    assert private.strip() not in other and f"private-key {mesh.parent}/own.key" in other


@pytest.fixture
def own(mesh: Path) -> Path:
    """Make a private key outside of the inventory, and alpha's private_key_path its file."""
    file = mesh.parent / "own.key"
    file.write_bytes(subprocess.run(["wg", "genkey"], capture_output=True, check=True).stdout)
    (mesh / "nodes/alpha.toml").write_text(f'{ALPHA}private_key_path = "{file}"\n')
    return file


@pytest.mark.parametrize("words", [("gen-keys",), ("gen", "--gen-keys")])
def test_a_key_at_its_path_is_the_nodes_key(
    mesh: Path, wgmesh: Run, own: Path, words: tuple[str, ...]
) -> None:
    private = own.read_text()
    code, out, _ = wgmesh(*words)
    assert code == 0 and "alpha.key" not in out and not list(mesh.rglob("*.key"))
    assert own.read_text() == private
    if words[0] == "gen":
        assert f"PrivateKey = {private}" in (mesh / "out/alpha.conf").read_text()
        assert f"PublicKey = {wg_pubkey(private)}\n" in (mesh / "out/bravo.conf").read_text()
    else:
        assert f'public_key = "{wg_pubkey(private)}"' in (mesh / "nodes/alpha.toml").read_text()


@pytest.mark.parametrize("make", [False, True])
def test_what_is_applied_by_hand_has_the_same_key(mesh: Path, own: Path, make: bool) -> None:
    source = sources.load(str(mesh))
    found = keyed(source, mesh / "out", make=make)
    assert wg_pubkey(own.read_text()) in found.files["nodes/alpha.toml"].decode()
    assert (mesh / "nodes/alpha.toml").read_bytes() == source.files["nodes/alpha.toml"]
    assert not list(mesh.rglob("*.key"))


def test_node_add_takes_the_key_at_its_path(mesh: Path, wgmesh: Run, own: Path) -> None:
    entry = mesh.parent / "entry.toml"
    entry.write_text((mesh / "nodes/alpha.toml").read_text())
    (mesh / "nodes/alpha.toml").unlink()
    words = ("node", "add", "alpha", "--gen-keys", "--from", entry)
    dry = wgmesh(*words, "--dry-run")
    assert wgmesh(*words) == dry == (0, "nodes/alpha.toml\n", "")
    assert wg_pubkey(own.read_text()) in (mesh / "nodes/alpha.toml").read_text()
    assert not list(mesh.rglob("*.key"))


def test_a_key_that_was_made_before_counts_and_the_other_stays(
    mesh: Path, wgmesh: Run, own: Path
) -> None:
    keypairs.make_room(mesh / "out", Source(mesh, {}))
    made, private = keypairs.make(mesh / "out", "alpha"), own.read_text()
    code, _, err = wgmesh("gen-keys")
    assert code == 0 and "and not the other key at alpha's private_key_path" in err
    assert f'public_key = "{made}"' in (mesh / "nodes/alpha.toml").read_text()
    assert own.read_text() == private


@pytest.mark.parametrize("whose", ["of both", "of another", "copied"])
def test_a_path_on_each_nodes_own_machine_says_nothing_here(
    mesh: Path, wgmesh: Run, own: Path, whose: str
) -> None:
    public = wg_pubkey(own.read_text())
    bravo = BRAVO.replace(key(2), public)
    if whose == "of both":
        bravo = f'{BRAVO}private_key_path = "{own}"\n'
    elif whose == "copied":  # such as ./alpha/wg0.key and ./bravo/wg0.key of one image
        copy = own.with_name("copy.key")
        copy.write_bytes(own.read_bytes())
        bravo = f'address = "10.40.0.2/32"\nprivate_key_path = "{copy}"\n'
    (mesh / "nodes/bravo.toml").write_text(bravo)
    code, _, err = wgmesh("gen-keys")
    assert code == 0 and f"{own} is not taken for the key of alpha: it is another's, too" in err
    made = (mesh / "out/keys/alpha.key").read_text()
    assert made != own.read_text()
    if whose == "copied":
        assert f"{copy} is not taken for the key of bravo: it is another's, too" in err
        assert (mesh / "out/keys/bravo.key").read_text() not in (made, own.read_text())
    assert f'public_key = "{wg_pubkey(made)}"' in (mesh / "nodes/alpha.toml").read_text()


def test_a_file_at_its_path_that_holds_no_key_is_no_reason_for_another(
    mesh: Path, wgmesh: Run, own: Path
) -> None:
    before = (mesh / "nodes/alpha.toml").read_text()
    own.write_text("no key\n")
    code, out, err = wgmesh("gen-keys")
    assert (code, out) == (1, "") and f"{own} holds no key" in err
    assert (mesh / "nodes/alpha.toml").read_text() == before and not list(mesh.rglob("*.key"))


def test_a_path_that_may_not_be_looked_at_is_one_on_the_nodes_own_machine(
    mesh: Path, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as in /etc/wireguard of an author who is not root."""
    own.parent.chmod(0)
    nodes = inventory.load(sources.load(str(mesh)).files, require_keys=False).nodes
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        found = keypairs.at_paths(nodes)
    finally:
        os.seteuid(user)
        own.parent.chmod(0o700)
    assert not found, "then a key is made in OUT"
    [said] = caplog.messages
    assert said.startswith(f"{own}, the private_key_path of alpha, may not be looked at (Perm")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev", "/dev/null/none"])
def test_what_is_no_file_is_no_key(mesh: Path, wgmesh: Run, path: str) -> None:
    """The path is that of another machine, and comes with whatever change is looked at."""
    (mesh / "nodes/bravo.toml").write_text(f'{BRAVO}private_key_path = "{path}"\n')
    code, _, err = wgmesh("gen", "--gen-keys", "--node", "bravo")
    assert code == 0 and "no private key at hand for bravo" in err


def test_a_kept_key_of_another_node_is_not_written(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/alpha.toml").write_text(f'{ALPHA}public_key = "{key(1)}"\n')
    keypairs.make_room(mesh / "out", Source(mesh, {}))
    (mesh / "out/keys").mkdir()
    wrong = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
    (mesh / "out/keys/alpha.key").write_text(wrong)
    code, _, err = wgmesh("gen")
    assert code == 0 and "is not the key that alpha has" in err
    assert wrong.strip() not in (mesh / "out/alpha.conf").read_text()


def test_our_public_half_is_that_of_wg(tmp_path: Path) -> None:
    made = keypairs.make(tmp_path, "alpha")
    private = (tmp_path / "keys/alpha.key").read_text().strip()
    raw = base64.b64decode(private)
    assert raw[0] & 7 == 0 and raw[31] & 0xC0 == 0x40
    assert made == wg_pubkey(private) == keypairs.public_half(private)


# ---------------------------------------------------------------- where secrets do not go


@pytest.mark.parametrize("out", [".", "nodes", "out/../nodes"])
def test_the_inventory_is_no_place_for_secrets(mesh: Path, wgmesh: Run, out: str) -> None:
    (mesh / "out").mkdir()
    code, _, err = wgmesh("gen", "--gen-keys", "-o", out)
    assert code == 2 and "secrets do not belong there" in err
    assert not list(mesh.rglob("*.key")) and not list(mesh.rglob("*.conf"))


@pytest.mark.parametrize("ignored", ["# nothing\n", None])
def test_a_directory_that_git_would_take_is_refused(
    mesh: Path, wgmesh: Run, ignored: str | None
) -> None:
    (mesh / "out").mkdir()
    (mesh / "out/of-others").write_text("")
    if ignored is not None:
        (mesh / "out/.gitignore").write_text(ignored)
    code, _, err = wgmesh("gen", "--gen-keys")
    assert code == 2 and "is tracked by git" in err
    assert not list(mesh.rglob("*.key"))
    assert (mesh / "out/.gitignore").exists() == (ignored is not None), "nobody's files are hidden"


def test_a_directory_that_git_has_is_refused(mesh: Path, wgmesh: Run) -> None:
    (mesh / "out").mkdir()
    (mesh / "out/alpha.conf").write_text("committed once")
    run(["git", "add", "out"], mesh)
    (mesh / "out/.gitignore").write_text("*\n")
    code, _, err = wgmesh("gen", "--gen-keys")
    assert code == 2 and "is tracked by git" in err
    assert (mesh / "out/alpha.conf").read_text() == "committed once"


@pytest.mark.parametrize("pattern", ["*.conf", "*.conf\n*.png", "*\n!/keys\n!/keys/*"])
def test_a_directory_of_which_git_would_take_the_keys_is_refused(
    mesh: Path, wgmesh: Run, pattern: str
) -> None:
    (mesh / "out").mkdir()
    (mesh / "out/.gitignore").write_text(f"{pattern}\n.gitignore\n")
    code, _, err = wgmesh("gen-keys")
    assert code == 2 and "is tracked by git" in err
    assert not list(mesh.rglob("*.key"))


@pytest.mark.parametrize("ignored", [True, False])
def test_keys_behind_a_link_are_looked_for_there(mesh: Path, wgmesh: Run, ignored: bool) -> None:
    (mesh / "out").mkdir()
    (mesh / "out/.gitignore").write_text("*\n")
    (mesh / "elsewhere").mkdir()
    (mesh / "out/keys").symlink_to("../elsewhere")
    if ignored:
        (mesh / "elsewhere/.gitignore").write_text("*\n")
    code, _, err = wgmesh("gen-keys")
    assert code == (0 if ignored else 2) and ("is tracked by git" in err) != ignored
    assert (mesh / "elsewhere/alpha.key").exists() == ignored


def test_a_repository_that_git_does_not_open_is_not_trusted_to_ignore(
    mesh: Path, wgmesh: Run
) -> None:
    (mesh / "out").mkdir()
    (mesh / "out/of-others").write_text("")
    (mesh / ".git/config").write_text("[core]\nrepositoryformatversion = 999\n")
    code, _, err = wgmesh("gen-keys")
    assert code == 2 and "is tracked by git" in err
    assert not list(mesh.rglob("*.key"))


@pytest.mark.parametrize("name", ["wg-failover", "wg-exit-selector"])
def test_no_node_has_the_file_of_all_nodes(mesh: Path, wgmesh: Run, name: str) -> None:
    assert wgmesh("gen-keys")[0] == 0
    (mesh / f"nodes/{name}.toml").write_text(
        f'address = "10.40.0.3/32"\npublic_key = "{key(3)}"\nendpoint = "c.example.com"\n'
    )
    code, out, err = wgmesh("gen", "-o", "made")
    assert (code, out) == (3, "") and f"{name}.conf" in err
    assert not (mesh / "made").exists()
    assert wgmesh("gen", "-o", "made", "--node", "alpha")[0] == 0


def test_a_file_is_no_directory(mesh: Path, wgmesh: Run) -> None:
    (mesh / "out").write_text("")
    code, _, err = wgmesh("gen", "--gen-keys")
    assert code == 2 and "out is no directory" in err


# ---------------------------------------------------------------- qr


def test_a_picture_of_each_file_with_its_key(mesh: Path, wgmesh: Run) -> None:
    pytest.importorskip("segno")
    code, out, err = wgmesh("gen", "--gen-keys", "--qr")
    assert "for bravo: no QR code either" in err
    assert code == 0 and "out/alpha.png" in out.split() and "out/bravo.png" not in out.split()
    assert (mesh / "out/alpha.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert mode(mesh / "out/alpha.png") == 0o600


def test_a_terminal_shows_the_one_that_is_asked_for(
    mesh: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("segno")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", terminal)
        assert main(["gen", "--gen-keys", "--qr", "--node", "alpha"]) == 0
    assert "\u2588" in terminal.getvalue()
    assert "\u2588" not in wgmesh("gen", "--gen-keys", "--qr", "--node", "alpha")[1]


def test_a_file_that_is_too_long_for_a_picture(mesh: Path, wgmesh: Run) -> None:
    pytest.importorskip("segno")
    for number in range(3, 60):
        text = f'address = "10.40.0.{number}/32"\npublic_key = "{key(number)}"\nendpoint = "a:1"\n'
        (mesh / f"nodes/n{number}.toml").write_text(text.replace("a:1", f"n{number}.example"))
    code, out, err = wgmesh("gen", "--gen-keys", "--qr", "--node", "alpha")
    assert code == 0 and ".png" not in out and "too long for a QR code" in err


def test_without_the_library_the_error_names_it(
    mesh: Path, wgmesh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    code, _, err = wgmesh("gen", "--gen-keys", "--qr")
    assert code == 1 and "python3-segno" in err


def test_no_process_for_each_key(mesh: Path, tmp_path: Path) -> None:
    """Nothing but git is started, so gen works where wireguard-tools is not installed."""
    (tmp_path / "bin").mkdir()
    code = (
        "import sys, wgmesh.process as p\n"
        "started = []\n"
        "run = p.run\n"
        "p.run = lambda argv, **more: started.append(argv[0]) or run(argv, **more)\n"
        "from wgmesh.cli.main import main\n"
        "status = main(['gen', '--gen-keys'])\n"
        "raise SystemExit(status or (set(started) != {'git'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=mesh, env=os.environ, check=False)
    assert done.returncode == 0


# ---------------------------------------------------------------- gen-keys


def test_gen_keys_writes_the_public_halves_back(mesh: Path, wgmesh: Run) -> None:
    code, out, err = wgmesh("gen-keys")
    assert (code, err) == (0, "")
    assert out.split() == ["nodes/alpha.toml", "out/keys/alpha.key"]
    private = (mesh / "out/keys/alpha.key").read_text()
    first, second, *rest = ALPHA.splitlines()
    public = f'public_key = "{wg_pubkey(private)}"'
    assert (mesh / "nodes/alpha.toml").read_text().splitlines() == [first, second, public, *rest]
    assert (mesh / "nodes/bravo.toml").read_text() == BRAVO
    assert mode(mesh / "out/keys/alpha.key") == 0o600
    assert mode(mesh / "nodes/alpha.toml") == 0o644
    assert wgmesh("validate")[0] == 0
    assert wgmesh("gen-keys") == (0, "", "")
    assert wgmesh("gen")[0] == 0
    assert f"PrivateKey = {private}" in (mesh / "out/alpha.conf").read_text()


def test_gen_keys_goes_on_where_it_was_cut_short(mesh: Path, wgmesh: Run) -> None:
    keypairs.make_room(mesh / "out", Source(mesh, {}))
    made = keypairs.make(mesh / "out", "alpha")
    assert wgmesh("gen-keys")[0] == 0
    assert f'public_key = "{made}"' in (mesh / "nodes/alpha.toml").read_text()


def test_a_directory_whose_making_was_cut_short_is_made(mesh: Path, wgmesh: Run) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (mesh / "out").mkdir()
    (mesh / f"out/..gitignore.{gone.pid}.tmp").write_text("")
    code, _, err = wgmesh("gen-keys")
    assert (code, err) == (0, "") and (mesh / "out/.gitignore").read_text() == "*\n"


def test_gen_keys_of_the_seeds_format(mesh: Path, wgmesh: Run) -> None:
    conf = '[mesh]\ninterface = wg0\nmesh_cidr = 10.40.0.0/24\n\n# home\n[node "alpha"]\n'
    rest = "  address=10.40.0.1/32 ; by hand\n  endpoint = alpha.example.com\n"
    (mesh / "fleet.conf").write_text(conf + rest)
    code, out, _ = wgmesh("gen-keys", "-c", "fleet.conf", "-o", "new")
    assert (code, out.split()) == (0, ["fleet.conf", "new/keys/alpha.key"])
    public = wg_pubkey((mesh / "new/keys/alpha.key").read_text())
    key_line = f"  public_key={public}\n"
    assert (mesh / "fleet.conf").read_text() == conf + rest.replace("  end", f"{key_line}  end")


@pytest.mark.parametrize("inventory", ["HEAD:.", "fleet"])
def test_gen_keys_of_what_cannot_be_edited(mesh: Path, wgmesh: Run, inventory: str) -> None:
    run(["git", "add", "--all"], mesh)
    run(["git", "commit", "--quiet", "--no-gpg-sign", "-m", "first"], mesh)
    (mesh / "fleet").write_text(MESH)
    assert wgmesh("gen-keys", "-c", inventory)[0] == 2
    assert not (mesh / "out").exists()


def test_one_key_for_two_nodes_is_refused(mesh: Path, wgmesh: Run) -> None:
    keypairs.make_room(mesh / "out", Source(mesh, {}))
    made = keypairs.make(mesh / "out", "alpha")
    (mesh / "nodes/bravo.toml").write_text(BRAVO.replace(key(2), made))
    code, _, err = wgmesh("gen-keys")
    assert code == 3 and "bravo has the key of alpha\n  remove out/keys/alpha.key, and " in err
    assert (mesh / "nodes/alpha.toml").read_text() == ALPHA


SEED = """\
# Example mesh inventory
[mesh]
interface = wg0
port = 51820
mesh_cidr = 10.40.0.0/24  # RFC1918 (or ULA for IPv6)

[node "alpha"]
address = 10.40.0.1/32
public_key = <ALPHA_PUBLIC_KEY>
private_key = <ALPHA_PRIVATE_KEY>
private_key_path = /etc/wireguard/alpha.key
endpoint = alpha.example.com:51820
allowed_ips = 10.40.0.1/32

[node "bravo"]
address = 10.40.0.2/32
public_key = <BRAVO_PUBLIC_KEY>  # to come
endpoint = bravo.example.com:51820
allowed_ips = 10.40.0.2/32
"""


def test_placeholders_of_the_shell_tools_example(mesh: Path, wgmesh: Run) -> None:
    (mesh / "fleet.conf").write_text(SEED)
    code, _, err = wgmesh("validate", "-c", "fleet.conf")
    assert code == 3 and err.count("public_key: is missing") == 2
    assert "fleet.conf:10: warning: node alpha: private_key: is a placeholder" in err
    assert wgmesh("gen", "-c", "fleet.conf", "--gen-keys")[0] == 0
    assert (mesh / "fleet.conf").read_text() == SEED
    made = [wg_pubkey((mesh / f"out/keys/{name}.key").read_text()) for name in ("alpha", "bravo")]
    assert f"PublicKey = {made[1]}\n" in (mesh / "out/alpha.conf").read_text()
    assert wgmesh("gen-keys", "-c", "fleet.conf")[0] == 0
    want = SEED.replace("<ALPHA_PUBLIC_KEY>", made[0]).replace("<BRAVO_PUBLIC_KEY>", made[1])
    assert (mesh / "fleet.conf").read_text() == want
    assert wgmesh("validate", "-c", "fleet.conf")[0] == 0


def test_a_placeholder_becomes_a_comment(mesh: Path, wgmesh: Run) -> None:
    (mesh / "fleet.conf").write_text(SEED)
    assert wgmesh("convert", "fleet.conf", "fleet.toml")[0] == 0
    text = (mesh / "fleet.toml").read_text()
    assert "# public_key = <ALPHA_PUBLIC_KEY>\n# private_key = <ALPHA_PRIVATE_KEY>\n" in text
    assert wgmesh("gen-keys", "-c", "fleet.toml")[0] == 0
    assert wgmesh("validate", "-c", "fleet.toml")[0] == 0


def test_a_placeholder_is_none_in_toml(mesh: Path, wgmesh: Run) -> None:
    (mesh / "nodes/alpha.toml").write_text(f'{ALPHA}public_key = "<ALPHA_PUBLIC_KEY>"\n')
    code, _, err = wgmesh("gen-keys")
    assert code == 3 and "is not 32 bytes of base64" in err
