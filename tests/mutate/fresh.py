"""`python -m tests.mutate.fresh FILE TEXT TEST…` runs tests in a process that imports a mutant."""

import importlib.abc
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

TRUST = Path(__file__).parents[2] / "wgmesh" / "trust"


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the text of a mutant in the place of its module."""

    def __init__(self, file: str, text: str) -> None:
        self.name = f"wgmesh.trust.{file.removesuffix('.py')}"
        self.path = TRUST / file
        self.text = text

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def main() -> int:
    """Return 0 when all tests pass."""
    file, path, *tests = sys.argv[1:]
    sys.meta_path.insert(0, Loader(file, Path(path).read_text()))
    os.environ["WGMESH_MUTANT"] = file  # fewer examples, see tests/unit/conftest.py
    base = Path(path).with_name("tests")
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={base}", *tests]))


if __name__ == "__main__":
    sys.exit(main())
