"""The common frame of `wg-failover` and `wg-exit-selector`: a tick, `status`, and errors told."""

import sys
from collections.abc import Callable, Sequence

from wgmesh.cli import output


def run(
    name: str,
    summary: str,
    tick: Callable[[], int],
    status: Callable[[], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line of the helper `name`, do what it asks for, return the exit code."""
    words = sys.argv[1:] if argv is None else argv

    def parsed() -> int:
        action = _action(name, summary, words) if words else None
        output.set_up_logging(verbose=False, quiet=False)
        return status() if action == "status" else tick()

    return output.guard(parsed)


def _action(name: str, summary: str, words: Sequence[str]) -> str | None:
    """Return the action that `words` ask for. A tick has none, and does without the parser."""
    from wgmesh import __version__
    from wgmesh.cli.command import Parser

    parser = Parser(prog=name, description=summary, epilog=f"example: {name} status")
    parser.add_argument(
        "action", nargs="?", choices=("status",), help="show how things stand; without it: one tick"
    )
    parser.add_argument("--version", action="version", version=f"{name} {__version__}")
    action: str | None = parser.parse_args(words).action
    return action
