"""trust.toml and the policy that it comes to: strict, and nobody in a role that nobody has."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.errors import RefusedError
from wgmesh.trust import signers
from wgmesh.trust.openpgp import Keyring
from wgmesh.trust.policy import Mainline, Role, Rules, SideCommits, make, parse

from .test_trust_signers import key

FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


def people(*lines: str) -> signers.Signers:
    return signers.parse("\n".join(f"{line} {key(n)}" for n, line in enumerate(lines)).encode())


def test_no_file_and_an_empty_one_are_the_same() -> None:
    assert parse(b"") == parse(b"# nothing\n[roles]\n") == Rules()
    assert Rules() == Rules(1, SideCommits.VOUCHED, Mainline.ANY, None, frozenset())


def test_the_defaults_can_be_written_down() -> None:
    assert parse(b'approvals = 1\nside_commits = "vouched"\nmainline = "any"\n') == Rules()
    assert [role.value for role in Role] == ["admin", "editor", "merge"]


def test_the_largest_file_and_the_most_approvals() -> None:
    line = b"approvals = 100\n#"
    assert parse(line + b"#" * (65_536 - len(line))).approvals == 100
    with pytest.raises(RefusedError, match="more than 65536 bytes"):
        parse(line + b"#" * (65_537 - len(line)))


def test_every_key() -> None:
    text = """
    approvals = 2
    side_commits = "signed"
    mainline = "merge"
    [roles]
    admin = ["ops@example.com"]
    merge = ["noreply@github.com", "0123 4567 89ab cdef 0123  4567 89AB CDEF 0123 4567"]
    """
    assert parse(text.encode()) == Rules(
        2,
        SideCommits.SIGNED,
        Mainline.MERGE,
        frozenset({"ops@example.com"}),
        frozenset({"noreply@github.com", FINGERPRINT}),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("approvals = ", "is not TOML"),
        ("\xff", "is not TOML"),
        ("x = " + "[" * 10_000, "is not TOML"),
        ("approvals = 1" + "0" * 5_000, "approvals that are no number|is not TOML"),
        ("#" * 70_000, "more than 65536 bytes"),
        ("approval = 2", "unknown key 'approval'"),
        ("[roles]\nmerger = ['a']", "unknown key 'merger'"),
        ("[people]", "unknown key 'people'"),
        ("roles = 1", "roles that are no table"),
        ("approvals = 0", "no number of people"),
        ("approvals = -1", "no number of people"),
        ("approvals = 101", "no number of people"),
        ("approvals = 1.0", "no number of people"),
        ("approvals = true", "no number of people"),
        ("approvals = '2'", "no number of people"),
        ("side_commits = 'Signed'", "unknown value of side_commits"),
        ("side_commits = true", "unknown value of side_commits"),
        ("side_commits = ['signed']", "unknown value of side_commits"),
        ("mainline = 'merges'", "unknown value of mainline"),
        ("[roles]\nadmin = 'a'", "role admin that is no list"),
        ("[roles]\nadmin = [1]", "role admin that is no list"),
        ("[roles]\nmerge = []", "role merge that names nobody"),
        ("[roles]\nadmin = []", "role admin that names nobody"),
    ],
)
def test_refused_files(text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        parse(text.encode("latin-1"))
    assert caught.value.message.startswith("trust.toml ") and caught.value.hint


def test_roles() -> None:
    found = people("ops@x", "ann@x,a@x", "bot@x")
    rules = Rules(admin=frozenset({"a@x"}), merge=frozenset({"bot@x"}))
    policy = make(found, Keyring({FINGERPRINT: b""}), rules)
    assert policy.role(["ann@x", "a@x"]) is Role.ADMIN
    assert policy.role(["bot@x"]) is Role.MERGE
    assert policy.role(["ops@x"]) is policy.role([FINGERPRINT]) is Role.EDITOR
    assert policy.usable() == {"ops@x", "ann@x", FINGERPRINT}
    assert policy.usable(Role.ADMIN) == {"ann@x"}
    assert policy.usable(revoked=[FINGERPRINT]) == {"ops@x", "ann@x"}


def test_without_roles_everyone_is_an_admin_but_a_forge() -> None:
    policy = make(people("ops@x", "bot@x"), Keyring(), Rules(merge=frozenset({"bot@x"})))
    assert policy.role(["ops@x"]) is Role.ADMIN and policy.role(["bot@x"]) is Role.MERGE
    assert policy.usable(Role.ADMIN) == {"ops@x"}


def test_who_can_still_sign() -> None:
    found = people('ops@x valid-before="20200101Z"', "ann@x", 'eve@x namespaces="file"')
    policy = make(found, Keyring(), Rules())
    assert policy.usable() == {"ops@x", "ann@x"}
    assert policy.usable(now=1_700_000_000) == {"ann@x"}
    for now, left in ((1_577_836_799, 2), (1_577_836_800, 2), (1_577_836_801, 1)):
        assert len(policy.usable(now=now)) == left
    ann = next(each for each in found.values() if each.name == "ann@x").key.fingerprint
    assert policy.usable(revoked=[ann]) == {"ops@x"}


def test_which_certificates_count() -> None:
    revoked = Keyring({FINGERPRINT: b""}, revoked=frozenset({FINGERPRINT}))
    assert make(people("ops@x"), revoked, Rules()).usable() == {"ops@x"}
    ring = Keyring({FINGERPRINT: b""})
    forge = make(people("ops@x"), ring, Rules(merge=frozenset({FINGERPRINT})))
    assert forge.usable() == {"ops@x"} and forge.usable(Role.MERGE) == {FINGERPRINT}
    admin = make(people("ops@x"), ring, Rules(admin=frozenset({FINGERPRINT})))
    assert admin.usable(Role.ADMIN) == {FINGERPRINT}


def test_which_keys_a_policy_has() -> None:
    found = people("ops@x", 'bot@x namespaces="file"')
    policy = make(found, Keyring({FINGERPRINT: b""}), Rules())
    ssh = {signer.key.fingerprint for signer in found.values()}
    assert all(policy.has(each) for each in (*ssh, FINGERPRINT))
    assert not policy.has(FINGERPRINT[::-1]) and not policy.has("ops@x")


def test_names_in_common_are_one_person() -> None:
    policy = make(people("a", "b", "c,a", "d", "b,d"), Keyring(), Rules())
    who = policy.people
    assert who["a"] == who["c"] and who["b"] == who["d"] and who["a"] != who["b"]
    assert len(policy.usable()) == 2
    chained = make(people("a,x", "b,a", "x"), Keyring(), Rules())
    assert len(set(chained.people.values())) == len(chained.usable()) == 1
    joined = make(people("a", "b", "a,b"), Keyring(), Rules()).people
    assert joined["a"] == joined["b"]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (Rules(admin=frozenset({"ops@x", "eve@x"})), "role admin names 'eve@x'"),
        (Rules(merge=frozenset({"github"})), "role merge names 'github'"),
        (Rules(admin=frozenset({FINGERPRINT})), f"names '{FINGERPRINT}'"),
        (Rules(1, admin=frozenset({"a@x"}), merge=frozenset({"ann@x"})), "admin and merge"),
    ],
)
def test_refused_roles(rules: Rules, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        make(people("ops@x", "ann@x,a@x"), Keyring(), rules)
    assert caught.value.message.startswith("trust.toml: ") and caught.value.hint


def test_warnings() -> None:
    one = make(people("ops@x", "ann@x"), Keyring(), Rules(admin=frozenset({"ops@x"})))
    assert "ops@x alone" in one.warnings()[0] and len(one.warnings()) == 1
    ops = next(iter(one.signers.values())).key.fingerprint
    assert "nobody is left who may change who signs" in one.warnings(revoked=[ops])[0]
    assert make(people("ops@x", "ann@x"), Keyring(), Rules(2)).warnings() == ()
    two = make(people("ops@x", 'ann@x valid-before="20200101"'), Keyring(), Rules())
    assert two.warnings() == two.warnings(now=1_577_836_000) == ()
    assert "ops@x alone" in two.warnings(now=1_577_837_000)[0]
    both = make(people("ops@x", "ann@x"), Keyring({FINGERPRINT: b""}), Rules(2))
    assert "count as two people" in both.warnings()[0]
    ring = Keyring({FINGERPRINT: b""})
    assert make(people("ops@x", "ann@x"), ring, Rules()).warnings() == ()
    alone = make({}, Keyring({FINGERPRINT: b"", "F" * 40: b""}), Rules(2))
    assert alone.warnings() == ()


TEXTS = st.lists(
    st.sampled_from(["approvals=", "[roles]", "\n", "admin=", '["a"]', "2", '"signed"', "{", "["])
    | st.text(max_size=8),
    max_size=12,
).map("".join)


@given(TEXTS.map(str.encode) | st.binary(max_size=100))
def test_any_bytes_are_refused_at_most(data: bytes) -> None:
    with suppress(RefusedError):
        assert parse(data).approvals >= 1
