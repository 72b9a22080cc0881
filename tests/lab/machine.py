"""A machine: network, mount, UTS and PID namespaces, held by a process that is its PID 1.

The code under test knows nothing of it. What a machine sees of the file system is this one's, save
that /etc and /var/lib are an overlay (they outlive a reboot), /run is empty, and /etc/wireguard,
/etc/wgmesh and /var/lib/wgmesh start empty. PID 1 ends when its standard input closes, so a test
run that is killed takes its machines along: the kernel ends whatever a PID namespace holds.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab import own_root

CHECKOUT = Path(__file__).resolve().parents[2]
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHUT_DOWN_SECONDS = 30
CLONE_NEWPID = 0x20000000  # <linux/sched.h>; os.setns and os.unshare came with Python 3.12

BOOT = r"""
set -eu
name=$1 label=$2 state=$3 kind=$4
hostname "$name"
if [ "$kind" = hub ]; then
    mount -t tmpfs -o mode=0755 wgmlab "$state"
else
    mkdir -p "$state"/{etc,etc.work,lib,lib.work,home}
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t overlay -o "lowerdir=/etc,upperdir=$state/etc,workdir=$state/etc.work" wgmlab /etc
    mount -t overlay -o "lowerdir=/var/lib,upperdir=$state/lib,workdir=$state/lib.work" \
        wgmlab /var/lib
    mount -t tmpfs -o mode=0755 wgmlab /run
    mkdir /run/lock
    cat /proc/sys/kernel/random/uuid > /run/boot_id
    mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
    if [ ! -e "$state/installed" ]; then
        rm -rf /etc/wireguard /etc/wgmesh /var/lib/wgmesh /etc/resolv.conf
        mkdir -m 0700 /etc/wireguard
        mkdir /etc/wgmesh /var/lib/wgmesh
        echo "$name" > /etc/hostname
        tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
        echo "nameserver 198.18.0.254" > /etc/resolv.conf
        : > "$state/installed"
    fi
fi
cd /proc/sys/net
echo 0 > ipv4/ip_forward
echo 0 > ipv4/conf/all/rp_filter
echo 2 > ipv4/conf/default/rp_filter
echo "0 2147483647" > ipv4/ping_group_range
for scope in all default; do
    for key in accept_dad dad_transmits accept_ra autoconf forwarding; do
        echo 0 > ipv6/conf/$scope/$key
    done
done
cd /
ip link set lo up
trap '' CHLD
echo ready
exec -a "$label" cat > /dev/null 2>&1
"""


class CommandError(AssertionError):
    """A command on a machine did not exit with 0; the message carries what it said."""


def _libc(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


@contextmanager
def children_in(pid_namespace: int | None) -> Iterator[None]:
    """Let this thread's next child start in a PID namespace: the given one (open), or a new one."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if pid_namespace is None:
            _libc("unshare", CLONE_NEWPID)
        else:
            _libc("setns", pid_namespace, CLONE_NEWPID)
        try:
            yield
        finally:
            _libc("setns", own, CLONE_NEWPID)
    finally:
        os.close(own)


def enter(machine: "Machine", *what: str) -> list[str]:
    """Return the start of an argv that runs in these (nsenter's options) of a machine's spaces."""
    return ["nsenter", "-t", str(machine.pid), *what, "--"]


class Machine:
    """One machine; `boot` starts it, `reboot` keeps /etc and /var/lib, `shut_down` ends it."""

    def __init__(self, name: str, state: Path, *, hub: "Machine | None") -> None:
        self.name = name
        self.state = state
        self.hub = hub
        self.python = sys.executable
        self.ipv4 = ""
        self.ipv6 = ""
        self.public_ipv4 = ""
        self.second_ipv4 = ""
        self.attachments: list[Callable[[], None]] = []
        self.detachments: list[Callable[[], None]] = []
        self._init: subprocess.Popen[str] | None = None
        self._pid_namespace = -1
        self._children: list[subprocess.Popen[str]] = []

    @property
    def hostname(self) -> str:
        """The machine's short host name, in its own UTS namespace."""
        return self.run(["hostname", "--short"]).stdout.strip()

    @property
    def pid(self) -> int:
        """The machine's PID 1, as this process sees it. Raises AssertionError when it is off."""
        assert self._init is not None and self._init.poll() is None, f"{self.name} is not running"
        return self._init.pid

    @property
    def running(self) -> bool:
        """True between boot and shut-down."""
        return self._init is not None and self._init.poll() is None

    def boot(self) -> None:
        """Start the machine with fresh kernel state and an empty /run, and attach its links."""
        label = f"wgmlab-{os.getpid()}-{self.name}"
        kind = "hub" if self.hub is None else "node"
        argv = [sys.executable, "-I", "-S", own_root.__file__]
        argv += ["bash", "-c", BOOT, label, self.name, label, str(self.state), kind]
        if self.hub is not None:
            argv = [*enter(self.hub, "--mount", "--root", "--wd"), *argv]
        with children_in(None):
            self._init = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self.environment(),
                start_new_session=True,
            )
        assert self._init.stdout is not None and self._init.stderr is not None
        if self._init.stdout.readline() != "ready\n":
            said = self._init.stderr.read()
            self.shut_down()
            raise CommandError(f"machine {self.name} does not boot: {said}")
        self._init.stdout.close()
        self._init.stderr.close()
        self._pid_namespace = os.open(f"/proc/{self._init.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        for attach in self.attachments:
            attach()

    def shut_down(self) -> None:
        """Pull the plug: every process of the machine dies at once, its kernel state with it."""
        if self._init is None:
            return
        if self._init.poll() is None:
            for detach in self.detachments:
                detach()
            self._init.kill()
        # The kernel keeps PID 1 until everybody has reaped the machine's processes: ours as well.
        end = time.monotonic() + SHUT_DOWN_SECONDS
        while self._init.poll() is None:
            assert time.monotonic() < end, f"{self.name} does not end: {self._init.pid}"
            for child in self._children:
                child.poll()
            time.sleep(0.002)
        for child in self._children:
            child.wait()
        for pipe in (self._init.stdin, self._init.stdout, self._init.stderr):
            if pipe is not None:
                pipe.close()
        self._children.clear()
        if self._pid_namespace >= 0:
            os.close(self._pid_namespace)
        self._pid_namespace = -1
        self._init = None

    def reboot(self) -> None:
        """Power-cycle: /etc, /var/lib, HOME stay; processes, links, nft, sysctls, /run are gone.

        The boot id differs, PIDs start anew. Nothing starts by itself: a test runs the boot path.
        """
        self.shut_down()
        self.boot()

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start `argv` on the machine. The result's `pid` is the program's own: fit for kill -9."""
        self._children = [child for child in self._children if child.poll() is None]
        with children_in(self._pid_namespace):
            child = subprocess.Popen(
                [*self._enter(), *map(str, argv)],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=True,
                env=self.environment() | dict(env or {}),
            )
        self._children.append(child)
        return child

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        timeout: float = 60,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` on the machine to its end and return what it said.

        Raises CommandError when it exits other than 0 (with `check`) or outlives `timeout` s.
        """
        child = self.popen(
            argv, env=env, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE
        )
        try:
            out, err = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            # Not communicate() again: a daemon that inherited the pipes would keep them open.
            child.wait()
            raise CommandError(
                f"{self.name}: {' '.join(map(str, argv))} outlived {timeout:g} s"
            ) from None
        except BaseException:
            child.kill()
            child.wait()
            raise
        if check and child.returncode != 0:
            raise CommandError(
                f"{self.name}: {' '.join(map(str, argv))} exited {child.returncode}\n{out}{err}"
            )
        return subprocess.CompletedProcess(list(map(str, argv)), child.returncode, out, err)

    def wgmesh(
        self,
        *arguments: str | Path,
        check: bool = True,
        timeout: float = 120,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the checkout's `wgmesh` with the interpreter that runs the tests."""
        return self.run(
            [*self.wgmesh_argv, *arguments], check=check, timeout=timeout, stdin=stdin, env=env
        )

    @property
    def wgmesh_argv(self) -> list[str]:
        """The start of an argv that runs the checkout's `wgmesh`, for `popen`."""
        return [sys.executable, "-m", "wgmesh"]

    def ip_batch(self, *commands: str) -> None:
        """Run `ip` commands in the machine's network, with PIDs as this process sees them."""
        done = subprocess.run(
            [*enter(self, "--net"), "ip", "-batch", "-"],
            input="\n".join(commands) + "\n",
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=30,
            check=False,
        )
        if done.returncode != 0:
            raise CommandError(f"{self.name}: ip: {done.stderr}")

    def write(self, path: str | Path, text: str, mode: int = 0o644) -> None:
        """Write a file, replacing what had that name (a symbolic link itself, not its target)."""
        self.run(["install", "-D", "-m", f"{mode:o}", "/dev/stdin", path], stdin=text)

    def read(self, path: str | Path) -> str:
        """Return a file's text. Raises CommandError when it cannot be read."""
        return self.run(["cat", path]).stdout

    def exists(self, path: str | Path) -> bool:
        """Say whether a path (links followed) exists on the machine."""
        return self.run(["test", "-e", path], check=False).returncode == 0

    def pids(self, name: str | None = None, *, word: str | None = None) -> list[int]:
        """Return the PIDs, as this process sees them, of the machine's processes, save PID 1.

        `name` narrows it to programs of that name (as /proc/PID/comm has it, 15 characters),
        `word` to those with that word on their command line.
        """
        namespace = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.pid:
                continue
            try:
                if (entry / "ns/pid").readlink() != namespace:
                    continue
                words = (entry / "cmdline").read_text(errors="replace").split("\0")
                if name in (None, (entry / "comm").read_text().strip()) and word in (None, *words):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # ended while we looked, or a process that shows itself to nobody
        return sorted(found)

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one of the machine's processes. Raises AssertionError for any other."""
        assert pid in self.pids(), f"{pid} is no process of {self.name}"
        os.kill(pid, number)

    def signal_all(self, number: int) -> None:
        """Send a signal to each of the machine's processes, save PID 1."""
        for pid in self.pids():
            with suppress(ProcessLookupError):  # ended while we looked
                os.kill(pid, number)

    def _enter(self) -> list[str]:
        """Return the start of an argv that runs on the machine, save in its PID namespace."""
        return enter(self, "--net", "--mount", "--uts", "--root", "--wd")

    def environment(self) -> dict[str, str]:
        """Return the environment of the machine's commands: nothing of the test run's gets in."""
        return {
            "PATH": SAFE_PATH,
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.state / "home"),
            "PYTHONPATH": str(CHECKOUT),
        }
