"""NodePlan to files: byte for byte the same for the same plan."""

from pathlib import Path

from wgmesh.model import MAIN_TABLE, NodePlan, Route, RouteKind, Rule, RuleAction
from wgmesh.render.parse import EXITS, FAILOVER, FIREWALL

TEMPLATES = Path(__file__).parent / "templates"


def files(plan: NodePlan) -> dict[str, bytes]:
    """Return the four files of a generation by name. `parse` leads back to the plan."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["listed"] = listed
    environment.filters["route"] = route_words
    environment.filters["rule"] = rule_words
    names = {
        f"{plan.interface}.conf": "interface.conf.j2",
        FAILOVER: "wg-failover.conf.j2",
        EXITS: "wg-exit-selector.conf.j2",
        FIREWALL: "wgmesh.nft.j2",
    }
    rendered = {}
    for name, template in names.items():
        text = environment.get_template(template).render(plan=plan, postup=post_up(plan))
        rendered[name] = text.encode()
    return rendered


def listed(values: tuple[object, ...]) -> str:
    """Return values as wg-quick lists them."""
    return ", ".join(str(value) for value in values)


def post_up(plan: NodePlan) -> str:
    """Return the one command that wg-quick runs: it hands the device its key, and the PSKs."""
    words = ["wg", "set", "%i", "private-key", plan.private_key_path]
    for peer in plan.peers:
        if peer.preshared_key_path is not None:
            words += ["peer", peer.public_key, "preshared-key", peer.preshared_key_path]
    return " ".join(words)


def route_words(route: Route) -> str:
    """Return a route as `wgmesh-net` reads it: the words of ip-route(8) that differ from usual."""
    words = [str(route.prefix)]
    if route.kind is RouteKind.UNREACHABLE:
        words.insert(0, "unreachable")
    if route.table != MAIN_TABLE:
        words += ["table", str(route.table)]
    if route.metric:
        words += ["metric", str(route.metric)]
    return " ".join(words)


def rule_words(rule: Rule) -> str:
    """Return a policy rule as `wgmesh-net` reads it: the family, then words of ip-rule(8)."""
    words = [f"-{rule.family}", "priority", str(rule.priority)]
    if rule.source is not None:
        words += ["from", str(rule.source)]
    if rule.destination is not None:
        words += ["to", str(rule.destination)]
    if rule.iif is not None:
        words += ["iif", rule.iif]
    if rule.fwmark is not None:
        mask = "" if rule.fwmask is None else f"/{rule.fwmask:#x}"
        words += ["fwmark", f"{rule.fwmark:#x}{mask}"]
    match rule.action:
        case RuleAction.LOOKUP:
            words += ["lookup", str(rule.target)]
        case RuleAction.GOTO:
            words += ["goto", str(rule.target)]
        case RuleAction.UNREACHABLE:
            words += ["unreachable"]
    if rule.suppress_prefixlength is not None:
        words += ["suppress_prefixlength", str(rule.suppress_prefixlength)]
    return " ".join(words)
