"""Fixtures of the laboratory: worlds that are closed whatever happens, and a check of that."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from tests.lab.machine import SAFE_PATH
from tests.lab.world import World, leftovers

PROGRAMS = ["bash", "git", "ip", "nft", "nsenter", "ping", "ss", "ssh-keygen", "sysctl"]
PROGRAMS += ["wg", "wg-quick", "wireguard-go"]


class WorldFactory(Protocol):
    """Makes a World; its arguments are World's."""

    def __call__(
        self,
        nodes: list[str] | tuple[str, ...] = ("alpha", "bravo", "charlie"),
        *,
        nat: list[str] | tuple[str, ...] = (),
        second_uplink: list[str] | tuple[str, ...] = (),
        ipv6: bool = True,
    ) -> World: ...


@pytest.fixture(scope="session", autouse=True)
def _laboratory() -> Iterator[None]:
    """Refuse a machine that cannot be a laboratory; at the end, find what was left behind."""
    if os.geteuid() != 0:
        pytest.exit("tests/lab makes network namespaces: run it as root (sudo make test)", 4)
    missing = [program for program in PROGRAMS if shutil.which(program, path=SAFE_PATH) is None]
    if missing:
        pytest.exit(f"tests/lab needs {', '.join(missing)}: run `make system`", 4)
    yield
    assert leftovers() == []


def _factory() -> Iterator[WorldFactory]:
    with ExitStack() as worlds:

        def make(
            nodes: list[str] | tuple[str, ...] = ("alpha", "bravo", "charlie"),
            *,
            nat: list[str] | tuple[str, ...] = (),
            second_uplink: list[str] | tuple[str, ...] = (),
            ipv6: bool = True,
        ) -> World:
            return worlds.enter_context(
                World(nodes, nat=nat, second_uplink=second_uplink, ipv6=ipv6)
            )

        yield make


@pytest.fixture
def world_factory() -> Iterator[WorldFactory]:
    """Make worlds that live as long as the test."""
    yield from _factory()


@pytest.fixture(scope="module")
def module_world_factory() -> Iterator[WorldFactory]:
    """Make worlds that the tests of a file share."""
    yield from _factory()
