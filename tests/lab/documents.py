"""Runs what stands in the blocks of code of a page, as a reader would type it."""

import re
import subprocess
from collections.abc import Mapping, Sequence

from tests.lab.machine import CHECKOUT, Machine

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    """Return the blocks of shell of a page, from its first line to its last."""
    return _BLOCK.findall((CHECKOUT / page).read_text())


def filled(block: str, values: Mapping[str, str]) -> str:
    """Return a block with the reader's own values; nothing must be left to fill in."""
    for placeholder, value in values.items():
        block = block.replace(placeholder, value)
    commands = "\n".join(line.partition(" # ")[0] for line in block.splitlines())
    assert "…" not in commands and not re.search(r"\b(REMOTE|COMMIT)\b", commands), block
    return block


class Shell:
    """A reader's shell on a machine: its directory stays, each line that fails ends the block.

    `user` is the start of an argv that runs as the reader.
    """

    def __init__(
        self, machine: Machine, home: str, user: Sequence[str] = (), *, editor: str = "true"
    ) -> None:
        self.machine = machine
        self.home = home
        self.user = user
        self.editor = editor

    def type(
        self, block: str, values: Mapping[str, str], *, expect: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a block, and return what it said; it must end with `expect`."""
        there = f"{self.home}/.there"
        script = (
            f'cd "$(cat {there} 2>/dev/null || echo {self.home})"\n'
            f"trap 'pwd > {there}' EXIT\n{filled(block, values)}"
        )
        environment = {
            "HOME": self.home,
            "PATH": f"/etc/lab/bin:{self.machine.environment()['PATH']}",
            "EDITOR": self.editor,
            "GIT_EDITOR": "true",
            "GIT_TERMINAL_PROMPT": "0",
        }
        argv = [*self.user, "bash", "-e", "-o", "pipefail", "-c", script]
        done = self.machine.run(argv, env=environment, check=False, timeout=180)
        assert done.returncode == expect, (block, done.returncode, done.stdout, done.stderr)
        return done


def write_editor(machine: Machine, path: str, script: str) -> str:
    """Write an editor, which does by itself what a reader would; returns its path."""
    machine.write(path, f"#!/bin/sh\nset -eu\n{script}", 0o755)
    return path
