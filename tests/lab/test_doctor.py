"""`wgmesh doctor` on machines with real trouble: it is found, and told with its fix."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.bytewise import whole
from tests.lab.conftest import WorldFactory
from tests.lab.installed import by_nobody
from tests.lab.machine import Machine
from tests.lab.mesh import Mesh
from tests.lab.wait import wait_until

# of the machine under the laboratory, and not of what is tested: its clock, its MTU, its systemd
SURROUNDINGS = {"clock", "mtu", "units", "wireguard"}
TAKER = """
import socket, sys
taken = socket.socket(type=socket.SOCK_DGRAM)
taken.bind(("0.0.0.0", 51820))
print(1, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def mesh(module_world_factory: WorldFactory) -> Mesh:
    """Two nodes that have nothing left to do, and charlie, who has not joined."""
    made = Mesh(module_world_factory(["alpha", "bravo", "charlie"]))
    made.bring_up("alpha", "bravo")
    return made


@pytest.fixture
def alpha(mesh: Mesh) -> Machine:
    """Return a node of the mesh."""
    return mesh.world["alpha"]


@pytest.fixture
def charlie(mesh: Mesh) -> Machine:
    """Return a machine that has not joined."""
    return mesh.world["charlie"]


def findings(machine: Machine) -> dict[str, dict[str, Any]]:
    """Return what doctor finds by check, the laboratory's own troubles left out.

    Its exit code is 1 exactly when one of all is an error.
    """
    done = machine.wgmesh("doctor", "--json", check=False)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done
    shown = json.loads(done.stdout)
    errors = [each for each in shown["findings"] if each["level"] == "error"]
    assert (done.returncode == 1, not shown["ok"]) == (bool(errors), bool(errors))
    assert all(each["fix"] for each in shown["findings"] if each["level"] != "note")
    return {each["check"]: each for each in shown["findings"] if each["check"] not in SURROUNDINGS}


@contextmanager
def trouble(machine: Machine, make: str, undo: str) -> Iterator[None]:
    """Make trouble with one shell command, and undo it with another."""
    machine.run(["sh", "-c", make])
    try:
        yield
    finally:
        machine.run(["sh", "-c", undo])


def test_a_healthy_node(mesh: Mesh, alpha: Machine) -> None:
    before = whole(alpha, but=())
    assert findings(alpha) == {}
    assert whole(alpha, but=()) == before, "it changes nothing"
    done = alpha.wgmesh("doctor")
    assert done.returncode == 0
    assert done.stdout.endswith("warnings\n") or "nothing wrong" in done.stdout


def test_before_joining(charlie: Machine) -> None:
    found = findings(charlie)
    assert set(found) == {"enrolment"}
    assert "has not joined" in found["enrolment"]["message"]


def test_after_leaving(mesh: Mesh, alpha: Machine) -> None:
    alpha.wgmesh("leave")
    try:
        found = findings(alpha)
        assert set(found) == {"enrolment"}, "its port and its routes are its own"
        assert "has left its mesh and keeps wg0" in found["enrolment"]["message"]
        said = by_nobody(alpha, "doctor").stdout
        assert "not run as root" in said
        assert "51820" not in said and "protocol 101" not in said
    finally:
        mesh.join("alpha")
        alpha.wgmesh("sync")
    assert findings(alpha) == {}


def test_a_taken_port_before_joining(charlie: Machine) -> None:
    with taken_port(charlie):
        assert "python" in findings(charlie)["port"]["message"]


@contextmanager
def taken_port(machine: Machine) -> Iterator[None]:
    child = machine.popen(["python3", "-c", TAKER], stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "1\n"
    try:
        yield
    finally:
        child.communicate("")


def test_a_taken_port(mesh: Mesh, alpha: Machine) -> None:
    """The interface is down, and another program has the port when it is to come up again."""
    alpha.run(["ip", "link", "del", "wg0"])
    with taken_port(alpha):
        found = findings(alpha)
        assert found["interface"]["level"] == "error"
        assert found["port"]["level"] == "error"
        assert "51820 of wg0 is taken by python" in found["port"]["message"]
        assert alpha.wgmesh("reconcile", check=False).returncode == 1
    alpha.wgmesh("reconcile")
    assert findings(alpha) == {}


def test_a_port_that_another_wireguard_has(mesh: Mesh, alpha: Machine) -> None:
    alpha.run(["ip", "link", "del", "wg0"])
    make = "wireguard-go wg9 && wg set wg9 listen-port 51820 && ip link set wg9 up"
    with trouble(alpha, make, "ip link del wg9"):
        wait_until(lambda: "port" in findings(alpha), 10, "wg9 has the port")
        assert "taken by wg9" in findings(alpha)["port"]["message"]
    wait_until(lambda: "port" not in findings(alpha), 10, "wg9 is gone")
    alpha.wgmesh("reconcile")


def test_rp_filter(mesh: Mesh, alpha: Machine) -> None:
    sysctl = "sysctl -qw net.ipv4.conf.wg0.rp_filter"
    with trouble(alpha, f"{sysctl}=1", f"{sysctl}=0"):
        found = findings(alpha)
        assert set(found) == {"rp_filter"}
        assert found["rp_filter"]["level"] == "warning"
        assert mesh.pings("alpha", "bravo"), "a plain mesh lives with it"


def test_the_fix_of_rp_filter_holds(alpha: Machine) -> None:
    """Where /etc/sysctl.conf sets it: now, at boot, and told which file to change besides."""
    make = (
        "cp -a /etc/sysctl.d /run/d; echo net.ipv4.conf.all.rp_filter=1 >/etc/sysctl.conf;"
        " ln -sf ../sysctl.conf /etc/sysctl.d/99-sysctl.conf; sysctl -qp /etc/sysctl.conf"
    )
    undo = (
        "rm -r /etc/sysctl.d /etc/sysctl.conf; mv /run/d /etc/sysctl.d;"
        " sysctl -qw net.ipv4.conf.all.rp_filter=0"
    )
    with trouble(alpha, make, undo):
        command, other = findings(alpha)["rp_filter"]["fix"].split("; ")
        assert "/etc/sysctl.conf sets" in other
        alpha.run(["sh", "-c", command])
        assert findings(alpha) == {}
        alpha.run(["sysctl", "-qp", "/etc/sysctl.conf"])
        # what systemd-sysctl.service does at boot, where there is systemd
        boot = "cat $(ls /etc/sysctl.d/*.conf | LC_ALL=C sort) | grep rp_filter | sysctl -qp -"
        alpha.run(["sh", "-c", boot])
        assert findings(alpha) == {}
    assert findings(alpha) == {}


def test_a_route_that_leads_astray(mesh: Mesh, alpha: Machine) -> None:
    """With a strict filter not even bravo's packets get in; the fix is what the finding says."""
    bravo = mesh.address("bravo")
    nowhere = mesh.world["charlie"].ipv4
    with trouble(alpha, f"ip route add {bravo}/32 via {nowhere}", f"ip route del {bravo}/32"):
        found = findings(alpha)
        assert set(found) == {"ways"}
        assert f"bravo ({bravo}) leave by eth0" in found["ways"]["message"]
        assert not mesh.pings("alpha", "bravo")
        alpha.run(["sysctl", "-qw", "net.ipv4.conf.wg0.rp_filter=1"])
        assert findings(alpha)["rp_filter"]["level"] == "error"
        alpha.run(["sysctl", "-qw", "net.ipv4.conf.wg0.rp_filter=0"])
    assert mesh.pings("alpha", "bravo")
    assert findings(alpha) == {}


def test_another_vpns_table(mesh: Mesh, alpha: Machine) -> None:
    """As Tailscale does with accepted routes: a rule before main, to a table of its own."""
    route = f"10.40.0.0/24 via {mesh.world['charlie'].ipv4} table 52"
    make = f"ip route add {route} && ip rule add priority 5270 table 52"
    with trouble(alpha, make, "ip rule del priority 5270; ip route flush table 52"):
        found = findings(alpha)["ways"]
        assert found["level"] == "error"
        assert "eth0, table 52" in found["message"]
        assert not mesh.pings("alpha", "bravo")


@pytest.mark.parametrize("version", [4, 6])
def test_a_rule_with_our_mark(alpha: Machine, version: int) -> None:
    rule = "priority 900 fwmark 0x1/0xff table 77"
    with trouble(alpha, f"ip -{version} rule add {rule}", f"ip -{version} rule del priority 900"):
        found = findings(alpha)
        assert set(found) == {"marks"}
        assert f"IPv{version} 900" in found["marks"]["message"]
        assert "0x101" in found["marks"]["message"]
    harmless = "priority 900 fwmark 0x80000/0xff0000 table 52"
    with trouble(alpha, f"ip rule add {harmless}", "ip rule del priority 900"):
        assert findings(alpha) == {}


def test_table_101_is_occupied(alpha: Machine) -> None:
    make = "ip route add 203.0.113.0/24 dev eth0 table 101"
    with trouble(alpha, make, "ip route flush table 101"):
        found = findings(alpha)
        assert set(found) == {"tables"}
        assert "203.0.113.0/24 dev eth0" in found["tables"]["message"]


def test_a_packet_filter_that_drops(mesh: Mesh, alpha: Machine) -> None:
    make = (
        "nft 'add table ip filter; add chain ip filter INPUT"
        " { type filter hook input priority 0; policy drop; };"
        " add rule ip filter INPUT ct state established accept'"
    )
    with trouble(alpha, make, "nft delete table ip filter"):
        found = findings(alpha)
        assert set(found) == {"incoming"}
        assert found["incoming"]["level"] == "warning"
        alpha.run(["nft", "insert rule ip filter INPUT iifname wg0 accept"])
        assert "51820" in findings(alpha)["incoming"]["message"]
        alpha.run(["nft", "insert rule ip filter INPUT udp dport 51820 accept"])
        assert findings(alpha) == {}


def test_a_filter_in_the_way_of_a_node_that_forwards(mesh: Mesh, alpha: Machine) -> None:
    path = mesh.author.tree / "nodes" / "alpha.toml"
    before = path.read_text()
    mesh.commit({"nodes/alpha.toml": before + "forwarding = true\n"}, "Forward")
    alpha.wgmesh("sync")
    make = "iptables -P FORWARD DROP"
    with trouble(alpha, make, "iptables -P FORWARD ACCEPT; nft delete table ip filter"):
        found = findings(alpha)
        assert found["forward"]["level"] == "error"
        for command in found["forward"]["fix"].split(" && "):
            alpha.run(["sh", "-c", command])
        assert findings(alpha) == {}, "the fix is one"
    mesh.commit({"nodes/alpha.toml": before}, "Back")
    alpha.wgmesh("sync")


def test_files_of_boot_and_key(alpha: Machine) -> None:
    key = "/etc/wireguard/wg0.key"
    with trouble(alpha, f"chmod 0644 {key}", f"chmod 0600 {key}"):
        assert "mode 0644" in findings(alpha)["keys"]["message"]
    with trouble(alpha, f"mv {key} {key}.away", f"mv {key}.away {key}"):
        assert "missing" in findings(alpha)["keys"]["message"]
    with trouble(alpha, f"cp {key} /run/k; wg genkey >{key}", f"cat /run/k >{key}; rm /run/k"):
        assert "not the one of the running" in findings(alpha)["keys"]["message"]
    conf = "/etc/wireguard/wg0.conf"
    link = alpha.run(["readlink", conf]).stdout.strip()
    with trouble(alpha, f"ln -sf /etc/hosts {conf}", f"ln -sfn {link} {conf}"):
        assert "points to /etc/hosts" in findings(alpha)["boot"]["message"]
    boot = "/etc/wireguard/wgmesh.d/boot"
    with trouble(alpha, f"mv {boot} {boot}.away", f"mv {boot}.away {boot}"):
        assert "leads to no generation" in findings(alpha)["boot"]["message"]
    assert findings(alpha) == {}


def test_policy_that_cannot_be_read(alpha: Machine) -> None:
    policy = "/etc/wgmesh/wgmesh.toml"
    with trouble(alpha, f"echo 'drift = 5' >{policy}", f"rm {policy}"):
        assert "drift" in findings(alpha)["enrolment"]["message"]
    with trouble(alpha, f"echo 'notify = \"/no/such\"' >{policy}", f"rm {policy}"):
        assert "/no/such" in findings(alpha)["files"]["message"]


def test_no_remote_answers(mesh: Mesh, alpha: Machine) -> None:
    mesh.world.forge.stop()
    try:
        found = findings(alpha)["remotes"]
    finally:
        mesh.world.forge.start()
    assert found["level"] == "error"
    assert mesh.url in found["message"]


def test_names_that_nobody_knows(mesh: Mesh, alpha: Machine) -> None:
    path = mesh.author.tree / "nodes" / "bravo.toml"
    before = path.read_text()
    named = before.replace(mesh.world["bravo"].ipv4, "bravo.example.net")
    assert named != before
    mesh.commit({"nodes/bravo.toml": named}, "By name")
    alpha.wgmesh("sync")
    assert findings(alpha) == {}
    with trouble(alpha, "cp /etc/hosts /run/h; : >/etc/hosts", "cp /run/h /etc/hosts"):
        assert "bravo.example.net" in findings(alpha)["names"]["message"]
    mesh.commit({"nodes/bravo.toml": before}, "Back")
    alpha.wgmesh("sync")


def test_a_clock_that_was_set_back(alpha: Machine) -> None:
    """The commit that runs is from the future, as this node's record of it says."""
    tips = "/var/lib/wgmesh/tips.toml"
    later = f"cp {tips} /run/t; sed -i '0,/^time = .*/s//time = 4000000000/' {tips}"
    with trouble(alpha, later, f"cp /run/t {tips}"):
        done = alpha.wgmesh("doctor", check=False)
        assert done.returncode == 1
        assert "behind the commit" in done.stdout


def test_without_root(alpha: Machine) -> None:
    done = by_nobody(alpha, "doctor", "--json")
    shown = json.loads(done.stdout)
    assert done.returncode == 0, done
    said = [each["message"] for each in shown["findings"]]
    assert any("not run as root" in each for each in said)


def test_a_machine_with_a_link_of_that_name(mesh: Mesh, alpha: Machine) -> None:
    alpha.run(["ip", "link", "del", "wg0"])
    with trouble(alpha, "ip link add wg0 type bridge", "ip link del wg0"):
        done = alpha.wgmesh("doctor", check=False)
        assert done.returncode == 1
        assert "no WireGuard interface that answers" in done.stdout
    alpha.wgmesh("reconcile")
    assert findings(alpha) == {}
