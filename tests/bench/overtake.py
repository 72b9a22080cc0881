"""`python -m tests.bench.overtake`: how often one copy of a packet overtakes the other of two keys.

While a node has two keys, whatever it sends goes out by both. A peer loses a packet when it hands
the AllowedIPs over after the copy of the new key has come, and before that of the old one.
"""

import re
import sys
import time
from collections import Counter
from statistics import median

from tests.bench.result import Column, Effort, Result, Row, show
from tests.lab.mesh import Mesh
from tests.lab.pings import Pings
from tests.lab.rotation import merge
from tests.lab.world import World

SECONDS = 30.0
QUICK_SECONDS = 10.0
INTERVAL_SECONDS = 0.005
NODES = ("alpha", "bravo")
DATA = "udp and udp[8:1] = 4"  # WireGuard whitepaper, section 5.4.6
_STAMP = re.compile(r"(\d+\.\d+) IP ")
_RECEIVER = slice(64, 72)
_COUNTER = slice(72, 88)
"""In hexadecimal digits from the IPv4 header on."""

Session = dict[int, float]
"""When each packet came, by its counter."""


def sessions(text: str) -> dict[str, Session]:
    """Return the packets of each session by its receiver's index, out of `tcpdump -tt -x`."""
    found: dict[str, Session] = {}
    when, digits = 0.0, ""
    for line in [*text.splitlines(), "0.0 IP "]:
        if stamp := _STAMP.match(line):
            if digits:
                counter = int.from_bytes(bytes.fromhex(digits[_COUNTER]), "little")
                found.setdefault(digits[_RECEIVER], {})[counter] = when
            when, digits = float(stamp[1]), ""
        else:
            digits += "".join(line.partition(":")[2].split())
    return found


def later(new: Session, old: Session) -> list[float]:
    """Return by how many seconds the old key's copy of each packet came after the new key's.

    The counters of two sessions differ by what else each has sent: by what brings them closest.
    """
    near = [n - m for m in list(old)[:200] for n in new if abs(new[n] - old[m]) < 0.001]
    ahead = Counter(near).most_common(1)[0][0]
    return [when - new[n + ahead] for n, when in old.items() if n + ahead in new]


def measure(seconds: float = SECONDS) -> list[float]:
    """Let a node have two keys, and capture what its peer gets; return as `later`."""
    with World(NODES) as world:
        mesh = Mesh(world)
        mesh.bring_up(*NODES)
        merge(mesh, "alpha")
        mesh.sync("alpha", "bravo", "alpha")
        alpha, bravo = world["alpha"], world["bravo"]
        into = "/run/captured"
        what = f"{DATA} and src host {alpha.ipv4}"
        tcpdump = ["tcpdump", "-l", "-n", "-tt", "-x", "-i", "eth0", "-Q", "in", what]
        capture = bravo.popen(["sh", "-c", f'exec "$@" > {into}', "sh", *tcpdump])
        assert capture.stderr is not None
        while "listening" not in capture.stderr.readline():
            assert capture.poll() is None, "tcpdump has ended"
        try:
            with Pings(alpha, mesh.address("bravo"), INTERVAL_SECONDS):
                time.sleep(seconds)
                alpha.run(
                    ["ip", "link", "set", "wgmesh-2nd", "down"]
                )  # what goes on is the new one
                time.sleep(seconds / 10)
        finally:
            capture.terminate()
            capture.communicate()
        by_length = sorted(sessions(bravo.read(into)).values(), key=len)
    return later(by_length[-1], by_length[-2])


def benchmark(effort: Effort) -> list[Result]:
    """Measure for half a minute."""
    late = measure(QUICK_SECONDS if effort.quick else SECONDS)
    positive = [each for each in late if each > 0]
    mean = sum(positive) / len(late)
    values = (
        1000 * median(map(abs, late)),
        100 * len(positive) / len(late),
        1000 * mean,
        mean / INTERVAL_SECONDS,
    )
    columns = (
        Column("ms apart, median", 2),
        Column("% in which the old key's came later"),
        Column("ms later, mean over all", 2),
        Column("packets lost at a hand-over", 3),
    )
    return [
        Result(
            "overtake",
            f"One run, a packet each {1000 * INTERVAL_SECONDS:g} ms",
            "copies",
            columns,
            (Row(f"{len(late):,} packets", values),),
            {"lost": mean / INTERVAL_SECONDS},
        )
    ]


if __name__ == "__main__":
    sys.exit(show("tests.bench.overtake", benchmark))
