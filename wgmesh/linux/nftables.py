"""Our one nftables table, `inet wgmesh`: read, checked, replaced and removed through `nft`."""

import re

from wgmesh import process
from wgmesh.errors import WgmeshError
from wgmesh.model import NFT_TABLE, Firewall
from wgmesh.process import CommandError

TABLE = f"inet {NFT_TABLE}"
_EMPTIED = f"table {TABLE}\ndelete table {TABLE}\n"  # the first line makes the second succeed
_BLOCK = re.compile(rf"^table {TABLE}\s*\{{", re.MULTILINE)
_CHAIN = re.compile(r"chain (\S+) \{")
_COMMENT = re.compile(r'\bcomment "([^"]*)"$')
_QUOTED = re.compile(r'"[^"]*"')


def observe() -> Firewall | None:
    """Return our table, or None when there is none. Its text can be loaded again.

    Raises WgmeshError when nft fails otherwise.
    """
    # -s: counters and quotas are no state of ours, and a snapshot must not turn them back
    argv = ["nft", "-s", "list", "table", "inet", NFT_TABLE]
    done = process.run(argv, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode == 0:
        return parse(done.stdout.decode())
    if "No such file or directory" in said:
        return None
    raise CommandError(argv, done.returncode, said)


def parse(listing: str) -> Firewall:
    """Return the table that `nft list table inet wgmesh` printed.

    `tags` has the chains in their order and for each the comments of its rules; a rule without a
    comment, which none of ours is, shows as "".
    """
    chains: list[tuple[str, list[str]]] = []
    depth = 0
    chain_depth = 0
    for line in (raw.strip() for raw in listing.splitlines()):
        bare = _QUOTED.sub('""', line)
        opened = _CHAIN.match(bare)
        if opened:
            chains.append((opened[1], []))
            chain_depth = depth + 1
        elif depth and depth == chain_depth and _is_rule(bare):
            comment = _COMMENT.search(line)
            chains[-1][1].append(comment[1] if comment else "")
        depth += bare.count("{") - bare.count("}")
        if depth < chain_depth:
            chain_depth = 0
    return Firewall(tuple((name, tuple(tags)) for name, tags in chains), listing)


def _is_rule(line: str) -> bool:
    """Tell a rule from a chain's head (`type … hook …`, `policy …`), its own comment, its end."""
    head = re.match(r'(type \w+ hook |policy \w+;|comment "")', line)
    return bool(line) and line != "}" and not line.startswith("#") and head is None


def replace(firewall: Firewall) -> None:
    """Put the table in place of the old one, in one transaction. Raises WgmeshError."""
    process.run(["nft", "-f", "-"], stdin=script(firewall).encode())


def check(firewall: Firewall) -> None:
    """Ask nft whether it would take the table, changing nothing. Raises WgmeshError if not."""
    process.run(["nft", "-c", "-f", "-"], stdin=script(firewall).encode())


def delete() -> None:
    """Remove our table; none there is fine. Raises WgmeshError."""
    process.run(["nft", "-f", "-"], stdin=_EMPTIED.encode())


def script(firewall: Firewall) -> str:
    """Return what `nft -f` turns into exactly this table, whatever was there before.

    Raises WgmeshError when the text has no block of our table.
    """
    block = _BLOCK.search(firewall.text)
    if block is None:
        raise WgmeshError(f"the firewall's text has no table {TABLE}")
    return _EMPTIED + firewall.text[block.start() :].rstrip() + "\n"
