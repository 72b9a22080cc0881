"""A plan as the four files of a generation, byte for byte the same for the same plan."""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from wgmesh.errors import WgmeshError
from wgmesh.model.plan import NodePlan
from wgmesh.render import words
from wgmesh.render.parse import parse

if TYPE_CHECKING:
    from jinja2 import Environment


def files(plan: NodePlan) -> dict[str, bytes]:
    """Return the files of `plan` by name: four, always.

    `INTERFACE.conf` is a wg-quick file whose comments hold what wg-quick has no word for; then
    wg-failover.conf, wg-exit-selector.conf and wgmesh.nft. Neither secret, commit, time nor number
    is in them. What is returned has been read back and found to say exactly `plan`, so no value can
    pass for another line or another field. Raises WgmeshError when `plan` holds such a value.
    """
    templates = environment()
    preshared = words.preshared(plan.peers)
    contexts: dict[str, tuple[str, dict[str, object]]] = {
        f"{plan.interface}.conf": (
            "wireguard.conf.j2",
            {"plan": plan, "post_up": words.key_words(plan.private_key_path, preshared)},
        ),
        words.FAILOVER: (
            "failover.conf.j2",
            {
                "hubs": plan.hubs,
                "peers": [peer for peer in plan.peers if peer.endpoints],
                "none_there": words.NO_PEERS,
            },
        ),
        words.EXIT_SELECTOR: (
            "exit-selector.conf.j2",
            {"exits": plan.exits, "none_there": words.NO_EXITS},
        ),
        words.FIREWALL: (
            "firewall.nft.j2",
            {"firewall": plan.firewall, "note": words.NFT_NOTE, "none_there": words.NO_FIREWALL},
        ),
    }
    try:
        made = {
            name: templates.get_template(template)
            .render(generated=words.GENERATED, **context)
            .encode()
            for name, (template, context) in contexts.items()
        }
        same = _same(parse(made), plan)
    except (WgmeshError, UnicodeEncodeError) as error:
        said = error.message if isinstance(error, WgmeshError) else "a character has no UTF-8"
        raise WgmeshError(f"the plan of {plan.node!r} cannot be written: {said}") from error
    if not same:
        raise WgmeshError(f"the plan of {plan.node!r} cannot be written: a value is ambiguous")
    return made


def digest(files: Mapping[str, bytes]) -> str:
    """Return the hex SHA-256 over the sorted names and contents, each with its length before it."""
    total = sha256()
    for name, content in sorted(files.items()):
        for part in (name.encode(), content):
            total.update(len(part).to_bytes(8))
            total.update(part)
    return total.hexdigest()


def _same(one: NodePlan, other: NodePlan) -> bool:
    """Compare plans with what the model's equality leaves out: the firewall's text."""
    texts = [plan.firewall and plan.firewall.text for plan in (one, other)]
    return one == other and texts[0] == texts[1]


@cache
def environment() -> "Environment":
    """Return what renders our templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # no HTML; `files` reads back what it made
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "hex": hex,
        "listed": words.listed,
        "route_words": words.route_words,
        "rule_words": words.rule_words,
    }
    return made
