"""Names to addresses, concurrently and with a time limit, by `getent` (so nsswitch.conf rules)."""

import logging
import time
from collections.abc import Collection, Iterator
from ipaddress import ip_address

from wgmesh import process
from wgmesh.model.terms import Endpoint

log = logging.getLogger(__name__)

_AT_ONCE = 32


def resolve(endpoints: Collection[Endpoint], *, seconds: float = 5.0) -> dict[Endpoint, Endpoint]:
    """Return the literal endpoint for each named one that resolves in time.

    A name that does not resolve is logged and absent: it delays only its own peer. The first
    address in the resolver's order (RFC 6724) is taken.
    """
    hosts = {endpoint.host for endpoint in endpoints if not endpoint.literal}
    found = addresses(hosts, seconds=seconds)
    return {
        endpoint: Endpoint(found[endpoint.host][0], endpoint.port)
        for endpoint in endpoints
        if endpoint.host in found
    }


def addresses(names: Collection[str], *, seconds: float = 5.0) -> dict[str, tuple[str, ...]]:
    """Return all addresses of each name that resolves in time, in the resolver's order."""
    hosts = sorted(names)
    known: dict[str, tuple[str, ...]] = {}
    deadline = time.monotonic() + seconds
    for first in range(0, len(hosts), _AT_ONCE):
        batch = hosts[first : first + _AT_ONCE]
        if time.monotonic() > deadline:
            log.warning("no time is left for %d names: their endpoints wait", len(hosts) - first)
            break
        running = {host: process.start(["getent", "ahosts", "--", host]) for host in batch}
        for host, child in running.items():
            try:
                out, _ = child.communicate(timeout=max(0.1, deadline - time.monotonic()))
            except process.TimeoutExpired:
                child.kill()
                child.communicate()
                out = b""
            found = tuple(dict.fromkeys(_listed(out.decode(errors="replace"))))
            if found:
                known[host] = found
            else:
                log.warning("the name %s does not resolve: its endpoint waits", host)
    return known


def _listed(listing: str) -> Iterator[str]:
    """Yield the addresses of `getent ahosts` output, without those that have a scope."""
    for line in listing.splitlines():
        address = line.partition(" ")[0]
        try:
            ip_address(address)
        except ValueError:
            continue
        if "%" not in address:
            yield address
