"""Names of endpoints while the exit that the resolver is asked through is dead: the fetch is asked.

Nobody waits for it: a look leaves the question and starts the fetch, a later one has the answer.
"""

import logging
from collections.abc import Collection

from wgmesh import handover, linux, names, settings
from wgmesh.agent import timers
from wgmesh.errors import WgmeshError

log = logging.getLogger(__name__)


def ask(hosts: Collection[str]) -> bool:
    """Have the fetch find `hosts` by the uplink; return False where no exits are used."""
    if not timers.FETCH_DROP_IN.exists():
        return False
    wanted = names.Wanted(handover.new_id(), tuple(sorted(hosts)))
    try:
        names.write_wanted(settings.NAMES_FILE, wanted)
        linux.systemd.start(handover.UNIT, wait=False)
    except (OSError, WgmeshError) as error:
        log.warning("the fetch was not asked for names: %s", error)
    return True


def answer() -> dict[str, tuple[str, ...]]:
    """Return the addresses that the fetch has found since it was asked; the question is over then.

    Empty while it is at work, and when it has found none.
    """
    try:
        wanted = names.read_wanted(settings.NAMES_FILE)
        found = names.read_found(settings.FETCH_DIR, wanted) if wanted is not None else None
    except (OSError, WgmeshError) as error:
        log.warning("the names that the fetch was asked for: %s", error)
        found = {}
    if found is None:
        return {}
    settings.NAMES_FILE.unlink(missing_ok=True)
    if found:
        log.info("found by the uplink: %s", ", ".join(sorted(found)))
    return found
