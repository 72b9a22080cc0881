"""The rendered table loads into the real nft, which lists it with the same tags."""

import json

import pytest

from tests.lab.conftest import WorldFactory
from tests.lab.machine import Machine
from tests.unit.mesh_inventories import inventory, node, star
from wgmesh.mesh.firewall import firewall_tags, from_chains
from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory
from wgmesh.model.plan import Firewall
from wgmesh.render import files

OUTWARD = {"exit_out_iface": "ens3", "enable_nat": True, "nat_iface": "eth0.100"}
MESHES = {
    "hub": star(node("alpha"), node("bravo")),
    "forwarder": inventory(node("alpha", forwarding=True), interface="mesh-1"),
    "forwarder with nat": inventory(node("alpha", forwarding=True, nat_iface="eth0")),
    "exit": inventory(node("alpha", **OUTWARD), exit_nodes=("alpha",)),
    "hub and exit": star(node("alpha", **OUTWARD), exit_nodes=("alpha",)),
}


@pytest.fixture(scope="module")
def machine(module_world_factory: WorldFactory) -> Machine:
    """Make a machine whose ruleset is ours to change."""
    return module_world_factory(["alpha"])["alpha"]


def load(machine: Machine, text: str) -> None:
    """Put the table in place of the one before, as the agent and wgmesh-net do."""
    fresh = "table inet wgmesh\ndelete table inet wgmesh\n"
    machine.run(["nft", "-f", "-"], stdin=fresh + text)


def listing(machine: Machine, *options: str) -> str:
    return machine.run(["nft", *options, "list", "table", "inet", "wgmesh"]).stdout


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_nft_takes_the_file_and_lists_the_same_tags(machine: Machine, mesh: Inventory) -> None:
    made = plan(mesh, "alpha")
    assert made.firewall is not None
    load(machine, files(made)["wgmesh.nft"].decode())
    assert firewall_tags(listing(machine)) == made.firewall.tags
    assert firewall_tags(listing(machine, "-a", "-n")) == made.firewall.tags
    load(machine, listing(machine))  # what nft lists, it takes back
    assert firewall_tags(listing(machine)) == made.firewall.tags


def test_a_rule_added_by_hand_and_one_removed_show(machine: Machine) -> None:
    made = plan(MESHES["exit"], "alpha").firewall
    assert made is not None
    load(machine, made.text)
    many = ", ".join(f"192.0.2.{number}" for number in range(1, 40, 2))
    machine.run(["nft", "add", "rule", "inet", "wgmesh", "forward", f"ip saddr {{ {many} }} drop"])
    (_, forward), nat = made.tags
    assert firewall_tags(listing(machine)) == (("forward", (*forward, "")), nat)

    said = json.loads(listing(machine, "-j"))["nftables"]
    first = next(entry["rule"] for entry in said if "rule" in entry)
    machine.run(
        ["nft", "delete", "rule", "inet", "wgmesh", first["chain"], "handle", str(first["handle"])]
    )
    assert firewall_tags(listing(machine)) == (("forward", (*forward[1:], "")), nat)


def test_an_empty_chain_is_listed_as_one(machine: Machine) -> None:
    table: Firewall = from_chains([("forward", "type filter hook forward priority filter", [])])
    load(machine, table.text)
    assert firewall_tags(listing(machine)) == table.tags == (("forward", ()),)
