"""The command line: its table, its manners, and what it prints."""

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from wgmesh import __version__
from wgmesh.cli import main as cli
from wgmesh.cli import output
from wgmesh.cli.command import Command, nothing
from wgmesh.cli.report import history_text, size, table
from wgmesh.errors import (
    InventoryError,
    LockedError,
    NotJoinedError,
    RefusedError,
    RolledBackError,
    UnreachableError,
    UsageError,
    WgmeshError,
)

TOP = Path(__file__).parents[2]
PROMISED = {
    *("join", "leave", "sync", "status", "rollback", "hold", "resume", "history", "diff"),
    *("reconcile", "recover", "init", "validate", "plan", "node", "trust"),
}


@pytest.fixture(autouse=True)
def _quiet_after() -> Iterator[None]:
    """Put logging back as it was: the command line sets it up for the whole process."""
    logger = logging.getLogger("wgmesh")
    before = (logger.handlers, logger.level, logger.propagate, logging.raiseExceptions)
    yield
    logger.handlers, _, logger.propagate, logging.raiseExceptions = before
    logger.setLevel(before[1])


def wgmesh(
    *argv: str, env: dict[str, str] | None = None, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "wgmesh", *argv],
        cwd=TOP,
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )


# ---------------------------------------------------------------- the table


def test_every_promised_command_is_there() -> None:
    names = [command.name for command in cli.commands()]
    assert set(names) >= PROMISED
    assert len(names) == len(set(names))


@pytest.mark.parametrize("command", cli.commands(), ids=lambda command: command.name)
def test_help_has_a_summary_and_an_example(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.example.startswith(f"wgmesh {command.name}")
    with pytest.raises(SystemExit) as caught:
        cli.main([command.name, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr()
    together = " ".join(shown.out.split())
    assert " ".join(command.example.split()) in together
    assert command.summary[1:10] in together
    assert "--verbose" in together
    assert "--quiet" in together
    assert shown.err == ""


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert "example" in out
    for command in cli.commands():
        listed = f"    {command.name}" in [
            line[: len(command.name) + 4] for line in out.splitlines()
        ]
        assert listed != command.hidden


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"wgmesh {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["no-such-command"],
        ["stat"],
        ["status", "--no-such-option"],
        ["status", "--jso"],
        ["status", "extra"],
        ["rollback", "abc"],
        ["rollback", "1", "2"],
        ["diff", "a"],
        ["diff", "1", "2", "3"],
        ["hold", "--reason"],
        ["validate", "--format", "yaml"],
        ["init"],
        ["init", "mesh"],
        ["node"],
        ["node", "no-such-action"],
        ["node", "add"],
        ["trust"],
        ["trust", "no-such-action"],
        ["trust", "revoke"],
        ["trust", "revoke", "a", "b"],
        ["trust", "reanchor"],
        ["trust", "reanchor", "a", "b"],
        ["trust", "reanchor", "a", "--sign", "b"],
        ["trust", "show", "a"],
        ["trust", "show", "--js"],
        ["trust", "log", "a"],
        ["trust", "log", "-n", "0"],
        ["trust", "log", "-n", "-1"],
        ["trust", "log", "-n", "1e3"],
        ["trust", "log", "-n", "9999999999"],
        ["trust", "verify"],
        ["trust", "verify", "a", "b"],
        ["join", "url", "--introduction", "c", "--signers", "file"],
        ["--verbose"],
    ],
    ids=" ".join,
)
def test_usage_is_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "usage: wgmesh" in shown.err


@pytest.mark.parametrize("argv", [["0x10"], ["gen-3"], ["99999999999999999999999x"]])
def test_a_generation_is_a_number(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["rollback", *argv])
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--verbose", "--quiet"])
def test_common_options_go_before_and_after(option: str) -> None:
    name = option.removeprefix("--")
    for argv in ([option, "status", "--json"], ["status", option, "--json"]):
        assert getattr(cli.parser().parse_args(argv), name) is True
        assert cli.parser().parse_args(argv).json is True
    assert not hasattr(cli.parser().parse_args(["status"]), name)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["sync"], {"dry_run": False, "no_fetch": False, "now": False, "retry": False}),
        (["sync", "--retry", "--dry-run", "--now", "--no-fetch"], {"retry": True, "now": True}),
        (["rollback"], {"generation": None, "no_hold": False}),
        (["rollback", "12", "--no-hold"], {"generation": 12, "no_hold": True}),
        (["diff"], {"first": None, "second": None}),
        (["diff", "11", "12"], {"first": 11, "second": 12}),
        (["leave", "--restore"], {"restore": True}),
        (["recover", "--wait"], {"wait": True}),
        (["validate"], {"inventory": ".", "format": "text"}),
        (["validate", "-c", "HEAD:mesh", "--format", "github"], {"inventory": "HEAD:mesh"}),
        (["validate", "--config", "mesh.conf"], {"inventory": "mesh.conf"}),
        (["plan", "--base", "main"], {"base": "main"}),
        (["gen", "--config", "m", "--out", "there"], {"inventory": "m", "out": Path("there")}),
        (["gen-keys", "--config=m", "--out=there"], {"inventory": "m", "out": Path("there")}),
        (["remove-node", "a", "--out", "there"], {"names": ["a"], "out": Path("there")}),
        (["apply", "-n", "a", "--config", "m", "--out", "o"], {"node": "a", "out": Path("o")}),
        (["apply-remote", "-n", "a", "--config", "m"], {"node": "a", "inventory": "m"}),
        (["apply-remote", "--all", "--out", "o"], {"all": True, "out": Path("o")}),
        (["install-exit-selector", "--config", "m"], {"inventory": "m"}),
        (["node", "add", "delta", "--from", "-"], {"name": "delta", "entry": "-"}),
        (["trust", "show"], {"action": "show", "json": False}),
        (["trust", "log"], {"limit": 20, "json": False}),
        (["trust", "log", "-n", "3", "--json"], {"limit": 3, "json": True}),
        (["trust", "verify", "main", "--json"], {"rev": "main", "json": True}),
        (["trust", "revoke", "SHA256:x"], {"action": "revoke", "key": "SHA256:x"}),
        (["trust", "reanchor", "c"], {"commit": "c", "signer": None}),
        (["trust", "reanchor", "c", "--signer", "SHA256:x"], {"signer": "SHA256:x"}),
        (["join", "u"], {"branch": "main", "path": ".", "node": None}),
        (["join", "u", "--introduction", "c", "--signer", "SHA256:x"], {"signer": "SHA256:x"}),
        (["join", "u", "--signers", "f", "--no-enable"], {"signers": Path("f")}),
        (["join"], {"remote": None}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options(argv: list[str], expected: dict[str, object]) -> None:
    found = vars(cli.parser().parse_args(argv))
    assert {name: found[name] for name in expected} == expected


# ---------------------------------------------------------------- errors


@contextmanager
def command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Iterator[str]:
    """Add a command that ends in `error`."""

    def fail(_: argparse.Namespace) -> int:
        raise error

    failing = Command("fail", "fails", "wgmesh fail", nothing, fail)
    monkeypatch.setattr(cli, "commands", lambda: (failing,))
    yield failing.name


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WgmeshError("it is so", "do that"), 1),
        (UsageError("it is so", "do that"), 2),
        (InventoryError("it is so", "do that"), 3),
        (RefusedError("it is so", "do that"), 4),
        (UnreachableError("it is so", "do that"), 5),
        (RolledBackError("it is so", "do that"), 6),
        (NotJoinedError("it is so", "do that"), 8),
        (LockedError("it is so", "do that"), 9),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_is_a_sentence_and_a_hint(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: WgmeshError,
    code: int,
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    with command(monkeypatch, error) as name:
        assert cli.main([name]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "wgmesh: it is so\n  do that\n"


def test_under_systemd_errors_have_a_priority(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with command(monkeypatch, WgmeshError("it is so", "do that")) as name:
        assert cli.main([name]) == 1
    assert [line[:3] for line in capsys.readouterr().err.splitlines()] == ["<3>", "<3>"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/var/lib/wgmesh/journal.toml"),
        PermissionError(13, "Permission denied", "/etc/wgmesh/node.toml"),
        OSError("odd"),
    ],
    ids=repr,
)
def test_the_systems_errors_are_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError
) -> None:
    with command(monkeypatch, error) as name:
        assert cli.main([name]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) in (1, 2)
    assert shown.partition("wgmesh: ")[2].strip(), "it says something"


def test_an_interrupt_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with command(monkeypatch, KeyboardInterrupt()) as name:
        assert cli.main([name]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_went_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = wgmesh("--help", stdout=writing)
    finally:
        os.close(writing)
    assert b"BrokenPipe" not in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("argv", [["join", "--help"], ["--help"], ["init", "--help"]])
def test_a_terminal_without_our_letters(argv: list[str]) -> None:
    done = wgmesh(*argv, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    assert b"usage: wgmesh" in done.stdout


def test_a_process_of_its_own_ends_with_the_code() -> None:
    done = wgmesh("no-such-command")
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert wgmesh("--version").stdout == f"wgmesh {__version__}\n".encode()


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "wgmesh", "status", "--help"],
        cwd=TOP,
        capture_output=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    assert "wgmesh.cli.main" in loaded
    assert not loaded & {"git", "jinja2", "pyroute2", "cryptography"}


# ---------------------------------------------------------------- manners


def say(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Say something at each level and return the lines on stderr; stdout stays empty."""
    log = logging.getLogger("wgmesh.test")
    log.debug("[#] ip link")
    log.info("fetched")
    log.warning("odd")
    log.error("bad")
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()


def test_talk_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    output.set_up_logging(verbose=False, quiet=False)
    plain = say(capsys)
    assert plain[0] == "fetched"
    assert [("odd" in line, "bad" in line) for line in plain[1:]] == [(True, False), (False, True)]
    output.set_up_logging(verbose=True, quiet=False)
    assert say(capsys) == ["[#] ip link", *plain]
    output.set_up_logging(verbose=False, quiet=True)
    assert say(capsys) == plain[1:]


def test_under_systemd_lines_have_priorities(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    output.set_up_logging(verbose=True, quiet=False)
    assert say(capsys) == ["<7>[#] ip link", "<6>fetched", "<4>odd", "<3>bad"]


@contextmanager
def terminal() -> Iterator[TextIO]:
    """Return a stream that is a terminal."""
    leader, follower = os.openpty()
    try:
        with os.fdopen(follower, "w") as stream:
            yield stream
    finally:
        os.close(leader)


def test_colour_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal() as stream:
        assert output.painter(stream)("up", "green") == "\033[32mup\033[0m"
    with (tmp_path / "file").open("w") as stream:
        assert output.painter(stream)("up", "green") == "up"


@pytest.mark.parametrize("value", ["1", "0", "yes"])
def test_no_color(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    with terminal() as stream:
        assert output.painter(stream)("up", "green") == "up"


# ---------------------------------------------------------------- reports


def test_table() -> None:
    assert table([]) == ""
    assert table([("A", "LONG"), ("abc", "x"), ("", "y")]) == "A    LONG\nabc  x\n     y\n"
    assert table([("a", "")], indent="  ") == "  a\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2, "1.0 MiB"),
        (1024**3 * 5, "5.0 GiB"),
        (1024**5, "1048576.0 GiB"),
    ],
)
def test_size(count: int | None, text: str) -> None:
    assert size(count) == text


def test_history() -> None:
    assert "no generation" in history_text([])
    nothing = dict.fromkeys(("commit", "signer", "subject", "time"))
    zero = {"generation": 0, "outcome": "before wgmesh", **nothing}
    one = zero | {"generation": 1, "commit": "c" * 40, "signer": "ann", "outcome": "running"}
    text = history_text([zero, one])
    assert len(text.splitlines()) == 3
    assert "c" * 12 in text
    assert "c" * 13 not in text
