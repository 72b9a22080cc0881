"""The common frame of `wg-failover` and `wg-exit-selector`: a tick, `status`, and errors told."""

from collections.abc import Callable, Sequence

from wgmesh import __version__
from wgmesh.cli import output
from wgmesh.cli.command import Parser


def run(
    name: str,
    summary: str,
    tick: Callable[[], int],
    status: Callable[[], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line of the helper `name`, do what it asks for, return the exit code."""
    parser = Parser(prog=name, description=summary, epilog=f"example: {name} status")
    parser.add_argument(
        "action", nargs="?", choices=("status",), help="show how things stand; without it: one tick"
    )
    parser.add_argument("--version", action="version", version=f"{name} {__version__}")

    def parsed() -> int:
        arguments = parser.parse_args(argv)
        output.set_up_logging(verbose=False, quiet=False)
        return status() if arguments.action == "status" else tick()

    return output.guard(parsed)
