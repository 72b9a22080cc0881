"""The sweep over sorted networks finds what comparing every pair would find."""

from ipaddress import IPv4Interface, IPv4Network, ip_network
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.inventory_texts import mesh, node
from wgmesh.inventory import read
from wgmesh.model.inventory import Severity

# A small space, so that networks meet; 10.40.0.0/26 is where the addresses are.
NETWORKS = st.builds(
    lambda number, length: IPv4Network((0x0A280000 | number, length), strict=False),
    st.integers(0, 63),
    st.integers(25, 32),
)
MESHES = st.dictionaries(
    st.integers(1, 40), st.lists(NETWORKS, max_size=3, unique=True), min_size=1, max_size=6
)


@given(MESHES)
def test_equal_and_nested_networks(allowed: dict[int, list[IPv4Network]]) -> None:
    tables = [
        node(f"n{number}", number, "allowed_ips = " + str([str(n) for n in networks]))
        for number, networks in allowed.items()
    ]
    found = read(mesh("", *tables, cidr='"10.40.0.0/16"')).problems
    assert all(p.field == "allowed_ips" for p in found)

    addresses = {number: IPv4Network(f"10.40.0.{number}/32") for number in allowed}
    equal: set[IPv4Network] = set()
    nested: set[tuple[int, IPv4Network]] = set()
    covering: set[tuple[int, IPv4Network]] = set()
    everything = [(number, net) for number, nets in allowed.items() for net in nets]
    for (one, net), (two, other) in combinations(everything, 2):
        if one == two:
            continue
        if net == other:
            equal.add(net)
        elif net.subnet_of(other):
            nested.add((one, net))
        elif other.subnet_of(net):
            nested.add((two, other))
    for number, net in everything:
        for owner, address in addresses.items():
            if owner != number and address == net:
                equal.add(net)
            elif owner != number and address.subnet_of(net):
                covering.add((number, net))

    errors = {ip_network(p.message.split()[0]) for p in found if p.severity is Severity.ERROR}
    assert errors == equal
    if equal:
        return  # of equal networks one speaks for all: the warnings are not complete
    warned = {
        (int(str(p.node)[1:]), ip_network(p.message.split()[0]))
        for p in found
        if p.severity is Severity.WARNING and "lies inside" in p.message
    }
    # An address speaks for its own /32 in the same node's allowed_ips.
    hosts = set(addresses.values())
    assert {net for _, net in warned} == {net for _, net in nested if net not in hosts}
    assert warned <= nested
    covers = {
        (int(str(p.node)[1:]), ip_network(p.message.split()[0]))
        for p in found
        if p.severity is Severity.WARNING and "covers" in p.message
    }
    assert covers <= covering
    assert bool(covers) == bool(covering)


def test_a_chain_of_nested_networks_is_fast_and_names_the_nearest() -> None:
    tables = [
        node(f"n{i}", i, f'allowed_ips = "{IPv4Interface((0xC0A80000, i)).network}"')
        for i in range(8, 33)
    ]
    found = read(mesh("", *tables)).problems
    assert [p.message.split(" lies inside ")[1] for p in found if "inside" in p.message] == [
        f"{IPv4Interface((0xC0A80000, i)).network} of node n{i}" for i in range(8, 32)
    ]
