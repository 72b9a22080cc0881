"""What `wgmesh fetch` does, as the user wgmesh: ask the remotes, fetch what is new, hand it over.

It knows nothing of trust. It may read what is no secret and write its own directory, and whoever
takes it over by what a server sends has no more than that.
"""

import logging
import os
import resource
import time
from dataclasses import replace

from wgmesh import handover, records, settings
from wgmesh.errors import RefusedError, UnreachableError, UsageError, WgmeshError
from wgmesh.handover import LARGEST_BUNDLE_BYTES, MOST_FAILURES, Answer, Request
from wgmesh.repository import Repository

log = logging.getLogger(__name__)

ASK_SECONDS = 20
ONLY_ASK_SECONDS = 12  # for all remotes: somebody waits for a proof
FETCH_SECONDS = 300
FIRST_WAIT_SECONDS = 60
LONGEST_WAIT_SECONDS = 900

_OUTCOMES = {UnreachableError: "unreachable", RefusedError: "refused"}


def fetch() -> str:
    """Ask the remotes and leave the answer for root; return one sentence for people.

    Raises UnreachableError when none answers, or when it is too early to ask again after several
    that failed; RefusedError for malformed objects; UsageError for anybody but the directory's
    owner; another WgmeshError. The answer says the same.
    """
    _be_the_owner()
    request = handover.read_request(settings.REQUEST_FILE)
    last = _last()
    now = int(time.time())
    answer = replace(last, run=handover.new_id(), request=request.id if request else "")
    if request is None and last.time <= now < last.again:
        handover.write_answer(settings.FETCH_DIR, answer)
        raise UnreachableError(
            f"{last.error} (asked {now - last.time} s ago, and again in {last.again - now} s)",
            last.hint,
        )
    blank = replace(answer, time=now, outcome="reached", remote="", commit="", error="", hint="")
    try:
        answer = _ask(request or Request(""), blank)
    except WgmeshError as error:
        outcome = _OUTCOMES.get(type(error), "failed")
        answer = replace(blank, outcome=outcome, error=error.message, hint=error.hint)
        if isinstance(error, RefusedError):
            answer = replace(answer, commit=error.commit)
        if request is None and outcome == "unreachable":  # who waits asks as often as he likes
            answer = later(answer, now)
        handover.write_answer(settings.FETCH_DIR, answer)
        raise
    handover.write_answer(settings.FETCH_DIR, replace(answer, failures=0, again=0))
    return f"{answer.remote} is at {answer.commit[:12]}"


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


def _ask(request: Request, answer: Answer) -> Answer:
    remotes, branch = request.remotes, request.branch
    if not remotes:
        enrolment = settings.load_enrolment()
        remotes, branch = enrolment.remotes, enrolment.branch
    with Repository(settings.FETCH_DIR / "repository.git") as repository:
        seconds = ONLY_ASK_SECONDS / len(remotes) if request.only_ask else ASK_SECONDS
        remote, commit = first_tip(repository, remotes, branch, timeout_seconds=seconds)
        answer = replace(answer, remote=remote, commit=commit)
        if request.only_ask:
            return answer
        trusted = records.read_tips(settings.STATE_DIR).trusted
        since = trusted.id if trusted is not None and not request.everything else ""
        bundle = settings.FETCH_DIR / "bundle"
        if since == commit:
            bundle.unlink(missing_ok=True)
            return replace(answer, bundled="", since="")
        if (answer.bundled, answer.since) == (commit, since) and bundle.is_file():
            return answer
        repository.ensure()
        try:
            repository.fetch(remote, branch, commit, timeout_seconds=FETCH_SECONDS)
        except RefusedError as error:
            raise RefusedError(error.message, error.hint, commit) from None
        written = repository.write_bundle(bundle, since)
        log.info("%s is new", commit[:12])
        return replace(answer, bundled=commit if written else "", since=since if written else "")


def first_tip(
    repository: Repository, remotes: tuple[str, ...], branch: str, *, timeout_seconds: float
) -> tuple[str, str]:
    """Return the first remote that answers, and its tip. Raises UnreachableError when none does."""
    failures = []
    for remote in remotes:
        try:
            commit = repository.ls_remote(remote, branch, timeout_seconds=timeout_seconds)
        except UnreachableError as error:
            failures.append(error)
            continue
        return remote, commit
    if len(failures) == 1:
        raise failures[0]
    raise UnreachableError(
        "; ".join(error.message for error in failures) or "no remote is configured",
        "the running configuration stays; the next poll tries again",
    )
