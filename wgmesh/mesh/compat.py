"""Would a tunnel work while its two ends run different versions: one question, answered exactly.

The two ends of a tunnel apply a change minutes apart. Both versions are known, so the answer is
computed: from keys, preshared keys, AllowedIPs, endpoints, keepalives, and who can reach whom. The
listen port, the MTU and hooks are not part of it: what one end does there it must answer for alone.
"""

from enum import Enum

from wgmesh.mesh import topology
from wgmesh.mesh.topology import Layout
from wgmesh.model.inventory import Node
from wgmesh.model.terms import Address


class Obstacle(Enum):
    """Why a tunnel cannot work until its other end has applied the change as well."""

    KEY = "one end has a key that the other does not know"
    PEERING = "only one end has the other for a peer"
    PSK = "the preshared key is not the same at both ends"
    ADDRESS = "one end speaks from an address that the other does not take from it"
    ENDPOINT = "neither end is where the other looks for it"


Fit = int | Obstacle
"""Seconds until the tunnel works (0: it never stops), or why it waits for the other end."""


def compat(mine: Layout, me: str, theirs: Layout, peer: str) -> Fit:
    """Tell how the node `me` that runs `mine` gets on with its peer that still runs `theirs`.

    Both are named by their public keys. Costs O(1), but for an address that changed: O(n).
    """
    here, far = mine.by_key.get(me), mine.by_key.get(peer)
    known, there = theirs.by_key.get(me), theirs.by_key.get(peer)
    if here is None or far is None or known is None or there is None:
        return Obstacle.KEY
    if not (topology.are_peers(mine, here, far) and topology.are_peers(theirs, there, known)):
        return Obstacle.PEERING
    if not _same_psk(here, far, known, there):
        return Obstacle.PSK
    if not _addresses_fit(mine, here, far, theirs, there, known):
        return Obstacle.ADDRESS
    return _meeting(here, far, known, there)


def outlook(before: Layout, after: Layout, me: tuple[str, str], theirs: Layout, peer: str) -> Fit:
    """Tell how a tunnel that is up fares when this node goes from `before` to `after`.

    The peer stays with `theirs`; `me` is this node's public key before and after. A peer that is up
    cannot run what would keep it down: then 0. Only where it is found may differ from what `before`
    says, since each end follows the other; as long as the change does not move one of them, it is
    no news that it differs.
    """
    now = compat(before, me[0], theirs, peer)
    if not isinstance(now, int) and now is not Obstacle.ENDPOINT:
        return 0
    then = compat(after, me[1], theirs, peer)
    return 0 if then == now and not _moves(before, after, me, peer) else then


def _moves(before: Layout, after: Layout, me: tuple[str, str], peer: str) -> bool:
    """Tell whether the peer is looked for elsewhere, or this node by one that cannot be."""
    was, will = before.by_key.get(peer), after.by_key.get(peer)
    if was is None or will is None or was.endpoint != will.endpoint:
        return True
    mine, own = before.by_key.get(me[0]), after.by_key.get(me[1])
    return will.endpoint is None and (mine and mine.endpoint) != (own and own.endpoint)


def _same_psk(here: Node, far: Node, known: Node, there: Node) -> bool:
    """Tell whether the files that the two ends read can hold the same key.

    A pair of paths that one version names is taken to be right; a pair out of both is not.
    """
    used = topology.uses_psk(here, far)
    if used != topology.uses_psk(there, known):
        return False
    mine_stays = topology.psk_path(here, far) == topology.psk_path(known, there)
    theirs_stays = topology.psk_path(there, known) == topology.psk_path(far, here)
    return not used or mine_stays or theirs_stays


def _addresses_fit(
    mine: Layout, here: Node, far: Node, theirs: Layout, there: Node, known: Node
) -> bool:
    """Tell whether packets pass both ways, in every family in which the two have met before.

    A node speaks from the first of its addresses in a family.
    """
    common = {each.ip for each in far.address} & {each.ip for each in there.address}
    mouth = _first(here)
    families = {address.version for address in common} & mouth.keys()
    theirs_speak = _first(there)
    return bool(families) and all(
        topology.carries(theirs, there, known, mouth[family])
        and topology.carries(mine, here, far, theirs_speak[family])
        for family in families
    )


def _first(node: Node) -> dict[int, Address]:
    return {each.version: each.ip for each in reversed(node.address)}


def _meeting(here: Node, far: Node, known: Node, there: Node) -> Fit:
    """Return when one of the two finds the other.

    This end speaks first, so it is enough that the peer still is where this end looks for it; a
    peer without an endpoint is spoken to where it was heard last, as long as it looks for this end
    where it did. Failing that, the peer's own keepalive finds this end, and this end follows it.
    """
    looked_for = topology.endpoints(far)
    if looked_for and looked_for[0] in topology.endpoints(there):
        return 0
    looks_for = topology.endpoints(known)
    found = bool(looks_for) and looks_for[0] in topology.endpoints(here)
    if not found:
        return Obstacle.ENDPOINT
    if not looked_for:
        return 0
    return topology.keepalive(there, known) or Obstacle.ENDPOINT
