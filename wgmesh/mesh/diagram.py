"""A picture of a mesh as text that other programs draw: Mermaid and DOT."""

from collections.abc import Iterator

from wgmesh.mesh.graph import Dot, Picture, Role

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .:/-_,")

_MERMAID = {
    Role.HUB: ("{{", "}}"),
    Role.EXIT: (">", "]"),
    Role.RELAY: ("[/", "\\]"),
    Role.SITE: ("[[", "]]"),
    Role.NODE: ("(", ")"),
}
_DOT = {
    Role.HUB: "hexagon",
    Role.EXIT: "rarrow",
    Role.RELAY: "trapezium",
    Role.SITE: "component",
    Role.NODE: "box",
}
COLOURS = {
    Role.HUB: "#d55e00",
    Role.EXIT: "#009e73",
    Role.RELAY: "#cc79a7",
    Role.SITE: "#0072b2",
    Role.NODE: "#555555",
}
"""Told apart by people who see colours differently: M. Okabe and K. Ito, Color Universal Design."""


def mermaid(picture: Picture) -> str:
    """Return the picture as a Mermaid flowchart, as GitHub and GitLab draw it in Markdown."""
    return "".join(f"{line}\n" for line in _mermaid(picture))


def _mermaid(picture: Picture) -> Iterator[str]:
    numbers = {dot.name: number for number, dot in enumerate(picture.dots)}
    yield "flowchart LR"
    for dot in picture.dots:
        opened, closed = _MERMAID[dot.role]
        label = "<br/>".join(map(_entities, _label(dot)))
        kind = f"{dot.role.value}Nat" if dot.nat else dot.role.value
        yield f'    n{numbers[dot.name]}{opened}"{label}"{closed}:::{kind}'
    for one, other in picture.tunnels:
        yield f"    n{numbers[one]} --- n{numbers[other]}"
    if picture.meeting is not None:
        yield f'    all(("{_entities(picture.meeting)}"))'
        for dot in picture.dots:
            yield f"    n{numbers[dot.name]} --- all"
    for kind, nat in sorted({(dot.role.value, dot.nat) for dot in picture.dots}):
        colour = COLOURS[Role(kind)]
        dashed = ",stroke-dasharray:5 3" if nat else ""
        name = f"{kind}Nat" if nat else kind
        yield f"    classDef {name} fill:#ffffff,color:#000000,stroke:{colour}{dashed}"


def dot(picture: Picture) -> str:
    """Return the picture in Graphviz's language."""
    return "".join(f"{line}\n" for line in _dot(picture))


def _dot(picture: Picture) -> Iterator[str]:
    yield f"graph {_quoted(picture.title)} {{"
    yield "    layout=fdp; overlap=false; splines=true;"
    yield '    node [fontname="sans-serif", penwidth=2];'
    for number, each in enumerate(picture.dots):
        label = "\\n".join(_quoted(part)[1:-1] for part in _label(each))
        style = ', style="dashed"' if each.nat else ""
        shape = f'shape={_DOT[each.role]}, color="{COLOURS[each.role]}"{style}'
        yield f'    n{number} [label="{label}", {shape}];'
    numbers = {each.name: number for number, each in enumerate(picture.dots)}
    for one, other in picture.tunnels:
        yield f"    n{numbers[one]} -- n{numbers[other]};"
    if picture.meeting is not None:
        yield f"    all [label={_quoted(picture.meeting)}, shape=ellipse];"
        for number in range(len(picture.dots)):
            yield f"    n{number} -- all;"
    yield "}"


def _label(each: Dot) -> tuple[str, ...]:
    return (each.name, *each.notes)


def _entities(text: str) -> str:
    """Return `text` for a quoted label of Mermaid: what might mean something as its code point."""
    return "".join(each if each in _PLAIN else f"#{ord(each)};" for each in text)


def _quoted(text: str) -> str:
    """Return a quoted string of DOT, in which backslashes and entities are escapes of their own."""
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(each if each.isprintable() else " " for each in escaped) + '"'
