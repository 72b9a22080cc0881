"""How problems and inventories print: text, GitHub's commands, JSON, the summary."""

import json

from tests.unit.inventory_texts import files, mesh, node
from wgmesh.inventory import load, read
from wgmesh.inventory.problems import as_github, as_json, as_text, summary, summary_values
from wgmesh.model.inventory import Problem, Severity

PLAIN = Problem(Severity.ERROR, "nodes/a.toml", 3, "a", "endpoint", "is bad", "be good")
FILE = Problem(Severity.WARNING, "mesh.toml", 0, None, None, "is odd")


def test_text() -> None:
    assert as_text([PLAIN, FILE]) == (
        "nodes/a.toml:3: error: node a: endpoint: is bad (be good)\nmesh.toml: warning: is odd\n"
    )
    assert as_text([]) == ""


def test_github() -> None:
    assert as_github([PLAIN, FILE]) == (
        "::error file=nodes/a.toml,line=3::node a: endpoint: is bad (be good)\n"
        "::warning file=mesh.toml::is odd\n"
    )


def test_github_escapes() -> None:
    hostile = Problem(Severity.ERROR, "a,b:c%\n.toml", 1, None, None, "50%\r\n::error::x")
    assert as_github([hostile]) == (
        "::error file=a%2Cb%3Ac%25%0A.toml,line=1::50%25%0D%0A::error::x\n"
    )


def test_json() -> None:
    given = mesh("mtuu = 1", node("alpha", 1))
    result = read(given)
    assert json.loads(as_json(result.problems, result.inventory)) == {
        "ok": False,
        "summary": None,
        "problems": [
            {
                "severity": "error",
                "file": "mesh.toml",
                "line": 4,
                "node": None,
                "field": "mtuu",
                "message": "is no field of an inventory",
                "hint": "did you mean 'mtu'?",
            }
        ],
    }


def test_json_of_a_good_inventory() -> None:
    inventory = load(files("single"))
    result = json.loads(as_json([FILE], inventory))
    assert result["ok"] is True
    assert result["summary"] == summary_values(inventory)
    assert result["summary"]["mesh"]["mesh_cidr"] == ["10.40.0.0/24", "fd40::/64"]
    assert result["summary"]["rollout"] == {"canary": ["alpha"], "soak_seconds": 900}
    charlie = result["summary"]["nodes"][2]
    assert charlie["name"] == "charlie"
    assert charlie["endpoint"] == "[2001:db8::3]:51821"
    assert charlie["enable_nat"] is True
    assert charlie["ssh_host"] is None


def test_summary() -> None:
    assert summary(load(files("single"))).split("\n") == [
        "mesh wg0: fullmesh, 3 nodes, 10.40.0.0/24, fd40::/64, port 51820, MTU 1400",
        "exits: charlie; primary charlie; policy manual; used by 2 nodes; without an exit: direct",
        "rollout: alpha first; soak 900 seconds",
        "",
        "NODE     ADDRESS                    ENDPOINT                 "
        "ALLOWED_IPS                    NOTES",
        "alpha    10.40.0.1/32, fd40::1/128  alpha.example.com:51820  "
        "192.168.50.0/24, 10.40.0.1/32  forwards",
        "bravo    10.40.0.2/24, fd40::2/64   behind NAT               "
        "-                              intermittent, unmanaged",
        "charlie  10.40.0.3/24               [2001:db8::3]:51821      "
        "-                              exit",
        "",
    ]


def test_summary_of_a_star_and_of_nothing() -> None:
    star = summary(load(mesh('topology = "star"\nhubs = "alpha"', node("alpha", 1))))
    assert "mesh wg0: star, 1 node, 10.40.0.0/24, port 51820, MTU 1420\n" in star
    assert "hubs: alpha; selection static\n" in star
    assert star.endswith("  hub\n")
    assert (
        summary(load(mesh())) == "mesh wg0: fullmesh, 0 nodes, 10.40.0.0/24, port 51820, MTU 1420\n"
    )
