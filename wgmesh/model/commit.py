"""The verified commit: what may run, and who answers for it."""

from wgmesh.frozen import frozen


@frozen
class VerifiedCommit:
    """A commit that the chain rule accepted; only `wgmesh.trust.chain` makes one."""

    id: str
    tree: str
    signer: str  # principal of allowed_signers
    fingerprint: str  # SHA256:… of the signing key
    author: str
    subject: str
    time: int  # committer's clock, seconds since the epoch: for people only
    relies_on: tuple[str, ...] = ()  # keys of others without whom it might not have been accepted
