"""Every unit of systemd/ is in the package, starts a program that is, and is told to debhelper."""

import configparser
import re
from pathlib import Path

import pytest

from wgmesh.agent.messenger import SECONDS
from wgmesh.settings import NAMES_FILE, NODE_FILE, REQUEST_FILE

TREE = Path(__file__).parents[2]
UNITS = sorted(
    path for path in (TREE / "systemd").iterdir() if path.suffix in (".service", ".timer")
)
# wg-quick@.service belongs to another package; its drop-in is the only one of ours that changes it.
PROGRAMS = {"/usr/bin/wgmesh", "/usr/bin/wg-failover", "/usr/bin/wg-exit-selector"}
PROGRAMS |= {"/usr/libexec/wgmesh/wgmesh-net"}


def lines(path: Path, key: str) -> list[str]:
    """Return the values of `key` in a unit file, the empty ones left out."""
    return re.findall(rf"^{key}=(.+)$", path.read_text(), re.M)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_reaches_debian_by_a_link(unit: Path) -> None:
    link = TREE / "debian" / f"wgmesh.{unit.name}"
    assert link.is_symlink()
    assert link.readlink() == Path("..", "systemd", unit.name)
    rules = (TREE / "debian" / "rules").read_text()
    assert re.search(rf"(?<![\w-]){re.escape(unit.stem)}(?![\w-])", rules)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_quiet_where_no_mesh_was_joined(unit: Path) -> None:
    wanted = lines(unit, "ConditionPathExists")
    assert wanted
    joined = {"/etc/wgmesh/node.toml", "/run/wgmesh/fetch.toml", "/etc/wireguard/wgmesh.d/boot"}
    joined |= {"/run/wgmesh/exits.json", "/etc/wgmesh/direct.toml", "/run/wgmesh/names.toml"}
    for path in wanted:
        assert path.lstrip("|") in joined | {"/etc/wireguard/wgmesh.d/boot/%i.conf"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_starts_what_the_package_has(unit: Path) -> None:
    started = [line for key in ("ExecStart", "ExecStop", "ExecReload") for line in lines(unit, key)]
    assert bool(started) == (unit.suffix == ".service")
    assert {line.split()[0] for line in started} <= PROGRAMS


def test_the_fetch_starts_for_whatever_root_asks() -> None:
    """For names also where an inventory was applied without git: there is neither of the others."""
    unit = TREE / "systemd" / "wgmesh-fetch.service"
    asked = {NODE_FILE, REQUEST_FILE, NAMES_FILE}
    assert set(lines(unit, "ConditionPathExists")) == {f"|{path}" for path in asked}


def test_the_command_has_its_time() -> None:
    """What messenger.SECONDS says, and a little for Python; and then an end of all it started."""
    unit = TREE / "systemd" / "wgmesh-notify.service"
    (start,), (stop,) = lines(unit, "TimeoutStartSec"), lines(unit, "TimeoutStopSec")
    assert SECONDS < int(start.removesuffix("s")) <= SECONDS + 2 and int(stop[:-1]) <= 2
    assert not lines(unit, "KillMode") and not lines(unit, "RemainAfterExit")


def test_drop_in_keeps_the_rest_of_wg_quick() -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(TREE / "systemd" / "wg-quick@.service.d.conf")
    assert set(parser["Service"]) == {"ExecStart", "ExecReload"}
    assert set(parser["Unit"]) == {"Wants", "After"}
