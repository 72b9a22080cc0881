"""What a node puts back at every turn, without being told: its routes, rules, nft table, names.

Other tools flush them on their own business (networkd, nftables.service, another VPN). Whatever
else was changed by hand is drift: shown, and put back by `reconcile` or `drift = "repair"`.
"""

import logging
from collections.abc import Callable

from wgmesh import linux, resolve
from wgmesh.agent.gathered import Gathered
from wgmesh.errors import WgmeshError, system_errors
from wgmesh.model.change import AcceptAdd, Change, EndpointSet, FirewallSet, RouteReplace, RuleAdd
from wgmesh.model.kernel import Observed
from wgmesh.model.plan import NodePlan

log = logging.getLogger(__name__)


def mend(have: Gathered) -> bool:
    """Put back what is missing, after a look at the machine; return whether anything was.

    What cannot be put back is told and left for the next turn.
    """
    plan = have.running.plan if have.running is not None else None
    if plan is None or have.seen is None or have.hold is not None:
        return False
    if have.me.settings.drift == "repair" and have.changes:
        from wgmesh.agent.manual import converge_to

        return _told("what had been changed by hand was put back", lambda: converge_to(plan))
    if have.seen.state.link is None:
        return False
    kept = tuple(change for change in have.changes if _is_kept(change))
    changes = (*kept, *_late_names(plan, have.seen))
    if not changes:
        return False

    def apply() -> bool:
        linux.apply(changes)
        return True

    return _told(f"{len(changes)} lost routes, rules, tables or endpoints were put back", apply)


def _told(message: str, act: Callable[[], bool]) -> bool:
    try:
        with system_errors():
            done = act()
    except WgmeshError as error:
        log.warning("what was lost could not be put back: %s", error.message)
        return False
    if done:
        log.warning("%s", message)
    return done


def _is_kept(change: Change) -> bool:
    match change:
        case RouteReplace() | RuleAdd() | AcceptAdd():
            return True
        case FirewallSet(firewall):
            return firewall is not None
        case _:
            return False


def _late_names(plan: NodePlan, seen: Observed) -> tuple[Change, ...]:
    """Return the endpoints whose names did not resolve before and do now."""
    link = seen.state.link
    if link is None:
        return ()
    waiting = {
        peer.public_key: peer.endpoints[0]
        for peer in plan.peers
        if peer.endpoints
        and not peer.endpoints[0].literal
        and peer.public_key in link.peers
        and link.peers[peer.public_key].endpoint is None
    }
    found = resolve.resolve(set(waiting.values())) if waiting else {}
    return tuple(
        EndpointSet(link.name, key, found[name]) for key, name in waiting.items() if name in found
    )
