"""Valid changes of an inventory, drawn at random: what a mesh says of itself and of its nodes.

Each kind changes the Fleet in place; `draw` takes back what the inventory's own check refuses.
"""

import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from tests.lab.exits import EXIT, FAR4, FAR6
from tests.soak.changes import PSK
from tests.soak.converge import GUEST, LARGE, SMALL, Fleet
from wgmesh import inventory

Change = Callable[[Fleet, random.Random], None]

NETWORKS = ("192.168.60.0/24", "192.168.61.0/24", "192.168.62.0/23", "fd60::/64", "fd61::/64")
EXIT_KEYS = (
    *("exit_nodes", "exit_primary", "exit_policy", "exit_test_target"),
    *("enable_exit_for_nodes", "on_no_exit", "exit_check_interval_seconds"),
)
_TRIES = 1000


def _some(of: Fleet, dice: random.Random, name: str | None = None, **fields: Any) -> None:  # noqa: ANN401
    """Let a node's entry say `fields`; None leaves a key out."""
    name = name or dice.choice(of.names)
    merged = of.fields.get(name, {}) | fields
    of.fields[name] = {key: value for key, value in merged.items() if value is not None}


def _mesh(of: Fleet, **options: Any) -> None:  # noqa: ANN401
    merged = of.options | options
    of.options = {key: value for key, value in merged.items() if value is not None}


def keepalive(of: Fleet, dice: random.Random) -> None:
    """Give a node another keepalive, or none."""
    _some(of, dice, persistent_keepalive=dice.choice((None, 10, 15, 20, 25)))


def networks(of: Fleet, dice: random.Random) -> None:
    """Put a network behind a node, take one away, or move it."""
    network, target = dice.choice(NETWORKS), dice.choice((None, *of.names))
    for name in of.names:
        has = set(of.fields.get(name, {}).get("allowed_ips", ())) - {network}
        if name == target:
            has.add(network)
        _some(of, dice, name, allowed_ips=sorted(has) or None)


def endpoint(of: Fleet, dice: random.Random) -> None:
    """Let a node be found at another form of its address, and perhaps at another port."""
    name = dice.choice(of.names)
    port = dice.choice((51820, dice.randrange(50000, 51000)))
    machine = of[name]
    host = dice.choice((machine.ipv4, f"[{machine.ipv6}]", f"{name}.example.net"))
    other = port if port != 51820 else None
    _some(of, dice, name, listen_port=other, endpoint=f"{host}:{port}")


def alternative(of: Fleet, dice: random.Random) -> None:
    """Give a node an alternative endpoint, or none."""
    name = dice.choice(of.names)
    port = of.fields.get(name, {}).get("listen_port", 51820)
    other = dice.choice((None, [f"{name}6.example.net:{port}"]))
    _some(of, dice, name, endpoint_alt=other)


def address(of: Fleet, dice: random.Random) -> None:
    """Give a node a second address, or take it away."""
    name = dice.choice(of.names)
    number = of.mesh.numbers[name]
    more = [f"10.40.0.{number}/32", f"10.40.0.{100 + number}/32", f"fd40::{number:x}/128"]
    _some(of, dice, name, address=dice.choice((None, more)))


def mtu(of: Fleet, dice: random.Random) -> None:
    """Give the interface another MTU."""
    _mesh(of, mtu=dice.choice((None, 1280, 1380, 1400, 1412)))


def room(of: Fleet, dice: random.Random) -> None:
    """Let the mesh have more addresses, or fewer again."""
    _mesh(of, mesh_cidr=dice.choice((SMALL, LARGE)))


def forwarding(of: Fleet, dice: random.Random) -> None:
    """Let a node pass packets on, masquerade them, or neither."""
    on = dice.choice((None, True))
    _some(of, dice, forwarding=on, nat_iface=dice.choice((None, "eth0")) if on else None)


def preshared_keys(of: Fleet, dice: random.Random) -> None:
    """Let two nodes have a preshared key, or one node none. The files are there already."""
    if dice.random() < 0.5:
        for name in dice.sample(of.names, 2):
            _some(of, dice, name, preshared_key_path=PSK.format("%p"))
    else:
        _some(of, dice, preshared_key_path=None)


def another_key(of: Fleet, dice: random.Random) -> None:
    """Give a node another key at once."""
    of.renew_key(dice.choice(of.names))


def shape(of: Fleet, dice: random.Random) -> None:
    """Make a star of the mesh, with other hubs or another way to choose one, or a full mesh."""
    if dice.random() < 0.5:
        _mesh(of, topology=None, hubs=None, hub_selection=None)
    else:
        hubs = dice.sample(of.names, dice.choice((1, 2)))
        _mesh(of, topology="star", hubs=hubs, hub_selection=dice.choice((None, "latency")))


def exits(of: Fleet, dice: random.Random) -> None:
    """Let some nodes use exits, other exits, or none."""
    chosen = dice.sample(of.names, dice.choice((0, 1, 2)))
    for name in of.names:
        _some(of, dice, name, **(EXIT if name in chosen else dict.fromkeys(EXIT)))
    if not chosen:
        _mesh(of, **dict.fromkeys(EXIT_KEYS))
        return
    others = [name for name in of.names if name not in chosen]
    _mesh(
        of,
        exit_nodes=chosen,
        exit_primary=chosen[0],
        exit_policy=dice.choice((None, "manual")),
        exit_test_target=[FAR4, FAR6],
        exit_check_interval_seconds=dice.choice((None, 30)),
        enable_exit_for_nodes=dice.sample(others, min(2, len(others))),
        on_no_exit=dice.choice((None, "direct")),
    )


def kind_of_node(of: Fleet, dice: random.Random) -> None:
    """Let a node be one that may be away."""
    _some(of, dice, intermittent=dice.choice((None, True)))


def guest(of: Fleet, _: random.Random) -> None:
    """Let the guest in, or show it out."""
    of.guest = not of.guest


def words(of: Fleet, dice: random.Random) -> None:
    """Change what concerns no node: how people reach it, or DNS for machines without wgmesh."""
    _some(of, dice, ssh_port=dice.choice((None, 22, 2222)))
    _mesh(of, dns=dice.choice((None, "10.40.0.1")))


def policy(of: Fleet, dice: random.Random) -> None:
    """Change what a machine's own admin says; the commit itself has nothing for it."""
    of[dice.choice(of.names)].write("/etc/wgmesh/wgmesh.toml", own_policy(dice))


def own_policy(dice: random.Random) -> str:
    """Return a wgmesh.toml."""
    keep = dice.randrange(3, 7)
    drift, lag = dice.choice(("report", "repair")), dice.choice((3600, 86400))
    exempt = dice.choice(("[]", '["192.0.2.0/24"]'))
    return (
        f'keep_generations = {keep}\ndrift = "{drift}"\n'
        f"peer_lag_seconds = {lag}\nexempt = {exempt}\n"
    )


CHANGES: Mapping[str, Change] = {
    "keepalive": keepalive,
    "networks": networks,
    "endpoint": endpoint,
    "alternative endpoint": alternative,
    "address": address,
    "MTU": mtu,
    "mesh_cidr": room,
    "forwarding": forwarding,
    "preshared keys": preshared_keys,
    "another key": another_key,
    "topology": shape,
    "exits": exits,
    "intermittent": kind_of_node,
    "guest": guest,
    "nothing for a node": words,
    "own policy": policy,
}


def draw(of: Fleet, dice: random.Random) -> list[str]:
    """Make one or two changes that leave a valid inventory; return their kinds.

    Another key and the machine's own policy reach beyond the inventory, so these come last.
    """
    for _ in range(_TRIES):
        before = deepcopy((of.fields, of.options, of.guest))
        kinds = dice.sample(list(CHANGES), dice.choice((1, 1, 2)))
        kinds.sort(key=("another key", "own policy").__contains__)
        for kind in kinds:
            CHANGES[kind](of, dice)
        if valid(of):
            return kinds
        of.fields, of.options, of.guest = before
    raise AssertionError(f"no valid change was found in {_TRIES}")


def valid(of: Fleet) -> bool:
    """Return whether the inventory as it is now is valid, by the tool's own check."""
    files = {name: text.encode() for name, text in of.files().items()}
    return inventory.read(files).inventory is not None


def undo(of: Fleet) -> None:
    """Let the inventory be what it was at first, whatever was changed, keys excepted."""
    of.fields, of.options, of.guest = {}, {}, False


def share_secrets(of: Fleet) -> None:
    """Put a preshared key for each two nodes onto both of them."""
    names = [*of.names, GUEST]
    for number, one in enumerate(names):
        for two in names[number + 1 :]:
            psk = of[one].run(["wg", "genpsk"]).stdout
            of[one].write(PSK.format(two), psk, 0o600)
            of[two].write(PSK.format(one), psk, 0o600)
