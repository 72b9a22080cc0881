"""This machine as the agent sees it: policy, enrolment, and the state that a plan asks for."""

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from wgmesh import generation, linux, process, render, resolve, settings
from wgmesh.desired import desired, names
from wgmesh.diff import diff
from wgmesh.errors import UsageError, WgmeshError
from wgmesh.generation import Manifest
from wgmesh.model import (
    Change,
    Endpoint,
    KernelState,
    NodePlan,
    Observed,
    Secret,
)
from wgmesh.settings import Enrolment, Settings
from wgmesh.transaction import Places

log = logging.getLogger(__name__)

PLACES = Places(
    generations=settings.GENERATIONS_DIR,
    wireguard=settings.WIREGUARD_DIR,
    run=settings.RUN_DIR,
    state=settings.STATE_DIR,
)
ENDPOINTS_FILE = settings.GENERATIONS_DIR / "endpoints"
SESSION_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Node:
    """What is known before anything is asked: policy and enrolment."""

    settings: Settings
    enrolment: Enrolment


@dataclass(frozen=True, slots=True)
class Running:
    """The confirmed generation: its manifest, and its plan (None for generation 0)."""

    manifest: Manifest
    plan: NodePlan | None


def require_root() -> None:
    """Raise UsageError when this process may not do a node's work."""
    if os.geteuid() != 0:
        raise UsageError("this command needs root", "run it with sudo")


def load() -> Node:
    """Return this machine's policy and enrolment. Raises NotJoinedError."""
    return Node(settings.load_settings(), settings.load_enrolment())


def running() -> Running | None:
    """Return the confirmed generation; None before the first."""
    number = generation.booted(PLACES.generations)
    if number is None:
        return None
    return at_generation(number)


def at_generation(number: int) -> Running:
    """Return generation `number`. Raises WgmeshError when it is missing, damaged or altered."""
    manifest = generation.read_manifest(PLACES.generations, number)
    if number == 0:
        return Running(manifest, None)
    files = generation.read_files(PLACES.generations, number)
    if render.digest(files) != manifest.digest:
        raise WgmeshError(
            f"generation {number} is not what was rendered: a file in it was changed",
            "wgmesh rollback N goes to another one",
        )
    return Running(manifest, render.parse(files))


def _read_secret(path: str) -> Secret:
    try:
        return Secret(Path(path).read_text(encoding="ascii").strip())
    except FileNotFoundError:
        raise WgmeshError(f"the key file {path} is missing", "put it back, mode 0600") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WgmeshError(f"the key file {path} cannot be read: {type(error).__name__}") from None


def own_public_key(enrolment: Enrolment) -> str:
    """Return the public half of this node's key, which says which entry is its own."""
    private = _read_secret(str(enrolment.key_path))
    return process.text(["wg", "pubkey"], stdin=private.reveal().encode()).strip()


def target_for(
    plan: NodePlan,
    previous: NodePlan | None,
    *,
    reset: Collection[str] = (),
    ask_resolver: bool = True,
) -> Callable[[KernelState], KernelState]:
    """Return the function that turns what is observed into what `plan` asks for.

    Reads keys; resolves names unless told not to. Raises WgmeshError when a key file is missing.
    """
    private_key = _read_secret(plan.private_key_path)
    preshared = {
        peer.public_key: _read_secret(peer.preshared_key_path)
        for peer in plan.peers
        if peer.preshared_key_path is not None
    }
    resolved = resolve.resolve(names(plan)) if ask_resolver else {}
    former = linux.sysctl.former()

    def target(observed: KernelState) -> KernelState:
        return desired(
            plan,
            private_key=private_key,
            preshared_keys=preshared,
            observed=observed,
            previous=previous,
            resolved=resolved,
            reset=reset,
            former_sysctls=former,
        )

    return target


def sysctl_keys(*plans: NodePlan | None) -> frozenset[str]:
    """Return every sysctl that one of `plans` sets, or that wgmesh has set since boot."""
    keys = set(linux.sysctl.former())
    for plan in plans:
        keys.update(key for key, _ in (plan.sysctls if plan is not None else ()))
    return frozenset(keys)


def observe(plan: NodePlan) -> Observed:
    """Return one look at the machine, as far as it concerns `plan`."""
    return linux.observe(plan.interface, sysctl_keys(plan))


def idle_peers(plan: NodePlan, seen: Observed, now: float) -> frozenset[str]:
    """Return the peers of `plan` that have no living session at `now` (wall clock)."""
    found = []
    for peer in plan.peers:
        counters = seen.counters.get(peer.public_key)
        if counters is None or not 0 <= now - counters.latest_handshake < SESSION_SECONDS:
            found.append(peer.public_key)
    return frozenset(found)


def drift(plan: NodePlan, seen: Observed, now: float) -> tuple[Change, ...]:
    """Return what somebody changed by hand: the way from what is seen to what was confirmed.

    Where a living peer was last heard is no drift; an endpoint that is not the inventory's, of a
    peer that has no session, is.
    """
    target = target_for(plan, plan, reset=idle_peers(plan, seen, now), ask_resolver=False)
    return diff(target(seen.state), seen.state)


def rebuild() -> KernelState | None:
    """Return the state of the boot generation, for when a snapshot is lost."""
    confirmed = running()
    if confirmed is None or confirmed.plan is None:
        return None
    plan = confirmed.plan
    return target_for(plan, plan)(observe(plan).state)


def remember_endpoints(plan: NodePlan, seen: Observed) -> None:
    """Write the endpoints that named peers were last proven at, for a boot without a resolver."""
    from wgmesh.files import write_atomic

    link = seen.state.link
    if link is None:
        return
    proven: dict[str, Endpoint] = {}
    for peer in plan.peers:
        live = link.peers.get(peer.public_key)
        counters = seen.counters.get(peer.public_key)
        named = bool(peer.endpoints) and not peer.endpoints[0].literal
        if named and live is not None and live.endpoint and counters and counters.latest_handshake:
            proven[peer.public_key] = live.endpoint
    lines = "".join(f"{key} {endpoint}\n" for key, endpoint in sorted(proven.items()))
    try:
        old = ENDPOINTS_FILE.read_text(encoding="ascii")
    except FileNotFoundError:
        old = ""
    kept = {line.split(" ")[0]: line for line in old.splitlines(keepends=True)}
    wanted = {peer.public_key for peer in plan.peers}
    merged = {key: line for key, line in kept.items() if key in wanted}
    merged |= {line.split(" ")[0]: line for line in lines.splitlines(keepends=True)}
    text = "".join(merged[key] for key in sorted(merged))
    if text != old:
        write_atomic(ENDPOINTS_FILE, text.encode())


def former() -> dict[str, str]:
    """Return the sysctls that wgmesh has set since boot, with the values from before."""
    return dict(linux.sysctl.former())
