"""NodePlan to KernelState: the state that a plan asks for on this machine, at this moment."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from wgmesh.mesh.firewall import ways
from wgmesh.model.kernel import KernelState, LinkState, PeerState
from wgmesh.model.plan import Accept, NodePlan, Peer
from wgmesh.model.terms import Endpoint, Secret
from wgmesh.rotation import in_force

Resolved = Mapping[Endpoint, Endpoint]
"""Named endpoints to literal ones; a name that did not resolve is absent."""


def literal(endpoint: Endpoint, resolved: Resolved) -> Endpoint | None:
    """Return `endpoint` as an address literal, or None when its name did not resolve."""
    return endpoint if endpoint.literal else resolved.get(endpoint)


def names(plan: NodePlan) -> frozenset[Endpoint]:
    """Return the endpoints of `plan` that need a resolver."""
    return frozenset(
        endpoint for peer in plan.peers for endpoint in peer.endpoints if not endpoint.literal
    )


def _primary(peer: Peer) -> Endpoint | None:
    return peer.endpoints[0] if peer.endpoints else None


def _endpoint(
    peer: Peer,
    current: Endpoint | None,
    before: Peer | None,
    resolved: Resolved,
    reset: Collection[str],
    chosen: Endpoint | None,
) -> Endpoint | None:
    """Return the endpoint to have: the current one unless the inventory's changed.

    An endpoint that roamed or failed over (`chosen`) is the node's own knowledge and stays. `reset`
    names the peers with no living session: theirs goes back to the inventory's, or the chosen one.
    """
    primary = _primary(peer)
    wanted = None if primary is None else literal(primary, resolved)
    if before is not None and _primary(before) == primary:
        wanted = chosen or wanted
    if current is None or wanted is None:
        return wanted or current
    if before is None or _primary(before) != primary:
        return wanted
    if peer.public_key in reset:
        candidates = {literal(endpoint, resolved) for endpoint in peer.endpoints}
        return current if current in candidates else wanted
    return current


def _staged(
    peer: Peer,
    key: str,
    preshared_key: Secret | None,
    now: PeerState | None,
    resolved: Resolved,
) -> PeerState:
    """Return the second peer of a node that changes its key: it carries nothing yet.

    It is looked for only by a node that others cannot find. Where it was heard last says whether
    the node has changed its key, so that is never set back.
    """
    endpoint = now.endpoint if now is not None else None
    primary = _primary(peer)
    if endpoint is None and peer.persistent_keepalive and primary is not None:
        endpoint = literal(primary, resolved)
    return PeerState(key, frozenset(), peer.persistent_keepalive, preshared_key, endpoint)


def desired(
    plan: NodePlan,
    *,
    private_key: Secret,
    preshared_keys: Mapping[str, Secret],
    observed: KernelState,
    previous: NodePlan | None,
    resolved: Resolved,
    reset: Collection[str] = (),
    former_sysctls: Mapping[str, str],
    chosen: Mapping[str, Endpoint] | None = None,
    dropping: Mapping[int, str] | None = None,
) -> KernelState:
    """Return what the kernel shall look like for `plan`.

    `previous` is the plan that the observed state came from (None: not ours), `preshared_keys` is
    by public key, `former_sysctls` are the values from before wgmesh set them: what the plan no
    longer sets goes back to those. `chosen`: the failover's endpoints in force, by public key.
    `dropping`: chains of iptables, by IP version, that forwarded packets do not get through.
    """
    plan = in_force(plan, observed.link)
    now = observed.link.peers if observed.link is not None else {}
    before = {peer.public_key: peer for peer in previous.peers} if previous is not None else {}
    peers = {
        peer.public_key: PeerState(
            public_key=peer.public_key,
            allowed_ips=frozenset(peer.allowed_ips),
            persistent_keepalive=peer.persistent_keepalive,
            preshared_key=preshared_keys.get(peer.public_key),
            endpoint=_endpoint(
                peer,
                now[peer.public_key].endpoint if peer.public_key in now else None,
                before.get(peer.public_key),
                resolved,
                reset,
                (chosen or {}).get(peer.public_key),
            ),
        )
        for peer in plan.peers
    }
    for peer in plan.peers:
        if peer.next_public_key is not None:
            key = peer.next_public_key
            peers[key] = _staged(peer, key, preshared_keys.get(key), now.get(key), resolved)
    link = LinkState(
        name=plan.interface,
        up=True,
        mtu=plan.mtu,
        private_key=private_key,
        listen_port=plan.listen_port,
        fwmark=plan.fwmark,
        addresses=frozenset(plan.addresses),
        peers=peers,
    )
    return KernelState(
        link=link,
        routes=frozenset(plan.routes),
        rules=frozenset(plan.rules),
        firewall=plan.firewall,
        sysctls={**former_sysctls, **dict(plan.sysctls)},
        accepts=frozenset(
            Accept(family, chain, *way)
            for family, chain in (dropping or {}).items()
            for way in ways(plan.firewall)
        ),
    )


def restored(target: KernelState, observed: KernelState, moved: Collection[str]) -> KernelState:
    """Return the snapshot `target` with the endpoints that peers have roamed to since.

    Only a peer whose endpoint the transaction itself changed (`moved`) or that is gone gets the
    snapshot's endpoint back.
    """
    if target.link is None or observed.link is None:
        return target
    peers = {
        key: replace(peer, endpoint=observed.link.peers[key].endpoint)
        if key in observed.link.peers
        and key not in moved
        and observed.link.peers[key].endpoint is not None
        else peer
        for key, peer in target.link.peers.items()
    }
    return replace(target, link=replace(target.link, peers=peers))


def touched(target: KernelState, observed: KernelState) -> frozenset[str]:
    """Return the peers of `target` whose tunnel differs from what is observed.

    Key, port and addresses of the device belong to every tunnel.
    """
    want, have = target.link, observed.link
    if want is None:
        return frozenset()
    if have is None or _device(want) != _device(have):
        return frozenset(want.peers)
    return frozenset(key for key, peer in want.peers.items() if have.peers.get(key) != peer)


def _device(link: LinkState) -> tuple[object, ...]:
    return link.private_key, link.listen_port, {address.ip for address in link.addresses}


def another_psk(target: KernelState, observed: KernelState) -> frozenset[str]:
    """Return the peers that stay and get another preshared key, or lose theirs."""
    if target.link is None or observed.link is None:
        return frozenset()
    now = observed.link.peers
    return frozenset(
        key
        for key, peer in target.link.peers.items()
        if key in now and now[key].preshared_key != peer.preshared_key
    )


def moved(target: KernelState, observed: KernelState) -> frozenset[str]:
    """Return the peers whose endpoint going from `observed` to `target` changes."""
    if target.link is None or observed.link is None:
        return frozenset()
    return frozenset(
        key
        for key, peer in target.link.peers.items()
        if key in observed.link.peers
        and peer.endpoint is not None
        and observed.link.peers[key].endpoint not in (None, peer.endpoint)
    )
