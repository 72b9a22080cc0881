"""Runs the notify command, which is told what others have written, where it can do little harm.

That is wgmesh-notify.service, whoever has typed the turn: the event lies in /run, and the service
becomes the command. Where no systemd runs, or has not that unit, it is a child of this process: its
time, its output and its process group have an end there, its rights have none.
"""

import json
import shlex
from collections.abc import Mapping
from typing import NoReturn

from wgmesh import linux, process, settings
from wgmesh.errors import WgmeshError, system_errors
from wgmesh.files import write_atomic
from wgmesh.process import distrusted

UNIT = "wgmesh-notify.service"
SECONDS = 10
EVENT_FILE = settings.RUN_DIR / "notify.json"

Facts = Mapping[str, str | int | None]
"""What the command is told: names in small letters, None for what is not known."""


def deliver(command: str, facts: Facts) -> None:
    """Run the admin's `command` to its end. Raises WgmeshError when it fails, or takes too long."""
    if linux.systemd.running() and linux.systemd.exists(UNIT):
        _by_unit(facts)
    else:
        argv, env, document = _told(command, facts)
        distrusted.run_aside(argv, stdin=document, env=env, timeout_seconds=SECONDS)


def become() -> NoReturn:
    """Become the command that wgmesh.toml names, with the event that waits: what the unit does.

    Raises WgmeshError when there is no event, no command, or it cannot be started.
    """
    command = settings.load_settings().notify
    try:
        facts: Facts = json.loads(EVENT_FILE.read_bytes())
    except FileNotFoundError:
        raise WgmeshError("there is no event to tell", "wgmesh sync runs this command") from None
    if not command.strip():
        raise WgmeshError("wgmesh.toml names no command to tell it by", "set notify there")
    argv, env, document = _told(command, facts)
    distrusted.become(argv, stdin=document, env=env)


def _by_unit(facts: Facts) -> None:
    with system_errors():
        linux.systemd.stop(UNIT)  # of a turn that was killed: that one's event is told again
        write_atomic(EVENT_FILE, json.dumps(facts).encode(), 0o600, durable=False)
        try:
            linux.systemd.start(UNIT)
        except process.CommandError as error:
            raise WgmeshError(
                f"{UNIT} did not end well within {SECONDS} s", f"see why: journalctl -u {UNIT}"
            ) from error
        finally:
            EVENT_FILE.unlink(missing_ok=True)


def _told(command: str, facts: Facts) -> tuple[list[str], dict[str, str], bytes]:
    """Return argv, environment and standard input of the command."""
    env = {
        f"WGMESH_{name.upper()}": "" if value is None else str(value).replace("\0", "")
        for name, value in facts.items()
    }
    return shlex.split(command), env, (json.dumps(facts, indent=1) + "\n").encode()
