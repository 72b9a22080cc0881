"""The files of a generation back to the plan: the exact inverse of `files`, without jinja2.

The grammar is what the templates print and nothing else, in the same order. What is said twice
(endpoints, the paths of preshared keys) has to agree.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NoReturn, TypeVar

from wgmesh.errors import WgmeshError
from wgmesh.mesh.firewall import TABLE, firewall_tags
from wgmesh.model.plan import ExitCandidate, ExitPlan, Firewall, HubPlan, NodePlan, Peer
from wgmesh.model.terms import Endpoint, ExitPolicy, HubSelection, OnNoExit
from wgmesh.render import words

T = TypeVar("T")

_FIXED = {words.FAILOVER, words.EXIT_SELECTOR, words.FIREWALL}


def parse(files: Mapping[str, bytes]) -> NodePlan:
    """Return the plan that `files` (by name, all four) were made of.

    Raises WgmeshError, with file and line, when they are not what `wgmesh.render.files` makes.
    """
    names = [name for name in files if name not in _FIXED]
    if len(names) != 1 or len(files) != 4 or not names[0].endswith(".conf"):
        raise WgmeshError(
            f"these are not the files of a generation: {', '.join(sorted(files)) or 'none'}",
            f"there must be INTERFACE.conf, {', '.join(sorted(_FIXED))}",
        )
    lines = _Lines(words.FAILOVER, files)
    hubs = _hubs(lines)
    endpoints = dict(_failover(lines))
    exits = _exit_selector(_Lines(words.EXIT_SELECTOR, files))
    firewall = _firewall(_Lines(words.FIREWALL, files))
    return replace(_wireguard(_Lines(names[0], files), endpoints, exits, firewall), hubs=hubs)


class _Lines:
    """A cursor over the lines of one file, which begins with the line that all begin with."""

    __slots__ = ("_at", "_lines", "name")

    def __init__(self, name: str, files: Mapping[str, bytes]) -> None:
        self.name = name
        self._at = 0
        try:
            text = files[name].decode()
        except UnicodeDecodeError:
            self.fail("it is no UTF-8")
        self._lines = text.split("\n")
        if self._lines.pop():
            self.fail("the file is cut off")
        self.line(words.GENERATED)

    def fail(self, why: str) -> NoReturn:
        raise WgmeshError(
            f"{self.name}:{self._at}: {why}", "this file was changed or damaged after it was made"
        )

    def end(self) -> None:
        """Require that nothing follows."""
        if self._at < len(self._lines):
            self._at += 1
            self.fail("nothing is expected here")

    def at(self, line: str) -> bool:
        """Take the next line when it is `line`."""
        if self._at < len(self._lines) and self._lines[self._at] == line:
            self._at += 1
            return True
        return False

    def line(self, line: str) -> None:
        """Take the next line, which must be `line`."""
        if not self.at(line):
            self._at += 1
            self.fail(f"expected {line!r}")

    def section(self, name: str) -> bool:
        """Take an empty line and `[name]`, when they come next."""
        if self.at(""):
            self.line(f"[{name}]")
            return True
        return False

    def maybe_section(self, name: str, *more: str) -> bool:
        """Take an empty line, `[name]` and the lines `more`, when exactly these come next."""
        wanted = ["", f"[{name}]", *more]
        there = self._lines[self._at : self._at + len(wanted)] == wanted
        if there:
            self._at += len(wanted)
        return there

    def maybe(self, key: str, read: Callable[[str], T]) -> T | None:
        """Take `key = value` when it comes next, and return the value."""
        start = key + " = "
        if self._at >= len(self._lines) or not self._lines[self._at].startswith(start):
            return None
        self._at += 1
        try:
            return read(self._lines[self._at - 1][len(start) :])
        except ValueError as error:
            self.fail(str(error))

    def value(self, key: str, read: Callable[[str], T]) -> T:
        """Take `key = value`, which must come next, and return the value."""
        found = self.maybe(key, read)
        if found is None:
            self._at += 1
            self.fail(f"expected {key!r}")
        return found

    def number(self, key: str, low: int, high: int) -> int:
        """Take a number from `low` to `high`."""
        return self.value(key, lambda text: words.number(text, low, high))

    def many(self, key: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """Take all the lines `key = value` that come next."""
        found = []
        while (value := self.maybe(key, read)) is not None:
            found.append(value)
        return tuple(found)

    def listed(self, key: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """Take `key = value, value`; an empty list has no line."""
        return self.maybe(key, lambda text: tuple(map(read, text.split(", ")))) or ()

    def rest(self) -> str:
        """Take all that is left."""
        text = "".join(f"{line}\n" for line in self._lines[self._at :])
        self._at = len(self._lines)
        return text


def _hubs(lines: _Lines) -> HubPlan | None:
    if not lines.maybe_section("Hubs"):
        return None
    selection = lines.value("Selection", HubSelection)
    carried = lines.listed("Carried", words.prefix)
    targets = lines.listed("Target", words.address)
    candidates = []
    while lines.maybe_section("Hub"):
        candidates.append(_candidate(lines))
    return HubPlan(tuple(candidates), selection, carried, targets)


def _candidate(lines: _Lines) -> ExitCandidate:
    return ExitCandidate(
        name=lines.value("Name", words.node_name),
        public_key=lines.value("PublicKey", words.key),
        addresses=lines.listed("Address", words.address),
    )


def _failover(lines: _Lines) -> Iterator[tuple[tuple[str, str], tuple[Endpoint, ...]]]:
    """Yield name and key of each peer that has endpoints, and these."""
    if lines.at(words.NO_PEERS):
        lines.end()
        return
    seen: set[tuple[str, str]] = set()
    while lines.section("Peer"):
        peer = (lines.value("Name", words.node_name), lines.value("PublicKey", words.key))
        if peer in seen:
            lines.fail(f"{peer[0]} was there before")
        seen.add(peer)
        yield peer, lines.listed("Endpoint", words.endpoint)
    if not seen:
        lines.line("")
    lines.end()


def _exit_selector(lines: _Lines) -> ExitPlan | None:
    if lines.at(words.NO_EXITS):
        lines.end()
        return None
    if not lines.section("Exit"):
        lines.line("")
    primary = lines.maybe("Primary", words.node_name)
    policy = lines.value("Policy", ExitPolicy)
    check_interval_seconds = lines.number("CheckIntervalSeconds", 1, words.MAX_U32)
    test_target = lines.listed("TestTarget", words.address)
    on_no_exit = lines.value("OnNoExit", OnNoExit)
    candidates = []
    while lines.section("Candidate"):
        candidates.append(_candidate(lines))
    lines.end()
    return ExitPlan(
        candidates=tuple(candidates),
        primary=primary,
        policy=policy,
        check_interval_seconds=check_interval_seconds,
        test_target=test_target,
        on_no_exit=on_no_exit,
    )


def _firewall(lines: _Lines) -> Firewall | None:
    if lines.at(words.NO_FIREWALL):
        lines.end()
        return None
    lines.line(words.NFT_NOTE)
    text = lines.rest()
    if not (text.startswith(f"{TABLE} {{\n") and text.endswith("\n}\n")):
        lines.fail(f"expected a {TABLE}")
    return Firewall(firewall_tags(text), text)


def _wireguard(
    lines: _Lines,
    endpoints: dict[tuple[str, str], tuple[Endpoint, ...]],
    exits: ExitPlan | None,
    firewall: Firewall | None,
) -> NodePlan:
    try:
        interface = words.interface(lines.name.removesuffix(".conf"))
    except ValueError as error:
        lines.fail(str(error))
    if not lines.section("Interface"):
        lines.line("")
    node = lines.value("# Node", words.node_name)
    public_key = lines.value("# PublicKey", words.key)
    addresses = lines.listed("Address", words.host)
    listen_port = lines.number("ListenPort", 1, 65535)
    mtu = lines.number("MTU", 68, 2**31 - 1)
    fwmark = lines.maybe("FwMark", words.mark)
    if fwmark == 0:
        lines.fail("no mark has no line")
    lines.line("Table = off")
    post_up = lines.value("PostUp", str)
    sysctls = lines.many("# Sysctl", words.sysctl)
    routes = lines.many("# Route", lambda text: words.route(text, interface))
    rules = lines.many("# Rule", words.rule)
    hook_up = lines.maybe("# Hook up", words.command)
    hook_down = lines.maybe("# Hook down", words.command)
    peers = tuple(_peers(lines, endpoints))
    lines.end()
    if endpoints:
        lines.fail(f"{words.FAILOVER} knows a peer more: {next(iter(endpoints))[0]}")
    return NodePlan(
        node=node,
        interface=interface,
        public_key=public_key,
        private_key_path=_private_key_path(lines, post_up, peers),
        addresses=addresses,
        listen_port=listen_port,
        mtu=mtu,
        peers=peers,
        routes=routes,
        rules=rules,
        fwmark=fwmark or 0,
        firewall=firewall,
        sysctls=sysctls,
        post_up=hook_up,
        post_down=hook_down,
        exits=exits,
    )


def _peers(lines: _Lines, endpoints: dict[tuple[str, str], tuple[Endpoint, ...]]) -> Iterator[Peer]:
    while lines.section("Peer"):
        name = lines.value("# Name", words.node_name)
        addresses = lines.listed("# Address", words.address)
        unmanaged = lines.at("# Managed = false")
        intermittent = lines.at("# Intermittent = true")
        preshared_key_path = lines.maybe("# PresharedKeyPath", words.path)
        public_key = lines.value("PublicKey", words.key)
        allowed_ips = lines.listed("AllowedIPs", words.prefix)
        known = endpoints.pop((name, public_key), ())
        endpoint = f"{'' if known[0].literal else '# '}Endpoint = {known[0]}" if known else ""
        if endpoint:
            lines.line(endpoint)
        keepalive = lines.maybe("PersistentKeepalive", lambda text: words.number(text, 1, 65535))
        next_public_key = None
        if lines.maybe_section("Peer", f"# Next key of = {name}"):
            next_public_key = lines.value("PublicKey", words.key)
            for line in (endpoint, f"PersistentKeepalive = {keepalive}") if keepalive else ():
                if line:
                    lines.line(line)
        yield Peer(
            name=name,
            public_key=public_key,
            addresses=addresses,
            allowed_ips=allowed_ips,
            endpoints=known,
            persistent_keepalive=keepalive or 0,
            preshared_key_path=preshared_key_path,
            intermittent=intermittent,
            managed=not unmanaged,
            next_public_key=next_public_key,
        )


def _private_key_path(lines: _Lines, post_up: str, peers: tuple[Peer, ...]) -> str:
    """Return the path that PostUp names; the rest of it has to follow from the peers."""
    start = words.key_words("", iter(()))
    try:
        path = words.path(post_up.removeprefix(start).partition(" ")[0])
    except ValueError as error:
        lines.fail(f"PostUp: {error}")
    if post_up != words.key_words(path, words.preshared(peers)):
        lines.fail("PostUp does not set the keys that the peers name")
    return path
