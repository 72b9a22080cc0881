"""A machine that really boots: systemd as PID 1 in systemd-nspawn, over an overlay of a root.

It is a lab Machine whose PID 1 is the distribution's systemd. A shell that is the init of a PID
namespace around it holds it: that shell ends when its standard input does, and the kernel then
ends all that is inside. So a test run that is killed takes its machines along.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.lab import own_root
from tests.lab.machine import SAFE_PATH, CommandError, Machine, children_in, enter
from tests.lab.wait import wait_until

BOOT_SECONDS = 90
SHUT_DOWN_SECONDS = 120
RESTART = 133  # systemd-nspawn --keep-unit: the machine wants to boot again (EXIT_FORCE_RESTART)
NO_CONTROLLERS = "Failed to read pids.max"  # where cgroup v1 has the controllers: no news
CGROUPS = "/sys/fs/cgroup"

# Standard input: a line starts the machine, once its links are there; its end ends everything.
BOOT = r"""
set -eu
name=$1 root=$2 state=$3 cgroup=$4
shift 4
mkdir -p "$state"/{upper,work,root}
mount -t overlay -o "lowerdir=$root,upperdir=$state/upper,workdir=$state/work" \
    wgmfleet "$state/root"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "$cgroup"
echo $$ > "$cgroup/cgroup.procs"
echo "$name" > "$state/root/etc/hostname"
ip link set lo up
echo ready
read -r go
exec 3<&0
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
systemd-nspawn --quiet --boot --directory="$state/root" \
    --machine="$name" --register=no --keep-unit --private-users=no --link-journal=no \
    --resolv-conf=off --timezone=off --network-namespace-path=/proc/self/ns/net \
    --capability=CAP_NET_ADMIN --bind=/dev/net/tun --console=pipe \
    "$@" < /dev/null > "$state/console" 2>&1 &
cat <&3 > /dev/null 2>&1 &
exec 3<&- < /dev/null > /dev/null 2>&1
wait -n
"""


class BootedMachine(Machine):
    """One machine of a Debian suite; commands run on it as root would type them."""

    def __init__(
        self,
        name: str,
        state: Path,
        root: Path,
        *,
        hub: Machine,
        cgroup: Path,
        shows: Mapping[Path, str],
    ) -> None:
        """Prepare it; `shows`: directories of this machine, to be read there under these paths.

        `cgroup` is what the hub will see it by.
        """
        super().__init__(name, state, hub=hub)
        self.cgroup = cgroup
        self._options = [f"--bind-ro={here}:{there}" for here, there in shows.items()]
        self.root = root
        self.python = "/usr/bin/python3"
        self._leader: int | None = None

    @property
    def pid(self) -> int:
        """The machine's systemd, as this process sees it; the shell around it until that runs."""
        assert self._init is not None and self._init.poll() is None, f"{self.name} is not running"
        return self._leader or self._init.pid

    def boot(self, *, wanted: str = "running") -> None:
        """Start the machine and wait until systemd says that it is up; see `settle`."""
        self.start()
        self.settle(wanted=wanted)

    def start(self) -> None:
        """Start the machine; returns as soon as commands can run on it. Raises CommandError."""
        assert self.hub is not None
        for detach in self.detachments:
            detach()
        argv = enter(self.hub, "--mount", "--root", "--wd")
        argv += [sys.executable, "-I", "-S", own_root.__file__]
        argv += ["bash", "-c", BOOT, f"wgmfleet-{os.getpid()}-{self.name}"]
        argv += [self.name, str(self.root), str(self.state), str(self.cgroup), *self._options]
        with children_in(None):
            self._init = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={"PATH": SAFE_PATH, "LC_ALL": "C.UTF-8", "HOME": str(self.state)},
                start_new_session=True,
            )
        assert self._init.stdin and self._init.stdout and self._init.stderr
        if self._init.stdout.readline() != "ready\n":
            said = self._init.stderr.read()
            self.shut_down()
            raise CommandError(f"machine {self.name} does not boot: {said}")
        for attach in self.attachments:
            attach()
        self._init.stdin.write("go\n")
        self._init.stdin.flush()
        self._leader = wait_until(self._find_leader, BOOT_SECONDS, f"{self.name} has a systemd")
        self._pid_namespace = os.open(f"/proc/{self._leader}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def settle(self, *, wanted: str = "running") -> None:
        """Wait until systemd has started all that it should.

        Raises CommandError when it ends up in another state than `wanted` (is-system-running).
        """
        state = wait_until(self._settled, BOOT_SECONDS, f"{self.name} is up")
        if state != wanted:
            failed = self.run(["systemctl", "--no-pager", "--failed"], check=False).stdout
            raise CommandError(f"{self.name} is {state}\n{failed}{self.journal()}")

    def shut_down(self) -> None:
        """Pull the plug: every process of the machine dies at once, its kernel state with it."""
        super().shut_down()
        self._leader = None
        if self.hub is not None and self.hub.running and self.hub.exists(self.cgroup):
            wait_until(self._forget_cgroup, SHUT_DOWN_SECONDS, f"{self.name} leaves its cgroup")

    def power_off(self) -> None:
        """Shut down as an administrator would, waiting for every service to end."""
        self._leave("poweroff", 0)

    def reboot(self, *, wanted: str = "running") -> None:
        """Boot again as an administrator would: services end in order, then all starts anew."""
        self._leave("reboot", RESTART)
        self.boot(wanted=wanted)

    def power_cycle(self, *, wanted: str = "running") -> None:
        """Take the power away, and give it back."""
        self.shut_down()
        self.boot(wanted=wanted)

    def journal(self, *arguments: str) -> str:
        """Return the journal of this boot; arguments are journalctl's."""
        argv = ["journalctl", "--no-pager", "--no-hostname", "--boot", "-o", "short-precise"]
        said = self.run([*argv, *(arguments or ("--lines=200",))], check=False).stdout
        return "".join(line for line in said.splitlines(True) if NO_CONTROLLERS not in line)

    def peek(self, path: str) -> str:
        """Return a file's text as seen from outside, "" when there is none: cheap, for waiting."""
        try:
            return Path(f"/proc/{self.pid}/root{path}").read_text()
        except FileNotFoundError:
            return ""

    def unit(self, unit: str, key: str) -> str:
        """Return one property of a unit, as `systemctl show` has it."""
        return self.run(["systemctl", "show", "--value", "-p", key, "--", unit]).stdout.strip()

    @property
    def wgmesh_argv(self) -> list[str]:
        """The installed `wgmesh`."""
        return ["wgmesh"]

    def environment(self) -> dict[str, str]:
        """Return what a root shell on the machine has."""
        return {"PATH": SAFE_PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}

    def _enter(self) -> list[str]:
        # Into a cgroup of the machine too: systemd moves what it is asked to take over.
        join = 'echo 0 > "$1"; shift; exec "$@"'
        procs = f"/proc/{self._holder}/root{self.cgroup}/payload/init.scope/cgroup.procs"
        spaces = ["--mount", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd"]
        return ["sh", "-c", join, "-", procs, *enter(self, *spaces)]

    @property
    def _holder(self) -> int:
        assert self._init is not None and self._init.poll() is None, f"{self.name} is not running"
        return self._init.pid

    def _find_leader(self) -> int | None:
        assert self._init is not None
        if self._init.poll() is not None:
            raise CommandError(f"{self.name} ended: {self._console()}")
        procs = Path(f"/proc/{self._holder}/root{self.cgroup}/payload/init.scope/cgroup.procs")
        pids = procs.read_text().split() if procs.exists() else []
        return int(pids[0]) if pids else None

    def _forget_cgroup(self) -> bool:
        # the kernel lets go of the dead a moment after they were reaped
        assert self.hub is not None
        argv: list[str | Path] = [
            "find",
            self.cgroup,
            "-depth",
            "-type",
            "d",
            "-exec",
            "rmdir",
            "{}",
            "+",
        ]
        return self.hub.run(argv, check=False).returncode == 0

    def _settled(self) -> str | None:
        argv = ["systemctl", "is-system-running", "--wait"]
        state = self.run(argv, check=False, timeout=BOOT_SECONDS).stdout.strip()
        return state if state in ("running", "degraded", "maintenance") else None

    def _leave(self, verb: str, code: int) -> None:
        assert self._init is not None
        self.run(["systemctl", verb], check=False)
        end = wait_until(
            lambda: self._init is None or self._init.poll() is not None,
            SHUT_DOWN_SECONDS,
            f"{self.name} shuts down",
        )
        assert end and self._init.returncode == code, f"{verb}: {self._init.returncode}"
        self.shut_down()

    def _console(self) -> str:
        assert self.hub is not None
        return self.hub.run(["tail", "-n", "50", self.state / "console"], check=False).stdout
