"""The trust files of commits, and the policies that they come to."""

from collections.abc import Iterable, Mapping

from wgmesh.errors import RefusedError
from wgmesh.trust import openpgp, policy
from wgmesh.trust import signers as signers_file
from wgmesh.trust.commit import Commit
from wgmesh.trust.objects import FILE_MODES, TREE_MODE, Entry, Objects
from wgmesh.trust.openpgp import Keyring
from wgmesh.trust.plain import plain
from wgmesh.trust.policy import Policy, Rules
from wgmesh.trust.refusal import Refuse
from wgmesh.trust.signers import Signers

NAMES = (signers_file.FILE_NAME, openpgp.DIRECTORY, policy.FILE_NAME)
"""The trust files, at the root of a tree."""

MOST_KEPT = 8
"""Policies kept: a file of a megabyte becomes many, and mostly one holds for the whole line."""


TrustFiles = tuple[Entry | None, ...]
"""Where a tree has its trust files, in the order of NAMES; equal ones come to the same policy."""


class Authorities:
    """Reads the trust files of commits; what was read lately is kept."""

    def __init__(self, objects: Objects, refuse: Refuse) -> None:
        self._objects = objects
        self._refuse = refuse
        self._files: dict[str, TrustFiles] = {}
        self._policies: dict[TrustFiles, Policy] = {}

    def prefetch(self, commits: Iterable[Commit]) -> None:
        """Read the trees of commits ahead, in one go; all that was read before is forgotten."""
        trees = list(dict.fromkeys(commit.tree for commit in commits))
        try:
            found = map(_located, self._objects.trees(trees, NAMES))
            self._files = dict(zip(trees, found, strict=True))
        except RefusedError:  # which commit is to blame shows when its turn comes
            self._files = {}

    def files(self, commit: Commit) -> TrustFiles:
        """Return where `commit` has its trust files. Raises its refusal when its tree is bad."""
        found = self._files.get(commit.tree)
        if found is None:
            try:
                (entries,) = self._objects.trees([commit.tree], NAMES)
            except RefusedError as error:
                raise self._refuse(commit, error.message, error.hint) from None
            found = self._files[commit.tree] = _located(entries)
        return found

    def changed(self, commit: Commit, before: Commit) -> list[str]:
        """Return the names of the trust files in which two commits differ."""
        pairs = zip(NAMES, self.files(commit), self.files(before), strict=True)
        return [name for name, new, old in pairs if new != old]

    def policy(self, commit: Commit) -> Policy:
        """Return who may do what by the trust files of `commit`.

        Raises its refusal when there are none, or when one of them cannot be obeyed.
        """
        files = self.files(commit)
        found = self._policies.get(files)
        if found is None:
            try:
                found = self._read(files)
            except RefusedError as error:
                raise self._refuse(commit, error.message, error.hint) from None
            while len(self._policies) >= MOST_KEPT:
                del self._policies[next(iter(self._policies))]
            self._policies[files] = found
        return found

    def _read(self, files: TrustFiles) -> Policy:
        ssh, directory, toml = files
        signers: Signers = {}
        keyring, rules = openpgp.parse({}), Rules()
        if directory is not None:
            keyring = self._keyring(directory)
        if ssh is not None:
            data = self._file(ssh, signers_file.FILE_NAME, signers_file.LARGEST_BYTES)
            signers = signers_file.parse(data)
        elif not keyring.certificates:
            raise RefusedError(
                f"it has no {signers_file.FILE_NAME} at the root of its tree",
                f"put {signers_file.FILE_NAME} back",
            )
        if toml is not None:
            rules = policy.parse(self._file(toml, policy.FILE_NAME, policy.LARGEST_BYTES))
        return policy.make(signers, keyring, rules)

    def _file(self, entry: Entry, name: str, limit_bytes: int) -> bytes:
        if entry.mode not in FILE_MODES:
            raise RefusedError(f"its {name} is {entry.kind}, not a file")
        return self._objects.blob(entry.id, limit_bytes)

    def _keyring(self, entry: Entry) -> Keyring:
        directory = openpgp.DIRECTORY
        if entry.mode != TREE_MODE:
            raise RefusedError(f"its {directory} is {entry.kind}, not a directory")
        (entries,) = self._objects.trees([entry.id])
        openpgp.check_number(len(entries))
        files = {}
        for name, below in entries.items():
            shown = f"{directory}/{plain(name, 60)}"
            files[name] = self._file(below, shown, openpgp.LARGEST_BYTES)
        return openpgp.parse(files)


def _located(entries: Mapping[str, Entry]) -> TrustFiles:
    return tuple(map(entries.get, NAMES))
