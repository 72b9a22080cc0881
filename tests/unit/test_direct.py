"""direct.toml and the inventory beside it, and what apply-remote sends."""

import io
import json
import sys
from pathlib import Path

import pytest

from tests.unit.inventory_texts import key, node
from tests.unit.inventory_texts import mesh as mesh_files
from wgmesh import inventory
from wgmesh.agent import direct, keyed, keypairs, parcel
from wgmesh.agent.sources import Source
from wgmesh.cli.main import main
from wgmesh.errors import UsageError, WgmeshError

FILES = mesh_files("", node("alpha", 1), node("bravo", 2))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let both files lie in a directory of the test's."""
    monkeypatch.setattr(direct, "DIRECT_FILE", tmp_path / "direct.toml")
    monkeypatch.setattr(direct, "_INVENTORY", tmp_path / "direct.json")
    return tmp_path


def test_it_is_remembered_and_forgotten(places: Path) -> None:
    path = places / "direct.toml"
    assert direct.enrolment(path) is None
    direct.begin("alpha", "wg7")
    found = direct.enrolment(path)
    assert found is not None and found.direct and not found.remotes
    assert (found.node, found.interface) == ("alpha", "wg7")
    direct.remember("d1", FILES)
    kept = direct.applied("d1")
    assert kept is not None and [each.name for each in kept.nodes] == ["alpha", "bravo"]
    assert direct.applied("another") is None, "what was rolled back to came of something else"
    direct.forget()
    direct.forget()
    assert list(places.iterdir()) == [] and direct.applied("d1") is None


@pytest.mark.parametrize("text", ["[", 'node = "a"\n', "node = 1\ninterface = 2\n", "\udcff"])
def test_a_damaged_file_is_told(places: Path, text: str) -> None:
    path = places / "direct.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WgmeshError) as error:
        direct.enrolment(path)
    assert "is damaged" in error.value.message and error.value.hint


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"digest": "d"}', b'{"digest":"d","files":1}']
)
def test_an_inventory_that_was_lost_is_none(places: Path, data: bytes) -> None:
    (places / "direct.json").write_bytes(data)
    assert direct.applied("d") is None


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Have `data` on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize("private", [None, "secret"])
def test_a_parcel(monkeypatch: pytest.MonkeyPatch, private: str | None) -> None:
    given(monkeypatch, parcel.pack(FILES, private))
    source, found = parcel.receive()
    assert (source, found) == (Source(None, FILES), private)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[mesh]\n",
        b"[1]",
        b"{}",
        b'{"files": {}}',
        b'{"files": [], "key": null}',
        b'{"files": {"mesh.toml": 1}, "key": null}',
        b'{"files": {}, "key": 5}',
        b"[" * 100_000,
        b'{"files": {"a": "\xff"}, "key": null}',
    ],
)
def test_what_is_no_parcel(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    given(monkeypatch, data)
    with pytest.raises(UsageError):
        parcel.receive()


def test_a_parcel_is_text() -> None:
    with pytest.raises(UsageError):
        parcel.pack({"mesh.toml": b"\xff"}, None)
    assert json.loads(parcel.pack({"a": "ä".encode()}, None)) == {"files": {"a": "ä"}, "key": None}


def test_public_keys_come_from_the_private_ones(tmp_path: Path) -> None:
    text = FILES["mesh.toml"].decode().replace(f'public_key = "{key(2)}"\n', "")
    (tmp_path / "mesh.toml").write_text(text)
    source = Source(tmp_path, {"mesh.toml": text.encode()})
    out = tmp_path / "out"
    assert keyed.keyed(source, None) == source == keyed.keyed(source, out)
    with pytest.raises(UsageError):
        keyed.keyed(source, None, make=True)
    made = keyed.keyed(source, out, make=True).files["mesh.toml"].decode()
    private = keypairs.path(out, "bravo")
    assert private.stat().st_mode & 0o777 == 0o600
    public = keypairs.public_half(private.read_text().strip())
    assert f'public_key = "{public}"' in made and f'public_key = "{key(1)}"' in made
    assert keyed.keyed(source, out).files["mesh.toml"].decode() == made
    assert (tmp_path / "mesh.toml").read_text() == text, "the inventory stays as it is"
    assert not keypairs.path(out, "alpha").exists()


def test_a_dry_run_foresees_keys_and_makes_none(tmp_path: Path) -> None:
    text = "".join(
        line for line in FILES["mesh.toml"].decode().splitlines(True) if "public_key" not in line
    )
    (tmp_path / "mesh.toml").write_text(text)
    source = Source(tmp_path, {"mesh.toml": text.encode()})
    out = tmp_path / "out"
    before = {*tmp_path.rglob("*")}
    found, made = keyed.foreseen(source, out)
    assert {*tmp_path.rglob("*")} == before
    keys = {node.name: node.public_key for node in inventory.load(found.files).nodes}
    assert {name: keypairs.public_half(private) for name, private in made.items()} == keys
    real = keyed.keyed(source, out, make=True)
    assert keyed.foreseen(source, out) == (real, {})
    with pytest.raises(UsageError, match="nowhere"):
        keyed.foreseen(source, None)
    for place in (tmp_path, tmp_path / "mesh.toml"):
        with pytest.raises(UsageError, match=r"lies|no directory"):
            keyed.foreseen(source, place)


def test_a_dry_run_of_hosts_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where keys would be made. Nobody listens at the port, so no host hears of it."""
    (tmp_path / "mesh.toml").write_text(
        '[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n'
        '[node.alpha]\naddress = "10.40.0.1/32"\nssh_host = "127.0.0.1"\nssh_port = 1\n'
    )
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.rglob("*")}
    words = ["apply-remote", "-c", "mesh.toml", "--all"]
    assert main(words) == 3 and "wgmesh gen-keys" in capsys.readouterr().err
    words += ["--gen-keys", "-o", "out"]
    assert main([*words, "--dry-run"]) == 5
    shown = capsys.readouterr()
    assert "alpha: unreachable" in shown.out
    assert {*tmp_path.rglob("*")} == before
    assert main(words) == 5 and (tmp_path / "out/keys/alpha.key").exists()
