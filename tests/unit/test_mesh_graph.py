"""Pictures of meshes: nothing lies over anything else, and no name becomes markup."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given

from tests.unit import pictures
from tests.unit.mesh_inventories import inventories, inventory, node, star
from wgmesh.cli.main import main
from wgmesh.mesh import diagram, drawing
from wgmesh.mesh.graph import MOST_TUNNELS, Dot, Picture, Role, picture
from wgmesh.model.inventory import Inventory

ADVANCE = 0.602
"""The width of DejaVu Sans Mono's letters, in em."""

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "<script>alert(1)</script>",
    '"]; click n0 "javascript:x"',
    "a\\",
    'x" -- "y',
    "]]><!--",
    "one\ntwo",
    "&lt;#quot;",
    "%%{init}%%",
)


@dataclass(frozen=True, slots=True)
class Box:
    """What a label or a symbol takes up."""

    what: str
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Tell whether the two have a point in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def holds(self, other: "Box") -> bool:
        """Tell whether `other` lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom

    def is_cut(self, line: tuple[float, ...]) -> bool:
        """Tell whether a line segment comes inside (Liang and Barsky)."""
        x, y, to_x, to_y = line
        first, last = 0.0, 1.0
        for start, step, low, high in (
            (x, to_x - x, self.left, self.right),
            (y, to_y - y, self.top, self.bottom),
        ):
            if step == 0:
                if not low < start < high:
                    return False
                continue
            near, far = sorted([(low - start) / step, (high - start) / step])
            first, last = max(first, near), min(last, far)
        return first < last


def label(text: ElementTree.Element) -> Box:
    """Return the box of a text as DejaVu Sans Mono draws it."""
    size, x, y = (float(text.attrib[name]) for name in ("font-size", "x", "y"))
    wide = len(text.text or "") * size * ADVANCE
    left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[text.attrib["text-anchor"]]
    return Box(text.text or "", left, y - 0.76 * size, left + wide, y + 0.24 * size)


def outline(shape: ElementTree.Element) -> Box:
    """Return the box of a circle, a polygon or a rectangle."""
    kind = shape.tag.removeprefix(SVG)
    if kind == "circle":
        x, y, r = (float(shape.attrib[name]) for name in ("cx", "cy", "r"))
        return Box(kind, x - r, y - r, x + r, y + r)
    if kind == "rect":
        numbers = [float(shape.attrib.get(name, 0)) for name in ("x", "y", "width", "height")]
        x, y, wide, high = numbers
        return Box(kind, x, y, x + wide, y + high)
    points = [tuple(map(float, each.split(","))) for each in shape.attrib["points"].split()]
    xs, ys = zip(*points, strict=True)
    return Box(kind, min(xs), min(ys), max(xs), max(ys))


def shapes(of: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Yield the circles and polygons of an element."""
    yield from (each for each in of if each.tag in (f"{SVG}circle", f"{SVG}polygon"))


def check(text: str) -> int:
    """Require that nothing lies over anything else; returns how many nodes there are."""
    root = ElementTree.fromstring(text)
    sheet, *frames = map(outline, root.findall(f"{SVG}rect"))
    boxes = [label(each) for each in root.findall(f"{SVG}text")]
    boxes += map(outline, shapes(root))
    groups = [each for each in root.findall(f"{SVG}g") if each.find(f"{SVG}title") is not None]
    for group in groups:
        labels = [label(each) for each in group.findall(f"{SVG}text")]
        assert len(labels) == 2
        (symbol,) = map(outline, shapes(group))
        if symbol.holds(labels[0]):  # a hub has its label inside
            assert symbol.holds(labels[1]) and not labels[0].meets(labels[1])
            boxes.append(symbol)
        else:
            boxes += [symbol, *labels]
    for box in (*boxes, *frames):
        assert sheet.holds(box), box
    for one, other in itertools.combinations(boxes, 2):
        assert not one.meets(other), (one, other)
    for frame, box in itertools.product(frames, boxes):
        assert frame.holds(box) or not frame.meets(box), box
    (lines,) = [each for each in root.findall(f"{SVG}g") if each not in groups]
    for path in lines:
        ends = re.fullmatch(r"M(\S+) (\S+)L(\S+) (\S+)", path.attrib["d"])
        for box in boxes if ends is not None else ():
            written = box.what not in ("circle", "polygon") and not any(
                frame.holds(box) for frame in frames
            )
            assert not (written and box.is_cut(tuple(map(float, ends.groups())))), box  # type: ignore[union-attr]
    return len(groups)


MESHES = {
    "1": pictures.large(1, hubs=()),
    "2": pictures.large(2, hubs=()),
    "5": pictures.large(5, hubs=()),
    "30": pictures.large(30, hubs=()),
    "100": pictures.large(100, hubs=()),
    "star of 3": pictures.large(3, hubs=("athens",)),
    "star of 30": pictures.large(),
    "star of 100": pictures.large(100),
    "five hubs": pictures.large(40, hubs=("athens", "cairo", "lima", "oslo", "paris")),
    "hubs alone": pictures.large(4, hubs=("amsterdam", "athens", "atlanta", "berlin")),
    "star of 250": pictures.large(250, hubs=("frankfurt", "paris", "lima")),
}


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_nothing_lies_over_anything_else(mesh: Inventory) -> None:
    assert check(drawing.svg(picture(mesh))) == len(mesh.nodes)


@given(inventories())
def test_nor_in_any_other_mesh(mesh: Inventory) -> None:
    assert check(drawing.svg(picture(mesh))) == len(mesh.nodes)


def test_long_names_are_cut_and_told_in_full_by_a_title() -> None:
    name = "a" * 63
    mesh = inventory(replace(node("alpha"), name=name), node("bravo"))
    text = drawing.svg(picture(mesh))
    check(text)
    assert text.count(name) == 1 and f"<title>{name}, 10.40.0.1</title>" in text
    assert f">{'a' * 27}…</text>" in text


def test_the_same_mesh_is_the_same_picture() -> None:
    one, other = pictures.large(), pictures.large()
    turned = replace(other, nodes=other.nodes[::-1])
    for draw in (drawing.svg, diagram.mermaid, diagram.dot):
        assert draw(picture(one)) == draw(picture(turned))


def test_every_part_looks_different_without_colours_too() -> None:
    seen = set()
    for role in Role:
        for nat in (False, True):
            shown = Picture(
                "x", (Dot("alpha", role, nat, ()), Dot("bravo", Role.NODE, False, ())), ()
            )
            root = ElementTree.fromstring(drawing.svg(shown))
            group = next(each for each in root.findall(f"{SVG}g") if len(each) == 4)
            (symbol,) = shapes(group)
            points = [each.split(",") for each in symbol.attrib.get("points", "").split()]
            middle = outline(symbol)
            form = tuple(
                (round(float(x) - middle.left), round(float(y) - middle.top)) for x, y in points
            )
            seen.add((symbol.tag, form, "stroke-dasharray" in symbol.attrib))
            legend = [each.text for each in root.findall(f"{SVG}text")]
            assert ("dashed: behind NAT" in legend) is nat
    assert len(seen) == 2 * len(Role)


def test_roles_and_notes() -> None:
    mesh = pictures.small()
    shown = {dot.name: (dot.role, dot.nat, dot.notes) for dot in picture(mesh).dots}
    assert shown == {
        "amsterdam": (Role.NODE, False, ("10.40.0.1",)),
        "berlin": (Role.RELAY, False, ("10.40.0.2", "relay")),
        "home": (Role.SITE, True, ("10.40.0.3", "behind NAT", "192.168.3.0/24")),
        "laptop": (Role.NODE, True, ("10.40.0.4", "behind NAT")),
        "office": (Role.SITE, False, ("10.40.0.5", "192.168.5.0/24")),
        "oslo": (Role.EXIT, False, ("10.40.0.6", "exit")),
    }
    assert ("home", "laptop") not in picture(mesh).tunnels
    assert len(picture(mesh).tunnels) == 14
    hubs = star(node("alpha"), node("bravo"), node("charlie"), hubs=("charlie", "alpha"))
    assert [(dot.name, dot.notes[1:]) for dot in picture(hubs).dots] == [
        ("charlie", ("hub 1",)),
        ("alpha", ("hub 2",)),
        ("bravo", ()),
    ]


def test_many_tunnels_meet() -> None:
    assert picture(pictures.large(30, hubs=())).meeting is None
    for mesh, words in (
        (pictures.large(100, hubs=()), "every two nodes have a tunnel, unless both are behind NAT"),
        (MESHES["star of 250"], "every node has a tunnel to every hub"),
    ):
        seen = picture(mesh)
        assert (seen.tunnels, seen.meeting) == ((), words)
        for text in (diagram.mermaid(seen), diagram.dot(seen)):
            edges = re.findall(r"^    n\d+ -(?:-|--) (?:all|n\d+);?$", text, re.MULTILINE)
            assert len(edges) == len(mesh.nodes) <= MOST_TUNNELS
            assert words in text.replace("#44;", ",")


def hostile() -> Picture:
    """Return a picture of nodes that no inventory could have."""
    dots = tuple(Dot(name, Role.NODE, False, (name,)) for name in HOSTILE)
    return Picture(HOSTILE[0], dots, tuple(itertools.pairwise(HOSTILE)))


def test_hostile_names_in_svg() -> None:
    text = drawing.svg(hostile())
    check(text)
    root = ElementTree.fromstring(text)
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert tags == {"svg", "title", "rect", "text", "g", "path", "circle"}
    shown = {each.text for each in root.iter(f"{SVG}text")}
    assert {name.replace("\n", "\ufffd") for name in HOSTILE if len(name) <= 28} <= shown


def test_hostile_names_in_mermaid() -> None:
    lines = diagram.mermaid(hostile()).splitlines()
    nodes = [line for line in lines if ":::" in line]
    assert len(nodes) == len(HOSTILE)
    for line in nodes:
        assert re.fullmatch(
            r'    n\d+\("[A-Za-z0-9 .:/_#;-]*<br/>[A-Za-z0-9 .:/_#;-]*"\):::node', line
        )
    assert len(lines) == 1 + 2 * len(HOSTILE)


def test_hostile_names_in_dot() -> None:
    text = diagram.dot(hostile())
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    assert not set(bare) & set("<>%&#\\")
    assert bare.count("{") == bare.count("}") == 1
    lines = [line for line in bare.splitlines() if "label" in line]
    assert set(re.sub(r"n\d+", "n", line) for line in lines) == {
        '    n [label="", shape=box, color=""];'
    }
    assert len(lines) == len(HOSTILE)
    assert '"&amp;lt;#quot;\\n' in text
    assert len(text.splitlines()) == 4 + 2 * len(HOSTILE) - 1


@pytest.mark.parametrize("name", pictures.SHOWN)
def test_the_pictures_in_docs_are_what_is_drawn(name: str) -> None:
    assert (pictures.DOCS / name).read_text() == drawing.svg(picture(pictures.SHOWN[name]()))


MESH = """\
[mesh]
interface = "wg0"
mesh_cidr = "10.40.0.0/24"
[node.alpha]
address = "10.40.0.1/32"
endpoint = "alpha.example.com"
public_key = "F0BhMyDIiR7ZfuurIVx8pqSsLMhQYOjWQ3cPGmxVaF8="
"""


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ([], "<svg "),
        (["--format", "svg"], "<svg "),
        (["--format", "mermaid"], "flowchart LR\n"),
        (["--format", "dot"], 'graph "wg0: full mesh of 1 node" {\n'),
    ],
)
def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], start: str
) -> None:
    (tmp_path / "mesh.toml").write_text(MESH)
    assert main(["graph", "-c", str(tmp_path), *options]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(start) and "alpha" in out and err == ""
    (tmp_path / "mesh.toml").write_text(MESH.replace("10.40.0.1/32", "10.41.0.1/32"))
    assert main(["graph", "-c", str(tmp_path), *options]) == 3
    out, err = capsys.readouterr()
    assert out == "" and "lies outside of mesh_cidr" in err


@pytest.mark.parametrize("form", ["svg", "dot", "mermaid"])
def test_a_mesh_that_has_no_nodes_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """As `init` makes it."""
    path = tmp_path / "mesh.toml"
    path.write_text('[mesh]\ninterface = "wg0"\nmesh_cidr = "10.40.0.0/24"\n')
    assert main(["graph", "-c", str(path), "--format", form]) == 0
    shown = capsys.readouterr().out
    if form == "svg":
        root = ElementTree.fromstring(shown)
        assert float(root.get("height", "0")) > 100
