"""Who signed a commit, by the keys that a policy names: SSH checked here, OpenPGP by gpgv."""

from collections.abc import Collection
from datetime import UTC, datetime

from wgmesh.errors import RefusedError
from wgmesh.frozen import frozen
from wgmesh.trust import openpgp, sshsig
from wgmesh.trust.commit import Commit, split_signature
from wgmesh.trust.openpgp import GpgVerifier
from wgmesh.trust.policy import Policy, spelled
from wgmesh.trust.signers import FILE_NAME, Signer

ADD_KEY = "an admin adds the key first, by a signed commit of its own"

_KEEP = (
    "if what that key signed before is to stay, make this node begin above it, at a commit that you"
    " have checked: wgmesh trust reanchor COMMIT; what is below takes it back:"
)


@frozen
class Signed:
    """A good signature: what its key is called (principals, or a fingerprint), and which it is."""

    names: tuple[str, ...]
    fingerprint: str

    @property
    def name(self) -> str:
        """The signer, for people."""
        return self.names[0]


class Signatures:
    """Checks signatures; a key in `revoked` counts for nothing, whatever a policy says."""

    def __init__(self, gpg: GpgVerifier | None, revoked: Collection[str]) -> None:
        self.revoked = frozenset(map(spelled, revoked))
        self.gpg = gpg

    def by(self, commit: Commit, policy: Policy, source: str, clock: float | None) -> Signed:
        """Return who signed `commit`, by a key of `policy`, whose files are called `source`.

        That has {} for the name of one of them, as in "{} of 0123456789ab".

        With `clock` (seconds since the epoch) the key must be valid then; without, it may have
        expired meanwhile. Raises RefusedError, without the commit.
        """
        payload, armor = split_signature(commit.raw)
        if openpgp.claims(armor):
            return self._openpgp(payload, armor, policy, source, clock)
        signature = sshsig.parse(armor)
        fingerprint = signature.key.fingerprint
        self._check_revoked(fingerprint)
        signer = policy.signers.get(signature.key.blob)
        if signer is None:
            file = source.format(FILE_NAME)
            raise RefusedError(f"{fingerprint} signed it, which {file} does not name", ADD_KEY)
        sshsig.verify(signature, payload)
        _check_use(signer, clock)
        return Signed(signer.principals, fingerprint)

    def anybody(self, commit: Commit, policies: Collection[Policy]) -> Signed:
        """Return who signed `commit`, named by the first policy that has the key.

        For a commit that was accepted before: an SSH key that no policy has is named by its
        fingerprint. Raises RefusedError when the signature is not right, or its key is revoked.
        """
        payload, armor = split_signature(commit.raw)
        if openpgp.claims(armor):
            return self._anybody_of_openpgp(payload, armor, policies)
        signature = sshsig.parse(armor)
        fingerprint = signature.key.fingerprint
        self._check_revoked(fingerprint)
        sshsig.verify(signature, payload)
        for policy in policies:
            signer = policy.signers.get(signature.key.blob)
            if signer is not None:
                return Signed(signer.principals, fingerprint)
        return Signed((fingerprint,), fingerprint)

    def _openpgp(
        self, payload: bytes, armor: bytes, policy: Policy, source: str, clock: float | None
    ) -> Signed:
        directory = source.format(f"{openpgp.DIRECTORY}/")
        if not policy.keyring.certificates:
            raise RefusedError(
                f"it is signed with OpenPGP, but {directory} has no certificate", ADD_KEY
            )
        if self.gpg is None:
            raise RefusedError("it is signed with OpenPGP, which needs gpgv: apt install gpgv")
        found = self.gpg.verify(policy.keyring, armor, payload)
        self._check_revoked(found.fingerprint)
        if found.expired and clock is not None:
            raise RefusedError(
                f"{found.fingerprint} signed it, whose OpenPGP certificate has expired; by this"
                f" node's clock it is {_utc(clock)}"
            )
        return Signed((found.fingerprint,), found.fingerprint)

    def _anybody_of_openpgp(
        self, payload: bytes, armor: bytes, policies: Collection[Policy]
    ) -> Signed:
        why = RefusedError("it is signed with OpenPGP, but nobody's certificate is there")
        for policy in policies:
            try:
                return self._openpgp(payload, armor, policy, "its {}", None)
            except RefusedError as error:  # perhaps the next policy has the certificate
                why = error
        raise why

    def _check_revoked(self, fingerprint: str) -> None:
        if fingerprint in self.revoked:
            raise RefusedError(f"{fingerprint} signed it, which is revoked on this node", _KEEP)


def _check_use(signer: Signer, clock: float | None) -> None:
    """Raise RefusedError when the signer's line does not allow signing commits, at `clock`."""
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
