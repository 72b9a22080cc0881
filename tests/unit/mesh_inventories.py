"""Inventories and plans for the tests of mesh/ and render/: by hand, and by hypothesis."""

import base64
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Literal

from hypothesis import strategies as st

from wgmesh.mesh.firewall import from_chains
from wgmesh.model.inventory import Inventory, Mesh, Node
from wgmesh.model.plan import (
    ExitCandidate,
    ExitPlan,
    HubPlan,
    NodePlan,
    Peer,
    Route,
    RouteKind,
    Rule,
    RuleAction,
)
from wgmesh.model.terms import Endpoint, ExitPolicy, HubSelection, OnNoExit, Prefix, Topology

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")
MESH_CIDR = (ip_network("10.40.0.0/24"), ip_network("fd40::/64"))


def key(name: str) -> str:
    """Return the public key of a node."""
    return base64.b64encode(sha256(name.encode()).digest()).decode()


def node(name: str, **fields: Any) -> Node:  # noqa: ANN401
    """Return a node that can be reached; `endpoint=None` puts it behind NAT."""
    number = NAMES.index(name) + 1
    usual = Node(
        name=name,
        address=(ip_interface(f"10.40.0.{number}/24"), ip_interface(f"fd40::{number}/128")),
        public_key=key(name),
        endpoint=Endpoint(f"192.0.2.{number}", 51820),
        listen_port=51820,
    )
    return replace(usual, **fields)


def inventory(*nodes: Node, **fields: Any) -> Inventory:  # noqa: ANN401
    """Return a mesh of `nodes`; `fields` are those of `[mesh]`."""
    mesh = Mesh(interface="wg0", mesh_cidr=MESH_CIDR, port=51820)
    return Inventory(replace(mesh, **fields), tuple(sorted(nodes, key=lambda node: node.name)))


def star(
    *nodes: Node,
    hubs: tuple[str, ...] = ("alpha",),
    **fields: Any,  # noqa: ANN401
) -> Inventory:
    """Return a star."""
    return inventory(*nodes, topology=Topology.STAR, hubs=hubs, **fields)


# ---------------------------------------------------------------- hypothesis

PORTS = st.integers(1, 65535)
ENDPOINTS = st.builds(
    Endpoint,
    st.sampled_from(
        ["192.0.2.77", "2001:db8::77", "alpha.example.com", "xn--bcher-kva.example", "a_b", "1.2.3"]
    ),
    PORTS,
)
HOOKS = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=30)
KEYS = st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode())
NUMBERS = st.integers(0, 2**32 - 1)
POSITIVE = st.integers(1, 2**32 - 1)
NODE_NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
INTERFACES = st.from_regex(r"[A-Za-z0-9_=+.-]{0,14}[A-Za-z0-9_=+-]", fullmatch=True).filter(
    lambda name: name != "wg-failover"
)
PATHS = st.from_regex(r"/[A-Za-z0-9_./:@+=,-]{0,40}", fullmatch=True)
ADDRESSES = st.ip_addresses().map(lambda value: ip_address(str(value)))


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Draw a valid mesh of one to six nodes, of all shapes."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    versions = draw(st.sampled_from([(4,), (6,), (4, 6)]))
    flags = st.booleans()
    nodes = []
    for name in names:
        number = NAMES.index(name) + 1
        lans = [f"192.168.{number}.0/24", f"fd99:{number}::/48", f"10.40.0.{100 + 4 * number}/30"]
        allowed = draw(st.lists(st.sampled_from(lans), max_size=3, unique=True))
        whole = node(
            name,
            endpoint=draw(st.none() | ENDPOINTS),
            endpoint_alt=tuple(draw(st.lists(ENDPOINTS, max_size=2))),
            listen_port=draw(PORTS),
            allowed_ips=tuple(map(ip_network, allowed)),
            persistent_keepalive=draw(st.sampled_from([0, 0, 15])),
            next_public_key=draw(st.sampled_from([None, None, key(f"{name}, later")])),
            intermittent=draw(flags),
            managed=draw(flags),
            forwarding=draw(flags),
            nat_iface=draw(st.sampled_from([None, "eth0", "eth0.100"])),
            exit_out_iface=draw(st.sampled_from([None, "eth0", "ens3"])),
            enable_nat=draw(flags),
            post_up=draw(st.none() | HOOKS),
            post_down=draw(st.none() | HOOKS),
            preshared_key_path=draw(st.sampled_from([None, "/etc/wireguard/psk/%p", "/psk"])),
        )
        addresses = tuple(a for a in whole.address if a.version in versions)
        nodes.append(replace(whole, address=addresses))
    some = st.lists(st.sampled_from(names), max_size=3, unique=True).map(tuple)
    hubs = draw(st.just(()) | some)
    return inventory(
        *nodes,
        interface=draw(st.sampled_from(["wg0", "mesh-1"])),
        mesh_cidr=tuple(cidr for cidr in MESH_CIDR if cidr.version in versions),
        mtu=draw(st.sampled_from([1280, 1420])),
        topology=Topology.STAR if hubs else Topology.FULLMESH,
        hubs=hubs,
        exit_nodes=draw(some),
        exit_primary=draw(st.none() | st.sampled_from(names)),
        exit_policy=draw(st.sampled_from(ExitPolicy)),
        exit_test_target=tuple(draw(st.lists(ADDRESSES, max_size=2))),
        enable_exit_for_nodes=draw(some),
        on_no_exit=draw(st.sampled_from(OnNoExit)),
    )


def prefixes(version: Literal[4, 6] | None = None) -> st.SearchStrategy[Prefix]:
    """Draw any prefix."""
    drawn = st.ip_addresses(v=version) if version else st.ip_addresses()
    return st.tuples(drawn, st.integers(0, 128)).map(
        lambda pair: ip_network(f"{pair[0]}/{min(pair[1], pair[0].max_prefixlen)}", strict=False)
    )


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Draw any policy rule."""
    family: Literal[4, 6] = draw(st.sampled_from([4, 6]))
    action = draw(st.sampled_from(RuleAction))
    fwmark = draw(st.none() | NUMBERS)
    return Rule(
        family=family,
        priority=draw(NUMBERS),
        action=action,
        target=None if action is RuleAction.UNREACHABLE else draw(NUMBERS),
        fwmark=fwmark,
        fwmask=None if fwmark is None else draw(st.none() | NUMBERS),
        iif=draw(st.none() | INTERFACES),
        source=draw(st.none() | prefixes(family)),
        destination=draw(st.none() | prefixes(family)),
        suppress_prefixlength=draw(st.none() | NUMBERS),
        uid=draw(st.none() | NUMBERS),
        udp_source=draw(st.none() | PORTS),
        udp_destination=draw(st.none() | PORTS),
    )


HOOK_LINES = ["type filter hook forward priority filter", "type nat hook postrouting priority 100"]
EXPRESSIONS = ['iifname "wg0" accept', "ip saddr { 10.0.0.0/8, 192.0.2.1 } drop", "counter"]
CHAINS = st.lists(
    st.tuples(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.sampled_from(HOOK_LINES),
        st.lists(st.sampled_from(EXPRESSIONS)),
    ),
    max_size=3,
)
EXIT_PLANS = st.builds(
    ExitPlan,
    candidates=st.lists(
        st.builds(ExitCandidate, NODE_NAMES, KEYS, st.lists(ADDRESSES, max_size=2).map(tuple)),
        max_size=3,
    ).map(tuple),
    primary=st.none() | NODE_NAMES,
    policy=st.sampled_from(ExitPolicy),
    check_interval_seconds=POSITIVE,
    test_target=st.lists(ADDRESSES, max_size=2).map(tuple),
    on_no_exit=st.sampled_from(OnNoExit),
)
HUB_PLANS = st.builds(
    HubPlan,
    candidates=st.lists(
        st.builds(ExitCandidate, NODE_NAMES, KEYS, st.lists(ADDRESSES, max_size=2).map(tuple)),
        max_size=3,
    ).map(tuple),
    selection=st.sampled_from(HubSelection),
    carried=st.lists(prefixes(), max_size=3).map(tuple),
    targets=st.lists(ADDRESSES, max_size=2).map(tuple),
)
PEERS = st.builds(
    Peer,
    name=NODE_NAMES,
    public_key=KEYS,
    addresses=st.lists(ADDRESSES, max_size=3).map(tuple),
    allowed_ips=st.lists(prefixes(), max_size=3).map(tuple),
    endpoints=st.lists(ENDPOINTS, max_size=3).map(tuple),
    persistent_keepalive=st.integers(0, 65535),
    preshared_key_path=st.none() | PATHS,
    intermittent=st.booleans(),
    managed=st.booleans(),
    next_public_key=st.none() | KEYS,
)
SYSCTLS = st.tuples(
    st.from_regex(r"net\.ipv[46]\.[a-z0-9_./]{0,3}[a-z0-9_]", fullmatch=True).filter(
        lambda name: not any(twice in name for twice in ("..", "//", "./", "/."))
    ),
    NUMBERS.map(str),
)


@st.composite
def plans(draw: st.DrawFn) -> NodePlan:
    """Draw any plan that files can say, far beyond what today's inventories lead to."""
    interface = draw(INTERFACES)
    unicast = st.builds(
        Route, prefixes(), st.just(interface), table=POSITIVE, metric=NUMBERS
    ) | st.builds(Route, prefixes(), st.just(interface))
    unreachable = st.builds(
        Route,
        prefixes(),
        st.none(),
        table=POSITIVE,
        metric=NUMBERS,
        kind=st.just(RouteKind.UNREACHABLE),
    )
    return NodePlan(
        node=draw(NODE_NAMES),
        interface=interface,
        public_key=draw(KEYS),
        private_key_path=draw(PATHS),
        addresses=tuple(map(ip_interface, draw(st.lists(ADDRESSES, max_size=3)))),
        listen_port=draw(PORTS),
        mtu=draw(st.integers(68, 65535)),
        peers=tuple(draw(st.lists(PEERS, max_size=4, unique_by=lambda peer: peer.public_key))),
        routes=tuple(draw(st.lists(unicast | unreachable, max_size=4))),
        rules=tuple(draw(st.lists(rules(), max_size=3))),
        fwmark=draw(NUMBERS),
        firewall=draw(st.none() | CHAINS.map(from_chains)),
        sysctls=tuple(draw(st.lists(SYSCTLS, max_size=3))),
        post_up=draw(st.none() | HOOKS),
        post_down=draw(st.none() | HOOKS),
        exits=draw(st.none() | EXIT_PLANS),
        hubs=draw(st.none() | HUB_PLANS),
    )
