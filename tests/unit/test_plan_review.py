"""What a reviewer asks of a change, and `wgmesh plan` answers: real git, real inventories."""

import json
import re
from pathlib import Path

import pytest

from tests.unit.inventory_texts import key
from tests.unit.signing import run
from wgmesh.agent import planning
from wgmesh.cli.main import main
from wgmesh.cli.plan import as_json, as_text

MESH = """\
[mesh]
interface = "wg0"
mesh_cidr = ["10.40.0.0/24", "fd40::/64"]
"""
NAMES = ("alpha", "bravo", "charlie", "delta")
CAN = "every pair of nodes that could talk still can"
SAFE = "every tunnel that stays works on, in whatever order the nodes apply this"


def entry(
    name: str, extra: str = "", *, families: tuple[int, ...] = (4, 6), endpoint: bool = True
) -> str:
    """Return a node's file."""
    number = NAMES.index(name) + 1
    addresses = {4: f"10.40.0.{number}/32", 6: f"fd40::{number}/128"}
    where = f'endpoint = "{name}.example.com"\n' if endpoint else ""
    listed = json.dumps([addresses[family] for family in families])
    return f'address = {listed}\npublic_key = "{key(number)}"\n{where}{extra}'


class Review:
    """A repository with an inventory, whose change since its last commit is reviewed."""

    def __init__(self, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.tree = tree
        self._capsys = capsys
        (tree / "nodes").mkdir(parents=True)
        run(["git", "init", "--quiet", "--initial-branch=main"], tree)
        self.write("mesh.toml", MESH)

    def write(self, name: str, text: str) -> None:
        """Write a file of the inventory."""
        (self.tree / name).write_text(text)

    def nodes(self, **texts: str) -> None:
        """Write the files of nodes."""
        for name, text in texts.items():
            self.write(f"nodes/{name}.toml", text)

    def commit(self, message: str = "change") -> None:
        """Commit all that is there."""
        run(["git", "add", "--all"], self.tree)
        run(["git", "commit", "--quiet", "--no-gpg-sign", "-m", message], self.tree)

    def plan(self, *options: str, base: str | None = "HEAD", code: int = 0) -> str:
        """Return what `plan` prints, `base` None: of the whole; it must exit with `code`."""
        words = ["plan", "-c", str(self.tree), *options]
        assert main([*words, "--base", base] if base else words) == code
        out, err = self._capsys.readouterr()
        progress = r"\d+ of \d+ nodes|order: \d+ of \d+ nodes|reach: \d+ of \d+ groups of nodes"
        assert all(re.fullmatch(progress, line) for line in err.splitlines()), err
        return out


@pytest.fixture
def review(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Review:
    """Make a mesh of three."""
    made = Review(tmp_path / "mesh", capsys)
    made.nodes(**{name: entry(name) for name in NAMES[:3]})
    made.commit()
    return made


def test_pairs_that_could_talk_and_cannot_any_more(review: Review) -> None:
    review.nodes(bravo=entry("bravo", families=(6,)))
    lines = review.plan().splitlines()
    assert CAN in lines and lines[-1] == SAFE
    review.commit()
    review.nodes(charlie=entry("charlie", families=(4,)))
    lines = review.plan(code=3).splitlines()
    assert CAN not in lines
    start = lines.index("these could talk, and cannot any more:")
    assert lines[start + 1 :] == [
        "  bravo and charlie: they have no address of one family",
        SAFE,
        "to do it all the same, say so in a commit message: Wgmesh-Allow-Break: bravo",
    ]
    assert review.plan("--format", "markdown", code=3).startswith("### Pairs lose each other\n")
    told = json.loads(review.plan("--format", "json", code=3))
    assert (told["safe"], told["ok"], told["allow"]) == (True, False, ["bravo"])
    assert told["reach"] == {
        "pairs": 3,
        "unreachable": [
            {
                "from": ["bravo"],
                "to": ["charlie"],
                "mutual": True,
                "over": None,
                "loop": False,
                "why": "they have no address of one family",
                "since": "lost",
                "allowed": False,
            }
        ],
        "asymmetric": [],
    }

    review.commit("Families\n\nWgmesh-Allow-Break: charlie")
    text = review.plan(base="HEAD~1")
    assert text.endswith("allowed by Wgmesh-Allow-Break\n")
    shown = review.plan("--format", "markdown", base="HEAD~1")
    assert shown.startswith("### Pairs lose each other, allowed by `Wgmesh-Allow-Break`\n")
    review.nodes(alpha=entry("alpha", "persistent_keepalive = 25\n"))
    lines = review.plan().splitlines()
    assert CAN in lines and "1 pairs did not reach each other before, and do not now" in lines


def test_a_new_node_that_reaches_not_all(review: Review) -> None:
    review.nodes(bravo=entry("bravo", families=(6,)))
    review.commit()
    review.nodes(delta=entry("delta", families=(4,)))
    lines = review.plan().splitlines()
    start = lines.index("these do not reach each other:")
    assert lines[start - 1] == CAN
    assert lines[start + 1] == "  bravo and delta: they have no address of one family"
    whole = review.plan(base=None).splitlines()
    assert whole[-2:] == lines[start : start + 2]
    shown = review.plan("--format", "markdown", base=None)
    assert shown.startswith("### The mesh as a whole\n\n```text\nthese do not reach each other:\n")


def test_answers_that_would_go_another_way(review: Review) -> None:
    review.write("mesh.toml", MESH + 'topology = "star"\nhubs = ["alpha", "bravo"]\n')
    review.nodes(delta=entry("delta"))
    review.commit()
    review.nodes(bravo=entry("bravo", 'allowed_ips = "10.40.0.4/31"\n'))
    lines = review.plan(code=3).splitlines()
    start = lines.index("these could talk, and cannot any more:")
    assert lines[start + 1 : start + 4] == [
        "  delta does not reach charlie over IPv4: it comes to charlie through alpha,"
        " and charlie takes it from bravo only",
        "answers would go another way than what they answer:",
        "  charlie -> bravo -> delta, but delta -> alpha -> charlie",
    ]
    told = json.loads(review.plan("--format", "json", code=3))
    assert told["reach"]["asymmetric"] == [
        {
            "there": ["charlie", "bravo", "delta"],
            "back": ["delta", "alpha", "charlie"],
            "pairs": 1,
            "since": "new",
        }
    ]


def test_commands_that_run_as_root(review: Review) -> None:
    hook = 'post_up = "logger \'```\'"\npost_down = "true %i"\n'
    review.nodes(bravo=entry("bravo", hook))
    lines = review.plan().splitlines()
    assert "other commands than before run as root, where wgmesh.toml allows hooks, on bravo" in (
        lines
    )
    as_root = "as root where its wgmesh.toml allows hooks"
    assert f"  + post_up, {as_root}: logger '```'" in lines
    assert f"  + post_down, {as_root}: true wg0" in lines
    assert json.loads(review.plan("--format", "json"))["hooks"] == ["bravo"]
    shown = review.plan("--format", "markdown").splitlines()
    assert len([line for line in shown if line.strip().startswith("```")]) == 4
    review.commit()
    review.nodes(alpha=entry("alpha", "persistent_keepalive = 25\n"))
    assert "as root" not in review.plan()
    assert "commands run as root, where wgmesh.toml allows hooks, on bravo" in review.plan(
        base=None
    )
    review.nodes(bravo=entry("bravo"))
    assert f"  - post_down, {as_root}: true wg0" in review.plan().splitlines()
    assert "other commands" not in review.plan()


def test_exits_and_nat(review: Review) -> None:
    out = 'exit_out_iface = "eth0"\nenable_nat = true\n'
    review.nodes(bravo=entry("bravo", out))
    use = 'exit_nodes = ["bravo"]\nenable_exit_for_nodes = ["charlie"]\n'
    review.write("mesh.toml", MESH + use)
    lines = review.plan().splitlines()
    bravo, charlie = lines.index("bravo: changed"), lines.index("charlie: changed")
    nat = "  + NAT: what comes from the mesh leaves eth0 with this node's address"
    exits = "  + exits: bravo (latency), tried each 20 s; without one internet traffic is blocked"
    assert nat in lines[bravo:charlie] and exits in lines[charlie:]
    assert "  + sysctl net.ipv4.ip_forward=1" in lines[bravo:charlie]
    assert "  + route 0.0.0.0/0 table 101" in lines[charlie:]
    assert "  + route unreachable 0.0.0.0/0 table 101" in lines[charlie:]
    review.commit()
    review.write("mesh.toml", MESH + use + 'on_no_exit = "direct"\n')
    lines = review.plan().splitlines()
    assert [line for line in lines if "exits" in line] == [
        "  + exits: bravo (latency), tried each 20 s;"
        " without one internet traffic is let out by the uplink",
        "  - exits: bravo (latency), tried each 20 s; without one internet traffic is blocked",
    ]


def test_how_long_tunnels_are_down(review: Review) -> None:
    moved = entry("bravo").replace("bravo.example.com", "other.example.com")
    review.nodes(bravo=moved)
    assert "down for 75 s at most, where nodes poll as they do by default" in review.plan(code=3)
    rollout = '[rollout]\ncanary = ["bravo"]\nsoak_seconds = 300\n'
    review.write("mesh.toml", MESH + rollout)
    assert "down for 375 s at most" in review.plan(code=3)
    review.write("mesh.toml", MESH + rollout.replace("bravo", "delta"))
    review.nodes(delta=entry("delta"))
    assert "down for 75 s at most" in review.plan(code=3)
    told = json.loads(review.plan("--format", "json", code=3))
    assert {each["seconds"] for each in told["breaks"]} == {75}
    assert told["rollout"] == {"canary": ["delta"], "soak_seconds": 300}


def test_who_goes_first(review: Review) -> None:
    alive = "persistent_keepalive = 20\n"
    review.nodes(bravo=entry("bravo", alive))
    assert "first" not in review.plan()
    told = json.loads(review.plan("--format", "json"))
    assert told["rollout"] is told["later_rollout"] is None
    review.write("mesh.toml", MESH + '[rollout]\ncanary = ["bravo"]\nsoak_seconds = 300\n')
    assert "bravo first, the others 300 s after they have seen it" in review.plan().splitlines()
    review.commit()
    review.write("mesh.toml", MESH + '[rollout]\ncanary = ["alpha"]\n')
    review.nodes(bravo=entry("bravo"))
    lines = review.plan().splitlines()
    assert "bravo first, the others 300 s after they have seen it" in lines
    assert "later changes: alpha first, the others 600 s after they have seen it" in lines
    told = json.loads(review.plan("--format", "json"))
    assert told["rollout"] == {"canary": ["bravo"], "soak_seconds": 300}
    later = {"canary": ["alpha"], "soak_seconds": 600}
    assert told["later_rollout"] == later
    told = json.loads(review.plan("--format", "json", base=None))
    assert (told["rollout"], told["later_rollout"]) == (None, later)
    review.write("mesh.toml", MESH)
    assert "later changes: all nodes at once" in review.plan().splitlines()


def test_who_goes_first_is_told_where_nothing_else_changes(review: Review) -> None:
    rollout = '[rollout]\ncanary = ["bravo"]\nsoak_seconds = 300\n'
    first = "bravo first, the others 300 s after they have seen it"
    for was, will, told in (
        (MESH, MESH + rollout, [first]),
        (MESH + rollout, MESH, [first, "later changes: all nodes at once"]),
    ):
        review.write("mesh.toml", was)
        run(
            ["git", "commit", "--quiet", "--no-gpg-sign", "--allow-empty", "-am", "was"],
            review.tree,
        )
        assert review.plan() == "no node changes\n"
        review.write("mesh.toml", will)
        lines = review.plan().splitlines()
        assert lines[0] == "no node changes" and [*lines[2:-1]] == told
        verdict, _, _ = review.plan("--format", "markdown").partition("### What each node does")
        assert verdict.startswith("### Safe in every order\n")
        assert all(line in verdict.splitlines() for line in told)


def test_tunnels_that_pause(review: Review) -> None:
    alive = "persistent_keepalive = 20\n"
    review.nodes(bravo=entry("bravo", alive))
    review.commit()
    moved = entry("bravo", alive).replace("bravo.example.com", "other.example.com")
    review.nodes(bravo=moved)
    lines = review.plan().splitlines()
    start = lines.index("these tunnels may carry nothing for a moment:")
    assert lines[start + 1 :] == [
        "  alpha and bravo: up to 20 s, until a keepalive finds the way",
        "  bravo and charlie: up to 20 s, until a keepalive finds the way",
        SAFE,
    ]
    told = json.loads(review.plan("--format", "json"))
    assert told["pauses"] == [
        {"nodes": ["alpha", "bravo"], "seconds": 20},
        {"nodes": ["bravo", "charlie"], "seconds": 20},
    ]


def test_a_network_of_a_family_that_its_node_does_not_have(review: Review) -> None:
    review.nodes(
        alpha=entry("alpha", families=(4,)),
        bravo=entry("bravo", 'allowed_ips = "192.168.9.0/24"\n', families=(6,)),
        charlie=entry("charlie", 'allowed_ips = "fd99::/64"\n', families=(4,)),
    )
    lines = [line.strip() for line in review.plan(base=None).splitlines()]
    why = "they have no address of one family"
    assert f"alpha does not reach addresses of bravo: {why}" in lines
    assert (
        f"bravo does not reach alpha: {why}, unless bravo speaks from one in 192.168.9.0/24"
        in lines
    )
    assert [line for line in lines if line.startswith("bravo and charlie at their addresses: ")]


def test_what_a_forge_takes(review: Review) -> None:
    """A comment of GitHub's has at most 65,536 characters, however large the mesh."""
    (review.tree / "nodes/bravo.toml").unlink()
    shown = review.plan("--format", "markdown").splitlines()
    start = shown.index("alpha, charlie: changed")
    assert shown[start + 1] == "  - peer bravo" and "bravo: removed" in shown
    assert "alpha: changed" in review.plan().splitlines()
    names = [f"node-{number}" for number in range(200)]
    review.write("mesh.toml", MESH.replace("10.40.0.0/24", "10.40.0.0/16"))
    for number, name in enumerate(names):
        address = f"10.40.{1 + number // 250}.{1 + number % 250}/32"
        entry_text = f'address = "{address}"\npublic_key = "{key(100 + number)}"\n'
        entry_text += f'post_up = "true {number * 300}"\npost_down = "{"true; " * 40}"\n'
        review.write(f"nodes/{name}.toml", f'{entry_text}endpoint = "{name}.example.com"\n')
    comment = review.plan("--format", "markdown")
    assert 50_000 < len(comment) <= 60_000, "the CI of init cuts there"
    assert comment.splitlines()[-1] == "```" and comment.count("```") == 4
    assert comment.splitlines()[-2].endswith("lines more: `wgmesh plan` prints them")
    assert len(review.plan()) > 60_000


def grow(review: Review, nodes: int, mtu: int = 1420) -> None:
    """Make a mesh of so many nodes, all alike."""
    review.write("mesh.toml", f"{MESH}mtu = {mtu}\n")
    for number in range(nodes):
        address = f'["10.40.0.{20 + number}/32", "fd40::{20 + number}/128"]'
        text = f'address = {address}\npublic_key = "{key(100 + number)}"\n'
        review.write(f"nodes/n{number:02}.toml", f'{text}endpoint = "n{number}.example.com"\n')


MANY = "peers and routes are counted, since they are many: --node NAME lists those of a node"


def test_the_plan_of_a_large_mesh_is_a_line_for_each_node(review: Review) -> None:
    grow(review, 50)
    lines = review.plan(base=None).splitlines()
    assert lines.pop(0) == MANY
    assert [line.split(":")[0] for line in lines[:53]] == [
        *NAMES[:3],
        *(f"n{n:02}" for n in range(50)),
    ]
    assert lines[0] == (
        "alpha: planned: address 10.40.0.1/32, fd40::1/128, port 51820, mtu 1420;"
        " + 52 peers; + 2 routes"
    )
    comment = review.plan("--format", "markdown", base=None)
    assert lines[0] in comment and MANY in comment
    found = json.loads(review.plan("--format", "json", base=None))["nodes"]
    assert found[0]["lines"][1:] == ["+ 52 peers", "+ 2 routes"] and found[0]["counted"] is True


def test_all_of_one_node_of_a_large_mesh(review: Review) -> None:
    grow(review, 50)
    lines = review.plan("--node", "n07", base=None).splitlines()
    assert lines[0] == "n07: planned" and "+ peer" not in "".join(lines[54:])
    assert sum(line.startswith("  + peer ") for line in lines) == 52
    found = json.loads(review.plan("--node", "n07", "--format", "json", base=None))["nodes"]
    assert [(each["node"], each["counted"]) for each in found] == [("n07", False)]


def test_a_change_of_all_peers_of_a_large_mesh(review: Review) -> None:
    grow(review, 50)
    review.commit()
    grow(review, 50, mtu=1400)
    assert "alpha: changed\n  mtu: 1420 -> 1400\n" in review.plan(), "few lines"
    review.write("mesh.toml", f"{MESH}port = 51821\n")
    lines = review.plan(code=3).splitlines()
    together = "alpha, bravo, charlie, n00, n01, n02, n03, n04 and 45 more: changed"
    assert f"{together}: listen port: 51820 -> 51821; ~ 52 peers" in lines and lines[0] == MANY
    moved = "endpoint n7.example.com:51820 -> n7.example.com:51821"
    assert f"  ~ peer n07: {moved}, on 52 nodes" in lines
    assert f"  ~ peer n07: {moved}, on 52 nodes\n" in review.plan("--format", "markdown", code=3)
    details = json.loads(review.plan("--format", "json", code=3))["details"]
    assert {"line": f"~ peer n07: {moved}", "nodes": 52} in details
    lines = review.plan("--node", "alpha", code=3).splitlines()
    assert lines[0] == "alpha: changed" and MANY not in lines
    assert sum(line.startswith("  ~ peer ") for line in lines) == 52
    assert any(line.startswith("to do it all the same") for line in lines), "of the whole change"


def test_the_change_of_a_few_nodes_of_a_large_mesh_is_told_of_each_peer(review: Review) -> None:
    """It is the same on nearly all nodes: it is told once, and nothing of it is only counted."""
    grow(review, 200)
    review.commit()
    for number in range(12):
        file = review.tree / f"nodes/n{number:02}.toml"
        file.write_text(file.read_text().replace("example.com", "evil.example.net"))
    texts = [review.plan("--format", form, code=3) for form in ("text", "markdown")]
    moved = "endpoint n7.example.com:51820 -> n7.evil.example.net:51820"
    for text in texts:
        assert MANY not in text and f"\n  ~ peer n07: {moved}\n" in text
        assert "alpha, bravo, charlie, n100, n101, n102, n103, n104 and 183 more: changed" in text
    found = json.loads(review.plan("--format", "json", code=3))
    assert [node["counted"] for node in found["nodes"]] == [False] * 203 and not found["details"]
    assert sum(f"~ peer n07: {moved}" in node["lines"] for node in found["nodes"]) == 202


def test_a_change_of_all_pairs_is_counted_and_its_progress_told(
    review: Review, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(planning, "_PATIENCE_SECONDS", 0)
    grow(review, 70)
    review.commit()
    review.write("mesh.toml", f"{MESH}port = 51821\n")
    (review.tree / "nodes/alpha.toml").unlink()
    with caplog.at_level("INFO", logger="wgmesh.agent.planning"):
        found = planning.plan(str(review.tree), "HEAD")
    assert "order: 71 of 72 nodes" in caplog.messages
    assert any(line.startswith("reach: 1 of ") for line in caplog.messages)
    told = json.loads(as_json(found))
    assert told["breaks_in_all"] == len(found.breaks) == 72 * 71 // 2
    assert len(told["breaks"]) == 2000 and told["allow"] == ["*"]
    assert f"  … and {72 * 71 // 2 - 20} more\n" in as_text(found)


def test_nodes_that_join_a_large_mesh_hide_no_other_change(review: Review) -> None:
    grow(review, 200)
    review.commit()
    grow(review, 212)
    file = review.tree / "nodes/n07.toml"
    file.write_text(file.read_text().replace("n7.example.com", "evil.example.net"))
    text = review.plan(code=3)
    assert "~ peer n07: endpoint n7.example.com:51820 -> evil.example.net:51820\n" in text
    assert (
        "  + peer n211 at n211.example.com:51820" in text and "; + 214 peers; + 2 routes\n" in text
    )


def test_a_node_that_does_not_change(review: Review) -> None:
    review.nodes(charlie=entry("charlie", "managed = false\n"), delta=entry("delta"))
    assert review.plan("--node", "delta").startswith("delta: added\n")
    review.commit()
    review.write("mesh.toml", f"{MESH}# a remark\n")
    for form in ("text", "markdown"):
        assert "alpha does not change\n" in review.plan("--node", "alpha", "--format", form)


@pytest.mark.parametrize("base", [None, "HEAD"])
def test_a_node_that_is_not_there(
    review: Review, base: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "-c", str(review.tree), "--node", "\x1b[31mnobody"]
    assert main([*words, "--base", base] if base else words) == 2
    said = capsys.readouterr().err
    assert "there is no node '\\x1b[31mnobody'" in said and "\x1b" not in said


def test_what_a_forge_takes_of_many_ways_in_two_steps(review: Review) -> None:
    """Each pair of nodes whose keys change has steps of its own: there are many pairs."""

    def keyed(first: int) -> None:
        for number in range(40):
            text = f'address = "10.40.0.{10 + number}/32"\npublic_key = "{key(first + number)}"\n'
            review.write(f"nodes/n{number}.toml", f'{text}endpoint = "n{number}.example.com"\n')

    keyed(100)
    review.commit("forty nodes")
    keyed(200)
    comment = review.plan("--format", "markdown", code=3)
    steps = [line for line in comment.splitlines() if line.startswith("safe in two steps:")]
    assert len(comment.encode()) < 65_536 and len(steps) == 20
    [more] = [line for line in comment.splitlines() if line.endswith(" more such steps")]
    assert int(more.split()[2]) + 20 >= 40 * 39 // 2


def test_another_interface(review: Review) -> None:
    review.write("mesh.toml", MESH.replace("wg0", "wg1"))
    lines = review.plan().splitlines()
    assert lines.count("  interface: wg0 -> wg1") == 3
