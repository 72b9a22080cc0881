"""Who signed a commit, without a repository: which key counts, for what, and when."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from wgmesh.errors import RefusedError
from wgmesh.gpgv import Gpgv
from wgmesh.trust import openpgp, signers
from wgmesh.trust.commit import Commit, parse
from wgmesh.trust.openpgp import Keyring
from wgmesh.trust.policy import Policy, Rules, make
from wgmesh.trust.side import Base
from wgmesh.trust.signature import Signatures, Signed

from . import soft_keys
from .gpg import GpgHome
from .soft_keys import SoftKey
from .test_trust_commit import HEAD

ADA, EVE = soft_keys.make("ssh-ed25519"), soft_keys.make("ssh-ed25519")
SUBJECT = b"\nSubject\n"
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
PGP = b"-----BEGIN PGP SIGNATURE-----\n\nwsBc\n-----END PGP SIGNATURE-----\n"
YEAR_2020 = 1_577_836_800


def commit(armor: bytes, number: int = 0) -> Commit:
    header = b"gpgsig " + armor.rstrip(b"\n").replace(b"\n", b"\n ") + b"\n"
    return parse(f"{number:040x}", HEAD + header + SUBJECT)


def signed(key: SoftKey, namespace: str = "git") -> Commit:
    return commit(key.sshsig(HEAD + SUBJECT, namespace=namespace))


def policy(options: str = "", key: SoftKey = ADA, name: str = "ada@x,ada") -> Policy:
    return make(signers.parse(f"{name} {options} {key.line}".encode()), Keyring(), Rules())


def by(found: Commit, policy: Policy, clock: float | None = None, *revoked: str) -> Signed:
    return Signatures(None, revoked).by(found, policy, "{} of 0123456789ab", clock)


def refusal(found: Commit, policy: Policy, clock: float | None = None, *revoked: str) -> str:
    with pytest.raises(RefusedError) as caught:
        by(found, policy, clock, *revoked)
    assert caught.value.message.isprintable()
    return f"{caught.value.message}\n{caught.value.hint}"


def test_who_signed() -> None:
    assert by(signed(ADA), policy()) == Signed(("ada@x", "ada"), ADA.fingerprint)
    assert by(signed(ADA), policy()).name == "ada@x"
    told = refusal(signed(EVE), policy())
    assert f"{EVE.fingerprint} signed it, which allowed_signers of 0123456789ab does not" in told
    assert "an admin adds the key first" in told
    other = parse(signed(ADA).id, signed(ADA).raw.replace(b"Subject", b"Another"))
    assert "does not match" in refusal(other, policy())
    assert "namespace 'git'" in refusal(signed(ADA, "file"), policy())


def test_a_revoked_key_counts_for_nothing() -> None:
    assert by(signed(ADA), policy(), None, EVE.fingerprint).fingerprint == ADA.fingerprint
    told = refusal(signed(ADA), policy(), None, EVE.fingerprint, ADA.fingerprint)
    assert f"{ADA.fingerprint} signed it, which is revoked on this node" in told
    with pytest.raises(RefusedError, match="revoked on this node"):
        Signatures(None, [ADA.fingerprint]).anybody(signed(ADA), [policy()])


def test_what_a_key_is_for() -> None:
    for namespaces in ("git", "file,git", "git,file"):
        assert by(signed(ADA), policy(f'namespaces="{namespaces}"')).name == "ada@x"
    for namespaces in ("file", "gi,t", "git2", "Git"):
        for clock in (None, YEAR_2020):
            told = refusal(signed(ADA), policy(f'namespaces="{namespaces}"'), clock)
            assert "ada@x signed it, whose key is not for the namespace 'git'" in told


def test_when_a_key_is_valid() -> None:
    """As ssh-keygen: both ends belong to the time."""
    begun, over = policy('valid-after="20200101Z"'), policy('valid-before="20200101Z"')
    both = policy('valid-after="20190101Z",valid-before="20200101Z"')
    for rules, clock in (
        (begun, YEAR_2020),
        (begun, YEAR_2020 + 1e9),
        (over, YEAR_2020),
        (over, 0),
        (both, YEAR_2020 - 1),
        (begun, None),
        (over, None),
        (policy(), 1e10),
    ):
        assert by(signed(ADA), rules, clock).name == "ada@x"
    assert "not valid before 2020-01-01T00:00:00Z" in refusal(signed(ADA), begun, YEAR_2020 - 0.1)
    assert "not valid after 2020-01-01T00:00:00Z" in refusal(signed(ADA), over, YEAR_2020 + 0.1)
    assert "not valid before 2019-01-01T00:00:00Z" in refusal(signed(ADA), both, 0)
    told = refusal(signed(ADA), both, YEAR_2020 + 90)
    assert "ada@x signed it, whose key is not valid after 2020-01-01T00:00:00Z" in told
    assert "by this node's clock it is 2020-01-01T00:01:30Z" in told


@pytest.mark.usefixtures("elsewhere")
def test_times_are_told_in_utc() -> None:
    told = refusal(signed(ADA), policy('valid-before="20200101Z"'), YEAR_2020 + 3600)
    assert "after 2020-01-01T00:00:00Z" in told and "is 2020-01-01T01:00:00Z" in told


def test_the_signer_of_what_was_accepted_before() -> None:
    """The first policy that has the key names it; with none it is its own name."""
    signatures = Signatures(None, ())
    without, first, second = policy(key=EVE), policy(name="ada@x"), policy(name="ada@y")
    for policies, names in (
        ([without, first, second], ("ada@x",)),
        ([second, first], ("ada@y",)),
        ([without], (ADA.fingerprint,)),
        ([], (ADA.fingerprint,)),
    ):
        assert signatures.anybody(signed(ADA), policies) == Signed(names, ADA.fingerprint)
    # Its line may have an end by now, and another purpose: it was right when it counted.
    assert signatures.anybody(signed(ADA), [policy('valid-before="20200101"')]).name == "ada@x"
    other = parse(signed(ADA).id, signed(ADA).raw.replace(b"Subject", b"Another"))
    for policies in ([first], [without], []):
        with pytest.raises(RefusedError, match="does not match"):
            signatures.anybody(other, policies)


def test_openpgp_needs_a_certificate_and_gpgv() -> None:
    told = refusal(commit(PGP), policy())
    assert "openpgp/ of 0123456789ab has no certificate" in told and "an admin adds" in told
    found = make(policy().signers, Keyring({FINGERPRINT: b""}), Rules())
    assert "apt install gpgv" in refusal(commit(PGP), found)
    signatures = Signatures(None, ())
    for policies, reason in (
        ([], "nobody's certificate is there"),
        ([policy()], "its openpgp/ has no certificate"),
        ([policy(), found], "apt install gpgv"),
    ):
        with pytest.raises(RefusedError, match=reason):
            signatures.anybody(commit(PGP), policies)


@dataclass(frozen=True)
class Certificate:
    """An OpenPGP key: its fingerprint, file, and a commit that it signed."""

    fingerprint: str
    files: Mapping[str, bytes]
    commit: Commit


@pytest.fixture(scope="module")
def certificates() -> list[Certificate]:
    """Make a key, and one that has expired since it was last used."""
    made = []
    with GpgHome() as home:
        for name, expires in (("ada", "never"), ("fred", "2020-06-01")):
            key = home.make(name, expires=expires)
            armor = home.sign(key, HEAD + SUBJECT)
            made.append(Certificate(key, home.files(key), commit(armor)))
    return made


def test_openpgp(certificates: list[Certificate]) -> None:
    ada, fred = certificates
    found, other = (
        make(policy().signers, openpgp.parse(each.files), Rules()) for each in certificates
    )
    signatures = Signatures(Gpgv(), ())
    for clock in (None, YEAR_2020):
        who = signatures.by(ada.commit, found, "{}", clock)
        assert who == Signed((ada.fingerprint,), ada.fingerprint)
    for policies in ([found], [policy(), found], [other, found]):
        assert signatures.anybody(ada.commit, policies) == who
    for policies in ([other], [found, other]):
        assert signatures.anybody(fred.commit, policies).fingerprint == fred.fingerprint
    assert signatures.by(fred.commit, other, "{}", None).names == (fred.fingerprint,)
    with pytest.raises(RefusedError, match="expired; by this node's clock it is 2020-01-01T"):
        signatures.by(fred.commit, other, "{}", YEAR_2020)
    with pytest.raises(RefusedError, match="openpgp/ does not have"):
        signatures.anybody(ada.commit, [other])
    another = parse(ada.commit.id, ada.commit.raw.replace(b"Subject", b"Another"))
    with pytest.raises(RefusedError, match="does not match"):
        signatures.by(another, found, "{}", None)
    with pytest.raises(RefusedError, match="does not match"):
        signatures.anybody(another, [found])
    spaced = " ".join(ada.fingerprint[at : at + 4] for at in range(0, 40, 4)).lower()
    for revoked in (ada.fingerprint, spaced):
        signatures = Signatures(Gpgv(), [revoked])
        with pytest.raises(RefusedError, match="revoked on this node"):
            signatures.by(ada.commit, found, "{}", None)
        with pytest.raises(RefusedError, match="revoked on this node"):
            signatures.anybody(ada.commit, [found])


def test_the_other_parent() -> None:
    """Only a merge of the base and one more commit has one."""
    base = Base(parse("ab" * 20, HEAD + SUBJECT), policy())
    assert (base.short, base.source) == ("ab" * 6, "{} of " + "ab" * 6)
    this, one, two = "ab" * 20, "01" * 20, "02" * 20
    above = HEAD.split(b"parent ")[0], HEAD[HEAD.index(b"author") :]
    for parents, other in (
        ((this, one), one),
        ((one, this), one),
        ((this,), None),
        ((one,), None),
        ((), None),
        ((one, two), None),
        ((this, this), None),
        ((this, one, two), None),
        ((this, this, one), None),
        ((this, one, one), None),
    ):
        lines = b"".join(b"parent " + parent.encode() + b"\n" for parent in parents)
        assert base.other(parse("cd" * 20, above[0] + lines + above[1] + SUBJECT)) == other
