"""What a node is made of, kernel and disk, in a form that two moments can be compared by."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.lab.machine import Machine

KILLER = Path(__file__).with_name("killer")
FLIP = "os.rename /etc/wireguard/wgmesh.d/boot"
"""The operation that confirms a change, as the killer names it."""

KERNEL = r"""
echo @device; wg show wg0 dump
echo @link; ip -o link show dev wg0 | grep -o 'mtu [0-9]*'; ip -o link show dev wg0 up | grep -c wg0
echo @addresses; ip -o addr show dev wg0 scope global | awk '{print $4}' | sort
echo @routes
for family in -4 -6; do
    ip $family route show table all | grep -E 'dev wg0|proto 101' | grep -v 'proto kernel' | sort
done
echo @rules; ip -4 rule; ip -6 rule
echo @nft; nft -s list ruleset
echo @sysctls
sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.eth0.accept_ra
"""
DISK = r"""
cd /etc/wireguard
echo @boot; readlink wgmesh.d/boot
echo @links; readlink wg0.conf wg-failover.conf wg-exit-selector.conf
echo @wg0.conf; cat wg0.conf
echo @wgmesh.nft; cat wgmesh.d/boot/wgmesh.nft
"""
UNFINISHED = r"""
grep -h '^phase' /var/lib/wgmesh/journal.toml | grep -v idle
ls /run/wgmesh/snapshot.json /etc/wireguard/wgmesh.d/*.tmp 2>/dev/null
"""


@dataclass(frozen=True, slots=True)
class State:
    """A node at one moment; keys are shown as digests, counters and handshakes left out."""

    kernel: dict[str, str]
    disk: dict[str, str]

    @property
    def content(self) -> tuple[dict[str, str], dict[str, str]]:
        """All but the number of the generation: two that say the same are equal."""
        return self.kernel, {key: value for key, value in self.disk.items() if key != "boot"}


def state(machine: Machine) -> State:
    """Return what `machine` runs now, and what its disk says that it boots."""
    kernel = _sections(machine.run(["sh", "-c", KERNEL], check=False).stdout)
    kernel["device"] = _device(kernel["device"])
    return State(kernel, _sections(machine.run(["sh", "-c", DISK], check=False).stdout))


def unfinished(machine: Machine) -> str:
    """Return what a transaction has left behind; empty when none is in flight."""
    return machine.run(["sh", "-c", UNFINISHED], check=False).stdout


def _sections(text: str) -> dict[str, str]:
    parts = (part.partition("\n") for part in ("\n" + text).split("\n@")[1:])
    return {name: body.strip() for name, _, body in parts}


def _device(dump: str) -> str:
    own, *peers = (line.split("\t") for line in dump.splitlines()) if dump else ([],)
    lines = [" ".join([_digest(own[0]), *own[1:]])] if own else []
    for key, psk, endpoint, allowed, _, _, _, keepalive in peers:
        prefixes = ",".join(sorted(allowed.split(",")))
        lines.append(f"{key} {_digest(psk)} {endpoint} {prefixes} {keepalive}")
    return "\n".join(sorted(lines))


def _digest(secret: str) -> str:
    return secret if secret == "(none)" else sha256(secret.encode()).hexdigest()[:10]
