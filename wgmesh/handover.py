"""What passes between the fetch, which has no rights, and root, which believes nothing of it.

The fetch owns a directory and leaves two files there: `answer.toml`, what the remote said, and
`bundle`, the objects behind it (the third is that of `names`). Root asks by a file in /run. Whoever
has taken over the fetch can put anything in the place of those, so root opens neither a link nor a
pipe, and reads no more than so many bytes.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from wgmesh import shape
from wgmesh.errors import WgmeshError
from wgmesh.files import write_atomic
from wgmesh.frozen import frozen
from wgmesh.model.numbers import MOST_REMOTES
from wgmesh.trust.plain import plain

UNIT = "wgmesh-fetch.service"
MOST_FAILURES = 1000
LARGEST_ANSWER_BYTES = 32 << 10
LARGEST_BUNDLE_BYTES = 512 << 20
OUTCOMES = ("reached", "unreachable", "refused", "failed")

_HINT = f"see what it said: journalctl -u {UNIT}"
_TEXT_CHARACTERS = 400
_REMOTE_CHARACTERS = 200
_LONGEST_LINE = 1024
"""Of an answer, in characters: a text may be written twice as long as it is. What tomllib takes
grows with the square of the parts of a key: 32 KiB of them are a gigabyte."""


@frozen
class Request:
    """What root asks of the next fetch, beside what node.toml says.

    `remotes` and `branch` are those of a machine that is about to join. `everything`: root has lost
    its objects, so the bundle has to have all. `only_ask`: what the tip is will do.
    """

    id: str
    remotes: tuple[str, ...] = ()
    branch: str = ""
    everything: bool = False
    only_ask: bool = False


@frozen
class Said:
    """What one remote said: the tip that it has, or the reason why there is none ("" for it)."""

    remote: str
    commit: str = ""
    reason: str = ""


@frozen
class Answer:
    """How a fetch ended; times are seconds since the epoch.

    `run` differs each time (and is never ""), `request` is the id of the request that it answers.
    `said` is what each remote said that was asked. `refused` is the commit that git refuses. The
    bundle leads from `since` ("": the beginning) to the commits in `bundled`, which with `since`
    are all that was said to be there. After `failures` in a row nobody asks before `again`.
    """

    run: str
    request: str = ""
    outcome: str = "failed"
    time: int = 0
    said: tuple[Said, ...] = ()
    refused: str = ""
    error: str = ""
    hint: str = ""
    bundled: tuple[str, ...] = ()
    since: str = ""
    failures: int = 0
    again: int = 0


def new_id() -> str:
    """Return an id that no request or run had before."""
    return os.urandom(8).hex()


def write_request(path: Path, request: Request) -> None:
    """Leave a request where the fetch finds it."""
    import tomli_w

    table = asdict(request) | {"remotes": list(request.remotes)}
    write_atomic(path, tomli_w.dumps(table).encode(), 0o644, durable=False)


def read_request(path: Path) -> Request | None:
    """Return root's request, None when there is none. Raises WgmeshError for a damaged one."""
    try:
        return shape.from_table(Request, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise WgmeshError(f"{path} is damaged: {error}", "wgmesh sync writes it anew") from None


def shown(remote: str) -> str:
    """Return a remote as an answer names it: fit for a terminal, and not too long."""
    return plain(remote, _REMOTE_CHARACTERS)


def write_answer(directory: Path, answer: Answer) -> None:
    """Leave an answer in the fetch's own directory; texts are cut to what root would read."""
    import tomli_w

    table = asdict(_readable(answer))
    table["said"] = list(table["said"])
    table["bundled"] = list(table["bundled"])
    data = tomli_w.dumps(table).encode()
    write_atomic(directory / "answer.toml", data, 0o644, durable=False)


def read_answer(directory: Path) -> Answer | None:
    """Return the last answer, None when there is none; its texts are fit for a terminal.

    Raises WgmeshError for anything but a small regular file that says what an answer says.
    """
    try:
        with open_handed(directory, "answer.toml", LARGEST_ANSWER_BYTES) as file:
            table = _table(_read(file, LARGEST_ANSWER_BYTES).decode())
        said = table.pop("said", ())
        if not isinstance(said, list | tuple) or not all(isinstance(each, dict) for each in said):
            raise ValueError("said is no list of tables")
        each = tuple(shape.from_table(Said, one) for one in said)
        answer = shape.from_table(Answer, table | {"said": each})
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):  # tomllib does not count brackets, it recurses
        raise WgmeshError("what the fetch left is no answer", _HINT) from None
    if max(len(answer.said), len(answer.bundled)) > MOST_REMOTES:
        raise WgmeshError("the answer of the fetch is of too many remotes", _HINT)
    tips = [one.commit for one in answer.said]
    for commit in (*tips, *answer.bundled, answer.since, answer.refused):
        if not re.fullmatch("(?:[0-9a-f]{40})?", commit):
            raise WgmeshError("the answer of the fetch names no commit id", _HINT)
    if not 0 <= answer.failures <= MOST_FAILURES:
        raise WgmeshError("the answer of the fetch counts wrongly", _HINT)
    if answer.outcome not in OUTCOMES or (answer.outcome == "reached" and not any(tips)):
        raise WgmeshError("the answer of the fetch contradicts itself", _HINT)
    answer = _readable(answer)
    if not answer.run:  # which is how root marks what it has asked for itself
        raise WgmeshError("the answer of the fetch is of no run", _HINT)
    return answer


def _table(text: str) -> dict[str, Any]:
    """Return TOML as a table. Raises ValueError for a line that no answer of ours has."""
    if max(map(len, text.split("\n"))) > _LONGEST_LINE:
        raise ValueError("a line is too long")
    return tomllib.loads(text)


def _read(file: BinaryIO, limit_bytes: int) -> bytes:
    try:
        return file.read(limit_bytes)
    except OSError as error:
        raise WgmeshError(f"the fetch's answer cannot be read: {error.strerror}", _HINT) from None


def _readable(answer: Answer) -> Answer:
    """Return the answer with its texts fit for a terminal, and cut."""
    said = tuple(
        Said(shown(one.remote), one.commit, plain(one.reason, _REMOTE_CHARACTERS))
        for one in answer.said
    )
    return replace(
        answer,
        run=plain(answer.run, _TEXT_CHARACTERS),
        request=plain(answer.request, _TEXT_CHARACTERS),
        said=said,
        error=plain(answer.error, _TEXT_CHARACTERS),
        hint=plain(answer.hint, _TEXT_CHARACTERS),
    )


@contextmanager
def open_handed(directory: Path, name: str, limit_bytes: int) -> Iterator[BinaryIO]:
    """Open a file that the fetch left, for reading.

    O_NONBLOCK: neither a pipe nor a lease on the file may hold root up. Raises FileNotFoundError,
    or WgmeshError for what is not a regular file of the directory's owner of at most `limit_bytes`,
    or lies where it cannot be read: the service has no rights over the fetch's directory.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        place = os.open(directory, flags | os.O_DIRECTORY)
    except FileNotFoundError:
        raise
    except NotADirectoryError:
        raise WgmeshError(f"{directory} is no directory", _HINT) from None
    except OSError as error:
        raise WgmeshError(f"{directory} cannot be opened: {error.strerror}", _HINT) from None
    try:
        file = os.open(name, flags | os.O_NONBLOCK, dir_fd=place)
        owner = os.fstat(place).st_uid
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WgmeshError(f"the fetch's {name} cannot be read: {error.strerror}", _HINT) from None
    finally:
        os.close(place)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
            raise WgmeshError(f"the fetch's {name} is not a file of its own", _HINT)
        if found.st_size > limit_bytes:
            size = f"{found.st_size} bytes, more than {limit_bytes}"
            raise WgmeshError(f"the fetch's {name} has {size}", _HINT)
        with os.fdopen(file, "rb", buffering=0, closefd=False) as raw:
            yield raw
    finally:
        os.close(file)
