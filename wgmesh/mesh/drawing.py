"""A picture of a mesh as SVG 1.1, without a browser: hubs in the middle, all others at both sides.

Labels are in a monospaced font, so that their widths are known. Shapes and dashes say what colours
say, for those who see colours differently.
"""

from collections.abc import Iterator
from html import escape
from math import sqrt

from wgmesh.frozen import frozen
from wgmesh.mesh.diagram import COLOURS
from wgmesh.mesh.graph import Dot, Picture, Role

TITLE_SIZE, NAME_SIZE, NOTE_SIZE = 18, 13, 11
WIDTH_EM = 0.61
"""No wider are the letters of common monospaced fonts: DejaVu 0.602, Menlo 0.602, Consolas 0.55."""

_MOST_NAME, _MOST_NOTES = 28, 46
_ROW_LEAST, _ROW_MOST = 40, 76
_MARGIN = 24
_TOP = 56
_LEGEND_ROW = 24
_SYMBOL, _GAP = 9, 8
_HUB_HEIGHT, _HUB_STEP = 46, 92
_CAPTION = 40
_FLAT = 0.8
"""Less than half an ellipse: else a line would leave the first node through its label."""
_HUB_FILL = "#fff3e8"
_WORDS = {
    Role.HUB: "hub",
    Role.EXIT: "exit",
    Role.RELAY: "relay between nodes behind NAT",
    Role.SITE: "networks behind it",
    Role.NODE: "node",
}
_FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"


@frozen
class Spot:
    """Where the centre of a node is drawn; `side` is -1 or 1, and 0 for a hub in the middle."""

    dot: Dot
    x: float
    y: float
    side: int


@frozen
class Sheet:
    """Where everything is, in px; `middle` and `centre` are x and y of the mesh's own middle."""

    width: float
    height: float
    spots: tuple[Spot, ...]
    middle: float
    centre: float
    legend: tuple[tuple[float, float, Role, bool, str], ...]


def svg(picture: Picture) -> str:
    """Return the picture as an SVG document, byte for byte the same for the same picture."""
    return "".join(f"{line}\n" for line in _document(picture, _sheet(picture)))


def _sheet(picture: Picture) -> Sheet:
    inside = [dot for dot in picture.dots if dot.role is Role.HUB]
    around = [dot for dot in picture.dots if dot.role is not Role.HUB]
    rows = max((len(around) + 1) // 2, 1)
    step = max(_ROW_LEAST, min(_ROW_MOST, 560 / rows))
    height = max(rows * step, (len(inside) + 1) * _HUB_STEP, 3 * _ROW_LEAST)
    waist = max([40.0, *(_hub_width(dot) / 2 + 60 for dot in inside)])
    stack = height / max(len(inside), 1)
    if picture.meeting is not None:
        waist = _meeting_width(picture) / 2 + 40
        stack = _HUB_STEP
    bulge = min(320.0, max(80.0, 0.4 * height))
    labels = max([_label_width(dot) for dot in around], default=0.0)
    half = max(
        waist + bulge + _SYMBOL + _GAP + labels, _width(picture.title, TITLE_SIZE) / 2, 240.0
    )
    middle, centre = round(half + _MARGIN, 1), round(_TOP + height / 2, 1)
    spots = []
    for number, dot in enumerate(inside):
        y = centre + (number - (len(inside) - 1) / 2) * stack
        y += _CAPTION / 2 if picture.meeting is not None else 0
        spots.append(Spot(dot, middle, round(y, 1), 0))
    for number, dot in enumerate(around):
        side, row, count = -1, number, rows
        if number >= rows:
            side, row, count = 1, number - rows, len(around) - rows
        share = (2 * row - (count - 1)) / rows
        x = middle + side * (waist + bulge * sqrt(1 - (_FLAT * share) ** 2))
        spots.append(Spot(dot, round(x, 1), round(centre + share * rows * step / 2, 1), side))
    legend = tuple(_legend(picture, 2 * middle, _TOP + height + _MARGIN))
    bottom = (legend[-1][1] if legend else _TOP + height) + _MARGIN
    return Sheet(2 * middle, round(bottom, 1), tuple(spots), middle, centre, legend)


def _legend(
    picture: Picture, width: float, top: float
) -> Iterator[tuple[float, float, Role, bool, str]]:
    """Yield what there is to explain, from left to right, in as many lines as that takes."""
    entries = [(role, False, _WORDS[role]) for role in Role]
    shown = [each for each in entries if any(dot.role is each[0] for dot in picture.dots)]
    if any(dot.nat for dot in picture.dots):
        shown.append((Role.NODE, True, "dashed: behind NAT"))
    x, y = float(_MARGIN), top + _LEGEND_ROW / 2
    for role, nat, words in shown:
        wide = 2 * _SYMBOL + _GAP + _width(words, NOTE_SIZE) + 2 * _MARGIN
        if x > _MARGIN and x + wide > width:
            x, y = float(_MARGIN), y + _LEGEND_ROW
        yield round(x + _SYMBOL, 1), round(y, 1), role, nat, words
        x += wide


def _document(picture: Picture, on: Sheet) -> Iterator[str]:
    size = f'width="{on.width:g}" height="{on.height:g}" viewBox="0 0 {on.width:g} {on.height:g}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}" role="img">'
    yield f"<title>{_text(picture.title)}</title>"
    yield f'<rect width="{on.width:g}" height="{on.height:g}" fill="#ffffff"/>'
    yield _words(on.middle, 32, TITLE_SIZE, picture.title, "middle", bold=True)
    yield from _lines(picture, on)
    if picture.meeting is not None:
        wide = _meeting_width(picture)
        high = _CAPTION + _HUB_STEP * sum(spot.side == 0 for spot in on.spots)
        top = on.centre - high / 2
        yield (
            f'<rect x="{on.middle - wide / 2:.1f}" y="{top:.1f}" width="{wide:.1f}"'
            f' height="{high:.1f}" rx="20" fill="#f2f2f2" stroke="#999999"/>'
        )
        yield _words(on.middle, top + 24, NAME_SIZE, picture.meeting, "middle")
    for spot in on.spots:
        yield "<g>"
        yield f"<title>{_text(', '.join([spot.dot.name, *spot.dot.notes]))}</title>"
        yield from _hub(spot) if spot.side == 0 else _around(spot)
        yield "</g>"
    for x, y, role, nat, words in on.legend:
        yield _symbol(x, y, role, nat=nat)
        yield _words(x + _SYMBOL + _GAP, y + 4, NOTE_SIZE, words, "start")
    yield "</svg>"


def _lines(picture: Picture, on: Sheet) -> Iterator[str]:
    """Yield the tunnels, which lie under everything else; many of them are paler."""
    at = {spot.dot.name: spot for spot in on.spots}
    hubs = [spot for spot in on.spots if spot.side == 0]
    count = len(picture.tunnels)
    opacity = 0.8 if count <= 60 else 0.5 if count <= 200 else 0.3
    yield f'<g fill="none" stroke="#7a7a7a" stroke-width="1" stroke-opacity="{opacity:g}">'
    for one, other in picture.tunnels:
        a, b = at[one], at[other]
        apart = abs(hubs.index(a) - hubs.index(b)) if a in hubs and b in hubs else 0
        if apart > 1:  # past the hubs between the two
            x = a.x + max(_hub_width(spot.dot) for spot in hubs) + 12 * apart
            yield f'<path d="M{a.x:g} {a.y:g}Q{x:.1f} {(a.y + b.y) / 2:.1f} {b.x:g} {b.y:g}"/>'
        else:
            yield f'<path d="M{a.x:g} {a.y:g}L{b.x:g} {b.y:g}"/>'
    if picture.meeting is not None:
        for spot in on.spots:
            if spot.side:
                yield f'<path d="M{spot.x:g} {spot.y:g}L{on.middle:g} {on.centre:g}"/>'
    yield "</g>"


def _around(spot: Spot) -> Iterator[str]:
    yield _symbol(spot.x, spot.y, spot.dot.role, nat=spot.dot.nat)
    x = spot.x + spot.side * (_SYMBOL + _GAP)
    anchor = "start" if spot.side > 0 else "end"
    yield _words(x, spot.y - 2, NAME_SIZE, _name(spot.dot), anchor, bold=True)
    yield _words(x, spot.y + 12, NOTE_SIZE, _notes(spot.dot), anchor, colour="#444444")


def _hub(spot: Spot) -> Iterator[str]:
    """Yield a hub: a hexagon with its label inside."""
    half, high = _hub_width(spot.dot) / 2, _HUB_HEIGHT / 2
    corners = [(-half, 0), (14 - half, -high), (half - 14, -high)]
    corners += [(-x, -y) for x, y in corners]
    points = " ".join(f"{spot.x + x:.1f},{spot.y + y:.1f}" for x, y in corners)
    yield f'<polygon points="{points}" {_paint(Role.HUB, nat=spot.dot.nat, fill=_HUB_FILL)}/>'
    yield _words(spot.x, spot.y - 3, NAME_SIZE, _name(spot.dot), "middle", bold=True)
    yield _words(spot.x, spot.y + 13, NOTE_SIZE, _notes(spot.dot), "middle", colour="#444444")


def _symbol(x: float, y: float, role: Role, *, nat: bool) -> str:
    paint = _paint(role, nat=nat, fill=_HUB_FILL if role is Role.HUB else COLOURS[role])
    s = _SYMBOL
    shapes: dict[Role, list[tuple[float, float]]] = {
        Role.HUB: [(-s, 0), (-s / 2, -s), (s / 2, -s), (s, 0), (s / 2, s), (-s / 2, s)],
        Role.EXIT: [(-s, -s / 2), (0, -s / 2), (0, -s), (s, 0), (0, s), (0, s / 2), (-s, s / 2)],
        Role.RELAY: [(-s, 0), (0, -s), (s, 0), (0, s)],
        Role.SITE: [(1 - s, 1 - s), (s - 1, 1 - s), (s - 1, s - 1), (1 - s, s - 1)],
    }
    if role is Role.NODE:
        return f'<circle cx="{x:g}" cy="{y:g}" r="{s - 2}" {paint}/>'
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[role])
    return f'<polygon points="{points}" {paint}/>'


def _paint(role: Role, *, nat: bool, fill: str) -> str:
    dashed = ' stroke-dasharray="4 2"' if nat else ""
    return f'fill="{"#ffffff" if nat else fill}" stroke="{COLOURS[role]}" stroke-width="2"{dashed}'


def _words(
    x: float, y: float, size: int, text: str, anchor: str, *, bold: bool = False, colour: str = ""
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{weight}'
        f' fill="{colour or "#1a1a1a"}">{_text(text)}</text>'
    )


def _name(dot: Dot) -> str:
    return _cut(dot.name, _MOST_NAME)


def _notes(dot: Dot) -> str:
    return _cut(", ".join(dot.notes), _MOST_NOTES)


def _meeting_width(picture: Picture) -> float:
    hubs = [_hub_width(dot) for dot in picture.dots if dot.role is Role.HUB]
    return max([_width(picture.meeting or "", NAME_SIZE), *hubs]) + 40


def _label_width(dot: Dot) -> float:
    return max(_width(_name(dot), NAME_SIZE), _width(_notes(dot), NOTE_SIZE))


def _hub_width(dot: Dot) -> float:
    return _label_width(dot) + 44


def _width(text: str, size: int) -> float:
    return len(text) * size * WIDTH_EM


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(text: str) -> str:
    """Return `text` for a document of XML, which has no control characters."""
    return escape("".join(each if each.isprintable() else "\ufffd" for each in text))
