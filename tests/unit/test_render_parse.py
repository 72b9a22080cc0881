"""Files read back: exactly the plan, or a WgmeshError."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mesh_inventories import inventories, plans
from tests.unit.test_render_files import example
from wgmesh.errors import WgmeshError
from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory
from wgmesh.model.plan import NodePlan
from wgmesh.render import files, parse


def text(plan: NodePlan) -> str | None:
    """Return what the equality of plans leaves out."""
    return None if plan.firewall is None else plan.firewall.text


@given(inventories(), st.booleans())
def test_the_files_of_an_inventory_read_back_to_the_plan(mesh: Inventory, allow: bool) -> None:
    for own in mesh.nodes:
        made = plan(mesh, own.name, allow_hooks=allow)
        read = parse(files(made))
        assert read == made
        assert text(read) == text(made)


@given(plans())
def test_the_files_of_any_plan_read_back_to_it(made: NodePlan) -> None:
    read = parse(files(made))
    assert read == made
    assert text(read) == text(made)


def outcome(changed: Mapping[str, bytes]) -> None:
    """Require that `changed` is refused, or is exactly what its plan renders to."""
    try:
        read = parse(changed)
    except WgmeshError as error:
        assert "\n" not in error.message
        return
    assert files(read) == changed


@given(plans(), st.data())
def test_a_changed_byte_is_another_plan_or_an_error(made: NodePlan, data: st.DataObject) -> None:
    whole = files(made)
    name = data.draw(st.sampled_from(sorted(whole)))
    content = whole[name]
    start = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, 8))
    instead = data.draw(
        st.binary(max_size=8) | st.sampled_from([b"\n", b" ", b"0", b"\n\n[Peer]\n"])
    )
    outcome(whole | {name: content[:start] + instead + content[start + length :]})


@given(plans(), st.data())
def test_lines_moved_repeated_or_lost_are_another_plan_or_an_error(
    made: NodePlan, data: st.DataObject
) -> None:
    whole = files(made)
    name = data.draw(st.sampled_from(sorted(whole)))
    lines = whole[name].split(b"\n")
    one = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(st.integers(0, len(lines) - 1))
    moved = list(lines)
    match data.draw(st.sampled_from(["swap", "repeat", "drop", "cut"])):
        case "swap":
            moved[one], moved[other] = moved[other], moved[one]
        case "repeat":
            moved.insert(other, lines[one])
        case "drop":
            del moved[one]
        case _:
            del moved[one:]
    outcome(whole | {name: b"\n".join(moved)})


@given(st.dictionaries(st.sampled_from(["wg0.conf", *files(example())]), st.binary(), max_size=4))
def test_rubbish_is_refused(rubbish: dict[str, bytes]) -> None:
    with pytest.raises(WgmeshError):
        parse(rubbish)


@pytest.mark.parametrize("name", sorted(files(example())))
def test_a_file_that_is_missing_or_empty_is_refused(name: str) -> None:
    whole = files(example())
    with pytest.raises(WgmeshError):
        parse({other: whole[other] for other in whole if other != name})
    with pytest.raises(WgmeshError):
        parse(whole | {name: b""})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ListenPort = 51821", "ListenPort = 051821"),
        ("ListenPort = 51821", "ListenPort = 65536"),
        ("ListenPort = 51821", "ListenPort = " + "9" * 5000),
        ("MTU = 1420", "MTU = \u0661420"),
        ("FwMark = 0x102", "FwMark = 0x0"),
        ("FwMark = 0x102", "FwMark = 0X102"),
        ("Table = off", "Table = auto"),
        ("Table = off\n", ""),
        ("wg set %i", "reboot; wg set %i"),
        ("wg0.key peer", "other.key peer-x"),
        ("# Route = 10.40.0.0/24", "# Route = 10.40.0.1/24"),
        ("# Route = 10.40.0.0/24", "# Route = 10.40.0.0/24 table 254"),
        ("# Route = 10.40.0.0/24", "# Route = 10.40.0.0/24 metric 0"),
        ("# Route = 10.40.0.0/24", "# Route = 10.40.0.0/24 via 10.0.0.1"),
        ("lookup 254 ", ""),
        ("-4 priority", "-5 priority"),
        ("iif lo", "iif"),
        ("# Managed = false", "# Managed = true"),
        ("AllowedIPs = 10.40.0.2/32,", "AllowedIPs = 10.40.0.2/32,,"),
        ("fd40::1/128", "fd40:0::1/128"),
        ("[2001:db8::3]:1", "192.0.2.9:1"),
        ("# Endpoint = delta.example.com:2", "Endpoint = delta.example.com:2"),
        ("PersistentKeepalive = 21", "PersistentKeepalive = 0"),
        ("# PresharedKeyPath = /etc/wireguard/psk/bravo\n", ""),
    ],
)
def test_a_line_that_is_not_what_wgmesh_writes_is_refused_with_its_place(
    old: str, new: str
) -> None:
    whole = files(example())
    changed = whole["wg0.conf"].decode().replace(old, new, 1).encode()
    assert changed != whole["wg0.conf"]
    with pytest.raises(WgmeshError, match=r"wg0\.conf:\d+: "):
        parse(whole | {"wg0.conf": changed})


def test_a_peer_known_to_one_file_only_is_refused() -> None:
    whole = files(example())
    fewer = files(replace(example(), peers=example().peers[:1]))
    with pytest.raises(WgmeshError, match="knows a peer more: charlie"):
        parse(whole | {"wg0.conf": fewer["wg0.conf"]})
    with pytest.raises(WgmeshError):
        parse(whole | {"wg-failover.conf": fewer["wg-failover.conf"]})
