"""Waiting for an event, with a deadline instead of a hopeful sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

POLL_SECONDS = 0.02


def wait_until(predicate: Callable[[], Value], deadline_seconds: float, what: str) -> Value:
    """Call `predicate` until it is true, and return what it said.

    Raises AssertionError with `what` and the last value after `deadline_seconds`. An AssertionError
    in the predicate counts as "not yet", so that it may run commands which fail at first.
    """
    end = time.monotonic() + deadline_seconds
    last: object = None
    while True:
        try:
            value = predicate()
        except AssertionError as error:
            last = error
        else:
            if value:
                return value
            last = value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline_seconds:g} s: {what}; last: {last!r}")
        time.sleep(POLL_SECONDS)
