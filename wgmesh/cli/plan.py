"""The plan of `wgmesh plan` as text, as Markdown for a forge, and as JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence

from wgmesh.agent.planning import MOST_LINES, TRAILER, Planned
from wgmesh.mesh.impact import NodeImpact
from wgmesh.mesh.order import EVERY_NODE, Break, names_to_allow
from wgmesh.mesh.reach import ADDRESSES, NETWORKS, Apart, Askew, Since
from wgmesh.model.inventory import Rollout

_MOST_SHOWN = 20
_MOST_NAMES = 8
_MOST_CHARACTERS = 59_800
"""GitHub takes 65,536 for a comment, the CI of `init` cuts at 60,000; the last lines come after."""

MANY = "peers and routes are counted, since they are many: --node NAME lists those of a node"
SAFE = "every tunnel that stays works on, in whatever order the nodes apply this"


def as_text(plan: Planned) -> str:
    """Return the plan for a terminal; where it is long what is the same on many nodes once."""
    long = sum(len(node.lines) + 1 for node in plan.nodes if not node.brief) > MOST_LINES
    lines = [*_nodes(plan, together=long or bool(plan.details))]
    if plan.nodes or plan.only or plan.unknown or plan.restaged:
        lines += [*_hooks(plan), *_reach(plan), *_unknown(plan)]
        if plan.base is not None:
            lines += [*_stages(plan), *_pauses(plan), *_order(plan)]
    return "".join(f"{line}\n" for line in lines)


def as_markdown(plan: Planned) -> str:
    """Return the plan for a pull request: the judgement first, the nodes in a block of code.

    Nodes on which the same happens are told once, and what a forge would not take is left out.
    """
    lines = []
    if plan.base is not None and (plan.nodes or plan.only or plan.restaged):
        bad = plan.breaks or plan.reach.lost
        verdict = "Not safe in every order" if plan.breaks else "Safe in every order"
        if plan.reach.lost:
            verdict = "Pairs lose each other"
        allowed = "" if plan.refused or not bad else f", allowed by `{TRAILER}`"
        told = [*_hooks(plan), *_reach(plan), *_stages(plan), *_pauses(plan), *_order(plan)]
        lines += [f"### {verdict}{allowed}", "", "```text", *told, "```", ""]
    elif told := [*_unknown(plan), *_hooks(plan), *_reach(plan)]:
        allowed = f", allowed by `{TRAILER}`" if plan.ok else ""
        heading = f"What changes is not known{allowed}" if plan.unknown else "The mesh as a whole"
        lines += [f"### {heading}", "", "```text", *told, "```", ""]
    lines += ["### What each node does", "", "```text"]
    room = _MOST_CHARACTERS - sum(len(line) + 1 for line in lines)
    told = [*_nodes(plan, together=True)]
    for position, line in enumerate(told):
        room -= len(line) + 1
        if room < 0:
            lines.append(f"… and {len(told) - position} lines more: `wgmesh plan` prints them")
            break
        lines.append(line)
    return "".join(f"{line}\n" for line in [*lines, "```"])


def as_json(plan: Planned) -> str:
    """Return the plan for programs."""
    ends: dict[str, list[str]] = {}
    shown = plan.breaks[:MOST_LINES]
    for each in shown:
        one, other = each.nodes
        ends.setdefault(one, []).append(other)
        ends.setdefault(other, []).append(one)
    value = {
        "base": plan.base or plan.asked,
        "head": plan.head or None,
        "safe": None if plan.unknown else not plan.breaks,
        "ok": plan.ok,
        "unknown": plan.unknown or None,
        "nodes": [
            {
                "node": node.node,
                "kind": node.kind,
                "lines": list(node.lines),
                "counted": node.brief,
                "breaks": sorted(ends.get(node.node, [])),
            }
            for node in plan.nodes
        ],
        "details": [{"line": line, "nodes": number} for line, number in plan.details],
        "hooks": list(plan.hooks),
        "rollout": _rollout_table(plan.rollout),
        "later_rollout": _rollout_table(plan.later),
        "breaks": [
            {
                "nodes": list(each.nodes),
                "first": list(each.first),
                "why": each.why,
                "safe_steps": each.safe or None,
                "allowed": each.is_allowed(plan.allowed),
                "seconds": plan.seconds(each),
            }
            for each in shown
        ],
        "breaks_in_all": len(plan.breaks),
        "pauses": [{"nodes": list(each.nodes), "seconds": each.seconds} for each in plan.pauses],
        "reach": _reach_table(plan),
        "allow": list(_to_allow(plan)),
    }
    return json.dumps(value, indent=1) + "\n"


def _rollout_table(rollout: Rollout | None) -> dict[str, object] | None:
    """Return who goes first, for programs; None: nobody does."""
    if rollout is None:
        return None
    return {"canary": list(rollout.canary), "soak_seconds": rollout.soak_seconds}


def _reach_table(plan: Planned) -> dict[str, object]:
    """Return who does not reach whom, for programs."""
    return {
        "pairs": plan.reach.pairs,
        "unreachable": [
            {
                "from": list(each.one),
                "to": list(each.other),
                "mutual": each.mutual,
                "over": each.over or None,
                "loop": each.loop,
                "why": each.why,
                "since": each.since.value,
                "allowed": each.since is Since.LOST and each.is_allowed(plan.allowed),
            }
            for each in plan.reach.apart
        ],
        "asymmetric": [
            {
                "there": list(each.there),
                "back": list(each.back),
                "pairs": each.pairs,
                "since": each.since.value,
            }
            for each in plan.reach.askew
        ],
    }


def _nodes(plan: Planned, *, together: bool = False) -> Iterator[str]:
    """Yield what happens on each node; `together`: once for all on which it is the same."""
    if not plan.nodes:
        yield "no node changes" if plan.only is None else f"{plan.only} does not change"
    if any(node.brief for node in plan.nodes):
        yield MANY
    if plan.details:
        yield "what is counted, each once:"
        yield from (f"  {line}, on {_nodes_of(number)}" for line, number in plan.details)
    same: dict[object, list[NodeImpact]] = {}
    for node in plan.nodes:
        same.setdefault((node.kind, node.lines) if together else node.node, []).append(node)
    for group in same.values():
        head, lines = f"{_some([node.node for node in group])}: {group[0].kind}", group[0].lines
        if group[0].brief:
            yield f"{head}: {'; '.join(lines)}"
        else:
            yield head
            yield from (f"  {line}" for line in lines)


def _nodes_of(number: int) -> str:
    return f"{number} nodes" if number > 1 else "one node"


def _unknown(plan: Planned) -> Iterator[str]:
    """Yield that nothing can be compared, and what a reviewer can do about it."""
    if plan.unknown:
        yield f"what changes is not known: {plan.unknown}"
        yield "nodes run the last valid inventory before it: name that commit with --base"
        if not plan.ok:
            yield f"to do it all the same, say so in a commit message: {TRAILER}: {EVERY_NODE}"
        else:
            yield f"allowed by {TRAILER}"


def _hooks(plan: Planned) -> Iterator[str]:
    if plan.hooks:
        news = "other commands than before " if plan.base is not None else "commands "
        yield f"{news}run as root, where wgmesh.toml allows hooks, on {_some(plan.hooks)}"


def _reach(plan: Planned) -> Iterator[str]:
    """Yield who does not reach whom; of what was so before only how much it is."""
    found = plan.reach
    if plan.base is not None and not found.lost:
        yield "every pair of nodes that could talk still can"
    for since, heading in (
        (Since.LOST, "these could talk, and cannot any more:"),
        (Since.NEW, "these do not reach each other:"),
    ):
        news = [each for each in found.apart if each.since is since]
        yield from _few(heading, map(_apart, news))
    askew = [each for each in found.askew if each.since is Since.NEW]
    yield from _few("answers would go another way than what they answer:", map(_askew, askew))
    old = sum(each.pairs for each in found.apart if each.since is Since.BEFORE)
    if old:
        yield f"{old} pairs did not reach each other before, and do not now"


def _apart(each: Apart) -> str:
    reach = "do" if len(each.one) > 1 or each.mutual else "does"
    over = f" over {each.over}" if each.over in ("IPv4", "IPv6") else ""
    whose = {NETWORKS: "networks behind ", ADDRESSES: "addresses of "}.get(each.over, "")
    over = f" at their {ADDRESSES}" if each.mutual and each.over == ADDRESSES else over
    if each.one == each.other:
        return f"{_some(each.one)} do not reach one another{over}: {each.why}"
    if each.mutual:
        return f"{_some(each.one)} and {_some(each.other)}{over}: {each.why}"
    return f"{_some(each.one)} {reach} not reach {whose}{_some(each.other)}{over}: {each.why}"


def _askew(each: Askew) -> str:
    more = f" (and {each.pairs - 1} more such pairs)" if each.pairs > 1 else ""
    return f"{' -> '.join(each.there)}, but {' -> '.join(each.back)}{more}"


def _stages(plan: Planned) -> Iterator[str]:
    if plan.rollout is not None:
        yield _first(plan.rollout)
    if plan.rollout != plan.later:
        yield f"later changes: {'all nodes at once' if plan.later is None else _first(plan.later)}"


def _first(rollout: Rollout) -> str:
    after = f"{rollout.soak_seconds} s after they have seen it"
    return (
        f"{_some(rollout.canary)} first, the others {after}" if rollout.canary else f"all {after}"
    )


def _pauses(plan: Planned) -> Iterator[str]:
    told = (
        f"{one} and {other}: up to {each.seconds} s, until a keepalive finds the way"
        for each in plan.pauses
        for one, other in [each.nodes]
    )
    yield from _few("these tunnels may carry nothing for a moment:", told)


def _order(plan: Planned) -> Iterator[str]:
    if plan.breaks:
        told = (_sentence(plan, each) for each in plan.breaks[:_MOST_SHOWN])
        yield from _few("not safe in every order:", told, len(plan.breaks))
    else:
        yield SAFE
    steps: dict[str, set[tuple[str, ...]]] = {}
    number = 0
    for each in plan.breaks:
        known = steps.setdefault(each.why, set())
        if each.ends and each.ends not in known:
            known.add(each.ends)
            number += 1
            if number <= _MOST_SHOWN:
                yield f"safe in two steps: {each.safe}"
    if number > _MOST_SHOWN:
        yield f"  … and {number - _MOST_SHOWN} more such steps"
    if not all(each.ends for each in plan.breaks):
        yield "where there are no safe steps: down until both ends have applied this"
    if plan.breaks:
        longest = max(map(plan.seconds, plan.breaks))
        yield f"down for {longest} s at most, where nodes poll as they do by default"
    if plan.refused:
        names = " ".join(_to_allow(plan))
        yield f"to do it all the same, say so in a commit message: {TRAILER}: {names}"
    elif plan.breaks or plan.reach.lost:
        yield f"allowed by {TRAILER}"


def _to_allow(plan: Planned) -> tuple[str, ...]:
    """Return few names that allow all that is refused: every one where that is not known."""
    if plan.unknown:
        return (EVERY_NODE,)
    names = {*names_to_allow(each for each in plan.refused if isinstance(each, Break))}
    for each in plan.refused:
        if isinstance(each, Apart) and not each.is_allowed(names):
            names |= {*min(each.one, each.other, key=len)}
    every = EVERY_NODE in names or len(names) > _MOST_NAMES
    return (EVERY_NODE,) if every else tuple(sorted(names))


def _few(heading: str, told: Iterable[str], number: int = 0) -> Iterator[str]:
    """Yield a heading and the first of what is told, nothing when there is none.

    `number`: how many there are, where not all are told.
    """
    lines = [*told]
    number = max(number, len(lines))
    if lines:
        yield heading
    for line in lines[:_MOST_SHOWN]:
        yield f"  {line}"
    if number > _MOST_SHOWN:
        yield f"  … and {number - _MOST_SHOWN} more"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _sentence(plan: Planned, each: Break) -> str:
    one, other = each.nodes
    when = f"one runs {plan.head} and the other still {plan.base}"
    if len(each.first) == 1:
        late = other if each.first[0] == one else one
        when = f"{each.first[0]} runs {plan.head} and {late} still {plan.base}"
    return f"{one} and {other}, while {when}: {each.why}"
