"""The internet of the laboratory: one bridge, a link for each machine, faults made with nft.

198.18.0.0/15 (RFC 2544) and 2001:db8::/64 (RFC 3849) exist in these namespaces only; the default
route of every machine ends at the bridge, which leads nowhere else.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType

from tests.lab.machine import CommandError, Machine

GATEWAY_IPV4 = "198.18.0.254"
GATEWAY_IPV6 = "2001:db8::ffff"
GATEWAY_HARDWARE = "02:00:00:00:ff:fe"
INTERNET_PROTOCOLS = (
    "ether type ip",
    # Neighbours stay known while a line is dead: on the real internet the dead line is far away.
    "ether type ip6 icmpv6 type != { nd-neighbor-solicit, nd-neighbor-advert }",
    "ether type ip6 meta l4proto != ipv6-icmp",
)


class Fault:
    """A fault in force, as an nft table of its own; `remove()` or the end of `with` mends it."""

    def __init__(self, machine: Machine, family: str, table: str, chains: str) -> None:
        self._machine = machine
        self._table = f"{family} {table}"
        machine.run(["nft", "-f", "-"], stdin=f"table {self._table} {{\n{chains}\n}}\n")

    def remove(self) -> None:
        """Mend it; harmless when it is gone already (flushed, or lost in a reboot)."""
        table = self._table
        if self._machine.running:
            self._machine.run(
                ["nft", "-f", "-"], stdin=f"add table {table}\ndelete table {table}\n"
            )

    def __enter__(self) -> "Fault":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


class Counter:
    """Packets that a rule has seen, in an nft table of its own."""

    def __init__(self, machine: Machine, table: str, rule: str) -> None:
        self._machine = machine
        self._table = f"bridge {table}"
        chain = f"chain seen {{ type filter hook prerouting priority -10\n{rule} counter\n}}"
        machine.run(["nft", "-f", "-"], stdin=f"table {self._table} {{\n{chain}\n}}\n")

    def packets(self) -> int:
        """Return how many there were."""
        listed = self._machine.run(["nft", "list", "table", *self._table.split()]).stdout
        return int(re.search(r"packets (\d+)", listed)[1])  # type: ignore[index]


class Internet:
    """The bridge and what hangs on it. Faults are named by the machine whose line they strike."""

    def __init__(self, state: Path, *, ipv6: bool = True) -> None:
        self.hub = Machine("internet", state, hub=None)
        self.ipv6 = ipv6
        self._ports: dict[str, list[str]] = {}
        self._cuts: dict[str, list[Fault]] = {}
        self._numbers = count(1)

    def start(self) -> None:
        """Boot the machine that is the bridge."""
        self.hub.boot()
        v6 = [f"addr add {GATEWAY_IPV6}/64 dev internet nodad"] if self.ipv6 else []
        self.hub.ip_batch(
            # else its address is that of a port, and changes when that machine reboots
            f"link add internet address {GATEWAY_HARDWARE} type bridge mcast_snooping 0",
            "link set internet up",
            f"addr add {GATEWAY_IPV4}/15 dev internet",
            *v6,
        )
        self.hub.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])

    def attach(self, machine: Machine, number: int) -> None:
        """Give `machine` its line: eth0 with 198.18.0.NUMBER/15, 2001:db8::NUMBER/64, mtu 1500.

        A machine that is off has it from its next boot on.
        """
        machine.ipv4 = machine.public_ipv4 = f"198.18.0.{number}"
        machine.ipv6 = f"2001:db8::{number}" if self.ipv6 else ""
        port = self._port(machine.name)

        def plug() -> None:
            self._cable(port, machine, "eth0", number)
            v6 = (
                [
                    f"addr add {machine.ipv6}/64 dev eth0 nodad",
                    f"route add default via {GATEWAY_IPV6} dev eth0",
                ]
                if self.ipv6
                else []
            )
            machine.ip_batch(
                f"addr add {machine.ipv4}/15 dev eth0",
                "link set eth0 up",
                f"route add default via {GATEWAY_IPV4} dev eth0",
                *v6,
            )

        self._wire(machine, plug, self.hub, port)

    def attach_second(self, machine: Machine, number: int) -> None:
        """Give `machine` a second line, eth1 with 198.19.0.NUMBER, that can fail by itself."""
        machine.second_ipv4 = f"198.19.0.{number}"
        port = self._port(machine.name)

        def plug() -> None:
            self._cable(port, machine, "eth1", number)
            machine.ip_batch(
                f"addr add {machine.second_ipv4}/32 dev eth1",
                "link set eth1 up",
                f"route add 198.18.0.0/15 dev eth1 src {machine.second_ipv4} table 1019",
                f"rule add from {machine.second_ipv4} lookup 1019 pref 1019",
            )
            # Two lines into one network: each answers for its own address only.
            keys = [f"net.ipv4.conf.all.{key}" for key in ("arp_ignore=1", "arp_announce=2")]
            machine.run(["sysctl", "-qw", *keys])

        self._wire(machine, plug, self.hub, port)

    def attach_behind_nat(self, machine: Machine, router: Machine, number: int) -> None:
        """Put `machine` behind `router`, which masquerades: nobody reaches it unasked."""
        self.attach(router, number)
        router.ipv6 = ""
        machine.ipv4, machine.public_ipv4 = f"192.168.{number}.2", router.ipv4
        lan = f"192.168.{number}.1"
        self._ports[machine.name] = self._ports[router.name]

        def plug() -> None:
            router.ip_batch(
                f"link add lan0 type veth peer name eth0 netns {machine.pid}",
                f"addr add {lan}/24 dev lan0",
                "link set lan0 up",
            )
            machine.ip_batch(
                f"addr add {machine.ipv4}/24 dev eth0",
                "link set eth0 up",
                f"route add default via {lan} dev eth0",
            )

        router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        router.run(
            ["nft", "-f", "-"],
            stdin="""
            table ip router {
                chain nat {
                    type nat hook postrouting priority srcnat
                    oifname "eth0" masquerade random
                }
                chain forward {
                    type filter hook forward priority filter; policy accept
                    iifname "eth0" ct state new,invalid drop
                }
            }
            """,
        )
        self._wire(machine, plug, router, "lan0")

    def move(self, router: Machine, number: int) -> None:
        """Give a NAT router another public address, as an internet provider does overnight."""
        old, router.ipv4 = router.ipv4, f"198.18.0.{number}"
        router.public_ipv4 = router.ipv4
        router.ip_batch(
            f"addr del {old}/15 dev eth0",  # drops what masquerade remembers of it
            f"addr add {router.ipv4}/15 dev eth0",
            f"route replace default via {GATEWAY_IPV4} dev eth0",
        )

    def cut(self, name: str, *, line: int = 0) -> Fault:
        """Cut a machine's line (0: eth0, 1: the second): what it and others send just vanishes."""
        rules = [f"{match} drop" for match in INTERNET_PROTOCOLS]
        fault = self._fault(self._ports[name][line], rules, rules)
        self._cuts.setdefault(name, []).append(fault)
        return fault

    def restore(self, name: str) -> None:
        """Mend every cut of that machine."""
        for fault in self._cuts.pop(name, []):
            fault.remove()

    def part(self, one: Machine, other: Machine) -> Fault:
        """Let nothing pass between two machines, while both reach everyone else."""
        pairs = [("ip", one.public_ipv4, other.public_ipv4)]
        if one.ipv6 and other.ipv6:
            pairs.append(("ip6", one.ipv6, other.ipv6))
        rules = [
            f"{protocol} {a} {x} {protocol} {b} {y} drop"
            for protocol, x, y in pairs
            for a, b in (("saddr", "daddr"), ("daddr", "saddr"))
        ]
        return self._fault(self._ports[one.name][0], rules, rules)

    def block_udp_port(self, name: str, port: int) -> Fault:
        """Filter, as a provider does, UDP of that port of the machine, in both directions."""
        return self._fault(
            self._ports[name][0], [f"udp sport {port} drop"], [f"udp dport {port} drop"]
        )

    def lose(self, name: str, percent: int, match: str = "") -> Fault:
        """Lose that share of the machine's packets at random, in both directions.

        Of those that nft `match` fits; of all of them without one.
        """
        matches = [match] if match else INTERNET_PROTOCOLS
        rules = [f"{each} numgen random mod 100 < {percent} drop" for each in matches]
        return self._fault(self._ports[name][0], rules, rules)

    def lose_next(self, name: str, packets: int, match: str = "meta l4proto udp") -> Fault:
        """Lose exactly the next `packets` packets that the machine sends and nft `match` fits."""
        rule = f"{match} numgen inc mod 2147483647 < {packets} drop"
        return self._fault(self._ports[name][0], [rule], [])

    def beyond(self, *addresses: str) -> None:
        """Let hosts with these addresses exist behind the gateway: it answers for them itself."""
        for address in addresses:
            self.hub.ip_batch(f"addr replace {address} dev lo")

    def count(self, name: str, match: str, *, line: int = 0) -> "Counter":
        """Count from now on what the machine sends and nft `match` fits: what its provider sees."""
        port = self._ports[name][line]
        return Counter(self.hub, f"count{next(self._numbers)}", f'iifname "{port}" {match}')

    def block(self, name: str, match: str) -> Fault:
        """Drop what the machine sends and nft `match` fits."""
        return self._fault(self._ports[name][0], [f"{match} drop"], [])

    def _fault(self, port: str, sent: list[str], received: list[str]) -> Fault:
        out = "\n".join(f'iifname "{port}" {rule}' for rule in sent)
        into = "\n".join(f'oifname "{port}" {rule}' for rule in received)
        chains = (
            f"chain sent {{ type filter hook prerouting priority 0\n{out}\n}}\n"
            f"chain received {{ type filter hook postrouting priority 0\n{into}\n}}"
        )
        return Fault(self.hub, "bridge", f"fault{next(self._numbers)}", chains)

    def _port(self, name: str) -> str:
        port = f"port{next(self._numbers)}"
        self._ports.setdefault(name, []).append(port)
        return port

    def _cable(self, port: str, machine: Machine, interface: str, number: int) -> None:
        # A card keeps its hardware address over reboots, so neighbours need not learn it anew.
        hardware = f"02:00:00:00:{interface[-1]:0>2}:{number:02x}"
        self.hub.ip_batch(
            f"link add {port} mtu 1500 type veth"
            f" peer name {interface} address {hardware} netns {machine.pid}",
            f"link set {port} master internet up",
        )

    @staticmethod
    def _wire(machine: Machine, plug: Callable[[], None], owner: Machine, port: str) -> None:
        def unplug() -> None:
            # A test may have unplugged it already; the link dies with either machine anyway.
            with suppress(CommandError):
                if owner.running:
                    owner.ip_batch(f"link del {port}")

        if machine.running:
            plug()
        machine.attachments.append(plug)
        machine.detachments.append(unplug)


def ignore_pings(machine: Machine, interface: str = "wg0") -> Fault:
    """Let a machine answer no echo request that comes by `interface` (a host that drops ICMP)."""
    return Fault(
        machine,
        "inet",
        "lab_ignore_pings",
        "chain input { type filter hook input priority -10\n"
        f'iifname "{interface}" icmp type echo-request drop\n'
        f'iifname "{interface}" icmpv6 type echo-request drop\n}}',
    )
