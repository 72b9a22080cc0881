"""The common frame of `wg-failover` and `wg-exit-selector`: `status`, and how errors are told."""

from collections.abc import Callable, Sequence

from wgmesh import __version__
from wgmesh.cli import output
from wgmesh.cli.command import Parser


def run(
    name: str, summary: str, status: Callable[[], int], argv: Sequence[str] | None = None
) -> int:
    """Parse the command line of the helper `name`, run its status, and return the exit code."""
    parser = Parser(prog=name, description=summary, epilog=f"example: {name} status")
    parser.add_argument("action", nargs="?", choices=("status",), default="status")
    parser.add_argument("--version", action="version", version=f"{name} {__version__}")

    def parsed() -> int:
        parser.parse_args(argv)
        output.set_up_logging(verbose=False, quiet=False)
        return status()

    return output.guard(parsed)
