"""`wgmesh import`: what wg-quick files say of a mesh, and nothing secret."""

import base64
import re
import time
import tomllib
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.agent.keypairs import public_half
from wgmesh.cli.main import main
from wgmesh.errors import InventoryError
from wgmesh.inventory import load
from wgmesh.inventory.adoption import adopt
from wgmesh.inventory.foreign import read
from wgmesh.mesh.plan import plan
from wgmesh.model.inventory import Inventory
from wgmesh.model.terms import Secret, Topology
from wgmesh.render.portable import Writer

Import = Callable[..., tuple[int, str, str]]

PSK = base64.b64encode(b"p" * 32).decode()


def private(name: str) -> str:
    """Return the private key of a node, clamped."""
    raw = bytearray(sha256(f"private {name}".encode()).digest())
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64
    return base64.b64encode(raw).decode()


def public(name: str) -> str:
    return public_half(private(name))


def interface(name: str, address: str, extra: str = "") -> str:
    return f"[Interface]\nPrivateKey = {private(name)}\nAddress = {address}\n{extra}"


def peer(name: str, allowed: str, extra: str = "") -> str:
    return f"\n[Peer]\n# {name}\nPublicKey = {public(name)}\nAllowedIPs = {allowed}\n{extra}"


@pytest.fixture
def imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Import:
    """Write files, import them in their order; returns exit code, the inventory, remarks."""
    monkeypatch.chdir(tmp_path)

    def typed(**files: str) -> tuple[int, str, str]:
        for name, text in files.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "wg0.conf").write_text(text)
        code = main(["import", *(f"{name}/wg0.conf" for name in files)])
        shown = capsys.readouterr()
        for secret in (PSK, *(private(name) for name in files)):
            assert secret not in shown.out + shown.err
        return code, shown.out, shown.err

    return typed


def inventory(text: str) -> Inventory:
    return load({"mesh.toml": text.encode()})


ALPHA = interface("alpha", "10.40.0.1/24", "ListenPort = 51820\nMTU = 1380\n")
BRAVO = interface("bravo", "10.40.0.2/24", "ListenPort = 51821\nDNS = 1.1.1.1, lan\n")


def test_a_full_mesh_of_two(imported: Import) -> None:
    code, text, remarks = imported(
        alpha=ALPHA
        + peer("bravo", "10.40.0.2/32, 192.168.7.0/24", "Endpoint = b.example.com:51821\n"),
        bravo=BRAVO
        + peer("alpha", "10.40.0.1/32", "Endpoint=[2001:db8::1]:51820\nPersistentKeepalive=20\n"),
    )
    assert (code, remarks) == (0, "")
    assert tomllib.loads(text) == {
        "mesh": {
            "interface": "wg0",
            "mesh_cidr": "10.40.0.0/24",
            "mtu": 1380,
            "dns": "1.1.1.1",
        },
        "node": {
            "alpha": {
                "address": "10.40.0.1/32",
                "public_key": public("alpha"),
                "endpoint": "[2001:db8::1]:51820",
            },
            "bravo": {
                "address": "10.40.0.2/32",
                "public_key": public("bravo"),
                "endpoint": "b.example.com:51821",
                "allowed_ips": "192.168.7.0/24",
                "persistent_keepalive": 20,
                "listen_port": 51821,
            },
        },
    }


def test_a_server_with_its_clients_is_a_star(imported: Import) -> None:
    """Only the server's file is there for one of them, and the clients send all to it."""
    server = interface("server", "10.9.0.1/24", "ListenPort = 51820\n")
    server += peer("laptop", "10.9.0.2/32") + peer("phone", "10.9.0.3/32")
    way = "Endpoint = vpn.example.com:51820\nPersistentKeepalive = 25\n"
    code, text, remarks = imported(
        server=server,
        laptop=interface("laptop", "10.9.0.2/32") + peer("server", "0.0.0.0/0", way),
    )
    found = inventory(text)
    assert code == 0
    assert (found.mesh.topology, found.mesh.hubs) == (Topology.STAR, ("server",))
    assert [node.name for node in found.nodes] == ["laptop", "phone", "server"]
    assert "server: the default route to it is left out: see exit_nodes" in remarks


def test_a_server_without_its_clients_files_is_a_star(imported: Import) -> None:
    """All that a script for servers leaves on one; where it is found only its clients know."""
    server = interface("server", "10.9.0.1/24", "ListenPort = 51820\n")
    code, text, told = imported(
        server=server + peer("laptop", "10.9.0.2/32") + peer("phone", "10.9.0.3/32")
    )
    assert code == 3 and tomllib.loads(text)["mesh"]["hubs"] == "server"
    remark, problem = told.splitlines()
    assert remark == "warning: server: no file says its endpoint: add endpoint"
    assert "node server: endpoint: is missing: the node is a hub" in problem
    mended = text.replace("[node.server]\n", '[node.server]\nendpoint = "vpn.example.com"\n')
    assert inventory(mended).mesh.hubs == ("server",)


def test_nodes_behind_nat_need_somebody_between_them(imported: Import) -> None:
    files = {
        "alpha": ALPHA + peer("bravo", "10.40.0.2/32") + peer("charlie", "10.40.0.3/32"),
        "bravo": BRAVO + peer("alpha", "10.40.0.1/32", "Endpoint = a.example.com:51820\n"),
        "charlie": interface("charlie", "10.40.0.3/24")
        + peer("alpha", "10.40.0.1/32", "Endpoint = a.example.com:51820\n"),
    }
    code, text, remarks = imported(**files)
    assert code == 0
    assert inventory(text).nodes[0].forwarding
    assert "alpha forwards between the nodes behind NAT" in remarks


def test_tunnels_that_a_full_mesh_would_add_are_named(imported: Import) -> None:
    at = "Endpoint = {0}.example.com:51820\n"
    names = ("alpha", "bravo", "charlie", "delta")
    chain = {name: interface(name, f"10.40.0.{n}/24") for n, name in enumerate(names, 1)}
    for number, (one, two) in enumerate(pairwise(names), 1):
        chain[one] += peer(two, f"10.40.0.{number + 1}/32", at.format(two))
        chain[two] += peer(one, f"10.40.0.{number}/32", at.format(one))
    code, text, remarks = imported(**chain)
    assert code == 0 and inventory(text).mesh.topology is Topology.FULLMESH
    assert remarks.count("have no tunnel yet") == 3


def test_hooks_keys_by_file_and_what_is_left_out(imported: Import) -> None:
    extra = (
        "PostUp = wg set %i private-key /etc/wireguard/own.key\nPostUp = one\nPostUp = two; %i\n"
    )
    extra += "PostDown = three\nSaveConfig = true\nTable = 7\n"
    bare = interface("alpha", "10.40.0.1/24", extra).replace(
        f"PrivateKey = {private('alpha')}\n", ""
    )
    code, text, remarks = imported(
        alpha=bare + peer("bravo", "10.40.0.2/32", "Endpoint = b:51820\n"),
        bravo=BRAVO + "PostUp = alone\n" + peer("alpha", "10.40.0.1/32"),
    )
    assert code == 0
    alpha, bravo = inventory(text).nodes
    assert alpha.public_key == public("alpha"), "bravo's file says it"
    assert alpha.private_key_path == "/etc/wireguard/own.key"
    assert (alpha.post_up, alpha.post_down) == ("one; two; %i", "three")
    assert (bravo.post_up, bravo.post_down) == (None, None)
    for words in ("alpha: Table", "alpha: SaveConfig", "bravo: a hook without its counterpart"):
        assert words in remarks


@pytest.mark.parametrize("end", ["PostUp", "PostDown"])
def test_a_hook_with_a_key_in_it_is_left_out(imported: Import, end: str) -> None:
    hooks = {"PostUp": "true", "PostDown": f"wg show; : {public('bravo')}"}
    known = "".join(f"{name} = {command}\n" for name, command in hooks.items())
    hooks[end] = f"echo {PSK}|wg set %i peer {public('bravo')} preshared-key /dev/stdin"
    secret = "".join(f"{name} = {command}\n" for name, command in hooks.items())
    code, text, remarks = imported(
        alpha=ALPHA + secret + peer("bravo", "10.40.0.2/32", "Endpoint = b:51820\n"),
        bravo=BRAVO + known + peer("alpha", "10.40.0.1/32"),
    )
    assert code == 0 and PSK not in text + remarks
    alpha, bravo = inventory(text).nodes
    assert (alpha.post_up, alpha.post_down) == (None, None)
    assert "alpha: its hooks are left out: there is a key in them" in remarks
    assert (bravo.post_up, bravo.post_down) == ("true", f"wg show; : {public('bravo')}")


def test_preshared_keys_are_named_not_shown(imported: Import) -> None:
    psk = f"PresharedKey = {PSK}\nEndpoint = a.example.com:51820\n"
    code, text, remarks = imported(
        alpha=ALPHA + peer("bravo", "10.40.0.2/32", psk),
        bravo=BRAVO + peer("alpha", "10.40.0.1/32", psk),
    )
    assert code == 0
    assert {n.preshared_key_path for n in inventory(text).nodes} == {"/etc/wireguard/psk/%p"}
    assert "alpha: put its preshared keys into /etc/wireguard/psk/PEER" in remarks


def test_what_is_not_known_is_said_and_left_to_the_author(imported: Import) -> None:
    bare = "[Interface]\nAddress = 10.40.0.1/24\n"
    code, text, remarks = imported(alpha=bare + peer("bravo", "192.168.1.0/24"))
    assert code == 3
    assert "alpha/wg0.conf: its public key is not known" in remarks
    assert "bravo: no file says its address" in remarks
    assert "mesh.toml:" in remarks and "public_key: is missing" in remarks
    assert "[node.alpha]" in text and "[node.bravo]" in text


@pytest.mark.parametrize("star", [True, False])
def test_a_key_is_that_of_the_peer_with_the_same_address(imported: Import, star: bool) -> None:
    """As in files of `gen` for nodes that keep their keys, which meet at one of them."""
    keyless = "[Interface]\nAddress = 10.40.0.{0}/24\n"
    way = "Endpoint = a.example.com:51820\n"
    files = {"alpha": keyless.format(1)}
    for number, name in ((2, "bravo"), (3, "charlie")):
        carried = "10.40.0.0/24" if star else f"10.40.0.1/32, 10.40.0.{5 - number}/32"
        files["alpha"] += peer(name, f"10.40.0.{number}/32")
        files[name] = keyless.format(number) + peer("alpha", carried, way)
    code, text, remarks = imported(**files)
    assert code == 0 and "not known" not in remarks
    assert {node.name: node.public_key for node in inventory(text).nodes} == {
        name: public(name) for name in files
    }


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["x=a/wg0.conf", "y=b/wg0.conf"], ["x", "y"]),
        (["a/wg0.conf", "b/wg0.conf"], ["a", "b"]),
        (["one.conf", "Two_2.conf"], ["one", "two-2"]),
        (["named.conf", "b/wg0.conf"], ["the-server", "b"]),
    ],
)
def test_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    names: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, word in enumerate(words, 1):
        path = tmp_path / word.rpartition("=")[2]
        path.parent.mkdir(exist_ok=True)
        head = "# Name: The Server\n" if path.stem == "named" else ""
        unnamed = re.sub(
            r"# [ab]\n", "", peer("b" if number == 1 else "a", f"10.40.0.{3 - number}/32")
        )
        text = interface("a" if number == 1 else "b", f"10.40.0.{number}/24")
        path.write_text(head + text + unnamed + "Endpoint = h:1\n")
    assert main(["import", *words]) == 0
    assert list(tomllib.loads(capsys.readouterr().out)["node"]) == names


@pytest.mark.parametrize("name", ["Alpha", "al_pha", "", "\x1b[31m", "x" * 64])
def test_a_name_that_is_given_and_no_node_can_have_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "a.conf").write_text(ALPHA)
    assert main(["import", f"{name}={tmp_path}/a.conf"]) == 2
    out, err = capsys.readouterr()
    assert not out and "is no node name" in err and "\x1b" not in err


def test_a_name_that_is_given_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.conf").write_text("# Name: x\n" + ALPHA)
    (tmp_path / "b.conf").write_text(BRAVO)
    files = [f"{tmp_path}/a.conf", f"{tmp_path}/b.conf"]
    for name in ("x", "node"):
        main(["import", files[0], f"{name}={files[1]}"])
        found = tomllib.loads(capsys.readouterr().out)["node"]
        assert found[name]["public_key"] == public("bravo")
    assert main(["import", *(f"x={file}" for file in files)]) == 2
    assert "2 files are given the name x" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        ("# phone 2", "phone-2"),
        ("# Bob's laptop", "bobs-laptop"),
        ("# Bob\u2019s old laptop", "bobs-old-laptop"),
        ("# Jürgens Handy", "jurgens-handy"),
        ("# bob@example.com", "bob-example-com"),
        ("# Name: The Phone (lost once)", "the-phone"),
        ("# friendly_name = phone", "phone"),
        ("### Client phone", "phone"),
        ("### begin phone ###", "phone"),
        ("# Client: Laptop (8c2d1c0e-52c2-4b4e-9f0e-0b1c9a3c7f11)", "laptop"),  # wg-easy
        ("# BEGIN_PEER dave", "dave"),  # wireguard-install
        ("# END_PEER dave", "node-1"),
        ("# added on a Monday by Bob", "node-1"),
        ("# AllowedIPs = 10.0.0.0/8", "node-1"),
        ("# see the wiki.", "node-1"),
        ("# 2", "2"),
        ("# телефон", "node-1"),
        (f"# {'x' * 41}", "node-1"),
    ],
)
@pytest.mark.parametrize("place", ["above", "inside"])
def test_names_out_of_comments(imported: Import, comment: str, name: str, place: str) -> None:
    section = peer("phone", "10.9.0.2/32").replace("# phone\n", "")
    head = f"\n{comment}\n[Peer]\n" if place == "above" else f"\n[Peer]\n{comment}\n"
    section = section.replace("\n[Peer]\n", head)
    _, text, said = imported(server=interface("server", "10.9.0.1/24") + section)
    assert list(tomllib.loads(text)["node"]) == ["server", name]
    assert said.count("error") == said.count("both are behind NAT") == 1, said


def test_the_end_of_a_peer_names_not_the_next(imported: Import) -> None:
    """As wireguard-install has them: without an empty line, and here the next without a name."""
    server = interface("server", "10.9.0.1/24")
    for number, called in enumerate(("dave", "eve", ""), 2):
        text = peer(f"{number}", f"10.9.0.{number}/32").replace(f"# {number}\n", "").lstrip()
        server += f"# BEGIN_PEER {called}\n{text}# END_PEER {called}\n" if called else text
    _, text, _ = imported(server=server)
    assert list(tomllib.loads(text)["node"]) == ["server", "dave", "eve", "node-1"]


def test_what_says_that_it_is_a_name_counts(imported: Import) -> None:
    section = peer("x", "10.9.0.2/32").replace(
        "# x\n", "# a short remark\n# Name = phone\n# more\n"
    )
    section = section.replace("\n[Peer]", "\n# Clients\n[Peer]")
    head = "# the main server\n# of all\n"
    _, text, _ = imported(server=head + interface("server", "10.9.0.1/24") + section)
    assert list(tomllib.loads(text)["node"]) == ["server", "phone"]


def test_each_name_is_one_nodes(imported: Import) -> None:
    names = ("phone 2", "phone", "Phone", "phone-2", "phone", "phone-1")
    server = interface("server", "10.9.0.1/24", "ListenPort = 1\n")
    for number, called in enumerate(names, 2):
        server += peer(f"{number}", f"10.9.0.{number}/32").replace(f"# {number}\n", f"# {called}\n")
    _, text, _ = imported(server=server)
    found = {str(each["address"]): name for name, each in tomllib.loads(text)["node"].items()}
    assert [found[f"10.9.0.{number}/32"] for number in range(2, 8)] == [
        "phone-2-1", "phone", "phone-3", "phone-2", "phone-4", "phone-1"
    ]  # fmt: skip


@pytest.mark.parametrize("keys", [True, False])
def test_the_cost_is_that_of_the_text(keys: bool) -> None:
    """Four times the nodes have 16 times the text; to look at all files for each costs 64 times."""

    def seconds(nodes: int) -> float:
        names = [f"n{number}" for number in range(nodes)]
        halves = [base64.b64encode(sha256(name.encode()).digest()).decode() for name in names]
        files = []
        for number, name in enumerate(names):
            key_line = f"PrivateKey = {halves[number]}\n" if keys else ""
            text = f"[Interface]\n{key_line}Address = 10.40.{number}.1/16\n"
            for other, half in enumerate(halves):
                if other != number:
                    text += f"[Peer]\nPublicKey = {half}\nAllowedIPs = 10.40.{other}.1/32\n"
            files.append(read(f"{name}.conf", text.encode(), lambda half: half))
        start = time.process_time()
        adopt(files, "wg0")
        return time.process_time() - start

    seconds(20)
    small, large = (min(seconds(nodes) for _ in range(3)) for nodes in (60, 240))
    assert large < 40 * small


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Address = 10.40.0.1/24\n", "f.conf:1"),
        (f"[Interface]\nPrivateKey = {PSK[:-2]}\n", "f.conf:2: PrivateKey"),
        ("[Interface]\nAddress = 10.40.0.1/24\nColour = red\n", "f.conf:3: Colour"),
        (f"[Interface]\n{PSK}\n", "f.conf:2"),
        ("[Peer]\nAllowedIPs = everything\n", "f.conf:2: AllowedIPs"),
        ("[Interface]\nListenPort = \u0661x\n", "f.conf:2"),
        ("[Interface]\n[Peer]\nAllowedIPs = 10.40.0.2/32\n", "f.conf: a [Peer] has no PublicKey"),
        ("hello", "f.conf:1"),
        ("", "f.conf is no wg-quick file"),
    ],
)
def test_what_is_no_wg_quick_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, place: str
) -> None:
    (tmp_path / "f.conf").write_text(text)
    assert main(["import", str(tmp_path / "f.conf")]) == 3
    shown = capsys.readouterr()
    assert place in shown.err and shown.out == ""
    assert PSK[:-2] not in shown.err


def test_files_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path / "none.conf")]) == 2
    for name in ("a.conf", "b.conf"):
        (tmp_path / name).write_text(ALPHA)
    assert main(["import", str(tmp_path / "a.conf"), str(tmp_path / "b.conf")]) == 2
    assert "have one private key" in capsys.readouterr().err


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"[Peer]\n{text}".encode()))
def test_no_text_makes_it_stumble(data: bytes) -> None:
    try:
        read("f.conf", data, public_half)
    except InventoryError as error:
        assert error.message.startswith("f.conf")


# ---------------------------------------------------------------- gen and back


def written(star: bool, numbers: list[int]) -> Inventory:
    """Return a mesh in which each number is a node, odd ones behind NAT."""
    rows = ['[mesh]\ninterface = "wg0"\nmesh_cidr = ["10.40.0.0/24", "fd40::/64"]']
    if star:
        rows.append('topology = "star"\nhubs = ["n0"]')
    for number in [0, *numbers]:
        rows.append(f'[node.n{number}]\npublic_key = "{public(f"n{number}")}"')
        rows.append(f'address = ["10.40.0.{number + 1}/32", "fd40::{number + 1}/128"]')
        if number % 2 == 0:
            rows.append(f'endpoint = "n{number}.example.com"')
        if number % 3 == 0:
            rows.append(f'allowed_ips = "192.168.{number}.0/24"')
        if number == 0:
            rows.append("forwarding = true")
    return inventory("\n".join(rows) + "\n")


def test_the_commands_of_gen_are_no_hooks() -> None:
    """They follow from the inventory; those of the author stay."""
    before = inventory(
        f"""[mesh]
interface = "wg0"
mesh_cidr = "10.40.0.0/24"
[node.alpha]
address = "10.40.0.1/32"
endpoint = "a.example.com"
public_key = "{public("alpha")}"
private_key_path = "/etc/wireguard/own.key"
preshared_key_path = "/etc/wireguard/psk/%p"
forwarding = true
enable_nat = true
nat_iface = "eth0"
post_up = "logger up; true"
post_down = "logger down"
[node.bravo]
address = "10.40.0.2/32"
endpoint = "b.example.com"
public_key = "{public("bravo")}"
preshared_key_path = "/etc/wireguard/psk/%p"
allowed_ips = "0.0.0.0/0"
"""
    )
    writer = Writer(before)
    texts = {
        node.name: writer.config(node, None, node.private_key_path or "/k") for node in before.nodes
    }
    alpha = texts["alpha"].decode()
    assert "nft 'add" in alpha and "sysctl" in alpha and "route add" in alpha and "Table" in alpha
    files = [read(f"{name}.conf", text, public_half) for name, text in texts.items()]
    for file, name in zip(files, texts, strict=True):
        file.fallback = name
    made = adopt(files, "wg0")
    node = tomllib.loads(made.text)["node"]["alpha"]
    assert (node["post_up"], node["post_down"]) == ("logger up; true", "logger down")
    assert node["private_key_path"] == "/etc/wireguard/own.key"
    assert node["preshared_key_path"] == "/etc/wireguard/psk/%p"
    assert any("what gen wrote for forwarding and NAT" in remark for remark in made.remarks)
    by_hand = read("wg0.conf", texts["alpha"].partition(b"\n")[2], public_half)
    assert any(command.startswith("nft ") for command in by_hand.up), "others' lines are theirs"


@given(st.booleans(), st.lists(st.integers(1, 9), unique=True, min_size=1, max_size=6))
def test_what_gen_writes_is_the_same_mesh_again(star: bool, numbers: list[int]) -> None:
    before = written(star, numbers)
    writer = Writer(before)
    files = []
    for node in before.nodes:
        text = writer.config(node, Secret(private(node.name)), None)
        found = read(f"{node.name}.conf", text, public_half)
        found.fallback = node.name
        files.append(found)
    after = inventory(adopt(files, "wg0").text)
    assert [node.name for node in after.nodes] == [node.name for node in before.nodes]
    for node in before.nodes:
        one, two = plan(before, node.name), plan(after, node.name)
        assert {(p.name, p.endpoints) for p in one.peers} <= {
            (p.name, p.endpoints) for p in two.peers
        }
    assert {n.name: n.address for n in after.nodes} == {n.name: n.address for n in before.nodes}
    assert {n.name: set(n.allowed_ips) for n in after.nodes} == {
        n.name: set(n.allowed_ips) for n in before.nodes
    }
