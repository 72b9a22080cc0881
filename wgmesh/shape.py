"""A table that was read from disk, as a frozen dataclass: every key known, every type right."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Made = TypeVar("Made")


def from_table(kind: type[Made], table: Mapping[str, Any]) -> Made:
    """Return the dataclass `kind` with the values of `table`.

    Checked are str, int, float (an int will do), bool, tuple[str, ...] (from a list); fields of
    other types take what they get. Raises ValueError for a key that is unknown or missing, or for a
    value of another type.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for name, value in table.items():
        if name not in known:
            raise ValueError(f"{name} is unknown")
        values[name] = _checked(name, value, known[name].type)
    for name, field in known.items():
        optional = field.default is not MISSING or field.default_factory is not MISSING
        if name not in values and not optional:
            raise ValueError(f"{name} is missing")
    return kind(**values)


def _checked(name: str, value: object, wanted: object) -> object:
    if wanted is float and type(value) is int:
        return float(value)
    if wanted == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise ValueError(f"{name} is no list of strings")
        return tuple(value)
    if wanted in (str, int, float, bool) and type(value) is not wanted:
        raise ValueError(f"{name} is no {getattr(wanted, '__name__', wanted)}")
    return value
