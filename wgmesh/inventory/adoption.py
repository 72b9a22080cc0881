"""An inventory out of the wg-quick files of a mesh: each has its own node, and views of others.

Where files leave something open the likeliest is taken, and a remark says what was.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import collapse_addresses, ip_interface, ip_network
from itertools import combinations

from wgmesh.frozen import frozen
from wgmesh.inventory.foreign import Foreign
from wgmesh.inventory.identity import Known, identify, is_host
from wgmesh.inventory.naming import node_names
from wgmesh.inventory.values import is_private
from wgmesh.model.numbers import DEFAULT_MTU, DEFAULT_PORT
from wgmesh.model.terms import Prefix

_MAX_NAMED = 3
_ROOM = {4: 24, 6: 64}
"""A mesh is at least that wide, if no file says how wide it is."""
_KEY = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=(?!=)")


@frozen
class Adopted:
    """The text of a mesh.toml, and what its author should know."""

    text: str
    remarks: tuple[str, ...]


def adopt(files: Sequence[Foreign], interface: str) -> Adopted:
    """Return the inventory of the mesh that `files` make, each of which is one node's."""
    remarks: list[str] = []
    nodes = identify(files, remarks)
    given = [at for at, node in enumerate(nodes) if node.file is not None and node.file.is_given]
    for node, name in zip(nodes, node_names([node.name for node in nodes], given), strict=True):
        node.name = name
    cidrs = _networks(nodes)
    for node in nodes:
        if not node.addresses:
            inside = [p for p in node.routes if is_host(p) and _within(p, cidrs)]
            node.addresses = [ip_interface(prefix) for prefix in inside]
        if not node.addresses:
            remarks.append(f"{node.name}: no file says its address")
    routes = _owned(nodes, cidrs, remarks)
    hubs, relay = _shape(nodes, cidrs, remarks)
    _remark_keys(nodes, remarks)
    _without_keys(nodes, remarks)
    ports = Counter(each.listen_port for each in files if each.listen_port)
    port = ports.most_common(1)[0][0] if ports else DEFAULT_PORT
    rows = ["[mesh]", f"interface = {_text(interface)}"]
    rows.append(f"mesh_cidr = {_list(map(str, cidrs))}")
    if port != DEFAULT_PORT:
        rows.append(f"port = {port}")
    mtus = Counter(each.mtu for each in files if each.mtu)
    if mtus and mtus.most_common(1)[0][0] != DEFAULT_MTU:
        rows.append(f"mtu = {mtus.most_common(1)[0][0]}")
    if len(mtus) > 1:
        remarks.append("the files have several MTUs: the inventory has the most common one")
    dns = dict.fromkeys(str(each) for file in files for each in file.dns)
    if dns:
        rows.append(f"dns = {_list(dns)}")
    if hubs:
        rows += ['topology = "star"', f"hubs = {_list(node.name for node in hubs)}"]
    for node in nodes:
        rows += ["", f"[node.{node.name}]", *_entry(node, routes[node.key], port, remarks)]
        rows += ["forwarding = true"] if node is relay else []
    return Adopted("\n".join(rows) + "\n", tuple(remarks))


def _networks(nodes: Iterable[Known]) -> list[Prefix]:
    """Return the mesh's own networks: those that addresses are written with, else around them."""
    addresses = [address for node in nodes for address in node.addresses]
    if not addresses:
        addresses = [ip_interface(p) for node in nodes for p in node.routes if is_host(p)]
    made: list[Prefix] = []
    for version in (4, 6):
        own = [each for each in addresses if each.version == version and is_private(each.network)]
        wide = {each.network for each in own if each.network.prefixlen < each.max_prefixlen}
        found: list[Prefix] = sorted(collapse_addresses(wide), key=str)  # type: ignore[type-var]
        rest = [each.ip for each in own if not any(each.ip in network for network in found)]
        if rest:
            lowest, highest = min(map(int, rest)), max(map(int, rest))
            length = min(rest[0].max_prefixlen - (lowest ^ highest).bit_length(), _ROOM[version])
            found.append(ip_network((min(rest, key=int), length), strict=False))
        made += found
    return made


def _within(prefix: Prefix, networks: Iterable[Prefix]) -> bool:
    return any(
        prefix.network_address in network and prefix.prefixlen >= network.prefixlen
        for network in networks
    )


def _owned(
    nodes: Sequence[Known], cidrs: Sequence[Prefix], remarks: list[str]
) -> dict[str, list[Prefix]]:
    """Return what lies behind each node: of what peers are given, not what they only carry."""
    hosts = {str(a.ip) for node in nodes for a in node.addresses}
    claims: dict[Prefix, list[Known]] = {}
    for node in nodes:
        for prefix in dict.fromkeys(node.routes):
            if not prefix.prefixlen:
                text = f"{node.name}: the default route to it is left out: see exit_nodes"
                if text not in remarks:
                    remarks.append(text)
            elif not (is_host(prefix) and str(prefix.network_address) in hosts) and not _leads_on(
                prefix, cidrs
            ):
                claims.setdefault(prefix, []).append(node)
    found: dict[str, list[Prefix]] = {node.key: [] for node in nodes}
    for prefix, owners in claims.items():
        # a hub carries for others what is theirs: whoever has the fewest peers is the owner
        owner = min(owners, key=lambda node: len(node.peers))
        if len(owners) > 1:
            names = ", ".join(node.name for node in owners)
            remarks.append(f"{prefix} is given to {names}: the inventory has it at {owner.name}")
        found[owner.key].append(prefix)
    return found


def _shape(
    nodes: Sequence[Known], cidrs: Sequence[Prefix], remarks: list[str]
) -> tuple[list[Known], Known | None]:
    """Return the hubs of a star; or none, and who joins the nodes behind NAT of a full mesh."""
    joined = [node for node in nodes if len(node.peers) == len(nodes) - 1 > 0]
    gateways = [node for node in joined if any(_leads_on(route, cidrs) for route in node.routes)]
    missing = [
        (one, two)
        for one, two in combinations(nodes, 2)
        if two.key not in one.peers and (one.file or two.file) and (one.endpoints or two.endpoints)
    ]
    hubs = gateways or (joined if missing else [])
    if hubs and any(node.endpoints for node in hubs):
        return hubs, None
    if len(joined) == 1 and not any(node.endpoints for node in nodes):
        remarks.append(f"{joined[0].name}: no file says its endpoint: add endpoint")
        return joined, None
    for one, two in missing[:_MAX_NAMED]:
        remarks.append(f"{one.name} and {two.name} have no tunnel yet: in a full mesh they get one")
    if missing[_MAX_NAMED:]:
        remarks.append(f"so do {len(missing) - _MAX_NAMED} other pairs")
    hidden = [node for node in nodes if not node.endpoints]
    relay = next((node for node in nodes if node.endpoints), None) if len(hidden) > 1 else None
    if relay is not None:
        remarks.append(f"{relay.name} forwards between the nodes behind NAT: another one may")
    return [], relay


def _leads_on(route: Prefix, cidrs: Iterable[Prefix]) -> bool:
    """Tell whether a route leads to a whole network of the mesh."""
    return any(
        route.version == cidr.version and cidr.subnet_of(route)  # type: ignore[arg-type]
        for cidr in cidrs
    )


def _entry(node: Known, routes: Sequence[Prefix], port: int, remarks: list[str]) -> Iterator[str]:
    if node.addresses:
        yield f"address = {_list(f'{a.ip}/{a.max_prefixlen}' for a in node.addresses)}"
    if node.key[0] != "?":
        yield f"public_key = {_text(node.key)}"
    endpoints = [endpoint for endpoint, _ in node.endpoints.most_common()]
    if endpoints:
        yield f"endpoint = {_text(str(endpoints[0]))}"
    if endpoints[1:]:
        yield f"endpoint_alt = {_list(map(str, endpoints[1:]))}"
    if routes:
        yield f"allowed_ips = {_list(map(str, routes))}"
    file = node.file
    if file is not None:
        keepalive = max((peer.keepalive for peer in file.peers), default=0)
        if keepalive:
            yield f"persistent_keepalive = {keepalive}"
        if (file.listen_port or port) != port:
            yield f"listen_port = {file.listen_port}"
        yield from _hooks(node.name, file, remarks)
    if node.preshared:
        yield 'preshared_key_path = "/etc/wireguard/psk/%p"'


def _remark_keys(nodes: Iterable[Known], remarks: list[str]) -> None:
    """Say where preshared keys belong, and which tunnels get one that had none."""
    keyed = [node for node in nodes if node.preshared]
    for node in keyed:
        remarks.append(f"{node.name}: put its preshared keys into /etc/wireguard/psk/PEER there")
    for one, two in combinations(keyed, 2):
        if two.key in one.peers and two.key not in one.preshared:
            remarks.append(f"{one.name} and {two.name} use a preshared key as well from now on")


def _without_keys(nodes: Iterable[Known], remarks: list[str]) -> None:
    """Leave out the hooks of a file that have a key in them, unless it is a node's public one."""
    known = {node.key for node in nodes}
    for node in nodes:
        file = node.file
        if file is not None and set(_KEY.findall("\n".join(file.up + file.down))) - known:
            file.up, file.down = [], []
            remarks.append(f"{node.name}: its hooks are left out: there is a key in them")


def _hooks(name: str, file: Foreign, remarks: list[str]) -> Iterator[str]:
    if file.key_file:
        yield f"private_key_path = {_text(file.key_file)}"
    if file.up and file.down:
        yield f"post_up = {_text('; '.join(file.up))}"
        yield f"post_down = {_text('; '.join(file.down))}"
        remarks.append(
            f"{name}: forwarding and masquerading need no hooks: see forwarding, nat_iface"
        )
    elif file.up or file.down:
        remarks.append(f"{name}: a hook without its counterpart is left out")
    for key in dict.fromkeys(file.ignored):
        remarks.append(f"{name}: {key} is left out")


def _list(values: Iterable[str]) -> str:
    texts = [_text(value) for value in values]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
