"""Packet filters of others (ufw, Docker, firewalld, plain nft) that drop the mesh's packets.

An `accept` in our own table does not help against a drop in another one on the same hook.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from wgmesh.doctor.facts import BaseChain, Facts, Finding, error, warning
from wgmesh.model import NFT_TABLE

_TABLE = re.compile(r"table (\S+) (\S+) \{")
_CHAIN = re.compile(r"chain (\S+) \{")
_HEAD = re.compile(r"type \S+ hook (\S+) .*?policy (\w+);|type \S+ hook (\S+) ")
_FINAL = re.compile(r"(counter packets \d+ bytes \d+ )?(drop|reject( with .*)?)( comment .*)?$")
_LEADS = re.compile(r"\b(?:jump|goto) ([^\s,}]+)")
_PORTS = re.compile(r"dport (?:\{ *)?([\d ,-]+)")
_QUOTED = re.compile(r'"[^"]*"')


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
    """Yield the rules of a chain and of all that it leads to."""
    waiting, seen = [name], {name}
    while waiting:
        for rule in bodies.get(waiting.pop(), ()):
            yield rule
            for led in _LEADS.findall(rule):
                if led not in seen:
                    seen.add(led)
                    waiting.append(led)


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
    quoted = f'"{plan.interface}"'
    for chain in _dropping(facts, "forward"):
        if not any(quoted in rule and "accept" in rule for rule in chain.rules):
            yield error(
                f"{_where(chain)} drops forwarded packets, and no rule of it accepts those of"
                f" {plan.interface}, which this node forwards",
                _forward_fix(chain, plan.interface),
            )


def incoming(facts: Facts) -> Iterator[Finding]:
    """Yield the filters that drop what peers send to this node."""
    plan = facts.mesh.plan
    if plan is None:
        return
    quoted = f'"{plan.interface}"'
    for chain in _dropping(facts, "input"):
        if not any(_accepts_port(rule, plan.listen_port) for rule in chain.rules):
            yield warning(
                f"{_where(chain)} drops what comes in, and no rule of it names UDP port"
                f" {plan.listen_port}: peers that call this node are not heard",
                _port_fix(chain, plan.listen_port),
            )
        if not any(quoted in rule and "accept" in rule for rule in chain.rules):
            yield warning(
                f"{_where(chain)} drops what comes in, and no rule of it names {plan.interface}:"
                " services and pings of this node do not answer over the mesh",
                _inside_fix(chain, plan.interface),
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


def _accepts_port(rule: str, port: int) -> bool:
    """Return whether `rule` accepts UDP to `port`, by number, range or list."""
    if "accept" not in rule or "tcp" in rule:
        return False
    for found in _PORTS.finditer(rule):
        for part in found[1].replace(" ", "").split(","):
            low, _, high = part.partition("-")
            if low and int(low) <= port <= int(high or low):
                return True
    return False
