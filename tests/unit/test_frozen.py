"""`@frozen` makes what dataclasses makes."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, astuple, dataclass, field, fields, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh.frozen import frozen


@frozen
class Ours:
    """A value."""

    name: str
    size: int = 3
    parts: tuple[int, ...] = ()
    known: dict[str, int] = field(default_factory=dict)
    note: str = field(default="", compare=False)

    @property
    def double(self) -> int:
        """Twice the size."""
        return 2 * self.size


@dataclass(frozen=True, slots=True)
class Theirs:
    """A value."""

    name: str
    size: int = 3
    parts: tuple[int, ...] = ()
    known: dict[str, int] = field(default_factory=dict)
    note: str = field(default="", compare=False)


@frozen
class Empty:
    """No fields."""


@frozen
class Hidden:
    """Its own methods stay."""

    value: str

    def __repr__(self) -> str:
        return "Hidden(...)"


@frozen
class Pair:
    """A value that can be hashed."""

    number: int
    word: str


@frozen
class Nested:
    """A value with another one."""

    inner: Ours


ARGUMENTS: st.SearchStrategy[tuple[Any, ...]] = st.tuples(
    st.text(max_size=3),
    st.integers(0, 2),
    st.tuples(st.integers(0, 1)),
    st.just({}),
    st.text(max_size=1),
)


@given(ARGUMENTS, ARGUMENTS)
def test_equal_and_shown_as_a_dataclass(first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    ours, theirs = (Ours(*first), Ours(*second)), (Theirs(*first), Theirs(*second))
    assert (ours[0] == ours[1]) == (theirs[0] == theirs[1])
    assert (ours[0] != ours[1]) == (theirs[0] != theirs[1])
    assert repr(ours[0]).removeprefix("Ours") == repr(theirs[0]).removeprefix("Theirs")
    assert asdict(ours[0]) == asdict(theirs[0])
    assert astuple(ours[0]) == astuple(theirs[0])
    assert replace(ours[0], size=9) == Ours(first[0], 9, *first[2:])


def test_fields_defaults_and_matching() -> None:
    assert [(each.name, each.default) for each in fields(Ours)] == [
        (each.name, each.default) for each in fields(Theirs)
    ]
    made = Ours("a")
    assert (made.size, made.parts, made.known, made.note, made.double) == (3, (), {}, "", 6)
    assert Ours("a").known is not made.known
    assert Ours.__match_args__ == Theirs.__match_args__
    match made:
        case Ours("a", size):
            assert size == 3
        case _:
            pytest.fail("it did not match")


def test_hash_is_of_the_fields() -> None:
    assert hash(Pair(1, "a")) == hash(Pair(1, "a")) != hash(Pair(2, "a"))
    assert len({Hidden("a"), Hidden("a"), Hidden("b")}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours("a"))
    assert hash(Empty()) == hash(Empty())
    assert Empty() == Empty()
    other: object = Hidden("")
    assert other != Empty()


def test_nothing_can_be_changed() -> None:
    made: Any = Ours("a")
    with pytest.raises(FrozenInstanceError):
        made.size = 4
    with pytest.raises(FrozenInstanceError):
        made.other = 4
    with pytest.raises(FrozenInstanceError):
        del made.size
    assert not hasattr(made, "__dict__")
    assert copy.copy(made) == copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made


def test_a_method_of_its_own_stays() -> None:
    assert repr(Hidden("secret")) == "Hidden(...)"
    assert Ours.__doc__ == "A value."
    assert Ours.__init__.__qualname__ == "Ours.__init__"
    assert repr(Nested(Ours("a"))).startswith("Nested(inner=Ours(name='a', ")


@pytest.mark.parametrize(
    ("words", "keywords"), [((), {}), (("a", 1, (), {}, "", 6), {}), (("a",), {"length": 1})]
)
def test_wrong_arguments_are_refused(words: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Ours(*words, **keywords)


def hidden(cls: type) -> None:
    cls.__annotations__["secret"] = str
    cls.secret = field(repr=False)  # type: ignore[attr-defined]


def keyword(cls: type) -> None:
    cls.__annotations__["word"] = str
    cls.word = field(kw_only=True)  # type: ignore[attr-defined]


def computed(cls: type) -> None:
    cls.__annotations__["sum"] = int
    cls.sum = field(init=False)  # type: ignore[attr-defined]


def finished(cls: type) -> None:
    cls.__post_init__ = print  # type: ignore[attr-defined]


def shared(cls: type) -> None:
    cls.__annotations__["known"] = ClassVar[int]


def alike(cls: type) -> None:
    cls.__eq__ = object.__eq__  # type: ignore[method-assign, assignment]
    cls.__hash__ = None  # type: ignore[assignment]  # as Python does where __eq__ is defined


@pytest.mark.parametrize("change", [hidden, keyword, computed, finished, shared, alike])
def test_what_it_does_not_know_is_refused(change: Callable[[type], None]) -> None:
    class Special:
        """A class of which more is wanted."""

        number: int

    change(Special)
    with pytest.raises(TypeError, match="use dataclasses"):
        frozen(Special)
