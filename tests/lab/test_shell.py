"""`python -m tests.lab`, as docs/development.md has it: on a terminal, as a person types it."""

import subprocess
import sys
from pathlib import Path

from tests.lab.conftest import WorldFactory
from tests.lab.machine import CHECKOUT


def typed(words: str, *lines: str) -> str:
    """Run the command on a terminal, type these lines there, and return what it shows."""
    argv = ["script", "-qec", f"{sys.executable} -m tests.lab {words}", "/dev/null"]
    text = "".join(f"{line}\n" for line in (*lines, "exit"))
    done = subprocess.run(
        argv, input=text, capture_output=True, text=True, cwd=CHECKOUT, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_mesh_that_works_and_a_change_of_it() -> None:
    said = typed(
        "shell bravo",
        "hostname",
        "wgmesh status | head -3",
        "cd $INVENTORY && echo 'allowed_ips = [\"192.168.60.0/24\"]' >> nodes/alpha.toml",
        "git commit -qam Words && git push -q && wgmesh sync",
        "ip route get 192.168.60.1",
        "wg-failover status >/dev/null && wg-exit-selector status >/dev/null && echo both work",
        "pwd -P",
    )
    lines = [line.strip() for line in said.splitlines()]
    assert "bravo" in lines and "both work" in lines, said
    assert "in-sync" in said and "runs as generation 2" in said, said
    assert any(line.startswith("192.168.60.1 dev wg0") for line in lines), said
    tree = next(Path(line) for line in lines if line.endswith("/people/ada/mesh"))
    assert not tree.parents[2].exists(), "all of it is gone"


def test_machines_that_nobody_has_joined() -> None:
    said = typed("shell --empty", "wgmesh status", "echo $FORGE")
    assert "not joined" in said or "not-joined" in said, said
    assert said.count("git://198.18.0.1/mesh.git") >= 2, "told at first, and in the shell"


def test_into_a_machine_that_runs(world_factory: WorldFactory) -> None:
    world = world_factory(["alpha"])
    said = typed(f"enter {world['alpha'].pid}", "hostname", "ip -4 -br address show eth0")
    assert "alpha" in said.split() and f"{world['alpha'].ipv4}/15" in said
    argv = [sys.executable, "-m", "tests.lab", "enter", "nobody"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.returncode == 1 and f"alpha, PID {world['alpha'].pid}" in done.stderr
