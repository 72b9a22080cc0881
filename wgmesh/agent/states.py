"""The state that a plan asks of this machine's kernel, and what somebody has changed of it."""

from collections.abc import Callable, Collection
from pathlib import Path

from wgmesh import history, keys, linux, render, resolve, settings
from wgmesh.agent import node
from wgmesh.agent.node import PLACES
from wgmesh.choices import Choices, applied
from wgmesh.desired import desired, names
from wgmesh.diff import diff
from wgmesh.history import Steering
from wgmesh.model.change import Change
from wgmesh.model.kernel import KernelState, Observed
from wgmesh.model.numbers import SESSION_SECONDS
from wgmesh.model.plan import NodePlan, Uplinks
from wgmesh.model.terms import Endpoint, Secret

ENDPOINTS_FILE = settings.GENERATIONS_DIR / "endpoints"


def target_for(
    plan: NodePlan,
    previous: NodePlan | None,
    *,
    reset: Collection[str] = (),
    ask_resolver: bool = True,
    choices: Choices | None = None,
) -> Callable[[KernelState], KernelState]:
    """Return the function that turns what is observed into what `plan` asks for.

    Reads keys; resolves names unless told not to. `choices` are those in force unless given. Raises
    WgmeshError when a key file is missing.
    """
    private_key = Secret(keys.read(_key_path(plan)))
    preshared = {key: Secret(keys.read(Path(path))) for key, path in render.preshared(plan.peers)}
    resolved = resolve.resolve(names(plan)) if ask_resolver else {}
    former = linux.sysctl.former()
    chosen = choices or in_force()

    def target(observed: KernelState) -> KernelState:
        uplinks = linux.route.uplinks(plan.interface) if plan.exits is not None else Uplinks()
        forwards = any(key in linux.FORWARDING for key, _ in plan.sysctls)
        return desired(
            applied(plan, chosen, uplinks),
            private_key=private_key,
            preshared_keys=preshared,
            observed=observed,
            previous=previous,
            resolved=resolved,
            reset=reset,
            former_sysctls=former,
            chosen=chosen.endpoints,
            dropping=linux.iptables.observe()[1] if forwards else {},
        )

    return target


def _key_path(plan: NodePlan) -> Path:
    """Return where the key of `plan` is: its path may be a link that another key has taken."""
    own = keys.path(PLACES.wireguard, plan.public_key)
    return own if own.exists() else Path(plan.private_key_path)


def in_force() -> Choices:
    """Return what the ticks have chosen, as long as the machine is up."""
    return steered(history.read_exits(settings.RUN_DIR))


def steered(steering: Steering) -> Choices:
    """Return what the failover has chosen, and `steering` for the exits."""
    moved = history.read_failover(settings.RUN_DIR)
    return Choices(
        endpoints={key: _endpoint(text) for key, text in moved.chosen().items()},
        hub=moved.hubs.holder,
        exit=steering.holder,
        families=steering.families,
        direct=steering.direct,
    )


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return Endpoint(host.strip("[]"), int(port))


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
    """Return the state of the boot generation, for when a snapshot is lost.

    Endpoints are the inventory's: those in the device may come from the change that was cut short.
    """
    confirmed = node.running()
    if confirmed is None or confirmed.plan is None:
        return None
    plan = confirmed.plan
    return target_for(plan, None)(observe(plan).state)


def remember_endpoints(plan: NodePlan, seen: Observed) -> None:
    """Write where named peers were last proven, for a boot without a resolver.

    A line is `KEY ENDPOINT NAME`; it holds for as long as the inventory says that name.
    """
    from wgmesh.files import write_atomic

    link = seen.state.link
    if link is None:
        return
    try:
        old = ENDPOINTS_FILE.read_text(encoding="ascii")
    except FileNotFoundError:
        old = ""
    known = {line.split(" ")[0]: line for line in old.splitlines()}
    lines = []
    for peer in sorted(plan.peers, key=lambda peer: peer.public_key):
        if not peer.endpoints or peer.endpoints[0].literal:
            continue
        name = str(peer.endpoints[0])
        live = link.peers.get(peer.public_key)
        counters = seen.counters.get(peer.public_key)
        line = known.get(peer.public_key, "")
        if live is not None and live.endpoint and counters and counters.latest_handshake:
            lines.append(f"{peer.public_key} {live.endpoint} {name}")
        elif line.endswith(f" {name}"):
            lines.append(line)
    text = "".join(f"{line}\n" for line in lines)
    if text != old:
        write_atomic(ENDPOINTS_FILE, text.encode())


def former() -> dict[str, str]:
    """Return the sysctls that wgmesh has set since boot, with the values from before."""
    return dict(linux.sysctl.former())
