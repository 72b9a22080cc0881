"""The author's commands where there is no Linux: its modules, its calls, its file systems blocked.

What macOS lacks is taken away before wgmesh is loaded, so that whoever asks for it fails as there.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.inventory_texts import key
from tests.unit.signing import run
from wgmesh.cli import doctor, node, operate, trust
from wgmesh.cli.main import commands

ENTRY = f'public_key = "{key(3)}"\nendpoint = "node3.example.com"\n'

BLOCK = r'''
import select

for name in [each for each in vars(select) if each.lower().startswith("epoll")]:
    delattr(select, name)  # before `selectors` finds it

import errno, fcntl, importlib.abc, mmap, os, resource, signal, socket, sys, time

MODULES = {"pyroute2", "pr2modules", "ossaudiodev", "spwd", "systemd", "dbus"}
CALLS = {
    os: """sched_getaffinity sched_setaffinity sched_getscheduler sched_setscheduler
        sched_getparam sched_setparam sched_rr_get_interval setns unshare pidfd_open memfd_create
        getrandom copy_file_range splice eventfd eventfd_read eventfd_write posix_fadvise
        posix_fallocate getresuid getresgid setresuid setresgid fdatasync pipe2 getxattr setxattr
        listxattr removexattr O_PATH O_TMPFILE O_DIRECT O_NOATIME O_LARGEFILE""",
    socket: """AF_NETLINK AF_PACKET AF_ALG AF_VSOCK AF_CAN AF_TIPC SO_BINDTODEVICE SO_MARK
        SO_PEERCRED SO_DOMAIN SO_PROTOCOL SO_INCOMING_CPU SO_PASSSEC SCM_CREDENTIALS SOCK_CLOEXEC
        SOCK_NONBLOCK MSG_ERRQUEUE MSG_CMSG_CLOEXEC MSG_MORE IP_TRANSPARENT IP_BIND_ADDRESS_NO_PORT
        TCP_USER_TIMEOUT TCP_CORK TCP_QUICKACK""",
    signal: "sigtimedwait sigwaitinfo pidfd_send_signal SIGPWR SIGRTMIN SIGRTMAX SIGSTKFLT SIGPOLL",
    resource: "prlimit RLIMIT_OFILE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_MSGQUEUE RLIMIT_SIGPENDING",
    fcntl: """F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_NOTIFY
        F_SETSIG F_SETLEASE""",
    time: "CLOCK_BOOTTIME CLOCK_TAI",
    errno: "ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED ENONET ECOMM",
    mmap: "MAP_POPULATE MAP_STACK",
}
PROGRAMS = {"ip", "wg", "wg-quick", "nft", "systemctl", "systemd-run", "systemd-analyze", "sysctl"}
PROGRAMS |= {"nsenter", "unshare", "setpriv", "runuser", "modprobe", "resolvectl", "iptables", "tc"}
PLACES = ("/proc", "/sys", "/run")


class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MODULES:
            raise ModuleNotFoundError(f"no {name} without Linux", name=name)


def watch(event, arguments):
    what = arguments[0] if arguments else ""
    if event in ("open", "os.listdir", "os.scandir", "os.stat") and isinstance(what, str):
        if what.startswith(PLACES):
            raise FileNotFoundError(2, "there is none without Linux", what)
    if event == "subprocess.Popen" and os.path.basename(str(what)) in PROGRAMS:
        raise FileNotFoundError(2, "there is none without Linux", what)
    if event == "ctypes.dlopen":
        raise OSError("no libc of Linux")


for module, names in CALLS.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
sys.meta_path.insert(0, Blocked())
sys.addaudithook(watch)
import subprocess
'''
RUN = BLOCK + "from wgmesh.cli.main import main\nsys.exit(main())\n"

# Each command with all that it can do.
INVOCATIONS: dict[str, list[list[str]]] = {
    "init": [["init", "new", "--signer", "key.pub"]],
    "validate": [
        ["validate", "-c", "mesh", "--format", each] for each in ("text", "json", "github")
    ],
    "plan": [
        *(["plan", "-c", "mesh", "--format", each] for each in ("text", "markdown", "json")),
        ["plan", "-c", "mesh", "--base", "HEAD"],
        ["plan", "-c", "mesh", "--node", "alpha"],
    ],
    "graph": [["graph", "-c", "mesh", "--format", each] for each in ("svg", "mermaid", "dot")],
    "schema": [["schema"], ["schema", "--node"]],
    "gen": [
        ["gen", "-c", "mesh", "-o", "out", "--gen-keys"],
        ["node", "add", "phone", "--gen-keys", "--from", "phone.toml", "-c", "mesh", "-o", "out"],
        ["gen", "-c", "mesh", "-o", "out", "--node", "phone", "--qr"],
    ],
    "gen-keys": [["gen-keys", "-c", "mesh", "-o", "out"]],
    "convert": [["convert", "mesh", "one.toml"], ["convert", "one.toml", "one.conf"]],
    "node": [
        ["node", "add", "charlie", "--from", "entry.toml", "-c", "mesh"],
        ["node", "readdress", "bravo", "-c", "mesh"],
        ["node", "rename", "bravo", "romeo", "-c", "mesh"],
        ["node", "remove", "romeo", "-c", "mesh"],
    ],
    "import": [["gen", "-c", "mesh", "--gen-keys"], ["import", "out/alpha.conf", "out/bravo.conf"]],
    "remove-node": [["remove-node", "bravo", "-c", "mesh"]],
    "prune-nodes": [["prune-nodes", "bravo", "-c", "mesh"]],
    "apply-remote": [["apply-remote", "-c", "mesh", "--node", "alpha"]],
}
UNREACHABLE = {"apply-remote"}
"""Nothing answers at alpha's ssh_port."""

OURS = {
    each.name for each in (*node.COMMANDS, *operate.COMMANDS, *trust.COMMANDS, *doctor.COMMANDS)
}
ELSEWHERE = {"apply"}
"""It is for Linux."""

THERE = [each.name for each in commands() if each.name not in OURS | ELSEWHERE]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a directory with all that the commands want: an inventory in git, a key, an entry."""
    mesh = tmp_path / "mesh"
    (mesh / "nodes").mkdir(parents=True)
    (mesh / "mesh.toml").write_text('[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n')
    for number, name in enumerate(("alpha", "bravo"), 1):
        (mesh / f"nodes/{name}.toml").write_text(
            f'address = "10.40.0.{number}/32"\npublic_key = "{key(number)}"\n'
            f'endpoint = "{name}.example.com"\n'
        )
    (mesh / "nodes/alpha.toml").write_text(
        (mesh / "nodes/alpha.toml").read_text() + 'ssh_host = "127.0.0.1"\nssh_port = 1\n'
    )
    (tmp_path / "entry.toml").write_text(ENTRY)
    (tmp_path / "phone.toml").write_text("managed = false\n")
    run(["git", "init", "--quiet", "--initial-branch=main"], mesh)
    run(["git", "add", "--all"], mesh)
    run(["git", "commit", "--quiet", "--no-gpg-sign", "-m", "mesh"], mesh)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], tmp_path)
    return tmp_path


def blocked(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that has no Linux."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", THERE)
def test_an_authors_command_needs_no_linux(place: Path, command: str) -> None:
    for arguments in INVOCATIONS[command]:
        done = blocked(RUN, *arguments, cwd=place)
        assert done.returncode == (5 if command in UNREACHABLE else 0), (arguments, done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import pyroute2",
        "import pyroute2.netlink",
        "os.sched_getaffinity(0)",
        "socket.socket(socket.AF_NETLINK)",
        "socket.SO_BINDTODEVICE",
        "open('/proc/self/stat')",
        "import pathlib; pathlib.Path('/run/wgmesh/status.json').read_text()",
        "subprocess.run(['ip', 'link'])",
        "import wgmesh.linux.rtnetlink as r; import wgmesh.linux.link as l; import pyroute2",
    ],
)
def test_the_block_holds(tmp_path: Path, code: str) -> None:
    done = blocked(BLOCK + code, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].split(":")[0] in (
        "ModuleNotFoundError",
        "AttributeError",
        "FileNotFoundError",
    )
