"""Files back to the plan, so that a generation on disk says by itself what it wants.

The inverse of `files`, without its template engine: rollback, recover, reconcile and status read
generations with this.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

from wgmesh.errors import WgmeshError
from wgmesh.mesh import firewall
from wgmesh.model import (
    MAIN_TABLE,
    Endpoint,
    ExitCandidate,
    ExitPlan,
    ExitPolicy,
    Firewall,
    NodePlan,
    OnNoExit,
    Peer,
    Route,
    RouteKind,
    Rule,
    RuleAction,
)

FAILOVER = "wg-failover.conf"
EXITS = "wg-exit-selector.conf"
FIREWALL = "wgmesh.nft"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a wg-style file: its name ("" before the first), and (key, value) lines.

    Lines that wg-quick reads and comment lines of the form `# Key = value` are told apart by
    nothing: no key is used in both ways, save Endpoint, which means the same in both.
    """

    name: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, key: str) -> list[str]:
        """Return every value of `key`, in order."""
        return [value for name, value in self.lines if name == key]

    def one(self, key: str) -> str | None:
        """Return the value of `key`, or None. Raises ValueError when it is there twice."""
        found = self.all(key)
        if len(found) > 1:
            raise ValueError(f"{key} is there twice")
        return found[0] if found else None

    def need(self, key: str) -> str:
        """Return the value of `key`. Raises ValueError when it is not there exactly once."""
        value = self.one(key)
        if value is None:
            raise ValueError(f"{key} is missing in [{self.name}]")
        return value


def sections(text: str) -> list[Section]:
    """Return the sections of a wg-style file. Raises ValueError for a line that is none."""
    found = [Section("")]
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            found.append(Section(line[1:-1]))
            continue
        bare = line.removeprefix("# ")
        key, equals, value = bare.partition(" = ")
        if equals:
            found[-1].lines.append((key, value))
        elif line and not line.startswith("#"):
            raise ValueError(f"{line!r} is no line of a configuration")
    return found


def parse(files: Mapping[str, bytes]) -> NodePlan:
    """Return the plan that these files were rendered from.

    Raises WgmeshError when they are not files of a generation.
    """
    try:
        interface, name = _interface(files)
        endpoints = _endpoints(_text(files, FAILOVER))
        return _plan(interface, sections(_text(files, name)), endpoints, files)
    except (ValueError, KeyError, IndexError) as error:
        raise WgmeshError(
            f"a generation's files are not what wgmesh renders: {error}", "wgmesh history"
        ) from None


def _interface(files: Mapping[str, bytes]) -> tuple[str, str]:
    names = [name for name in files if name not in (FAILOVER, EXITS, FIREWALL)]
    if len(names) != 1 or not names[0].endswith(".conf"):
        raise ValueError("there is not exactly one interface")
    return names[0].removesuffix(".conf"), names[0]


def _text(files: Mapping[str, bytes], name: str) -> str:
    return files[name].decode()


def _each(text: str | None, make: Callable[[str], Value]) -> tuple[Value, ...]:
    return () if text is None else tuple(make(part) for part in text.split(", "))


def endpoint(text: str) -> Endpoint:
    """Return the endpoint written `host:port` or `[v6]:port`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return Endpoint(host.removeprefix("[").removesuffix("]"), int(port))


def _endpoints(text: str) -> dict[str, tuple[Endpoint, ...]]:
    return {
        section.need("PublicKey"): _each(section.need("Endpoint"), endpoint)
        for section in sections(text)
        if section.name == "Peer"
    }


def _plan(
    interface: str,
    found: list[Section],
    endpoints: Mapping[str, tuple[Endpoint, ...]],
    files: Mapping[str, bytes],
) -> NodePlan:
    top, *rest = found
    here = rest[0]
    if here.name != "Interface" or any(section.name != "Peer" for section in rest[1:]):
        raise ValueError("the sections are not one [Interface] and then [Peer]s")
    post_up = here.need("PostUp").split(" ")
    return NodePlan(
        node=top.need("Node"),
        interface=interface,
        public_key=top.need("PublicKey"),
        private_key_path=post_up[4],
        addresses=_each(here.need("Address"), ip_interface),
        listen_port=int(here.need("ListenPort")),
        mtu=int(here.need("MTU")),
        fwmark=int(here.one("FwMark") or "0", 0),
        peers=tuple(_peer(section, endpoints) for section in rest[1:]),
        routes=tuple(_route(text, interface) for text in here.all("Route")),
        rules=tuple(_rule(text) for text in here.all("Rule")),
        firewall=_firewall(_text(files, FIREWALL)),
        sysctls=tuple(_sysctl(text) for text in here.all("Sysctl")),
        post_up=here.one("Hook up"),
        post_down=here.one("Hook down"),
        exits=_exits(_text(files, EXITS)),
    )


def _peer(section: Section, endpoints: Mapping[str, tuple[Endpoint, ...]]) -> Peer:
    key = section.need("PublicKey")
    return Peer(
        name=section.need("Name"),
        public_key=key,
        addresses=_each(section.need("Address"), ip_address),
        allowed_ips=_each(section.need("AllowedIPs"), ip_network),
        endpoints=endpoints.get(key, ()),
        persistent_keepalive=int(section.one("PersistentKeepalive") or "0"),
        preshared_key_path=section.one("PresharedKeyPath"),
        intermittent=section.one("Intermittent") == "true",
        managed=section.one("Managed") != "false",
    )


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    if len(words) % 2:
        raise ValueError(f"{' '.join(words)!r} has a word too many")
    return zip(words[::2], words[1::2], strict=True)


def _route(text: str, interface: str) -> Route:
    words = text.split(" ")
    unreachable = words[0] == "unreachable"
    prefix, *rest = words[1:] if unreachable else words
    options = dict(_pairs(rest))
    return Route(
        prefix=ip_network(prefix),
        device=None if unreachable else interface,
        table=int(options.get("table", MAIN_TABLE)),
        metric=int(options.get("metric", 0)),
        kind=RouteKind.UNREACHABLE if unreachable else RouteKind.UNICAST,
    )


def _rule(text: str) -> Rule:
    family, *words = text.split(" ")
    action, target = RuleAction.UNREACHABLE, None
    if "unreachable" in words:
        words.remove("unreachable")
    options = dict(_pairs(words))
    for known in (RuleAction.LOOKUP, RuleAction.GOTO):
        if known.value in options:
            action, target = known, int(options[known.value])
    mark, _, mask = options.get("fwmark", "").partition("/")
    source, destination = options.get("from"), options.get("to")
    suppress = options.get("suppress_prefixlength")
    return Rule(
        family=-int(family),
        priority=int(options["priority"]),
        action=action,
        target=target,
        fwmark=int(mark, 0) if mark else None,
        fwmask=int(mask, 0) if mask else None,
        iif=options.get("iif"),
        source=None if source is None else ip_network(source),
        destination=None if destination is None else ip_network(destination),
        suppress_prefixlength=None if suppress is None else int(suppress),
    )


def _sysctl(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} sets no sysctl")
    return key, value


def _firewall(text: str) -> Firewall | None:
    start = text.find("table inet ")
    return None if start < 0 else Firewall(firewall.firewall_tags(text[start:]), text[start:])


def _exits(text: str) -> ExitPlan | None:
    _, *rest = sections(text)
    if not rest:
        return None
    head, *candidates = rest
    return ExitPlan(
        candidates=tuple(
            ExitCandidate(
                name=section.need("Name"),
                public_key=section.need("PublicKey"),
                addresses=_each(section.need("Address"), ip_address),
            )
            for section in candidates
        ),
        primary=head.one("Primary"),
        policy=ExitPolicy(head.need("Policy")),
        check_interval_seconds=int(head.need("CheckIntervalSeconds")),
        test_target=_each(head.one("TestTarget"), ip_address),
        on_no_exit=OnNoExit(head.need("OnNoExit")),
    )
