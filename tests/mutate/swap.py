"""Puts a mutant in the place of the module that this process has imported and its tests use."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeGuard

from tests.mutate.changes import Mutant

PLAIN = (int, str, bytes, float, type(None), re.Pattern)
"""Values that are what they are, whichever module they come from; and containers of them."""


def name_of(mutant: Mutant) -> str:
    """Return the name of the module that a mutant is of."""
    return f"wgmesh.trust.{mutant.file.removesuffix('.py')}"


def swap(mutant: Mutant) -> bool:
    """Have this process go on with the mutant; return False where only a new import would do that.

    Functions keep what they are and get the mutant's code, constants are replaced wherever they
    were imported, and what functions remember is forgotten. What a class is made of stays.
    """
    if mutant.scope == "class":
        return False
    real = sys.modules[name_of(mutant)]
    changed = ModuleType(real.__name__)
    exec(compile(mutant.text, str(real.__file__), "exec"), changed.__dict__)
    for name, new in vars(changed).items():
        old = vars(real).get(name)
        if name.startswith("__") or isinstance(new, FunctionType | type | ModuleType):
            continue
        if _is_plain(new) and (type(new) is not type(old) or new != old):
            _replace(name, old, new)
        elif not _is_plain(new) and mutant.scope == "module" and name in mutant.before:
            return False
    new_functions = dict(_functions(changed, real.__name__))
    for place, function in _functions(real, real.__name__):
        new_function = new_functions[place]
        function.__code__ = new_function.__code__
        if all(map(_is_plain, new_function.__defaults__ or ())):
            function.__defaults__ = new_function.__defaults__
        kept = new_function.__kwdefaults__
        if kept is not None and all(map(_is_plain, kept.values())):
            function.__kwdefaults__ = kept
    for module in _modules("wgmesh"):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    return True


def _modules(*tops: str) -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in tops:
            yield module


def _replace(name: str, old: object, new: object) -> None:
    for module in _modules("wgmesh", "tests"):
        if name in vars(module) and vars(module)[name] is old:
            setattr(module, name, new)


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, tuple | list | set | frozenset):
        return type(value).__module__ == "builtins" and all(map(_is_plain, value))
    return isinstance(value, PLAIN) or (
        callable(value) and getattr(value, "__module__", "").startswith("_hashlib")
    )


def _functions(module: ModuleType, name: str) -> Iterator[tuple[str, FunctionType]]:
    """Yield the functions that are written in a module, with their places."""
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == name:
            for each in vars(value).values():
                function = each.fget if isinstance(each, property) else each
                function = getattr(function, "__func__", function)
                if _is_written(function, module):
                    yield f"{value.__name__}.{function.__name__}", function
        else:
            function = getattr(value, "__wrapped__", value)
            if _is_written(function, module) and function.__module__ == name:
                yield function.__name__, function


def _is_written(function: object, module: ModuleType) -> TypeGuard[FunctionType]:
    file = getattr(sys.modules[module.__name__], "__file__", None)
    return isinstance(function, FunctionType) and Path(function.__code__.co_filename) == Path(
        str(file)
    )
