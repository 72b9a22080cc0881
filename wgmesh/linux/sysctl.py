"""Kernel parameters under /proc/sys, and what they were before wgmesh set them."""

from collections.abc import Collection
from pathlib import Path

from wgmesh.errors import WgmeshError
from wgmesh.files import write_atomic

ROOT = Path("/proc/sys")
FORMER = Path("/run/wgmesh/sysctl.former")
"""`key=value` lines; it dies with the values that it describes."""


def path(key: str) -> Path:
    """Return the file of `key` in dotted form, where `/` stands for a dot in a name (sysctl(8)).

    Raises WgmeshError when `key` would lead out of /proc/sys.
    """
    parts = [part.replace("/", ".") for part in key.split(".")]
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise WgmeshError(f"{key!r} is no name of a sysctl")
    return ROOT.joinpath(*parts)


def observe(keys: Collection[str]) -> dict[str, str]:
    """Return the values of `keys`, fields parted by one blank.

    A key that this kernel lacks is absent. Raises WgmeshError.
    """
    found = {}
    for key in keys:
        value = _read(key)
        if value is not None:
            found[key] = value
    return found


def apply(key: str, value: str) -> None:
    """Set `key`, after its former value has been written down, once. Raises WgmeshError."""
    now = _read(key)
    if now is None:
        raise WgmeshError(
            f"this kernel has no sysctl {key}", "is the interface that it names there?"
        )
    recorded = former()
    if key not in recorded:
        lines = [f"{name}={what}\n" for name, what in (recorded | {key: now}).items()]
        write_atomic(FORMER, "".join(lines).encode(), durable=False)
    try:
        path(key).write_text(value)
    except OSError as error:
        raise WgmeshError(f"cannot set sysctl {key} to {value!r}: {error.strerror}") from error


def former() -> dict[str, str]:
    """Return by key what each sysctl was before wgmesh first set it since the machine started."""
    try:
        lines = FORMER.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {key: value for key, sign, value in (line.partition("=") for line in lines) if sign}


def _read(key: str) -> str | None:
    try:
        return " ".join(path(key).read_text().split())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WgmeshError(f"cannot read sysctl {key}: {error.strerror}") from error
