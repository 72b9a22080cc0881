"""Our one nftables table, `inet wgmesh`: read, checked, replaced and removed through `nft`."""

import re

from wgmesh import process
from wgmesh.errors import WgmeshError
from wgmesh.mesh.firewall import firewall_tags
from wgmesh.model.numbers import NFT_TABLE
from wgmesh.model.plan import Firewall
from wgmesh.process import CommandError

TABLE = f"inet {NFT_TABLE}"
_EMPTIED = f"table {TABLE}\ndelete table {TABLE}\n"  # the first line makes the second succeed
_BLOCK = re.compile(rf"^table {TABLE}\s*\{{", re.MULTILINE)


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
    """Return the table that `nft list table inet wgmesh` printed."""
    return Firewall(firewall_tags(listing), listing)


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
