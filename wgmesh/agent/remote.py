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
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from wgmesh import handover, linux, names, settings
from wgmesh.agent import fetcher
from wgmesh.errors import RefusedError, UnreachableError, WgmeshError
from wgmesh.files import make_directory
from wgmesh.frozen import frozen
from wgmesh.handover import Answer, Request, Said
from wgmesh.repository.remote import advice
from wgmesh.trust.plain import plain

if TYPE_CHECKING:
    from wgmesh.repository.bare import Repository

log = logging.getLogger(__name__)

PROOF_SECONDS = 15  # within the first confirm window; a slower remote proves nothing
UNIT_SECONDS = 370  # its TimeoutStartSec, and a little
_TRIES = 3
_SAYS = "the fetch says:"


class Way(enum.Enum):
    """Who asks."""

    UNIT = enum.auto()
    USER = enum.auto()
    HERE = enum.auto()


@frozen
class Source:
    """What is asked: remotes in their order, and a branch. `joining`: there is no node.toml yet."""

    remotes: tuple[str, ...]
    branch: str
    joining: bool = False


@frozen
class News:
    """What the remotes said, each of them; `run` is the fetch that asked ("": this process).

    The fetch is believed in nothing of it but that there is something to check. It names remotes
    for people; root knows its own, and asks no other.
    """

    said: tuple[Said, ...]
    run: str = ""
    bundled: tuple[str, ...] = ()

    @property
    def commits(self) -> tuple[str, ...]:
        """The tips, each once, in the order of the remotes."""
        return fetcher.tips(self.said)

    @property
    def complete(self) -> bool:
        """Whether every remote said where it is."""
        return all(one.commit for one in self.said)


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
    """Return what the remotes say, or why none does; news() reads it.

    `only_ask`: the first that answers will do, and nothing is fetched.
    """
    if way() is not Way.HERE:
        return _fetch(source, only_ask=only_ask)
    if only_ask:
        one = fetcher.first(settings.REPOSITORY_DIR, source.remotes, source.branch)
        return Answer("", outcome="reached", said=(one,))
    said = fetcher.ask(settings.REPOSITORY_DIR, source.remotes, source.branch)
    return Answer("", outcome="reached", said=said)


def just_fetched(source: Source, before: str) -> Answer:
    """Return the answer of the fetch that has run right before this process.

    `before` is the run that was heard last. To hear it twice, or nothing, means that the fetch has
    failed, which is an UnreachableError. It is asked anew, once, when it was at work on names just
    then, or was asked by somebody else meanwhile: he may have asked one remote of several, and has
    heard of what it left for this process. The caller has the turn, so a request that is still
    there is a dead one's.
    """
    settings.REQUEST_FILE.unlink(missing_ok=True)
    answer = handover.read_answer(settings.FETCH_DIR)
    if answer is not None and not answer.request and answer.run != before:
        return answer
    if names.just_told(settings.FETCH_DIR) or (answer is not None and answer.request):
        anew, _ = _answered(source, tries=1)
        if anew is not None:
            return anew
    raise UnreachableError(
        "the fetch left no new answer", f"see why: journalctl -u {handover.UNIT}"
    )


def news(answer: Answer, source: Source) -> News:
    """Return what an answer has of the remotes in `source`.

    Raises UnreachableError when there is no tip, RefusedError when a remote sent what git refuses,
    WgmeshError when the fetch failed otherwise. What it says is told as its words, and what to do
    is root's own to say.
    """
    hint = advice(answer.error)
    match answer.outcome:
        case "reached":
            return _news(answer, source)
        case "unreachable":
            often = f"{answer.failures} polls in a row have failed, they are fewer now; "
            before = often if answer.failures > 1 else ""
            raise UnreachableError(f"{before}{_SAYS} {answer.error}", hint)
        case "refused":
            raise RefusedError(f"{_SAYS} {answer.error}", hint, answer.refused)
        case _:
            why = f"see why: journalctl -u {handover.UNIT}"
            raise WgmeshError(f"the fetch has failed; {_SAYS} {answer.error}", why)


def _news(answer: Answer, source: Source) -> News:
    known = {one.remote: one for one in answer.said}
    unasked = Said("", reason="it was not asked")
    said = []
    for remote in source.remotes:
        one = known.get(handover.shown(remote), unasked)
        reason = f"{_SAYS} {one.reason}" if answer.run and one is not unasked else one.reason
        said.append(replace(one, remote=remote, reason=reason if one.reason else ""))
    if not any(one.commit for one in said):
        raise UnreachableError(
            "the fetch asked other remotes than node.toml names", "the next poll asks these"
        )
    return News(tuple(said), answer.run, answer.bundled)


def answers(source: Source) -> bool:
    """Return whether a remote answers now: a check of the way there, not of what it says."""
    try:
        if way() is Way.HERE:
            where = settings.REPOSITORY_DIR
            fetcher.first(where, source.remotes, source.branch, timeout_seconds=PROOF_SECONDS)
            return True
        return _fetch(source, only_ask=True).outcome == "reached"
    except WgmeshError as error:
        log.debug("no proof by the remote: %s", error.message)
        return False


def bring(repository: "Repository", source: Source, heard: News) -> News:
    """Have every tip and all its history in `repository`; return the tips that are there now.

    Those are others when the branch moved on meanwhile. Raises what news() does.
    """
    missing = _missing(repository, heard)
    if missing and not heard.run:
        remotes, branch = source.remotes, source.branch
        heard = News(fetcher.bring(repository, remotes, heard.said, branch, missing))
    elif missing:
        heard = _handed(repository, source, heard, missing)
    repository.hold(heard.commits)
    return heard


def _missing(repository: "Repository", heard: News) -> list[str]:
    return [commit for commit in heard.commits if not repository.reaches(commit)]


def _handed(repository: "Repository", source: Source, heard: News, missing: list[str]) -> News:
    """Take what the fetch has handed over; what builds on objects that are lost comes anew."""
    from wgmesh.repository.bundle import MissingBaseError

    if set(missing) <= set(heard.bundled):
        try:
            _take(repository, heard)
            return heard
        except MissingBaseError:
            log.info("objects are missing here: everything is fetched anew")
    heard = news(_fetch(source, everything=True), source)
    if _missing(repository, heard):
        _take(repository, heard)
    for commit in _missing(repository, heard):
        raise WgmeshError(
            f"the fetch says that {commit[:12]} is there, and did not hand it over",
            f"see why: journalctl -u {handover.UNIT}",
        )
    return heard


def _take(repository: "Repository", heard: News) -> None:
    limit = handover.LARGEST_BUNDLE_BYTES
    try:
        with handover.open_handed(settings.FETCH_DIR, "bundle", limit) as bundle:
            repository.take_bundle(bundle, heard.bundled, limit_bytes=limit)
    except FileNotFoundError:
        raise WgmeshError(
            "the fetch left no bundle", f"see why: journalctl -u {handover.UNIT}"
        ) from None


def _fetch(source: Source, *, everything: bool = False, only_ask: bool = False) -> Answer:
    """Have the fetch run now and return its answer to this very question.

    A unit that was running already answers to somebody else: then it is asked again.
    """
    answer, said = _answered(source, everything=everything, only_ask=only_ask)
    if answer is not None:
        return answer
    raise WgmeshError(
        "the fetch left no answer" + (f"; {said}" if said else ""),
        f"see why: journalctl -u {handover.UNIT}",
    )


def _answered(
    source: Source, *, everything: bool = False, only_ask: bool = False, tries: int = _TRIES
) -> tuple[Answer | None, str]:
    """Have the fetch run, all tries within the time of one; return its answer, or what it said."""
    remotes, branch = (source.remotes, source.branch) if source.joining else ((), "")
    request = Request(
        handover.new_id(), remotes, branch, everything or source.joining, only_ask=only_ask
    )
    handover.write_request(settings.REQUEST_FILE, request)
    end = time.monotonic() + (PROOF_SECONDS if only_ask else UNIT_SECONDS)
    said = ""
    try:
        while tries and (left := end - time.monotonic()) > 0:
            tries -= 1
            said = _run(left)
            answer = handover.read_answer(settings.FETCH_DIR)
            if answer is not None and answer.request == request.id:
                return answer, ""
    finally:
        settings.REQUEST_FILE.unlink(missing_ok=True)
    return None, said


def _run(seconds: float) -> str:
    """Run the fetch to its end; return what it complained of, which its answer says better."""
    if way() is Way.UNIT:
        return linux.systemd.start_to_end(handover.UNIT, timeout_seconds=seconds)
    from wgmesh.process import distrusted

    command = [sys.executable, "-P", "-m", "wgmesh", "fetch"]
    make_fetch_directory()
    said = distrusted.hear(
        as_user(command), env={"HOME": str(settings.FETCH_DIR)}, timeout_seconds=seconds
    )
    first = plain(said.strip().partition(b"\n")[0], 200)
    return f"{_SAYS} {first}" if first else ""


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


def make_fetch_directory() -> None:
    """Make the directory of the user who fetches, where no package has done so."""
    owner = user()
    path = settings.FETCH_DIR
    if owner is None or path.exists():
        return
    make_directory(path)
    os.chown(path, owner.pw_uid, owner.pw_gid)
