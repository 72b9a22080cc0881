"""What this machine's admin decided: paths, wgmesh.toml (policy) and node.toml (enrolment)."""

import re
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from wgmesh.errors import NotJoinedError, UsageError, WgmeshError
from wgmesh.files import sync_directory, write_atomic
from wgmesh.frozen import field_names, frozen

POLICY_FILE = Path("/etc/wgmesh/wgmesh.toml")
NODE_FILE = Path("/etc/wgmesh/node.toml")
DIRECT_FILE = Path("/etc/wgmesh/direct.toml")  # instead of it: `wgmesh apply`, without git
WIREGUARD_DIR = Path("/etc/wireguard")
GENERATIONS_DIR = WIREGUARD_DIR / "wgmesh.d"
STATE_DIR = Path("/var/lib/wgmesh")
RUN_DIR = Path("/run/wgmesh")
LOCK_FILE = RUN_DIR / "lock"
TURN_FILE = RUN_DIR / "turn"
STATUS_FILE = RUN_DIR / "status.json"
REPOSITORY_DIR = STATE_DIR / "repository.git"
FETCH_DIR = STATE_DIR / "fetch"  # the only thing that belongs to the user who fetches
FETCH_USER = "wgmesh"
REQUEST_FILE = RUN_DIR / "fetch.toml"
NAMES_FILE = RUN_DIR / "names.toml"


@frozen
class Settings:
    """wgmesh.toml; the defaults here are the documented ones. All times in seconds."""

    poll_interval_seconds: int = 60
    random_delay_seconds: int = 15
    stale_after_seconds: int = 3600
    peer_lag_seconds: int = 86_400
    confirm_most_seconds: int = 16  # half or more of the strict peers lost, or the remote
    confirm_silent_seconds: int = 26  # peers that drop ICMP are decided here
    confirm_minority_seconds: int = 45  # a minority lost
    confirm_again_seconds: int = 200  # a second look; no session is older than 180 s
    allow_hooks: bool = False
    drift: str = "report"
    firewall: str = "auto"
    exempt: tuple[str, ...] = ()
    exit_sources: tuple[str, ...] = ()
    keep_generations: int = 10
    notify: str = ""
    metrics: str = "/var/lib/prometheus/node-exporter/wgmesh.prom"


_CHOICES = {"drift": ("report", "repair"), "firewall": ("auto",)}
_WORDS: dict[type, str] = {
    int: "a whole number",
    bool: "true or false",
    str: "a string",
    tuple: "a list of strings",
}
_INTERFACE = re.compile(r"[A-Za-z0-9_.+-]{1,15}")
_MINIMUM = {"keep_generations": 2, "random_delay_seconds": 0}
_WEEK_SECONDS, _YEAR_SECONDS = 604_800, 31_536_000
_WINDOW_SECONDS = 300  # a turn has 15 minutes for two of them, their hooks and the way back
_MAXIMUM = {
    "poll_interval_seconds": _WEEK_SECONDS,  # systemd leaves out a number that it cannot hold
    "random_delay_seconds": _WEEK_SECONDS,
    "stale_after_seconds": _YEAR_SECONDS,
    "peer_lag_seconds": _YEAR_SECONDS,
    "confirm_most_seconds": _WINDOW_SECONDS,
    "confirm_silent_seconds": _WINDOW_SECONDS,
    "confirm_minority_seconds": _WINDOW_SECONDS,
    "confirm_again_seconds": 3600,
    "keep_generations": 1000,
}


@frozen
class Anchor:
    """Where trust starts: a full commit id and the fingerprint of its signer.

    Generations up to `after_generation` were verified from an earlier anchor: what they say of
    trust counts for nothing. -1: there was none.
    """

    commit: str
    fingerprint: str
    after_generation: int = -1


@frozen
class Enrolment:
    """node.toml, written last by `join`; its absence means that this machine is in no mesh.

    Without remotes: an inventory was applied by hand, and nothing is followed.
    """

    node: str
    remotes: tuple[str, ...]
    branch: str
    path: str
    interface: str
    anchor: Anchor
    revoked: tuple[str, ...] = field(default=())

    @property
    def direct(self) -> bool:
        """True where `wgmesh apply` put an inventory in force, and no repository is followed."""
        return not self.remotes

    @property
    def key_path(self) -> Path:
        """Where this node's private key lies."""
        return WIREGUARD_DIR / f"{self.interface}.key"


def _table(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number without an end
        raise WgmeshError(f"{path} is not valid TOML: {error}", "mend the file") from None
    except PermissionError as error:
        raise WgmeshError(
            f"{path} cannot be read", "run as root, whose file it must be, or use: wgmesh status"
        ) from error
    except OSError as error:
        raise WgmeshError(
            f"{path} cannot be read: {error.strerror}", "put a file of TOML there, or none"
        ) from error


def load_settings(path: Path = POLICY_FILE) -> Settings:
    """Return the admin's policy; a missing file means the defaults.

    Raises WgmeshError for a key or a value that means nothing.
    """
    try:
        table = _table(path)
    except FileNotFoundError:
        return Settings()
    known = {name: type(getattr(Settings(), name)) for name in field_names(Settings)}
    for key, value in table.items():
        if key not in known:
            import difflib

            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise WgmeshError(f"{path}: unknown key {key!r}", hint)
        table[key] = _checked(path, key, value, known[key])
    settings = Settings(**table)
    if settings.metrics:
        _check_metrics(path, settings.metrics)
    if settings.notify.strip():
        _check_command(path, settings.notify)
    _check_windows(path, settings)
    return settings


def _checked(path: Path, key: str, value: Any, kind: type) -> Any:  # noqa: ANN401
    """Return the value of a key that is known. Raises WgmeshError when it means nothing there."""
    if kind is tuple and isinstance(value, list):
        return (_interfaces if key == "exit_sources" else _prefixes)(path, key, value)
    given = type(value)
    if given is not kind:
        want = _WORDS[kind]
        raise WgmeshError(f"{path}: {key} is not {want}", f"write {key} as {want}")
    if key in _CHOICES and value not in _CHOICES[key]:
        choices = " or ".join(repr(choice) for choice in _CHOICES[key])
        raise WgmeshError(f"{path}: {key} = {value!r} is not known", f"use {choices}")
    if kind is int and value < _MINIMUM.get(key, 1):
        raise WgmeshError(f"{path}: {key} = {value} is too small", "use a larger number")
    if kind is int and value > _MAXIMUM[key]:
        raise WgmeshError(f"{path}: {key} is too large", f"use at most {_MAXIMUM[key]}")
    if kind is str and "\0" in value:
        raise WgmeshError(f"{path}: {key} has a null character", "leave it out")
    return value


def _check_windows(path: Path, settings: Settings) -> None:
    windows = (
        settings.confirm_most_seconds,
        settings.confirm_silent_seconds,
        settings.confirm_minority_seconds,
    )
    if windows != tuple(sorted(windows)):
        raise WgmeshError(
            f"{path}: the confirm windows are {windows[0]}, {windows[1]} and {windows[2]} s",
            "use confirm_most_seconds ≤ confirm_silent_seconds ≤ confirm_minority_seconds",
        )


def _check_metrics(path: Path, metrics: str) -> None:
    if not metrics.startswith("/"):
        raise WgmeshError(f"{path}: metrics is no full path", 'write it from /, or "" for none')
    if not metrics.endswith(".prom"):
        raise WgmeshError(
            f"{path}: metrics does not end with .prom",
            'name a file that node-exporter reads: /DIRECTORY/NAME.prom, or "" for none',
        )


def _prefixes(path: Path, key: str, values: list[Any]) -> tuple[str, ...]:
    from ipaddress import ip_network

    try:
        return tuple(str(ip_network(str(value))) for value in values)
    except ValueError:
        raise WgmeshError(
            f"{path}: {key} has something that is no prefix", 'such as ["168.63.129.16/32"]'
        ) from None


def _interfaces(path: Path, key: str, values: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, str) and _INTERFACE.fullmatch(value) for value in values):
        raise WgmeshError(
            f"{path}: {key} has something that is no name of an interface", 'such as ["eth1"]'
        )
    return tuple(dict.fromkeys(values))


def _check_command(path: Path, command: str) -> None:
    import shlex

    try:
        shlex.split(command)
    except ValueError as error:
        raise WgmeshError(
            f"{path}: notify is no command line: {error}", "close the quotes, as in a shell"
        ) from None


def load_enrolment(path: Path = NODE_FILE) -> Enrolment:
    """Return this machine's enrolment. Raises NotJoinedError when there is none."""
    from wgmesh import shape  # late, like the rest here: a tick reads neither file
    from wgmesh.model.numbers import MOST_REMOTES
    from wgmesh.trust.fingerprint import fingerprint

    try:
        table = _table(path)
    except FileNotFoundError:
        raise NotJoinedError(
            "this machine has not joined a mesh", "run: wgmesh join REMOTE --introduction COMMIT"
        ) from None
    try:
        anchor = shape.from_table(Anchor, table.get("anchor", {}))
        enrolment = shape.from_table(Enrolment, table | {"anchor": anchor})
    except (ValueError, AttributeError) as error:
        raise WgmeshError(
            f"{path} is damaged: {error}", "mend it, or remove it and join again"
        ) from None
    if not enrolment.remotes:
        raise WgmeshError(f"{path} is damaged: remotes is empty", "name at least one remote")
    if len(set(enrolment.remotes)) < len(enrolment.remotes):
        raise WgmeshError(f"{path} names a remote twice", "name each remote once")
    if len(enrolment.remotes) > MOST_REMOTES:
        raise WgmeshError(f"{path} names too many remotes", f"name at most {MOST_REMOTES}")
    try:
        revoked = tuple(fingerprint(each) for each in enrolment.revoked)
    except UsageError as error:  # a revocation that is not understood must not be passed over
        raise WgmeshError(f"{path}: revoked: {error.message}", error.hint) from None
    return replace(enrolment, revoked=revoked)


def runs_a_mesh() -> bool:
    """Return whether this machine has joined a mesh, or an inventory was applied to it by hand."""
    return NODE_FILE.exists() or DIRECT_FILE.exists()


def save_enrolment(enrolment: Enrolment, path: Path = NODE_FILE) -> None:
    """Write node.toml durably."""
    anchor = enrolment.anchor
    table: dict[str, Any] = {
        "node": enrolment.node,
        "remotes": list(enrolment.remotes),
        "branch": enrolment.branch,
        "path": enrolment.path,
        "interface": enrolment.interface,
        "anchor": {"commit": anchor.commit, "fingerprint": anchor.fingerprint}
        | ({"after_generation": anchor.after_generation} if anchor.after_generation >= 0 else {}),
    } | ({"revoked": list(enrolment.revoked)} if enrolment.revoked else {})
    import tomli_w

    head = "# Written by `wgmesh join` and `wgmesh trust`. Trust starts at the anchor.\n"
    write_atomic(path, (head + tomli_w.dumps(table)).encode())


def remove_enrolment(path: Path = NODE_FILE) -> None:
    """Un-enrol: the units are inert from here on."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)
