"""`wgmesh apply-remote`: `wgmesh apply` on the hosts of an inventory, over the user's own ssh.

Nothing of an inventory is a word of a shell or an option of ssh: hosts come after `--`, users and
ports are values of options, the node's name is quoted. The inventory travels over standard input.
"""

import logging
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from wgmesh import inventory, keys
from wgmesh.agent import keypairs, parcel, sources
from wgmesh.agent.keyed import foreseen, keyed
from wgmesh.errors import no_node
from wgmesh.frozen import frozen
from wgmesh.model.inventory import Inventory
from wgmesh.model.inventory import Node as Entry
from wgmesh.process.talk import Talks, by_terminal, in_terminal

log = logging.getLogger(__name__)

SECONDS = 900.0
"""For one host: as much as systemd gives a turn of `sync`."""

_OPTIONS = (
    "ConnectTimeout=15",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=6",
    "ClearAllForwardings=yes",  # those of the user's configuration are for terminals
    "RemoteCommand=none",
)
_DIRECTORY = re.compile(r"/[A-Za-z0-9._/-]+")
_SSH_FAILED = 255  # ssh(1), EXIT STATUS


@frozen
class Request:
    """What was asked for: `name` None is all nodes; `out` is where `gen-keys` put private keys."""

    text: str
    name: str | None
    terminal: bool = False
    dry_run: bool = False
    jobs: int = 8
    out: Path | None = None
    gen_keys: bool = False


@frozen
class Told:
    """How it went at one host: the exit code that `wgmesh apply` would have there, and words."""

    node: str
    code: int
    outcome: str
    lines: tuple[str, ...] = ()
    hint: str = ""


_OUTCOMES = {0: "done", 2: "refused", 3: "invalid", 5: "unreachable", 6: "rolled back", 9: "locked"}


def exit_code(told: Sequence[Told]) -> int:
    """Return 0 when all went well; what went wrong, where that is one thing everywhere; else 1."""
    codes = {each.code for each in told if each.code}
    return codes.pop() if len(codes) == 1 else int(bool(codes))


def apply(request: Request) -> Iterator[Told]:
    """Yield how it went at each host, as it ends. One that fails does not stop the others.

    Raises UsageError or InventoryError before anything is sent.
    """
    source, made = sources.load(request.text), dict[str, str]()
    if request.gen_keys and request.dry_run:
        source, made = foreseen(source, request.out)
    else:
        source = keyed(source, request.out, make=request.gen_keys)
    model = inventory.load(source.files)
    nodes = _chosen(model, request.name)
    parcels = {
        node.name: parcel.pack(source.files, made.get(node.name) or _key(node, request.out))
        for node in nodes
    }
    if request.terminal:
        yield from (_asking(node, parcels[node.name], request) for node in nodes)
        return
    talks = Talks()
    waiting = _Waiting([node.name for node in nodes])
    pool = ThreadPoolExecutor(max_workers=max(1, min(request.jobs, len(nodes))))
    try:
        futures = [
            pool.submit(_talk, talks, node, parcels[node.name], request, waiting.progress)
            for node in nodes
        ]
        if len(nodes) > 1:
            log.info("%d hosts, up to %d at a time", len(nodes), request.jobs)
        for future in as_completed(futures):
            told = future.result()
            waiting.ended(told.node)
            yield told
    except BaseException:  # also KeyboardInterrupt, and a caller that has seen enough
        talks.end()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class _Waiting:
    """Who has not ended yet, said each time that somebody has."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._all = len(names)

    def progress(self, node: str, line: str) -> None:
        """Say what happens at one host."""
        log.info("%s: %s", node, line)

    def ended(self, name: str) -> None:
        """Say how many are left."""
        self._names.remove(name)
        if self._names:
            shown = ", ".join(self._names[:5]) + (" …" if len(self._names) > 5 else "")
            log.info("%d of %d; waiting for %s", self._all - len(self._names), self._all, shown)


def _chosen(model: Inventory, name: str | None) -> list[Entry]:
    if name is None:
        chosen = [node for node in model.nodes if node.managed]
        left = [node.name for node in model.nodes if not node.managed]
        if left:
            log.info("not managed, left out: %s", ", ".join(left))
        return chosen
    found = [node for node in model.nodes if node.name == name]
    if not found:
        raise no_node(name)
    return found


def _key(node: Entry, out: Path | None) -> str | None:
    """Return the private key to send along: only one that `-o` says is there."""
    path = None if out is None else keypairs.path(out, node.name)
    return keys.read(path) if path is not None and path.exists() else None


def argv(node: Entry, command: str, *options: str) -> list[str]:
    """Return the ssh command line that runs `command`, a line of POSIX shell, on the host."""
    words = ["ssh", *options]
    for option in _OPTIONS:
        words += ["-o", option]
    words += ["-l", node.ssh_user] if node.ssh_user is not None else []
    words += ["-p", str(node.ssh_port)] if node.ssh_port is not None else []
    return [*words, "--", node.ssh_host or node.name, f"sh -c {shlex.quote(command)}"]


def _remote(node: str, *, dry_run: bool) -> str:
    words = ["wgmesh", "apply", "--received", "--node", node]
    return shlex.join([*words, *(["--dry-run"] if dry_run else [])])


def _talk(
    talks: Talks,
    node: Entry,
    data: bytes,
    request: Request,
    progress: Callable[[str, str], None],
) -> Told:
    """Have `node` apply its parcel; nobody is asked anything."""
    command = _remote(node.name, dry_run=request.dry_run)
    line = f'if [ "$(id -u)" = 0 ]; then exec {command}; else exec sudo -n {command}; fi'
    progress(node.name, "connecting")
    ended = talks.hold(
        argv(node, line, "-T", "-o", "BatchMode=yes"),
        stdin=data,
        timeout_seconds=SECONDS,
        hear=lambda text: progress(node.name, text),
    )
    return tell(node.name, ended.returncode, ended.out, ended.err)


def tell(node: str, code: int | None, out: str, err: str) -> Told:
    """Return how it went at a host, by what its ssh, its sudo and its wgmesh have said."""
    said = [line.strip() for line in err.splitlines() if line.strip()]
    last = said[-1] if said else ""
    if code == 0:
        return Told(node, 0, _OUTCOMES[0], tuple(out.splitlines()))
    if code is None:
        hint = f"wgmesh status there says what came of it; {int(SECONDS)} s is the most"
        return Told(node, 1, "failed", ("it did not end in time",), hint)
    if code == _SSH_FAILED:
        hint = "try the same with ssh alone; --ssh-tty lets ssh ask for what it needs"
        return Told(node, 5, _OUTCOMES[5], (last or "ssh failed",), hint)
    if last.startswith("sudo: ") and ("password" in last or "tty" in last or "terminal" in last):
        hint = "--ssh-tty lets sudo ask; or NOPASSWD for wgmesh in sudoers(5)"
        return Told(node, 1, "failed", (last,), hint)
    if code == 127 or "wgmesh: command not found" in last:
        hint = "apt install wgmesh there, the same version"
        return Told(node, 1, "failed", ("there is no wgmesh",), hint)
    ours = next((at for at in range(len(said) - 1, -1, -1) if said[at].startswith("wgmesh: ")), -1)
    if ours < 0:
        return Told(node, 1, "failed", (last or f"exit code {code}",))
    message = said[ours].removeprefix("wgmesh: ")
    return Told(node, code, _OUTCOMES.get(code, "failed"), (message,), " ".join(said[ours + 1 :]))


# ---------------------------------------------------------------- with a terminal


_ASIDE = 'umask 077 && d=$(mktemp -d) && cat > "$d/parcel" && printf \'%s\\n\' "$d" || exit 1'


def _asking(node: Entry, data: bytes, request: Request) -> Told:
    """Have `node` apply its parcel by a terminal of its own, on which ssh and sudo may ask.

    What goes over a terminal is no place for an inventory: it is put aside first, in a directory
    of a new name that nobody else can read.
    """
    log.info("%s: connecting", node.name)
    code, said = by_terminal(argv(node, _ASIDE, "-T"), stdin=data)
    directory = said.strip()
    if code or not _DIRECTORY.fullmatch(directory):
        return tell(node.name, code or 1, "", "ssh could not put the inventory there")
    command = _remote(node.name, dry_run=request.dry_run)
    aside = shlex.quote(directory)
    line = (
        f'd={aside}; trap "rm -rf $d" EXIT HUP INT TERM; s=sudo; [ "$(id -u)" = 0 ] && s=; '
        f'$s {command} < "$d/parcel"; code=$?; exit $code'
    )
    code = in_terminal(argv(node, line, "-tt"))
    if code == _SSH_FAILED:
        return tell(node.name, code, "", "")
    return Told(node.name, code, _OUTCOMES.get(code, "failed"), ("see above",) if code else ())
