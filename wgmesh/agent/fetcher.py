"""What `wgmesh fetch` does, as the user wgmesh: ask the remotes, fetch what is new, hand it over.

It knows nothing of trust. It may read what is no secret and write its own directory, and whoever
takes it over by what a server sends has no more than that.
"""

import logging
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wgmesh import handover, records, settings
from wgmesh.errors import RefusedError, UnreachableError, UsageError, WgmeshError
from wgmesh.handover import LARGEST_BUNDLE_BYTES, MOST_FAILURES, Answer, Request, Said
from wgmesh.repository import transfer

if TYPE_CHECKING:
    from wgmesh.repository.bare import Repository

log = logging.getLogger(__name__)

ASK_SECONDS = 20
NAMES_SECONDS = 5.0
ONLY_ASK_SECONDS = 12  # for all remotes: somebody waits for a proof
FETCH_SECONDS = 300
FIRST_WAIT_SECONDS = 60
LONGEST_WAIT_SECONDS = 900

_OUTCOMES = {UnreachableError: "unreachable", RefusedError: "refused"}


def fetch() -> str:
    """Ask the remotes and leave the answer for root; return one sentence for people.

    Root may ask for names instead; then no remote is asked.

    Raises UnreachableError when none answers, or when it is too early to ask again after several
    that failed; RefusedError for malformed objects; UsageError for anybody but the directory's
    owner; another WgmeshError. The answer says the same.
    """
    _be_the_owner()
    told = _find_names()
    request = handover.read_request(settings.REQUEST_FILE)
    if told and request is None:
        return told
    last = _last()
    now = int(time.time())
    answer = replace(last, run=handover.new_id(), request=request.id if request else "")
    if request is None and last.time <= now < last.again:
        handover.write_answer(settings.FETCH_DIR, answer)
        raise UnreachableError(
            f"{last.error} (asked {now - last.time} s ago, and again in {last.again - now} s)",
            last.hint,
        )
    blank = replace(answer, time=now, outcome="reached", said=(), refused="", error="", hint="")
    try:
        answer = _ask(request or Request(""), blank, last)
    except WgmeshError as error:
        outcome = _OUTCOMES.get(type(error), "failed")
        answer = replace(blank, outcome=outcome, error=error.message, hint=error.hint)
        if isinstance(error, RefusedError):
            answer = replace(answer, refused=error.commit)
        if request is None and outcome == "unreachable":  # who waits asks as often as he likes
            answer = later(answer, now)
        handover.write_answer(settings.FETCH_DIR, answer)
        raise
    handover.write_answer(settings.FETCH_DIR, replace(answer, failures=0, again=0))
    return "; ".join(
        f"{one.remote} is at {one.commit[:12]}" if one.commit else one.reason for one in answer.said
    )


def _be_the_owner() -> None:
    """Refuse root, who must not run git in a directory that somebody else shapes."""
    try:
        owner = settings.FETCH_DIR.stat().st_uid
    except FileNotFoundError:
        raise WgmeshError(
            f"there is no {settings.FETCH_DIR}", "systemd-tmpfiles --create makes it"
        ) from None
    if owner != os.geteuid() or owner == 0:
        raise UsageError(
            f"only the user {settings.FETCH_USER} runs this command", "wgmesh sync fetches"
        )
    os.umask(0o022)
    os.chdir(settings.FETCH_DIR)  # git wants to know where it is, and we came from anywhere
    limit = min(LARGEST_BUNDLE_BYTES, *_known(resource.getrlimit(resource.RLIMIT_FSIZE)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _find_names() -> str:
    """Tell root the addresses of the names that it asks for; return a sentence, "" without any.

    A question that was answered already is none; one that cannot be is told, for the rest goes on.
    """
    if not settings.NAMES_FILE.exists():
        return ""
    from wgmesh import names, resolve

    try:
        wanted = names.read_wanted(settings.NAMES_FILE)
        if wanted is None or names.answered(settings.FETCH_DIR, wanted):
            return ""
        found = resolve.addresses(wanted.names, seconds=NAMES_SECONDS)
        names.write_found(settings.FETCH_DIR, wanted.id, found)
    except (OSError, WgmeshError) as error:
        log.warning("the names that root asks for are not told: %s", error)
        return ""
    return f"of {len(wanted.names)} names {len(found)} were found"


def _known(limits: tuple[int, int]) -> list[int]:
    return [each if each != resource.RLIM_INFINITY else LARGEST_BUNDLE_BYTES for each in limits]


def _last() -> Answer:
    try:
        return handover.read_answer(settings.FETCH_DIR) or Answer("")
    except WgmeshError as error:
        log.warning("%s: it is written anew", error.message)
        return Answer("")


def later(answer: Answer, now: int) -> Answer:
    """Return the answer with the time to ask again: each failure doubles the wait."""
    wait = min(FIRST_WAIT_SECONDS * 2 ** min(answer.failures, 10), LONGEST_WAIT_SECONDS)
    again = now + wait if answer.failures else 0
    return replace(answer, failures=min(answer.failures + 1, MOST_FAILURES), again=again)


def _ask(request: Request, answer: Answer, last: Answer) -> Answer:
    remotes, branch = request.remotes, request.branch
    if not remotes:
        enrolment = settings.load_enrolment()
        remotes, branch = enrolment.remotes, enrolment.branch
    git_dir = settings.FETCH_DIR / "repository.git"
    if request.only_ask:
        one = first(git_dir, remotes, branch)
        return replace(answer, said=(one,), bundled=(), since="")
    said = ask(git_dir, remotes, branch)
    trusted = records.read_tips(settings.STATE_DIR).trusted
    since = trusted.id if trusted is not None and not request.everything else ""
    answer = replace(answer, said=said, since=since)
    bundle = settings.FETCH_DIR / "bundle"
    wanted = [commit for commit in tips(said) if commit != since]
    if not wanted:
        bundle.unlink(missing_ok=True)
        return replace(answer, bundled=())
    known = (last.outcome, tips(last.said), last.since) == ("reached", tips(said), since)
    if known and (bundle.is_file() if last.bundled else since):
        return replace(answer, bundled=last.bundled)
    from wgmesh.repository.bare import Repository

    with Repository(git_dir) as repository:
        repository.ensure()
        said = bring(repository, remotes, said, branch, wanted)
        written = repository.write_bundle(bundle, since)
        log.info("%s: new", ", ".join(commit[:12] for commit in wanted))
        return replace(answer, said=said, bundled=written)


def tips(said: Sequence[Said]) -> tuple[str, ...]:
    """Return the tips that were said to be there, each once."""
    return tuple(dict.fromkeys(one.commit for one in said if one.commit))


def ask(git_dir: Path, remotes: Sequence[str], branch: str) -> tuple[Said, ...]:
    """Return what each remote says, asked at once. Raises UnreachableError when none answers."""

    def one(remote: str) -> tuple[Said, UnreachableError | None]:
        try:
            commit = transfer.ask(git_dir, remote, branch, timeout_seconds=ASK_SECONDS)
        except UnreachableError as error:
            return Said(handover.shown(remote), reason=error.message), error
        return Said(handover.shown(remote), commit), None

    if len(remotes) == 1:
        answers = [one(remotes[0])]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(remotes)) as pool:
            answers = list(pool.map(one, remotes))
    failures = [error for _, error in answers if error is not None]
    if len(failures) == len(answers):
        raise _none(failures)
    return tuple(said for said, _ in answers)


def first(
    git_dir: Path,
    remotes: Sequence[str],
    branch: str,
    *,
    timeout_seconds: float = ONLY_ASK_SECONDS,
) -> Said:
    """Return what the first remote that answers says; the time is for all of them together."""
    failures = []
    for remote in remotes:
        try:
            commit = transfer.ask(
                git_dir, remote, branch, timeout_seconds=timeout_seconds / len(remotes)
            )
        except UnreachableError as error:
            failures.append(error)
            continue
        return Said(handover.shown(remote), commit)
    raise _none(failures)


def _none(failures: Sequence[UnreachableError]) -> UnreachableError:
    if len(failures) == 1:
        return failures[0]
    return UnreachableError(
        "; ".join(error.message for error in failures) or "no remote is configured",
        "the running configuration stays; the next poll tries again",
    )


def bring(
    repository: "Repository",
    remotes: Sequence[str],
    said: Sequence[Said],
    branch: str,
    wanted: Sequence[str],
) -> tuple[Said, ...]:
    """Fetch the commits in `wanted`; return what was said, without what a remote did not give.

    Raises UnreachableError when no remote gives what it has, RefusedError for malformed objects.
    """
    repository.make_room()
    end = time.monotonic() + FETCH_SECONDS
    failures: dict[str, UnreachableError] = {}
    for commit in wanted:
        for remote, one in zip(remotes, said, strict=True):
            if one.commit != commit:
                continue
            left = max(1.0, end - time.monotonic())
            try:
                repository.fetch(remote, branch, commit, timeout_seconds=left)
            except UnreachableError as error:
                failures[commit] = error
            except RefusedError as error:
                raise RefusedError(error.message, error.hint, commit) from None
            else:
                failures.pop(commit, None)
                break
    given = [commit for commit in tips(said) if commit not in failures]
    if not given:
        raise _none(list(failures.values()))
    repository.hold([commit for commit in wanted if commit in given])
    return tuple(
        replace(one, commit="", reason=failures[one.commit].message)
        if one.commit in failures
        else one
        for one in said
    )
