"""The plan of `wgmesh plan` as text, as Markdown for a forge, and as JSON."""

import json
from collections.abc import Iterator, Sequence

from wgmesh.agent.planning import TRAILER, Planned
from wgmesh.mesh.impact import NodeImpact
from wgmesh.mesh.order import Break, names_to_allow

_MOST_SHOWN = 20
SAFE = "every tunnel that stays works on, in whatever order the nodes apply this"


def as_text(plan: Planned) -> str:
    """Return the plan for a terminal."""
    lines = [*_nodes(plan.nodes)]
    if plan.base is not None and plan.nodes:
        lines += _order(plan)
    return "".join(f"{line}\n" for line in lines)


def as_markdown(plan: Planned) -> str:
    """Return the plan for a pull request: the judgement first, the nodes in a block of code."""
    lines = []
    if plan.base is not None and plan.nodes:
        verdict = "Not safe in every order" if plan.breaks else "Safe in every order"
        allowed = "" if plan.refused or not plan.breaks else f", allowed by `{TRAILER}`"
        lines += [f"### {verdict}{allowed}", "", "```text", *_order(plan), "```", ""]
    lines += ["### What each node does", "", "```text", *_nodes(plan.nodes), "```"]
    return "".join(f"{line}\n" for line in lines)


def as_json(plan: Planned) -> str:
    """Return the plan for programs."""
    ends: dict[str, list[str]] = {}
    for each in plan.breaks:
        one, other = each.nodes
        ends.setdefault(one, []).append(other)
        ends.setdefault(other, []).append(one)
    value = {
        "base": plan.base,
        "head": plan.head or None,
        "safe": not plan.breaks,
        "ok": not plan.refused,
        "nodes": [
            {
                "node": node.node,
                "kind": node.kind,
                "lines": list(node.lines),
                "breaks": sorted(ends.get(node.node, [])),
            }
            for node in plan.nodes
        ],
        "breaks": [
            {
                "nodes": list(each.nodes),
                "first": list(each.first),
                "why": each.why,
                "safe_steps": each.safe or None,
                "allowed": each.is_allowed(plan.allowed),
            }
            for each in plan.breaks
        ],
        "allow": list(names_to_allow(plan.refused)),
    }
    return json.dumps(value, indent=1) + "\n"


def _nodes(nodes: Sequence[NodeImpact]) -> Iterator[str]:
    if not nodes:
        yield "no node changes"
    for node in nodes:
        yield f"{node.node}: {node.kind}"
        for line in node.lines:
            yield f"  {line}"


def _order(plan: Planned) -> Iterator[str]:
    if not plan.breaks:
        yield SAFE
        return
    yield "not safe in every order:"
    for each in plan.breaks[:_MOST_SHOWN]:
        yield f"  {_sentence(plan, each)}"
    if len(plan.breaks) > _MOST_SHOWN:
        yield f"  … and {len(plan.breaks) - _MOST_SHOWN} more"
    steps = dict.fromkeys(each.safe for each in plan.breaks)
    for step in steps:
        if step:
            yield f"safe in two steps: {step}"
    if "" in steps:
        yield "where there are no safe steps: down until both ends have applied this"
    refused = plan.refused
    if refused:
        names = " ".join(names_to_allow(refused))
        yield f"to do it all the same, say so in a commit message: {TRAILER}: {names}"
    else:
        yield f"allowed by {TRAILER}"


def _sentence(plan: Planned, each: Break) -> str:
    one, other = each.nodes
    when = f"one runs {plan.head} and the other still {plan.base}"
    if len(each.first) == 1:
        late = other if each.first[0] == one else one
        when = f"{each.first[0]} runs {plan.head} and {late} still {plan.base}"
    return f"{one} and {other}, while {when}: {each.why}"
