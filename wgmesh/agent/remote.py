"""How root hears of the remote: by somebody without rights, and what he hands over is looked at.

Under systemd that is wgmesh-fetch.service; where only the user wgmesh is there, a child that
becomes him; where neither is (a checkout, a container), this process itself.
"""

import enum
import functools
import logging
import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

from wgmesh import handover, linux, process, settings
from wgmesh.agent import fetcher
from wgmesh.errors import RefusedError, UnreachableError, WgmeshError
from wgmesh.handover import Answer, Request
from wgmesh.repository import MissingBaseError, Repository
from wgmesh.trust.commit import plain

log = logging.getLogger(__name__)

PROOF_SECONDS = 15  # within the first confirm window; a slower remote proves nothing
UNIT_SECONDS = 370  # its TimeoutStartSec, and a little
_TRIES = 3


class Way(enum.Enum):
    """Who asks."""

    UNIT = enum.auto()
    USER = enum.auto()
    HERE = enum.auto()


@dataclass(frozen=True, slots=True)
class Source:
    """What is asked: remotes in their order, and a branch. `joining`: there is no node.toml yet."""

    remotes: tuple[str, ...]
    branch: str
    joining: bool = False


@dataclass(frozen=True, slots=True)
class Tip:
    """The tip of a remote that answered; `run` is the fetch that asked ("": this process).

    What a fetch says of `remote` is for people: root never asks there.
    """

    remote: str
    commit: str
    run: str = ""
    bundled: str = ""


@functools.cache
def way() -> Way:
    """Return who asks on this machine."""
    if linux.systemd.running() and linux.systemd.exists(handover.UNIT):
        return Way.UNIT
    return Way.HERE if user() is None else Way.USER


def user() -> pwd.struct_passwd | None:
    """Return the user who fetches, None where there is none."""
    try:
        return pwd.getpwnam(settings.FETCH_USER)
    except KeyError:
        return None


def ask(source: Source, *, only_ask: bool = False) -> Answer:
    """Return what the first remote that answers says, or why none did; tip() reads it.

    `only_ask`: nothing is fetched.
    """
    if way() is not Way.HERE:
        return _fetch(source, only_ask=only_ask)
    remote, commit = fetcher.first_tip(
        Repository(settings.REPOSITORY_DIR),
        source.remotes,
        source.branch,
        timeout_seconds=fetcher.ASK_SECONDS,
    )
    return Answer("", outcome="reached", remote=remote, commit=commit)


def just_fetched(before: str) -> Answer:
    """Return the answer of the fetch that has run right before this process.

    `before` is the run that was heard last: to hear it twice means that there was no new one, which
    is an UnreachableError. The caller holds the lock, so a request that is still there is a dead
    one's.
    """
    settings.REQUEST_FILE.unlink(missing_ok=True)
    answer = handover.read_answer(settings.FETCH_DIR)
    if answer is None or answer.run == before:
        raise UnreachableError(
            "the fetch left no new answer", f"see why: journalctl -u {handover.UNIT}"
        )
    return answer


def tip(answer: Answer) -> Tip:
    """Return the tip of the remote that answered.

    Raises UnreachableError when none did, RefusedError when it sent what git refuses, WgmeshError
    when the fetch failed otherwise.
    """
    match answer.outcome:
        case "reached":
            return Tip(answer.remote, answer.commit, answer.run, answer.bundled)
        case "unreachable":
            often = f" ({answer.failures} polls in a row: they ask less often now)"
            raise UnreachableError(
                answer.error + (often if answer.failures > 1 else ""), answer.hint
            )
        case "refused":
            raise RefusedError(answer.error, answer.hint, answer.commit)
        case _:
            raise WgmeshError(f"the fetch failed: {answer.error}", answer.hint)


def answers(source: Source) -> bool:
    """Return whether a remote answers now: a check of the way there, not of what it says."""
    try:
        if way() is Way.HERE:
            repository = Repository(settings.REPOSITORY_DIR)
            fetcher.first_tip(
                repository, source.remotes, source.branch, timeout_seconds=PROOF_SECONDS
            )
            return True
        return _fetch(source, only_ask=True).outcome == "reached"
    except WgmeshError as error:
        log.debug("no proof by the remote: %s", error.message)
        return False


def bring(repository: Repository, source: Source, wanted: Tip) -> Tip:
    """Have the tip's commit and all its history in `repository`; return the tip that is there now.

    That is another when the branch moved on meanwhile. Raises what tip() does.
    """
    if not wanted.run:
        repository.fetch(
            wanted.remote, source.branch, wanted.commit, timeout_seconds=fetcher.FETCH_SECONDS
        )
        return wanted
    if repository.reaches(wanted.commit):
        return wanted
    if wanted.bundled == wanted.commit:
        try:
            _take(repository, wanted)
            return wanted
        except MissingBaseError:
            log.info("objects are missing here: everything is fetched anew")
    wanted = tip(_fetch(source, everything=True))
    if not repository.reaches(wanted.commit):
        _take(repository, wanted)
    return wanted


def _take(repository: Repository, wanted: Tip) -> None:
    limit = handover.LARGEST_BUNDLE_BYTES
    try:
        with handover.open_handed(settings.FETCH_DIR, "bundle", limit) as bundle:
            repository.take_bundle(bundle, wanted.commit, limit_bytes=limit)
    except FileNotFoundError:
        raise WgmeshError(
            "the fetch left no bundle", f"see why: journalctl -u {handover.UNIT}"
        ) from None


def _fetch(source: Source, *, everything: bool = False, only_ask: bool = False) -> Answer:
    """Have the fetch run now and return its answer to this very question.

    A unit that was running already answers to somebody else: then it is asked again.
    """
    remotes, branch = (source.remotes, source.branch) if source.joining else ((), "")
    request = Request(
        handover.new_id(), remotes, branch, everything or source.joining, only_ask=only_ask
    )
    handover.write_request(settings.REQUEST_FILE, request)
    seconds = PROOF_SECONDS if only_ask else UNIT_SECONDS
    said = ""
    try:
        for _ in range(_TRIES):
            said = _run(seconds)
            answer = handover.read_answer(settings.FETCH_DIR)
            if answer is not None and answer.request == request.id:
                return answer
    finally:
        settings.REQUEST_FILE.unlink(missing_ok=True)
    raise WgmeshError(
        "the fetch left no answer" + (f": {said}" if said else ""),
        f"see why: journalctl -u {handover.UNIT}",
    )


def _run(seconds: float) -> str:
    """Run the fetch to its end; return what it complained of, which its answer says better."""
    if way() is Way.UNIT:
        return linux.systemd.start_to_end(handover.UNIT, timeout_seconds=seconds)
    command = [sys.executable, "-P", "-m", "wgmesh", "fetch"]
    make_directory()
    said = process.run_distrusted(
        as_user(command), env={"HOME": str(settings.FETCH_DIR)}, timeout_seconds=seconds
    )
    return plain(said.strip().partition(b"\n")[0], 200)


def as_user(argv: list[str]) -> list[str]:
    """Return the command that runs `argv` as the user who fetches; `argv` where there is none."""
    owner = user()
    if owner is None:
        return argv
    return [
        "setpriv",
        f"--reuid={owner.pw_uid}",
        f"--regid={owner.pw_gid}",
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--",
        *argv,
    ]


def make_directory() -> None:
    """Make the directory of the user who fetches, where no package has done so."""
    owner = user()
    path = settings.FETCH_DIR
    if owner is None or path.exists():
        return
    Path(path.parent).mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o755)
    os.chown(path, owner.pw_uid, owner.pw_gid)
