"""Soaks in several laboratories side by side: a child process for each, whose records come as JSON.

A child is the same command with `--part K`; what it prints is echoed to standard error as it comes,
so that the log of a soak that was cut short still has what was found: `--from LOG` reads it again.
"""

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
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

    In a child it never returns. Raises SystemExit when a child fails.
    """
    if options.part is not None:
        for record in work(items[options.part :: options.labs]):
            print(json.dumps(record), flush=True)
        sys.exit(0)
    if options.logs:
        return [each for log in options.logs for each in _read(log.read_text().splitlines())]
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
            into.extend(_read([line]))

    threads = [
        threading.Thread(target=listen, args=each) for each in zip(children, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any(child.wait() for child in children):
        raise SystemExit("a laboratory broke down; see above")
    return [each for part in found for each in part]


def _read(lines: Iterable[str]) -> Iterator[Record]:
    return (json.loads(line) for line in lines if line.startswith("{"))
