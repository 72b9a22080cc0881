"""Packet filters of others (ufw, Docker, firewalld, plain nft) that drop the mesh's packets.

An `accept` in our own table does not help against a drop in another one on the same hook. Of what
hangs on more than is known here it is told that nobody can tell, and no more.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from wgmesh.doctor.facts import BaseChain, Facts, Finding, error, note, warning
from wgmesh.doctor.rules import SERVICE, Packet, accepted, expanded, lets_out
from wgmesh.model.numbers import NFT_TABLE

_TABLE = re.compile(r"table (\S+) (\S+) \{")
_CHAIN = re.compile(r"chain (\S+) \{")
_HEAD = re.compile(r"type \S+ hook (\S+) .*?policy (\w+);|type \S+ hook (\S+) ")
_FINAL = re.compile(r"(counter packets \d+ bytes \d+ )?(drop|reject( with .*)?)( comment .*)?$")
_LEADS = re.compile(r"\b(?:jump|goto) (\S+)")
_QUOTED = re.compile(r'"[^"]*"')
_MOST_WAYS = 2000  # into chains: of what comes after these, the conditions are not looked at


def parse(ruleset: str) -> tuple[BaseChain, ...]:
    """Return the chains on the hooks input and forward in what `nft list ruleset` printed.

    Our own table is left out.
    """
    found: list[BaseChain] = []
    for family, table, lines in _tables(ruleset):
        if (family, table) == ("inet", NFT_TABLE):
            continue
        chains = list(_chains(lines))
        bodies = {name: body for name, _, body in chains}
        for name, head, body in chains:
            hook = _HEAD.match(head)
            word = (hook[1] or hook[3]) if hook else ""
            if hook is None or word not in ("input", "forward"):
                continue
            drops = hook[2] == "drop" or bool(body and _FINAL.match(body[-1]))
            rules = tuple(_reached(name, bodies))
            found.append(BaseChain(family, table, name, word, drops, rules, frozenset(bodies)))
    return tuple(found)


def _reached(name: str, bodies: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the rules of a chain and of all that it leads to, there with the conditions of that."""
    waiting, seen = [(name, "")], set[tuple[str, str]]()
    while waiting:
        chain, conditions = waiting.pop()
        if len(seen) > _MOST_WAYS:
            conditions = "unknown "
        if (chain, conditions) in seen:
            continue
        seen.add((chain, conditions))
        for rule in bodies.get(chain, ()):
            for each in expanded(rule):
                yield conditions + each
                led = _LEADS.search(each)
                if led:
                    waiting.append((led[1], conditions + each[: led.start()]))


def _tables(ruleset: str) -> Iterator[tuple[str, str, list[str]]]:
    depth, head, lines = 0, ("", ""), list[str]()
    for raw in ruleset.splitlines():
        line = raw.strip()
        bare = _QUOTED.sub('""', line)
        opened = _TABLE.match(line) if depth == 0 else None
        if opened:
            head, lines = (opened[1], opened[2]), []
        elif depth:
            lines.append(line)
        depth += bare.count("{") - bare.count("}")
        if depth == 0 and head[0]:
            yield (*head, lines)
            head = ("", "")


def _chains(lines: Iterable[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, `type … hook …` line ("" for none) and rules of each chain of a table."""
    name, head, body, depth = "", "", list[str](), 0
    for line in lines:
        bare = _QUOTED.sub('""', line)
        opened = _CHAIN.match(line) if depth == 0 else None
        if opened:
            name, head, body = opened[1], "", []
        elif name and line.startswith("type "):
            head = line
        elif name and line and line != "}" and not line.startswith("#"):
            body.append(line)
        depth += bare.count("{") - bare.count("}")
        if depth == 0 and name:
            yield name, head, body
            name = ""


def forward(facts: Facts) -> Iterator[Finding]:
    """Yield the filters that drop what this node is to forward."""
    plan = facts.mesh.plan
    if plan is None or plan.firewall is None:
        return
    name = plan.interface
    for chain in _dropping(facts, "forward"):
        let = accepted(chain.rules, Packet(SERVICE, enters=(name,)))
        if let or any(lets_out(rule, name) for rule in chain.rules):
            continue
        if let is None:
            yield _unsure(chain, f"what comes by {name} and goes on")
        else:
            yield error(
                f"{_where(chain)} drops forwarded packets, and no rule of it accepts those of"
                f" {name}, which this node forwards",
                _forward_fix(chain, name),
            )


def incoming(facts: Facts) -> Iterator[Finding]:
    """Yield the filters that drop what peers send to this node."""
    plan = facts.mesh.plan
    if plan is None:
        return
    name, port = plan.interface, plan.listen_port
    uplinks = tuple(device for device in facts.network.default_devices if device != name)
    calls = Packet("udp", port, uplinks, others=True, never=("lo", name))
    ping, service = (Packet(protocol, enters=(name,)) for protocol in ("icmp", SERVICE))
    for chain in _dropping(facts, "input"):
        hears, pings, serves = (accepted(chain.rules, each) for each in (calls, ping, service))
        if hears is False:
            yield warning(
                f"{_where(chain)} drops what comes in, and no rule of it accepts UDP port {port}:"
                " peers that call this node are not heard",
                _port_fix(chain, port),
            )
        if serves is pings is False:
            yield warning(
                f"{_where(chain)} drops what comes in, and no rule of it accepts what comes by"
                f" {name}: pings, and services that it does not name, do not answer over the mesh",
                _inside_fix(chain, name),
            )
        elif serves is False:
            yield note(
                f"{_where(chain)} lets in of what comes by {name} only what its rules name",
                _inside_fix(chain, name),
            )
        unsure = [f"UDP port {port}"] if hears is None else []
        unsure += [f"what comes by {name}"] if serves is None else []
        if unsure:
            yield _unsure(chain, " and ".join(unsure))


def _unsure(chain: BaseChain, what: str) -> Finding:
    return note(
        f"{_where(chain)} drops by default; whether it accepts {what} cannot be told",
        f"see for yourself: nft list chain {chain.family} {chain.table} {chain.name}",
    )


def _dropping(facts: Facts, hook: str) -> Iterator[BaseChain]:
    for chain in facts.network.chains or ():
        if chain.hook == hook and chain.drops:
            yield chain


def _where(chain: BaseChain) -> str:
    owner = _owner(chain)
    return f"{owner + ', ' if owner else ''}nft chain {chain.family} {chain.table} {chain.name},"


def _owner(chain: BaseChain) -> str:
    if chain.table == "firewalld":
        return "firewalld"
    if any(name.startswith(("ufw-", "ufw6-")) for name in chain.chains):
        return "ufw"
    if chain.hook == "forward" and "DOCKER-USER" in chain.chains:
        return "Docker"
    return ""


def _iptables(chain: BaseChain) -> str | None:
    """Return the command that keeps the chain, when it is one of iptables'."""
    if chain.table == "filter" and chain.name.isupper():
        return {"ip": "iptables", "ip6": "ip6tables"}.get(chain.family)
    return None


def _nft(chain: BaseChain, rule: str) -> str:
    return f"nft insert rule {chain.family} {chain.table} {chain.name} {rule}, kept in its file"


def _firewalld(options: str) -> str:
    return f"firewall-cmd --permanent {options} && firewall-cmd --reload"


def _forward_fix(chain: BaseChain, interface: str) -> str:
    match _owner(chain), _iptables(chain):
        case "ufw", _:
            return f"ufw route allow in on {interface} && ufw route allow out on {interface}"
        case "firewalld", _:
            return _firewalld(f"--zone=trusted --add-interface={interface}")
        case owner, str(command):
            place = "DOCKER-USER" if owner == "Docker" else chain.name
            return " && ".join(
                f"{command} -I {place} {way} {interface} -j ACCEPT" for way in ("-i", "-o")
            )
        case _:
            rules = (f"{way} {interface} accept" for way in ("iifname", "oifname"))
            return "; ".join(_nft(chain, rule) for rule in rules)


def _port_fix(chain: BaseChain, port: int) -> str:
    match _owner(chain), _iptables(chain):
        case "ufw", _:
            return f"ufw allow {port}/udp"
        case "firewalld", _:
            return _firewalld(f"--add-port={port}/udp")
        case _, str(command):
            return f"{command} -I {chain.name} -p udp --dport {port} -j ACCEPT"
        case _:
            return _nft(chain, f"udp dport {port} accept")


def _inside_fix(chain: BaseChain, interface: str) -> str:
    match _owner(chain), _iptables(chain):
        case "ufw", _:
            return f"ufw allow in on {interface}"
        case "firewalld", _:
            return _firewalld(f"--zone=trusted --add-interface={interface}")
        case _, str(command):
            return f"{command} -I {chain.name} -i {interface} -j ACCEPT"
        case _:
            return _nft(chain, f"iifname {interface} accept")
