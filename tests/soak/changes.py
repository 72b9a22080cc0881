"""Some twenty kinds of change of an inventory of four nodes, each made upon the one before."""

from collections.abc import Callable, Mapping

from tests.soak.converge import LARGE, SMALL, Fleet

PSK = "/etc/wireguard/psk/{}"
HOME = "192.168.60.0/24"

Change = Callable[[Fleet], None]
Value = str | int | list[str] | None


def says(name: str, **fields: Value) -> Change:
    """Return the change by which a node's entry says `fields`; None leaves a key out."""

    def change(of: Fleet) -> None:
        merged = of.fields.get(name, {}) | fields
        of.fields[name] = {key: value for key, value in merged.items() if value is not None}

    return change


def mesh(**options: Value) -> Change:
    """Return the change by which mesh.toml says `options`; None leaves a key out."""

    def change(of: Fleet) -> None:
        merged = of.options | options
        of.options = {key: value for key, value in merged.items() if value is not None}

    return change


def guest(*, there: bool) -> Change:
    """Return the change by which the guest becomes a member, or none again."""

    def change(of: Fleet) -> None:
        of.guest = there

    return change


def moved_home(of: Fleet) -> None:
    """Let a network be behind charlie that was behind bravo."""
    says("bravo", allowed_ips=None)(of)
    says("charlie", allowed_ips=[HOME])(of)


def another_port(of: Fleet) -> None:
    """Move bravo to another port, endpoint and all."""
    says("bravo", listen_port=51999, endpoint=f"{of['bravo'].ipv4}:51999")(of)


def over_ipv6(of: Fleet) -> None:
    """Let bravo be found over IPv6."""
    says("bravo", endpoint=f"[{of['bravo'].ipv6}]:51820")(of)


def address_added(of: Fleet) -> None:
    """Give alpha a second address."""
    says("alpha", address=["10.40.0.1/32", "10.40.0.101/32", "fd40::1/128"])(of)


def preshared_key(of: Fleet) -> None:
    """Give the tunnel between bravo and charlie a preshared key."""
    psk = of["bravo"].run(["wg", "genpsk"]).stdout
    for name, peer in (("bravo", "charlie"), ("charlie", "bravo")):
        of[name].write(PSK.format(peer), psk, 0o600)
        says(name, preshared_key_path=PSK.format("%p"))(of)


def another_key(of: Fleet) -> None:
    """Give bravo another key at once."""
    of.renew_key("bravo")


CHANGES: Mapping[str, Change] = {
    "node added": guest(there=True),
    "network behind a node added": says("bravo", allowed_ips=[HOME]),
    "network moved to another node": moved_home,
    "network removed": says("charlie", allowed_ips=None),
    "keepalive": says("bravo", persistent_keepalive=20),
    "endpoint by name": says("bravo", endpoint="bravo.example.net:51820"),
    "endpoint over IPv6": over_ipv6,
    "another endpoint and port": another_port,
    "alternative endpoint": says("charlie", endpoint_alt=["charlie6.example.net:51820"]),
    "address added": address_added,
    "address removed": says("alpha", address=None),
    "MTU": mesh(mtu=1400),
    "mesh_cidr grown": mesh(mesh_cidr=LARGE),
    "mesh_cidr shrunk": mesh(mesh_cidr=SMALL),
    "forwarding": says("alpha", forwarding=True),
    "masquerading": says("alpha", nat_iface="eth0"),
    "preshared key": preshared_key,
    "another key": another_key,
    "full mesh to star": mesh(topology="star", hubs=["alpha"]),
    "star to full mesh": mesh(topology=None, hubs=None),
    "node removed": guest(there=False),
}
