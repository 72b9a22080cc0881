"""`wgmesh doctor`: what would break the mesh on this machine, and how to mend it."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from wgmesh.cli.command import Command
from wgmesh.cli.output import painter

if TYPE_CHECKING:
    from wgmesh.doctor import Finding

_COLOURS = {"error": "red", "warning": "yellow", "note": "bold"}


def _declare(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _run(arguments: Namespace) -> int:
    from wgmesh.agent import doctor

    found = doctor.diagnose()
    broken = any(each.level.value == "error" for each in found.findings)
    if arguments.json:
        rows = [asdict(each) | {"level": each.level.value} for each in found.findings]
        shown = {"ok": not broken, "joined": found.joined, "node": found.node, "findings": rows}
        print(json.dumps(shown, indent=2))
    else:
        sys.stdout.write(text(found.findings))
    return 1 if broken else 0


def text(findings: Sequence["Finding"]) -> str:
    """Return the findings for people, each with its fix below it, and a line that counts them."""
    paint = painter(sys.stdout)
    lines = []
    counts = dict.fromkeys(_COLOURS, 0)
    for each in findings:
        word = each.level.value
        counts[word] += 1
        lines.append(f"{paint(word, _COLOURS[word])} [{each.check}] {_plain(each.message)}")
        if each.fix:
            lines.append(f"    {_plain(each.fix)}")
    trouble = [f"{counts[word]} {word}{'s'[: counts[word] != 1]}" for word in ("error", "warning")]
    serious = counts["error"] + counts["warning"]
    lines.append(", ".join(trouble) if serious else "nothing wrong was found")
    return "".join(f"{line}\n" for line in lines)


def _plain(said: str) -> str:
    """Return what other programs have said without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in said)


COMMANDS = (
    Command(
        "doctor",
        "find what would break the mesh on this machine, each with its fix",
        "wgmesh doctor --json",
        _declare,
        _run,
    ),
)
