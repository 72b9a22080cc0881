"""Which node each wg-quick file of a mesh is, and which of their peers have no file."""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from ipaddress import ip_network

from wgmesh.inventory.foreign import Foreign
from wgmesh.model.terms import Endpoint, Interface, Prefix


@dataclass(slots=True)
class Known:
    """What is known of a node: from its own file, and from those in which it is a peer.

    `key` is its public key; where no file says it, "?" and the file's name.
    """

    key: str
    name: str = ""
    file: Foreign | None = None
    addresses: list[Interface] = field(default_factory=list)
    endpoints: Counter[Endpoint] = field(default_factory=Counter)
    routes: list[Prefix] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)
    preshared: set[str] = field(default_factory=set)


def identify(files: Sequence[Foreign], remarks: list[str]) -> list[Known]:
    """Return a node for each file, then those that are peers only; `remarks` get what is open."""
    known: dict[str, Known] = {}
    lists = [{peer.public_key for peer in file.peers} for file in files]
    listed = set().union(*lists)
    own = {file.public_key for file in files if file.public_key}
    left = _left_out(lists)
    given = _given(files) if len(own) < len(files) else {}
    for number, file in enumerate(files):
        key = file.public_key
        if not key:
            # its own key is one that all other files list, and it alone does not
            others = [each for each in left.get(number, ()) if each not in own]
            if len(others) != 1:  # or that of a peer which is given its addresses, and no others
                here = {ip_network(address.ip) for address in file.addresses}
                hits = [hit for host in here for hit in given.get(host, ()) if hit[1] <= here]
                others = [*({peer for peer, _ in hits} - own - known.keys())]
            key = others[0] if len(others) == 1 else f"?{file.file}"
            if key not in listed:
                remarks.append(f"{file.file}: its public key is not known: add public_key")
        node = known.setdefault(key, Known(key))
        node.file, node.name = file, file.name
        node.addresses = list(file.addresses)
    for node in list(known.values()):
        for peer in node.file.peers if node.file else ():
            other = known.get(peer.public_key)
            if other is None:
                other = known[peer.public_key] = Known(peer.public_key)
            other.name = other.name or peer.called.name
            if peer.preshared:
                other.preshared.add(node.key)
                node.preshared.add(other.key)
            other.routes += [each.network for each in peer.allowed_ips]
            if peer.endpoint:
                other.endpoints[peer.endpoint] += 1
            other.peers.add(node.key)
            node.peers.add(other.key)
    for node in known.values():
        node.name = node.name or (node.file.fallback if node.file else "node")
    return list(known.values())


def _given(files: Iterable[Foreign]) -> dict[Prefix, set[tuple[str, frozenset[Prefix]]]]:
    """Return for each host the keys of peers that are given it, each with all hosts it is given."""
    found: dict[Prefix, set[tuple[str, frozenset[Prefix]]]] = {}
    for file in files:
        for peer in file.peers:
            networks = (each.network for each in peer.allowed_ips)
            hosts = frozenset(prefix for prefix in networks if is_host(prefix))
            for host in hosts:
                found.setdefault(host, set()).add((peer.public_key, hosts))
    return found


def _left_out(lists: Sequence[Set[str]]) -> dict[int, list[str]]:
    """Return, by its position, the keys that a list alone does not have, and all others do.

    Costs one look at each key of each list: the positions of those that have a key give the other.
    """
    counts: Counter[str] = Counter()
    positions: Counter[str] = Counter()
    for position, keys in enumerate(lists):
        for key in keys:
            counts[key] += 1
            positions[key] += position
    every = len(lists) * (len(lists) - 1) // 2
    found: dict[int, list[str]] = {}
    for key, count in counts.items():
        if count == len(lists) - 1:
            found.setdefault(every - positions[key], []).append(key)
    return found


def is_host(prefix: Prefix) -> bool:
    """Tell whether `prefix` is one address."""
    return prefix.prefixlen == prefix.max_prefixlen
