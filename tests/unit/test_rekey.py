"""The two edits that change a node's key: what `git apply` makes of the patches."""

import subprocess
from pathlib import Path

import pytest

from tests.unit.mesh_inventories import key
from wgmesh.errors import InventoryError
from wgmesh.inventory import load
from wgmesh.inventory.rekey import complete, patch, stage
from wgmesh.model.inventory import Node

OLD, NEW = key("alpha"), key("alpha, later")
MESH = '[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n'
OTHER = f'address = "10.40.0.2/32"\npublic_key = "{key("bravo")}"\nendpoint = "192.0.2.2"\n'
ENTRY = f'# ours\naddress = "10.40.0.1/32"\n  public_key = "{OLD}"  # made by join\n# the end\n'
SPLIT = {"mesh.toml": MESH, "nodes/alpha.toml": ENTRY, "nodes/bravo.toml": OTHER}
SINGLE = {"mesh.toml": f"{MESH}[node.bravo]\n{OTHER}[node.alpha]\n{ENTRY}"}
DOTTED = {
    "mesh.toml": f"{MESH}[node]\n"
    + "".join(
        f"{name}.{line}\n"
        for name, text in (("alpha", ENTRY), ("bravo", OTHER))
        for line in (each.strip() for each in text.splitlines())
        if line[0] != "#"
    )
}
CONF = {
    "mesh.conf": (
        "[mesh]\ninterface = wg0\nmesh_cidr = 10.40.0.0/24\n"
        f'[node "bravo"]\naddress = 10.40.0.2/32\npublic_key = {key("bravo")}\n'
        f'endpoint = 192.0.2.2\n[node "alpha"]\naddress = 10.40.0.1/32\n'
        f"public_key = {OLD} # made by join\n"
    )
}
WINDOWS = {name: text.replace("\n", "\r\n") for name, text in SPLIT.items()}
CUT_OFF = {**SPLIT, "nodes/alpha.toml": ENTRY.removesuffix("# the end\n").removesuffix("\n")}


def git(directory: Path, *arguments: str, stdin: bytes = b"") -> None:
    argv = ["git", "-c", "core.autocrlf=false", *arguments]
    subprocess.run(argv, cwd=directory, input=stdin, check=True, capture_output=True)


def alpha(files: dict[str, bytes]) -> Node:
    return next(each for each in load(files).nodes if each.name == "alpha")


@pytest.mark.parametrize("root", ["", "fleet/eu/"])
@pytest.mark.parametrize(
    "texts",
    [SPLIT, SINGLE, DOTTED, CONF, WINDOWS, CUT_OFF],
    ids=["split", "single", "dotted", "conf", "windows", "cut off"],
)
def test_the_patches_are_the_two_commits(texts: dict[str, str], root: str, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    files = {name: text.encode() for name, text in texts.items()}
    for name, data in files.items():
        path = tmp_path / root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def applied(text: str) -> dict[str, bytes]:
        git(tmp_path, "apply", "--whitespace=nowarn", "-", stdin=text.encode())
        return {name: (tmp_path / root / name).read_bytes() for name in files}

    staged = applied(patch(files, stage(files, "alpha", NEW), root))
    assert (alpha(staged).public_key, alpha(staged).next_public_key) == (OLD, NEW)
    assert b"".join(staged.values()).count(b"made by join") == b"".join(files.values()).count(
        b"made by join"
    )
    done = applied(patch(staged, complete(staged, "alpha"), root))
    assert (alpha(done).public_key, alpha(done).next_public_key) == (NEW, None)
    assert {name: data.replace(NEW.encode(), OLD.encode()) for name, data in done.items()} == files


def test_an_inventory_that_is_one_file_of_another_name(tmp_path: Path) -> None:
    files = {"mesh.toml": SINGLE["mesh.toml"].encode()}
    text = patch(files, stage(files, "alpha", NEW), "fleet.toml")
    assert text.startswith("--- a/fleet.toml\n+++ b/fleet.toml\n")


@pytest.mark.parametrize(
    "entry",
    [
        f'alpha = {{ address = "10.40.0.1/32", public_key = "{OLD}" }}',
        f'alpha.address = "10.40.0.1/32"\nalpha.public_key = """\\\n{OLD}"""',
    ],
)
def test_a_line_that_says_more_is_left_to_people(entry: str) -> None:
    text = f"{MESH}[node.bravo]\n{OTHER}[node]\n{entry}\n".replace("[node.bravo]", "[node.bravo]")
    files = {"mesh.toml": text.encode()}
    assert alpha(files).public_key == OLD
    with pytest.raises(InventoryError, match="changed by itself") as caught:
        stage(files, "alpha", NEW)
    assert NEW in caught.value.hint
