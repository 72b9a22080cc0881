"""`python -m tests.soak.kill`: a transaction is cut at each of its operations in turn.

The agent is killed (its watchdog acts), agent and watchdog are (`wgmesh recover` acts), the machine
loses power (it boots), the file system is full or read-only from there on. Each time the node must
be at the old configuration or at the new one, in the kernel and on disk, and what is somebody
else's must be byte for byte what it was.
"""

import argparse
import queue
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field

from tests.lab.machine import Machine
from tests.lab.stage import Stage, boot, stage
from tests.lab.state import FLIP, state, unfinished
from tests.lab.wait import wait_until
from tests.lab.world import World

WAYS = {
    "agent": "agent killed",
    "watchdog": "agent and watchdog killed",
    "everything": "power lost",
    "ENOSPC": "file system full",
    "EROFS": "file system read-only",
}
FOREIGN_SETUP = r"""
nft -f - <<'NFT'
table inet somebody {
    set known { type ipv4_addr; elements = { 203.0.113.7, 203.0.113.9 } }
    chain input { type filter hook input priority 10; policy accept; ip saddr @known accept; }
}
NFT
iptables -w -A FORWARD -s 203.0.113.0/24 -j ACCEPT
iptables -w -t nat -A POSTROUTING -s 203.0.113.0/24 -o eth0 -j MASQUERADE
ip6tables -w -A FORWARD -s 2001:db8:77::/48 -j ACCEPT
ip link add somebody0 type veth peer name somebody1
ip link set somebody0 up; ip link set somebody1 up
ip address add 203.0.113.1/24 dev somebody0
ip route add 203.0.113.128/25 dev somebody0 proto static metric 77
ip route add default dev somebody0 table 4242
ip rule add fwmark 0x4242 lookup 4242 pref 4242
ip -6 rule add fwmark 0x4242 lookup 4242 pref 4242
sysctl -qw net.ipv4.conf.somebody0.rp_filter=2 net.ipv4.tcp_syncookies=1
"""
FOREIGN = r"""
echo @tables; nft -s list table inet somebody; iptables-save -t filter; iptables-save -t nat
ip6tables-save -t filter
echo @routes
for family in -4 -6; do
    ip $family route show table all | grep -vE 'dev wg0|proto (101|kernel|ra)' | sort
    ip $family rule show
done
echo @sysctls
sysctl -a 2>/dev/null | grep ^net.ipv |
    grep -vE '\.wg0\.|stable_secret|forwarding|accept_redirects|ip_forward |route.gc|accept_ra '
"""


@dataclass
class Tally:
    """How the runs of one way ended, and what went wrong."""

    runs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def foreign(machine: Machine) -> str:
    """Return what somebody else has on the machine; comments with a time are left out."""
    said = machine.run(["sh", "-c", FOREIGN], check=False).stdout
    return "\n".join(line for line in said.splitlines() if not line.startswith("# "))


def settle(play: Stage, way: str) -> None:
    """Do what brings the node to its end after it was struck that way."""
    if way == "everything":
        boot(play.alpha, FOREIGN_SETUP)
    elif way == "agent" and play.done("run PYTHON"):
        wait_until(lambda: unfinished(play.alpha) == "", 30, "the watchdog has acted")
    else:
        play.alpha.wgmesh("recover")


def cut(play: Stage, point: int, target: str, way: str, theirs: str) -> str:
    """Cut one transaction; returns where it ended. Raises AssertionError if at neither end."""
    start = play.set_out(target)
    done = play.struck_sync(point, way)
    killed = done.returncode == -signal.SIGKILL
    reached = len(play.logged()) >= point  # what differs by time may be over sooner
    wanted = reached and way not in ("ENOSPC", "EROFS")
    assert killed == wanted, f"exit code {done.returncode}: {done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    settle(play, way)
    end = target if play.done(FLIP) else start
    if not killed and state(play.alpha).content != play.states[end].content:
        end = start if end == target else target  # its own way back needs no disk
    play.arrived(end)
    now = foreign(play.alpha)
    assert now == theirs, "somebody else's:\n" + "\n".join(
        sorted(set(now.splitlines()) ^ set(theirs.splitlines()))
    )
    if way == "everything":  # who has heard of the other port hears of this one by its next poll
        wait_until(lambda: play.ping("alpha", "bravo"), 20, "alpha reaches bravo")
    play.tunnel_works(20)
    return "new" if end == target else "old"


Job = tuple[str, int, str]


def work(jobs: "queue.Queue[Job]", tallies: dict[str, Tally]) -> None:
    """Do jobs in a laboratory of one's own until there are none."""
    with World(["alpha", "bravo", "charlie", "gone", "fresh"]) as world:
        world["alpha"].run(["sh", "-ec", FOREIGN_SETUP])
        play = stage(world)
        theirs = foreign(play.alpha)
        while True:
            try:
                target, point, way = jobs.get_nowait()
            except queue.Empty:
                return
            tally = tallies[way]
            tally.runs += 1
            if jobs.qsize() % 50 == 0:
                print(f"{jobs.qsize()} are left", file=sys.stderr, flush=True)
            try:
                tally.ends[cut(play, point, target, way, theirs)] += 1
            except Exception:  # each run counts, whatever is wrong with one
                what = play.logged()[-1:] or ["?"]
                tally.wrong.append(f"{way} at {point} of {target}: {what[0]}")
                print(tally.wrong[-1], traceback.format_exc(), file=sys.stderr, flush=True)
                play.alpha.wgmesh("recover", check=False)
                play.go("old")


def points(play: Stage, first: int, every: int) -> list[Job]:
    """Return operations of the way there and back, for each way to be cut."""
    return [
        (target, point, way)
        for target in ("new", "old")
        for point in range(first, len(play.operations[target]) + 1, every)
        for way in WAYS
    ]


def main() -> int:
    """Cut at every operation and print the table; returns 1 if a run ended wrongly."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kill")
    parser.add_argument("--laboratories", type=int, default=2, help="how many work side by side")
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth operation")
    parser.add_argument("--first", type=int, default=1, help="from the so-manieth one on")
    arguments = parser.parse_args()
    begun = time.monotonic()
    jobs: queue.Queue[Job] = queue.Queue()
    with World(["alpha", "bravo", "charlie", "gone", "fresh"]) as world:
        play = stage(world)
        for job in points(play, arguments.first, arguments.every):
            jobs.put(job)
        counts = {target: len(done) for target, done in play.operations.items()}
    tallies = {way: Tally() for way in WAYS}
    threads = [
        threading.Thread(target=work, args=(jobs, tallies)) for _ in range(arguments.laboratories)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{counts['new']} operations there, {counts['old']} back;", end=" ")
    print(f"{sum(each.runs for each in tallies.values())} runs in {time.monotonic() - begun:.0f} s")
    print("| cut by | runs | ended old | ended new | neither, or foreign state changed |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for way, words in WAYS.items():
        tally = tallies[way]
        cells = [tally.runs, tally.ends["old"], tally.ends["new"], len(tally.wrong)]
        print(f"| {words} | {' | '.join(map(str, cells))} |")
    return int(any(tally.wrong for tally in tallies.values()) or not jobs.empty())


if __name__ == "__main__":
    sys.exit(main())
