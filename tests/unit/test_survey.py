"""What other programs print, as the survey of a machine reads it."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wgmesh.doctor.facts import FileSeen, Listener, RuleSeen, Unit
from wgmesh.survey import host, network


def test_rules_as_ip_prints_them() -> None:
    printed = """[{"priority":0,"src":"all","table":"255","protocol":"2"},
    {"priority":5210,"src":"all","fwmark":"0x80000","fwmask":"0xff0000","table":"254",
     "protocol":"0"},
    {"priority":32765,"not":null,"src":"all","fwmark":"0xca6c","table":"51820","protocol":"3"},
    {"priority":99,"src":"all","goto":"200","protocol":"101"}]"""
    assert [network.rule(4, entry) for entry in network.entries(printed)] == [
        RuleSeen(4, 0, 2, 255),
        RuleSeen(4, 5210, 0, 254, 0x80000, 0xFF0000),
        RuleSeen(4, 32765, 3, 51820, 0xCA6C, 0xFFFFFFFF, True),
        RuleSeen(4, 99, 101, None),
    ]


@pytest.mark.parametrize(
    ("printed", "count"),
    [("", 0), ("[", 0), ('[{"dst":"default"}]\n[', 1), ('[{}]\n\n[{"a":1},{"b":2}]\n', 2)],
)
def test_an_array_that_ip_left_open(printed: str, count: int) -> None:
    assert len(list(network.entries(printed))) == count


@given(st.text(max_size=60))
@example("]0")
def test_any_text_in_the_place_of_json(printed: str) -> None:
    assert all(isinstance(entry, dict) for entry in network.entries(f"[{printed}]"))


@pytest.mark.parametrize(
    ("line", "listener"),
    [
        (
            'UNCONN 0 0 0.0.0.0:51820 0.0.0.0:* users:(("dnsmasq",pid=7,fd=4))',
            Listener(51820, "dnsmasq"),
        ),
        ("UNCONN 0 0 [::]:51820 [::]:*", Listener(51820, "")),
        ("UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:*", Listener(53, "")),
        ("", None),
        ("UNCONN 0 0 *:* *:*", None),
    ],
)
def test_listeners(line: str, listener: Listener | None) -> None:
    assert network.listener(line) == listener


def test_units_as_systemctl_shows_them() -> None:
    printed = """\
Id=wgmesh-sync.timer
LoadState=loaded
UnitFileState=enabled
ActiveState=active
Result=success
FragmentPath=/usr/lib/systemd/system/wgmesh-sync.timer

Id=wg-quick@wg0.service
LoadState=not-found
UnitFileState=
ActiveState=inactive
Result=success
"""
    assert dict(host.shown(printed)) == {
        "wgmesh-sync.timer": Unit(
            "loaded", "enabled", "active", path="/usr/lib/systemd/system/wgmesh-sync.timer"
        ),
        "wg-quick@wg0.service": Unit("not-found", "disabled", "inactive"),
    }
    assert dict(host.shown("")) == {}


def test_files_that_make_rp_filter_strict(tmp_path: Path) -> None:
    etc, lib = tmp_path / "etc", tmp_path / "lib"
    etc.mkdir()
    lib.mkdir()
    sysctl = tmp_path / "sysctl.conf"
    sysctl.write_text("# by hand\n -net/ipv4/conf/eth0/rp_filter = 1 \n")
    (etc / "99-sysctl.conf").symlink_to("../sysctl.conf")
    (etc / "10-loose.conf").write_text("net.ipv4.conf.all.rp_filter=2\n")
    (etc / "20-said.conf").write_text("#net.ipv4.conf.all.rp_filter=1\n")
    (etc / "30-own.conf").write_text("\n")
    (etc / "binary.conf").write_bytes(b"\xff\nnet.ipv4.conf.default.rp_filter=1\n")
    (lib / "30-own.conf").write_text("net.ipv4.conf.*.rp_filter=1\n")
    (lib / "50-default.conf").write_text("net.ipv4.conf.*.rp_filter=1\n")
    found = network.strict_files((etc, lib, tmp_path / "none"), (sysctl, tmp_path / "gone.conf"))
    shown = [path.relative_to(tmp_path.resolve()) for path in map(Path, found)]
    assert shown == [Path("etc/binary.conf"), Path("lib/50-default.conf"), Path("sysctl.conf")]


@pytest.mark.parametrize(
    ("sandbox", "tun"),
    [
        ("PrivateDevices=no\nDevicePolicy=auto\n", True),
        ("PrivateDevices=yes\nDevicePolicy=closed\n", False),
        ("PrivateDevices=no\nDevicePolicy=closed\n", False),
        ("PrivateDevices=no\nDevicePolicy=closed\nDeviceAllow=/dev/net/tun rw\n", True),
        ("PrivateDevices=yes\nDevicePolicy=auto\nDeviceAllow=/dev/net/tun rw\n", False),
        (
            "PrivateDevices=yes\nBindPaths=/dev/net/tun:/dev/net/tun:rbind\nDevicePolicy=closed\n"
            "DeviceAllow=char-rtc r\nDeviceAllow=/dev/net/tun rw\n",
            True,
        ),
    ],
)
def test_whether_a_unit_may_open_the_tunnel_device(sandbox: str, tun: bool) -> None:
    printed = f"Id=wgmesh-sync.service\nLoadState=loaded\n{sandbox}"
    assert dict(host.shown(printed))["wgmesh-sync.service"].tun is tun


@pytest.mark.parametrize(
    ("configuration", "kept"),
    [
        ("", (False, False)),
        ("[Network]\nManageForeignRoutes=no\n", (True, False)),
        ("[Network]\nManageForeignRoutingPolicyRules = false\n", (False, True)),
        ("[DHCPv4]\nManageForeignRoutes=no\n", (False, False)),
        ("[Network]\n#ManageForeignRoutes=no\n", (False, False)),
        ("[Network]\nManageForeignRoutes=no\n# /etc/x\nManageForeignRoutes=yes\n", (False, False)),
        ("ManageForeignRoutes=no\n", (False, False)),
    ],
)
def test_networkd(configuration: str, kept: tuple[bool, bool]) -> None:
    assert host.keeps(configuration) == kept


def test_apparmor_profiles() -> None:
    listing = "wg-quick (complain)\nwg (enforce)\nwg-quick//null (enforce)\n/usr/bin/wg (enforce)\n"
    assert host.profiles(listing) == {"wg": "enforce", "wg-quick": "complain"}


def test_versions_of_what_is_here() -> None:
    found = host.versions(ssh=False)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["git"], "the tests run git"
    assert set(host.LIBRARIES) < found.keys()


def test_files(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("x")
    key.chmod(0o640)
    ids = os.getuid(), key.stat().st_gid
    assert host.file("private key", key) == FileSeen("private key", str(key), True, 0o640, *ids)
    assert host.file("private key", tmp_path).regular is False
    assert host.file("private key", tmp_path / "none").exists is False


def test_disks_that_are_not_made_yet(tmp_path: Path) -> None:
    here, there = host.disks((tmp_path, tmp_path / "a" / "b"))
    assert there.path == str(tmp_path / "a" / "b")
    assert here.free_bytes > 0
    assert not there.read_only
