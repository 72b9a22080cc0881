"""Gathers what the checks of wgmesh.doctor look at, and runs them."""

import os
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from wgmesh import doctor, generation, linux, process, records, resolve, settings
from wgmesh.agent import node, remote, shares, spare
from wgmesh.agent.node import PLACES, Running
from wgmesh.agent.remote import Source
from wgmesh.desired import names
from wgmesh.doctor import Facts, Finding, access, standing
from wgmesh.doctor.facts import FileSeen, Host, Mesh, Remote
from wgmesh.errors import LockedError, NotJoinedError, WgmeshError
from wgmesh.frozen import frozen
from wgmesh.model.plan import NodePlan
from wgmesh.repository.remote import CREDENTIALS, KNOWN_HOSTS, SSH_KEY
from wgmesh.settings import Enrolment, Settings
from wgmesh.survey import host, network

_NETWORKD = "systemd-networkd.service"
_FETCH_NEEDS = (
    (access.SSH_KEY, SSH_KEY),
    (access.KNOWN_HOSTS, KNOWN_HOSTS),
    (access.CREDENTIALS, CREDENTIALS),
    (access.READ_BY_FETCH, settings.NODE_FILE),
    (access.READ_BY_FETCH, settings.STATE_DIR / "tips.toml"),
    (access.READ_BY_FETCH, settings.REQUEST_FILE),
    (access.READ_BY_FETCH, settings.NAMES_FILE),
)

Value = TypeVar("Value")


@frozen
class Diagnosis:
    """What was found, worst first; `joined`: this machine is in a mesh."""

    findings: tuple[Finding, ...]
    joined: bool
    node: str | None


def diagnose() -> Diagnosis:
    """Look at this machine and return what is wrong. Changes nothing; root sees more."""
    damage: list[tuple[str, str]] = []
    root = os.geteuid() == 0

    def read(load: Callable[[], Value]) -> Value | None:
        try:
            return load()
        except NotJoinedError:
            return None
        except WgmeshError as error:
            if root or not isinstance(error.__cause__, PermissionError):  # root's own is no damage
                damage.append((error.message, error.hint))
            return None

    policy = read(settings.load_settings) or Settings()
    enrolment = read(settings.load_enrolment)
    joined = enrolment is not None or settings.NODE_FILE.exists()
    running = read(node.running) if root and joined else None
    plan = running.plan if running is not None else None
    resolved = resolve.resolve(names(plan)) if plan is not None else {}
    seen = network.observe(
        _interface(enrolment, plan),
        root=root,
        inner=_inside(plan),
        outer=_endpoints(plan) | {endpoint.host for endpoint in resolved.values()},
    )
    unresolved = names(plan) - resolved.keys() if plan is not None else ()
    seen = replace(seen, unresolved=tuple(sorted({each.host for each in unresolved})))
    mesh = _mesh(policy, enrolment, running, joined=joined, root=root)
    facts = Facts(
        root=root,
        network=seen,
        host=_host(enrolment, running),
        mesh=replace(mesh, damage=tuple(damage)),
    )
    return Diagnosis(
        doctor.examine(facts), joined, enrolment.node if enrolment is not None else None
    )


def _interface(enrolment: Enrolment | None, plan: NodePlan | None) -> str:
    if plan is not None:
        return plan.interface
    return enrolment.interface if enrolment is not None else ""


def _inside(plan: NodePlan | None) -> set[str]:
    """Return each peer's addresses, and one address of each prefix behind a peer."""
    if plan is None:
        return set()
    found = {str(address) for peer in plan.peers for address in peer.addresses}
    own = {address.ip for address in plan.addresses}
    known = {ip_address(each) for each in found} | own
    for route in plan.routes:
        if not any(address in route.prefix for address in known):
            alone = route.prefix.num_addresses == 1
            first = route.prefix.network_address
            found.add(str(first if alone else first + 1))
    return found


def _endpoints(plan: NodePlan | None) -> set[str]:
    peers = plan.peers if plan is not None else ()
    return {each.host for peer in peers for each in peer.endpoints if each.literal}


# ---------------------------------------------------------------- mesh


def _mesh(
    policy: Settings,
    enrolment: Enrolment | None,
    running: Running | None,
    *,
    joined: bool,
    root: bool,
) -> Mesh:
    uid, gids = _fetcher()
    program = shlex.split(policy.notify)[0] if policy.notify.strip() else ""
    metrics = policy.metrics
    mesh = Mesh(
        joined=joined,
        direct=not joined and settings.DIRECT_FILE.exists(),
        left="" if joined else _left(),
        interface=_interface(enrolment, None),
        fetch_uid=uid,
        fetch_gids=gids,
        notify=program,
        notify_found=not program or process.which(program) is not None,
        metrics=metrics,
        metrics_directory=bool(metrics) and Path(metrics).parent.is_dir(),
        metrics_chosen=metrics != Settings().metrics,
    )
    if enrolment is None:
        return mesh
    mesh = replace(mesh, remotes=tuple(_remotes(enrolment, root=root)))
    if not root:
        return mesh
    plan = running.plan if running is not None else None
    applied = records.read_tips(PLACES.state).applied is not None
    complaints = generation.link_complaints(
        PLACES.generations, PLACES.wireguard, enrolment.interface
    )
    return replace(
        mesh,
        plan=plan,
        generation=running.manifest.number if running is not None else None,
        applied=applied or running is not None,
        boot_complaints=tuple(complaints) if running is not None else (),
        altered=running is not None and running.altered,
        key_fits=_key_fits(enrolment, plan),
    )


def _left() -> str | None:
    """Return the interface that still boots by a generation of ours, None when that is not told."""
    try:
        return generation.linked(PLACES.generations, PLACES.wireguard)
    except PermissionError:
        return None


def _fetcher() -> tuple[int | None, tuple[int, ...]]:
    """Return the user who fetches and its groups; (None, ()) where root does."""
    user = remote.user()
    if user is None:
        return None, ()
    return user.pw_uid, tuple(os.getgrouplist(user.pw_name, user.pw_gid))


def _key_fits(enrolment: Enrolment, plan: NodePlan | None) -> bool | None:
    if plan is None:
        return None
    try:
        return shares.own_public_key(enrolment) == plan.public_key
    except WgmeshError:
        return None  # a key that is missing, or a `wg` that is, has a finding of its own


def _remotes(enrolment: Enrolment, *, root: bool) -> Iterator[Remote]:
    """Yield whether each remote answers, asked just as a sync does, which only root may.

    Not while another wgmesh is at work: there is one fetch at a time.
    """
    if not root:
        yield from (Remote(url, None) for url in enrolment.remotes)
        return
    try:
        with node.turn():
            for url in enrolment.remotes:
                yield _asked(Source((url,), enrolment.branch, joining=True))
    except LockedError as error:
        yield from (Remote(url, None, error.message) for url in enrolment.remotes)


def _asked(source: Source) -> Remote:
    (url,) = source.remotes
    try:
        remote.news(remote.ask(source, only_ask=True), source)
    except WgmeshError as error:
        return Remote(url, error.message, error.hint)
    return Remote(url, "")


# ---------------------------------------------------------------- host


def _host(enrolment: Enrolment | None, running: Running | None) -> Host:
    urls = enrolment.remotes if enrolment is not None else ()
    systemd = linux.systemd.running()
    interface = _interface(enrolment, None)
    units = [*standing.UNITS, _NETWORKD]
    units += [f"wg-quick@{interface}.service"] if interface else []
    shown = host.units(units) if systemd else {}
    networkd = shown.pop(_NETWORKD, None)
    newest, what = _newest(running)
    return Host(
        now=time.time(),
        clock_synchronised=host.clock_synchronised(),
        newest_known=newest,
        newest_what=what,
        disks=host.disks((settings.STATE_DIR, settings.WIREGUARD_DIR, settings.RUN_DIR)),
        versions=host.versions(ssh=any(access.is_ssh(url) for url in urls)),
        systemd=systemd,
        units=shown,
        networkd=host.networkd(active=True)
        if networkd is not None and networkd.active == "active"
        else None,
        apparmor=host.apparmor(),
        files=tuple(_files(enrolment, running)),
    )


def _newest(running: Running | None) -> tuple[float, str]:
    """Return the latest time that is known to be past, and what says so."""
    trusted = records.read_tips(PLACES.state).trusted
    last = spare.last_sync()
    times: list[tuple[float, str]] = [(Path(__file__).stat().st_mtime, "wgmesh itself")]
    if trusted is not None:
        times.append((trusted.time, f"the commit {trusted.id[:12]}"))
    if running is not None:
        times.append((running.manifest.created, f"generation {running.manifest.number}"))
    if last is not None:
        times.append((last.time, "the last sync"))
    return max(times)


def _files(enrolment: Enrolment | None, running: Running | None) -> Iterator[FileSeen]:
    if enrolment is None:
        return
    yield host.file(standing.PRIVATE_KEY, enrolment.key_path)
    plan = running.plan if running is not None else None
    peers = plan.peers if plan is not None else ()
    for path in sorted({each.preshared_key_path for each in peers if each.preshared_key_path}):
        yield host.file(standing.PRESHARED_KEY, Path(path))
    for purpose, needed in _FETCH_NEEDS:
        yield replace(host.file(purpose, needed), above=host.above(needed))
