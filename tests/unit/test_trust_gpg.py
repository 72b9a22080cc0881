"""OpenPGP in the chain rule, with real gpg and gpgv: who may sign by openpgp/, and when."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from wgmesh.errors import RefusedError
from wgmesh.gpgv import Gpgv
from wgmesh.trust import branch, chain

from .gpg import SIGNED, GpgHome
from .signing import Keys
from .team import NOW, PEOPLE, ROLES, RULES, SIGNERS, Node, Team, refused


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    with GpgHome() as home:
        yield home


@pytest.fixture(scope="module")
def ada(home: GpgHome) -> str:
    return home.make("ada")


@pytest.fixture(scope="module")
def fred(home: GpgHome) -> str:
    """Make a key that has expired since it was last used."""
    return home.make("fred", expires="2020-06-01")


@pytest.fixture(scope="module")
def web(home: GpgHome) -> str:
    """Make the key of a forge, rsa as GitHub's."""
    return home.make("web-flow", "rsa2048")


@pytest.fixture
def team(tmp_path: Path, keys: Keys, home: GpgHome, ada: str, fred: str) -> Iterator[Team]:
    """Make a team to which ada and fred belong, by their OpenPGP keys."""
    made = Team.meet(tmp_path, keys)
    write(made, home.files(ada, fred))
    made.commit("Ada and Fred sign with OpenPGP")
    made.publish()
    yield made
    made.close()


@pytest.fixture
def node(team: Team) -> Node:
    return team.node()


def write(team: Team, files: Mapping[str, bytes]) -> None:
    directory = team.work.path / "openpgp"
    directory.mkdir(exist_ok=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)


def sign(team: Team, home: GpgHome, key: str, at: str = SIGNED) -> str:
    """Have the unsigned commit that is checked out signed as `git commit -S` does."""

    def signed(raw: bytes) -> bytes:
        armor = home.sign(key, raw, at=at).rstrip(b"\n").replace(b"\n", b"\n ")
        head, _, message = raw.partition(b"\n\n")
        return head + b"\ngpgsig " + armor + b"\n\n" + message

    made = team.work.edit(team.head, signed)
    team.work.git("reset", "--quiet", "--hard", made)
    return made


def revoked_elsewhere(home: GpgHome, key: str) -> bytes:
    """Return the certificate of a key as revoked; in `home` it still signs, as for a thief."""
    lost = home.path / "openpgp-revocs.d" / f"{key}.rev"
    with GpgHome() as other:
        other.gpg("--import", stdin=home.export(key))
        other.gpg("--import", stdin=lost.read_bytes().replace(b"\n:-----", b"\n-----"))
        return other.export(key)


def commit(team: Team, home: GpgHome, key: str, files: dict[str, str | None] | None = None) -> str:
    team.commit(f"By {key[-8:]}", files, by=None)
    return sign(team, home, key)


def heals(team: Team, error: RefusedError, node: Node, home: GpgHome, by: str) -> None:
    """Check that the printed repair, signed with OpenPGP, is accepted here and by another node."""
    other = Node(node.repository, node.server, node.trusted)
    healed = team.run(error.hint.splitlines()[-1], by, home)
    assert node.look().id == other.look().id == healed
    assert node.look().signer == by


def test_steps_by_openpgp(team: Team, node: Node, home: GpgHome, ada: str) -> None:
    commit(team, home, ada, {"x": "x"})
    team.commit("By ann", {"y": "y"}, by="ann")
    environment = dict(home.environment)
    format_and_key = ("-c", "gpg.format=openpgp", "-c", f"user.signingKey={ada}")
    team.work.git(*format_and_key, "commit", "-S", "--allow-empty", "-m", "git's", env=environment)
    tip = team.publish()
    assert [found.signer for found in node.verdicts()] == [ada, "ann@example.com", ada]
    found = node.look()
    assert (found.id, found.signer, found.fingerprint) == (tip, ada, ada)


def test_an_expired_certificate_counts_on_inner_commits_only(
    team: Team, node: Node, home: GpgHome, ada: str, fred: str
) -> None:
    inner = commit(team, home, fred, {"x": "x"})
    team.publish()
    error = refused(node)
    assert error.commit == inner and "has expired" in error.message
    assert "this node's clock" in error.message
    tip = commit(team, home, ada, {"y": "y"})
    team.publish()
    assert node.look().id == tip


def test_the_tip_of_an_expired_certificate_is_repaired(
    team: Team, node: Node, home: GpgHome, ada: str, fred: str
) -> None:
    commit(team, home, fred, {"x": "x"})
    team.publish()
    heals(team, refused(node), node, home, ada)


def test_a_revoked_certificate_never_counts(
    team: Team, node: Node, home: GpgHome, ada: str
) -> None:
    gina = home.make("gina")
    write(team, home.files(gina))
    team.commit("Gina may sign")
    team.settle()
    early = commit(team, home, gina, {"x": "x"})
    team.publish()
    assert node.look().id == early
    write(team, {f"{gina}.asc": revoked_elsewhere(home, gina)})
    team.commit("Gina's key is lost")
    team.settle()
    bad = commit(team, home, gina, {"y": "y"})
    commit(team, home, ada, {"z": "z"})
    team.publish()
    error = refused(node)
    assert error.commit == bad and "revoked" in error.message
    heals(team, error, node, home, ada)


def test_a_revoked_certificate_is_no_usable_admin(team: Team, node: Node, home: GpgHome) -> None:
    hana = home.make("hana")
    write(team, {f"{hana}.asc": revoked_elsewhere(home, hana)})
    rules = ROLES.replace("ops@example.com", hana)
    bad = team.commit("Hana decides", {RULES: rules})
    team.publish()
    error = refused(node)
    assert error.commit == bad and "no usable admin" in error.message


def test_in_somebodys_keyring_but_not_in_openpgp(
    team: Team, node: Node, home: GpgHome, ada: str
) -> None:
    eve = home.make("eve")
    bad = commit(team, home, eve, {"x": "x"})
    team.publish()
    error = refused(node)
    assert error.commit == bad and "openpgp/ does not have" in error.message
    heals(team, error, node, home, ada)
    write(team, home.files(eve))
    commit(team, home, eve)
    team.publish()
    assert "openpgp/ does not have" in refused(node).message  # adds its own key


def test_a_removed_certificate(team: Team, node: Node, home: GpgHome, ada: str, fred: str) -> None:
    (team.work.path / "openpgp" / f"{ada}.asc").unlink()
    team.commit("Ada leaves")
    team.settle()
    commit(team, home, ada, {"x": "x"})
    team.publish()
    assert "openpgp/ does not have" in refused(node).message
    (team.work.path / "openpgp" / f"{fred}.asc").unlink()
    team.work.git("reset", "--quiet", "--hard", "HEAD~1")
    (team.work.path / "openpgp" / f"{fred}.asc").unlink()
    team.commit("Fred leaves too")
    team.settle()
    commit(team, home, ada, {"x": "x"})
    team.publish()
    assert "has no certificate" in refused(node).message


def test_a_commit_that_claims_a_trusted_key(
    team: Team, node: Node, home: GpgHome, ada: str
) -> None:
    """The signature of another commit: the key id in it is right, and so is all but the payload."""
    raw = team.work.raw(commit(team, home, ada))
    trusted = raw[raw.index(b"gpgsig ") : raw.index(b"\n\n") + 1]
    team.work.git("reset", "--quiet", "--hard", "HEAD~1")
    team.commit("Evil", {"x": "x"}, by=None)
    bad = team.work.edit(team.head, lambda raw: raw.replace(b"\n\n", b"\n" + trusted + b"\n", 1))
    team.work.git("reset", "--quiet", "--hard", bad)
    team.publish()
    error = refused(node)
    assert error.commit == bad and "does not match" in error.message
    (verdict,) = node.verdicts()
    assert (verdict.signer, verdict.fingerprint) == (None, None)
    heals(team, error, node, home, ada)


def test_two_armors_in_one_header(team: Team, node: Node, home: GpgHome, ada: str) -> None:
    good = commit(team, home, ada)
    raw = team.work.raw(good)
    again = raw[raw.index(b"gpgsig ") + 6 : raw.index(b"\n\n") + 1]
    bad = team.work.edit(good, lambda raw: raw.replace(b"\n\n", b"\n" + again + b"\n", 1))
    team.work.git("reset", "--quiet", "--hard", bad)
    team.publish()
    error = refused(node)
    assert error.commit == bad and "its OpenPGP signature" in error.message


def test_an_ssh_signature_is_none_of_an_openpgp_key(
    team: Team, node: Node, home: GpgHome, ada: str
) -> None:
    team.commit("By ops", {SIGNERS: team.keys.signers("ops", "forge")})
    team.settle()
    team.commit("By ann", {"x": "x"}, by="ann")
    team.publish()
    assert "allowed_signers of" in refused(node).message


def test_an_openpgp_key_as_admin(team: Team, node: Node, home: GpgHome, ada: str) -> None:
    signers = team.keys.signers(*PEOPLE, "forge", "eve")
    bad = commit(team, home, ada, {SIGNERS: signers})
    team.publish()
    error = refused(node)
    assert error.commit == bad and f"{ada} signed it, who is no admin" in error.message
    team.run(error.hint.splitlines()[-1], "ops")
    node.look()
    spelled = " ".join(ada[at : at + 4] for at in range(0, 40, 4)).lower()
    team.commit("Ada decides too", {RULES: ROLES.replace('"ops', f'"{spelled}", "ops')})
    team.settle()
    tip = commit(team, home, ada, {SIGNERS: signers})
    team.publish()
    assert node.look().id == tip


def test_a_team_without_ssh(team: Team, node: Node, home: GpgHome, ada: str) -> None:
    rules = f'[roles]\nadmin = ["{ada}"]\n'
    team.commit("OpenPGP only", {SIGNERS: None, RULES: rules})
    team.settle()
    tip = commit(team, home, ada, {"x": "x"})
    team.publish()
    assert node.look().id == tip
    for certificate in (team.work.path / "openpgp").iterdir():
        certificate.unlink()
    bad = commit(team, home, ada, {RULES: None})
    team.publish()
    error = refused(node)
    assert error.commit == bad and "no allowed_signers" in error.message
    heals(team, error, node, home, ada)


def test_the_forges_merge_button(team: Team, node: Node, home: GpgHome, web: str, ada: str) -> None:
    write(team, home.files(web))
    team.commit("The button", {RULES: ROLES.replace("forge@example.com", web)})
    team.settle()
    team.branch()
    commit(team, home, ada, {"x": "x"})
    team.main()
    team.commit("Meanwhile", {"y": "y"}, by="ann")
    team.settle()
    team.merge(by=None)
    tip = sign(team, home, web)
    team.publish()
    kinds = [(found.kind, found.signer, found.problem) for found in node.verdicts()]
    assert kinds == [("side", ada, None), ("forge merge", web, None)]
    assert node.look().id == tip
    team.branch("again")
    team.commit("Again", {"z": "z"}, by="ann")
    team.main()
    team.work.git("merge", "--quiet", "--squash", "again")
    bad = commit(team, home, web)
    team.publish()
    error = refused(node)
    assert error.commit == bad and f"{web} signed it, a forge's key" in error.message
    heals(team, error, node, home, ada)


def test_a_forge_merge_of_an_expired_certificate(
    team: Team, node: Node, home: GpgHome, fred: str
) -> None:
    team.branch()
    bad = commit(team, home, fred, {"x": "x"})
    team.main()
    team.press_merge()
    team.publish()
    error = refused(node)
    assert error.commit == bad and "has expired" in error.message
    team.commit("On top", by="ann")
    tip = team.publish()
    assert node.look().id == tip


def test_a_branch_signed_with_openpgp(team: Team, node: Node, home: GpgHome, ada: str) -> None:
    commit(team, home, ada, {"x": "x"})
    team.publish()
    tip = node.fetch()
    found = branch.look(node.repository, node.trusted, tip, now=NOW, gpg=Gpgv())
    assert [(each.signer, each.problem) for each in found.commits] == [(ada, None)]


def test_the_repair_keeps_what_openpgp_has_signed(
    team: Team, node: Node, home: GpgHome, ada: str
) -> None:
    good = commit(team, home, ada, {"x": "x"})
    team.commit("By nobody", {"bad": "bad"}, by=None)
    team.publish()
    command = refused(node).hint.splitlines()[-1]
    assert f"--detach {good}" in command
    assert team.work.tree(team.run(command, "ops")) == team.work.tree(good)


def test_revoked_here_and_nowhere_else(team: Team, node: Node, home: GpgHome, ada: str) -> None:
    bad = commit(team, home, ada, {"x": "x"})
    team.publish()
    node.revoked = (ada,)
    error = refused(node)
    assert error.commit == bad and "revoked on this node" in error.message
    node.revoked = ()
    node.look()
    node.revoked = (ada,)
    assert "revoked on this node" in refused(node).message
    healed = team.run(error.hint.splitlines()[-1], "ops")
    assert healed != bad


def test_beginnings(team: Team, node: Node, home: GpgHome, ada: str) -> None:
    tip = commit(team, home, ada, {"x": "x"})
    team.publish()
    node.fetch()
    gpg = Gpgv()
    found = chain.introduce(node.repository, tip, fingerprint=ada, now=NOW, gpg=gpg)
    assert found.signer == ada
    assert chain.describe(node.repository, tip, gpg=gpg).signer == ada
    with pytest.raises(RefusedError, match="needs gpgv"):
        chain.introduce(node.repository, tip, fingerprint=ada, now=NOW)
    with pytest.raises(RefusedError, match="the given openpgp/ has no certificate"):
        chain.admit(node.repository, tip, team.keys.signers("ops").encode(), now=NOW, gpg=gpg)


@pytest.mark.parametrize("approver", ["ann", "bob"])
def test_whom_a_merge_by_openpgp_rests_on(
    team: Team, node: Node, home: GpgHome, ada: str, approver: str
) -> None:
    """As a node tells it after a revocation: the approval of ann is gone, that of bob was none."""
    team.commit("Two approve", {RULES: f"approvals = 2\n{ROLES}"})
    team.settle()
    team.branch()
    team.commit("A change", {"x": "x"}, by="ann")
    team.main()
    team.merge(by=None)
    tip = sign(team, home, ada)
    team.settle()
    by = {name: team.keys.fingerprint(name) for name in ("ann", "bob")}
    gpg, repository = Gpgv(), node.repository
    assert chain.describe(repository, tip, gpg=gpg).relies_on == (by["ann"],)
    if approver == "bob":
        assert chain.describe(repository, tip, gpg=gpg, revoked=[by["bob"]]).signer == ada
        return
    with pytest.raises(RefusedError, match="approvals = 2, but 1 signed it"):
        chain.describe(repository, tip, gpg=gpg, revoked=[by["ann"]])
