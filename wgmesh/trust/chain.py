"""The chain rule: which commit may follow the trusted one. The only maker of VerifiedCommit.

Every step of the branch must be signed by someone whom the step before it authorised, and who
signs a step answers for everything that it brings: commits on side branches need no signature.
Until roles exist every signer may do everything, trust files included.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from wgmesh.errors import RefusedError
from wgmesh.model import VerifiedCommit
from wgmesh.trust import refusal, sshsig
from wgmesh.trust import signers as signers_file
from wgmesh.trust.commit import Commit, parents, parse, split_signature
from wgmesh.trust.objects import FILE_MODES, Objects
from wgmesh.trust.openpgp import GpgVerifier, Keyring
from wgmesh.trust.policy import Policy, Rules, make
from wgmesh.trust.signers import Signer, Signers

LONGEST_WALK = 200_000
"""Commits between the trusted one and the tip, at most."""

FIRST_LOOK = 1024
"""Commits to walk before asking whether the trusted one is below at all."""

LARGEST_KEPT_BYTES = 32 << 20
"""Of commits that were read on the way down, this much is kept for the way up."""

NOT_OBEYED = ("trust.toml", "openpgp")
"""Trust files of a later wgmesh: ignoring them would let in what their authors keep out."""

_NEW_LINE = (
    "ask the person who gave you the join line; `wgmesh trust show` on a node prints a current one"
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the chain rule says of one commit; `problem` None: it is as it has to be.

    `kind` is step, forge merge, join or side. `signer` and `fingerprint` are None unless its
    signature is right and counts.
    """

    id: str
    short: str
    author: str
    subject: str
    time: int  # the committer's clock, seconds since the epoch: for people only
    signer: str | None
    fingerprint: str | None
    kind: str
    problem: str | None


def verify(
    objects: Objects,
    trusted: str,
    tip: str,
    *,
    now: float,
    revoked: Collection[str] = (),
    branch: str = "main",
) -> VerifiedCommit:
    """Return the tip as a commit that may run, given that `trusted` may.

    `now` is the node's clock in seconds since the epoch; only the tip's signer is held against
    it, since a date in a commit can be made up. `revoked` has fingerprints (SHA256:…) that count
    for nothing here. `branch` only serves the printed repair. Raises RefusedError, whose hint has
    the command that mends the branch without a forced push.
    """
    walk = _Walk(objects, revoked, refusal.merge(trusted, branch))
    if tip == trusted:
        again = _Walk(objects, revoked, refusal.sign_again(trusted, branch))
        return _described(again, trusted)
    line = _line(walk, trusted, tip, branch)
    commit, signer = walk.commit(trusted), None
    authority = walk.signers(commit)
    for commit_id in reversed(line):
        # The first may be a join, which has the trusted commit below another parent. It answers
        # to the trusted commit's file all the same.
        source = f"{signers_file.FILE_NAME} of {commit.short}"
        commit = walk.commit(commit_id)
        clock = now if commit_id == tip else None
        signer = walk.step(commit, authority, source, clock)
        authority = walk.usable_signers(commit, clock)
    assert signer is not None  # a line is never empty
    return _verified(commit, *signer)


def judge(
    objects: Objects,
    trusted: str,
    tip: str,
    *,
    now: float,
    revoked: Collection[str] = (),
    branch: str = "main",
    gpg: GpgVerifier | None = None,
) -> Iterator[Judged]:
    """Yield a verdict on each commit from `trusted` (left out) to `tip`, oldest first.

    A commit after a refused one is judged as if that one had been right. Raises RefusedError as
    `verify` does when the tip does not descend from `trusted`.
    """
    del gpg
    walk = _Walk(objects, revoked, refusal.merge(trusted, branch))
    line = [] if tip == trusted else _line(walk, trusted, tip, branch)
    above = trusted
    for commit_id in reversed(line):
        commit = walk.commit(commit_id)
        clock = now if commit_id == tip else None
        kind = "step" if commit.parents[0] == above else "join"
        signer: tuple[str, str] | None = None
        problem = None
        try:
            authority = walk.signers(walk.commit(above))
            signer = walk.step(commit, authority, f"allowed_signers of {above[:12]}", clock)
            walk.usable_signers(commit, clock)
        except RefusedError as error:
            problem = error.message
        name, fingerprint = signer or (None, None)
        yield Judged(
            id=commit.id,
            short=commit.short,
            author=commit.author,
            subject=commit.subject,
            time=commit.time,
            signer=name,
            fingerprint=fingerprint,
            kind=kind,
            problem=problem,
        )
        above = commit_id


def authority(objects: Objects, commit: str) -> Policy:
    """Return who may do what after `commit`, by its trust files. Raises RefusedError."""
    walk = _Walk(objects, (), "mend the trust files by a step on top of the trusted commit")
    return make(walk.signers(walk.commit(commit)), Keyring(), Rules())


def introduce(
    objects: Objects,
    commit: str,
    *,
    fingerprint: str | None,
    now: float | None,
    revoked: Collection[str] = (),
) -> VerifiedCommit:
    """Return the introduction commit, which its own tree's signers file must authorise.

    Its full id is what the admin trusts. `fingerprint`, when given, must be its signer's. With
    `now` the signer must be valid by that clock; give None when newer commits follow it, so that
    a join line outlives the key that signed it. Raises RefusedError.
    """
    walk = _Walk(objects, revoked, _NEW_LINE)
    if not objects.has(commit):
        message = f"the introduction commit {commit[:12]} is not in the history that was fetched"
        raise RefusedError(message, _NEW_LINE, commit)
    found = walk.commit(commit)
    authority = walk.usable_signers(found, now)
    signer = walk.step(found, authority, f"its own {signers_file.FILE_NAME}", now)
    if fingerprint is not None and signer[1] != fingerprint:
        raise walk.refused(found, f"{signer[1]} signed it, not {fingerprint}")
    return _verified(found, *signer)


def admit(
    objects: Objects,
    tip: str,
    signers: bytes,
    *,
    now: float,
    revoked: Collection[str] = (),
) -> VerifiedCommit:
    """Return the tip when someone in the signers file `signers` signed it.

    For `join --signers FILE` only: from then on the repository's own file governs, so that one
    must be usable too. Raises RefusedError.
    """
    hint = "give a signers file that has the signer of the branch's last commit"
    walk = _Walk(objects, revoked, hint)
    found = walk.commit(tip)
    signer = walk.step(found, signers_file.parse(signers), "the given signers file", now)
    walk.usable_signers(found, now)
    return _verified(found, *signer)


def describe(objects: Objects, commit: str, *, revoked: Collection[str] = ()) -> VerifiedCommit:
    """Return a commit that was accepted before, with its signer, for people.

    Its signature must still be right. The signer's name comes from the file of its first parent,
    else of another parent, else its own; a signer in none of them, as after `join --signers`, is
    named by fingerprint. Raises RefusedError.
    """
    return _described(_Walk(objects, revoked, "re-anchor this node"), commit)


class _Walk:
    """One run of the rule: what it reads, and the signers files that it has parsed by blob id."""

    def __init__(self, objects: Objects, revoked: Collection[str], hint: str) -> None:
        self.objects = objects
        self.revoked = frozenset(revoked)
        self.hint = hint
        self._files: dict[str, Signers] = {}
        self._usable: set[str] = set()
        self._raw: dict[str, bytes] = {}
        self._raw_bytes = 0

    def refused(self, commit: Commit, rule: str) -> RefusedError:
        return refusal.refused(commit, rule, self.hint)

    def commit(self, commit: str) -> Commit:
        try:
            return parse(commit, self._raw.pop(commit, b"") or self.objects.commit(commit))
        except RefusedError as error:
            raise self._unread(commit, error) from None

    def parents(self, commit: str) -> tuple[str, ...]:
        """Return a commit's parents; what was read for that is kept for commit(), within bounds."""
        try:
            raw = self.objects.commit(commit)
            if self._raw_bytes + len(raw) <= LARGEST_KEPT_BYTES:
                self._raw[commit] = raw
                self._raw_bytes += len(raw)
            return parents(raw)
        except RefusedError as error:
            raise self._unread(commit, error) from None

    def _unread(self, commit: str, error: RefusedError) -> RefusedError:
        # Nothing in it can be relied on, so neither can its author and subject.
        message = f"commit {commit[:12]} is refused: {error.message}"
        return RefusedError(message, self.hint, commit)

    def step(
        self, commit: Commit, authority: Signers, source: str, clock: float | None
    ) -> tuple[str, str]:
        """Return principal and fingerprint of who signed `commit`; `source` names `authority`."""
        try:
            payload, armor = split_signature(commit.raw)
            signature = sshsig.parse(armor)
            fingerprint = signature.key.fingerprint
            if fingerprint in self.revoked:
                raise RefusedError(f"{fingerprint} signed it, which is revoked on this node")
            signer = authority.get(signature.key.blob)
            if signer is None:
                raise RefusedError(f"{fingerprint} signed it, which {source} does not name")
            sshsig.verify(signature, payload)
            _check_use(signer, clock)
        except RefusedError as error:
            raise self.refused(commit, error.message) from None
        return signer.name, fingerprint

    def signers(self, commit: Commit) -> Signers:
        """Return the signers file of a commit; refuses trust files that are not obeyed yet."""
        return self._files[self._file(commit)]

    def usable_signers(self, commit: Commit, clock: float | None) -> Signers:
        """Return the signers file of a commit, which must leave someone to sign the next one."""
        blob = self._file(commit)
        found = self._files[blob]
        if clock is None and blob in self._usable:
            return found
        if not any(
            signer.usable
            and signer.key.fingerprint not in self.revoked
            and (clock is None or signer.valid_before is None or clock <= signer.valid_before)
            for signer in found.values()
        ):
            raise self.refused(
                commit, f"its {signers_file.FILE_NAME} leaves nobody who could sign the next one"
            )
        self._usable.add(blob)
        return found

    def _file(self, commit: Commit) -> str:
        """Return the blob id of a commit's signers file, once it is among the parsed ones."""
        try:
            return self._find_file(commit)
        except RefusedError as error:
            raise self.refused(commit, error.message) from None

    def _find_file(self, commit: Commit) -> str:
        entries = self.objects.tree(commit.tree)
        for name in NOT_OBEYED:
            if name in entries:
                raise RefusedError(f"it has {name}, which this wgmesh does not obey yet")
        entry = entries.get(signers_file.FILE_NAME)
        if entry is None:
            raise RefusedError(f"it has no {signers_file.FILE_NAME} at the root of its tree")
        if entry.mode not in FILE_MODES:
            raise RefusedError(f"its {signers_file.FILE_NAME} is {entry.kind}, not a file")
        if entry.id not in self._files:
            data = self.objects.blob(entry.id, signers_file.LARGEST_BYTES)
            self._files[entry.id] = signers_file.parse(data)
        return entry.id


def _line(walk: _Walk, trusted: str, tip: str, branch: str) -> list[str]:
    """Return the commits of the tip's first-parent line that descend from `trusted`, newest first.

    Mostly the line simply arrives at `trusted`. When it does not, its oldest commit that descends
    from `trusted` is the join; descent only ends once along a line, so that one is found by halves.
    """
    objects, line, at, look = walk.objects, list[str](), tip, FIRST_LOOK
    while at != trusted:
        line.append(at)
        above = walk.parents(at)
        if not above:
            break
        if len(line) == look:
            if not objects.has(trusted) or not objects.is_ancestor(trusted, at):
                break
            look *= 2
        if len(line) > LONGEST_WALK:
            rule = f"more than {LONGEST_WALK} commits lie between it and {trusted[:12]}"
            raise walk.refused(walk.commit(tip), rule)
        at = above[0]
    else:
        return line
    if not objects.has(trusted) or not objects.is_ancestor(trusted, tip):
        raise _not_descended(walk, trusted, tip, branch)
    above_join, below = 0, len(line)  # line[above_join] descends, line[below] does not
    while below - above_join > 1:
        middle = (above_join + below) // 2
        if objects.is_ancestor(trusted, line[middle]):
            above_join = middle
        else:
            below = middle
    return line[:below]


def _not_descended(walk: _Walk, trusted: str, tip: str, branch: str) -> RefusedError:
    commit = walk.commit(tip)
    if not walk.objects.has(trusted):
        rule = f"{branch} no longer contains the trusted commit {trusted[:12]}, nor does this node"
        return refusal.refused(commit, rule, refusal.merge(trusted, branch, unrelated=True))
    if walk.objects.is_ancestor(tip, trusted):
        rule = f"{branch} was rewound to it, from the trusted commit {trusted[:12]} that follows it"
        return refusal.refused(commit, rule, refusal.push(trusted, branch))
    if walk.objects.related(tip, trusted):
        rule = f"{branch} was forced: it does not contain the trusted commit {trusted[:12]}"
        return refusal.refused(commit, rule, refusal.merge(trusted, branch))
    rule = f"its history has nothing in common with the trusted commit {trusted[:12]}"
    return refusal.refused(commit, rule, refusal.merge(trusted, branch, unrelated=True))


def _check_use(signer: Signer, clock: float | None) -> None:
    """Raise RefusedError when the signer's line does not allow signing commits, now."""
    if signer.namespaces is not None and sshsig.NAMESPACE not in signer.namespaces:
        raise RefusedError(f"{signer.name} signed it, whose key is not for the namespace 'git'")
    if clock is None:
        return
    if signer.valid_after is not None and clock < signer.valid_after:
        when, rule = signer.valid_after, "not valid before"
    elif signer.valid_before is not None and clock > signer.valid_before:
        when, rule = signer.valid_before, "not valid after"
    else:
        return
    raise RefusedError(
        f"{signer.name} signed it, whose key is {rule} {_utc(when)}; by this node's clock it is "
        f"{_utc(clock)}"
    )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _described(walk: _Walk, commit_id: str) -> VerifiedCommit:
    commit = walk.commit(commit_id)
    try:
        payload, armor = split_signature(commit.raw)
        signature = sshsig.parse(armor)
        fingerprint = signature.key.fingerprint
        if fingerprint in walk.revoked:
            raise RefusedError(f"{fingerprint} signed it, which is revoked on this node")
        sshsig.verify(signature, payload)
    except RefusedError as error:
        raise walk.refused(commit, error.message) from None
    for source in (*commit.parents, commit_id):
        try:
            signer = walk.signers(walk.commit(source)).get(signature.key.blob)
        except RefusedError:  # a parent without a readable signers file names nobody
            continue
        if signer is not None:
            return _verified(commit, signer.name, fingerprint)
    return _verified(commit, fingerprint, fingerprint)


def _verified(commit: Commit, signer: str, fingerprint: str) -> VerifiedCommit:
    return VerifiedCommit(
        id=commit.id,
        tree=commit.tree,
        signer=signer,
        fingerprint=fingerprint,
        author=commit.author,
        subject=commit.subject,
        time=commit.time,
    )
