"""The raw commit parser: what the signature covers, and texts that are fit for a terminal."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.errors import RefusedError
from wgmesh.trust.commit import LAST_SECOND, parents, parse, split_signature
from wgmesh.trust.objects import FILE_MODES, TREE_MODE, oldest, parse_tree
from wgmesh.trust.plain import plain

ID = "12" * 20
HEAD = (
    b"tree " + b"ab" * 20 + b"\nparent " + b"cd" * 20 + b"\nparent " + b"ef" * 20 + b"\n"
    b"author Ada <ada@example.com> 1700000000 +0100\n"
    b"committer Ops <ops@example.com> 1700000001 +0000\n"
)
SIGNATURE = b"gpgsig -----BEGIN SSH SIGNATURE-----\n QUJD\n -----END SSH SIGNATURE-----\n"
RAW = HEAD + b"encoding UTF-8\n" + SIGNATURE + b"\nSubject\n\nBody\n"


def test_fields() -> None:
    commit = parse(ID, RAW)
    assert (commit.id, commit.tree) == (ID, "ab" * 20)
    assert commit.parents == ("cd" * 20, "ef" * 20) == parents(RAW)
    assert commit.author == "Ada <ada@example.com>"
    assert (commit.subject, commit.time) == ("Subject", 1_700_000_001)


def test_the_signature_covers_all_but_itself() -> None:
    payload, armor = split_signature(RAW)
    assert payload == HEAD + b"encoding UTF-8\n\nSubject\n\nBody\n"
    assert armor == b"-----BEGIN SSH SIGNATURE-----\nQUJD\n-----END SSH SIGNATURE-----"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (HEAD + b"\nSubject\n", "not signed"),
        (HEAD + SIGNATURE + SIGNATURE + b"\nSubject\n", "more than one"),
        (HEAD + SIGNATURE + b"gpgsig-sha256 x\n\nSubject\n", "more than one"),
        (HEAD + SIGNATURE.replace(b"gpgsig", b"gpgsig-sha256") + b"\nSubject\n", "SHA-256"),
        (HEAD + SIGNATURE.replace(b"gpgsig", b"gpgsignature") + b"\nSubject\n", "unknown form"),
        (HEAD + SIGNATURE + b"encoding UTF-8\n\nSubject\n", "header follows"),
    ],
)
def test_signatures_in_another_form_are_refused(raw: bytes, reason: str) -> None:
    parse(ID, raw)
    with pytest.raises(RefusedError, match=reason):
        split_signature(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        HEAD,
        RAW.replace(b"tree ", b"tree  ", 1),
        RAW.replace(b"parent cd", b"parent CD"),
        RAW.replace(b"author", b"writer"),
        RAW.replace(b"1700000001", b"soon"),
        RAW.replace(b"encoding UTF-8", b"parent " + b"cd" * 20),
        RAW.replace(b"encoding UTF-8", b" folded"),
        RAW.replace(b"encoding UTF-8", b"no-value"),
        RAW.replace(b"Body", b"Bo\0dy"),
    ],
)
def test_malformed_commits_are_refused(raw: bytes) -> None:
    assert raw != RAW
    with pytest.raises(RefusedError, match="malformed") as caught:
        parse(ID, raw)
    assert caught.value.hint == "write commits with git"


def test_hostile_texts_become_harmless() -> None:
    raw = RAW.replace(b"Subject", b"\x1b[31mred\x9b\xff\xe2\x80\xaeevil\xe2\x80\xa8x" + b"y" * 500)
    subject = parse(ID, raw.replace(b"1700000001", b"9" * 40)).subject
    assert subject.startswith("[31mred") and "evil" in subject
    assert subject.isprintable() and len(subject) == 100
    assert parse(ID, raw.replace(b"1700000001", b"9" * 40)).time == LAST_SECOND
    assert plain("a\tb\nc\r\u202ed\u2028", 10) == "a bcd"
    assert plain("x" * 11, 10) == "x" * 9 + "…"


def test_times_and_texts_at_their_limits() -> None:
    for digits, seconds in ((b"9" * 15, 10**15 - 1), (b"9" * 16, LAST_SECOND), (b"0", 0)):
        assert parse(ID, RAW.replace(b"1700000001", digits)).time == seconds
    for length, end in ((100, "yy"), (101, "y…")):
        subject = parse(ID, RAW.replace(b"Subject", b"y" * length)).subject
        assert len(subject) == 100 and subject.endswith(end)
    for length, end in ((120 - len(" <ada@example.com>"), ">"), (121, "…")):
        author = parse(ID, RAW.replace(b"author Ada", b"author " + b"A" * length)).author
        assert len(author) == 120 and author.endswith(end)
    assert plain(b"\xff" * 9 + b"abc", 100) == "\ufffd" * 9 + "abc"
    assert plain(b"\n" * 79 + b"a", 10) == "a" and plain(b"\n" * 80 + b"a", 10) == ""
    assert plain("\n" * 79 + "a", 10) == "a" and plain("\n" * 80 + "a", 10) == ""
    for raw, subject in ((b"\n\r Subject", "Subject"), (b"", ""), (b"\n\nBody", "Body")):
        assert parse(ID, HEAD + b"\n" + raw).subject == subject
    assert parse(ID, RAW).short == ID[:12]


def test_the_last_second_and_first_letters() -> None:
    assert datetime.fromtimestamp(LAST_SECOND, UTC) == datetime(
        9999, 12, 31, 23, 59, 59, tzinfo=UTC
    )
    assert parse(ID, HEAD + b"\nX marks the spot\n").subject == "X marks the spot"
    assert plain("a\u2028b\u2029c", 10) == "abc"


def test_headers() -> None:
    good = HEAD + b"encoding UTF-8\nmergetag object x\n type commit\n gpgsig x\n" + SIGNATURE
    good += b"\nSubject\n\ngpgsig in the body\n"
    assert parse(ID, good).subject == "Subject"
    payload, armor = split_signature(good)
    assert payload == good.replace(SIGNATURE, b"")
    assert armor.startswith(b"-----BEGIN SSH") and b"gpgsig x" not in armor
    assert parents(HEAD.replace(b"parent", b"parents")) == ()
    for number in range(3):
        lines = HEAD.split(b"\n")[:1] + [b"parent " + b"cd" * 20] * number + HEAD.split(b"\n")[3:]
        assert len(parse(ID, b"\n".join(lines) + b"\nx").parents) == number
    for raw in (
        HEAD.replace(b"tree ab", b"tree ag"),
        HEAD.replace(b"tree ", b"tref "),
        HEAD + b"encoding x\nparent " + b"cd" * 20 + b"\n",
        HEAD + b"encoding x\nheader\n",
        HEAD + b"mergetag x\n more\nauthor Ada <a> 1 +0\n",
        HEAD.replace(b"tree " + b"ab" * 20, b"tree " + b"ab" * 20 + b"0"),
        HEAD.replace(b"parent " + b"ef" * 20, b"parent " + b"ef" * 19),
        HEAD.replace(b"Ada <ada@example.com> 1700000000 +0100", b"Ada"),
        HEAD.replace(b"1700000000 +0100", b"1700000000"),
        HEAD.replace(b"1700000000 +0100", b"1700000000 0100"),
        HEAD.replace(b"1700000001 +0000", b"1700000001 +"),
        HEAD.replace(b"committer", b"committee"),
        HEAD + b"tree " + b"ab" * 20 + b"\n",
        HEAD + b"author Ada <a> 1 +0\n",
        HEAD + b"committer Ada <a> 1 +0\n",
        HEAD + b" continued\n",
        HEAD + b"\tcontinued\n",
        HEAD + b"h\xe9ader x\n",
        HEAD + b"header\n",
        HEAD[: HEAD.index(b"author")],
        HEAD[: HEAD.index(b"committer")],
    ):
        with pytest.raises(RefusedError, match="malformed"):
            parse(ID, raw + b"\nSubject\n")
    with pytest.raises(RefusedError, match="no end of its headers"):
        parse(ID, HEAD)
    for header in (b"gpgsig\n x\n", b"gpgsig-sha1 x\n", b"gpgsig2 x\n"):
        with pytest.raises(RefusedError, match="unknown form"):
            split_signature(HEAD + header + b"\nSubject\n")


def test_trees() -> None:
    raw = b"100644 a\0" + b"\x01" * 20 + b"40000 nodes\0" + b"\x02" * 20
    entries = parse_tree(raw)
    assert entries["a"].id == "01" * 20 and entries["nodes"].kind == "a directory"
    modes = ("100644", "100755", "40000", "120000", "160000", "100664")
    listed = [mode.encode() + f" {n} x\0".encode() + b"\x01" * 20 for n, mode in enumerate(modes)]
    found = parse_tree(b"".join(listed))
    assert [each.mode for each in found.values()] == list(modes) and "0 x" in found
    assert [each.kind for each in found.values()] == [
        *("a file", "a file", "a directory", "a symbolic link", "a submodule"),
        "an entry of mode 100664",
    ]
    assert TREE_MODE == "40000" and {"100644", "100755"} == FILE_MODES
    assert list(parse_tree(raw, ["nodes", "b"])) == ["nodes"] and list(parse_tree(raw, [])) == []
    assert list(parse_tree(raw.replace(b"nodes", b"n\xffdes"))) == ["a", "n\udcffdes"]
    for bad in (
        raw[:-1],
        raw + raw,
        b"100644 " + b"a" * 13,
        b"100644 " + b"a" * 33,
        raw.replace(b"100644", b"0100644"),
        raw.replace(b"nodes", b"."),
        raw.replace(b"100644 a", b"100644"),
        raw.replace(b"nodes", b".."),
        raw.replace(b"nodes", b".Git"),
        raw.replace(b"nodes", b"n/des"),
        raw.replace(b"nodes", b""),
        raw.replace(b"100644", b"x"),
    ):
        with pytest.raises(RefusedError):
            parse_tree(bad)


PIECES = st.lists(
    st.sampled_from([*RAW.splitlines(keepends=True), b"\n", b" ", b"gpgsig", b"100644 a\0", b"\0"])
    | st.binary(max_size=30),
    max_size=12,
).map(b"".join)


@given(PIECES)
def test_any_bytes_are_refused_at_most(raw: bytes) -> None:
    with suppress(RefusedError):
        commit = parse(ID, raw)
        assert commit.author.isprintable() and commit.subject.isprintable()
    for read in (parents, split_signature, parse_tree):
        with suppress(RefusedError):
            read(raw)


@given(st.integers(0, len(RAW) - 1), st.binary(max_size=6), st.integers(0, 6))
def test_damaged_commits_are_refused_at_most(at: int, put: bytes, cut: int) -> None:
    """What is left of one is all covered: with the signature put back in, it is as it was."""
    damaged = RAW[:at] + put + RAW[at + cut :]
    with suppress(RefusedError):
        commit = parse(ID, damaged)
        assert commit.tree == damaged[5:45].decode() and commit.parents == parents(damaged)
        payload, armor = split_signature(damaged)
        head, _, message = payload.partition(b"\n\n")
        header = b"\ngpgsig " + armor.replace(b"\n", b"\n ")
        assert head + header + b"\n\n" + message == damaged


# ---------------------------------------------------------------- lines


@pytest.mark.parametrize("length", range(1, 18))
def test_the_oldest_that_descends(length: int) -> None:
    line = [str(number) for number in range(length)]
    for wanted in range(length):
        asked: list[int] = []

        def descends(commit: str, wanted: int = wanted, asked: list[int] = asked) -> bool:
            asked.append(int(commit))
            return int(commit) <= wanted

        assert oldest(line, descends) == str(wanted)
        assert len(asked) <= (length - 1).bit_length() and 0 not in asked
