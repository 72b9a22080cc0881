"""The arrows of docs/architecture.md, read from the imports: each room sees only what it may."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "wgmesh"

CORE = {
    "after",
    "model",
    "errors",
    "frozen",
    "inventory",
    "mesh",
    "render",
    "rotation",
    "diff",
    "describe",
    "doctor",
    "choices",
    "desired",
    "judge",
    "quarantine",
    "remembered",
    "shape",
    "select",
    "trust",
}
DOORS = {"process", "files"}
TRANSACTION = {"linux", "generation", "journal", "probe", "proof", "snapshot", "watchdog"}
SHELL = TRANSACTION | DOORS | {"gpgv", "handover", "repository", "records", "resolve", "settings"}
SHELL |= {"glance", "history", "keys", "names"}
SHELL |= {"survey", "transaction"}

# What a room may import beside itself.
MAY_IMPORT = (
    {room: CORE for room in CORE}
    | {room: CORE | DOORS for room in SHELL}
    | {
        "transaction": CORE | DOORS | TRANSACTION,
        "names": CORE | DOORS | {"handover"},  # opens what the fetch has left
        "proof": CORE | DOORS | {"linux", "probe"},  # packets and counters
        "watchdog": CORE | DOORS | {"journal", "linux"},  # a unit that waits for the journal
        "agent": CORE | SHELL,
        "cli": CORE | {"agent", "settings"},
        "__main__": {"cli"},
    }
)

# Start-up is paid each minute on each node: these load inside the verbs that need them.
HEAVY = {"git", "jinja2", "pyroute2", "cryptography"}
# The core does no I/O, reads no clock, logs nothing, rolls no dice.
WORLD = {"logging", "os", "random", "secrets", "shutil", "socket", "subprocess", "tempfile", "time"}

MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
)


@pytest.mark.parametrize(
    "path",
    sorted((PACKAGE.parent / "tests/lab").glob("test_*.py")),
    ids=lambda path: str(path.stem),
)
def test_what_serves_ssh_in_the_laboratory_needs_sshd(path: Path) -> None:
    """`make venv` may find none; then such a test is skipped, and says why."""
    text = path.read_text()
    assert "sshd.serve(" not in text or "sshd.needed" in text


def room(path: Path) -> str:
    """Return the room of a module: the folder or file right under wgmesh/."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST, *, deep: bool) -> Iterator[str]:
    """Yield dotted names of what `tree` imports; not `deep`: only what loading it imports."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module, names, level):
                assert not level and module, "imports are absolute"
                yield from (f"{module}.{name.name}" for name in names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() if not deep:
                pass
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) if not deep:
                pass
            case _:
                yield from imported(node, deep=deep)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path: Path) -> None:
    here = room(path)
    assert here in MAY_IMPORT, f"give the room {here} its place in MAY_IMPORT"
    tree = ast.parse(path.read_bytes())
    everything = [name.split(".") for name in imported(tree, deep=True)]
    rooms = {name[1] for name in everything if name[0] == "wgmesh" and name[1:]}
    assert rooms <= MAY_IMPORT[here] | {here, "__version__"}
    if here in CORE:
        assert not {name[0] for name in everything} & WORLD
    assert not {name.split(".")[0] for name in imported(tree, deep=False)} & HEAVY


def test_subprocess_has_one_door() -> None:
    users = {
        room(path)
        for path in MODULES
        for name in imported(ast.parse(path.read_bytes()), deep=True)
        if name.split(".")[0] == "subprocess"
    }
    assert users == {"process"}


@pytest.mark.parametrize("name", ["failover", "exits"])
def test_a_tick_that_finds_all_well_loads_no_model(name: str) -> None:
    code = (
        f"import sys, wgmesh.cli.{name}, wgmesh.agent.{name}\n"
        "raise SystemExit('wgmesh.model' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
