"""`@frozen`: what `@dataclass(frozen=True, slots=True)` makes of most classes, but sooner.

Before Python 3.13 `dataclasses` compiles each method of a class on its own, half a millisecond for
a class, and a poll, which is to cost next to nothing, loads dozens of them. Here one compilation
serves a class. To `replace`, `fields`, `asdict` and type checkers it is a dataclass all the same.
What wants more than `default`, `default_factory` and `compare` takes `dataclasses`.
"""

from collections.abc import Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Return `cls` with slots, its values immutable and equal by their fields.

    Fields may have `default`, `default_factory` and `compare`; a method that `cls` defines itself
    stays. Raises TypeError for what would be taken no notice of.
    """
    plain: Any = dataclass(init=False, repr=False, eq=False)(cls)
    found = fields(plain)
    special = any(each.kw_only or not (each.init and each.repr) or each.hash for each in found)
    special |= "__eq__" in vars(cls) and vars(cls)["__hash__"] is None
    if special or hasattr(cls, "__post_init__") or len(found) != len(cls.__annotations__):
        raise TypeError(f"{cls.__qualname__} wants more than frozen() knows: use dataclasses")
    names = tuple(each.name for each in found)
    scope: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": MISSING}
    for each in found:
        scope[f"_default_{each.name}"] = each.default
        scope[f"_make_{each.name}"] = each.default_factory
    methods: dict[str, Any] = {}
    exec(_source(found), scope, methods)
    for name, method in methods.items():
        method.__qualname__ = f"{cls.__qualname__}.{name}"
    own = {key: value for key, value in vars(cls).items() if key not in (*names, *_OF_INSTANCES)}
    marks = {"__slots__": names, "__match_args__": names, "__qualname__": cls.__qualname__}
    made: type[T] = type(cls.__name__, cls.__bases__, _SHARED | methods | own | marks)
    return made


def field_names(kind: type) -> tuple[str, ...]:
    """Return the names of the fields of `kind`, a class that `frozen` made."""
    names: tuple[str, ...] = vars(kind)["__slots__"]
    return names


def _source(found: Sequence[Field[Any]]) -> str:
    """Return the methods that depend on the fields; nothing but names of fields is in them."""
    parameters, body = "", ""
    for each in found:
        name = value = each.name
        if each.default_factory is not MISSING:
            parameters += f", {name}=_MISSING"
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        else:
            parameters += f", {name}" + (f"=_default_{name}" * (each.default is not MISSING))
        body += f"    _set(self, '{name}', {value})\n"
    compared = [each.name for each in found if each.compare]
    mine, other = (
        "(" + "".join(f"{whose}.{name}, " for name in compared) + ")" for whose in ("self", "other")
    )
    return (
        f"def __init__(self{parameters}):\n{body or '    pass'}\n"
        "def __eq__(self, other):\n"
        f"    return {mine} == {other} if other.__class__ is self.__class__ else NotImplemented\n"
        f"def __hash__(self):\n    return hash({mine})\n"
    )


def _values(value: object) -> tuple[object, ...]:
    return tuple(getattr(value, name) for name in field_names(type(value)))


class _Shared:
    """The methods that are the same for each class."""

    def __repr__(self) -> str:
        named = zip(field_names(type(self)), _values(self), strict=True)
        return (
            f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in named)})"
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), _values(self)

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED = {name: each for name, each in vars(_Shared).items() if callable(each)}
_OF_INSTANCES = ("__dict__", "__weakref__")
"""What a class has for instances without slots."""
