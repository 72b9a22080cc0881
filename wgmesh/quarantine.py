"""Which rendered digests may not be tried again, and for how long: pure in what happened."""

from collections.abc import Sequence
from dataclasses import replace

from wgmesh.frozen import frozen

HOUR_SECONDS = 3600
LONGEST_BACK_OFF_SECONDS = 7 * 86_400


@frozen
class Quarantined:
    """A rendered digest not to be applied until `until` (0: until a person says so).

    `harms` counts how often it was taken back, `interruptions` how often a run died in it;
    an entry with neither yet two interruptions nor a harm does not block.
    """

    digest: str
    commit: str
    subject: str
    reason: str
    time: int
    until: int = 0
    harms: int = 0
    interruptions: int = 0

    def blocks(self, now: float) -> bool:
        """Return whether the digest may not be tried at `now`."""
        return (self.harms > 0 or self.interruptions > 1) and (self.until == 0 or now < self.until)


def find(entries: Sequence[Quarantined], digest: str) -> Quarantined | None:
    """Return the entry for `digest`, or None."""
    return next((entry for entry in entries if entry.digest == digest), None)


def harmed(
    entries: Sequence[Quarantined], new: Quarantined, *, forever: bool
) -> tuple[Quarantined, ...]:
    """Return the quarantine with `new` in it: back-off doubles from one hour, or has no end."""
    old = find(entries, new.digest)
    harms = (old.harms if old else 0) + 1
    wait = min(HOUR_SECONDS * 2 ** min(harms - 1, 16), LONGEST_BACK_OFF_SECONDS)
    entry = replace(
        new,
        harms=harms,
        interruptions=old.interruptions if old else 0,
        until=0 if forever else new.time + wait,
    )
    return (*(other for other in entries if other.digest != new.digest), entry)


def interrupted(entries: Sequence[Quarantined], new: Quarantined) -> tuple[Quarantined, ...]:
    """Return the quarantine after a run died while it applied `new`: the second time blocks."""
    old = find(entries, new.digest) or new
    count = old.interruptions + 1
    until = new.time + HOUR_SECONDS
    if count == 1 or (old.harms and old.until == 0):
        until = old.until  # not blocked by this, or blocked for good
    entry = replace(old, interruptions=count, until=max(until, old.until) if until else 0)
    return (*(other for other in entries if other.digest != new.digest), entry)
