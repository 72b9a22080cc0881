"""The kernel made equal to a target, whoever hangs up meanwhile."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wgmesh import linux, process
from wgmesh.desired import restored
from wgmesh.diff import diff, split
from wgmesh.errors import WgmeshError
from wgmesh.model.kernel import KernelState


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore hang-up, interrupt and terminate: the tunnel that carries the terminal may die.

    By a handler that does nothing, since children would inherit SIG_IGN.
    """
    kinds = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: None) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def converge(
    target: KernelState, interface: str, sysctl_keys: frozenset[str], *, adopt: bool = False
) -> None:
    """Make the kernel equal `target`: adds, read back, removals, read back.

    `adopt` also takes the routes over the interface that others made. Endpoints that roam
    meanwhile are no difference. Raises WgmeshError when a command fails or the kernel differs.
    """
    observed = linux.observe(interface, sysctl_keys).state
    additions, removals = split(diff(target, observed, adopt=adopt))
    linux.apply(additions)
    if additions and removals:
        observed = linux.observe(interface, sysctl_keys).state
        missing, _ = split(diff(restored(target, observed, ()), observed))
        _require_nothing(missing)
    linux.apply(removals)
    if additions or removals:
        observed = linux.observe(interface, sysctl_keys).state
        _require_nothing(diff(restored(target, observed, ()), observed, adopt=adopt))


def _require_nothing(left: Sequence[object]) -> None:
    if left:
        kinds = ", ".join(sorted({type(change).__name__ for change in left}))
        raise WgmeshError(f"the kernel differs from what was applied ({kinds})")


def run_hook(command: str) -> None:
    """Run one hook of the inventory, which this node's policy has allowed.

    Raises CommandError when it fails.
    """
    process.run(["/bin/sh", "-c", command], timeout_seconds=60)
