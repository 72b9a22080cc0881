"""Every kind of bad inventory, as a signed commit: exit 3, file and line, nothing changed."""

import io
import json
import re
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.bytewise import whole
from tests.lab.conftest import WorldFactory
from tests.lab.mesh import Mesh
from wgmesh.cli.main import main

MESH, ALPHA, BRAVO = "mesh.toml", "nodes/alpha.toml", "nodes/bravo.toml"
CHARLIE, DELTA = "nodes/charlie.toml", "nodes/delta.toml"
RECORDS = {"last-sync.toml", "verdict.toml", "tips.toml", "seen.toml", "soak.toml"}
"""What a turn remembers of any tip."""

KEYS = [f"{letter * 42}A=" for letter in "cd"]
EXIT = 'exit_nodes = ["alpha"]\n'
STAR = 'topology = "star"\n'
CONF = """\
[mesh]
interface = wg0
mesh_cidr = 10.40.0.0/24
port = 70000

[node "alpha"]
address = 10.40.0.1/32
public_key = {key}
endpoint = 198.18.0.11
"""


@dataclass(frozen=True)
class Bad:
    """What is added to files of a good inventory (`text` to `file`), and how that is told.

    `at` is how the line begins that the problem lies on; the first line of the file without it.
    """

    name: str
    file: str
    text: str
    field: str | None
    message: str
    at: str = ""
    hint: str = ""
    others: Mapping[str, str] | None = None
    replaced: str = ""  # the line of `file` that begins so is left out
    node: str | None = None


def nat(name: str, number: int) -> str:
    """Return the entry of a node behind NAT that has no machine."""
    return f'address = "10.40.0.{number}/32"\npublic_key = "{KEYS[number - 3]}"\n'


CASES = [
    # what the seed refused
    Bad("no interface", MESH, "", "interface", "missing", "[mesh]", replaced="interface"),
    Bad("no address", BRAVO, "", "address", "missing", replaced="address", node="bravo"),
    Bad("no key", BRAVO, "", "public_key", "missing", replaced="public_key", node="bravo"),
    Bad("address twice", CHARLIE, nat("charlie", 3), "address", "already", "address",
        "nodes/alpha.toml:1", replaced="address", others={CHARLIE: 'address = "10.40.0.1/32"\n'}),
    Bad("same address, other length", CHARLIE, nat("charlie", 3), "address", "already", "address",
        replaced="address", others={CHARLIE: 'address = "10.40.0.1/24"\n'}),
    Bad("key of another", CHARLIE, 'address = "10.40.0.3/32"\n', "public_key", "already",
        "public_key", "nodes/alpha.toml", others={CHARLIE: "@alpha's key\n"}),
    Bad("allowed_ips is no CIDR", ALPHA, 'allowed_ips = "10.9.0.0/"\n', "allowed_ips",
        "CIDR", "allowed_ips"),
    Bad("endpoint is none", CHARLIE, nat("charlie", 3) + 'endpoint = "bad host:51820"\n',
        "endpoint", "host", "endpoint"),
    Bad("unknown exit", MESH, 'exit_nodes = ["alpah"]\n', "exit_nodes", "alpah", "exit_nodes",
        "did you mean 'alpha'"),
    Bad("exit policy", MESH, 'exit_policy = "latancy"\n', "exit_policy", "latancy",
        "exit_policy", "did you mean 'latency'"),
    Bad("exit interval", MESH, "exit_check_interval_seconds = 0\n", "exit_check_interval_seconds",
        "out of range", "exit_check_interval_seconds"),
    # what its bash let through
    Bad("mesh port", MESH, "port = 65536\n", "port", "65536", "port", replaced="port"),
    Bad("listen port", ALPHA, "listen_port = 65536\n", "listen_port", "65536", "listen_port"),
    Bad("endpoint port", CHARLIE, nat("charlie", 3) + 'endpoint = "c.example.net:70000"\n',
        "endpoint", "port", "endpoint"),
    Bad("impossible prefix length", ALPHA, 'allowed_ips = ["10.9.0.0/33"]\n', "allowed_ips",
        "impossible prefix length", "allowed_ips"),
    Bad("host bits", ALPHA, 'allowed_ips = ["10.9.0.1/24"]\n', "allowed_ips", "host bits",
        "allowed_ips", "10.9.0.0/24"),
    Bad("same prefix on two nodes", BRAVO, 'allowed_ips = ["10.9.0.0/24"]\n', "allowed_ips",
        "10.9.0.0/24", "allowed_ips", "nodes/alpha.toml",
        others={ALPHA: 'allowed_ips = "10.9.0.0/24"\n'}, node="bravo"),
    Bad("address outside of mesh_cidr", CHARLIE,
        f'address = "10.41.0.3/32"\npublic_key = "{KEYS[0]}"\n', "address", "outside", "address",
        "10.40.0.0/24"),
    Bad("unknown key of a node", ALPHA, "persistent_keepalife = 25\n", "persistent_keepalife",
        "no field", "persistent_keepalife", "did you mean 'persistent_keepalive'"),
    Bad("unknown key of the mesh", MESH, 'topologie = "star"\n', "topologie", "no field",
        "topologie", "did you mean 'topology'"),
    Bad("a key of 31 bytes", CHARLIE,
        'address = "10.40.0.3/32"\npublic_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=="\n',
        "public_key", "32 bytes", "public_key"),
    Bad("a key of zeroes", CHARLIE, f'address = "10.40.0.3/32"\npublic_key = "{"A" * 43}="\n',
        "public_key", "zero", "public_key"),
    Bad("two nodes behind NAT that never meet", CHARLIE, nat("charlie", 3), "endpoint",
        "behind NAT", others={DELTA: nat("delta", 4)}, node="delta"),
    Bad("a long interface name", MESH, 'interface = "wireguard-interface"\n', "interface",
        "interface name", "interface", replaced="interface"),
    Bad("a slash in the interface name", MESH, 'interface = "wg/0"\n', "interface",
        "interface name", "interface", replaced="interface"),
    Bad("an escaped line break", ALPHA,
        'post_up = "true\\nPostUp = touch /tmp/pwned"\npost_down = "true"\n', "post_up",
        "control character", "post_up"),
    Bad("a control character", ALPHA, 'ssh_user = "a\x1bb"\n', None, "control character",
        "ssh_user"),
    Bad("a private key", ALPHA, f'private_key = "{KEYS[0]}"\n', "private_key", "secret",
        "private_key", "private_key_path"),
    Bad("a public mesh address", CHARLIE, f'address = "8.8.8.8/32"\npublic_key = "{KEYS[0]}"\n',
        "address", "public address", "address", "RFC 1918"),
    Bad("a public mesh_cidr", MESH, 'mesh_cidr = ["8.8.8.0/24", "fd40::/64"]\n', "mesh_cidr",
        "not private", "mesh_cidr", replaced="mesh_cidr"),
    Bad("a star without hubs", MESH, STAR, "hubs", "hubs", "[mesh]"),
    Bad("an exit without interface", MESH, EXIT, "exit_out_iface", "missing", node="alpha",
        others={ALPHA: "enable_nat = true\n"}),
    Bad("an exit without NAT", MESH, EXIT, "enable_nat", "missing", node="alpha",
        others={ALPHA: 'exit_out_iface = "eth0"\n'}),
    Bad("a default route on an exit", ALPHA,
        'exit_out_iface = "eth0"\nenable_nat = true\nallowed_ips = "0.0.0.0/0"\n', "allowed_ips",
        "0.0.0.0/0", "allowed_ips", others={MESH: EXIT}),
    Bad("a hook alone", ALPHA, 'post_up = "true"\n', "post_up", "counterpart", "post_up"),
    Bad("a hook alone, the other way", ALPHA, 'post_down = "true"\n', "post_down", "counterpart",
        "post_down"),
    # the form of the files
    Bad("a node in both", MESH, f"[node.alpha]\n{nat('alpha', 3)}", None,
        "stands in mesh.toml too", node="alpha"),
    Bad("no TOML", ALPHA, "listen_port = = 1\n", None, "TOML", "listen_port"),
    Bad("a key twice", ALPHA, 'ssh_user = "a"\nssh_user = "b"\n', None, "TOML", 'ssh_user = "b"'),
    Bad("an impossible name", "nodes/Bad_Name.toml", nat("bad", 3), None, "no node name"),
    Bad("two inventories", "mesh.conf", CONF, None, "mesh.toml is there too"),
    Bad("a type", ALPHA, 'listen_port = "51820"\n', "listen_port", "integer", "listen_port"),
]  # fmt: skip


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes that have nothing left to do."""
    made = Mesh(module_world_factory(["alpha", "bravo"]))
    made.bring_up("alpha", "bravo")
    made.sync()
    return made


@pytest.fixture(scope="module")
def good(mesh: Mesh) -> dict[str, str]:
    """Return the good inventory, by name."""
    tree = mesh.author.tree
    paths = [tree / MESH, *sorted((tree / "nodes").iterdir())]
    return {str(path.relative_to(tree)): path.read_text() for path in paths}


@pytest.fixture(scope="module")
def before(mesh: Mesh, good: dict[str, str]) -> tuple[str, ...]:
    """Return what the node of all cases was before the first."""
    assert good.keys() == {MESH, ALPHA, BRAVO}
    return whole(mesh.world["alpha"], but=RECORDS)


def spoilt(case: Bad, good: Mapping[str, str]) -> dict[str, str]:
    """Return the files of a case that differ from the good ones."""
    key = next(line for line in good[ALPHA].splitlines() if line.startswith("public_key"))
    lines = (good.get(case.file, "") + case.text).splitlines(keepends=True)
    if case.replaced:
        without = [line for line in lines if not line.startswith(case.replaced)]
        own = case.text.startswith(case.replaced) and case.file in good
        lines = without + ([case.text] if own else [])
    found = {case.file: "".join(lines)}
    for file, text in (case.others or {}).items():
        found[file] = found.get(file, good.get(file, "")) + text.replace("@alpha's key", key)
    return found


def place(case: Bad, files: Mapping[str, str]) -> tuple[str, int]:
    """Return file and line on which the problem of a case lies."""
    file = f"nodes/{case.node}.toml" if case.node and not case.at else case.file
    rows = files[file].splitlines() if file in files else []
    numbers = [n for n, row in enumerate(rows, 1) if case.at and row.startswith(case.at)]
    return file, numbers[-1] if numbers else (0 if case.name == "two inventories" else 1)


def validate(tree: Path, form: str) -> tuple[int, str]:
    """Run `wgmesh validate` on the author's tree; return exit code and all that it said."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main(["validate", "-c", str(tree), "--format", form])
    return code, said.getvalue()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_inventory_is_refused(
    mesh: Mesh, good: dict[str, str], before: tuple[str, ...], case: Bad
) -> None:
    changed = spoilt(case, good)
    author, alpha = mesh.author, mesh.world["alpha"]
    for path in (author.tree / "nodes").iterdir():
        if str(path.relative_to(author.tree)) not in good:
            author.write(str(path.relative_to(author.tree)), None)
    if (author.tree / "mesh.conf").exists():
        author.write("mesh.conf", None)
    commit = author.commit({**good, **changed}, case.name)
    author.push()

    file, line = place(case, {**good, **changed})
    where = f"{file}:{line}: " if line else f"{file}: "

    code, text = validate(author.tree, "text")
    assert code == 3
    told = [row for row in text.splitlines() if row.startswith(f"{where}error: ")]
    assert any(case.message in row and case.hint in row for row in told), text

    code, text = validate(author.tree, "json")
    shown = json.loads(text)
    assert code == 3 and shown.keys() == {"ok", "summary", "problems"}
    assert shown["ok"] is False and shown["summary"] is None
    assert all(
        set(problem) == {"severity", "file", "line", "node", "field", "message", "hint"}
        for problem in shown["problems"]
    )
    assert any(
        (problem["severity"], problem["file"], problem["line"], problem["field"])
        == ("error", file, line, case.field)
        and case.message in problem["message"]
        and case.hint in problem["hint"]
        for problem in shown["problems"]
    ), shown

    code, text = validate(author.tree, "github")
    assert code == 3
    at = rf"(\S*/)?{re.escape(file)}" + (f",line={line}" if line else "")
    assert re.search(f"^::error file={at}::.*{re.escape(case.message)}", text, re.MULTILINE), text

    done = alpha.wgmesh("sync", check=False)
    assert done.returncode == 3 and done.stdout == ""
    said = done.stderr.splitlines()[-2:]
    errors = [problem for problem in shown["problems"] if problem["severity"] == "error"]
    first = errors[0]
    assert said[0].startswith("wgmesh: the inventory is invalid: ")
    assert (f"{first['file']}:{first['line']}: " if first["line"] else first["file"]) in said[0]
    assert first["message"] in said[0] and said[1].strip()
    assert "Traceback" not in done.stderr

    assert whole(alpha, but=RECORDS) == before
    status = json.loads(alpha.read("/run/wgmesh/status.json"))  # quicker than to ask again
    assert status["state"] == "invalid"
    assert status["candidate"]["id"] == commit
    assert status["last_sync"]["outcome"] == "invalid"


def test_a_good_commit_replaces_it(
    mesh: Mesh, good: dict[str, str], before: tuple[str, ...]
) -> None:
    """A nested prefix and an invalid commit again, then what is good."""
    author, alpha = mesh.author, mesh.world["alpha"]
    assert alpha.wgmesh("sync", check=False).returncode == 3  # each time
    assert alpha.wgmesh("status", check=False).returncode == 7
    extra = {str(p.relative_to(author.tree)): None for p in (author.tree / "nodes").iterdir()}
    if (author.tree / "mesh.conf").exists():
        extra["mesh.conf"] = None
    author.commit({**{f: t for f, t in extra.items() if f not in good}, **good}, "Good again")
    author.push()
    alpha.wgmesh("sync")
    assert whole(alpha, but=RECORDS) == before
    status = mesh.status("alpha")
    assert (status["state"], status["reasons"]) == ("in-sync", [])


def test_a_nested_prefix_is_a_warning(mesh: Mesh, good: dict[str, str]) -> None:
    nested = {
        ALPHA: good[ALPHA] + 'allowed_ips = "10.9.0.0/16"\n',
        BRAVO: good[BRAVO] + 'allowed_ips = "10.9.1.0/24"\n',
    }
    mesh.commit(nested, "Nested")
    code, text = validate(mesh.author.tree, "text")
    assert code == 0
    assert re.search(r"^nodes/bravo.toml:\d: warning: .*10.9.1.0/24 lies inside", text, re.M)
    mesh.sync()
    routes = mesh.world["alpha"].run(["ip", "route", "show", "table", "all", "dev", "wg0"]).stdout
    assert "10.9.1.0/24" in routes


def test_an_empty_repository_of_an_inventory(mesh: Mesh, good: dict[str, str]) -> None:
    alpha = mesh.world["alpha"]
    mesh.author.commit(dict.fromkeys(good), "Nothing left")
    mesh.author.push()
    done = alpha.wgmesh("sync", check=False)
    assert done.returncode == 3 and "mesh.toml" in done.stderr
    mesh.commit(dict(good), "All back")
    mesh.sync()
