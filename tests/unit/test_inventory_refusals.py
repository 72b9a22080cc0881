"""Every kind of bad inventory: file, line, node, field, and a part of what is said about it."""

from dataclasses import dataclass

import pytest

from tests.unit.inventory_texts import files, key, mesh, node
from wgmesh.inventory import read
from wgmesh.model.inventory import Problem, Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING
ZERO_KEY = "A" * 43 + "="
UNDONE = "post_down undoes what post_up does"
EXIT = 'exit_out_iface = "eth0"\nenable_nat = true'


def place(given: dict[str, bytes], file: str, fragment: str) -> int:
    """Return the line on which `fragment` first stands."""
    text = given[file].decode()
    assert fragment in text, fragment
    return text[: text.index(fragment)].count("\n") + 1


def only(given: dict[str, bytes]) -> Problem:
    """Return the one problem that an inventory has."""
    result = read(given)
    assert len(result.problems) == 1, result.problems
    assert (result.inventory is None) == (result.problems[0].severity is ERROR)
    return result.problems[0]


# ---------------------------------------------------------------- one field of a node


@dataclass(frozen=True)
class Field:
    """A wrong value of one field of a node, in TOML; `ini` when the same is wrong in INI."""

    name: str
    toml: str
    message: str
    hint: str = ""
    ini: str | None = None


NODE_FIELDS = [
    # ports
    Field("listen_port", "70000", "70000 is out of range", "1 to 65535", "70000"),
    Field("listen_port", "0", "0 is out of range", ini="0"),
    Field("listen_port", "-1", "-1 is out of range", ini="-1"),
    Field("ssh_port", "65536", "65536 is out of range", ini="65536"),
    Field("listen_port", "9" * 30, "a huge number is out of range"),
    Field("listen_port", '"51820"', "must be an integer, not a string", ini="many"),
    Field("listen_port", "true", "must be an integer, not a boolean", ini="true"),
    Field("listen_port", "51820.0", "must be an integer, not a float", ini="51820.0"),
    Field("listen_port", "[1]", "must be an integer, not a list"),
    Field("listen_port", "1979-05-27", "must be an integer, not a date"),
    Field("persistent_keepalive", "65536", "65536 is out of range", "0 to 65535", "65536"),
    # booleans
    Field("forwarding", "1", "must be true or false, not an integer"),
    Field("forwarding", '"true"', "must be true or false, not a string", ini="maybe"),
    Field("managed", "[]", "must be true or false, not a list"),
    # strings and lists
    Field("ssh_user", "1", "must be a string, not an integer"),
    Field("ssh_user", '{ a = "b" }', "must be a string, not a table"),
    Field("ssh_user", '["ubuntu"]', "must be a string, not a list"),
    Field("allowed_ips", "1", "must be a string or a list of strings, not an integer"),
    Field("allowed_ips", "{ a = 1 }", "must be a string or a list of strings, not a table"),
    Field("allowed_ips", '[["10.1.0.0/24"]]', "must be a string, not a list"),
    Field("allowed_ips", "[" * 50 + "]" * 50, "must be a string, not a list"),
    Field("ssh_user", '""', "is no login name"),
    # CIDRs
    Field("allowed_ips", '"192.168.1.5/24"', "host bits", "192.168.1.0/24", "192.168.1.5/24"),
    Field("allowed_ips", '"fd00::1/64"', "host bits", "fd00::/64", "fd00::1/64"),
    Field("allowed_ips", '"10.1.0.0/33"', "impossible prefix length", "0 to 32", "10.1.0.0/33"),
    Field("allowed_ips", '"fd00::/129"', "impossible prefix length", "0 to 128", "fd00::/129"),
    Field("allowed_ips", '"10.1.256.0/24"', "is no CIDR", ini="10.1.256.0/24"),
    Field("allowed_ips", '"10.1.0.0"', "lacks a prefix length", "10.1.0.0/32", "10.1.0.0"),
    Field("allowed_ips", '"10.1.0.0/255.255.0.0"', "is no CIDR", ini="10.1.0.0/255.255.0.0"),
    Field("allowed_ips", '"fe80::1%eth0/64"', "is no CIDR", ini="fe80::1%eth0/64"),
    Field("allowed_ips", '""', "is no CIDR"),
    Field("allowed_ips", '"10.1.0.0/24, 10.2.0.0/24"', "is no CIDR", "list"),
    # keys
    Field("next_public_key", f'"{ZERO_KEY}"', "all zero", ini=ZERO_KEY),
    Field("next_public_key", '"base64"', "is not 32 bytes of base64", ini="base64"),
    Field("next_public_key", '"' + "A" * 42 + 'A="', "all zero"),
    Field("next_public_key", '"' + "A" * 42 + 'B="', "is not 32 bytes of base64"),
    Field("next_public_key", '"' + "A" * 43 + '"', "is not 32 bytes of base64"),
    Field("next_public_key", f'" {key(9)}"', "is not 32 bytes of base64"),
    Field("next_public_key", '"' + "-" * 42 + 'A="', "is not 32 bytes of base64"),
    # endpoints
    Field("endpoint", '"a.example.com:70000"', "impossible port", ini="a.example.com:70000"),
    Field("endpoint", '"a.example.com:0"', "impossible port", ini="a.example.com:0"),
    Field("endpoint", '"a.example.com:"', "impossible port", ini="a.example.com:"),
    Field("endpoint", '"a.example.com:+1"', "impossible port"),
    Field("endpoint", '"a.example.com:٣"', "impossible port"),
    Field("endpoint", '"2001:db8::1"', "IPv6 without brackets", "[2001:db8::1]", "2001:db8::1"),
    Field("endpoint", '"2001:db8::1:51820"', "IPv6 without brackets"),
    Field("endpoint", '"[2001:db8::g]:51820"', "impossible IPv6", ini="[2001:db8::g]:51820"),
    Field("endpoint", '"[fe80::1%eth0]:51820"', "impossible IPv6"),
    Field("endpoint", '"[10.0.0.1]:51820"', "impossible IPv6"),
    Field("endpoint", '"300.1.1.1:51820"', "impossible IPv4", ini="300.1.1.1:51820"),
    Field("endpoint", '"1.2.3"', "impossible IPv4"),
    Field("endpoint", '"0.0.0.0:51820"', "no address that a host can have"),
    Field("endpoint", '"[ff02::1]:51820"', "no address that a host can have"),
    Field("endpoint", '"-a.example.com"', "no valid host name", ini="-a.example.com"),
    Field("endpoint", '"a_b.example.com"', "no valid host name"),
    Field("endpoint", '"a..example.com"', "no valid host name"),
    Field("endpoint", '"a b.example.com"', "no valid host name"),
    Field("endpoint", '"' + "a" * 64 + '.example.com"', "no valid host name"),
    Field("endpoint", '"' + "abc." * 64 + 'com"', "no valid host name"),
    Field("endpoint", '"ä.example.com"', "no valid host name"),
    Field("endpoint", '"$(reboot):51820"', "no valid host name"),
    Field("endpoint", '""', "is no endpoint"),
    # interface names
    Field("nat_iface", '"sixteen-letters1"', "is no interface name", ini="sixteen-letters1"),
    Field("nat_iface", '"eth/0"', "is no interface name", ini="eth/0"),
    Field("nat_iface", '"eth 0"', "is no interface name", ini="eth 0"),
    Field("nat_iface", '"eth%d"', "is no interface name"),
    Field("nat_iface", '"eth:0"', "is no interface name"),
    Field("nat_iface", '""', "is no interface name"),
    Field("exit_out_iface", '".."', "is no interface name", ini=".."),
    Field("exit_out_iface", '"-x"', "is no interface name"),
    Field("exit_out_iface", '"wg0"', "is the mesh's own interface", ini="wg0"),
    # paths; %p is the one placeholder
    Field("preshared_key_path", '"psk/%p"', "is no absolute path", ini="psk/%p"),
    Field("preshared_key_path", '"/etc/%i"', "not safe in a path", ini="/etc/%i"),
    Field("preshared_key_path", '"/etc/../x"', "'..'", ini="/etc/../x"),
    Field("preshared_key_path", '"/etc/x y"', "not safe in a path"),
    Field("preshared_key_path", '"/etc/$(x)"', "not safe in a path"),
    Field("private_key_path", '"/etc/%p"', "not safe in a path", ini="/etc/%p"),
    Field("private_key_path", '"/etc/wireguard/"', "not safe in a path"),
    Field("private_key_path", '"/etc/`x`"', "not safe in a path", ini="/etc/`x`"),
    Field("private_key_path", '"/a;reboot"', "not safe in a path", ini="/a;reboot"),
    # ssh: nothing that it would take for an option
    Field("ssh_host", '"-oProxyCommand=x"', "is no host for ssh", ini="-oProxyCommand=x"),
    Field("ssh_host", '"a b"', "is no host for ssh"),
    Field("ssh_user", '"-l"', "is no login name", ini="-l"),
    # control characters, and others that nobody sees
    Field("ssh_user", r'"a\nPostUp = x"', "control character U+000A"),
    Field("ssh_user", r'"a\u0000"', "control character U+0000"),
    Field("ssh_user", r'"a\u001b[2J"', "control character U+001B"),
    Field("ssh_user", r'"a\u2028b"', "invisible character U+2028"),
    Field("ssh_user", r'"a\u202eb"', "invisible character U+202E"),
    Field("endpoint", r'"a.example.com\n"', "control character U+000A"),
    Field("allowed_ips", r'["10.1.0.0/24\r"]', "control character U+000D"),
    Field("nat_iface", r'"eth0\t"', "control character U+0009"),
    # what is no field
    Field("endpiont", '"a"', "is no field", "did you mean 'endpoint'?", "a"),
    Field("Allowed_IPs", '"a"', "is no field", "did you mean 'allowed_ips'?", "a"),
    Field("zzz", "1", "is no field", ini="1"),
    Field("mesh_cidr", '"10.0.0.0/8"', "is no field", "belongs into [mesh]", "10.0.0.0/8"),
    Field("private_key", f'"{key(77)}"', "a secret", "private_key_path", key(77)),
    Field("preshared_key", f'"{key(77)}"', "a secret", "preshared_key_path", key(77)),
    # hooks, endpoint_alt
    Field("post_up", '"echo"', "no counterpart post_down", UNDONE, "echo"),
    Field("post_down", '"echo"', "no counterpart post_up", UNDONE, "echo"),
    Field("endpoint_alt", '"a.example.com"', "without endpoint", ini="a.example.com"),
]


def rendered(case: Field) -> str:
    return f"{case.name} = {case.toml}"


@pytest.mark.parametrize("case", NODE_FIELDS, ids=rendered)
def test_a_wrong_field_of_a_node_in_toml(case: Field) -> None:
    row = f"{case.name} = {case.toml}"
    head = f'address = "10.40.0.1/24"\npublic_key = "{key(1)}"\n'
    split = mesh() | {"nodes/alpha.toml": f"# {case.name}\n{head}{row}\n".encode()}
    single = mesh("", f"[node.alpha]\n{head}{row}")
    for given, file, line in (
        (split, "nodes/alpha.toml", 4),
        (single, "mesh.toml", place(single, "mesh.toml", "[node.alpha]") + 3),
    ):
        problems = [p for p in read(given).problems if p.severity is ERROR]
        assert [(p.file, p.line, p.node, p.field) for p in problems] == [
            (file, line, "alpha", case.name)
        ]
        assert case.message in problems[0].message
        assert case.hint in problems[0].hint
        assert key(77) not in str(problems)


@pytest.mark.parametrize("case", [c for c in NODE_FIELDS if c.ini is not None], ids=rendered)
def test_a_wrong_field_of_a_node_in_ini(case: Field) -> None:
    text = (
        "[mesh]\ninterface = wg0\nmesh_cidr = 10.40.0.0/24\n\n"
        f'[node "alpha"]\naddress = 10.40.0.1/24\npublic_key = {key(1)}\n'
        f"; {case.name}\n  {case.name} = {case.ini} # why\n"
    )
    problems = [p for p in read({"mesh.conf": text.encode()}).problems if p.severity is ERROR]
    assert [(p.file, p.line, p.node, p.field) for p in problems] == [
        ("mesh.conf", 9, "alpha", case.name)
    ]
    assert case.hint in problems[0].hint
    assert key(77) not in str(problems)


def test_one_wrong_value_in_a_list() -> None:
    alternatives = 'endpoint_alt = ["ok.example.com", "a.example.com:99999"]'
    given = mesh("", node("alpha", 1, alternatives))
    problem = only(given)
    assert (problem.line, problem.field) == (
        place(given, "mesh.toml", "endpoint_alt"),
        "endpoint_alt",
    )
    assert "'a.example.com:99999' has an impossible port" in problem.message


# ---------------------------------------------------------------- addresses and required fields


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ('"8.8.8.8/32"', "is a public address"),
        ('"2001:4860::1/128"', "is a public address"),
        ('"100.64.0.1/32"', "is not a private address"),
        ('"127.0.0.1/8"', "is not a private address"),
        ('"10.41.0.1/24"', "lies outside of mesh_cidr"),
        ('["10.40.0.1/24", "fd40::1/64"]', "fd40::1/64 lies outside of mesh_cidr"),
        ('"10.40.0.1"', "lacks a prefix length"),
        ('"10.40.0.1/33"', "impossible prefix length"),
        ('"10.40.0.1/-1"', "is no CIDR"),
        ('"10.40.0.1/024"', "is no CIDR"),
        ('"10.040.0.1/24"', "is no CIDR"),
        ('["10.40.0.1/24", "10.40.0.1/32"]', "an address of this node already"),
        ("[]", "is empty"),
        ("[1]", "must be a string, not an integer"),
    ],
)
def test_a_wrong_address(address: str, message: str) -> None:
    given = mesh("", f'[node.alpha]\npublic_key = "{key(1)}"\naddress = {address}')
    problem = only(given)
    assert (problem.severity, problem.line) == (ERROR, place(given, "mesh.toml", "address ="))
    assert (problem.node, problem.field) == ("alpha", "address")
    assert message in problem.message


@pytest.mark.parametrize("field", ["address", "public_key"])
def test_a_missing_field_is_at_its_table(field: str) -> None:
    rows = [row for row in node("alpha", 1).split("\n") if not row.startswith(field)]
    given = mesh("", "\n".join(rows))
    problem = only(given)
    assert (problem.line, problem.field) == (place(given, "mesh.toml", "[node.alpha]"), field)
    split = mesh() | {"nodes/alpha.toml": "\n".join(rows[1:]).encode()}
    problem = only(split)
    assert (problem.file, problem.line, problem.node) == ("nodes/alpha.toml", 1, "alpha")


@pytest.mark.parametrize("name", ["Alpha", "-a", "a_b", "a.b", "a" * 64, "", "ä", "a\\nb", "../x"])
def test_a_wrong_name(name: str) -> None:
    given = mesh("", node("alpha", 1).replace("node.alpha", f'node."{name}"'))
    problem = only(given)
    assert (problem.line, problem.field) == (place(given, "mesh.toml", "[node."), None)
    assert "is no node name" in problem.message
    assert "\n" not in problem.message + str(problem.node)


def test_a_wrong_name_of_a_file() -> None:
    own = node("alpha", 1).partition("\n")[2].encode()
    problem = only(mesh() | {"nodes/Alpha.toml": own})
    assert (problem.file, problem.line, problem.node) == ("nodes/Alpha.toml", 1, "Alpha")


# ---------------------------------------------------------------- [mesh] and [rollout]


@pytest.mark.parametrize(
    ("row", "message", "hint"),
    [
        ("port = 65536", "65536 is out of range", "1 to 65535"),
        ("mtu = 575", "575 is out of range", "576 to 65535"),
        ("mtu = 70000", "70000 is out of range", ""),
        ('topology = "ring"', "is not one of fullmesh, star", "valid are fullmesh, star"),
        ('topology = "fulmesh"', "is not one of", "did you mean 'fullmesh'?"),
        ("topology = 1", "must be a string", ""),
        ('hub_selection = "fast"', "is not one of static, latency", "valid are"),
        ('exit_policy = "Manual"', "is not one of latency, manual", "did you mean 'manual'?"),
        ('on_no_exit = "drop"', "is not one of block, direct", ""),
        ('topology = "star"', "", ""),
        ('hubs = ["alhpa"]', "no node 'alhpa'", "did you mean 'alpha'?"),
        ('exit_nodes = "nobody"', "no node 'nobody'", ""),
        ('local_node = "alpha2"', "no node 'alpha2'", "did you mean 'alpha'?"),
        ('local_node = "A"', "is no node name", ""),
        ('local_node = ["alpha"]', "must be a string, not a list", ""),
        ('exit_primary = "alpha"', "is not among exit_nodes", ""),
        ('exit_primary = "alpah"', "no node 'alpah'", "did you mean 'alpha'?"),
        ('enable_exit_for_nodes = "all"', "there are no exit_nodes", ""),
        ("exit_check_interval_seconds = 0", "0 is out of range", ""),
        ('exit_test_target = "1.1.1"', "is no IP address", ""),
        ('exit_test_target = "fe80::1%eth0"', "is no IP address", ""),
        ('dns = ["1.1.1.1", "dns.example.com"]', "is no IP address", ""),
        ('exit_node = ["alpha"]', "is no field", "did you mean 'exit_nodes'?"),
        ('endpoint = "a.example.com"', "is no field", "the table of a node"),
        ('private_key = "x"', "a secret", "private_key_path"),
        ('"a\\nb" = 1', "is no field", ""),
    ],
)
def test_a_wrong_field_of_the_mesh(row: str, message: str, hint: str) -> None:
    given = mesh(row, node("alpha", 1))
    problem = only(given)
    missing = row == 'topology = "star"'  # what lacks is `hubs`, and the table lacks it
    line = place(given, "mesh.toml", "[mesh]" if missing else row)
    assert (problem.severity, problem.file, problem.line) == (ERROR, "mesh.toml", line)
    assert problem.node is None
    assert message in problem.message
    assert hint in problem.hint
    assert "\n" not in f"{problem.field}{problem.message}"
    if missing:
        assert (problem.field, problem.message) == ("hubs", "a star needs hubs")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sixteen-letters1",
        "wg/0",
        "wg 0",
        ".",
        "..",
        "wg:0",
        "-wg0",
        "all",
        "default",
        "lo",
        "ä",
    ],
)
def test_an_interface_name_that_the_kernel_or_wg_quick_refuses(name: str) -> None:
    given = {"mesh.toml": f'[mesh]\nmesh_cidr = "10.0.0.0/8"\ninterface = "{name}"\n'.encode()}
    problem = only(given)
    assert (problem.line, problem.field) == (3, "interface")
    assert "is no interface name" in problem.message


@pytest.mark.parametrize(
    ("cidr", "message"),
    [
        ('"8.8.8.0/24"', "is not private"),
        ('"2001:db8::/64"', "is not private"),
        ('"10.0.0.0/7"', "is not private"),
        ('"172.0.0.0/11"', "is not private"),
        ('"100.64.0.0/10"', "is not private"),
        ('"0.0.0.0/0"', "is not private"),
        ('"fe80::/64"', "is not private"),
        ('"10.40.0.1/24"', "host bits"),
        ('"10.40.0.0"', "lacks a prefix length"),
        ('["10.0.0.0/8", "10.40.0.0/24"]', "10.40.0.0/24 and 10.0.0.0/8 overlap"),
        ("[]", "is empty"),
        ("[1]", "must be a string"),
        ('"10.40.0.0/24,fd00::/64"', "is no CIDR"),
    ],
)
def test_a_wrong_mesh_cidr(cidr: str, message: str) -> None:
    problem = only(mesh(cidr=cidr))
    assert (problem.line, problem.field) == (3, "mesh_cidr")
    assert message in problem.message


def test_ipv6_needs_an_mtu_of_1280() -> None:
    assert read(mesh("mtu = 1279")).problems == ()
    problem = only(mesh("mtu = 1279", cidr='"fd40::/64"'))
    assert (problem.line, problem.field, problem.hint) == (4, "mtu", "at least 1280")


def test_fields_that_the_mesh_lacks() -> None:
    result = read({"mesh.toml": b"# nothing\n\n[mesh]\n"})
    assert [(p.line, p.field, p.message) for p in result.problems] == [
        (3, "interface", "is missing"),
        (3, "mesh_cidr", "is missing"),
    ]


ALPHA_FIRST = 'canary = "alpha"'


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        (('canary = ["alpha", "charlie"]',), 1, "no node 'charlie'"),
        ((ALPHA_FIRST, "soak_seconds = -1"), 2, "out of range"),
        ((ALPHA_FIRST, "soak_seconds = 2592001"), 2, "out of range"),
        ((ALPHA_FIRST, "soak = 5"), 2, "is no field"),
    ],
)
def test_a_wrong_rollout(rows: tuple[str, ...], line: int, message: str) -> None:
    given = mesh("", node("alpha", 1), node("bravo", 2), "[rollout]", *rows)
    problem = only(given)
    assert problem.line == place(given, "mesh.toml", rows[line - 1])
    assert (problem.node, problem.severity) == (None, ERROR)
    assert message in problem.message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("soak_seconds = 60", "nobody goes first"),
        ("canary = []", "nobody goes first"),
        ('canary = ["alpha", "bravo", "phone"]', "nobody waits"),
        ('canary = ["alpha", "phone"]', "phone is not managed"),
        ('canary = "alpha"\nsoak_seconds = 0', "nobody waits"),
    ],
)
def test_a_rollout_that_does_nothing_is_a_warning(row: str, message: str) -> None:
    phone = node("phone", 3) + "managed = false\n"
    result = read(mesh("", node("alpha", 1), node("bravo", 2), phone, "[rollout]", row))
    assert result.inventory is not None
    found = [problem for problem in result.problems if message in problem.message]
    assert [problem.severity for problem in found] == [WARNING]


# ---------------------------------------------------------------- between nodes


@pytest.mark.parametrize("length", [32, 24, 8])
def test_the_same_address_twice_even_under_another_prefix_length(length: int) -> None:
    twice = node("bravo", 2).replace("10.40.0.2/32", f"10.40.0.1/{length}")
    given = mesh("", node("alpha", 1), twice)
    problem = only(given)
    assert (problem.severity, problem.node, problem.field) == (ERROR, "bravo", "address")
    assert (
        problem.line == place(given, "mesh.toml", f'"10.40.0.1/{length}"\npublic') or length == 32
    )
    assert problem.message == "10.40.0.1 is an address of node alpha already"
    assert "mesh.toml:6" in problem.hint


def prefixes(first: str, second: str, head: str = "") -> dict[str, bytes]:
    return mesh(
        head,
        node("alpha", 1, f"allowed_ips = {first}"),
        node("bravo", 2, f"allowed_ips = {second}"),
        node("charlie", 3),
    )


@pytest.mark.parametrize(
    ("first", "second", "severity", "where", "message"),
    [
        ('"10.9.0.0/16"', '"10.9.0.0/16"', ERROR, "bravo", "allowed_ips of node alpha already"),
        ('"fd99::/64"', '["fd99::/64"]', ERROR, "bravo", "allowed_ips of node alpha already"),
        ('"0.0.0.0/0"', '"0.0.0.0/0"', ERROR, "bravo", "allowed_ips of node alpha already"),
        ('"10.40.0.2/32"', "[]", ERROR, "alpha", "an address of node bravo already"),
        ('"10.9.0.0/16"', '"10.9.7.0/24"', WARNING, "bravo", "lies inside 10.9.0.0/16 of node"),
        ('"10.9.7.0/24"', '"10.9.0.0/16"', WARNING, "alpha", "lies inside 10.9.0.0/16 of node"),
        ('"10.40.0.0/30"', "[]", WARNING, "alpha", "covers 10.40.0.2 of node bravo, 10.40.0.3"),
        ('["10.9.0.0/16", "10.9.0.0/16"]', "[]", WARNING, "alpha", "names something twice"),
    ],
)
def test_prefixes_that_collide(
    first: str, second: str, severity: Severity, where: str, message: str
) -> None:
    given = prefixes(first, second)
    problem = only(given)
    value = first if where == "alpha" else second
    line = place(given, "mesh.toml", f"allowed_ips = {value}\n") if first != second else 15
    assert (problem.severity, problem.node, problem.field) == (severity, where, "allowed_ips")
    assert problem.line == line
    assert message in problem.message


@pytest.mark.parametrize(
    ("first", "second", "head"),
    [
        ('["10.9.0.0/16", "10.9.7.0/24"]', "[]", ""),
        ('"10.40.0.1/32"', '"10.40.0.2/32"', ""),
        ('["0.0.0.0/0", "::/0"]', '"10.9.0.0/16"', ""),
        ('"10.9.0.0/17"', '"10.9.128.0/17"', ""),
        ('"10.40.0.0/24"', "[]", 'topology = "star"\nhubs = ["alpha"]'),
    ],
)
def test_prefixes_that_do_not_collide(first: str, second: str, head: str) -> None:
    assert read(prefixes(first, second, head)).problems == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f'next_public_key = "{key(9)}"', f'next_public_key = "{key(9)}"'),
        ("", f'next_public_key = "{key(1)}"'),
    ],
)
def test_the_same_key_twice(one: str, other: str) -> None:
    given = mesh("", node("alpha", 1, one), node("bravo", 2, other))
    problem = only(given)
    assert (problem.severity, problem.node, problem.field) == (ERROR, "bravo", "next_public_key")
    assert "of node alpha already" in problem.message


def test_the_same_public_key_in_two_files() -> None:
    first, second = (
        node(f"x{number}", number).replace(key(2), key(1)).partition("\n")[2].encode()
        for number in (1, 2)
    )
    problem = only(mesh() | {"nodes/alpha.toml": first, "nodes/bravo.toml": second})
    assert (problem.file, problem.line, problem.node) == ("nodes/bravo.toml", 2, "bravo")
    assert problem.message == "the key is the public_key of node alpha already"
    assert problem.hint == "first at nodes/alpha.toml:2"


def test_the_next_key_is_the_current_one() -> None:
    problem = only(mesh("", node("alpha", 1, f'next_public_key = "{key(1)}"')))
    assert problem.message == "the key is the public_key of this node already"


@pytest.mark.parametrize(
    ("head", "nodes", "where"),
    [
        ("", [("alpha", True, ""), ("bravo", True, "")], "bravo"),
        ("", [("alpha", True, ""), ("bravo", False, ""), ("charlie", True, "")], "charlie"),
        ("", [("alpha", True, "forwarding = true"), ("bravo", True, "")], "bravo"),
        ("star", [("alpha", True, ""), ("bravo", True, "")], "alpha"),
        ("star", [("alpha", True, ""), ("bravo", False, "forwarding = true"),
                  ("charlie", True, "")], "alpha"),
    ],
)  # fmt: skip
def test_nodes_that_cannot_meet(head: str, nodes: list[tuple[str, bool, str]], where: str) -> None:
    star = 'topology = "star"\nhubs = ["alpha"]' if head else ""
    tables = [node(name, i, extra, nat=nat) for i, (name, nat, extra) in enumerate(nodes, 1)]
    given = mesh(star, *tables)
    problem = only(given)
    assert (problem.severity, problem.node, problem.field) == (ERROR, where, "endpoint")
    assert problem.line == place(given, "mesh.toml", f"[node.{where}]")
    assert "behind NAT" in problem.message


def test_two_hubs_that_cannot_meet() -> None:
    head = 'topology = "star"\nhubs = ["alpha", "bravo"]'
    given = mesh(head, *(node(n, i, nat=True) for i, n in enumerate(["alpha", "bravo"], 1)))
    problem = only(given)
    assert (problem.node, problem.hint) == ("bravo", "give one of the hubs an endpoint")


def test_each_hub_needs_an_endpoint_when_a_spoke_has_none() -> None:
    head = 'topology = "star"\nhubs = ["alpha", "bravo"]'
    nodes = [node("alpha", 1), node("bravo", 2, nat=True), node("charlie", 3, nat=True)]
    assert only(mesh(head, *nodes)).node == "bravo"


@pytest.mark.parametrize(
    ("head", "nodes"),
    [
        ("", [("alpha", True, "")]),
        ("", [("alpha", True, ""), ("bravo", False, "")]),
        ("", [("alpha", True, ""), ("bravo", False, "forwarding = true"), ("c", True, "")]),
        ("star", [("alpha", False, ""), ("bravo", True, ""), ("charlie", True, "")]),
        ("star", [("alpha", True, ""), ("bravo", False, "")]),
    ],
)
def test_nodes_that_can_meet(head: str, nodes: list[tuple[str, bool, str]]) -> None:
    star = 'topology = "star"\nhubs = ["alpha"]' if head else ""
    tables = [node(name, i, extra, nat=nat) for i, (name, nat, extra) in enumerate(nodes, 1)]
    assert read(mesh(star, *tables)).problems == ()


@pytest.mark.parametrize(
    ("rows", "field", "message", "at"),
    [
        ("enable_nat = true", "exit_out_iface", "is missing: the node is an exit", "[node.alpha]"),
        ('exit_out_iface = "eth0"', "enable_nat", "is missing", "[node.alpha]"),
        ('exit_out_iface = "eth0"\nenable_nat = false', "enable_nat", "is false", "enable_nat ="),
        (f'{EXIT}\nallowed_ips = "0.0.0.0/0"', "allowed_ips", "0.0.0.0/0", "allowed_ips"),
        (f'{EXIT}\nallowed_ips = ["::/0"]', "allowed_ips", "::/0", "allowed_ips"),
    ],
)
def test_an_exit_that_is_none(rows: str, field: str, message: str, at: str) -> None:
    given = mesh('exit_nodes = ["alpha"]', node("alpha", 1, rows))
    problem = only(given)
    assert (problem.severity, problem.node, problem.field) == (ERROR, "alpha", field)
    assert problem.line == place(given, "mesh.toml", at)
    assert message in problem.message


def test_warnings() -> None:
    psk = 'preshared_key_path = "/etc/psk"'
    given = mesh(
        'exit_policy = "manual"\nexit_nodes = "alpha"',
        node("alpha", 1, f'{EXIT}\n{psk}\nendpoint_alt = ["10.40.0.9", "alpha.example.com"]'),
        node("bravo", 2).replace("bravo.example.com", "alpha.example.com"),
        node("charlie", 255),
    )
    result = read(given)
    assert result.inventory is not None
    assert {p.severity for p in result.problems} == {WARNING}
    assert [(p.node, p.field, p.line) for p in result.problems] == [
        (None, "exit_policy", place(given, "mesh.toml", "exit_policy")),
        ("alpha", "preshared_key_path", place(given, "mesh.toml", "preshared")),
        ("alpha", "endpoint_alt", place(given, "mesh.toml", "endpoint_alt")),
        ("alpha", "endpoint_alt", place(given, "mesh.toml", "endpoint_alt")),
        ("bravo", "endpoint", place(given, "mesh.toml", "[node.bravo]") + 3),
        ("charlie", "address", place(given, "mesh.toml", "10.40.0.255")),
    ]


STAR = 'topology = "star"\nhubs = ["alpha"]\n'


@pytest.mark.parametrize(
    ("head", "nat", "who", "what"),
    [
        (f'{STAR}enable_exit_for_nodes = "all"', "", "none is a hub", "charlie, delta"),
        (f'{STAR}enable_exit_for_nodes = ["alpha", "delta"]', "", "none is a hub", "delta"),
        ('enable_exit_for_nodes = "all"', "bravo, delta", "none has an endpoint", "delta"),
    ],
)
@pytest.mark.parametrize(
    ("on_no_exit", "fate"), [("", "blocked"), ("direct", "let out by the uplink")]
)
def test_nodes_that_meet_no_exit(
    head: str, nat: str, who: str, what: str, on_no_exit: str, fate: str
) -> None:
    more = f'\non_no_exit = "{on_no_exit}"' if on_no_exit else ""
    tables = [
        node(
            name,
            number,
            {"bravo": EXIT, "alpha": "forwarding = true"}.get(name, ""),
            nat=name in nat,
        )
        for number, name in enumerate(("alpha", "bravo", "charlie", "delta"), 1)
    ]
    given = mesh(f'{head}\nexit_nodes = ["bravo"]{more}', *tables)
    assert read(given).inventory is not None
    problem = only(given)
    assert (problem.severity, problem.file, problem.field) == (WARNING, "mesh.toml", "exit_nodes")
    assert problem.line == place(given, "mesh.toml", "exit_nodes =")
    assert problem.message.startswith(f"{who}, so {what} can use no exit")
    assert problem.message.endswith(f"internet traffic is {fate}")


@pytest.mark.parametrize(
    ("head", "nat"),
    [
        (f'{STAR}enable_exit_for_nodes = "alpha"\nexit_nodes = "bravo"', ""),
        (f'{STAR}enable_exit_for_nodes = "all"\nexit_nodes = ["bravo", "alpha"]', ""),
        (f'{STAR}exit_nodes = "bravo"', ""),
        ('enable_exit_for_nodes = "all"\nexit_nodes = ["bravo", "alpha"]', "bravo, delta"),
        ('enable_exit_for_nodes = "alpha"\nexit_nodes = ["bravo"]', "bravo, delta"),
    ],
)
def test_nodes_that_meet_an_exit(head: str, nat: str) -> None:
    tables = [
        node(name, number, f"forwarding = true\n{EXIT}" if number < 3 else "", nat=name in nat)
        for number, name in enumerate(("alpha", "bravo", "charlie", "delta"), 1)
    ]
    assert read(mesh(head, *tables)).problems == ()


def test_a_problem_hides_no_other_and_makes_none_up() -> None:
    """A wrong endpoint is no node behind NAT, a wrong list of hubs no star without hubs."""
    given = mesh(
        'topology = "star"\nhubs = ["A"]',
        node("alpha", 1, 'endpoint = "a:0"', nat=True),
        node("bravo", 2, 'endpoint = "b:0"\nforwarding = 1', nat=True),
    )
    assert [(p.node, p.field) for p in read(given).problems] == [
        (None, "hubs"), ("alpha", "endpoint"), ("bravo", "endpoint"), ("bravo", "forwarding"),
    ]  # fmt: skip


def test_all_problems_at_once_over_all_files() -> None:
    given = files("split")
    given["mesh.toml"] = given["mesh.toml"].replace(b"mtu = 1400", b"mtu = 9\nmtuu = 1")
    given["nodes/alpha.toml"] = given["nodes/alpha.toml"].replace(b"2222", b"0")
    given["nodes/bravo.toml"] += b"x ="
    given["nodes/charlie.toml"] = b'address = "10.40.0.1/32"\n'
    result = read(given)
    assert result.inventory is None
    assert [(p.file, p.node, p.field) for p in result.problems] == [
        ("mesh.toml", None, "mtu"),
        ("mesh.toml", None, "mtuu"),
        ("nodes/alpha.toml", "alpha", "ssh_port"),
        ("nodes/bravo.toml", "bravo", None),
        ("nodes/charlie.toml", "charlie", "address"),
        ("nodes/charlie.toml", "charlie", "enable_nat"),
        ("nodes/charlie.toml", "charlie", "exit_out_iface"),
        ("nodes/charlie.toml", "charlie", "public_key"),
    ]


# ---------------------------------------------------------------- syntax


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[mesh]\n\nport = \n", 3, "Invalid value"),
        ("[mesh]\nport = 1\nport = 2\n", 3, "Cannot overwrite"),
        ("[mesh]\n[mesh]\n", 2, "twice"),
        ("[mesh]\nport == 1", 2, "Invalid value"),
        ("[mesh\n", 1, ""),
        ("[mesh]\na = [1,\n2\n", 3, "Unclosed array"),
        ("[mesh]\nport = 0051820", 2, ""),
        ("just words", 1, ""),
        ("[mesh]\n# \x07\n", 2, "control character U+0007"),
        ("[mesh]\n# a\rb\n", 2, "control character U+000D"),
        ("[mesh]\n# \u202e\n", 2, "control character U+202E"),
        ("\ufeff[mesh]\n", 1, "byte order mark"),
        ("[mesh]\nx = " + "[" * 5000, 0, "nested too deeply"),
        ("[mesh]\nport = " + "9" * 5000, 0, "too many digits"),
        ("[mesh]\n" + "a." * 20 + "a = 1", 2, "too many dots"),
        ("[mesh]\na = '" + "x" * 20_000 + "'", 2, "longer than"),
        ("\n# nothing\n", 1, "there is no table [mesh]"),
        ("mesh = 1", 1, "must be a table, not an integer"),
        ("[[mesh]]", 1, "must be a table, not a list"),
    ],
)
def test_bad_toml(text: str, line: int, message: str) -> None:
    problem = only({"mesh.toml": text.encode()})
    assert (problem.severity, problem.file, problem.line) == (ERROR, "mesh.toml", line)
    assert message in problem.message


@pytest.mark.parametrize(
    ("row", "node_name", "field", "message", "hint"),
    [
        ("[nodes.x]", None, "nodes", "is no table", "did you mean 'node'?"),
        ("[node]\nx = 1", "x", None, "must be a table, not an integer", "[node.NAME]"),
        ("[[node.x]]", "x", None, "must be a table, not a list", ""),
        ("[rollout2]", None, "rollout2", "is no table", "did you mean 'rollout'?"),
        ("[zzz]", None, "zzz", "is no table", "known are"),
        ("[endpoint]", None, "endpoint", "is no table", "[node.NAME]"),
        ("[mtu]", None, "mtu", "is no table", "belongs into [mesh]"),
    ],
)
def test_a_table_that_nobody_knows(
    row: str, node_name: str | None, field: str | None, message: str, hint: str
) -> None:
    given = mesh("", row)
    problem = only(given)
    assert problem.line == place(given, "mesh.toml", row.split("\n")[-1])
    assert (problem.node, problem.field) == (node_name, field)
    assert message in problem.message
    assert hint in problem.hint


def test_a_table_in_the_file_of_a_node() -> None:
    own = node("alpha", 1).partition("\n")[2] + node("alpha", 1)
    problem = only(mesh() | {"nodes/alpha.toml": own.encode()})
    assert (problem.file, problem.line, problem.field) == ("nodes/alpha.toml", 5, "node")
    assert "top level" in problem.hint


def test_bytes_that_are_no_text() -> None:
    problem = only({"mesh.toml": b"[mesh]\n# \xff\n"})
    assert (problem.line, problem.message) == (2, "is not valid UTF-8")
    problem = only(mesh() | {"nodes/alpha.toml": b"\n\n\0"})
    assert (problem.file, problem.line, problem.node) == ("nodes/alpha.toml", 3, "alpha")


INI = "[mesh]\ninterface = wg0\nmesh_cidr = 10.40.0.0/24\n"


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        (INI + "nonsense\n", 4, None, "neither a [section] nor key = value"),
        (INI + "= x\n", 4, None, "neither a [section] nor key = value"),
        (INI + "port = 1\nport = 2\n", 5, "port", "stands twice, first in line 4"),
        (INI + "port =\n", 4, "port", "is empty"),
        (INI + "port = # later\n", 4, "port", "is empty"),
        (INI + "[mesh]\n", 4, "mesh", "stands twice, first in line 1"),
        (INI + "[node]\n", 4, None, "takes a name"),
        (INI + '[mesh "x"]\n', 4, None, "takes no name"),
        (INI + "[node.alpha]\n", 4, None, "is no section header"),
        (INI + "[node alpha]\n", 4, None, "is no section header"),
        (INI + "[mesh\n", 4, None, "is no section header"),
        (INI + "[nodes]\nx = 1\n", 4, "nodes", "is no section of an inventory"),
        ("x = 1\n" + INI, 1, None, "before the first section"),
        ("# nothing\n", 1, "mesh", "there is no section [mesh]"),
        (INI + "# \0\n", 4, None, "control character U+0000"),
        (INI + "dns = 1.1.1.1,,\n", 4, "dns", "is no IP address"),
        (INI + "private_key = abc\n", 4, "private_key", "a secret"),
    ],
)
def test_bad_ini(text: str, line: int, field: str | None, message: str) -> None:
    problems = read({"mesh.conf": text.encode()}).problems
    assert {(p.severity, p.file, p.line, p.field) for p in problems} == {
        (ERROR, "mesh.conf", line, field)
    }
    assert message in problems[0].message


def test_a_node_twice_in_ini() -> None:
    section = f'[node "alpha"]\naddress = 10.40.0.1/24\npublic_key = {key(1)}\n'
    problem = only({"mesh.conf": (INI + section + section).encode()})
    assert (problem.line, problem.node) == (7, "alpha")
    assert "first in line 4" in problem.message


def test_ini_separates_no_command_of_a_hook() -> None:
    """A semicolon after a blank is a comment, but in a hook."""
    section = (
        f'[node "alpha"]\naddress = 10.40.0.1/24\npublic_key = {key(1)}\n'
        "post_up = a ; b # c\npost_down = c;d\nendpoint = x.example.com ; why\n"
    )
    result = read({"mesh.conf": (INI + section).encode()})
    assert result.inventory is not None
    (alpha,) = result.inventory.nodes
    assert (alpha.post_up, alpha.post_down) == ("a ; b", "c;d")
    assert str(alpha.endpoint) == "x.example.com:51820"
