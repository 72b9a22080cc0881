"""`python -m tests.soak.restore`: how long a harmful change keeps a node from its service.

Six harms to a node with four tunnels, by wgmesh with its default windows; beside it, on the same
node, what deploy-rs and `netplan try` do (tests/soak/confirm): a change stays when somebody who
comes over the mesh confirms it within 30 s, or 120 s, and is taken back otherwise.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL
from statistics import median
from typing import Any

from tests.bench.cpu import table
from tests.lab.machine import CHECKOUT, Machine
from tests.lab.pings import Pings
from tests.lab.state import KILLER, unfinished
from tests.lab.wait import wait_until
from tests.soak import labs
from tests.soak.converge import ROLLED_BACK, Fleet, fleet
from tests.soak.labs import Record, throughout
from tests.soak.streams import passes, without_service_seconds

FIVE = ("alpha", "bravo", "charlie", "delta", "echo")
PORT, FILTERED = 51820, 4500
CONFIRM = Path(__file__).with_name("confirm")
PENDING = "/run/pending"
TOOLS = {"wgmesh": 0, "canary, 30 s": 30, "confirm, 120 s": 120}
RULE = f"""\
table inet harm {{
    chain input {{ type filter hook input priority 0; udp dport {PORT} drop; }}
    chain output {{ type filter hook output priority 0; udp sport {PORT} drop; }}
}}
"""
HARMS = (
    "nft rule drops tunnels",
    "new port filtered by the provider",
    "wrong own key",
    "wrong AllowedIPs, 1 tunnel of 4",
    "route to the remote lost",
    "kill -9 mid-apply",
)
NFT, OTHER_KEY, OWN_KEY = "/etc/harm.nft", "/etc/harm.key", "/etc/wireguard/wg0.key"
INTERVAL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Harm:
    """A change for the worse: what entries say, and the commands that make and unmake it by hand.

    `seconds` is what the page "Applying and rolling back" promises, `code` how a sync ends.
    `killed`: right before that operation of the apply (see tests/lab/killer). `quiet`: nothing is
    sent through the tunnels before this address is routed into them.
    """

    entries: dict[str, dict[str, Any]]
    up: str
    down: str
    seconds: float = 20
    code: int = ROLLED_BACK
    killed: str = ""
    quiet: str = ""


def stolen(of: Fleet, victim: str, *, minority: bool) -> Harm:
    """Return the harm of AllowedIPs of charlie that lead somebody's address into the tunnel.

    With `minority` it is a peer's, and the port changes too: wireguard-go answers a peer by the
    way that it came, whatever the routes say, until it opens its sockets anew.
    """
    key, own = of.keys["charlie"], f"{of.mesh.address('charlie')}/32"
    own += f",{of.mesh.address('charlie', 6)}/128"
    set_, route = f"wg set wg0 peer {key} allowed-ips", f"{victim}/32 dev wg0"
    up = f"{set_} {own},{victim}/32; ip route add {route}"
    down = f"ip route del {route}; {set_} {own}"
    entries: dict[str, dict[str, Any]] = {"charlie": {"allowed_ips": [f"{victim}/32"]}}
    if not minority:
        return Harm(entries, up, down)
    entries["alpha"] = {"listen_port": PORT + 1}
    ports = [f"wg set wg0 listen-port {port}; " for port in (PORT + 1, PORT)]
    return Harm(entries, ports[0] + up, ports[1] + down, seconds=60, quiet=victim)


def harms(of: Fleet) -> dict[str, Harm]:
    """Return the six."""
    port = {"alpha": {"listen_port": FILTERED}}
    moved, back = (f"wg set wg0 listen-port {number}" for number in (FILTERED, PORT))
    # a network too, so that something is left to do once the port is another one
    more = port | {"charlie": {"allowed_ips": ["192.168.60.0/24"]}}
    other = of["alpha"].run(["wg", "pubkey"], stdin=of["alpha"].read(OTHER_KEY)).stdout.strip()
    up, down = f"nft -f {NFT}", "nft delete table inet harm"
    six = (
        Harm({"alpha": {"post_up": up, "post_down": down}}, up, down),
        Harm(port, moved, back),
        Harm(
            {"alpha": {"public_key": other}},
            f"wg set wg0 private-key {OTHER_KEY}",
            f"wg set wg0 private-key {OWN_KEY}",
            code=0,  # a node that is not in the inventory by its key stays as it is
        ),
        stolen(of, of["bravo"].ipv4, minority=True),
        stolen(of, of.mesh.world.forge.machine.ipv4, minority=False),
        Harm(more, moved, back, code=-SIGKILL, killed="netlink"),
    )
    return dict(zip(HARMS, six, strict=True))


@dataclass
class Stage:
    """alpha, which is harmed, and its peers."""

    of: Fleet
    policy: str
    harms: dict[str, Harm] = field(default_factory=dict)

    @property
    def alpha(self) -> Machine:
        return self.of["alpha"]

    def set_up(self) -> None:
        """Put there what the harms use, and let a provider filter the port."""
        self.alpha.write(NFT, RULE)
        self.alpha.write(OTHER_KEY, self.alpha.run(["wg", "genkey"]).stdout, 0o600)
        self.alpha.write("/etc/wgmesh/wgmesh.toml", self.policy)
        self.of.mesh.world.internet.block_udp_port("alpha", FILTERED)
        self.harms = harms(self.of)

    def settle(self) -> None:
        """Bring alpha back to the plain entries."""
        self.of.fields.clear()
        self.of.commit("Plain again")
        self.alpha.wgmesh("sync", "--retry")
        self.alpha.wgmesh("reconcile")
        for name in self.of.names[1:]:
            self.of.mesh.wait_for_tunnels("alpha", name)

    def measured(self, act: Callable[[], None], quiet: str) -> float:
        """Return for how many seconds something was lost around alpha while `act` was done."""
        addresses = [self.of.mesh.address(name) for name in self.of.names[1:]]
        addresses.append(self.of.mesh.world.forge.machine.ipv4)
        pings = [Pings(self.alpha, each, INTERVAL_SECONDS) for each in addresses]
        with ExitStack() as running, ThreadPoolExecutor(1) as aside:
            if quiet:
                done = aside.submit(act)
                wait_until(partial(self.led_astray, quiet), 60, "the harm is done")
            for each in pings:
                running.enter_context(each)
            if not quiet:
                passes(pings)
                done = aside.submit(act)
            done.result()
            passes(pings)
            return without_service_seconds([each.stop() for each in pings])

    def led_astray(self, address: str) -> bool:
        """Return whether an address is routed into the tunnels."""
        return "dev wg0" in self.alpha.run(["ip", "route", "get", address]).stdout

    def by_wgmesh(self, harm: Harm) -> float:
        """Return how long alpha suffered when the harm came by a commit."""
        self.of.fields |= harm.entries
        self.of.commit("Harm")

        def sync() -> None:
            env = {"PYTHONPATH": f"{KILLER}:{CHECKOUT}"} if harm.killed else {}
            if harm.killed:
                env["WGLAB_KILL"] = f"{harm.killed}|agent|{self.of.mesh.world.directory / 'log'}"
            done = self.alpha.wgmesh("sync", check=False, timeout=200, env=env)
            assert done.returncode == harm.code, done.stdout + done.stderr
            wait_until(lambda: unfinished(self.alpha) == "", 30, "it is over")

        return self.measured(sync, harm.quiet)

    def by_hand(self, harm: Harm, seconds: int) -> float | None:
        """Return how long alpha suffered; None when the change would have stayed for good."""
        ended = False

        def attempt() -> None:
            nonlocal ended
            child = self.alpha.popen(
                ["sh", str(CONFIRM), str(seconds), harm.up, harm.down, PENDING]
            )
            wait_until(lambda: self.alpha.exists(PENDING), 5, "it begins")
            if harm.killed:
                time.sleep(1)  # the change is in force then
                child.kill()
            while child.poll() is None:
                if self.of.mesh.pings("bravo", "alpha"):
                    self.alpha.run(["rm", "-f", PENDING])
                time.sleep(1)
            child.communicate()
            ended = child.returncode == 0 and self.alpha.exists(PENDING)
            if not ended:
                self.alpha.run(["sh", "-c", harm.down])

        took = self.measured(attempt, harm.quiet)
        self.alpha.run(["rm", "-f", PENDING])
        return took if ended else None


@contextmanager
def laboratory(names: Sequence[str] = FIVE, policy: str = "") -> Iterator[Stage]:
    """Make a node that can be harmed, with this in its wgmesh.toml, and its peers."""
    with fleet(names) as of:
        stage = Stage(of, f"allow_hooks = true\n{policy}")
        stage.set_up()
        yield stage


def one(stage: Stage, item: tuple[str, int]) -> Iterator[Record]:
    """Do one harm (tool, number of the harm)."""
    stage.settle()
    tool, number = item
    name, seconds = HARMS[number], TOOLS[tool]
    harm = stage.harms[name]
    took = stage.by_hand(harm, seconds) if seconds else stage.by_wgmesh(harm)
    yield {"tool": tool, "harm": name, "most": harm.seconds, "seconds": took}


def rows(found: Sequence[Record]) -> Iterator[list[str]]:
    """Yield the rows of the table for docs/benchmarks.md."""
    promised = {each["harm"]: each["most"] for each in found}
    for harm in (each for each in HARMS if each in promised):
        cells = [harm, f"{promised[harm]:.0f}"]
        for tool in TOOLS:
            some = [e["seconds"] for e in found if (e["tool"], e["harm"]) == (tool, harm)]
            times = [each for each in some if each is not None]
            cells.append(str(len(some)))
            if len(times) < len(some):
                cells.append("stays")
            else:
                cells.append(f"{median(times):.1f} / {max(times):.1f}" if times else "-")
        yield cells


def main() -> int:
    """Do the harms and print the table; exit 1 when one lasted longer than promised."""
    parser = labs.parser("tests.soak.restore")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--others", type=int, default=2, help="runs of what it is compared with")
    parser.add_argument("--harm", choices=HARMS, action="append", help="of the six only this one")
    options = parser.parse_args()
    turns = {tool: options.others if seconds else options.runs for tool, seconds in TOOLS.items()}
    items = [
        (tool, HARMS.index(harm))
        for tool, most in turns.items()
        for harm in options.harm or HARMS
        for _ in range(most)
    ]
    random.Random(0).shuffle(items)  # so that each laboratory has some of every kind
    found = labs.records(options, items, lambda part: throughout(part, laboratory, one))
    columns = [cell for tool in TOOLS for cell in (f"{tool}: runs", "s, median / worst")]
    sys.stdout.write(table(("harm", "promised s", *columns), list(rows(found))))
    ours = [each for each in found if each["tool"] == "wgmesh"]
    return 1 if options.broken or any(each["seconds"] > each["most"] for each in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
