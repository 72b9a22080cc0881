"""Routes and policy rules."""

import errno
import logging
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_network
from typing import Any, assert_never

from wgmesh.errors import WgmeshError
from wgmesh.linux import iproute, rtnetlink
from wgmesh.linux.iproute import Entry
from wgmesh.model.numbers import MAIN_TABLE, ROUTE_PROTOCOL
from wgmesh.model.plan import Route, RouteKind, Rule, RuleAction, Uplinks
from wgmesh.model.terms import Prefix

log = logging.getLogger(__name__)

# linux/rtnetlink.h, linux/fib_rules.h
RTPROT_BOOT, RTPROT_STATIC = 3, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
KINDS = {RouteKind.UNICAST: 1, RouteKind.UNREACHABLE: 7}
IPPROTO_UDP = 17
ACTIONS = {RuleAction.LOOKUP: 1, RuleAction.GOTO: 2, RuleAction.UNREACHABLE: 7}
IP6_RT_PRIO_USER = 1024
"""The metric of an IPv6 route that was given none (linux/ipv6_route.h)."""

_KINDS_BY_NUMBER = {str(number): kind for kind, number in KINDS.items()}
_ROUTE_KEYS = frozenset(
    ("type", "dst", "dev", "table", "scope", "metric", "flags", "pref", "protocol")
)
_RULE_KEYS = frozenset(
    (
        "priority",
        "src",
        "srclen",
        "dst",
        "dstlen",
        "iif",
        "iif_detached",
        "fwmark",
        "fwmask",
        "table",
        "suppress_prefixlen",
        "goto",
        "unresolved",
        "uid_start",
        "uid_end",
        "ipproto",
        "sport",
        "dport",
        "action",
        "protocol",
    )
)


def routes(family: int, entries: Iterable[Entry], interface: str) -> frozenset[Route]:
    """Return the routes in `entries` (of `iproute.show`): ours, and those put over `interface`.

    The latter as far as wgmesh could put them back: no gateway, no source address.
    """
    found = set()
    for entry in entries:
        if "dst" not in entry or "priority" in entry:
            continue
        protocol = int(entry.get("protocol", ROUTE_PROTOCOL))
        foreign = "protocol" in entry
        if foreign and protocol not in (RTPROT_BOOT, RTPROT_STATIC):
            continue
        kind = _KINDS_BY_NUMBER.get(entry.get("type", "1"))
        if kind is None or not entry.keys() <= _ROUTE_KEYS:
            if not foreign:
                log.warning("route %s carries our protocol but is none of ours", entry["dst"])
            continue
        found.add(
            Route(
                prefix=_prefix(family, entry["dst"]),
                device=_device(entry, kind, interface if foreign else None),
                table=int(entry.get("table", MAIN_TABLE)),
                metric=_metric(family, int(entry.get("metric", 0))),
                kind=kind,
                protocol=protocol,
            )
        )
    return frozenset(found)


def _device(entry: Entry, kind: RouteKind, over: str | None) -> str | None:
    # the kernel ties IPv6 unreachable routes to lo
    return str(entry.get("dev", over)) if kind is RouteKind.UNICAST else None


def _metric(family: int, metric: int) -> int:
    return 0 if family == 6 and metric == IP6_RT_PRIO_USER else metric


def _prefix(family: int, destination: str) -> Prefix:
    if destination == "default":
        return ip_network("0.0.0.0/0" if family == 4 else "::/0")
    return ip_network(destination)


def rules(family: int, entries: Iterable[Entry]) -> frozenset[Rule]:
    """Return our rules in `entries` (of `iproute.show`)."""
    ours = (
        entry
        for entry in entries
        if "priority" in entry and entry.get("protocol") == str(ROUTE_PROTOCOL)
    )
    return frozenset(rule for entry in ours if (rule := _rule(family, entry)) is not None)


def _rule(family: int, entry: Entry) -> Rule | None:
    action = _action(entry)
    narrow = entry.get("uid_start") == entry.get("uid_end") and _is_udp(entry.get("ipproto"))
    if action is None or not entry.keys() <= _RULE_KEYS or not narrow:
        log.warning("rule %s carries our protocol but is none of ours", entry["priority"])
        return None
    target = {RuleAction.LOOKUP: "table", RuleAction.GOTO: "goto"}.get(action)
    return Rule(
        family=family,
        priority=int(entry["priority"]),
        action=action,
        target=int(entry[target]) if target is not None else None,
        fwmark=_hexadecimal(entry.get("fwmark")),
        fwmask=_hexadecimal(entry.get("fwmask")),
        iif=entry.get("iif"),
        source=_selector(entry, "src"),
        destination=_selector(entry, "dst"),
        suppress_prefixlength=entry.get("suppress_prefixlen"),
        uid=entry.get("uid_start"),
        udp_source=entry.get("sport"),
        udp_destination=entry.get("dport"),
    )


def _is_udp(protocol: str | None) -> bool:
    """Return whether a rule is for UDP, or for every protocol."""
    return protocol in (None, "udp", "17", "ipproto-17")


def _action(entry: Entry) -> RuleAction | None:
    if "goto" in entry:
        return RuleAction.GOTO
    if "action" not in entry:
        return RuleAction.LOOKUP if "table" in entry else None
    unreachable = (str(ACTIONS[RuleAction.UNREACHABLE]), "unreachable")
    return RuleAction.UNREACHABLE if entry["action"] in unreachable else None


def _hexadecimal(value: str | None) -> int | None:
    return None if value is None else int(value, 0)


def _selector(entry: Entry, key: str) -> Prefix | None:
    if entry.get(key, "all") == "all":
        return None
    length = entry.get(f"{key}len")
    return ip_network(entry[key] if length is None else f"{entry[key]}/{length}")


def uplinks(interface: str) -> Uplinks:
    """Return the networks beside `interface` that this machine reaches by something narrow.

    Other VPNs' halves of a default (0.0.0.0/1) are defaults. Raises WgmeshError.
    """
    prefixes: list[Prefix] = []
    addresses: list[IPv4Address] = []
    for family in (4, 6):
        listed, links = iproute.surroundings(family)
        for entry in listed:
            if entry.get("type", "1") != "1" or entry.get("dev") == interface:
                continue
            prefix = _prefix(family, entry["dst"])
            if prefix.prefixlen > 1 and not prefix.is_link_local and not prefix.is_multicast:
                prefixes.append(prefix)
        ways = {str(entry.get("dev")) for entry in listed if entry["dst"] == "default"}
        addresses += [
            IPv4Address(address["local"])
            for link in links
            for address in link["addr_info"]
            if link["ifname"] in ways - {interface} and address.get("family") == "inet"
        ]
    return Uplinks(tuple(dict.fromkeys(prefixes)), tuple(sorted(dict.fromkeys(addresses))))


def replace(route: Route, rtnl: rtnetlink.Socket) -> None:
    """Add `route`, or put it in the place of another of ours, or of one over the same device.

    Raises WgmeshError when the place is taken by a route that is somebody else's: to take it over
    could cut the machine off, and nobody would give it back.
    """
    purpose = f"add route {_words(route)}"
    attributes = _route(route)
    if rtnl.request(purpose, "route", "add", fine=(errno.EEXIST,), **attributes):
        _refuse_theft(route)
        rtnl.request(purpose, "route", "replace", **attributes)


def _refuse_theft(route: Route) -> None:
    for entry in iproute.exact(route.prefix, route.table):
        metric = _metric(route.prefix.version, int(entry.get("metric", 0)))
        protocol = entry.get("protocol")
        same_device = route.device is not None and entry.get("dev") == route.device
        if metric == route.metric and protocol != str(ROUTE_PROTOCOL) and not same_device:
            way = f"dev {entry['dev']}" if "dev" in entry else "elsewhere"
            raise WgmeshError(
                f"route {_words(route)} is already there, by another way ({way})",
                "give the mesh a prefix that this machine does not use, or remove that route",
            )


def remove(route: Route, rtnl: rtnetlink.Socket) -> None:
    """Remove exactly `route`; none there, or its device gone, is fine. Raises WgmeshError."""
    if route.device is not None and not _has(route.device):
        return
    rtnl.request(
        f"remove route {_words(route)}", "route", "del", fine=(errno.ESRCH,), **_route(route)
    )


def _has(device: str) -> bool:
    try:
        rtnetlink.index(device)
    except WgmeshError:
        return False
    return True


def _words(route: Route) -> str:
    way = f"dev {route.device}" if route.device else route.kind.value
    return f"{route.prefix} {way} table {route.table}"


def _route(route: Route) -> dict[str, Any]:
    """Return the attributes that `ip route` would send: IPv4 by a device has scope link."""
    direct = route.kind is RouteKind.UNICAST and route.prefix.version == 4
    message: dict[str, Any] = {
        "family": rtnetlink.FAMILY[route.prefix.version],
        "dst": str(route.prefix) if route.prefix.prefixlen else "default",
        "table": route.table,
        "proto": route.protocol,
        "type": KINDS[route.kind],
        "scope": RT_SCOPE_LINK if direct else RT_SCOPE_UNIVERSE,
    }
    if route.device is not None:
        message["oif"] = rtnetlink.index(route.device)
    if metric := route.metric or (IP6_RT_PRIO_USER if route.prefix.version == 6 else 0):
        message["priority"] = metric
    return message


def add_rule(rule: Rule, rtnl: rtnetlink.Socket) -> None:
    """Add `rule`; one that is there already is fine. Raises WgmeshError."""
    purpose = f"add the IPv{rule.family} rule of priority {rule.priority}"
    rtnl.request(purpose, "rule", "add", fine=(errno.EEXIST,), **_message(rule))


def remove_rule(rule: Rule, rtnl: rtnetlink.Socket) -> None:
    """Remove exactly `rule`; none there is fine. Raises WgmeshError."""
    purpose = f"remove the IPv{rule.family} rule of priority {rule.priority}"
    rtnl.request(purpose, "rule", "del", fine=(errno.ENOENT, errno.ESRCH), **_message(rule))


def _range(value: int | None) -> str | None:
    """Return the range that has one value, as pyroute2 wants it."""
    return None if value is None else f"{value}:{value}"


def _message(rule: Rule) -> dict[str, Any]:
    message: dict[str, Any] = {
        "family": rtnetlink.FAMILY[rule.family],
        "priority": rule.priority,
        "action": ACTIONS[rule.action],
        "protocol": ROUTE_PROTOCOL,
    }
    match rule.action:
        case RuleAction.LOOKUP:
            message["table"] = rule.target
        case RuleAction.GOTO:
            message["goto"] = rule.target
        case RuleAction.UNREACHABLE:
            pass
        case _ as never:
            assert_never(never)
    optional = {
        "fwmark": rule.fwmark,
        "fwmask": rule.fwmask,
        "iifname": rule.iif,
        "src": None if rule.source is None else str(rule.source),
        "dst": None if rule.destination is None else str(rule.destination),
        "suppress_prefixlen": rule.suppress_prefixlength,
        "uid_range": _range(rule.uid),
        "ip_proto": None if (rule.udp_source or rule.udp_destination) is None else IPPROTO_UDP,
        "sport_range": _range(rule.udp_source),
        "dport_range": _range(rule.udp_destination),
    }
    return message | {name: value for name, value in optional.items() if value is not None}
