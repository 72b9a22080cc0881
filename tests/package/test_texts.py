"""Man pages, completion, wgmesh.toml and the changelog say what the program does."""

import argparse
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from wgmesh import __version__
from wgmesh.cli import main
from wgmesh.inventory import fields
from wgmesh.settings import Settings, load_settings
from wgmesh.trust import policy

TREE = Path(__file__).parents[2]
DOCS = TREE / "docs"
MAN = DOCS / "man"
CONFFILE = TREE / "etc" / "wgmesh" / "wgmesh.toml"
DEFAULTS = {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in asdict(Settings()).items()
}
COMPLETION = TREE / "debian/wgmesh.bash-completion"


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the subcommands of `parser` that its help shows."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            shown = {c.dest for c in action._choices_actions if c.help != argparse.SUPPRESS}
            found |= {name: sub for name, sub in action.choices.items() if name in shown}
    return found


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of `parser` that its help shows."""
    return {
        option
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
    }


def commands() -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Yield every command and every action of one, with its parser."""
    for name, parser in subparsers(main.parser()).items():
        yield (name,), parser
        for action, sub in subparsers(parser).items():
            yield (name, action), sub


def complete(*words: str) -> set[str]:
    """Return what bash offers for the last of `words`, typed after `wgmesh`."""
    script = (
        f'source "{COMPLETION}"; compopt() {{ :; }}\n'
        'COMP_WORDS=(wgmesh "$@"); COMP_CWORD=$#; _wgmesh; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    argv = ["bash", "-c", script, "bash", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert not done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def manual() -> str:
    """Return wgmesh(1) without its markup."""
    return plain("wgmesh.1")


def plain(page: str) -> str:
    """Return a man page without its markup, roughly."""
    text = re.sub(r"\\f[BPIR]|\\&", "", (MAN / page).read_text())
    text = re.sub(r"^\.(BI|BR|B|IR|I) ", "", text, flags=re.M)
    return text.replace("\\(dq", '"').replace("\\-", "-").replace('"', "")


def test_completion_of_commands() -> None:
    assert complete("") == set(subparsers(main.parser()))
    assert complete("-") == options(main.parser())
    assert complete("ro") == {"rollback", "rotate-key"}


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_completion_of_options(words: tuple[str, ...]) -> None:
    parser = dict(commands())[words]
    assert complete(*words, "-") == options(parser)
    assert complete(*words, "") == set(subparsers(parser))


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_completion_of_values(command: str) -> None:
    parser = subparsers(main.parser())[command]
    formats = next(a.choices for a in parser._actions if a.dest == "format")
    assert formats is not None
    assert complete(command, "--format", "") == set(formats)


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_wgmesh_manual(words: tuple[str, ...], manual: str) -> None:
    parser = dict(commands())[words]
    if subparsers(parser):
        return  # each of its actions is a case of its own
    name = re.escape(" ".join(words))
    entry = rf"^\.TP\nwgmesh {name}\b(.*?)(?=^\.TP\nwgmesh |^\.SH )"
    section = re.search(entry, manual, re.M | re.S)
    assert section is not None
    assert len(re.findall(rf"^\.TP\nwgmesh {name}(?= |$)", manual, re.M)) == 1, "described once"
    common = options(main.parser())
    for option in options(parser) - common:
        assert re.search(rf"^{option}\b", section[1], re.M), option
    told = set(re.findall(r"^(--?[a-z-]+)", section[1], re.M))
    assert told <= options(parser)


def test_exit_codes_in_the_manual(manual: str) -> None:
    codes = re.findall(r"^\.TP\n(\d)\n", manual, re.M)
    assert codes == [str(code) for code in range(10)]


def test_inventory_manual() -> None:
    text = (MAN / "mesh.toml.5").read_text()
    for section, known in (("mesh", fields.MESH), ("rollout", fields.ROLLOUT)):
        assert keys(text.split(f".SH [{section}]")[1].split("\n.SH")[0]) == set(known)
    assert keys(text.split(".SH [node.NAME]")[1].split("\n.SH")[0]) == set(fields.NODE)


def test_trust_manual() -> None:
    section = (MAN / "mesh.toml.5").read_text().split(".SH TRUST FILES")[1].split("\n.SH")[0]
    told = keys(section) - {"roles", "admin", "merge"}
    roles = {word for word in ("admin", "merge") if f"roles.{word}" in section}
    assert (told | {"roles"}, roles) == (set(policy.KEYS), set(policy.ROLES))
    shown = re.findall(r"```toml\n(.*?)```", (DOCS / "trust.md").read_text(), re.DOTALL)
    assert len(shown) == 2 and all(policy.parse(text.encode()) for text in shown)


def keys(section: str) -> set[str]:
    """Return the keys that a section of a man page has entries for."""
    heads = re.findall(r"^\.TP\n\.BR? (.*)$", section, re.M)
    return {word for head in heads for word in re.findall(r"\b[a-z_]{2,}\b", head)}


def test_policy_manual() -> None:
    text = (MAN / "wgmesh.toml.5").read_text().replace("\\-", "-").replace("\\(dq", "'")
    shown = re.findall(r"^\.BR (\w+) \" = (.*)\"$", text, re.M)
    written = "\n".join(f"{key} = {value}" for key, value in shown)
    assert tomllib.loads(written) == DEFAULTS


def test_conffile_changes_nothing() -> None:
    assert tomllib.loads(CONFFILE.read_text()) == {}
    assert load_settings(CONFFILE) == Settings()


def test_conffile_shows_every_default(tmp_path: Path) -> None:
    lines = re.findall(r"^#(\w.*)$", CONFFILE.read_text(), re.M)
    live = tmp_path / "wgmesh.toml"
    live.write_text("\n".join(lines))
    assert tomllib.loads(live.read_text()) == DEFAULTS
    assert load_settings(live) == Settings()


def test_changelog_has_this_version() -> None:
    first = (TREE / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"wgmesh ({__version__}) ")
