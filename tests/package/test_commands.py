"""Every `wgmesh …` that a page shows is a command line that wgmesh takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgmesh.cli import main

TREE = Path(__file__).parents[2]
PAGES = [TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))]


def shown(page: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, command) for each line of a block of shell that begins with wgmesh."""
    fence, joined, begun = "", "", 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            fence = line[3:] if not fence else ""
            continue
        if fence not in ("sh", "bash"):
            continue
        begun = begun if joined else number
        joined += line
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        for command in re.split(r"&&|\|\||[;|]", joined.partition(" # ")[0]):
            text = re.sub(r"^\s*(sudo )?\s*", "", command)
            if text.startswith("wgmesh ") and ".sh" not in text:
                yield begun, text
        joined = ""


COMMANDS = [
    pytest.param(text, id=f"{page.relative_to(TREE)}:{line}")
    for page in PAGES
    for line, text in shown(page)
]


def test_there_are_many() -> None:
    assert len(COMMANDS) > 25


@pytest.mark.parametrize("text", COMMANDS)
def test_a_command_that_is_shown_is_taken(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(re.sub(r"\s\d?[<>].*", "", text))[1:]
    filled = ["HEAD" if word == "…" else word for word in words]
    named = next((word for word in filled if not word.startswith("-")), "")
    try:
        main.parser(named).parse_args(filled)
    except SystemExit as stop:
        assert stop.code == 0, capsys.readouterr().err
