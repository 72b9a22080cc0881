"""The chain rule: which commit may follow the trusted one. The only maker of VerifiedCommit.

Every step of the branch must be signed by someone whom the step before it authorised, and who
signs a step answers for everything that it brings. The rules for one step are in `step`.
"""

from collections.abc import Callable, Collection

from wgmesh.errors import RefusedError
from wgmesh.model.commit import VerifiedCommit
from wgmesh.trust import line, openpgp
from wgmesh.trust import signers as signers_file
from wgmesh.trust.above import Above
from wgmesh.trust.commit import Commit
from wgmesh.trust.line import Line
from wgmesh.trust.objects import Objects
from wgmesh.trust.openpgp import GpgVerifier
from wgmesh.trust.policy import Policy, Role, Rules, make
from wgmesh.trust.repair import Repair
from wgmesh.trust.side import BY_HAND
from wgmesh.trust.signature import Signed
from wgmesh.trust.step import Kind
from wgmesh.trust.walk import Hint, Walk

_NEW_LINE = (
    "ask the person who gave you the join line; `wgmesh trust show` on a node prints a current one"
)
_ON_TOP = (
    "if what it brought is right, people whose keys are valid sign a branch on top of it"
    f" (git commit --allow-empty -S), then: {BY_HAND}"
)
_ANOTHER = (
    "if it is right, people whom {} authorises and whose keys are valid sign a branch on top of it"
    f" (git commit --allow-empty -S), then: {BY_HAND}; or begin above it on this node: wgmesh trust"
    " reanchor COMMIT"
)
_SIGNERS_FILE = "give a signers file that has the signer of the branch's last commit"


def verify(
    objects: Objects,
    trusted: str,
    tip: str,
    *,
    now: float,
    revoked: Collection[str] = (),
    branch: str = "main",
    gpg: GpgVerifier | None = None,
) -> VerifiedCommit:
    """Return the tip as a commit that may run, given that `trusted` may.

    `now` is the node's clock in seconds since the epoch; only those who answer for the tip are held
    against it, since a date in a commit can be made up. `revoked` has fingerprints that count for
    nothing here. `branch` only serves the printed repair. Raises RefusedError, whose hint ends
    with the command that mends the branch without a forced push.
    """

    def stands(good: str) -> bool:
        try:
            accept(objects, trusted, good, now, revoked, branch, gpg, None)
        except RefusedError:
            return False
        return True

    return accept(objects, trusted, tip, now, revoked, branch, gpg, stands)


def accept(
    objects: Objects,
    trusted: str,
    tip: str,
    now: float | None,
    revoked: Collection[str],
    branch: str,
    gpg: GpgVerifier | None,
    stands: Callable[[str], bool] | None,
) -> VerifiedCommit:
    """Do what verify() does; without `now` nobody is held against the clock."""
    repair = Repair(objects, trusted, tip, branch, stands)
    walk = Walk(objects, repair, revoked=revoked, gpg=gpg)
    if tip == trusted:
        return _described(walk, trusted)
    found = line.find(walk, trusted, tip, branch)
    first = before = walk.commit(trusted)
    top: tuple[Signed, Kind] | None = None
    others = set[Signed]()
    handovers = list[tuple[str, str]]()
    # The first may be a join. It answers to the trusted commit all the same.
    join = found.joins
    for commit in walk.commits(found.commits[::-1], None if found.joins else trusted):
        clock = now if commit.id == tip else None
        top = who, kind = walk.steps.signed(commit, before, clock, join=join)
        others = walk.steps.check(commit, before, who, kind, clock)
        if walk.steps.authorities.changed(commit, before):
            handovers.append((commit.id, before.id))
        before, join = commit, False
        repair.good = commit.id
    assert top is not None  # a line is never empty
    above, repair.good = Above(walk, found.commits), trusted
    for commit_id, before_id in handovers:
        _check_handover(walk, repair, above, (commit_id, before_id), now)
    _check_below(walk, repair, found, trusted, top, now)
    repair.good = trusted
    _check_left(walk, first, before, now)
    return _verified(before, top[0], others)


def _said(hint: str) -> Hint:
    return lambda **_: hint


def authority(objects: Objects, commit: str) -> Policy:
    """Return who may do what after `commit`, by its trust files. Raises RefusedError."""
    walk = Walk(objects, _said("mend the trust files by a step on top of the trusted commit"))
    return walk.steps.authorities.policy(walk.commit(commit))


def introduce(
    objects: Objects,
    commit: str,
    *,
    fingerprint: str | None,
    now: float | None,
    revoked: Collection[str] = (),
    gpg: GpgVerifier | None = None,
) -> VerifiedCommit:
    """Return the introduction commit, which its own tree's trust files must authorise.

    Its full id is what the admin trusts, so it may be a forge's merge as well. `fingerprint`, when
    given, must be its signer's. With `now` the signer must be valid by that clock; give None when
    newer commits follow it, so that a join line outlives the key that signed it. Raises
    RefusedError.
    """
    walk = Walk(objects, _said(_NEW_LINE), revoked=revoked, gpg=gpg)
    if not objects.has(commit):
        message = f"the introduction commit {commit[:12]} is not in the history that was fetched"
        raise RefusedError(message, _NEW_LINE, commit)
    found = walk.commit(commit)
    policy = walk.steps.usable(found, now)
    who = walk.steps.signer(found, policy, "its own {}", now)
    if fingerprint is not None and who.fingerprint != fingerprint:
        raise walk.refused(found, f"{who.fingerprint} signed it, not {fingerprint}")
    return _verified(found, who)


def admit(
    objects: Objects,
    tip: str,
    signers: bytes,
    *,
    now: float,
    revoked: Collection[str] = (),
    gpg: GpgVerifier | None = None,
) -> VerifiedCommit:
    """Return the tip when someone in the signers file `signers` signed it.

    For `join --signers FILE` only: from then on the repository's own files govern, so these must be
    usable too, and a key that they call a forge's counts for nothing. Raises RefusedError.
    """
    walk = Walk(objects, _said(_SIGNERS_FILE), revoked=revoked, gpg=gpg)
    found = walk.commit(tip)
    given = make(signers_file.parse(signers), openpgp.parse({}), Rules())
    who = walk.steps.signer(found, given, "the given {}", now)
    own = walk.steps.usable(found, now)
    if own.role(who.names) is Role.MERGE:
        rule = f"{who.name} signed it, a forge's key that vouches for nothing"
        raise walk.refused(found, rule, "join with --introduction COMMIT")
    return _verified(found, who)


def describe(
    objects: Objects,
    commit: str,
    *,
    revoked: Collection[str] = (),
    gpg: GpgVerifier | None = None,
) -> VerifiedCommit:
    """Return a commit that was accepted before, with its signer, for people.

    Its signature must still be right, and so must those of others on whom it rests, as far as its
    first parent shows that. The signer's name comes from the files of its first parent,
    else of another parent, else its own; an SSH key that none of them has, as after `join
    --signers`, is named by fingerprint. Raises RefusedError.
    """
    return _described(Walk(objects, _said("re-anchor this node"), revoked=revoked, gpg=gpg), commit)


def _check_handover(
    walk: Walk,
    repair: Repair,
    above: Above,
    step: tuple[str, str],
    now: float | None,
) -> None:
    """Hold a change of trust files below the tip against the clock, by those who were there before.

    Else a key that has expired could renew itself, or name others. People of before, who are valid
    now, may have signed something above it as well. Raises RefusedError.
    """
    commit, before = map(walk.commit, step)
    try:
        walk.steps.again(commit, before, now)
    except RefusedError as error:
        if above.enough(commit.id, before, now):
            return
        repair.good = before.id
        message = f"{error.message}; nobody of {before.short} who is valid now signed above it"
        hint = f"{_ANOTHER.format(before.short)}\n{repair()}"
        raise RefusedError(message, hint, error.commit) from None


def _check_below(
    walk: Walk,
    repair: Repair,
    found: Line,
    trusted: str,
    top: tuple[Signed, Kind],
    now: float | None,
) -> None:
    """Hold against the clock, from the tip down, each commit for which nobody above it answers.

    `top` is who signed the tip, as what. A forge answers for nothing, and whoever signed a branch
    that lacks a commit does not answer for that one: else a key that has expired would count again
    once the forge, or one person where several have to sign, put something on top. Raises
    RefusedError.
    """
    ids = [*found.commits, trusted]
    commit, (who, kind) = walk.commit(ids[0]), top
    for at, below in enumerate(ids[2:], 2):
        under = walk.commit(ids[at - 1])
        if walk.steps.answered(commit, under, who, kind, now):
            return
        before, repair.good = walk.commit(below), below
        try:
            who, kind = walk.steps.again(under, before, now)
        except RefusedError as error:
            message = f"{error.message}; nobody who is valid now answers for it, above it"
            raise RefusedError(message, f"{_ON_TOP}\n{error.hint}", error.commit) from None
        commit = under


def _check_left(walk: Walk, trusted: Commit, tip: Commit, now: float | None) -> None:
    """Raise the refusal when other trust files than those of `trusted` leave nobody, by now."""
    if walk.steps.authorities.changed(tip, trusted):
        walk.steps.usable(tip, now)


def _described(walk: Walk, commit_id: str) -> VerifiedCommit:
    commit = walk.commit(commit_id)
    policies = []
    for source in (*commit.parents, commit_id):
        try:
            policies.append(walk.steps.authorities.policy(walk.commit(source)))
        except RefusedError:  # a parent without trust files that can be read names nobody
            continue
    try:
        who = walk.signatures.anybody(commit, policies)
    except RefusedError as error:
        raise walk.refused(commit, error.message, error.hint) from None
    return _verified(commit, who, _others(walk, commit, who))


def _others(walk: Walk, commit: Commit, who: Signed) -> set[Signed]:
    """Return on whom besides `who` it rests that a commit was accepted after its first parent.

    Of a join, or a tip that a signers file admitted, nobody is known. Raises the refusal when
    revocations have taken away what it rests on.
    """
    if len(commit.parents) < 2:
        return set()
    before = walk.commit(commit.parents[0])
    before_revoking = Walk(walk.objects, walk.hint, gpg=walk.signatures.gpg)
    try:
        _, kind = before_revoking.steps.signed(commit, before, None, join=False)
        found = before_revoking.steps.check(commit, before, who, kind, None)
    except RefusedError:
        return set()
    if walk.signatures.revoked.intersection(each.fingerprint for each in found):
        found = walk.steps.check(commit, before, who, kind, None)
    return found


def _verified(commit: Commit, who: Signed, others: Collection[Signed] = ()) -> VerifiedCommit:
    return VerifiedCommit(
        id=commit.id,
        tree=commit.tree,
        signer=who.name,
        fingerprint=who.fingerprint,
        author=commit.author,
        subject=commit.subject,
        time=commit.time,
        relies_on=tuple(sorted({each.fingerprint for each in others} - {who.fingerprint})),
    )
