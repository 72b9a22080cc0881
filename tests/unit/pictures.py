"""The meshes that docs/ shows: `python -m tests.unit.pictures` draws them anew."""

import sys
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path

from tests.unit.mesh_inventories import inventory, key
from wgmesh.mesh import drawing
from wgmesh.mesh.graph import picture
from wgmesh.model.inventory import Inventory, Node
from wgmesh.model.terms import Endpoint, Topology

DOCS = Path(__file__).parents[2] / "docs"
CITIES = """
amsterdam athens atlanta berlin bogota boston brussels cairo chicago dallas dublin frankfurt geneva
helsinki hongkong lagos lima lisbon london madrid miami milan mumbai nairobi osaka oslo paris prague
seattle sydney
""".split()  # noqa: SIM905 - one word a city is easier to read
LAPTOPS = {4, 9, 14, 19, 24, 29}
LANS = {2, 9, 17, 21, 27}
EXITS = {0, 18}
SMALL = ("amsterdam", "berlin", "home", "laptop", "office", "oslo")


def node(
    number: int, name: str, *, nat: bool = False, lan: bool = False, way: bool = False
) -> Node:
    """Return the node of that number: `lan` has a network behind it, `way` is an exit."""
    return Node(
        name=name,
        address=(ip_interface(f"10.40.0.{number}/32"),),
        public_key=key(name),
        endpoint=None if nat else Endpoint(f"{name}.example.net", 51820),
        listen_port=51820,
        allowed_ips=(ip_network(f"192.168.{number}.0/24"),) if lan else (),
        exit_out_iface="eth0" if way else None,
        enable_nat=way,
    )


def large(count: int = 30, *, hubs: tuple[str, ...] = ("frankfurt", "paris")) -> Inventory:
    """Return a star of so many nodes, or without `hubs` a full mesh."""
    nodes = [
        node(
            number + 1,
            CITIES[number % 30] + (f"-{1 + number // 30}" if number >= 30 else ""),
            nat=number % 30 in LAPTOPS,
            lan=number % 30 in LANS,
            way=number in EXITS,
        )
        for number in range(count)
    ]
    exits = tuple(each.name for each in nodes if each.enable_nat)
    made = inventory(*nodes, exit_nodes=exits, hubs=hubs)
    shape = Topology.STAR if hubs else Topology.FULLMESH
    return replace(made, mesh=replace(made.mesh, topology=shape))


def small() -> Inventory:
    """Return a full mesh of six, of all kinds but hubs."""
    nodes = [
        node(
            number,
            name,
            nat=name in ("home", "laptop"),
            lan=name in ("home", "office"),
            way=name == "oslo",
        )
        for number, name in enumerate(SMALL, 1)
    ]
    nodes[1] = replace(nodes[1], forwarding=True)
    return inventory(*nodes, exit_nodes=("oslo",))


SHOWN = {"mesh.svg": small, "star.svg": large}


def main() -> int:
    """Draw them."""
    for name, make in SHOWN.items():
        (DOCS / name).write_text(drawing.svg(picture(make())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
