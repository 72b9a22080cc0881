"""Names of endpoints to addresses, also while the exit that the resolver is behind is dead."""

import logging
from collections.abc import Collection, Mapping

from wgmesh import handover, linux, names, resolve, settings
from wgmesh.agent import timers
from wgmesh.errors import WgmeshError
from wgmesh.model.terms import Endpoint

log = logging.getLogger(__name__)

FETCH_SECONDS = 15.0


def addresses(hosts: Collection[str], *, seconds: float) -> dict[str, tuple[str, ...]]:
    """Return all addresses of each name that resolves in time, in the resolver's order.

    On a node that uses exits the fetch is asked for the others, which takes FETCH_SECONDS at most:
    it finds names by the uplink.
    """
    known = resolve.addresses(hosts, seconds=seconds)
    missing = tuple(host for host in hosts if host not in known)
    if missing and timers.FETCH_DROP_IN.exists():
        known |= _of_the_fetch(missing)
    return known


def endpoints(named: Collection[Endpoint], *, seconds: float = 5.0) -> dict[Endpoint, Endpoint]:
    """Return the literal endpoint for each named one that resolves, as addresses() does it."""
    hosts = {each.host for each in named if not each.literal}
    return resolve.literal(named, addresses(hosts, seconds=seconds))


def _of_the_fetch(hosts: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    wanted = names.Wanted(handover.new_id(), tuple(hosts))
    try:
        names.write_wanted(settings.NAMES_FILE, wanted)
        try:
            linux.systemd.start_to_end(handover.UNIT, timeout_seconds=FETCH_SECONDS)
        finally:
            found = names.read_found(settings.FETCH_DIR, wanted)
    except (OSError, WgmeshError) as error:
        log.warning("the fetch was not asked for names: %s", error)
        return {}
    finally:
        settings.NAMES_FILE.unlink(missing_ok=True)
    if found:
        log.info("by the uplink these names were found: %s", ", ".join(sorted(found)))
    return found
