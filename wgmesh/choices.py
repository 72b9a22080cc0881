"""A plan with what was chosen at run time in force: the exit, the hub, and this machine's uplinks.

What `mesh.plan` makes is where a boot begins; `applied` makes of it what shall be now.
"""

from collections.abc import Mapping
from dataclasses import field, replace

from wgmesh.frozen import frozen
from wgmesh.mesh import exits, firewall, topology
from wgmesh.model.plan import NodePlan, Peer, Uplinks
from wgmesh.model.terms import Endpoint, Prefix


@frozen
class Choices:
    """What is in force by choice; peers are named by public key, "" is as the plan has it.

    `endpoints` were chosen by the failover, `hub` carries the rest of a star, `exit` the default
    routes of `families`. `direct`: no exit works, and the inventory wants traffic to leave without
    one. `lent` are prefixes that a peer carries for the length of a probe.
    """

    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    hub: str = ""
    exit: str = ""
    families: tuple[int, ...] = (4, 6)
    direct: bool = False
    lent: Mapping[Prefix, str] = field(default_factory=dict)


def applied(plan: NodePlan, choices: Choices, uplinks: Uplinks) -> NodePlan:
    """Return `plan` with `choices` in force on a machine that has these `uplinks`.

    A choice that the plan does not know (any more) changes nothing.
    """
    through = _through(plan, choices.hub)
    return through if plan.exits is None else _steered(through, choices, uplinks)


def _through(plan: NodePlan, hub: str) -> NodePlan:
    """Return the plan of a spoke with `hub` in force; the other hubs carry what they own."""
    if plan.hubs is None:
        return plan
    keys = {each.public_key for each in plan.hubs.candidates}
    if hub not in keys:
        return plan
    carried = {*plan.hubs.carried}
    peers = []
    for peer in plan.peers:
        if peer.public_key in keys:
            prefixes = [prefix for prefix in peer.allowed_ips if prefix not in carried]
            prefixes += plan.hubs.carried if peer.public_key == hub else ()
            peers.append(replace(peer, allowed_ips=tuple(topology.sort(prefixes))))
        else:
            peers.append(peer)
    return replace(plan, peers=tuple(peers))


def _steered(plan: NodePlan, choices: Choices, uplinks: Uplinks) -> NodePlan:
    """Return the plan of a node that uses exits."""
    rules = [*plan.rules, *exits.uplink_rules(uplinks)]
    table = plan.firewall
    if table is not None:
        let_out = tuple(exits.let_out(uplinks.prefixes))
        table = firewall.altered(table, above=(exits.DIRECT_ABOVE, let_out))
    if choices.direct:
        rules = [rule for rule in rules if not exits.is_way_out(rule)]
        if table is not None:
            table = firewall.altered(table, without=exits.LAST_DROP)
    peers = plan.peers
    known = plan.exits.candidates if plan.exits is not None else ()
    if choices.exit in {each.public_key for each in known}:
        versions: set[int] = {address.version for address in plan.addresses}
        versions &= {*choices.families}
        peers = tuple(_with_default(peer, choices.exit, versions) for peer in peers)
    if choices.lent:
        peers = tuple(_with_lent(peer, choices.lent) for peer in peers)
    return replace(plan, peers=peers, rules=tuple(rules), firewall=table)


def _with_default(peer: Peer, key: str, versions: set[int]) -> Peer:
    """Return `peer` with the default routes if it is the exit, without them if it is not."""
    prefixes = [prefix for prefix in peer.allowed_ips if prefix.prefixlen]
    if peer.public_key == key:
        own = {address.version for address in peer.addresses}
        prefixes += [exits.default(version) for version in sorted(versions & own)]
    return replace(peer, allowed_ips=tuple(topology.sort(prefixes)))


def _with_lent(peer: Peer, lent: Mapping[Prefix, str]) -> Peer:
    prefixes = [
        prefix for prefix in peer.allowed_ips if lent.get(prefix) in (None, peer.public_key)
    ]
    prefixes += [prefix for prefix, owner in lent.items() if owner == peer.public_key]
    return replace(peer, allowed_ips=tuple(topology.sort(prefixes)))
