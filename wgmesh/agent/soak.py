"""How long this node has seen a commit as the tip, by a clock that does not jump.

A newer tip begins anew, and so does a boot: what happened meanwhile nobody here has seen.
"""

import time

from wgmesh import glance, journal, records
from wgmesh.agent.contract import timestamp
from wgmesh.agent.node import PLACES
from wgmesh.remembered import Soak


def watch(commit: str, seconds: int, *, remember: bool = True) -> Soak:
    """Return the wait of `commit`, which takes `seconds` from when it was first the tip."""
    now, boot = glance.clock(), journal.boot_id()
    known = records.read_soak(PLACES.state)
    if known is not None and (known.commit, known.boot_id) == (commit, boot):
        since, first = known.since_seconds, known.time
    else:
        since, first = now, int(time.time())
    soak = Soak(commit, boot, since, since + seconds, first)
    if remember and soak != known:
        records.write_soak(PLACES.state, soak)
    return soak


def waits(soak: Soak | None, commit: str) -> bool:
    """Return whether `commit` still has to wait, by what is remembered."""
    return (
        soak is not None
        and (soak.commit, soak.boot_id) == (commit, journal.boot_id())
        and glance.clock() < soak.until_seconds
    )


def sentence(soak: Soak) -> str:
    """Return until when a commit waits, for people: by the wall clock of when it was first seen."""
    until = timestamp(soak.time + round(soak.until_seconds - soak.since_seconds))
    return f"{soak.commit[:12]} waits until {until}: others go first ([rollout])"
