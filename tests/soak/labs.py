"""Soaks in several laboratories side by side: a child process for each, whose records come as JSON.

A child is the same command with `--part K`; what it prints is echoed to standard error as it comes,
so that the log of a soak that was cut short still has what was found: `--from LOG` reads it again.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")
Lab = TypeVar("Lab")
Record = dict[str, Any]

LABS = 2


def parser(module: str, labs: int = LABS) -> argparse.ArgumentParser:
    """Return a parser with the options that every soak has."""
    made = argparse.ArgumentParser(prog=f"python -m {module}")
    made.add_argument("--labs", type=int, default=labs, help="laboratories side by side")
    made.add_argument("--from", dest="logs", nargs="+", type=Path, help="only print the table")
    made.add_argument("--part", type=int, help=argparse.SUPPRESS)
    made.set_defaults(module=module)
    return made


def records(
    options: argparse.Namespace,
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Iterable[Record]],
) -> list[Record]:
    """Return what `work` yields for `items`, which are dealt out to the laboratories.

    `options.broken` then has what went wrong with a laboratory itself. In a child it never returns.
    """
    signal.signal(signal.SIGTERM, _stop)  # a soak that is ended leaves nothing behind
    if options.part is not None:
        for record in work(items[options.part :: options.labs]):
            print(json.dumps(record), flush=True)
        sys.exit(0)
    if options.logs:
        lines = (line for log in options.logs for line in log.read_text().splitlines())
        return _sound(read(lines), options)
    argv = [sys.executable, "-m", options.module, *sys.argv[1:]]
    parts = range(min(options.labs, len(items)))
    children = [
        subprocess.Popen([*argv, "--part", str(part)], stdout=subprocess.PIPE, text=True)
        for part in parts
    ]
    found: list[list[Record]] = [[] for _ in children]

    def listen(child: subprocess.Popen[str], into: list[Record]) -> None:
        for line in child.stdout or ():
            sys.stderr.write(line)
            sys.stderr.flush()
            into.extend(read([line]))

    threads = [
        threading.Thread(target=listen, args=each) for each in zip(children, found, strict=True)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for child in children:
            child.terminate()  # harmless for one that has ended
    every = [each for part in found for each in part]
    every += [{"broke": "see above"} for child in children if child.wait()]
    return _sound(every, options)


def throughout(
    items: Iterable[Item],
    laboratory: Callable[[], AbstractContextManager[Lab]],
    do: Callable[[Lab, Item], Iterable[Record]],
) -> Iterator[Record]:
    """Do every item in one laboratory, or the rest in a new one when one breaks down."""
    left = list(items)
    while left:
        with laboratory() as lab:
            try:
                while left:
                    yield from do(lab, left.pop(0))
            except AssertionError as error:  # tunnels that do not come back: a failure to report
                yield {"broke": str(error)}


def _sound(every: Iterable[Record], options: argparse.Namespace) -> list[Record]:
    found, options.broken = [], []
    for record in every:
        if "broke" in record:
            options.broken.append(record["broke"])
            print(f"a laboratory broke down: {record['broke']}", file=sys.stderr)
        else:
            found.append(record)
    return found


def _stop(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def read(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the records of a soak's log, its standard error."""
    return (json.loads(line) for line in lines if line.startswith("{"))
