"""The live snapshot: there and back, damaged, and never telling its secrets."""

import json
import stat
import traceback
from collections.abc import Callable
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh import snapshot
from wgmesh.errors import WgmeshError
from wgmesh.model.change import DeviceSet, PeerSet
from wgmesh.model.kernel import KernelState, LinkState, Observed, PeerState
from wgmesh.model.plan import Accept, Firewall, Route, RouteKind, Rule, RuleAction
from wgmesh.model.terms import Endpoint, Interface, Prefix, Secret
from wgmesh.snapshot import Snapshot, from_bytes, to_bytes

PRIVATE = "cHJpdmF0ZSBrZXkgb2YgdGhpcyBub2RlLCBzaG93IG5v="
PSK = "cHJlc2hhcmVkIGtleSBvZiB0d28gbm9kZXMsIGhpZGRlbi="

text = st.text(max_size=12)
number = st.integers(0, 2**32 - 1)


def networks() -> st.SearchStrategy[Prefix]:
    four: st.SearchStrategy[Prefix] = st.builds(
        lambda address, length: IPv4Network((address, length), strict=False),
        st.integers(0, 2**32 - 1).map(IPv4Address),
        st.integers(0, 32),
    )
    six: st.SearchStrategy[Prefix] = st.builds(
        lambda address, length: IPv6Network((address, length), strict=False),
        st.integers(0, 2**128 - 1).map(IPv6Address),
        st.integers(0, 128),
    )
    return four | six


def interfaces() -> st.SearchStrategy[Interface]:
    four: st.SearchStrategy[Interface] = st.tuples(
        st.integers(0, 2**32 - 1), st.integers(0, 32)
    ).map(IPv4Interface)
    six: st.SearchStrategy[Interface] = st.tuples(
        st.integers(0, 2**128 - 1), st.integers(0, 128)
    ).map(IPv6Interface)
    return four | six


secrets = st.text("abcABC123+/=", min_size=1, max_size=44).map(Secret)
endpoints = st.builds(
    Endpoint, st.sampled_from(["192.0.2.1", "2001:db8::1", "a.example.com"]), st.integers(1, 65535)
)
peers = st.builds(
    PeerState,
    public_key=text,
    allowed_ips=st.frozensets(networks(), max_size=4),
    persistent_keepalive=st.integers(0, 65535),
    preshared_key=st.none() | secrets,
    endpoint=st.none() | endpoints,
)
links = st.builds(
    LinkState,
    name=text,
    up=st.booleans(),
    mtu=number,
    private_key=st.none() | secrets,
    listen_port=st.integers(0, 65535),
    fwmark=number,
    addresses=st.frozensets(interfaces(), max_size=3),
    peers=st.lists(peers, max_size=4).map(lambda found: {peer.public_key: peer for peer in found}),
)
routes = st.builds(
    Route,
    prefix=networks(),
    device=st.none() | text,
    table=number,
    metric=number,
    kind=st.sampled_from(RouteKind),
    protocol=st.integers(0, 255),
)
rules = st.builds(
    Rule,
    family=st.sampled_from([4, 6]),
    priority=number,
    action=st.sampled_from(RuleAction),
    target=st.none() | number,
    fwmark=st.none() | number,
    fwmask=st.none() | number,
    iif=st.none() | text,
    source=st.none() | networks(),
    destination=st.none() | networks(),
    suppress_prefixlength=st.none() | st.integers(0, 128),
)
firewalls = st.builds(
    Firewall,
    tags=st.lists(st.tuples(text, st.lists(text, max_size=3).map(tuple)), max_size=3).map(tuple),
    text=text,
)
states = st.builds(
    KernelState,
    link=st.none() | links,
    routes=st.frozensets(routes, max_size=4),
    rules=st.frozensets(rules, max_size=4),
    firewall=st.none() | firewalls,
    sysctls=st.dictionaries(text, text, max_size=3),
    accepts=st.frozensets(st.builds(Accept), max_size=2),
)
snapshots = st.builds(
    Snapshot,
    state=states,
    moved=st.frozensets(text, max_size=3),
    undo_hooks=st.lists(text, max_size=3).map(tuple),
)

FULL = Snapshot(
    KernelState(
        link=LinkState(
            name="wg0",
            up=True,
            mtu=1420,
            private_key=Secret(PRIVATE),
            listen_port=51820,
            fwmark=0x1234,
            addresses=frozenset({ip_interface("10.40.0.1/32"), ip_interface("fd40::1/128")}),
            peers={
                "bravo": PeerState(
                    "bravo",
                    frozenset({ip_network("10.40.0.2/32"), ip_network("fd40::2/128")}),
                    25,
                    Secret(PSK),
                    Endpoint("2001:db8::1", 51820),
                ),
                "charlie": PeerState("charlie", frozenset()),
            },
        ),
        routes=frozenset(
            {
                Route(ip_network("10.40.0.0/24"), "wg0"),
                Route(ip_network("::/0"), None, 51820, 5, RouteKind.UNREACHABLE, 4),
            }
        ),
        rules=frozenset({Rule(4, 5000, RuleAction.LOOKUP, 51820, 1, 255, "lo")}),
        firewall=Firewall((("forward", ("accept-1",)),), "table inet wgmesh { }"),
        sysctls={"net.ipv4.ip_forward": "0"},
        accepts=frozenset({Accept(4, "FORWARD", "wg0", None, True)}),
    ),
    frozenset({"bravo"}),
    ("ip rule del x", "true"),
)


@given(snapshots)
def test_there_and_back(value: Snapshot) -> None:
    again = from_bytes(to_bytes(value))
    assert again == value
    if value.state.firewall is not None:  # equality leaves the text out, the kernel does not
        assert again.state.firewall is not None
        assert again.state.firewall.text == value.state.firewall.text
    if value.state.link is not None:
        assert again.state.link is not None
        key = again.state.link.private_key
        assert key is None or isinstance(key, Secret)
        for peer in again.state.link.peers.values():
            assert peer.preshared_key is None or isinstance(peer.preshared_key, Secret)


def test_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "run" / "snapshot.json"
    assert snapshot.read(path) is None
    snapshot.write(path, FULL)
    assert snapshot.read(path) == FULL
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    snapshot.write(path, Snapshot(KernelState(None)))
    assert snapshot.read(path) == Snapshot(KernelState(None))
    assert [one.name for one in path.parent.iterdir()] == ["snapshot.json"]


def refused(data: bytes) -> WgmeshError | None:
    """Return the refusal of `data`, None when it reads as a snapshot; nothing else may come out."""
    try:
        from_bytes(data)
    except WgmeshError as error:
        return error
    return None


def test_cut_short_at_every_byte() -> None:
    whole = to_bytes(FULL)
    for length in range(len(whole)):
        assert refused(whole[:length]) is not None, length


@given(st.data())
def test_flipped_bits_are_no_traceback(data: st.DataObject) -> None:
    whole = bytearray(to_bytes(FULL))
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(whole) - 1))
        whole[index] ^= 1 << data.draw(st.integers(0, 7))
    error = refused(bytes(whole))
    if error is not None:
        shown = "".join(traceback.format_exception(error)) + repr(error) + error.hint
        assert PRIVATE not in shown
        assert PSK not in shown


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    assert refused(data) is not None


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)


def _places(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - any JSON
    """Return every (container, key) inside a JSON value."""
    pairs: list[tuple[Any, Any]] = []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        pairs.append((value, key))
        pairs += _places(inner)
    return pairs


@given(st.data())
def test_wrong_types_anywhere_are_no_traceback(data: st.DataObject) -> None:
    value = json.loads(to_bytes(FULL))
    container, key = data.draw(st.sampled_from(_places(value)))
    container[key] = data.draw(json_values)
    refused(json.dumps(value).encode())


def test_a_port_without_end_is_refused() -> None:
    value = json.loads(to_bytes(FULL))
    value["link"]["peers"][0]["endpoint"] = ["192.0.2.1", float("inf")]
    assert refused(json.dumps(value).encode()) is not None


@given(st.data())
def test_a_missing_part_is_refused(data: st.DataObject) -> None:
    value = json.loads(to_bytes(FULL))
    inside = [(box, key) for box, key in _places(value) if isinstance(box, dict)]
    # a route's or a rule's absent part has a default, and a sysctl is one of many
    counted = [
        (box, key) for box, key in inside if "protocol" not in box and box is not value["sysctls"]
    ]
    box, key = data.draw(
        st.sampled_from([(b, k) for b, k in counted if "suppress_prefixlength" not in b])
    )
    del box[key]
    assert refused(json.dumps(value).encode()) is not None


SHOWN: list[Callable[[object], str]] = [
    repr,
    str,
    ascii,
    lambda value: f"{value}",
    lambda value: f"{value!r}",
    lambda value: f"{value!s:>60}",
    lambda value: "%s %r" % (value, value),  # noqa: UP031 - what logging does
    lambda value: "{0} {0!r}".format(value),  # noqa: UP032
    lambda value: str([value]) + str({"a": value}),
    lambda value: "".join(traceback.format_exception(WgmeshError(f"bad {value}", str(value)))),
]


@pytest.mark.parametrize("show", SHOWN)
@pytest.mark.parametrize(
    "value",
    [
        Secret(PRIVATE),
        FULL,
        FULL.state,
        FULL.state.link,
        Observed(FULL.state),
        DeviceSet("wg0", private_key=Secret(PRIVATE)),
        PeerSet("wg0", PeerState("k", frozenset(), preshared_key=Secret(PSK))),
        replace(FULL, moved=frozenset()),
        WgmeshError(f"{Secret(PRIVATE)}", f"{Secret(PSK)!r}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_secrets_are_never_shown(show: Callable[[object], str], value: object) -> None:
    shown = show(value)
    assert PRIVATE not in shown
    assert PSK not in shown


def test_only_reveal_tells() -> None:
    assert Secret(PRIVATE).reveal() == PRIVATE
    assert type(Secret(PRIVATE).reveal()) is str
    assert Secret(PRIVATE) == Secret(PRIVATE)
    assert Secret(PRIVATE) != Secret(PSK)
    assert format(Secret(PRIVATE), ">60") == "***"
