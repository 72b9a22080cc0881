"""Checks of routes, rules, marks and reverse-path filters: who else steers packets here."""

from collections.abc import Iterator

from wgmesh.doctor.facts import Facts, Finding, RuleSeen, Way, error, warning
from wgmesh.model.numbers import (
    DIRECT_MARK,
    EXIT_TABLE,
    MAIN_TABLE,
    ROUTE_PROTOCOL,
    TUNNEL_MARK,
)

_MARKS = (DIRECT_MARK, TUNNEL_MARK)

STRICT = 1
"""Of rp_filter; the higher one of `all` and the interface's own is in force (ip-sysctl.rst)."""

_OWN = "/etc/sysctl.d/zz-wgmesh.conf"
"""The last of its directory, so that it wins at boot."""


def _loosen(facts: Facts) -> str:
    """Return what makes the filter loose; `sysctl --system` would read /etc/sysctl.conf last."""
    fix = f"echo net.ipv4.conf.all.rp_filter=2 >{_OWN} && sysctl -p {_OWN}"
    files = facts.network.rp_filter_files
    if not files:
        return fix
    return (
        f"{fix}; {' and '.join(files)} {'sets' if len(files) == 1 else 'set'} it to 1: change that"
    )


def rp_filter(facts: Facts) -> Iterator[Finding]:
    """Yield the interfaces on which a strict reverse-path filter drops, or may drop, packets."""
    network, plan = facts.network, facts.mesh.plan
    name, fix = facts.mesh.interface, _loosen(facts)
    shared = network.rp_filter.get("all", 0)

    def strict(device: str) -> bool:
        own = network.rp_filter.get(device, network.rp_filter.get("default", 0))
        return max(shared, own) == STRICT

    uplinks = [device for device in network.default_devices if device != name and strict(device)]
    if plan is not None and plan.exits is not None and uplinks and not network.src_valid_mark:
        yield error(
            f"rp_filter is strict on {', '.join(uplinks)}: with an exit in use, what peers send"
            " is dropped there",
            fix,
        )
    elif len(network.default_devices) > 1 and uplinks:
        yield warning(
            f"rp_filter is strict on {', '.join(uplinks)}: of several uplinks only the one that"
            " the default route prefers can be an endpoint",
            fix,
        )
    if not name and strict("default"):
        yield warning(
            "rp_filter is strict for new interfaces: a peer is heard only for as long as the route"
            " back to it is the mesh's",
            fix,
        )
    elif name and strict(name):
        astray = sorted({way.device for way in _astray(facts) if way.device})
        if astray:
            yield error(
                f"rp_filter is strict on {name}: what comes from the peers whose packets leave by"
                f" {', '.join(astray)} is dropped",
                fix,
            )
        else:
            yield warning(
                f"rp_filter is strict on {name}: a peer is heard only for as long as the route"
                f" back to it is {name}",
                fix,
            )


def _astray(facts: Facts) -> Iterator[Way]:
    for way in facts.network.ways:
        if facts.network.link and way.device != facts.mesh.interface:
            yield way


def ways(facts: Facts) -> Iterator[Finding]:
    """Yield the peers and prefixes whose packets do not leave by the mesh's interface."""
    plan = facts.mesh.plan
    if plan is None:
        return
    owners = {str(address): peer.name for peer in plan.peers for address in peer.addresses}
    for way in _astray(facts):
        name = owners.get(way.address)
        what = f"{name} ({way.address})" if name else way.address
        level = error if name else warning
        if way.device is None:
            yield level(f"there is no route to {what}", "wgmesh reconcile puts it back")
            continue
        table = "" if way.table in (None, MAIN_TABLE) else f", table {way.table}"
        yield level(
            f"packets to {what} leave by {way.device}{table}, not by {plan.interface}",
            f"remove the route or rule that leads there (ip route get {way.address}; ip rule);"
            " Tailscale: tailscale set --accept-routes=false",
        )


def marks(facts: Facts) -> Iterator[Finding]:
    """Yield rules of others that match packets with our marks, or that take all traffic."""
    level = error if _steers(facts) else warning
    for rule in facts.network.rules or ():
        if rule.protocol == ROUTE_PROTOCOL or rule.fwmark is None:
            continue
        hit = [mark for mark in _MARKS if mark & rule.fwmask == rule.fwmark & rule.fwmask]
        if not rule.inverted and hit and rule.fwmask:
            yield level(
                f"a rule of another program ({_rule(rule)}) matches wgmesh's mark"
                f" {', '.join(f'0x{mark:x}' for mark in hit)}",
                "give that program another mark or mask; wgmesh needs"
                f" 0x{DIRECT_MARK:x} and 0x{TUNNEL_MARK:x}",
            )
        elif rule.inverted:
            yield warning(
                f"another VPN takes all traffic ({_rule(rule)}): the mesh's own packets go"
                " through it too",
                "take 0.0.0.0/0 out of that VPN's AllowedIPs, or route the endpoints past it",
            )


def _steers(facts: Facts) -> bool:
    """Return whether this node's plan uses our marks and table."""
    plan = facts.mesh.plan
    return plan is not None and (plan.exits is not None or bool(plan.fwmark or plan.rules))


def _rule(rule: RuleSeen) -> str:
    mark = "" if rule.fwmark is None else f"fwmark 0x{rule.fwmark:x}/0x{rule.fwmask:x} "
    table = "" if rule.table is None else f"lookup {rule.table}"
    word = "not " if rule.inverted else ""
    return f"IPv{rule.family} {rule.priority}: {word}{mark}{table}".rstrip()


def tables(facts: Facts) -> Iterator[Finding]:
    """Yield routes and rules of others in our routing table, and others' use of our protocol."""
    level = error if _steers(facts) else warning
    routes = facts.network.routes or ()
    there = [each for each in routes if each.table == EXIT_TABLE]
    foreign = [each for each in there if each.protocol != ROUTE_PROTOCOL]
    if foreign:
        shown = ", ".join(
            each.destination + (f" dev {each.device}" if each.device else "")
            for each in foreign[:3]
        )
        yield level(
            f"another program keeps routes in table {EXIT_TABLE}, which is wgmesh's: {shown}",
            f"have it use another table; ip route flush table {EXIT_TABLE} proto PROTO clears it",
        )
    for rule in facts.network.rules or ():
        if rule.table == EXIT_TABLE and rule.protocol != ROUTE_PROTOCOL:
            yield level(
                f"a rule of another program leads into wgmesh's table {EXIT_TABLE} ({_rule(rule)})",
                f"ip -{rule.family} rule del priority {rule.priority}, and have it use another",
            )
    if (
        not facts.mesh.joined
        and facts.mesh.left == ""
        and any(each.protocol == ROUTE_PROTOCOL for each in routes)
    ):
        yield warning(
            f"routes with protocol {ROUTE_PROTOCOL} are here already: wgmesh takes all of them"
            " for its own",
            f"ip route show table all proto {ROUTE_PROTOCOL} lists them; have their owner use"
            " another protocol",
        )


def networkd(facts: Facts) -> Iterator[Finding]:
    """Yield it when systemd-networkd deletes at each restart what wgmesh has added."""
    seen = facts.host.networkd
    if seen is None or not seen.active or (seen.keeps_routes and seen.keeps_rules):
        return
    plan = facts.mesh.plan
    lost = [
        word
        for word, kept in (("routes", seen.keeps_routes), ("rules", seen.keeps_rules))
        if not kept
    ]
    level = error if plan is not None and plan.rules and not seen.keeps_rules else warning
    yield level(
        f"systemd-networkd deletes foreign {' and '.join(lost)} when it restarts",
        "write [Network] with ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no into"
        " /etc/systemd/networkd.conf.d/wgmesh.conf; systemctl restart systemd-networkd",
    )
