"""Accepts of ours in others' chains of iptables, where those drop what this node is to forward.

An accept in our own nft table overrides no drop of another table on the same hook, so Docker's and
ufw's need one of their own. Each carries a comment, by which it is known; nothing else is touched.
"""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise

from wgmesh import process
from wgmesh.model.plan import Accept

_SAVE = {4: "iptables-save", 6: "ip6tables-save"}
_COMMAND = {4: "iptables", 6: "ip6tables"}
_COMMENT = "wgmesh"
_DROPS = re.compile(r"^:FORWARD DROP\b|^-A FORWARD -j (DROP|REJECT)\b", re.MULTILINE)
_DOCKER = re.compile(r"^-A FORWARD -j DOCKER-USER$", re.MULTILINE)
CHAINS = ("DOCKER-USER", "FORWARD")
"""Where an accept may stand, the better place first: Docker leaves that chain to the admin."""


def observe() -> tuple[frozenset[Accept], dict[int, str]]:
    """Return our accepts, and by IP version the chain that needs some; it is absent if none does.

    `iptables-save` is asked, for `iptables -L` makes tables where there are none.
    """
    found: set[Accept] = set()
    places: dict[int, str] = {}
    for family, command in _SAVE.items():
        if process.which(command) is None:
            continue
        done = process.run([command, "-t", "filter"], check=False)
        text = done.stdout.decode(errors="replace")
        found.update(ours(family, text))
        if place := needed(text):
            places[family] = place
    return frozenset(found), places


def needed(saved: str) -> str | None:
    """Return the chain that forwarded packets need an accept in, None when nothing drops them."""
    if _DOCKER.search(saved):
        return "DOCKER-USER"
    return "FORWARD" if _DROPS.search(saved) else None


def ours(family: int, saved: str) -> Iterator[Accept]:
    """Yield our accepts in what `iptables-save` printed."""
    for line in saved.splitlines():
        words = shlex.split(line) if line.startswith("-A ") and _COMMENT in line else []
        if len(words) < 2 or words[1] not in CHAINS or "ACCEPT" not in words:
            continue
        options = dict(pairwise(words))
        if options.get("--comment") == _COMMENT:
            yield Accept(
                family=family,
                chain=words[1],
                iif=options.get("-i"),
                oif=options.get("-o"),
                established="--ctstate" in options,
            )


def add(accept: Accept) -> None:
    """Put an accept before all other rules of its chain, once. Raises WgmeshError."""
    if not _is_there(accept):
        process.run(_argv(accept, "-I", "1"))


def remove(accept: Accept) -> None:
    """Take an accept away; none there, or no such chain, is fine. Raises WgmeshError."""
    while _is_there(accept):
        process.run(_argv(accept, "-D"))


def _is_there(accept: Accept) -> bool:
    return process.run(_argv(accept, "-C"), check=False).returncode == 0


def _argv(accept: Accept, action: str, *position: str) -> list[str]:
    argv = [_COMMAND[accept.family], "-w", "5", action, accept.chain, *position]
    for option, name in (("-i", accept.iif), ("-o", accept.oif)):
        argv += [option, name] if name is not None else []
    if accept.established:
        argv += ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]
    return [*argv, "-m", "comment", "--comment", _COMMENT, "-j", "ACCEPT"]
