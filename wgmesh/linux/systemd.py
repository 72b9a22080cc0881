"""systemd, where the machine runs it: units enabled, started, stopped, and transient ones."""

from collections.abc import Sequence
from pathlib import Path

from wgmesh import process


def running() -> bool:
    """Return whether systemd is this machine's init (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def enable(unit: str) -> None:
    """Have `unit` started at boot. Raises WgmeshError."""
    process.run(["systemctl", "--quiet", "enable", unit])


def disable(unit: str) -> None:
    """Stop `unit`, and have it started at boot no more. Raises WgmeshError."""
    process.run(["systemctl", "--quiet", "disable", "--now", unit], timeout_seconds=90)


def reload_units() -> None:
    """Have systemd read its unit files again. Raises WgmeshError."""
    process.run(["systemctl", "daemon-reload"], timeout_seconds=90)


def exists(unit: str) -> bool:
    """Return whether systemd knows a unit file of that name."""
    return process.run(["systemctl", "cat", "--", unit], check=False).returncode == 0


def start(unit: str, *, wait: bool = True) -> None:
    """Start `unit`, and wait until it runs unless told not to. Raises WgmeshError."""
    how = () if wait else ("--no-block",)
    process.run(["systemctl", "--quiet", "start", *how, unit], timeout_seconds=90)


def start_to_end(unit: str, *, timeout_seconds: float) -> str:
    """Start a one-shot `unit` and wait for its end; return what systemctl complained of, if it did.

    How it ended is for the unit to say. A unit that is at work already is waited for. Raises
    CommandError when it takes longer than `timeout_seconds`; it then goes on.
    """
    argv = ["systemctl", "--quiet", "start", unit]
    done = process.run(argv, check=False, timeout_seconds=timeout_seconds)
    return done.stderr.decode(errors="replace").strip().partition("\n")[0]


def stop(unit: str) -> None:
    """Stop `unit`; one that is not loaded is fine. Raises WgmeshError."""
    argv = ["systemctl", "--quiet", "stop", unit]
    done = process.run(argv, check=False, timeout_seconds=90)
    if done.returncode not in (0, 5):  # 5: not loaded (systemctl(1), exit status)
        raise process.CommandError(argv, done.returncode, done.stderr.decode(errors="replace"))


def forget_failures(*units: str) -> None:
    """Have systemd forget that `units` have failed; one that is not loaded is fine."""
    for unit in units:
        process.run(["systemctl", "--quiet", "reset-failed", unit], check=False)


def systemd_run(argv: Sequence[str], unit: str, *, after_seconds: int = 0) -> None:
    """Have systemd run `argv` as the transient service `unit` and return at once.

    With `after_seconds` a transient timer of that name starts it then. The units leave nothing
    behind when they end, not even failed. Raises WgmeshError.
    """
    later = [f"--on-active={after_seconds}s", "--timer-property=AccuracySec=1s"]
    words = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--no-block"]
    process.run([*words, *(later if after_seconds else []), "--", *argv])


def scope(argv: Sequence[str], unit: str) -> list[str]:
    """Return the command that runs `argv` in a scope of its own.

    What it starts stays in the caller's namespaces but outlives the caller's service.
    """
    return [
        "systemd-run",
        "--quiet",
        "--scope",
        "--collect",
        "--slice=system.slice",
        f"--unit={unit}",
        "--",
        *argv,
    ]
