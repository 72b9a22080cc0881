"""This machine as the agent sees it: policy, enrolment, and the state that a plan asks for."""

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from wgmesh import (
    __version__,
    generation,
    history,
    keys,
    linux,
    records,
    render,
    resolve,
    settings,
)
from wgmesh.choices import Choices, applied
from wgmesh.desired import desired, names
from wgmesh.diff import diff
from wgmesh.errors import NotJoinedError, UsageError, WgmeshError
from wgmesh.frozen import frozen
from wgmesh.generation import Manifest
from wgmesh.history import Steering
from wgmesh.model.change import Change
from wgmesh.model.inventory import Inventory
from wgmesh.model.inventory import Node as Entry
from wgmesh.model.kernel import KernelState, Observed
from wgmesh.model.plan import Exempt, NodePlan, Uplinks
from wgmesh.model.terms import Endpoint, Secret
from wgmesh.remembered import Tips
from wgmesh.settings import Enrolment, Settings
from wgmesh.transaction.places import Places

log = logging.getLogger(__name__)

PLACES = Places(
    generations=settings.GENERATIONS_DIR,
    wireguard=settings.WIREGUARD_DIR,
    run=settings.RUN_DIR,
    state=settings.STATE_DIR,
)
ENDPOINTS_FILE = settings.GENERATIONS_DIR / "endpoints"
SESSION_SECONDS = 180
_TIME_USERS = ("systemd-timesync", "_chrony", "ntpsec", "openntpd")
"""Who keeps the clock on Debian and Ubuntu: a wrong one keeps tunnels from ever coming up."""


@frozen
class Node:
    """What is known before anything is asked: policy and enrolment."""

    settings: Settings
    enrolment: Enrolment


@frozen
class Running:
    """A generation: its manifest, and its plan (None for generation 0).

    `altered`: its files are not what was rendered; `pristine` are those, when they could be made
    again out of the commit. The plan is theirs.
    """

    manifest: Manifest
    plan: NodePlan | None
    altered: bool = False
    pristine: dict[str, bytes] | None = None


def require_root() -> None:
    """Raise UsageError when this process may not do a node's work."""
    if os.geteuid() != 0:
        raise UsageError("this command needs root", "run it with sudo")


def load() -> Node:
    """Return this machine's policy and enrolment. Raises NotJoinedError."""
    return Node(settings.load_settings(), settings.load_enrolment())


def load_any() -> Node:
    """Return policy and enrolment, also of a machine that an inventory was applied to by hand.

    Raises NotJoinedError.
    """
    try:
        return load()
    except NotJoinedError:
        from wgmesh.agent import direct

        found = direct.enrolment()
        if found is None:
            raise
        return Node(settings.load_settings(), found)


def tips(me: Node) -> Tips:
    """Return the two pointers. What was trusted from another anchor than now is so no more.

    That is what makes node.toml the one file that re-anchors: a tip that is older than it is lost.
    """
    found = records.read_tips(PLACES.state)
    if found.anchor and found.anchor != me.enrolment.anchor.commit:
        return replace(found, trusted=None, anchor="")
    return found


def running() -> Running | None:
    """Return the confirmed generation; None before the first."""
    number = generation.booted(PLACES.generations)
    if number is None:
        return None
    return at_generation(number)


def at_generation(number: int) -> Running:
    """Return generation `number`. Raises WgmeshError when it is missing or its manifest damaged.

    Files that somebody edited are not believed: the plan then comes out of the commit again.
    """
    manifest = generation.read_manifest(PLACES.generations, number)
    if number == 0:
        return Running(manifest, None)
    files = generation.read_files(PLACES.generations, number)
    if render.digest(files) == manifest.digest:
        return Running(manifest, render.parse(files))
    pristine = _rendered_again(manifest)
    plan = render.parse(pristine) if pristine is not None else None
    return Running(manifest, plan, altered=True, pristine=pristine)


def _rendered_again(manifest: Manifest) -> dict[str, bytes] | None:
    """Return the files of a generation as its commit says; None when that cannot be had."""
    from wgmesh import inventory
    from wgmesh.repository.bare import Repository

    if manifest.commit is None:
        return None
    try:
        me = load()
        with Repository(settings.REPOSITORY_DIR) as repository:
            files = repository.inventory_files(manifest.commit.id, me.enrolment.path)
        model = inventory.load(files)
        own = own_entry(me.enrolment, model)
        if own is None:
            return None
        for key in (own.public_key, own.next_public_key):
            if key is not None:
                rendered = render.files(share(me, model, own, key))
                if render.digest(rendered) == manifest.digest:
                    return rendered
    except WgmeshError as error:
        log.debug("generation %d cannot be made again: %s", manifest.number, error.message)
    return None


def context(me: Node) -> str:
    """Return what a plan depends on beside the inventory: another one asks for a new look."""
    known = f"wgmesh {__version__}, allow_hooks {me.settings.allow_hooks}"
    return f"{known}, {exempt(me)}"


def exempt(me: Node) -> Exempt:
    """Return what of this machine leaves by its uplink even where an exit is in use."""
    return Exempt(
        fetch_uid=_uid(settings.FETCH_USER),
        time_uids=tuple(uid for name in _TIME_USERS if (uid := _uid(name)) is not None),
        prefixes=tuple(map(ip_network, me.settings.exempt)),
        sources=me.settings.exit_sources,
    )


def _uid(name: str) -> int | None:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def own_public_key(enrolment: Enrolment) -> str:
    """Return the public half of this node's key, which says which entry is its own."""
    return keys.public_half(keys.read(enrolment.key_path))


def own_entry(enrolment: Enrolment, model: Inventory) -> Entry | None:
    """Return this node's entry, None when it has none: known by its key, or by one kept for it."""
    from wgmesh.mesh.plan import find_node

    found = find_node(model, own_public_key(enrolment))
    held = keys.held(PLACES.wireguard) if found is None else frozenset()
    for entry in model.nodes if held else ():
        for key in (entry.public_key, entry.next_public_key):
            if key is not None and keys.fingerprint(key) in held:
                return entry
    return found


def holds(public_key: str | None) -> bool:
    """Return whether the private half of `public_key` is in the directory of keys."""
    return public_key is not None and keys.path(PLACES.wireguard, public_key).exists()


def key_in_use(me: Node, entry: Entry, before: Running | None) -> str | None:
    """Return the key of `entry` that this node runs, while no other is to follow.

    The next one, once the node has gone over to it.
    """
    following = entry.next_public_key
    if following is None or not holds(following):
        return entry.public_key
    plan = before.plan if before is not None else None
    runs = plan.public_key if plan is not None else own_public_key(me.enrolment)
    return following if following == runs else entry.public_key


def key_file(enrolment: Enrolment, public_key: str | None) -> Path:
    """Return the file of a key of this node: one of its own, once a key of it has changed."""
    if public_key is not None and holds(public_key):
        return keys.path(PLACES.wireguard, public_key)
    return enrolment.key_path


def share(me: Node, model: Inventory, entry: Entry, public_key: str | None) -> NodePlan:
    """Return the share of this node, which is `entry` and runs `public_key`."""
    from wgmesh.mesh.plan import plan

    return plan(
        model,
        entry.name,
        allow_hooks=me.settings.allow_hooks,
        private_key_path=str(key_file(me.enrolment, public_key)),
        public_key=public_key,
        exempt=exempt(me),
    )


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
    confirmed = running()
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
