"""What a node remembers between runs, each as a frozen value; `wgmesh.records` has them on disk."""

from collections.abc import Mapping

from wgmesh.frozen import frozen
from wgmesh.model.commit import VerifiedCommit


@frozen
class Tips:
    """Two pointers: `trusted` only moves forward, `applied` (what runs) may go back.

    `anchor` is the commit that `trusted` was verified from ("": whichever it is now). `digest` is
    of the generation that `applied` came to, `context` what else of this node the plan depended on:
    when either differs, the tip has to be looked at again.
    """

    trusted: VerifiedCommit | None = None
    applied: VerifiedCommit | None = None
    digest: str = ""
    context: str = ""
    anchor: str = ""


@frozen
class RemoteState:
    """How a remote stands to the others, `since` then (seconds since the epoch).

    `standing` is newest, behind, diverged or silent; `commit` its tip ("": silent), `reason` why
    there is none.
    """

    remote: str
    standing: str
    since: int
    commit: str = ""
    reason: str = ""


@frozen
class LastSync:
    """How the last turn of the loop ended; times are seconds since the epoch.

    `fetched` is when a remote last had what is not out of date; `commit` the one that `outcome`
    speaks of; `heard` the fetch whose answer was read last; `remotes` how they stood.
    """

    time: int
    outcome: str
    reason: str = ""
    commit: str = ""
    fetched: int = 0
    heard: str = ""
    remotes: tuple[RemoteState, ...] = ()


@frozen
class Seen:
    """A commit that was the tip, or led to one, and when this node first saw it.

    `time` is in seconds since the epoch, by this node's clock.
    """

    commit: str
    time: int


@frozen
class Awaited:
    """A peer that was up until `commit` changed both ends of its tunnel, at `time`.

    `handshake` is the latest one of then, as the device has it; 0 is none. `soak_seconds` is how
    long its end waits before it applies the commit.
    """

    public_key: str
    commit: str
    handshake: int
    time: int
    soak_seconds: int = 0


@frozen
class Soak:
    """Since when `commit` is the tip, and until when it waits here.

    Both in seconds since the boot `boot_id`; `time` is the wall clock of the former, for people.
    """

    commit: str
    boot_id: str
    since_seconds: float
    until_seconds: float
    time: int


@frozen
class Rotation:
    """The change of this node's key to `next_public_key`, as far as it has come.

    Times are seconds since the epoch, 0 is not yet: `begun` when the key was made, `staged` when
    the inventory first had it, `switched` when the node went over to it. `known` are the keys of
    peers that have shaken hands with it, `waiting` says for whom or what it waits, `behind` names
    peers that still use the old key; `over` is that none does.
    """

    next_public_key: str
    begun: int = 0
    staged: int = 0
    switched: int = 0
    waiting: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    over: bool = False
    known: tuple[str, ...] = ()


@frozen
class Verdict:
    """What is wrong with the newest tip, until another one replaces it.

    `kind` is the state that `status` shows (refused, invalid, rolled-back, removed, pending);
    `commit` the tip, `culprit` the commit on the way to it that broke a rule.
    """

    kind: str
    commit: str
    reason: str
    hint: str
    time: int
    culprit: str = ""


@frozen
class Hold:
    """Applying is stopped since `time`, because of `reason`."""

    reason: str
    time: int


@frozen
class SecondLook:
    """A confirmed generation that is to be looked at again, and the one to go back to.

    `due_seconds` is since boot; `handshakes` are the latest ones from before the change, of the
    peers that must have shaken hands again by then.
    """

    generation: int
    digest: str
    back_to: int
    due_seconds: float
    handshakes: Mapping[str, int]
